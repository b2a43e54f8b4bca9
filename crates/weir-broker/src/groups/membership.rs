//! The requests of members: join, sync, heartbeat, leave.

use super::group::{Group, Member, State, Waiting};
use super::request::{Action, Answer, Join, Joined, Leaving, Left, Sync, Then, Ticket};
use super::timers::Timer;
use super::turn::Turn;
use super::{ErrorCode, Groups};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kafka waits five minutes for a member that is new to be through its first rebalance, since nobody can send heartbeats
/// without knowing an id.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// How many ids of a group may be promised and not taken up. Kafka has no such limit; memory has.
const MAX_PROMISED: usize = 10_000;

impl Groups {
    /// A member joins (JoinGroup). The ticket may wait until the rebalance is prepared.
    pub fn join(&mut self, join: Join<'_>, ticket: Ticket, now: i64) -> Vec<Action> {
        let session = i64::from(join.session_timeout_ms);
        let exists = self.groups.contains_key(join.group);
        let refused = if !self.loaded {
            Some(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
        } else if join.group.is_empty() {
            Some(ErrorCode::INVALID_GROUP_ID)
        } else if !self.settings.session_timeout_ms.contains(&session) {
            Some(ErrorCode::INVALID_SESSION_TIMEOUT)
        } else if !exists && !join.member.is_empty() {
            Some(ErrorCode::UNKNOWN_MEMBER_ID)
        } else {
            None
        };
        if let Some(error) = refused {
            return vec![Action::Answer { ticket, answer: Answer::Join(Joined::refused(join.member, error)) }];
        }
        let fresh = self.ids.next(join.instance.unwrap_or(join.client_id));
        if !exists {
            let name: Arc<str> = join.group.into();
            self.groups.insert(name.clone(), Group::new(name, Some(now)));
        }
        let Some(mut turn) = self.turn(join.group, now) else { return Vec::new() };
        turn.join(&join, fresh, ticket);
        let (actions, void) = (turn.actions, !exists && turn.group.is_void());
        if void {
            self.groups.remove(join.group);
        }
        actions
    }

    /// A member asks for its assignment (SyncGroup). The ticket waits until the leader has brought it.
    pub fn sync(&mut self, sync: Sync<'_>, ticket: Ticket, now: i64) -> Vec<Action> {
        let refused = |error| vec![Action::Answer { ticket, answer: Answer::Sync(Err(error)) }];
        if !self.loaded {
            return refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        if sync.group.is_empty() {
            return refused(ErrorCode::INVALID_GROUP_ID);
        }
        let Some(mut turn) = self.turn(sync.group, now) else { return refused(ErrorCode::UNKNOWN_MEMBER_ID) };
        match turn.sync(&sync, ticket) {
            Ok(()) => turn.actions,
            Err(error) => refused(error),
        }
    }

    /// A member lives (Heartbeat).
    ///
    /// # Errors
    /// `REBALANCE_IN_PROGRESS` asks the member to join again; the others say that it is none of this generation.
    pub fn heartbeat(
        &mut self,
        group: &str,
        generation: i32,
        member: &str,
        instance: Option<&str>,
        now: i64,
    ) -> Result<(), ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if !self.loaded {
            // Nothing is known yet that would speak against it.
            return Ok(());
        }
        let mut turn = self.turn(group, now).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        turn.group.check_member(member, instance)?;
        if generation != turn.group.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        turn.expect(member);
        match turn.group.state {
            State::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty | State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Members leave, or are removed by an administrator (LeaveGroup). Every one of them gets an outcome of its own.
    pub fn leave(&mut self, group: &str, members: &[Leaving<'_>], ticket: Ticket, now: i64) -> Vec<Action> {
        let answer = |left| Action::Answer { ticket, answer: Answer::Leave(left) };
        if !self.loaded {
            return vec![answer(Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS))];
        }
        if group.is_empty() {
            return vec![answer(Err(ErrorCode::INVALID_GROUP_ID))];
        }
        let outcome = |member: &Leaving<'_>, error| Left {
            member: member.member.into(),
            instance: member.instance.map(Arc::from),
            error,
        };
        let Some(mut turn) = self.turn(group, now) else {
            let unknown = |member| outcome(member, ErrorCode::UNKNOWN_MEMBER_ID);
            return vec![answer(Ok(members.iter().map(unknown).collect()))];
        };
        let mut left = Vec::new();
        for member in members {
            left.push(outcome(member, turn.leave(member).err().unwrap_or_default()));
        }
        if left.iter().any(|left| left.error == ErrorCode::NONE) {
            turn.after_removal();
        }
        turn.actions.push(answer(Ok(left)));
        turn.actions
    }

    /// The connection of a waiting request is gone; its ticket will not be answered. That the member asked still counts, as
    /// in Kafka, which does not notice: the generation may begin with it. A member nobody knows of yet has its session
    /// timeout to come back.
    pub fn forget(&mut self, ticket: Ticket, now: i64) {
        let waits = |waiting: &Option<Waiting>| *waiting == Some(Waiting(Some(ticket)));
        for group in self.groups.values_mut() {
            for (id, member) in &mut group.members {
                if waits(&member.joining) {
                    member.joining = Some(Waiting(None));
                    if member.new {
                        let at = now + i64::from(member.session_timeout_ms);
                        self.timers.set(Timer::Session(group.name.clone(), id.clone()), at);
                    }
                    return;
                }
                if waits(&member.syncing) {
                    member.syncing = Some(Waiting(None));
                    return;
                }
            }
        }
    }
}

impl Turn<'_> {
    fn join(&mut self, join: &Join<'_>, fresh: Arc<str>, ticket: Ticket) {
        if !self.accepts(join.member) {
            // Of a group that is too large, those go who come last.
            let removed = self.remove(join.member);
            self.refuse_join(ticket, "", ErrorCode::GROUP_MAX_SIZE_REACHED);
            if removed {
                self.complete_if_all_joined();
            }
        } else if !self.group.supports(join.protocol_type, join.protocols) {
            self.refuse_join(ticket, join.member, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        } else if join.member.is_empty() {
            self.join_new(join, fresh, ticket);
        } else if join.instance.is_none() && self.group.promised.contains(join.member) {
            self.add(join, join.member.into(), ticket);
        } else {
            self.join_again(join, ticket);
        }
    }

    /// Whether the group has room for the member.
    fn accepts(&self, member: &str) -> bool {
        let max = self.settings.max_size;
        let there = self.group.members.get(member);
        match self.group.state {
            State::Empty => true,
            // The waiting are counted and not the members, so that a group loaded with too many becomes smaller.
            State::PreparingRebalance => {
                there.is_some_and(|member| member.joining.is_some()) || self.group.joining() < max
            }
            State::CompletingRebalance | State::Stable => there.is_some() || self.group.members.len() < max,
        }
    }

    fn join_new(&mut self, join: &Join<'_>, fresh: Arc<str>, ticket: Ticket) {
        match join.instance {
            Some(instance) => match self.group.instances.get(instance).cloned() {
                Some(old) => self.replace(join, &old, fresh, ticket),
                None => self.add(join, fresh, ticket),
            },
            None if join.version >= 4 => {
                if self.group.promised.len() >= MAX_PROMISED {
                    self.refuse_join(ticket, "", ErrorCode::GROUP_MAX_SIZE_REACHED);
                    return;
                }
                let timer = Timer::Session(self.group.name.clone(), fresh.clone());
                self.timers.set(timer, self.now + i64::from(join.session_timeout_ms));
                self.group.promised.insert(fresh.clone());
                self.refuse_join(ticket, &fresh, ErrorCode::MEMBER_ID_REQUIRED);
            }
            None => self.add(join, fresh, ticket),
        }
    }

    /// A member that the group knows, or should.
    fn join_again(&mut self, join: &Join<'_>, ticket: Ticket) {
        if let Err(error) = self.group.check_member(join.member, join.instance) {
            self.refuse_join(ticket, join.member, error);
            return;
        }
        let Some((id, member)) = self.group.members.get_key_value(join.member) else { return };
        let same = member.matches(join.protocols);
        let id = id.clone();
        match self.group.state {
            // A member that did not get the answer to its first request asks again; nothing changed.
            State::CompletingRebalance if same => {
                let joined = self.generation_for(&id);
                self.answer(ticket, Answer::Join(joined));
            }
            // The leader may want a new assignment for reasons of its own, such as a topic that grew.
            State::Stable if same && !self.group.is_leader(&id) => {
                let joined = self.generation_for(&id);
                self.answer(ticket, Answer::Join(joined));
            }
            State::Empty => self.refuse_join(ticket, join.member, ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                self.update(join, &id, ticket);
                self.rebalance();
            }
        }
    }

    /// A new member.
    fn add(&mut self, join: &Join<'_>, id: Arc<str>, ticket: Ticket) {
        let member = Member {
            instance: join.instance.map(Arc::from),
            client_id: join.client_id.into(),
            client_host: join.client_host.into(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: rebalance_timeout_ms(join),
            protocols: protocols(join),
            assignment: Bytes::new(),
            joining: Some(Waiting(Some(ticket))),
            syncing: None,
            new: true,
        };
        if let Some(initial) = &mut self.group.initial {
            initial.somebody_came = true;
        }
        let timer = Timer::Session(self.group.name.clone(), id.clone());
        self.timers.set(timer, self.now + NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.group.add(id, join.protocol_type, member);
        self.rebalance();
    }

    /// The member joins again, maybe with other protocols. A request of its that still waits is not heard by anybody any more.
    fn update(&mut self, join: &Join<'_>, id: &str, ticket: Ticket) {
        let Some(member) = self.group.members.get_mut(id) else { return };
        member.protocols = protocols(join);
        member.session_timeout_ms = join.session_timeout_ms;
        member.rebalance_timeout_ms = rebalance_timeout_ms(join);
        let before = member.joining.replace(Waiting(Some(ticket)));
        if let Some(Waiting(Some(before))) = before {
            self.refuse_join(before, id, ErrorCode::REBALANCE_IN_PROGRESS);
        }
    }

    /// A static member comes back without its id (KIP-345): it takes its own place under a new id, and the old id is fenced.
    fn replace(&mut self, join: &Join<'_>, old: &str, fresh: Arc<str>, ticket: Ticket) {
        let led_by = self.group.leader.clone().unwrap_or_default();
        let Some(mut member) = self.group.members.remove(old) else { return };
        self.timers.cancel(&Timer::Session(self.group.name.clone(), old.into()));
        self.dismiss(&member, old, ErrorCode::FENCED_INSTANCE_ID);
        (member.joining, member.syncing) = (None, None);
        if self.group.unsynced.remove(old) {
            self.group.unsynced.insert(fresh.clone());
        }
        if self.group.is_leader(old) {
            self.group.leader = Some(fresh.clone());
        }
        if let Some(instance) = &member.instance {
            self.group.instances.insert(instance.clone(), fresh.clone());
        }
        self.group.members.insert(fresh.clone(), member);
        self.update(join, &fresh, ticket);
        self.expect(&fresh);
        match self.group.state {
            State::Stable if self.group.select_protocol() == self.group.protocol => {
                // Everybody keeps what they have: nothing to rebalance, but the new id has to be kept.
                if let Some(member) = self.group.members.get_mut(&fresh) {
                    member.joining = None;
                }
                let mut joined = self.generation_for(&fresh);
                if join.version >= 9 {
                    joined.skip_assignment = self.group.is_leader(&fresh);
                } else {
                    // With the old leader's id it takes itself for a follower, and computes no assignment.
                    joined.leader = led_by;
                    joined.members = Vec::new();
                }
                let assignments = self.group.members.iter().map(|(id, member)| (id.clone(), member.assignment.clone()));
                let assignments = assignments.collect();
                self.write(assignments, Then::Answer(ticket, Answer::Join(joined)));
            }
            // In `CompletingRebalance` the leader may be assigning to the old id already.
            State::Stable | State::CompletingRebalance => self.prepare(),
            State::PreparingRebalance => self.complete_if_all_joined(),
            State::Empty => {}
        }
    }

    fn sync(&mut self, sync: &Sync<'_>, ticket: Ticket) -> Result<(), ErrorCode> {
        self.group.check_member(sync.member, sync.instance)?;
        if sync.generation != self.group.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let other = |theirs: Option<&str>, ours: &Option<Arc<str>>| theirs.is_some() && theirs != ours.as_deref();
        if other(sync.protocol_type, &self.group.protocol_type) || other(sync.protocol, &self.group.protocol) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match self.group.state {
            State::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance => return Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Stable => {
                self.note_sync(sync.member);
                if let Some(member) = self.group.members.get(sync.member) {
                    let synced = self.assignment_for(member);
                    self.answer(ticket, Answer::Sync(Ok(synced)));
                }
            }
            State::CompletingRebalance => {
                let Some(member) = self.group.members.get_mut(sync.member) else { return Ok(()) };
                if let Some(Waiting(Some(before))) = member.syncing.replace(Waiting(Some(ticket))) {
                    self.answer(before, Answer::Sync(Err(ErrorCode::REBALANCE_IN_PROGRESS)));
                }
                self.note_sync(sync.member);
                if self.group.is_leader(sync.member) {
                    self.take_assignments(sync.assignments);
                }
            }
        }
        Ok(())
    }

    /// Writes the leader's assignments. They count when that succeeded. What is meant for nobody of the group is left out.
    fn take_assignments(&mut self, from_leader: &[(&str, &[u8])]) {
        let known = |(id, assignment): &(&str, &[u8])| {
            let (id, _) = self.group.members.get_key_value(*id)?;
            Some((id.clone(), Bytes::copy_from_slice(assignment)))
        };
        let assignments: BTreeMap<Arc<str>, Bytes> = from_leader.iter().filter_map(known).collect();
        let (group, generation) = (self.group.name.clone(), self.group.generation);
        self.write(assignments.clone(), Then::Assign { group, generation, assignments });
    }

    fn leave(&mut self, leaving: &Leaving<'_>) -> Result<(), ErrorCode> {
        if leaving.member.is_empty() {
            let owner = leaving.instance.and_then(|instance| self.group.instances.get(instance)).cloned();
            let owner = owner.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            self.remove(&owner);
            return Ok(());
        }
        if !self.group.promised.contains(leaving.member) {
            self.group.check_member(leaving.member, leaving.instance)?;
        }
        self.remove(leaving.member);
        Ok(())
    }

    /// Nothing was heard of the member for its session timeout, or of the promised id.
    pub fn session_timed_out(&mut self, id: &str) {
        // A member that waits for us lives, unless it is new: then nobody may be there any more.
        let waits = |member: &Member| !member.new && (member.joining.is_some() || member.syncing.is_some());
        if self.group.members.get(id).is_some_and(waits) {
            return;
        }
        if self.remove(id) {
            self.after_removal();
        }
    }
}

fn protocols(join: &Join<'_>) -> Vec<(Arc<str>, Bytes)> {
    join.protocols.iter().map(|(name, metadata)| (Arc::from(*name), Bytes::copy_from_slice(metadata))).collect()
}

fn rebalance_timeout_ms(join: &Join<'_>) -> i32 {
    if join.rebalance_timeout_ms < 0 { join.session_timeout_ms } else { join.rebalance_timeout_ms }
}
