//! weir-wire, seen from a crate that uses it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod batches;
mod bounds;
mod client_batches;
mod codecs;
mod fuzz;
mod golden;
mod reading;
