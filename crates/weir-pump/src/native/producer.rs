//! The life of a transactional producer as a state machine: what to send next, and what the answers mean.
//!
//! It speaks version 2 of transactions where the broker offers it (KIP-890): writing to a partition takes it into the
//! transaction, and each end of a transaction gives a new epoch, which begins all sequences at 0. Else partitions and the
//! group are added first, and the epoch stays. Batches are stamped when they are first sent, so that what was checked while
//! a commit is on its way belongs to the transaction after it; what was sent is kept until it is acknowledged, and sent
//! again in its order with the same sequences.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_wire::ErrorCode;
use weir_wire::batch::Batch;
use weir_wire::build::Producer as Identity;
use weir_wire::stamp::Stamper;

use super::reactions::{Reaction, Step, reaction};

/// A broker keeps the last five batches of a producer to know them again.
const UNACKNOWLEDGED: usize = 5;
/// The wait before something is tried again: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A partition of an output topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

/// Why a worker cannot simply go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The transaction is aborted and its records are read again.
    #[error("the transaction must be aborted: {0}")]
    Abort(String),
    /// As `Abort`; this output refused a record, and will again.
    #[error("a record is refused: {reason}")]
    Refused { place: Place, reason: String },
    /// As `Abort`; the topic's limits are not what they were.
    #[error("the transaction must be aborted: {reason}")]
    Limits { topic: Arc<str>, reason: String },
    /// As `Abort`; the group has moved on, as this code says.
    #[error("the transaction must be aborted: the group answers {0}")]
    Rejoin(ErrorCode),
    /// Nobody knows how the transaction ended.
    #[error("the end of the transaction is in doubt: {0}")]
    Doubt(String),
    /// The epoch is over.
    #[error("the producer is fenced: {0}")]
    Fenced(String),
    /// The worker is done for.
    #[error("{0}")]
    Fatal(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Has no epoch.
    New,
    Idle,
    Open,
    /// Waits for all that was sent, then for the offsets, then for the end.
    Committing(Close),
    Aborting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    Drain,
    AddOffsets,
    Offsets,
    End,
}

/// What to ask of a coordinator next; one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Init,
    AddPartitions(Vec<Place>),
    AddOffsets,
    /// Of the group's coordinator; all other questions are for the one of transactions.
    Offsets,
    End {
        commit: bool,
    },
}

/// What an answer has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Fine,
    FindCoordinator,
    FindLeader,
    /// There is a new epoch; whatever was open before is ended.
    Ready,
    Committed,
    Aborted,
}

#[derive(Debug)]
struct Sent {
    header: Bytes,
    /// The batch, with the header it came with.
    batch: Bytes,
    sequence: i32,
    flying: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Batch>,
    sent: VecDeque<Sent>,
    next_sequence: i32,
    not_before: Option<Instant>,
    failures: u32,
    /// Whether the coordinator knows the partition, before version 2.
    added: bool,
}

/// A batch to be sent: where to, its sequence to be known by, and its new header, which replaces the one in the batch.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) place: Place,
    pub(super) sequence: i32,
    pub(super) header: Bytes,
    pub(super) batch: Bytes,
}

/// The transactional producer of a worker.
#[derive(Debug)]
pub(super) struct Producer {
    id: i64,
    epoch: i16,
    /// Whether transactions are of version 2.
    implicit: bool,
    phase: Phase,
    queues: BTreeMap<Place, Queue>,
    stamper: Stamper,
    opened: Option<Instant>,
    timeout: Duration,
    busy: bool,
    not_before: Option<Instant>,
    failures: u32,
    /// Whether anything of the open transaction was sent.
    touched: bool,
    /// Whether a connection was lost with batches of it, or a question, on their way: they may arrive late.
    stray: bool,
    /// Whether the coordinator may have been told to commit.
    ending: bool,
    /// Bytes that are not acknowledged.
    bytes: usize,
    /// Counts the epochs that were given up. An answer of an earlier round means nothing any more.
    round: u64,
}

impl Producer {
    pub(super) fn new(timeout: Duration) -> Producer {
        Producer {
            id: -1,
            epoch: -1,
            implicit: false,
            phase: Phase::New,
            queues: BTreeMap::new(),
            stamper: Stamper::default(),
            opened: None,
            timeout,
            busy: false,
            not_before: None,
            failures: 0,
            touched: false,
            stray: false,
            ending: false,
            bytes: 0,
            round: 0,
        }
    }

    /// To be sent along with each question, and held against when its answer comes.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Producer id and epoch.
    pub(super) fn identity(&self) -> (i64, i16) {
        (self.id, self.epoch)
    }

    /// Whether transactions are of version 2.
    pub(super) fn is_implicit(&self) -> bool {
        self.implicit
    }

    /// Whether batches may be handed over.
    pub(super) fn takes(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Open)
    }

    /// Whether there is an epoch and nothing open.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether a transaction is open and not being ended.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Since when the transaction is open.
    pub(super) fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// Whether the coordinator may have aborted the open transaction because it took too long.
    pub(super) fn may_have_timed_out(&self, now: Instant) -> bool {
        self.opened.is_some_and(|opened| now.duration_since(opened) >= self.timeout)
    }

    /// Whether the open transaction may have been committed.
    pub(super) fn may_be_committed(&self) -> bool {
        self.ending
    }

    /// Bytes handed over and not acknowledged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is something to send.
    pub(super) fn has_batches(&self) -> bool {
        let waits = |queue: &Queue| !queue.waiting.is_empty() || queue.sent.iter().any(|sent| !sent.flying);
        matches!(self.phase, Phase::Open | Phase::Committing(Close::Drain)) && self.queues.values().any(waits)
    }

    /// When something that failed may be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queues.values().filter_map(|queue| queue.not_before).chain(self.not_before).min()
    }

    /// Opens a transaction if none is open. Only where [`Producer::takes`].
    pub(super) fn open(&mut self, now: Instant) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Open;
            self.opened = Some(now);
            (self.touched, self.stray, self.ending) = (false, false, false);
        }
    }

    /// Hands over a batch for the open transaction.
    pub(super) fn push(&mut self, place: &Place, batch: Batch) {
        self.bytes += batch.size();
        match self.queues.get_mut(place) {
            Some(queue) => queue.waiting.push_back(batch),
            None => self.queues.entry(place.clone()).or_default().waiting.push_back(batch),
        }
    }

    /// Ends the open transaction: all that was handed over is acknowledged first, then the offsets.
    pub(super) fn commit(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Committing(Close::Drain);
        }
    }

    /// Gives the open transaction up; what was handed over is forgotten.
    pub(super) fn abort(&mut self) {
        if !matches!(self.phase, Phase::New | Phase::Idle) {
            self.phase = Phase::Aborting;
            (self.not_before, self.ending) = (None, false);
            self.queues.values_mut().for_each(|queue| queue.waiting.clear());
        }
    }

    /// Gives the epoch up: the next one ends what is open, one way or the other.
    pub(super) fn renew(&mut self) {
        self.phase = Phase::New;
        self.round += 1;
        self.busy = false;
        self.queues.clear();
        self.bytes = 0;
    }

    /// What to ask of a coordinator now. Who takes it sends it, or says [`Producer::gone`].
    pub(super) fn wish(&mut self, now: Instant) -> Option<Wish> {
        if self.busy || self.not_before.is_some_and(|until| now < until) {
            return None;
        }
        let all_sent = self.queues.values().all(|queue| queue.waiting.is_empty() && queue.sent.is_empty());
        let none_flies = self.queues.values().all(|queue| queue.sent.iter().all(|sent| !sent.flying));
        if self.phase == Phase::Committing(Close::Drain) && all_sent {
            self.phase = Phase::Committing(if self.implicit { Close::Offsets } else { Close::AddOffsets });
        }
        let wish = match self.phase {
            Phase::New => Wish::Init,
            Phase::Idle => return None,
            Phase::Open | Phase::Committing(Close::Drain) => {
                let missing = self.queues.iter().filter(|(_, queue)| !queue.added && !queue.waiting.is_empty());
                let missing: Vec<Place> = missing.map(|(place, _)| place.clone()).collect();
                if self.implicit || missing.is_empty() {
                    return None;
                }
                Wish::AddPartitions(missing)
            }
            Phase::Committing(Close::AddOffsets) => Wish::AddOffsets,
            Phase::Committing(Close::Offsets) => Wish::Offsets,
            Phase::Committing(Close::End) => {
                self.ending = true;
                Wish::End { commit: true }
            }
            Phase::Aborting if !none_flies => return None,
            // Before version 2 the epoch stays: batches on their way could fall to the next transaction, and which sequences
            // have arrived is not known.
            Phase::Aborting if !self.implicit && (self.stray || !all_sent) => {
                self.renew();
                Wish::Init
            }
            Phase::Aborting => Wish::End { commit: false },
        };
        self.busy = true;
        self.touched |= !matches!(wish, Wish::Init);
        Some(wish)
    }

    /// What [`Producer::wish`] said cannot be asked, and was not.
    pub(super) fn unasked(&mut self) {
        self.busy = false;
    }

    /// Whether an abort has nothing to tell the coordinator and is done at once.
    pub(super) fn abort_quietly(&mut self) -> bool {
        let quiet = self.phase == Phase::Aborting && !self.touched && !self.busy;
        if quiet {
            self.close();
        }
        quiet
    }

    /// The next batches for partitions of which `mine` says that they are led by the broker in question, one for each
    /// partition, up to `most` bytes.
    pub(super) fn outgoing(&mut self, now: Instant, most: usize, mine: impl Fn(&Place) -> bool) -> Vec<Outgoing> {
        let mut all = Vec::new();
        if !matches!(self.phase, Phase::Open | Phase::Committing(Close::Drain)) {
            return all;
        }
        let mut bytes = 0;
        for (place, queue) in &mut self.queues {
            if (queue.waiting.is_empty() && queue.sent.iter().all(|sent| sent.flying)) || bytes >= most {
                continue;
            }
            if queue.not_before.is_some_and(|until| now < until) || !(self.implicit || queue.added) || !mine(place) {
                continue;
            }
            // What failed goes first, in its order: those behind it are refused for their sequence until it is there.
            let failed = queue.sent.iter().position(|sent| !sent.flying);
            let at = match failed {
                Some(at) => at,
                None if queue.sent.len() < UNACKNOWLEDGED => {
                    let Some(batch) = queue.waiting.pop_front() else { continue };
                    let sequence = queue.next_sequence;
                    queue.next_sequence = sequence.wrapping_add(batch.count()) & i32::MAX;
                    let identity = Identity { id: self.id, epoch: self.epoch, base_sequence: sequence };
                    let header = self.stamper.transactional(&batch, identity);
                    queue.sent.push_back(Sent { header, batch: batch.bytes().clone(), sequence, flying: false });
                    queue.sent.len() - 1
                }
                None => continue,
            };
            queue.not_before = None;
            let Some(sent) = queue.sent.get_mut(at) else { continue };
            sent.flying = true;
            bytes += sent.batch.len();
            all.push(Outgoing {
                place: place.clone(),
                sequence: sent.sequence,
                header: sent.header.clone(),
                batch: sent.batch.clone(),
            });
        }
        self.touched |= !all.is_empty();
        all
    }

    /// The answer to a batch; `None` where there is none.
    ///
    /// # Errors
    /// What cannot be mended by sending it again.
    pub(super) fn produced(
        &mut self,
        place: &Place,
        sequence: i32,
        answer: Option<(ErrorCode, &str)>,
        now: Instant,
    ) -> Result<Turn, Trouble> {
        self.stray |= answer.is_none();
        let Some(queue) = self.queues.get_mut(place) else { return Ok(Turn::Fine) };
        let Some(at) = queue.sent.iter().position(|sent| sent.sequence == sequence) else { return Ok(Turn::Fine) };
        queue.sent[at].flying = false;
        let behind_a_failure = queue.sent.iter().take(at).any(|sent| !sent.flying);
        let (code, message) = answer.unwrap_or((ErrorCode::NETWORK_EXCEPTION, "no answer"));
        let reaction = match reaction(Step::Produce, code) {
            Reaction::Abort if code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER && behind_a_failure => Reaction::Retry,
            reaction => reaction,
        };
        if reaction == Reaction::Done {
            queue.failures = 0;
            if let Some(sent) = queue.sent.remove(at) {
                self.bytes = self.bytes.saturating_sub(sent.batch.len());
            }
            return Ok(Turn::Fine);
        }
        let aborting = self.phase == Phase::Aborting;
        let reason = format!("produce to {} {}: {code} {message}", place.topic, place.partition);
        match reaction {
            Reaction::Retry | Reaction::FindLeader => {
                queue.not_before = Some(now + pause(queue.failures));
                queue.failures = queue.failures.saturating_add(1);
                Ok(if reaction == Reaction::FindLeader { Turn::FindLeader } else { Turn::Fine })
            }
            // It is being undone already; only a fence changes what is to be done.
            _ if aborting && reaction != Reaction::Fenced => Ok(Turn::Fine),
            Reaction::Refused => Err(Trouble::Refused { place: place.clone(), reason }),
            Reaction::TooLarge | Reaction::TopicGone => {
                Err(Trouble::Limits { topic: Arc::clone(&place.topic), reason })
            }
            Reaction::Fenced => Err(Trouble::Fenced(reason)),
            Reaction::Abort | Reaction::Rejoin => Err(Trouble::Abort(reason)),
            _ => Err(Trouble::Doubt(reason)),
        }
    }

    /// A coordinator's question got no answer: whether it was carried out nobody knows.
    ///
    /// # Errors
    /// [`Trouble::Doubt`] for an end without an answer before version 2: asked again, it could fall to the next transaction.
    pub(super) fn gone(&mut self, wish: &Wish, why: &str, now: Instant) -> Result<Turn, Trouble> {
        self.busy = false;
        self.stray |= *wish != Wish::Init;
        self.wait(now);
        match wish {
            Wish::End { .. } if !self.implicit => Err(Trouble::Doubt(format!("end: {why}"))),
            _ => Ok(Turn::FindCoordinator),
        }
    }

    /// The broker has given, or keeps, this identity; `implicit` says whether transactions are of version 2.
    pub(super) fn initialised(
        &mut self,
        code: ErrorCode,
        id: i64,
        epoch: i16,
        implicit: bool,
        now: Instant,
    ) -> Result<Turn, String> {
        self.busy = false;
        match reaction(Step::Init, code) {
            Reaction::Done => {
                self.renew();
                (self.id, self.epoch, self.implicit) = (id, epoch, implicit);
                self.close();
                Ok(Turn::Ready)
            }
            Reaction::FindCoordinator => {
                self.wait(now);
                Ok(Turn::FindCoordinator)
            }
            Reaction::Retry => {
                self.wait(now);
                Ok(Turn::Fine)
            }
            _ => {
                self.failures = 10;
                self.wait(now);
                Err(format!("cannot initialise transactions: {code}"))
            }
        }
    }

    /// The answer to a wish other than [`Wish::Init`]. `successor` is the identity that the end of a transaction gave.
    ///
    /// # Errors
    /// What cannot be mended by asking again.
    pub(super) fn answered(
        &mut self,
        wish: &Wish,
        code: ErrorCode,
        place: Option<&Place>,
        successor: Option<(i64, i16)>,
        now: Instant,
    ) -> Result<Turn, Trouble> {
        self.busy = false;
        let step = match wish {
            Wish::Init => Step::Init,
            Wish::AddPartitions(_) => Step::AddPartitions,
            Wish::AddOffsets => Step::AddOffsets,
            Wish::Offsets => Step::Offsets,
            Wish::End { .. } => Step::End,
        };
        let name = format!("{step:?}: {code}");
        match reaction(step, code) {
            Reaction::Done => self.failures = 0,
            Reaction::Retry | Reaction::FindLeader => {
                self.wait(now);
                return Ok(Turn::Fine);
            }
            Reaction::FindCoordinator => {
                self.wait(now);
                return Ok(Turn::FindCoordinator);
            }
            // The abort that follows is the answer to all of these.
            _ if self.phase == Phase::Aborting && step != Step::End => return Ok(Turn::Fine),
            Reaction::Rejoin => return Err(Trouble::Rejoin(code)),
            Reaction::Fenced => return Err(Trouble::Fenced(name)),
            Reaction::Abort => return Err(Trouble::Abort(name)),
            Reaction::NewEpoch => return Err(Trouble::Doubt(name)),
            Reaction::Refused | Reaction::TooLarge | Reaction::TopicGone => {
                return Err(match place {
                    Some(place) if reaction(step, code) == Reaction::Refused => {
                        Trouble::Refused { place: place.clone(), reason: name }
                    }
                    Some(place) => Trouble::Limits { topic: Arc::clone(&place.topic), reason: name },
                    None => Trouble::Abort(name),
                });
            }
        }
        match (wish, self.phase) {
            (Wish::AddPartitions(places), _) => {
                for place in places {
                    if let Some(queue) = self.queues.get_mut(place) {
                        queue.added = true;
                    }
                }
            }
            (Wish::AddOffsets, Phase::Committing(Close::AddOffsets)) => {
                self.phase = Phase::Committing(Close::Offsets);
            }
            (Wish::Offsets, Phase::Committing(Close::Offsets)) => self.phase = Phase::Committing(Close::End),
            (Wish::End { commit }, Phase::Committing(_) | Phase::Aborting) => {
                if let Some((id, epoch)) = successor.filter(|(id, epoch)| self.implicit && *id >= 0 && *epoch >= 0) {
                    (self.id, self.epoch) = (id, epoch);
                }
                // Before version 2 the epoch stays, and what is late of this transaction would fall to the next one.
                let late = self.stray && !self.implicit;
                self.close();
                if late {
                    self.renew();
                }
                return Ok(if *commit { Turn::Committed } else { Turn::Aborted });
            }
            _ => {}
        }
        Ok(Turn::Fine)
    }

    /// Nothing is open any more.
    fn close(&mut self) {
        self.phase = Phase::Idle;
        self.opened = None;
        (self.touched, self.stray, self.ending) = (false, false, false);
        self.bytes = 0;
        self.failures = 0;
        self.not_before = None;
        if self.implicit {
            // A new epoch begins at 0.
            self.queues.clear();
        } else {
            for queue in self.queues.values_mut() {
                *queue = Queue { next_sequence: queue.next_sequence, ..Queue::default() };
            }
        }
    }

    fn wait(&mut self, now: Instant) {
        self.not_before = Some(now + pause(self.failures));
        self.failures = self.failures.saturating_add(1);
    }
}

fn pause(failures: u32) -> Duration {
    RETRY.0.saturating_mul(1 << failures.min(10)).min(RETRY.1)
}
