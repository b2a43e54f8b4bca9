//! The narrow seam between a pump and a service.
//!
//! A stage sees runs and answers with actions as data; the pump performs them. Neither knows how the other works, and
//! nothing of a Kafka client shows through.

use std::borrow::Cow;

use crate::RecordView;

/// Headers a stage adds to a record, in the order they are written, after those the record already has.
pub type Headers = Vec<(Cow<'static, str>, Vec<u8>)>;

/// One way through a stage: where records come from and the two places they can go to. The output topics have at least
/// as many partitions as the source, for a record keeps its partition number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The topic that is read.
    pub source: String,
    /// The topic for accepted records.
    pub accepted: String,
    /// The topic for quarantined records.
    pub quarantine: String,
}

/// Consecutive records of one partition, in offset order. Never empty.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Where the records come from and may go to.
    pub route: &'a Route,
    /// The partition, of the source and of both outputs.
    pub partition: i32,
    /// The records.
    pub records: &'a [RecordView<'a>],
    /// The largest record the accepted topic takes, in bytes, to be compared with [`RecordView::size`] plus
    /// [`added_size`](crate::added_size) of the headers added.
    pub forward_limit: usize,
    /// The same of the quarantine topic.
    pub quarantine_limit: usize,
}

/// What becomes of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to the accepted topic as it is: key, value, headers and timestamp byte for byte.
    Forward,
    /// It goes to the accepted topic with these headers added behind its own; counted as accepted and as warned.
    ForwardWith(Headers),
    /// It goes to the quarantine topic, byte for byte, with these headers added behind its own.
    Quarantine(Headers),
}

/// The stage cannot judge now, through no fault of the record (a registry is away, say). Records from the first one
/// without an action stay where they are; the partition pauses and is tried again, the others go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Stall {
    /// What is missing, for logs and status pages; never a value out of a record.
    pub reason: String,
}

/// A stage of the stream, written by a service: judges records, does no I/O, keeps no promise about being asked once
/// (a run is shown again after an aborted transaction or a stall).
pub trait Stage {
    /// Judges a run: pushes one action per record, in order, onto `actions` (handed over empty).
    ///
    /// # Errors
    /// A [`Stall`] when the record at index `actions.len()` cannot be judged now. The actions pushed before stand.
    fn process(&mut self, run: &Run<'_>, actions: &mut Vec<Action>) -> Result<(), Stall>;

    /// Headers for the quarantine entry of `run.records[index]`, which the stage let through although it, with the
    /// headers added, takes `size` bytes and the accepted topic no more than `limit`.
    fn too_large(&mut self, run: &Run<'_>, index: usize, size: usize, limit: usize) -> Headers;

    /// Headers for the quarantine entry that stands for the offsets `first..=last` of the source, whose bytes cannot be
    /// turned into records (a damaged batch); `why` is what the client said.
    fn unreadable(&mut self, route: &Route, partition: i32, first: i64, last: i64, why: &str) -> Headers;
}
