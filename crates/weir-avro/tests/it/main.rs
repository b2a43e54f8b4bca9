//! The integration tests of weir-avro, in one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod bounds;
mod compat;
mod generate;
mod json;
mod oracle;
