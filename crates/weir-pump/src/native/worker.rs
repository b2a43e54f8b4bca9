//! One worker: a thread that owns all its connections and everything that can happen between them.
//!
//! Every round does the same: it says what is due, waits for answers, and takes them in. The state machines
//! ([`super::group`], [`super::producer`], [`super::source`]) decide; here is what happens between them. Some things need
//! that nothing is open: to join the group again, to let partitions go, to take over other routes, to stop. For these the
//! worker becomes quiet: nothing is judged, what was judged is committed, and then it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_wire::codec::Codec;

use super::Cluster;
use super::assign::Assignment;
use super::group::{self, Member, Settings};
use super::judge::{Deed, Judge, Judged};
use super::metadata::{Coordinator, Metadata};
use super::net::{Answer, Net};
use super::out::{Out, Unbuilt};
use super::producer::{Place, Producer, Trouble, Wish};
use super::session::Session;
use super::source::{Next, Source};
use crate::{Action, Board, Progress, Route, Stage, WorkerState};

/// The longest wait of a round.
const IDLE: Duration = Duration::from_millis(100);
/// How long records are put together into a batch while nothing more comes.
const LINGER: Duration = Duration::from_millis(5);
/// What may be judged and sent and not acknowledged, in bytes.
const AHEAD: usize = 8 << 20;
/// How often the status is published.
const PUBLISH: Duration = Duration::from_millis(500);

/// What was asked, to know the answer by.
#[derive(Debug)]
pub(super) enum Ask {
    Metadata,
    /// For the leader of the group.
    Counts,
    FindGroup,
    FindTransaction,
    Join,
    Sync,
    Heartbeat,
    Leave,
    /// Where the group stands, for partitions that have just been assigned.
    Positions(Vec<(Place, u64)>),
    /// Where the group stands after a doubtful end, in this round of the producer.
    Settle(u64),
    /// Where these partitions begin.
    Earliest(Vec<(Place, u64)>),
    /// Records, of this broker.
    Fetch(i32),
    Produce(u64, Vec<(Place, i32)>),
    Transaction(u64, Wish),
}

/// A worker.
pub(super) struct Worker<'w> {
    pub(super) board: &'w Board,
    pub(super) index: usize,
    stage: &'w mut dyn Stage,
    pub(super) net: Net<Ask>,
    pub(super) metadata: Metadata,
    pub(super) groups: Coordinator,
    pub(super) transactions: Coordinator,
    pub(super) member: Member,
    pub(super) sources: BTreeMap<Place, Source>,
    pub(super) producer: Producer,
    out: Out,
    pub(super) deeds: Vec<(Place, Deed)>,
    /// Records and bytes of the open transaction.
    open: (u64, usize),
    /// The generation in which offsets were last committed.
    pub(super) committing: i32,
    /// What each broker knows of our fetches.
    pub(super) sessions: BTreeMap<i32, Session>,
    pub(super) serial: u64,
    cursor: Option<Place>,
    actions: Vec<Action>,
    /// What the last batch was decompressed in, for the next one.
    memory: Vec<u8>,
    pub(super) routes: Arc<Vec<Route>>,
    pub(super) routes_version: u64,
    pub(super) revoking: Assignment,
    /// Whether all partitions belong to others.
    pub(super) lost: bool,
    /// Whether the group's positions are to tell how a transaction ended.
    pub(super) settling: bool,
    pub(super) settle_asked: bool,
    /// Transactions that failed since one was committed.
    failures: u32,
    /// Nothing is judged before.
    hold: Option<Instant>,
    published: Option<Instant>,
    /// Whether the state says that a broker and this worker do not trust each other.
    refused: bool,
    pub(super) leaving: bool,
    pub(super) left: bool,
}

impl<'w> Worker<'w> {
    pub(super) fn new(
        board: &'w Board,
        cluster: &Cluster,
        index: usize,
        stage: &'w mut dyn Stage,
    ) -> std::io::Result<Worker<'w>> {
        let now = Instant::now();
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()));
        let settings = Settings {
            group: board.config.group.clone(),
            instance: board.config.static_members.then(|| board.worker_name(index)),
            protocol: board.config.protocol,
            session: board.config.session_timeout,
        };
        Ok(Worker {
            board,
            index,
            stage,
            net: Net::new(cluster, nanos << 8 | index as u64)?,
            metadata: Metadata::default(),
            groups: Coordinator::default(),
            transactions: Coordinator::default(),
            member: Member::new(settings, now),
            sources: BTreeMap::new(),
            producer: Producer::new(board.config.transaction_timeout),
            out: Out::default(),
            deeds: Vec::new(),
            open: (0, 0),
            committing: -1,
            sessions: BTreeMap::new(),
            serial: 0,
            cursor: None,
            actions: Vec::new(),
            memory: Vec::new(),
            routes: Arc::new(Vec::new()),
            routes_version: 0,
            revoking: Assignment::new(),
            lost: false,
            settling: false,
            settle_asked: false,
            failures: 0,
            hold: None,
            published: None,
            refused: false,
            leaving: false,
            left: false,
        })
    }

    /// Works until the pump stops.
    ///
    /// # Errors
    /// Why it ended although nobody asked it to.
    pub(super) fn work(&mut self) -> Result<(), String> {
        let mut answers: Vec<Answer<Ask>> = Vec::new();
        loop {
            let now = Instant::now();
            if self.board.is_stopping() && (self.left || self.board.stop_by().is_some_and(|by| now >= by)) {
                return Ok(());
            }
            let more = match self.turn(now) {
                Ok(more) => more,
                Err(trouble) => {
                    self.recover(trouble, now)?;
                    false
                }
            };
            let timeout = if more { Duration::ZERO } else { self.timeout(now) };
            self.net.wait(timeout, &mut answers);
            let now = Instant::now();
            for answer in answers.drain(..) {
                if let Err(trouble) = self.take(answer, now) {
                    self.recover(trouble, now)?;
                }
            }
        }
    }

    /// Says what is due; whether there is more to judge.
    fn turn(&mut self, now: Instant) -> Result<bool, Trouble> {
        self.find(now);
        self.ask_metadata(now);
        let tick = self.member.tick(now);
        self.group_turn(tick, now)?;
        let quiet = self.wants_quiet(now);
        let more = !quiet && self.judge(now)?;
        self.release(quiet, more, now)?;
        if quiet && self.is_quiet() {
            self.while_quiet(now)?;
        }
        self.ask_group(now)?;
        self.ask_positions(now);
        self.fetch(now);
        self.ask_transaction(now)?;
        self.produce(now);
        self.publish(now);
        Ok(more)
    }

    fn wants_quiet(&self, now: Instant) -> bool {
        self.board.is_stopping()
            || self.lost
            || !self.revoking.is_empty()
            || self.routes_version != self.board.routes_version()
            || self.member.is_to_join(now)
    }

    pub(super) fn is_quiet(&self) -> bool {
        let stops = self.board.is_stopping() && self.producer.opened().is_none();
        (self.producer.is_idle() || stops) && !self.settling && self.deeds.is_empty() && self.out.records() == 0
    }

    /// What needs that nothing is open.
    fn while_quiet(&mut self, now: Instant) -> Result<(), Trouble> {
        if std::mem::take(&mut self.lost) {
            self.sources.clear();
            self.revoking.clear();
            self.published = None;
        }
        for (topic, partitions) in std::mem::take(&mut self.revoking) {
            tracing::info!(worker = self.index, topic, partitions = partitions.len(), "partitions revoked");
            for partition in partitions {
                self.sources.remove(&Place { topic: topic.as_str().into(), partition });
            }
            self.published = None;
        }
        if self.board.is_stopping() {
            return self.leave(now);
        }
        if self.routes_version != self.board.routes_version() {
            self.take_routes();
        }
        if self.member.is_to_join(now) && !self.member.give_up().is_empty() {
            self.sources.clear();
        }
        Ok(())
    }

    fn take_routes(&mut self) {
        let (version, routes) = self.board.routes();
        let topics: BTreeSet<String> = routes.iter().map(|route| route.source.clone()).collect();
        self.sources.retain(|place, _| topics.contains(&*place.topic));
        for route in routes.iter() {
            let shared = Arc::new(route.clone());
            for source in self.sources.values_mut().filter(|source| *source.topic == *route.source) {
                source.set_route(&shared);
            }
        }
        self.member.subscribe(topics);
        self.routes = routes;
        self.routes_version = version;
        self.metadata.want();
        self.published = None;
        self.board.set_state(self.index, WorkerState::Running);
    }

    /// Partitions are ours from now on.
    pub(super) fn assigned(&mut self, added: Assignment, now: Instant) {
        let mut count = 0;
        for (topic, partitions) in added {
            let Some(route) = self.routes.iter().find(|route| route.source == topic) else {
                // Its route has just gone, and may come back: what is not owned can be assigned again.
                self.member.disown(&topic);
                continue;
            };
            let route = Arc::new(route.clone());
            for partition in partitions {
                self.serial += 1;
                let progress = Progress::new(route.source.as_str().into(), Arc::clone(&self.board.ledger));
                let source = Source::new(&route, partition, progress, self.serial, now);
                let place = Place { topic: Arc::clone(&source.topic), partition };
                self.sources.insert(place, source);
                count += 1;
            }
        }
        if count > 0 {
            tracing::info!(worker = self.index, partitions = count, "partitions assigned");
            self.published = None;
        }
    }

    /// Judges the next run of one partition; whether there is more to judge.
    fn judge(&mut self, now: Instant) -> Result<bool, Trouble> {
        let held = self.hold.is_some_and(|until| now < until) || self.settling;
        let config = &self.board.config;
        if held
            || self.out.records() >= config.transaction_records
            || self.out.bytes() >= config.transaction_bytes
            || self.out.bytes() + self.producer.bytes() >= AHEAD
            || !(self.producer.takes() || self.producer.opened().is_some())
        {
            return Ok(false);
        }
        let ready =
            |source: &Source| source.has_more() && source.stalled.as_ref().is_none_or(|(until, _)| *until <= now);
        // A batch that is begun goes first: it is in the cache, and no second one need be decompressed.
        let begun =
            |place: &&Place| self.sources.get(place).is_some_and(|source| source.work.is_some() && ready(source));
        let begun = self.cursor.as_ref().filter(begun).cloned();
        let after = match &self.cursor {
            Some(cursor) => self.sources.range((Bound::Excluded(cursor.clone()), Bound::Unbounded)),
            None => self.sources.range::<Place, _>(..),
        };
        let next = begun.or_else(|| {
            let place = after.chain(self.sources.iter()).find(|(_, source)| ready(source)).map(|(place, _)| place);
            place.cloned()
        });
        let Some(place) = next else { return Ok(false) };
        let Some(source) = self.sources.get_mut(&place) else { return Ok(false) };
        source.stalled = None;
        self.cursor = Some(place.clone());
        let (worker, backoff) = (self.index, config.stall_backoff);
        let mut judge =
            Judge { stage: &mut *self.stage, board: self.board, out: &mut self.out, actions: &mut self.actions, now };
        let stall = |source: &mut Source, reason: String| {
            let warn = source.stall(reason.clone(), backoff, now);
            let (topic, partition) = (&*source.topic, source.partition);
            match warn {
                true => tracing::warn!(worker, topic, partition, reason, "partition stalls"),
                false => tracing::debug!(worker, topic, partition, reason, "partition stalls"),
            }
        };
        let mut damaged = None;
        let deed = match source.next(&mut self.memory) {
            Next::Empty => None,
            Next::Foreign(reason) => {
                self.serial += 1;
                source.fetch_again(self.serial);
                stall(source, reason);
                None
            }
            Next::Suspect(why) => {
                tracing::warn!(
                    worker,
                    topic = &*place.topic,
                    partition = place.partition,
                    why,
                    "a batch cannot be read"
                );
                self.serial += 1;
                source.fetch_again(self.serial);
                None
            }
            Next::Damaged { first, last, why } => {
                damaged = Some((first, last, why));
                None
            }
            Next::Batch(mut work) => match judge.run(source, &mut work).map_err(unbuilt)? {
                Judged::More(deed) => {
                    source.work = Some(work);
                    deed
                }
                Judged::Done(deed) => {
                    if work.codec != Codec::None {
                        let memory = work.records.into_memory().filter(|memory| memory.capacity() <= AHEAD);
                        self.memory = memory.unwrap_or_default();
                    }
                    deed
                }
                Judged::Stalled { deed, reason } => {
                    source.work = Some(work);
                    stall(source, reason);
                    deed
                }
                Judged::Broken { deed, from, why } => {
                    if from <= work.batch.last_offset() {
                        damaged = Some((from, work.batch.last_offset(), why));
                    }
                    deed
                }
            },
        };
        self.deeds.extend(deed.map(|deed| (place.clone(), deed)));
        if let Some((first, last, why)) = damaged {
            let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            match judge.unreadable(source, (first, last), &why, millis).map_err(unbuilt)? {
                Ok(deed) => {
                    let topic = &*place.topic;
                    tracing::error!(
                        worker,
                        topic,
                        partition = place.partition,
                        first,
                        last,
                        why,
                        "offsets cannot be read and go to quarantine as one entry"
                    );
                    self.deeds.push((place, deed));
                }
                Err(reason) => {
                    // Found again when it can be written.
                    self.serial += 1;
                    source.fetch_again(self.serial);
                    stall(source, reason);
                }
            }
        }
        Ok(true)
    }

    /// Hands what was judged to the producer, and ends the transaction when it is time.
    fn release(&mut self, quiet: bool, more: bool, now: Instant) -> Result<(), Trouble> {
        if !self.producer.takes() {
            return Ok(());
        }
        if !self.deeds.is_empty() {
            self.producer.open(now);
            for (place, deed) in self.deeds.drain(..) {
                let Some(source) = self.sources.get_mut(&place) else { continue };
                match deed {
                    Deed::Judged { first, next, accepted, warned, quarantined } => {
                        source.progress.act_run(first, next, accepted, warned, quarantined);
                        self.open.0 += accepted + quarantined;
                    }
                    Deed::Unreadable { first, last } => source.progress.act_unreadable(first, last),
                }
            }
        }
        let config = &self.board.config;
        let due = self.producer.opened().is_some_and(|opened| {
            now.duration_since(opened) >= config.commit_interval
                || self.open.0 >= config.transaction_records as u64
                || self.open.1 >= config.transaction_bytes
        });
        let lingered = self.out.since().is_some_and(|since| now.duration_since(since) >= LINGER);
        if self.producer.is_open() {
            let all = due || quiet || lingered || !more;
            let (producer, bytes) = (&mut self.producer, &mut self.open.1);
            let release = self.out.release(all, |place, batch| {
                *bytes += batch.size();
                producer.push(place, batch);
            });
            release.map_err(unbuilt)?;
            if due || quiet {
                self.producer.commit();
            }
        }
        Ok(())
    }

    /// The open transaction is committed.
    pub(super) fn committed(&mut self) {
        for source in self.sources.values_mut().filter(|source| source.progress.position().is_some()) {
            source.committed();
        }
        self.open = (0, 0);
        if std::mem::take(&mut self.failures) > 0 {
            self.board.set_state(self.index, WorkerState::Running);
        }
    }

    /// The group's positions, after a new epoch has ended what was in doubt.
    pub(super) fn settled(&mut self, committed: &BTreeMap<Place, (i64, i32)>) {
        self.settling = false;
        for (place, source) in &mut self.sources {
            self.serial += 1;
            let at = source.settle(committed.get(place).copied());
            if let Some(at) = at.or(source.progress.next()).or(source.start) {
                source.seek(at, self.serial);
            }
        }
    }

    /// Undoes the open transaction, by abort or by a new epoch, and has its records read again.
    ///
    /// # Errors
    /// Why the worker ends.
    fn recover(&mut self, trouble: Trouble, now: Instant) -> Result<(), String> {
        self.failures += 1;
        let timed_out = self.producer.may_have_timed_out(now);
        let may_be_committed = self.producer.may_be_committed();
        tracing::warn!(worker = self.index, %trouble, failures = self.failures, "transaction is undone");
        match &trouble {
            Trouble::Fatal(reason) => return Err(reason.clone()),
            // The coordinator ends an epoch for two reasons: a newer owner, or a transaction that took too long. One that
            // was shorter than the timeout leaves only the first, and two that fence each other for ever would be the
            // worst: this one ends.
            Trouble::Fenced(_) if !timed_out => return Err(self.board.fenced(self.index)),
            Trouble::Fenced(_) | Trouble::Doubt(_) => self.producer.renew(),
            _ => self.producer.abort(),
        }
        self.board.set_state(self.index, WorkerState::Waiting(format!("transaction undone: {trouble}")));
        self.out.clear();
        self.deeds.clear();
        self.open = (0, 0);
        self.settling = may_be_committed && matches!(trouble, Trouble::Fenced(_) | Trouble::Doubt(_));
        self.settle_asked = false;
        if !self.settling {
            for source in self.sources.values_mut() {
                self.serial += 1;
                source.rewind(self.serial);
            }
        }
        match trouble {
            Trouble::Refused { place, reason } => {
                for source in self.sources.values_mut() {
                    if source.stalled.is_none() && (source.accepted == place || source.quarantine == place) {
                        let reason = format!("a record is refused: {reason}");
                        source.stall(reason, self.board.config.stall_backoff, now);
                    }
                }
                self.published = None;
            }
            Trouble::Limits { topic, .. } => {
                self.board.forget_limit(&topic);
                self.metadata.want();
            }
            // Committed in a generation that has passed meanwhile, while this member went on with the group: the abort is all.
            Trouble::Rejoin(_) if self.member.has_moved_on(self.committing) => {}
            Trouble::Rejoin(code) => {
                let turn = self.member.refused(code, now);
                // A group that has moved on has taken the partitions along, or will say so itself.
                if let Err(Trouble::Fatal(reason)) = self.group_turn(turn, now) {
                    return Err(reason);
                }
            }
            _ => {}
        }
        // A cluster in trouble is not helped by being asked faster. The first time costs next to nothing.
        let backoff = Duration::from_millis(10) * 2u32.saturating_pow(self.failures.min(8));
        self.hold = Some(now + backoff.min(Duration::from_secs(2)));
        Ok(())
    }

    /// What an answer of the group's coordinator leads to.
    pub(super) fn group_turn(&mut self, turn: group::Turn, now: Instant) -> Result<(), Trouble> {
        match turn {
            group::Turn::Fine => {}
            group::Turn::Coordinator => self.groups.lose(now),
            group::Turn::Lost(why) => {
                tracing::warn!(worker = self.index, why, "partitions are lost");
                self.lost = true;
                if self.producer.opened().is_some() && !self.producer.may_be_committed() {
                    return Err(Trouble::Abort(format!("the partitions are lost: {why}")));
                }
                self.out.clear();
                self.deeds.clear();
            }
            group::Turn::Assigned { added, revoked } => {
                for (topic, partitions) in revoked {
                    self.revoking.entry(topic).or_default().extend(partitions);
                }
                self.assigned(added, now);
                self.board.set_state(self.index, WorkerState::Running);
            }
            group::Turn::Wait(reason) => {
                tracing::warn!(worker = self.index, reason, "cannot be a member of the group now");
                self.board.set_state(self.index, WorkerState::Waiting(reason));
            }
            group::Turn::Fenced => return Err(Trouble::Fatal(self.board.fenced(self.index))),
        }
        Ok(())
    }

    /// How long nothing needs to be said.
    fn timeout(&self, now: Instant) -> Duration {
        let config = &self.board.config;
        let commit = self.producer.opened().filter(|_| self.producer.is_open()).map(|at| at + config.commit_interval);
        let linger = self.out.since().map(|since| since + LINGER);
        let stalls = self
            .sources
            .values()
            .flat_map(|source| source.stalled.as_ref().map(|(until, _)| *until).into_iter().chain(source.not_before));
        let next = [commit, linger, self.producer.next(), self.hold, Some(self.member.next())];
        let soonest = next.into_iter().flatten().chain(stalls).filter(|at| *at > now).min();
        soonest.map_or(IDLE, |at| at.duration_since(now).min(IDLE))
    }

    fn publish(&mut self, now: Instant) {
        if self.published.is_none_or(|at| now.duration_since(at) >= PUBLISH) {
            self.published = Some(now);
            if let Some(error) = self.net.take_error() {
                tracing::debug!(worker = self.index, error, "connection trouble");
            }
            match self.net.refusal().map(str::to_owned) {
                Some(reason) => {
                    self.board.set_state(self.index, WorkerState::Waiting(reason));
                    self.refused = true;
                }
                None if std::mem::take(&mut self.refused) => {
                    let member = self.member.identity().is_some();
                    let state = if member { WorkerState::Running } else { WorkerState::Starting };
                    self.board.set_state(self.index, state);
                }
                None => {}
            }
            let status = self.sources.values().map(|source| source.status(self.index, now));
            self.board.set_partitions(self.index, status.collect());
        }
    }
}

fn unbuilt(error: Unbuilt) -> Trouble {
    Trouble::Abort(format!("a batch cannot be built: {error}"))
}
