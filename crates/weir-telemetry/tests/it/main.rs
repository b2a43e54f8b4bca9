//! A service's endpoint, seen over plain TCP, and its log, seen from outside the process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod endpoint;
mod logs;
