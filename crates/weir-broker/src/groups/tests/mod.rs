//! Scenarios against the state machine, and what holds whatever happens.

mod lab;
mod members;
mod offsets;
mod random;
mod restart;
mod statics;
mod wire;
