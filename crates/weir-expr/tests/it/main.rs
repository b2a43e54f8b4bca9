//! Case files and properties of the expression language, through the public API alone.

// An integration test is no test code to clippy, which allows unwrap and expect in tests only.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod budget;
mod cases;
mod quick;
