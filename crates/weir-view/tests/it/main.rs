//! The language and its operators: cases as files, the views of the retail mesh, and random histories against an oracle.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test or benchmark ends where its ground is missing")]

mod behind;
mod cases;
mod encodings;
mod expressions;
mod foreign;
mod groups;
mod keys;
mod oracle;
mod retail;
mod sessions;
mod sieve;
mod streams;
mod windows;
