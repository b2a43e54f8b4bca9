//! ODCS contracts: read, lint, compile, check, decide, plan; the violation pages. No I/O.
