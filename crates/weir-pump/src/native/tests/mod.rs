//! The state machines, without sockets: what they ask for and what they make of the answers.

mod batches;
mod group;
mod producer;
