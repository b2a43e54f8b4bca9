//! The seam of the record loop: what a stage is shown, what it answers, and the books that prove nothing was lost.
//!
//! A pump reads a source topic, hands a stage runs of borrowed records ([`Run`]), performs the actions the stage
//! answers with ([`Action`]) and commits all of it, offsets included, in one transaction. This crate holds what every
//! pump and every stage agree on and no more: it knows no Kafka client, no clock and no thread, so that a pump which
//! moves whole batches untouched can stand behind the same seam.
//!
//! * [`Stage`] is written by a service: pure, synchronous, one action per record.
//! * [`Progress`] is one partition's bookkeeping inside a pump: what may be committed, what must be read again.
//! * [`Ledger`] adds up what all partitions did: received = accepted + quarantined + in flight + released.

mod ledger;
mod progress;
mod record;
mod stage;

pub use ledger::{Counts, Ledger};
pub use progress::{Outcome, Progress};
pub use record::{Header, RECORD_OVERHEAD, RecordView, Timestamp, added_size};
pub use stage::{Action, Headers, Route, Run, Stage, Stall};
