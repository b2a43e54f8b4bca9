//! The testkit, seen from a test that uses it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;
mod ledger;
mod process;
mod proxy;
mod tidy;
