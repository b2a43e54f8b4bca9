//! weir-broker, seen from a crate that uses it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it skips"
)]
mod broker;
mod log;
