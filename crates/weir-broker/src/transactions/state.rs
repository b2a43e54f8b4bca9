//! One transactional id: its fields, its states and the transitions between them. Nothing here is written or answered.

use super::{Producer, TopicPartition};
use std::collections::BTreeSet;

/// No producer id, no epoch, no time.
pub(super) const NONE: i64 = -1;
/// The last epoch a client may be given. The one above it is left for fencing that client.
pub(super) const LAST_EPOCH: i16 = i16::MAX - 1;

/// What a transactional id is doing, with the numbers and names Kafka gives the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A producer was initialised and has begun nothing.
    Empty,
    /// Partitions are part of a transaction that is neither committed nor aborted.
    Ongoing,
    /// The commit is decided and some markers may be missing.
    PrepareCommit,
    /// The abort is decided and some markers may be missing.
    PrepareAbort,
    /// The last transaction is committed.
    CompleteCommit,
    /// The last transaction is aborted.
    CompleteAbort,
    /// The id is being forgotten. Kafka knows the name; no id of this broker is ever seen in it.
    Dead,
    /// A producer is being fenced. Kafka knows the name; no id of this broker is ever seen in it.
    PrepareEpochFence,
}

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [State; 8] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
        State::Dead,
        State::PrepareEpochFence,
    ];

    /// The name that DescribeTransactions and ListTransactions show.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
            State::Dead => "Dead",
            State::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The number in the records of `__transaction_state`.
    pub(super) fn number(self) -> i8 {
        State::ALL.iter().zip(0..).find_map(|(state, number)| (*state == self).then_some(number)).unwrap_or_default()
    }

    /// Whether the end is decided and not yet known to every partition.
    pub(super) fn is_prepared(self) -> bool {
        matches!(self, State::PrepareCommit | State::PrepareAbort)
    }
}

/// All that is known of one transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub producer: Producer,
    /// The producer id before the last transition; it recognises a retry after the epochs of an id were used up.
    pub previous_id: i64,
    /// The producer id that takes over once the transaction is complete, where the epochs are used up.
    pub next_id: i64,
    /// The epoch before the last bump; it recognises a retried InitProducerId (KIP-360). Kafka does not persist it either.
    pub last_epoch: i16,
    pub timeout_ms: i32,
    pub state: State,
    pub partitions: BTreeSet<TopicPartition>,
    pub updated_ms: i64,
    pub started_ms: i64,
    /// The transaction version of the last transition: 0 for clients that add partitions themselves, 2 for KIP-890.
    pub version: i16,
}

impl Entry {
    /// An id that nobody has used: with a producer id and no epoch yet.
    pub fn new(producer_id: i64, now: i64) -> Entry {
        Entry {
            producer: Producer { id: producer_id, epoch: -1 },
            previous_id: NONE,
            next_id: NONE,
            last_epoch: -1,
            timeout_ms: 0,
            state: State::Empty,
            partitions: BTreeSet::new(),
            updated_ms: now,
            started_ms: NONE,
            version: 0,
        }
    }

    /// Whether no further epoch of the producer id may be handed out.
    pub fn exhausted(&self) -> bool {
        self.producer.epoch >= LAST_EPOCH
    }

    fn moved(&self, state: State, now: i64) -> Entry {
        Entry { state, previous_id: self.producer.id, updated_ms: now, ..self.clone() }
    }

    /// The producer starts anew as `producer`.
    pub fn initialised(&self, producer: Producer, last_epoch: i16, timeout_ms: i32, now: i64) -> Entry {
        Entry {
            producer,
            last_epoch,
            timeout_ms,
            partitions: BTreeSet::new(),
            started_ms: NONE,
            ..self.moved(State::Empty, now)
        }
    }

    /// The partitions take part; this begins a transaction where none is ongoing.
    pub fn added(&self, partitions: &[TopicPartition], version: i16, now: i64) -> Entry {
        let mut next = self.moved(State::Ongoing, now);
        if self.state != State::Ongoing {
            next.started_ms = now;
        }
        next.partitions.extend(partitions.iter().cloned());
        next.version = version;
        next
    }

    /// The end is decided by a client that keeps its epoch (transaction version 1).
    pub fn prepared(&self, commit: bool, now: i64) -> Entry {
        Entry { next_id: NONE, version: 0, ..self.moved(prepare(commit), now) }
    }

    /// The end is decided and the epoch moves on (transaction version 2, and every fencing). `next_id` is the producer id
    /// that takes over where the epochs of this one are used up, else -1.
    pub fn prepared_and_bumped(&self, commit: bool, next_id: i64, now: i64) -> Entry {
        let mut next = self.moved(prepare(commit), now);
        next.last_epoch = self.producer.epoch;
        next.producer.epoch = self.producer.epoch.saturating_add(1);
        next.next_id = next_id;
        next.version = 2;
        if self.state != State::Ongoing {
            next.started_ms = now;
        }
        next
    }

    /// Every partition has its marker.
    pub fn completed(&self, now: i64) -> Entry {
        let state = if self.state == State::PrepareCommit { State::CompleteCommit } else { State::CompleteAbort };
        let mut next = Entry { partitions: BTreeSet::new(), next_id: NONE, ..self.moved(state, now) };
        if self.version >= 2 && self.next_id != NONE {
            next.producer = Producer { id: self.next_id, epoch: 0 };
        }
        next
    }
}

fn prepare(commit: bool) -> State {
    if commit { State::PrepareCommit } else { State::PrepareAbort }
}
