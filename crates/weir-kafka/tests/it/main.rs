//! Against a real Apache Kafka: every record once, in order, byte for byte, whatever happens on the way. What arrived is
//! counted by a reader of its own, made of bare rdkafka, which shares no code with the pump.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "what a run came to is worth reading")]

mod clients;
mod copy;
mod cut;
mod differential;
mod faults;
mod group;
mod hanging;
mod lab;
mod lanes;
mod limits;
mod network;
mod nodes;
mod secure;
mod segment;
mod unreadable;
