//! The seam of the record loop: what a stage is shown, what it answers, and the books that prove nothing was lost; and the
//! native lane behind it, which moves whole batches.
//!
//! A pump reads a source topic, hands a stage runs of borrowed records ([`Run`]), performs the actions the stage
//! answers with ([`Action`]) and commits all of it, offsets included, in one transaction. Two lanes do that, and what
//! they share is here. The seam knows no Kafka client, no clock and no thread:
//!
//! * [`Stage`] is written by a service: pure, synchronous, one action per record.
//! * [`Progress`] is one partition's bookkeeping inside a pump: what may be committed, what must be read again.
//! * [`Ledger`] adds up what all partitions did: received = accepted + quarantined + in flight + released.
//! * [`fit`] holds what a stage decided against what the topics take.
//!
//! Behind it, [`PumpConfig`] and [`Board`] are what the threads of any pump go by, and [`native`] is the one lane that
//! lives here; the other one is in weir-kafka, which also owns the pump as services know it.

mod board;
mod config;
pub mod fit;
mod ledger;
pub mod native;
mod progress;
mod record;
mod stage;
mod stalling;

pub use board::{Board, Compression, PartitionStatus, Status, TopicLimit, WorkerState, outputs};
pub use config::{GroupProtocol, Hung, PumpConfig, Unfit};
pub use ledger::{Counts, Ledger};
pub use progress::{Outcome, Progress};
pub use record::{Header, RECORD_OVERHEAD, RecordView, Timestamp, added_size};
pub use stage::{Action, Headers, Route, Run, Stage, Stall};
pub use stalling::Stalling;
