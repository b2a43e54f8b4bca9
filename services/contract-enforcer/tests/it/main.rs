//! The enforcer as its users meet it: the binary, a real Apache Kafka, the real schema registry, an independent
//! reader. Every test skips, and says so, where Kafka's jars or Java are missing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "what a run came to is worth reading")]

mod faults;
mod reload;
mod verdicts;
mod world;
