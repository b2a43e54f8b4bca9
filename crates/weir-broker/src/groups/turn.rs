//! One group's turn: how it goes from state to state, what that answers, writes and schedules.
//!
//! A rebalance has two halves. While it is prepared, members join; when all have, or the time is over, a generation begins
//! and everybody is told. While it is completed, members ask for their assignment and wait until the leader has brought it
//! and it is written. The rules are those of Kafka's classic protocol, names of states and timeouts included.

use super::group::{Group, Initial, Member, State, Waiting};
use super::record::Entry;
use super::request::{Action, Answer, Joined, Synced, Then, Ticket, Write};
use super::timers::{Timer, Timers};
use super::{ErrorCode, Settings};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::debug;

/// A group, what it may need, and what comes of it.
pub(super) struct Turn<'a> {
    pub group: &'a mut Group,
    pub timers: &'a mut Timers,
    pub settings: &'a Settings,
    pub now: i64,
    pub actions: Vec<Action>,
}

impl Turn<'_> {
    pub fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.actions.push(Action::Answer { ticket, answer });
    }

    pub fn refuse_join(&mut self, ticket: Ticket, member: &str, error: ErrorCode) {
        self.answer(ticket, Answer::Join(Joined::refused(member, error)));
    }

    /// Expects a sign of life within the member's session timeout.
    pub fn expect(&mut self, id: &str) {
        if let Some((id, member)) = self.group.members.get_key_value(id) {
            let timer = Timer::Session(self.group.name.clone(), id.clone());
            self.timers.set(timer, self.now + i64::from(member.session_timeout_ms));
        }
    }

    /// What a member is told of the generation. Only the leader is told of the others.
    pub fn generation_for(&self, id: &Arc<str>) -> Joined {
        Joined {
            error: ErrorCode::NONE,
            member: id.clone(),
            generation: self.group.generation,
            protocol_type: self.group.protocol_type.clone(),
            protocol: self.group.protocol.clone(),
            leader: self.group.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members: if self.group.is_leader(id) { self.group.roster() } else { Vec::new() },
        }
    }

    pub fn assignment_for(&self, member: &Member) -> Synced {
        Synced {
            protocol_type: self.group.protocol_type.clone(),
            protocol: self.group.protocol.clone(),
            assignment: member.assignment.clone(),
        }
    }

    /// Starts a rebalance, or goes on with the one that is prepared.
    pub fn rebalance(&mut self) {
        match self.group.state {
            State::PreparingRebalance => self.complete_if_all_joined(),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare(),
        }
    }

    /// Starts a rebalance: members that wait for an assignment are sent to join again.
    pub fn prepare(&mut self) {
        if self.group.state == State::CompletingRebalance {
            self.drop_assignments(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.group.unsynced.clear();
        self.timers.cancel(&Timer::Sync(self.group.name.clone()));
        let first = self.group.state == State::Empty;
        self.enter(State::PreparingRebalance);
        debug!(group = &*self.group.name, generation = self.group.generation, "rebalance begins");
        if first {
            // More members may be on their way.
            let delay_ms = self.settings.initial_rebalance_delay_ms.max(0);
            let remaining_ms = (self.group.rebalance_timeout_ms() - delay_ms).max(0);
            self.group.initial = Some(Initial { delay_ms, remaining_ms, somebody_came: false });
            if delay_ms > 0 {
                self.timers.set(Timer::Join(self.group.name.clone()), self.now + delay_ms);
            } else {
                self.complete_join();
            }
        } else if self.group.all_joined() {
            self.complete_join();
        } else {
            self.await_joins();
        }
    }

    /// The time to join is over: a first rebalance may wait a little longer.
    pub fn join_timed_out(&mut self) {
        if self.group.state != State::PreparingRebalance {
            return;
        }
        match self.group.initial {
            Some(initial) if initial.somebody_came && initial.remaining_ms > 0 => {
                let delay_ms = initial.delay_ms.min(initial.remaining_ms);
                let remaining_ms = (initial.remaining_ms - initial.delay_ms).max(0);
                self.group.initial = Some(Initial { delay_ms, remaining_ms, somebody_came: false });
                self.timers.set(Timer::Join(self.group.name.clone()), self.now + delay_ms);
            }
            _ => self.complete_join(),
        }
    }

    /// Begins the next generation, if everybody joined. A first rebalance takes its time whoever joined.
    pub fn complete_if_all_joined(&mut self) {
        if self.group.state == State::PreparingRebalance && self.group.initial.is_none() && self.group.all_joined() {
            self.complete_join();
        }
    }

    /// Begins the next generation with the members that joined, and the static ones, who may be away for a while.
    pub fn complete_join(&mut self) {
        self.timers.cancel(&Timer::Join(self.group.name.clone()));
        self.group.initial = None;
        let late = |(id, member): (&Arc<str>, &Member)| {
            (member.joining.is_none() && member.instance.is_none()).then(|| id.clone())
        };
        for id in self.group.members.iter().filter_map(late).collect::<Vec<_>>() {
            self.remove(&id);
        }
        if self.group.members.is_empty() {
            self.group.generation = next(self.group.generation);
            self.group.protocol = None;
            self.group.leader = None;
            self.group.note_subscriptions();
            self.enter(State::Empty);
            debug!(group = &*self.group.name, generation = self.group.generation, "group has no members");
            // If this is lost, the last generation comes back at the next start, and its members time out.
            self.write(BTreeMap::new(), Then::Nothing);
            return;
        }
        if !self.group.elect() {
            // Only static members, and none is there: their sessions decide.
            self.await_joins();
            return;
        }
        self.group.generation = next(self.group.generation);
        self.group.protocol = self.group.select_protocol();
        self.group.note_subscriptions();
        self.enter(State::CompletingRebalance);
        let (members, protocol) = (self.group.members.len(), self.group.protocol.as_deref());
        debug!(group = &*self.group.name, generation = self.group.generation, members, protocol, "generation begins");
        let ids: Vec<Arc<str>> = self.group.members.keys().cloned().collect();
        for id in &ids {
            let joined = self.generation_for(id);
            if let Some(member) = self.group.members.get_mut(id) {
                member.new = false;
                if let Some(Waiting(Some(ticket))) = member.joining.take() {
                    self.answer(ticket, Answer::Join(joined));
                }
            }
            self.expect(id);
        }
        self.group.unsynced = ids.into_iter().collect();
        let timeout_ms = self.group.rebalance_timeout_ms();
        self.timers.set(Timer::Sync(self.group.name.clone()), self.now + timeout_ms);
    }

    /// The time to ask for assignments is over: who did not is out.
    pub fn sync_timed_out(&mut self) {
        if !matches!(self.group.state, State::CompletingRebalance | State::Stable) || self.group.unsynced.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.group.unsynced) {
            self.remove(&id);
        }
        self.prepare();
    }

    /// The member asked for its assignment.
    pub fn note_sync(&mut self, id: &str) {
        self.group.unsynced.remove(id);
        if self.group.unsynced.is_empty() {
            self.timers.cancel(&Timer::Sync(self.group.name.clone()));
        }
    }

    /// The assignments of the generation are written: everybody who waits gets theirs.
    pub fn assign(&mut self, mut assignments: BTreeMap<Arc<str>, Bytes>) {
        for (id, member) in &mut self.group.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.enter(State::Stable);
        let ids: Vec<Arc<str>> = self.group.members.keys().cloned().collect();
        for id in &ids {
            let Some(member) = self.group.members.get_mut(id) else { continue };
            let waiting = member.syncing.take();
            if let Some(Waiting(Some(ticket))) = waiting
                && let Some(member) = self.group.members.get(id)
            {
                let synced = self.assignment_for(member);
                self.answer(ticket, Answer::Sync(Ok(synced)));
            }
            if waiting.is_some() {
                // Its session may have run out while it waited, which did not count.
                self.expect(id);
            }
        }
    }

    /// Nobody has an assignment, and who waits for one is told why.
    pub fn drop_assignments(&mut self, error: ErrorCode) {
        let ids: Vec<Arc<str>> = self.group.members.keys().cloned().collect();
        for id in &ids {
            let Some(member) = self.group.members.get_mut(id) else { continue };
            member.assignment = Bytes::new();
            if let Some(waiting) = member.syncing.take() {
                if let Waiting(Some(ticket)) = waiting {
                    self.answer(ticket, Answer::Sync(Err(error)));
                }
                self.expect(id);
            }
        }
    }

    /// Takes a member out, or an id that was only promised. What it waits for is answered: it is a member no more.
    pub fn remove(&mut self, id: &str) -> bool {
        let promised = self.group.promised.contains(id);
        self.timers.cancel(&Timer::Session(self.group.name.clone(), id.into()));
        match self.group.remove(id) {
            Some(member) => {
                debug!(group = &*self.group.name, member = id, instance = member.instance.as_deref(), "member is out");
                self.dismiss(&member, "", ErrorCode::UNKNOWN_MEMBER_ID);
                true
            }
            None => promised,
        }
    }

    /// Answers whatever the member waits for.
    pub fn dismiss(&mut self, member: &Member, id: &str, error: ErrorCode) {
        if let Some(Waiting(Some(ticket))) = member.joining {
            self.refuse_join(ticket, id, error);
        }
        if let Some(Waiting(Some(ticket))) = member.syncing {
            self.answer(ticket, Answer::Sync(Err(error)));
        }
    }

    /// Goes on after a member left or timed out.
    pub fn after_removal(&mut self) {
        match self.group.state {
            State::Stable | State::CompletingRebalance => self.prepare(),
            State::PreparingRebalance => self.complete_if_all_joined(),
            State::Empty => {}
        }
    }

    /// Writes the group as it is, with these assignments.
    pub fn write(&mut self, assignments: BTreeMap<Arc<str>, Bytes>, then: Then) {
        let entries = vec![Entry::of_group(self.group, &assignments)];
        self.actions.push(Action::Write(Write { producer: None, entries, then }));
    }

    fn await_joins(&mut self) {
        let timeout_ms = self.group.rebalance_timeout_ms();
        self.timers.set(Timer::Join(self.group.name.clone()), self.now + timeout_ms);
    }

    fn enter(&mut self, state: State) {
        self.group.state = state;
        self.group.since = Some(self.now);
    }
}

/// The generation after this one; after the last one the numbers begin anew.
fn next(generation: i32) -> i32 {
    generation.checked_add(1).unwrap_or(1)
}
