//! weir-broker, seen from a crate that uses it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
mod log;
