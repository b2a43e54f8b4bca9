//! The command line and the one-process mesh; the only crate that joins services.
