//! The state machines, without sockets: what they ask for and what they make of the answers; and connections, with them.

mod batches;
mod connect;
mod cut;
mod fuzz;
mod group;
mod hostile;
mod producer;
mod session;
