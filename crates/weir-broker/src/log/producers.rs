//! What a log knows of its producers: the last batches of each, to tell a repeated batch from a lost one, and the transactions
//! that are open. The rules are Kafka's (KIP-98, KIP-360, KIP-890).
//!
//! A check changes nothing; what it allowed is applied once the batch is in the file.

use std::collections::{BTreeMap, HashMap};

use weir_wire::ErrorCode;
use weir_wire::batch::Header;

use super::aborted;
use super::error::AppendError;

/// Batches that are remembered of each producer: what one may have in flight.
pub(super) const BATCHES: usize = 5;

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct BatchState {
    pub(super) last_sequence: i32,
    /// Last offset less the first.
    pub(super) delta: i32,
    pub(super) last_offset: i64,
    pub(super) timestamp: i64,
}

impl BatchState {
    fn base_sequence(&self) -> i32 {
        // Sequences are 31 bits wide.
        if self.last_sequence < 0 { self.last_sequence } else { self.last_sequence.wrapping_sub(self.delta) & i32::MAX }
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.last_offset - i64::from(self.delta)
    }
}

/// What is known of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) epoch: i16,
    pub(super) coordinator_epoch: i32,
    /// Timestamp of its last batch or marker.
    pub(super) timestamp: i64,
    /// When this log last heard of it; what expiry counts from, as timestamps may be of any time.
    pub(super) seen: i64,
    /// First offset of its open transaction.
    pub(super) open: Option<i64>,
    /// Oldest first, all of the epoch.
    pub(super) batches: Vec<BatchState>,
}

impl Producer {
    fn new() -> Producer {
        Producer { epoch: -1, coordinator_epoch: -1, timestamp: -1, seen: -1, open: None, batches: Vec::new() }
    }

    fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |batch| batch.last_sequence)
    }

    fn enter(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// A producer as DescribeProducers answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its last epoch.
    pub epoch: i16,
    /// Last sequence number, or -1.
    pub last_sequence: i32,
    /// Timestamp of its last batch in ms since 1970, or -1.
    pub last_timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker, or -1.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction, or -1.
    pub transaction_start: i64,
}

/// The end of a transaction, as a coordinator writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction.
    pub producer_id: i64,
    /// Epoch of the producer; in transaction version 2 one above that of the records.
    pub producer_epoch: i16,
    /// Epoch of the coordinator.
    pub coordinator_epoch: i32,
    /// Committed or aborted.
    pub commit: bool,
    /// 2 where the epoch rises with each transaction (KIP-890), which is then checked more strictly; 0 where that is unknown.
    pub transaction_version: i16,
}

/// Proof that the coordinator was asked whether a transaction is open, from [`super::Log::begin_verification`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Nobody asked: only batches of a transaction that the log knows to be open are taken.
    No,
    /// The transaction was open in the log when asked for; the coordinator need not be asked.
    Ongoing,
    /// The coordinator must be asked between the call that gave this number and the append.
    Guard(u64),
}

#[derive(Debug)]
struct Verification {
    guard: u64,
    epoch: i16,
    lowest_sequence: i32,
    bumps_epoch: bool,
    since: i64,
}

/// All producers of one log.
#[derive(Debug, Default)]
pub(super) struct Producers {
    all: HashMap<i64, Producer>,
    /// First offset of each open transaction, and whose it is.
    open: BTreeMap<i64, i64>,
    verifications: HashMap<i64, Verification>,
    next_guard: u64,
}

impl Producers {
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Producer)> {
        self.all.iter().map(|(id, producer)| (*id, producer))
    }

    /// Puts a producer back as a snapshot had it.
    pub(super) fn restore(&mut self, id: i64, producer: Producer) {
        if let Some(first) = producer.open {
            self.open.insert(first, id);
        }
        self.all.insert(id, producer);
    }

    /// First offset of the oldest open transaction.
    pub(super) fn first_open(&self) -> Option<i64> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// The batch in the log that this one repeats.
    pub(super) fn duplicate(&self, header: &Header) -> Option<BatchState> {
        let producer =
            self.all.get(&header.producer_id()).filter(|producer| producer.epoch == header.producer_epoch())?;
        let repeats = |batch: &&BatchState| {
            batch.base_sequence() == header.base_sequence() && batch.last_sequence == header.last_sequence()
        };
        producer.batches.iter().find(repeats).copied()
    }

    /// Whether a data batch of an idempotent producer may follow. A client's must be in sequence and a client's transaction known to
    /// the coordinator; a coordinator's own need neither.
    pub(super) fn check(&self, header: &Header, client: Option<Verified>) -> Result<(), AppendError> {
        let (id, epoch, sequence) = (header.producer_id(), header.producer_epoch(), header.base_sequence());
        let known = self.all.get(&id);
        if let Some(producer) = known.filter(|producer| epoch < producer.epoch) {
            return Err(stale_epoch(id, epoch, producer.epoch));
        }
        let open = known.is_some_and(|producer| producer.open.is_some());
        let verification = self.verifications.get(&id);
        if let (Some(verified), true) = (client, header.is_transactional()) {
            let ongoing = open && known.is_some_and(|producer| producer.epoch == epoch);
            let guarded = verification.is_some_and(|entry| verified == Verified::Guard(entry.guard));
            if !ongoing && !guarded {
                let message = format!("the records of producer {id} are not part of an ongoing transaction");
                return Err(AppendError::new(ErrorCode::INVALID_TXN_STATE, message));
            }
        }
        if client.is_some() {
            let empty = known.is_none_or(|producer| producer.batches.is_empty());
            let late = verification
                .is_some_and(|entry| sequence > entry.lowest_sequence || (entry.bumps_epoch && sequence != 0 && empty));
            let follows = match known {
                None => true,
                Some(producer) if producer.epoch == -1 => true,
                Some(producer) if producer.epoch != epoch => sequence == 0,
                Some(producer) => in_sequence(producer.last_sequence(), sequence),
            };
            if late || !follows {
                let last = known.map_or(-1, Producer::last_sequence);
                let message = format!(
                    "sequence {sequence} of producer {id}, epoch {epoch}, does not follow {last}: a batch before it is missing"
                );
                return Err(AppendError::new(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, message));
            }
        }
        if open && !header.is_transactional() {
            let message = format!("producer {id} has an open transaction, the records must be part of it");
            return Err(AppendError::new(ErrorCode::INVALID_TXN_STATE, message));
        }
        Ok(())
    }

    /// Takes note of a data batch that is in the log.
    pub(super) fn batch(&mut self, header: &Header, now: i64) {
        let id = header.producer_id();
        if id < 0 {
            return;
        }
        let producer = self.all.entry(id).or_insert_with(Producer::new);
        producer.enter(header.producer_epoch());
        if producer.batches.len() == BATCHES {
            producer.batches.remove(0);
        }
        producer.batches.push(BatchState {
            last_sequence: header.last_sequence(),
            delta: header.last_offset_delta(),
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp(),
        });
        (producer.timestamp, producer.seen) = (header.max_timestamp(), now);
        if header.is_transactional() {
            self.verifications.remove(&id);
            if producer.open.is_none() {
                producer.open = Some(header.base_offset());
                self.open.insert(header.base_offset(), id);
            }
        }
    }

    /// Whether a marker may be written.
    pub(super) fn check_marker(&self, marker: &Marker) -> Result<(), AppendError> {
        let Some(producer) = self.all.get(&marker.producer_id) else { return Ok(()) };
        let (epoch, current) = (marker.producer_epoch, producer.epoch);
        let strict = marker.transaction_version >= 2;
        // A coordinator that did not hear that its marker was written writes it once more.
        let repeated = strict && epoch == current && (producer.open.is_none() || epoch == i16::MAX);
        if !repeated && (epoch < current || (strict && epoch == current)) {
            return Err(stale_epoch(marker.producer_id, epoch, current));
        }
        if producer.coordinator_epoch > marker.coordinator_epoch {
            let message = format!(
                "marker of producer {} is of coordinator epoch {}, the log has seen {}",
                marker.producer_id, marker.coordinator_epoch, producer.coordinator_epoch
            );
            return Err(AppendError::new(ErrorCode::TRANSACTION_COORDINATOR_FENCED, message));
        }
        Ok(())
    }

    /// What an abort marker at `offset` will abort; `None` where nothing is open.
    pub(super) fn aborts(&self, producer_id: i64, offset: i64) -> Option<aborted::Entry> {
        let first = self.all.get(&producer_id)?.open?;
        let other = self.open.keys().find(|open| **open != first).copied();
        Some(aborted::Entry { producer_id, first, last: offset, stable: other.unwrap_or(offset + 1) })
    }

    /// Takes note of a marker that is in the log.
    pub(super) fn marker(&mut self, producer_id: i64, epoch: i16, coordinator_epoch: i32, timestamp: i64, now: i64) {
        self.verifications.remove(&producer_id);
        let producer = self.all.entry(producer_id).or_insert_with(Producer::new);
        producer.enter(epoch);
        producer.coordinator_epoch = coordinator_epoch;
        (producer.timestamp, producer.seen) = (timestamp, now);
        if let Some(first) = producer.open.take() {
            self.open.remove(&first);
        }
    }

    /// See [`super::Log::begin_verification`].
    pub(super) fn begin_verification(
        &mut self,
        id: i64,
        epoch: i16,
        sequence: i32,
        bumps_epoch: bool,
        now: i64,
    ) -> Result<Verified, AppendError> {
        if let Some(producer) = self.all.get(&id) {
            if epoch < producer.epoch {
                return Err(stale_epoch(id, epoch, producer.epoch));
            }
            if producer.open.is_some() && producer.epoch == epoch {
                return Ok(Verified::Ongoing);
            }
        }
        let next_guard = &mut self.next_guard;
        let mut fresh = || {
            *next_guard += 1;
            Verification { guard: *next_guard, epoch, lowest_sequence: sequence, bumps_epoch, since: now }
        };
        let entry = self.verifications.entry(id).or_insert_with(&mut fresh);
        if entry.epoch != epoch {
            *entry = fresh();
        }
        entry.lowest_sequence = entry.lowest_sequence.min(sequence);
        Ok(Verified::Guard(entry.guard))
    }

    /// Forgets producers without open transaction that were not heard of for `after` ms.
    pub(super) fn expire(&mut self, now: i64, after: i64) {
        self.all.retain(|_, producer| producer.open.is_some() || now.saturating_sub(producer.seen) < after);
        self.verifications.retain(|_, entry| now.saturating_sub(entry.since) < after);
        if self.all.capacity() > 4 * self.all.len() + 8 {
            self.all.shrink_to_fit();
        }
    }

    /// The producers as DescribeProducers answers them.
    pub(super) fn states(&self) -> Vec<ProducerState> {
        let mut states: Vec<ProducerState> = self
            .iter()
            .map(|(producer_id, producer)| ProducerState {
                producer_id,
                epoch: producer.epoch,
                last_sequence: producer.last_sequence(),
                last_timestamp: producer.timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                transaction_start: producer.open.unwrap_or(-1),
            })
            .collect();
        states.sort_unstable_by_key(|state| state.producer_id);
        states
    }
}

fn stale_epoch(id: i64, epoch: i16, current: i16) -> AppendError {
    let message = format!("epoch {epoch} of producer {id} is stale, the log has seen {current}");
    AppendError::new(ErrorCode::INVALID_PRODUCER_EPOCH, message)
}

fn in_sequence(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (last == i32::MAX && next == 0)
}
