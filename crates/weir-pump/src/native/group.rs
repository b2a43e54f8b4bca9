//! Membership of a classic consumer group, as a state machine: what to ask the coordinator next, and what its answers mean.
//!
//! Classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), cooperative rebalances (KIP-429) or eager ones, static
//! members (KIP-345). It knows no socket; whoever drives it sends what [`Member::wish`] says, one request at a time, and
//! brings the answers. The driver ends its transaction before it lets a member join again, and before it lets go of
//! partitions, so that what was done for them is committed by the one who did it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weir_wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
    LeaveGroupRequest, MemberIdentity, SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use weir_wire::versioned::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartitions, Versioned as _};
use weir_wire::{ErrorCode, Text, WireError};

use super::assign::{self, Assignment, Candidate};
use crate::GroupProtocol;

/// How long the members have to come together: none is waited for longer than its session anyway.
pub(super) const REBALANCE: Duration = Duration::from_secs(60);
/// The wait after an answer that may be another in a moment.
const RETRY: Duration = Duration::from_millis(100);
/// The wait after an answer that somebody has to do something about.
const PATIENCE: Duration = Duration::from_secs(1);
/// Versions in which a member says what it holds and since when; every client reads them.
const SUBSCRIPTION: i16 = 3;
const ASSIGNMENT: i16 = 0;

/// What does not change.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) group: String,
    /// The name of a static member.
    pub(super) instance: Option<String>,
    pub(super) protocol: GroupProtocol,
    pub(super) session: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Out,
    Joining,
    /// Leads, and waits to be told how many partitions the topics have.
    Leading(Vec<Candidate>),
    /// Ready to bring or to ask for the assignment.
    Syncing(BTreeMap<String, Assignment>),
    Stable,
}

/// What to ask next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Of the coordinator. The transaction is to be ended before.
    Join(JoinGroupRequest),
    /// Of any broker: how many partitions these topics have.
    Partitions(BTreeSet<String>),
    /// Of the coordinator.
    Sync(SyncGroupRequest),
    /// Of the coordinator.
    Heartbeat(HeartbeatRequest),
}

/// What an answer, or the time, has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing to be done.
    Fine,
    /// Another broker may be the coordinator.
    Coordinator,
    /// All partitions belong to others by now; what was done for them and not committed must be undone.
    Lost(&'static str),
    /// These partitions are ours from now on, and those no longer: once what was done is committed, say so by
    /// [`Member::let_go`].
    Assigned { added: Assignment, revoked: Assignment },
    /// Somebody has to do something; it is tried again meanwhile.
    Wait(String),
    /// Another process is this member.
    Fenced,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    settings: Settings,
    topics: BTreeSet<String>,
    id: String,
    generation: i32,
    phase: Phase,
    owned: Assignment,
    /// Whether to join again although nothing else asks for it.
    rejoin: bool,
    /// Whether a request is on its way.
    busy: bool,
    /// Whether the answer to that request means nothing any more.
    stale: bool,
    next: Instant,
    heard: Instant,
    /// As the leader: how many partitions the topics of all members had.
    led: Option<BTreeMap<String, i32>>,
}

impl Member {
    pub(super) fn new(settings: Settings, now: Instant) -> Member {
        Member {
            settings,
            topics: BTreeSet::new(),
            id: String::new(),
            generation: -1,
            phase: Phase::Out,
            owned: Assignment::new(),
            rejoin: false,
            busy: false,
            stale: false,
            next: now,
            heard: now,
            led: None,
        }
    }

    /// Changes what is read. Partitions of other topics are given back with the next join, so they must not be worked on
    /// any more.
    pub(super) fn subscribe(&mut self, topics: BTreeSet<String>) {
        if self.topics != topics {
            self.owned.retain(|topic, _| topics.contains(topic));
            self.topics = topics;
            self.rejoin = true;
        }
    }

    /// Gives a topic back although it was assigned: nothing can be done with it now.
    pub(super) fn disown(&mut self, topic: &str) {
        self.owned.remove(topic);
        self.rejoin = true;
    }

    /// What the group is told with an offset: who commits, in which generation. `None` for no member.
    pub(super) fn identity(&self) -> Option<(&str, i32)> {
        (self.generation >= 0).then_some((self.id.as_str(), self.generation))
    }

    /// Whether this member is, or is on its way, in a later generation than this one.
    pub(super) fn has_moved_on(&self, generation: i32) -> bool {
        self.generation > generation || !matches!(self.phase, Phase::Out | Phase::Stable)
    }

    /// The name of a static member.
    pub(super) fn instance(&self) -> Option<&str> {
        self.settings.instance.as_deref()
    }

    /// Whether the next thing is to join: the transaction is to be ended first.
    pub(super) fn is_to_join(&self, now: Instant) -> bool {
        let due = match self.phase {
            Phase::Out => true,
            Phase::Stable => self.rejoin,
            _ => false,
        };
        due && !self.busy && !self.topics.is_empty() && now >= self.next
    }

    /// Whether there is anything that may have to be said on leaving.
    pub(super) fn leaves(&self) -> Option<LeaveGroupRequest> {
        // A static member does not leave: it comes back under its name (KIP-345).
        if self.id.is_empty() || self.settings.instance.is_some() {
            return None;
        }
        let member = MemberIdentity { member_id: Text::from(self.id.as_str()), ..Default::default() };
        Some(LeaveGroupRequest {
            group_id: Text::from(self.settings.group.as_str()),
            members: vec![member],
            ..Default::default()
        })
    }

    /// When there may be a wish, at the latest.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// What time alone has brought: a session that is over.
    pub(super) fn tick(&mut self, now: Instant) -> Turn {
        let waits = matches!(self.phase, Phase::Joining) && self.busy;
        if self.generation >= 0 && !waits && now.duration_since(self.heard) > self.settings.session {
            return self.lose("the session is over: no heartbeat was answered in time", now);
        }
        Turn::Fine
    }

    /// What to ask now, if anything. Whoever gets it sends it, or says [`Member::gone`].
    pub(super) fn wish(&mut self, now: Instant) -> Result<Option<Wish>, WireError> {
        if self.busy || now < self.next {
            return Ok(None);
        }
        let wish = match &self.phase {
            Phase::Out | Phase::Stable if self.is_to_join(now) => {
                let join = self.join()?;
                self.rejoin = false;
                self.phase = Phase::Joining;
                Wish::Join(join)
            }
            Phase::Out | Phase::Joining => return Ok(None),
            Phase::Leading(members) => Wish::Partitions(members.iter().flat_map(|m| m.topics.clone()).collect()),
            Phase::Syncing(assignments) => Wish::Sync(self.sync(assignments)?),
            Phase::Stable => Wish::Heartbeat(HeartbeatRequest {
                group_id: Text::from(self.settings.group.as_str()),
                generation_id: self.generation,
                member_id: Text::from(self.id.as_str()),
                group_instance_id: self.instance().map(Text::from),
            }),
        };
        self.busy = true;
        Ok(Some(wish))
    }

    fn join(&self) -> Result<JoinGroupRequest, WireError> {
        let metadata = ConsumerProtocolSubscription {
            topics: self.topics.iter().map(|topic| Text::from(topic.as_str())).collect(),
            user_data: None,
            owned_partitions: listed(&self.owned),
            generation_id: self.generation,
            rack_id: None,
        };
        Ok(JoinGroupRequest {
            group_id: Text::from(self.settings.group.as_str()),
            session_timeout_ms: millis(self.settings.session),
            rebalance_timeout_ms: millis(REBALANCE),
            member_id: Text::from(self.id.as_str()),
            group_instance_id: self.instance().map(Text::from),
            protocol_type: Text::from_static("consumer"),
            protocols: vec![JoinGroupRequestProtocol {
                name: Text::from_static(self.strategy()),
                metadata: metadata.encode(SUBSCRIPTION)?,
            }],
            reason: None,
        })
    }

    fn sync(&self, assignments: &BTreeMap<String, Assignment>) -> Result<SyncGroupRequest, WireError> {
        let assignments = assignments.iter().map(|(member, assignment)| {
            let assignment = ConsumerProtocolAssignment { assigned_partitions: listed(assignment), user_data: None };
            let assignment = assignment.encode(ASSIGNMENT)?;
            Ok(SyncGroupRequestAssignment { member_id: Text::from(member.as_str()), assignment })
        });
        Ok(SyncGroupRequest {
            group_id: Text::from(self.settings.group.as_str()),
            generation_id: self.generation,
            member_id: Text::from(self.id.as_str()),
            group_instance_id: self.instance().map(Text::from),
            protocol_type: Some(Text::from_static("consumer")),
            protocol_name: Some(Text::from_static(self.strategy())),
            assignments: assignments.collect::<Result<_, WireError>>()?,
        })
    }

    fn strategy(&self) -> &'static str {
        if self.is_cooperative() { "cooperative-sticky" } else { "range" }
    }

    fn is_cooperative(&self) -> bool {
        self.settings.protocol != GroupProtocol::Eager
    }

    /// There is an answer; whether it is to a question of before everything was lost.
    fn is_stale(&mut self) -> bool {
        self.busy = false;
        std::mem::take(&mut self.stale)
    }

    /// A request got no answer.
    pub(super) fn gone(&mut self, now: Instant) -> Turn {
        if self.is_stale() {
            return Turn::Fine;
        }
        self.next = now + RETRY;
        match self.phase {
            Phase::Joining | Phase::Syncing(_) => {
                self.phase = Phase::Out;
                Turn::Coordinator
            }
            Phase::Leading(_) => Turn::Fine,
            Phase::Out | Phase::Stable => Turn::Coordinator,
        }
    }

    /// Partitions were counted, as the leader asked.
    pub(super) fn counted(&mut self, counts: BTreeMap<String, i32>) {
        if self.is_stale() {
            return;
        }
        let Phase::Leading(members) = &self.phase else { return };
        let assignments =
            if self.is_cooperative() { assign::cooperative(members, &counts) } else { assign::range(members, &counts) };
        self.led = Some(counts);
        self.phase = Phase::Syncing(assignments);
    }

    /// The topics whose partitions the leader counts on, to be held against what they have.
    pub(super) fn led(&self) -> Option<&BTreeMap<String, i32>> {
        self.led.as_ref()
    }

    /// The topics have other partitions than the leader counted on.
    pub(super) fn partitions_changed(&mut self) {
        self.led = None;
        self.rejoin = true;
    }

    pub(super) fn joined(&mut self, response: &JoinGroupResponse, now: Instant) -> Turn {
        if self.is_stale() {
            return Turn::Fine;
        }
        if let Err(code) = response.error_code.ok() {
            self.phase = Phase::Out;
            if code == ErrorCode::MEMBER_ID_REQUIRED {
                self.id = response.member_id.as_str().to_owned();
                self.next = now;
                return Turn::Fine;
            }
            return self.refused(code, now);
        }
        self.heard = now;
        self.next = now;
        self.id = response.member_id.as_str().to_owned();
        self.generation = response.generation_id;
        self.led = None;
        let leads = response.leader == response.member_id && !response.skip_assignment;
        self.phase = if leads {
            let candidates = response.members.iter().map(|member| {
                // A member whose metadata cannot be read gets nothing, and says so itself.
                let said = ConsumerProtocolSubscription::decode(member.metadata.clone()).unwrap_or_default();
                Candidate {
                    id: member.member_id.as_str().to_owned(),
                    topics: said.topics.iter().map(|topic| topic.as_str().to_owned()).collect(),
                    owned: assignment_of(&said.owned_partitions),
                    generation: said.generation_id,
                }
            });
            Phase::Leading(candidates.collect())
        } else {
            Phase::Syncing(BTreeMap::new())
        };
        Turn::Fine
    }

    pub(super) fn synced(&mut self, response: &SyncGroupResponse, now: Instant) -> Turn {
        if self.is_stale() {
            return Turn::Fine;
        }
        if let Err(code) = response.error_code.ok() {
            self.phase = Phase::Out;
            return self.refused(code, now);
        }
        self.heard = now;
        self.next = now + self.settings.session / 4;
        self.phase = Phase::Stable;
        let given = match response.assignment.is_empty() {
            true => ConsumerProtocolAssignment::default(),
            false => match ConsumerProtocolAssignment::decode(response.assignment.clone()) {
                Ok(given) => given,
                Err(error) => return Turn::Wait(format!("the group's leader sent no assignment: {error}")),
            },
        };
        let mut given = assignment_of(&given.assigned_partitions);
        // What was unsubscribed meanwhile is not wanted any more; the next join says so.
        given.retain(|topic, _| self.topics.contains(topic));
        let added = without(&given, &self.owned);
        let revoked = without(&self.owned, &given);
        self.owned = given;
        if self.is_cooperative() && !revoked.is_empty() {
            self.rejoin = true;
        }
        Turn::Assigned { added, revoked }
    }

    /// Before an eager join: everything is given up.
    pub(super) fn give_up(&mut self) -> Assignment {
        if self.is_cooperative() { Assignment::new() } else { std::mem::take(&mut self.owned) }
    }

    pub(super) fn beaten(&mut self, response: &HeartbeatResponse, now: Instant) -> Turn {
        if self.is_stale() {
            return Turn::Fine;
        }
        match response.error_code.ok() {
            Ok(()) => {
                self.heard = now;
                self.next = now + self.settings.session / 4;
                Turn::Fine
            }
            Err(ErrorCode::REBALANCE_IN_PROGRESS) => {
                self.heard = now;
                self.next = now;
                self.rejoin = true;
                Turn::Fine
            }
            Err(code) => self.refused(code, now),
        }
    }

    /// A commit was refused because the group has moved on.
    pub(super) fn refused(&mut self, code: ErrorCode, now: Instant) -> Turn {
        self.next = now + RETRY;
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.rejoin = true;
                Turn::Fine
            }
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.id.clear();
                self.lose("the coordinator does not know this member any more", now)
            }
            ErrorCode::ILLEGAL_GENERATION => self.lose("the group has gone on without this member", now),
            ErrorCode::FENCED_INSTANCE_ID => Turn::Fenced,
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => Turn::Coordinator,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS | ErrorCode::REQUEST_TIMED_OUT => Turn::Fine,
            code => {
                self.next = now + PATIENCE;
                Turn::Wait(format!("the group {} refuses: {code}", self.settings.group))
            }
        }
    }

    fn lose(&mut self, why: &'static str, now: Instant) -> Turn {
        self.generation = -1;
        self.owned.clear();
        self.led = None;
        self.heard = now;
        self.next = self.next.max(now);
        self.stale = self.busy;
        self.phase = Phase::Out;
        Turn::Lost(why)
    }
}

fn listed(assignment: &Assignment) -> Vec<TopicPartitions> {
    let topic = |(topic, partitions): (&String, &BTreeSet<i32>)| TopicPartitions {
        topic: Text::from(topic.as_str()),
        partitions: partitions.iter().copied().collect(),
    };
    assignment.iter().map(topic).collect()
}

fn assignment_of(topics: &[TopicPartitions]) -> Assignment {
    let mut assignment = Assignment::new();
    for topic in topics {
        assignment.entry(topic.topic.as_str().to_owned()).or_default().extend(&topic.partitions);
    }
    assignment
}

fn without(all: &Assignment, others: &Assignment) -> Assignment {
    let left = all.iter().map(|(topic, partitions)| {
        let others = others.get(topic);
        let left = partitions.iter().copied().filter(|p| !others.is_some_and(|others| others.contains(p)));
        (topic.clone(), left.collect::<BTreeSet<i32>>())
    });
    left.filter(|(_, partitions)| !partitions.is_empty()).collect()
}

pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
