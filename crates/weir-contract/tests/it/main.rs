//! The contract crate from outside: case files, the allocation count, headers, the record form.

mod allocation;
mod cases;
mod headers;
mod record;
