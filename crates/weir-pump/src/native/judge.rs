//! Shows records to the stage, run by run, and turns what it says into output.
//!
//! A batch is judged in runs of at most [`RUN`] records, with everything else of the worker in between, so that a slow
//! stage costs no heartbeat. A batch that may still go on whole is put out when all of it is judged; of any other each run is
//! put out at once. What was put out and what it stands for go together, so that no transaction holds records without
//! their offsets.

use std::time::Instant;

use weir_wire::records::Record;

use super::out::{Out, Unbuilt, why_rebuilt};
use super::source::{Source, Work};
use crate::fit::{claim, must_be_claimed, place};
use crate::{Action, Board, Header, Outcome, RecordView, Run, Stage, Timestamp, TopicLimit};

/// Records shown to the stage at once.
const RUN: usize = 1000;
/// Headers shown to the stage at once, and the most that a record may have: one that takes two bytes in a batch, and next to none in a
/// compressed one, takes 32 in memory.
const HEADERS: usize = 64 << 10;
/// What stands for a header name that is not UTF-8.
const UNREADABLE_NAME: &str = "\u{fffd}";

/// What was done for a partition and has to be booked with its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Records at `first` and up to `next`.
    Judged { first: i64, next: i64, accepted: u64, warned: u64, quarantined: u64 },
    /// One entry for all of these offsets.
    Unreadable { first: i64, last: i64 },
}

/// What came of a run.
#[derive(Debug)]
pub(super) enum Judged {
    /// The batch goes on.
    More(Option<Deed>),
    /// The batch is done.
    Done(Option<Deed>),
    /// The partition cannot go on now.
    Stalled { deed: Option<Deed>, reason: String },
    /// The rest of the batch, from this offset on, cannot be read.
    Broken { deed: Option<Deed>, from: i64, why: String },
}

/// What stays while records come and go.
pub(super) struct Judge<'w> {
    pub(super) stage: &'w mut dyn Stage,
    pub(super) board: &'w Board,
    pub(super) out: &'w mut Out,
    pub(super) actions: &'w mut Vec<Action>,
    pub(super) now: Instant,
}

/// The limits of both outputs.
#[derive(Clone, Copy)]
struct Limits {
    accepted: TopicLimit,
    quarantine: TopicLimit,
}

impl Judge<'_> {
    /// Judges the next run of a batch.
    ///
    /// # Errors
    /// [`Unbuilt`] where memory is short.
    pub(super) fn run(&mut self, source: &mut Source, work: &mut Work) -> Result<Judged, Unbuilt> {
        let limits = (self.board.writable(&source.route.accepted, source.partition)).and_then(|accepted| {
            Ok(Limits { accepted, quarantine: self.board.writable(&source.route.quarantine, source.partition)? })
        });
        let limits = match limits {
            Ok(limits) => limits,
            Err(reason) => return Ok(Judged::Stalled { deed: self.close(source, work, None)?, reason }),
        };
        let from = work.at;
        let most = RUN.min(self.board.config.transaction_records);
        // An iterator of records is cheap to make again; what it borrows is not.
        let records = work.records.clone();
        let mut iter = records.iter_from(from);
        let (mut views, mut headers, mut ends) = (Vec::with_capacity(most.min(left(work))), Vec::new(), Vec::new());
        let (mut error, mut ended, mut skipped) = (None, false, 0);
        // Where the run ends before its time.
        let mut short = None;
        while views.len() < most {
            let before = iter.place();
            let record = match iter.next() {
                Some(Ok(record)) => record,
                Some(Err(fault)) => {
                    error = Some(fault.to_string());
                    break;
                }
                None => {
                    ended = true;
                    break;
                }
            };
            if !source.is_due(record.offset) {
                skipped += 1;
                continue;
            }
            if headers.len() + record.headers.len() > HEADERS {
                short = Some(before);
                let count = record.headers.len();
                if count > HEADERS {
                    error = Some(format!("the record at offset {} has {count} headers, of {HEADERS}", record.offset));
                }
                break;
            }
            if !record.headers.is_empty() {
                headers.extend(record.headers.into_iter().map(shown));
                ends.push((views.len(), headers.len()));
            }
            views.push(view(&record, work));
        }
        let mut start = 0;
        for (at, end) in ends {
            views[at].headers = &headers[start..end];
            start = end;
        }
        if skipped > 0 {
            // A restart in the middle of the batch: it cannot go on as it is.
            work.whole = false;
        }
        let (Some(first), Some(last)) = (views.first().map(|v| v.offset), views.last().map(|v| v.offset)) else {
            return match error {
                Some(why) => Ok(Judged::Broken { deed: self.close(source, work, Some(limits))?, from: work.next, why }),
                None => Ok(Judged::Done(self.finish(source, work, limits)?)),
            };
        };
        let run = Run {
            route: &source.route,
            partition: source.partition,
            records: &views,
            forward_limit: limits.accepted.bytes,
            quarantine_limit: limits.quarantine.bytes,
        };
        source.progress.receive(&views);
        self.actions.clear();
        let mut stalled = self.stage.process(&run, self.actions).err().map(|stall| stall.reason);
        if self.actions.len() > views.len() || (stalled.is_none() && self.actions.len() < views.len()) {
            // A stage that loses count may have mixed up its answers: none of them is performed.
            stalled = Some(format!("the stage gave {} answers for {} records", self.actions.len(), views.len()));
            self.actions.clear();
        }
        let judged = self.actions.len();
        work.first.get_or_insert(first);
        let forwarded = judged == views.len()
            && self.actions.iter().all(|action| *action == Action::Forward)
            && (work.records.body().len() <= limits.accepted.bytes
                || views.iter().all(|view| view.size() <= limits.accepted.bytes));
        if work.whole && forwarded {
            work.accepted += judged as u64;
        } else {
            spill(self.out, source, work, limits, self.now)?;
            let mut records = records.iter_from(from);
            for _ in 0..skipped {
                records.skim().transpose()?;
            }
            let mut actions = std::mem::take(self.actions);
            let mut index = 0;
            while index < judged {
                // Records that go on as they are do so together.
                let as_it_is = |(action, view): &(&Action, &RecordView<'_>)| {
                    **action == Action::Forward && view.size() <= limits.accepted.bytes
                };
                let plain = actions[index..].iter().zip(&views[index..]).take_while(as_it_is).count();
                if plain > 0 {
                    let to = &source.accepted;
                    self.out.append_all(to, &mut records, plain, work.codec, limits.accepted, self.now)?;
                    work.accepted += plain as u64;
                    index += plain;
                    continue;
                }
                let Some(record) = records.next().transpose()? else { break };
                let action = std::mem::replace(&mut actions[index], Action::Forward);
                let outcome = self.perform(source, work, &run, index, &record, action, limits)?;
                match outcome {
                    Outcome::Accepted => work.accepted += 1,
                    Outcome::Warned => {
                        work.accepted += 1;
                        work.warned += 1;
                    }
                    Outcome::Quarantined => work.quarantined += 1,
                }
                index += 1;
            }
            *self.actions = actions;
        }
        if let Some(reason) = stalled {
            let next = views.get(judged).map_or(last + 1, |view| view.offset);
            work.next = next;
            work.at = place_of(&records, from, next);
            source.judged(next);
            let deed = self.close(source, work, Some(limits))?;
            return Ok(Judged::Stalled { deed, reason });
        }
        work.next = last + 1;
        work.at = short.unwrap_or_else(|| iter.place());
        source.judged(last + 1);
        source.goes_on();
        match error {
            // Told with the next run, which begins at the fault.
            Some(_) => {
                work.at = short.unwrap_or_else(|| place_of(&work.records, from, i64::MAX));
                Ok(Judged::More(put_out(work)))
            }
            None if ended => Ok(Judged::Done(self.finish(source, work, limits)?)),
            None => Ok(Judged::More(put_out(work))),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a record, and everything that decides where it goes")]
    fn perform(
        &mut self,
        source: &Source,
        work: &Work,
        run: &Run<'_>,
        index: usize,
        record: &Record<'_>,
        action: Action,
        limits: Limits,
    ) -> Result<Outcome, Unbuilt> {
        let (outcome, added) = place(self.stage, run, index, action);
        if outcome == Outcome::Quarantined && must_be_claimed(run, index, &added) {
            let claim = claim(&run.route.source, run.partition, &run.records[index], &added, run.quarantine_limit);
            let own = claim.headers.iter().map(|(name, value)| (name.as_bytes(), *value));
            let headers: Vec<(&[u8], Option<&[u8]>)> =
                own.chain(claim.claim.iter().map(|(n, v)| (n.as_bytes(), Some(v.as_slice())))).collect();
            let limit = limits.quarantine;
            self.out.push(&source.quarantine, record.timestamp, claim.key, &headers, limit, self.now)?;
            return Ok(outcome);
        }
        let more: Vec<(&[u8], Option<&[u8]>)> =
            added.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_slice()))).collect();
        let (to, limit) = match outcome {
            Outcome::Quarantined => (&source.quarantine, limits.quarantine),
            Outcome::Accepted | Outcome::Warned => (&source.accepted, limits.accepted),
        };
        self.out.append(to, record, &more, work.codec, limit, self.now)?;
        Ok(outcome)
    }

    /// The batch is judged to its end.
    fn finish(&mut self, source: &mut Source, work: &mut Work, limits: Limits) -> Result<Option<Deed>, Unbuilt> {
        if work.whole && work.accepted > 0 {
            if why_rebuilt(&work.batch, work.codec, limits.accepted).is_none() {
                let (out, now) = (&mut *self.out, self.now);
                out.whole(&source.accepted, &work.batch, &work.records, work.codec, limits.accepted, now)?;
                work.whole = false;
            } else {
                spill(self.out, source, work, limits, self.now)?;
            }
        }
        if work.first.is_some() {
            work.next = work.batch.last_offset().saturating_add(1);
        }
        source.judged(work.batch.last_offset().saturating_add(1));
        Ok(deed(work))
    }

    /// The batch is left in the middle: what was judged of it is put out.
    fn close(&mut self, source: &Source, work: &mut Work, limits: Option<Limits>) -> Result<Option<Deed>, Unbuilt> {
        if work.whole && work.accepted > 0 {
            match limits {
                Some(limits) => spill(self.out, source, work, limits, self.now)?,
                // Not to be written to now; it is judged again when it can be.
                None => return Ok(None),
            }
        }
        Ok(deed(work))
    }

    /// The entry that stands for offsets that cannot be read.
    pub(super) fn unreadable(
        &mut self,
        source: &mut Source,
        (first, last): (i64, i64),
        why: &str,
        millis: i64,
    ) -> Result<Result<Deed, String>, Unbuilt> {
        let limit = match self.board.writable(&source.route.quarantine, source.partition) {
            Ok(limit) => limit,
            Err(reason) => return Ok(Err(reason)),
        };
        let headers = self.stage.unreadable(&source.route, source.partition, first, last, why);
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_slice()))).collect();
        self.out.push(&source.quarantine, millis, None, &headers, limit, self.now)?;
        source.judged(last.saturating_add(1));
        Ok(Ok(Deed::Unreadable { first, last }))
    }
}

/// Writes the records that were accepted as they are one by one, because others of their batch are not.
fn spill(out: &mut Out, source: &Source, work: &mut Work, limits: Limits, now: Instant) -> Result<(), Unbuilt> {
    if !std::mem::take(&mut work.whole) {
        return Ok(());
    }
    let count = usize::try_from(work.accepted).unwrap_or(usize::MAX);
    out.append_all(&source.accepted, &mut work.records.iter(), count, work.codec, limits.accepted, now)
}

/// What was put out with a run: nothing as long as the batch may go on whole.
fn put_out(work: &mut Work) -> Option<Deed> {
    if work.whole { None } else { deed(work) }
}

/// What was done since the last deed of this batch.
fn deed(work: &mut Work) -> Option<Deed> {
    let first = work.first.take().filter(|first| *first < work.next)?;
    let (accepted, warned, quarantined) =
        (std::mem::take(&mut work.accepted), std::mem::take(&mut work.warned), std::mem::take(&mut work.quarantined));
    Some(Deed::Judged { first, next: work.next, accepted, warned, quarantined })
}

/// The place in front of the first record at `offset` or behind it, or of the first that cannot be read.
fn place_of(
    records: &weir_wire::records::Records,
    from: weir_wire::records::Place,
    offset: i64,
) -> weir_wire::records::Place {
    let mut iter = records.iter_from(from);
    loop {
        let place = iter.place();
        match iter.next() {
            Some(Ok(record)) if record.offset < offset => {}
            _ => return place,
        }
    }
}

fn left(work: &Work) -> usize {
    usize::try_from(work.batch.count()).unwrap_or(0).saturating_sub(work.at.index())
}

fn view<'r>(record: &Record<'r>, work: &Work) -> RecordView<'r> {
    let timestamp = match record.timestamp {
        -1 => Timestamp::None,
        millis if work.batch.timestamp_type() == weir_wire::batch::TimestampType::LogAppendTime => {
            Timestamp::LogAppend(millis)
        }
        millis => Timestamp::Create(millis),
    };
    RecordView { offset: record.offset, timestamp, key: record.key, value: record.value, headers: &[] }
}

fn shown<'r>(header: weir_wire::records::Header<'r>) -> Header<'r> {
    match std::str::from_utf8(header.key) {
        Ok(name) => (name, header.value),
        Err(_) => (UNREADABLE_NAME, None),
    }
}
