//! The contract crate from outside: case files, the allocation count, headers, the record form.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test or benchmark ends where its ground is missing")]

mod allocation;
mod cases;
mod headers;
mod record;

#[path = "../../benches/order/mod.rs"]
mod order;
