//! The native lane of the pump: whole record batches from the source topic to the accepted or quarantine topic, each record
//! once.
//!
//! Every worker is one operating-system thread with sockets that never block; there is no other thread and no client
//! library. It is a member of the group by the classic protocol, fetches batches, shows their records to its stage where
//! they lie, and sends them on: as they came, with another header, where all of a batch was accepted, and built anew
//! where not. Records and offsets are committed together. docs/native-lane.md says what was decided and why.
//!
//! * [`net`]: connections; [`link`]: one of them; [`frames`]: bytes into frames, in buffers that are used again;
//! * [`security`]: what the client properties ask for; [`tls`]; [`sasl`] and [`scram`]: who we are;
//! * [`group`]: membership; [`assign`]: who reads what; [`metadata`]: who leads and coordinates;
//! * [`source`]: an assigned partition; [`epochs`]: whether its log was cut; [`judge`]: its records before the stage; [`out`]: what comes of them;
//! * [`fetching`]: records asked for and answered; [`session`]: what a broker remembers of that;
//! * [`hanging`]: transactions that nobody ends any more;
//! * [`producer`]: the transaction; [`reactions`]: what each answer leads to, as one table;
//! * [`worker`]: what happens between them; [`asking`] and [`taking`]: questions and answers.
//!
//! The state machines ([`group`], [`producer`], [`session`], [`source`], [`out`]) know no socket and no clock.

mod asking;
mod assign;
mod epochs;
mod fetching;
mod frames;
mod group;
mod hanging;
mod judge;
mod link;
mod metadata;
mod net;
mod out;
mod producer;
mod reactions;
mod sasl;
mod scram;
mod security;
mod session;
mod source;
mod taking;
mod tls;
mod worker;

#[cfg(test)]
mod tests;

use crate::{Board, Stage};
pub use hanging::{Ended, Hanging, Transactions, Unanswered};
pub use security::{Cluster, Unserved};

/// Runs a worker to its end on this thread. Neither the cluster nor the topics need to be there yet.
///
/// # Errors
/// Why it ended although nobody asked it to.
pub fn run(board: &Board, cluster: &Cluster, index: usize, mut stage: Box<dyn Stage + Send>) -> Result<(), String> {
    let worker = worker::Worker::new(board, cluster, index, &mut *stage);
    worker.map_err(|error| format!("cannot wait for sockets: {error}"))?.work()
}
