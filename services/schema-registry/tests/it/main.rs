//! The registry on a real Apache Kafka, asked by real clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod apicurio;
mod auth;
mod cases;
mod clients;
mod exchange;
mod faults;
mod instances;
mod support;
