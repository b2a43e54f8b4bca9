//! The transaction coordinator: which producer owns a transactional id, which partitions its transaction has, and how it ends.
//!
//! It knows no log, no network and no clock: times are arguments (ms since 1970), and what has to be done comes out as one
//! [`Action`] after the other, through the [`Perform`] that each call is given. A new state of an id is taken over only after
//! its [`Action::Write`] was done, so memory is at every moment what replaying `__transaction_state` would give. That is why a
//! crash, a full disk and a plain error are one and the same case here: the state stays what was last written, and
//! [`Transactions::recover`] or [`Transactions::tick`] goes on from there. It does not answer requests, check that partitions
//! exist, or authorise. Sources: KIP-98, KIP-360, KIP-447, KIP-664, KIP-890 (both parts), KIP-939, KIP-994, KIP-1152, KIP-1228.
//!
//! Clients speak one of two protocols; a request's version tells which. *Version 1* (librdkafka, franz-go as of 2025): partitions
//! are added by AddPartitionsToTxn and AddOffsetsToTxn, EndTxn (≤ 4) keeps the epoch. *Version 2* (Java 4): Produce (≥ 12) and
//! TxnOffsetCommit (≥ 5) add what they write to, EndTxn (≥ 5) raises the epoch, so that every transaction has one of its own.
//!
//! # How the broker calls it
//!
//! One `std::sync::Mutex<Transactions>`, *the coordinator lock*. It is taken before the lock of the groups and before that of any
//! log, and never held across an await.
//!
//! | request | call | checked before by the broker |
//! |---|---|---|
//! | InitProducerId | [`Transactions::init_producer_id`] | |
//! | AddPartitionsToTxn ≤ 3 | [`Transactions::add_partitions`] | if any partition is unknown, that one gets UNKNOWN_TOPIC_OR_PARTITION, all others OPERATION_NOT_ATTEMPTED, and nothing is called |
//! | AddPartitionsToTxn ≥ 4 | the same, or [`Transactions::verify_only`], once for each transaction of the request | the same |
//! | AddOffsetsToTxn | [`Transactions::add_offsets`] | the group id is not empty, else INVALID_GROUP_ID |
//! | Produce with a transactional batch | [`Transactions::verify_produce`], then `Log::append` | see below |
//! | TxnOffsetCommit | [`Transactions::verify_offset_commit`], then the groups | |
//! | EndTxn | [`Transactions::end`] | |
//! | WriteTxnMarkers | none: append each marker, tell the groups | |
//! | DescribeTransactions, ListTransactions | [`Transactions::describe`], [`Transactions::list`] | |
//!
//! [`TransactionError::code`] is what the response carries; the versions are already taken into account. All markers are written with
//! coordinator epoch 0, whatever WriteTxnMarkers says: a log that saw a higher one would refuse every later marker of that producer.
//!
//! A Produce request goes through these steps, each for all partitions whose step before was fine:
//!
//! 1. A transactional batch without `transactional_id` in the request: all get TRANSACTIONAL_ID_AUTHORIZATION_FAILED. Transactional
//!    batches of more than one producer id or epoch: all get INVALID_PRODUCER_ID_MAPPING. Unknown partitions:
//!    UNKNOWN_TOPIC_OR_PARTITION.
//! 2. `Log::begin_verification`, without the coordinator lock. It gives the guard of step 4, or INVALID_PRODUCER_EPOCH.
//! 3. `verify_produce` for the partitions that are left, under the coordinator lock, also where step 2 said `Ongoing`.
//! 4. `Log::append` with what step 2 gave, without the coordinator lock. It refuses the batch if a marker was written since step 2.
//!
//! Steps 2 and 3 must not change places. Batches without the transactional bit need neither of them.
//!
//! TxnOffsetCommit has no guard: `verify_offset_commit`, the append to `__consumer_offsets` and the groups' taking note of the pending
//! offsets happen under one coordinator lock. WriteTxnMarkers takes the lock while it appends and tells the groups.
//!
//! `perform` is called with the lock held and does what it is told at once:
//!
//! * [`Action::ReserveIds`]: write `cluster.json` and sync it, whatever `flush` says. An id that was handed out must never be
//!   handed out again.
//! * [`Action::Write`]: append to `__transaction_state`, one record per batch, time stamp now. With `flush = fsync` and `durable`,
//!   sync that log before returning: markers must not be durable before the decision they carry out.
//! * [`Action::Mark`]: `Log::append_marker` for each partition, coordinator epoch 0. A partition that does not exist (any more) counts
//!   as done. So does one that refuses the marker with INVALID_PRODUCER_EPOCH: only an operator's WriteTxnMarkers can have given it a
//!   newer epoch, and that has ended the transaction. After the marker of ([`OFFSETS_TOPIC`], 0) tell the groups that this
//!   producer's offsets are decided; a second time must do nothing. Try all partitions, also after one failed.
//!
//! Where an action fails, say why in the program's log and return [`Failed`]. Nothing else has to be done: if the decision of an
//! EndTxn was not written, the client is told COORDINATOR_NOT_AVAILABLE and asks again; if it was, the client is told success, the
//! state stays PrepareCommit or PrepareAbort, the id answers CONCURRENT_TRANSACTIONS, and [`Transactions::tick`] tries again every
//! second. A `Write` that failed may or may not be found after a restart; both are right.
//!
//! At start: [`Transactions::new`] with what the last `ReserveIds` said; every record of `__transaction_state` to
//! [`Transactions::replay`]; then, when all logs are open, [`Transactions::recover`] with every open transaction that
//! `Log::producers` shows; then clients are let in. From then on, [`Transactions::tick`] at [`Transactions::next_deadline`], which
//! any call can change; once a second does too.
//!
//! # Why nothing lands after its marker
//!
//! A batch that passed step 3 has its partition in the set of the ongoing transaction; it was put there, and written, before. An end
//! holds the lock from its decision to its last marker and marks that whole set. So the end comes before step 3 or after it.
//!
//! * Before: step 3 refuses the batch, by its epoch (version 2, fencing, timeouts) or because the set is empty again (version 1,
//!   whose next transaction has the same epoch). If that next transaction has the partition already, the batch passes step 3
//!   and meets step 4: the marker took its guard.
//! * After: either the batch reached the log before the marker, and is ended by it. Or the marker was first and has taken the guard,
//!   so the batch is refused. (It is taken if the same producer and epoch have opened their next transaction there meanwhile, as
//!   in Kafka: a client of version 1 that ends a transaction before its batches are answered does that to itself, and the
//!   sequence numbers tell it.)
//!
//! While the end is not complete, because a marker failed, step 3 refuses everything. A zombie is refused by its epoch or producer id
//! from the moment a newer producer has been initialised, in every partition, whether or not that partition saw the newer epoch.
//!
//! A crash can fall between any two actions. The record that adds a partition is written before the first batch, so a partition with
//! an open transaction is always in the set of an id that is Ongoing or Prepare*. The first goes on (its client may still be
//! there) or times out; the second is finished by `recover`. A marker may then be written a second time. It never meets another
//! transaction, as none of this id can begin before the Complete* record is written.
//!
//! From the log this needs:
//!
//! 1. A marker of a producer with nothing open is accepted if its epoch is not below the one known, and moves neither the last
//!    stable offset nor the aborted index. (It may take an offset, as in Kafka.) Its epoch is remembered.
//! 2. A marker with `transaction_version` 2 never ends an open transaction whose epoch is its own: such a transaction is the next
//!    one. Refuse it. This cannot happen as described above; it is the second lock on the same door.
//! 3. A marker takes the guards of its producer. A transactional batch with neither a guard nor an open transaction of its epoch is
//!    refused with INVALID_TXN_STATE, one below the known epoch with INVALID_PRODUCER_EPOCH, and a batch without the transactional
//!    bit of a producer that has a transaction open with INVALID_TXN_STATE.
//! 4. A producer with an open transaction is not forgotten, however old it is.
//! 5. A batch or marker is there as a whole after a crash, or not at all.
//!
//! # Request × state → answer
//!
//! The transactional id is known and the producer id is its current one; else the answer is INVALID_PRODUCER_ID_MAPPING, and
//! INVALID_REQUEST where the id is empty. *e* is the epoch of the id; "fenced" is PRODUCER_FENCED, which older versions of the
//! requests (InitProducerId < 4, the others < 2) and Produce and TxnOffsetCommit know as INVALID_PRODUCER_EPOCH.
//! "Prepare*" is seen only after an action failed.
//!
//! | request, epoch | Empty | Ongoing | PrepareCommit | PrepareAbort | CompleteCommit | CompleteAbort |
//! |---|---|---|---|---|---|---|
//! | InitProducerId, none | *e*+1 | abort, then *e*+2 | CONCURRENT_TRANSACTIONS | the same | *e*+1 | *e*+1 |
//! | InitProducerId, *e* (KIP-360) | *e*+1 | abort, then *e*+1 | the same | the same | *e*+1 | *e*+1 |
//! | InitProducerId, the epoch before this client's own last bump | *e* | fenced | the same | the same | *e* | *e* |
//! | InitProducerId, other | fenced | fenced | fenced | fenced | fenced | fenced |
//! | add (AddPartitions, AddOffsets, Produce ≥ 12, TxnOffsetCommit ≥ 5), *e* | begins | adds | CONCURRENT_TRANSACTIONS¹ | the same | begins | begins |
//! | add, other | fenced | fenced | fenced | fenced | fenced | fenced |
//! | verify (VerifyOnly, Produce < 12, TxnOffsetCommit < 5), *e* | not added² | success, or not added² | CONCURRENT_TRANSACTIONS¹ | the same | not added² | not added² |
//! | verify, other | fenced | fenced | fenced | fenced | fenced | fenced |
//! | EndTxn ≤ 4, commit, *e* | INVALID_TXN_STATE | commits | CONCURRENT_TRANSACTIONS | INVALID_TXN_STATE | success | INVALID_TXN_STATE |
//! | EndTxn ≤ 4, abort, *e* | INVALID_TXN_STATE | aborts | INVALID_TXN_STATE | CONCURRENT_TRANSACTIONS | INVALID_TXN_STATE | success |
//! | EndTxn ≤ 4, other | fenced | fenced | fenced | fenced | fenced | fenced |
//! | EndTxn ≥ 5, commit, *e* | INVALID_TXN_STATE | commits, *e*+1 | fenced | fenced | INVALID_TXN_STATE | INVALID_TXN_STATE |
//! | EndTxn ≥ 5, abort, *e* | aborts nothing, *e*+1 | aborts, *e*+1 | fenced | fenced | aborts nothing, *e*+1 | aborts nothing, *e*+1 |
//! | EndTxn ≥ 5, commit, *e*−1 (the answer was lost) | fenced | fenced | CONCURRENT_TRANSACTIONS | INVALID_TXN_STATE | success, *e* | INVALID_TXN_STATE |
//! | EndTxn ≥ 5, abort, *e*−1 | fenced | fenced | INVALID_TXN_STATE | CONCURRENT_TRANSACTIONS | INVALID_TXN_STATE | success, *e* |
//! | EndTxn ≥ 5, other | fenced | fenced | fenced | fenced | fenced | fenced |
//! | timeout | | aborts, epoch *e*+1 | | | | |
//! | unused for long | forgotten | | | | forgotten | forgotten |
//!
//! ¹ NOT_ENOUGH_REPLICAS for Produce < 12, whose clients retry that. ² TRANSACTION_ABORTABLE; INVALID_TXN_STATE for Produce < 11 and
//! TxnOffsetCommit < 4, whose clients do not know it.
//!
//! *e*−1 counts as a lost answer only where the last end raised the epoch. Kafka does not ask for that, and so takes a zombie of version 2
//! for the client of version 1 that fenced it. This and InitProducerId of a zombie while Ongoing (Kafka aborts, then says fenced) are the
//! only answers known to differ: `tests/kafka.txt` has what Apache Kafka 4.3.1 said.
//!
//! Where *e* is 32,766, the last epoch a client gets, what would hand out the next one hands out epoch 0 of a new producer id.
//! The marker then still carries the old id with 32,767, and the retry of that EndTxn names the old id.

use bytes::Bytes;
use state::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use weir_wire::{ErrorCode, WireError};

mod end;
mod init;
mod list;
mod partitions;
mod record;
mod state;
#[cfg(test)]
mod tests;

pub use init::InitProducerId;
pub use list::{Described, Filter, Listed, Listing};
pub use state::State;

/// Name of the topic with the state of all transactional ids. It has one partition, 0, and is compacted.
pub const STATE_TOPIC: &str = "__transaction_state";
/// Name of the topic with the committed offsets of all groups. It has one partition, 0.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How many producer ids are reserved at once, as in Kafka.
const ID_BLOCK: i64 = 1000;
/// How long after a failed action it is tried again, in ms.
const RETRY_MS: i64 = 1000;

/// A partition: the name of its topic and its number.
pub type TopicPartition = (Arc<str>, i32);

/// A producer id and the epoch of one incarnation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer {
    /// The producer id.
    pub id: i64,
    /// The epoch, from 0 on.
    pub epoch: i16,
}

impl Producer {
    /// What requests and responses carry where there is no producer.
    pub const NONE: Producer = Producer { id: -1, epoch: -1 };
}

/// Who asks: the fields that every request inside a transaction has.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Version of the request. Which transaction version the client speaks, and which error codes it knows, follow from it.
    pub version: i16,
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The producer id and epoch the client believes to have.
    pub producer: Producer,
}

/// Something to be done before the next thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put on disk that all producer ids below this one may be in use, and do not return before they are durable.
    ReserveIds {
        /// One more than the largest id that may be handed out from now on.
        below: i64,
    },
    /// Append a record to `__transaction_state`; a value of `None` is a tombstone.
    Write {
        /// TransactionLogKey.
        key: Bytes,
        /// TransactionLogValue.
        value: Option<Bytes>,
        /// Whether, with `flush = fsync`, it must be durable before the action counts as done.
        durable: bool,
    },
    /// Append a marker to every partition.
    Mark(Marker),
}

/// The end of a transaction, for the partitions that took part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The producer id of the transaction and the epoch that the marker carries.
    pub producer: Producer,
    /// Whether the transaction is committed.
    pub commit: bool,
    /// 2 where the epoch of the marker is above that of the records it ends, else 0.
    pub transaction_version: i16,
    /// The partitions, by topic and number.
    pub partitions: Vec<TopicPartition>,
}

/// What performs an action. Whoever passes it has locked the [`Transactions`] and keeps them locked.
pub type Perform<'a> = &'a mut dyn FnMut(Action) -> Result<(), Failed>;

/// An action that was not done, or not wholly. The reason is for the log of the program; here it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an action of the transaction coordinator could not be performed")]
pub struct Failed;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each is the Kafka error code of its name, and its message says what it is for")]
pub enum TransactionError {
    #[error("the request is not valid: an empty transactional id, or a producer id without its epoch")]
    InvalidRequest,
    #[error("two-phase commit is not enabled on this broker")]
    TransactionalIdAuthorizationFailed,
    #[error("this broker does not keep prepared transactions")]
    UnsupportedVersion,
    #[error("the transaction timeout is not positive, or above transaction.max.timeout.ms of the broker")]
    InvalidTransactionTimeout,
    #[error("the producer id is not the current one of the transactional id")]
    InvalidProducerIdMapping,
    #[error("a newer producer with the same transactional id has fenced this one")]
    ProducerFenced,
    #[error("the producer epoch is not the current one")]
    InvalidProducerEpoch,
    #[error("the end of the transaction is still being written; try again")]
    ConcurrentTransactions,
    #[error("the request does not fit the state of the transaction")]
    InvalidTxnState,
    #[error("the partition is not part of the transaction; abort it")]
    TransactionAbortable,
    #[error("the partition could not be verified; try again")]
    NotEnoughReplicas,
    #[error("the state of the transaction could not be written; try again")]
    CoordinatorNotAvailable,
    #[error("there is no such transactional id")]
    TransactionalIdNotFound,
    #[error("the pattern is not a regular expression")]
    InvalidRegularExpression,
}

impl TransactionError {
    /// The code that the response carries.
    pub fn code(self) -> ErrorCode {
        match self {
            TransactionError::InvalidRequest => ErrorCode::INVALID_REQUEST,
            TransactionError::TransactionalIdAuthorizationFailed => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            TransactionError::UnsupportedVersion => ErrorCode::UNSUPPORTED_VERSION,
            TransactionError::InvalidTransactionTimeout => ErrorCode::INVALID_TRANSACTION_TIMEOUT,
            TransactionError::InvalidProducerIdMapping => ErrorCode::INVALID_PRODUCER_ID_MAPPING,
            TransactionError::ProducerFenced => ErrorCode::PRODUCER_FENCED,
            TransactionError::InvalidProducerEpoch => ErrorCode::INVALID_PRODUCER_EPOCH,
            TransactionError::ConcurrentTransactions => ErrorCode::CONCURRENT_TRANSACTIONS,
            TransactionError::InvalidTxnState => ErrorCode::INVALID_TXN_STATE,
            TransactionError::TransactionAbortable => ErrorCode::TRANSACTION_ABORTABLE,
            TransactionError::NotEnoughReplicas => ErrorCode::NOT_ENOUGH_REPLICAS,
            TransactionError::CoordinatorNotAvailable => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            TransactionError::TransactionalIdNotFound => ErrorCode::TRANSACTIONAL_ID_NOT_FOUND,
            TransactionError::InvalidRegularExpression => ErrorCode::INVALID_REGULAR_EXPRESSION,
        }
    }

    /// The error as clients below request version `since` know it: they have no PRODUCER_FENCED.
    fn before(self, version: i16, since: i16) -> TransactionError {
        match self {
            TransactionError::ProducerFenced if version < since => TransactionError::InvalidProducerEpoch,
            other => other,
        }
    }
}

impl From<Failed> for TransactionError {
    fn from(_: Failed) -> Self {
        TransactionError::CoordinatorNotAvailable
    }
}

/// A record of `__transaction_state` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The bytes are not a key or value of their version.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The state has no meaning.
    #[error("there is no transaction state {0}")]
    State(i8),
}

/// The settings of the coordinator. The default has Kafka's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `transaction.max.timeout.ms`: the longest timeout a client may ask for, in ms.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`: after how long without use a transactional id is forgotten, in ms.
    pub expiration_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_timeout_ms: 15 * 60 * 1000, expiration_ms: 7 * 24 * 60 * 60 * 1000 }
    }
}

/// A transaction that a partition has open, as its log knows it after a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The producer of the records.
    pub producer: Producer,
    /// The partition.
    pub partition: TopicPartition,
}

/// All transactional ids and the producer ids that are left.
#[derive(Debug)]
pub struct Transactions {
    config: Config,
    entries: HashMap<Arc<str>, Slot>,
    /// When which id has to be looked at, in ms. Every id has at most one time.
    deadlines: BTreeSet<(i64, Arc<str>)>,
    /// The next producer id to hand out.
    next_id: i64,
    /// The first one that is not reserved.
    below: i64,
    offsets: TopicPartition,
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    due: i64,
}

impl Transactions {
    /// No transactional ids. `next_producer_id` is what the last [`Action::ReserveIds`] said, 0 in a new folder.
    pub fn new(config: Config, next_producer_id: i64) -> Transactions {
        Transactions {
            config,
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_id: next_producer_id,
            below: next_producer_id,
            offsets: (Arc::from(OFFSETS_TOPIC), 0),
        }
    }

    /// Takes over a record of `__transaction_state`. Records come in the order of the log, before anything else is asked.
    ///
    /// # Errors
    /// Where the record is none of a transactional id. The broker should not start then: going on without it could leave a
    /// transaction open for ever.
    pub fn replay(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(), BadRecord> {
        let Some(id) = record::read_key(key)? else { return Ok(()) };
        match value {
            Some(value) => self.put(id, record::read_value(value)?),
            None => self.remove(&id),
        }
        Ok(())
    }

    /// Finishes what a crash interrupted: called once after the last [`Transactions::replay`], before the first client.
    ///
    /// `open` are all transactions that the logs of the partitions have open. Those that no transactional id knows of are
    /// aborted: they exist only where the machine lost power and the disk kept the records but not the state.
    pub fn recover(&mut self, open: &[Open], now: i64, perform: Perform<'_>) {
        let known: BTreeSet<(i64, &TopicPartition)> = self
            .entries()
            .flat_map(|(_, entry)| entry.partitions.iter().map(|partition| (entry.producer.id, partition)))
            .collect();
        let unknown = open.iter().filter(|open| !known.contains(&(open.producer.id, &open.partition)));
        for Open { producer, partition } in unknown {
            // Where it fails, the broker has said so in its log, and the next start tries again.
            let _ = perform(Action::Mark(Marker {
                producer: *producer,
                commit: false,
                transaction_version: 0,
                partitions: vec![partition.clone()],
            }));
        }
        let prepared: Vec<Arc<str>> =
            self.entries().filter(|(_, entry)| entry.state.is_prepared()).map(|(id, _)| id.clone()).collect();
        for id in prepared {
            if self.finish(&id, now, perform).is_err() {
                self.due(&id, now + RETRY_MS);
            }
        }
    }

    /// Aborts transactions past their timeout, retries what failed and forgets ids that have not been used for long.
    pub fn tick(&mut self, now: i64, perform: Perform<'_>) {
        let due: Vec<Arc<str>> =
            self.deadlines.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| id.clone()).collect();
        for id in due {
            let done = match self.entry(&id).map(|(_, entry)| entry.state) {
                Some(State::Ongoing) => self.fence(&id, now, perform).is_ok(),
                Some(State::PrepareCommit | State::PrepareAbort) => self.finish(&id, now, perform).is_ok(),
                _ => self.expire(&id, perform).is_ok(),
            };
            if !done {
                self.due(&id, now + RETRY_MS);
            }
        }
    }

    /// When [`Transactions::tick`] has something to do, in ms.
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    fn expire(&mut self, id: &Arc<str>, perform: Perform<'_>) -> Result<(), Failed> {
        let key = record::key(id).map_err(|_| Failed)?;
        perform(Action::Write { key, value: None, durable: false })?;
        self.remove(id);
        Ok(())
    }

    /// A producer id that nobody ever had.
    fn take_id(&mut self, perform: Perform<'_>) -> Result<i64, Failed> {
        if self.next_id >= self.below {
            let below = self.next_id + ID_BLOCK;
            perform(Action::ReserveIds { below })?;
            self.below = below;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    fn entry(&self, transactional_id: &str) -> Option<(Arc<str>, &Entry)> {
        self.entries.get_key_value(transactional_id).map(|(id, slot)| (id.clone(), &slot.entry))
    }

    fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.entries.iter().map(|(id, slot)| (id, &slot.entry))
    }

    /// The entry of the caller, whose producer id is the current one. Its epoch may be any.
    fn of(&self, caller: &Caller<'_>) -> Result<(Arc<str>, &Entry), TransactionError> {
        if caller.transactional_id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        self.entry(caller.transactional_id)
            .filter(|(_, entry)| entry.producer.id == caller.producer.id)
            .ok_or(TransactionError::InvalidProducerIdMapping)
    }

    /// Writes the new state of an id, and only then takes it over: memory never runs ahead of the log.
    fn write(&mut self, id: &Arc<str>, entry: Entry, perform: Perform<'_>) -> Result<(), Failed> {
        let key = record::key(id).map_err(|_| Failed)?;
        let value = record::value(&entry).map_err(|_| Failed)?;
        // What completes a transaction can be found out again from what decided it.
        let durable = !matches!(entry.state, State::CompleteCommit | State::CompleteAbort);
        perform(Action::Write { key, value: Some(value), durable })?;
        self.put(id.clone(), entry);
        Ok(())
    }

    fn put(&mut self, id: Arc<str>, entry: Entry) {
        let ids = entry.producer.id.max(entry.next_id);
        self.next_id = self.next_id.max(ids.saturating_add(1));
        self.below = self.below.max(self.next_id);
        let due = match entry.state {
            // Kafka aborts once the timeout is passed, not reached.
            State::Ongoing => entry.started_ms.saturating_add(i64::from(entry.timeout_ms) + 1),
            State::PrepareCommit | State::PrepareAbort => entry.updated_ms,
            _ => entry.updated_ms.saturating_add(self.config.expiration_ms),
        };
        self.remove(&id);
        self.deadlines.insert((due, id.clone()));
        self.entries.insert(id, Slot { entry, due });
    }

    fn remove(&mut self, id: &Arc<str>) {
        if let Some(slot) = self.entries.remove(id) {
            self.deadlines.remove(&(slot.due, id.clone()));
        }
    }

    fn due(&mut self, id: &Arc<str>, at: i64) {
        if let Some(slot) = self.entries.get_mut(id) {
            self.deadlines.remove(&(slot.due, id.clone()));
            slot.due = at;
            self.deadlines.insert((at, id.clone()));
        }
    }
}
