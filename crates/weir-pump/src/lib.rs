//! The seam of the record loop: record views, stages, actions, and the ledger that accounts for every record.
