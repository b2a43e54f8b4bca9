//! What the tests of every room share: a real Apache Kafka, a network that fails on purpose, child processes that cannot outlive the
//! test, waiting for a condition, and the ledger that tells whether a stream came through whole.
//!
//! A dev-dependency only. It knows no other room of Weir and no Kafka client, so that every room can use it and what it says about a
//! stream is an independent opinion. Its functions panic with what went wrong: the test is their error handling.

pub mod certificates;
mod http;
pub mod kafka;
pub mod ledger;
mod ports;
mod process;
pub mod proxy;
mod skip;
mod wait;

pub use http::http;
pub use ports::free_port;
pub use process::{Process, Signal};
pub use skip::{absent, python, skipped};
pub use wait::{wait_for, wait_for_some};
