//! The router as its users meet it: the binary, a real Kafka, the real schema registry, an independent reader. What it
//! writes is held against the operators of weir-view run by one thread over the same logs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "what a run came to is worth reading")]

mod bad;
mod changes;
mod faults;
mod load;
mod oracle;
mod rows;
mod stages;
mod views;
mod world;
