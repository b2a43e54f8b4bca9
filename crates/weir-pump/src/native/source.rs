//! One assigned partition: what was fetched of it and not judged, and where everything stands.
//!
//! Fetched bytes become batches, one at a time: control batches and those of aborted transactions are passed over, the
//! checksum is compared, and what cannot be read is told as [`Next::Damaged`], once it has been fetched twice and was the
//! same, so that damage on the way costs nothing.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_wire::batch::{Batch, BatchError, Header};
use weir_wire::codec::Codec;
use weir_wire::messages::AbortedTransaction;
use weir_wire::records::{Place as Within, Records};

use super::epochs::{Epochs, Position};
use super::frames::LARGEST;
use super::producer::Place;
use crate::{PartitionStatus, Progress, Route, Stalling};

/// How long the group's position may be in the making before it is said: longer than any transaction stays open.
const UNSTABLE: Duration = Duration::from_secs(30);

/// What one answer to a fetch held.
struct Chunk {
    records: Bytes,
    /// Aborted transactions that begin further on, in the order of their first offsets.
    aborted: VecDeque<AbortedTransaction>,
    /// Producers whose open transaction was aborted.
    open: HashSet<i64>,
    /// The last stable offset.
    stable: i64,
}

/// A batch that is being judged.
pub(super) struct Work {
    pub(super) batch: Batch,
    pub(super) codec: Codec,
    pub(super) records: Records,
    /// What has been judged.
    pub(super) at: Within,
    /// Whether all of it was accepted as it is so far.
    pub(super) whole: bool,
    /// The first offset that is judged here.
    pub(super) first: Option<i64>,
    /// The offset behind what was judged.
    pub(super) next: i64,
    pub(super) accepted: u64,
    pub(super) warned: u64,
    pub(super) quarantined: u64,
}

/// What comes next in a partition.
pub(super) enum Next {
    /// Nothing that was fetched.
    Empty,
    /// Records.
    Batch(Box<Work>),
    /// Offsets that cannot be read, and why.
    Damaged { first: i64, last: i64, why: String },
    /// To be fetched again before it is believed.
    Suspect(String),
    /// A batch of another format, which only the other lane reads.
    Foreign(String),
}

/// One assigned partition.
pub(super) struct Source {
    pub(super) route: Arc<Route>,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) accepted: Place,
    pub(super) quarantine: Place,
    pub(super) progress: Progress,
    /// Where reading began.
    pub(super) start: Option<i64>,
    /// Whether reading went back behind what the group may have committed, and nothing was committed since.
    back: bool,
    /// Where to fetch next; `None` while that is not known.
    pub(super) fetch_at: Option<i64>,
    /// Offsets below are judged.
    judged_to: i64,
    /// When what was fetched was written.
    pub(super) epochs: Epochs,
    /// The leader's epoch at the last fetch: nothing was written in a later one.
    pub(super) leader_epoch: i32,
    /// Changes with every jump, so that an answer to an older fetch is known.
    pub(super) serial: u64,
    queue: VecDeque<Chunk>,
    pub(super) queued: usize,
    pub(super) work: Option<Box<Work>>,
    suspect: Option<i64>,
    pub(super) stalled: Option<(Instant, String)>,
    stalling: Stalling,
    pub(super) stable: Option<i64>,
    since: Instant,
    /// Not to be fetched, or asked about, before.
    pub(super) not_before: Option<Instant>,
    /// Whether the first offset is to be asked for, not the group's.
    pub(super) reset: bool,
    /// Whether a question about where to begin is on its way.
    pub(super) asking: bool,
}

impl Source {
    pub(super) fn new(route: &Arc<Route>, partition: i32, progress: Progress, serial: u64, now: Instant) -> Source {
        let place = |topic: &str| Place { topic: topic.into(), partition };
        Source {
            topic: route.source.as_str().into(),
            accepted: place(&route.accepted),
            quarantine: place(&route.quarantine),
            route: Arc::clone(route),
            partition,
            progress,
            start: None,
            back: false,
            fetch_at: None,
            judged_to: i64::MIN,
            epochs: Epochs::default(),
            leader_epoch: i32::MAX,
            serial,
            queue: VecDeque::new(),
            queued: 0,
            work: None,
            suspect: None,
            stalled: None,
            stalling: Stalling::default(),
            stable: None,
            since: now,
            not_before: None,
            reset: false,
            asking: false,
        }
    }

    /// Leads it along another route of the same source.
    pub(super) fn set_route(&mut self, route: &Arc<Route>) {
        self.accepted.topic = route.accepted.as_str().into();
        self.quarantine.topic = route.quarantine.as_str().into();
        self.route = Arc::clone(route);
    }

    /// Goes on at an offset; what was fetched is forgotten.
    pub(super) fn seek(&mut self, offset: i64, serial: u64) {
        self.start.get_or_insert(offset);
        self.fetch_at = Some(offset);
        self.judged_to = offset;
        self.epochs.cut(offset);
        self.serial = serial;
        self.queue.clear();
        self.queued = 0;
        self.work = None;
        self.asking = false;
    }

    /// The log does not keep what is to be read next, so that the first offset it keeps is to be asked for; not while what was
    /// read before is not done with.
    pub(super) fn lose_position(&mut self) -> bool {
        self.reset = !self.has_more() && self.progress.position().is_none();
        if self.reset {
            self.fetch_at = None;
            self.epochs.clear();
        }
        self.reset
    }

    /// Goes on at the first offset that the log keeps. Another log of the same name may keep lower ones than were read.
    pub(super) fn restart(&mut self, first: i64, serial: u64) {
        self.reset = false;
        self.back |= self.progress.next().max(self.start).is_some_and(|at| first < at);
        self.progress.cut(first);
        self.start = self.start.map(|start| start.min(first));
        self.seek(first, serial);
    }

    /// Goes on where the group stands; the record before was written in this epoch, if it is known.
    pub(super) fn begin(&mut self, offset: i64, epoch: i32, serial: u64) {
        self.seek(offset, serial);
        self.epochs.read(epoch, offset.saturating_sub(1));
    }

    /// Where the log of the leader parts from what was fetched, if the last epoch up to ours that it has ends there.
    pub(super) fn parting(&self, (epoch, end): (i32, i64)) -> i64 {
        self.epochs.parting(epoch, end).min(self.fetch_at.unwrap_or(i64::MAX))
    }

    /// What was read at `to` and behind is not in the log any more, and other records will stand there: goes on at `to`, or before
    /// it, where not all up to there is judged.
    pub(super) fn cut(&mut self, to: i64, serial: u64) {
        self.back = true;
        self.progress.cut(to);
        self.start = self.start.map(|start| start.min(to));
        // Of a batch that may go on whole nothing was put out yet.
        let begun = self.work.as_ref().filter(|work| work.whole).and_then(|work| work.first);
        self.seek(begun.unwrap_or(self.judged_to).min(to), serial);
    }

    /// The open transaction is committed.
    pub(super) fn committed(&mut self) {
        self.progress.commit();
        self.back = false;
    }

    /// The open transaction ended, and nobody knows how; the group stands at `committed`. Where to read from, `None` if the
    /// transaction held nothing of this partition.
    pub(super) fn settle(&mut self, committed: Option<Position>) -> Option<i64> {
        // What was committed before reading went back may be beyond what the transaction holds, and proves nothing.
        let proof = committed.filter(|(at, epoch)| {
            let own = self.progress.position() == Some(*at) && *epoch >= 0 && *epoch == self.epochs.before(*at);
            !self.back || own
        });
        self.back &= proof.is_none();
        self.progress.settle(proof.map(|(at, _)| at))
    }

    /// Fetches again what is not judged.
    pub(super) fn fetch_again(&mut self, serial: u64) {
        self.seek(self.judged_to, serial);
    }

    /// Where to read again what was not committed.
    pub(super) fn rewind(&mut self, serial: u64) {
        let at = self.progress.abort().or(self.progress.next()).or(self.start);
        if let Some(at) = at {
            self.seek(at, serial);
        }
    }

    /// Says that offsets below are judged.
    pub(super) fn judged(&mut self, next: i64) {
        self.judged_to = self.judged_to.max(next);
    }

    /// Takes the answer to a fetch at [`Source::fetch_at`]; says where the next one begins.
    pub(super) fn fetched(&mut self, mut records: Bytes, aborted: Vec<AbortedTransaction>, stable: i64) {
        self.stable = Some(stable);
        let Some(asked) = self.fetch_at else { return };
        let (mut at, mut whole) = (0, asked);
        // Only whole batches: some brokers cut the last one short.
        while let Ok(size) = Header::peek_size(&records[at..]) {
            let Some(header) = records.get(at..at + size).and_then(|batch| Header::read(batch).ok()) else { break };
            whole = whole.max(header.last_offset().saturating_add(1));
            if header.leader_epoch() <= self.leader_epoch {
                self.epochs.read(header.leader_epoch(), header.base_offset());
            }
            at += size;
        }
        // What stands behind and is no batch is kept, for whoever looks at it to say why.
        let rest = &records[at..];
        let cut =
            rest.len() < weir_wire::batch::PREFIX_SIZE || Header::peek_size(rest).is_ok_and(|size| size > rest.len());
        if cut && at > 0 {
            records.truncate(at);
        }
        if records.is_empty() {
            return;
        }
        let mut aborted = aborted;
        aborted.sort_by_key(|transaction| transaction.first_offset);
        self.fetch_at = Some(whole);
        self.queued += records.len();
        self.queue.push_back(Chunk { records, aborted: aborted.into(), open: HashSet::new(), stable });
    }

    /// Whether there is something to judge.
    pub(super) fn has_more(&self) -> bool {
        self.work.is_some() || !self.queue.is_empty()
    }

    /// The next batch with records to be judged; `memory` is for what is decompressed.
    pub(super) fn next(&mut self, memory: &mut Vec<u8>) -> Next {
        if let Some(work) = self.work.take() {
            return Next::Batch(work);
        }
        while let Some(chunk) = self.queue.front_mut() {
            let before = chunk.records.len();
            let split = Batch::split(&mut chunk.records);
            self.queued = self.queued.saturating_sub(before - chunk.records.len());
            let batch = match split {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    self.queue.pop_front();
                    continue;
                }
                Err(BatchError::Magic { magic }) => {
                    return Next::Foreign(format!(
                        "a batch of the old format {magic} lies at or behind offset {}, which this lane \
                         does not read; choose the other lane, or let retention remove it",
                        self.judged_to
                    ));
                }
                Err(error) => {
                    // Its bounds are unknown; what a header says that cannot be is not believed.
                    return self.suspect_or(self.judged_to, self.judged_to, error.to_string());
                }
            };
            let (first, last) = (batch.base_offset(), batch.last_offset());
            while chunk.aborted.front().is_some_and(|transaction| transaction.first_offset <= last) {
                chunk.open.extend(chunk.aborted.pop_front().map(|transaction| transaction.producer_id));
            }
            // Before that, nothing of its header is believed: damage can make a batch look as if it held nothing to be judged.
            let intact = batch.verify_crc();
            if batch.is_control() && intact.is_ok() {
                chunk.open.remove(&batch.producer_id());
            }
            let aborted = batch.is_transactional() && chunk.open.contains(&batch.producer_id());
            if last < self.judged_to {
                continue;
            }
            if intact.is_ok() && (batch.is_control() || aborted || batch.count() == 0) {
                self.judged_to = last.saturating_add(1);
                continue;
            }
            let (behind, stable) = (Header::read(&chunk.records).ok().map(|next| next.base_offset()), chunk.stable);
            let from = first.max(self.judged_to);
            let read = intact.map_err(|error| error.to_string()).and_then(|()| {
                let codec = batch.codec().map_err(|error| error.to_string())?;
                Ok((codec, Records::read_in(&batch, LARGEST, memory).map_err(|error| error.to_string())?))
            });
            match read {
                Ok((codec, records)) => {
                    if self.suspect.is_some_and(|suspect| suspect <= last) {
                        self.suspect = None;
                    }
                    return Next::Batch(Box::new(Work {
                        batch,
                        codec,
                        records,
                        at: Within::default(),
                        whole: true,
                        first: None,
                        next: from,
                        accepted: 0,
                        warned: 0,
                        quarantined: 0,
                    }));
                }
                Err(why) => {
                    // A damaged header may say anything: not beyond the next batch, nor beyond what is stable.
                    let most = behind.unwrap_or(stable).saturating_sub(1).max(from);
                    return self.suspect_or(from, last.clamp(from, most), format!("batch at offset {first}: {why}"));
                }
            }
        }
        Next::Empty
    }

    fn suspect_or(&mut self, first: i64, last: i64, why: String) -> Next {
        if self.suspect == Some(first) {
            self.suspect = None;
            return Next::Damaged { first, last, why };
        }
        self.suspect = Some(first);
        Next::Suspect(why)
    }

    /// Whether a record is still to be judged.
    pub(super) fn is_due(&self, offset: i64) -> bool {
        offset >= self.judged_to
    }

    /// Stalls from now on, twice as long as the last time if that was without success; says whether to warn of it.
    pub(super) fn stall(&mut self, reason: String, backoff: (Duration, Duration), now: Instant) -> bool {
        let (wait, warn) = self.stalling.again(backoff, now);
        self.stalled = Some((now + wait, reason));
        warn
    }

    /// Something came of it: the next stall is a short one again.
    pub(super) fn goes_on(&mut self) {
        self.stalling.end();
    }

    pub(super) fn status(&self, worker: usize, now: Instant) -> PartitionStatus {
        let position = self.progress.next().or(self.start);
        // Markers at the end are no records: where nothing waits to be judged, what was passed over is behind us.
        let reached = if self.has_more() { position } else { self.fetch_at.or(position) };
        let lag = self.stable.zip(reached.max(position)).map(|(end, at)| u64::try_from(end - at).unwrap_or(0));
        let waits = self.fetch_at.is_none() && now.duration_since(self.since) > UNSTABLE;
        let unstable = waits.then(|| {
            "no position to read from: a transaction that never ended may hold it; see kafka-transactions.sh find-hanging"
                .to_owned()
        });
        PartitionStatus {
            topic: self.topic.as_ref().to_owned(),
            partition: self.partition,
            worker,
            position: self.progress.next(),
            lag,
            stalled: self.stalled.as_ref().map(|(_, reason)| reason.clone()).or(unstable),
        }
    }
}
