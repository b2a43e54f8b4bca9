//! One group: its members, its state, the rules that need to know nothing else. Time, answers and writes are [`super::turn`]'s.

use super::ErrorCode;
use super::offsets::Topics;
use super::request::{JoinedMember, Ticket};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_wire::versioned::{ConsumerProtocolSubscription, Versioned as _};

/// Where a group stands, in Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No members; it may have offsets.
    Empty,
    /// Waits for members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

impl State {
    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A request of a member that waits. The ticket is gone when its connection is; that the member asked still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting(pub Option<Ticket>);

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub instance: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// Names and metadata, the preferred one first.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    pub assignment: Bytes,
    pub joining: Option<Waiting>,
    pub syncing: Option<Waiting>,
    /// It has not been through a rebalance yet: its client may not know its id and cannot send heartbeats.
    pub new: bool,
}

impl Member {
    /// Whether these are the protocols it has, metadata included.
    pub fn matches(&self, protocols: &[(&str, &[u8])]) -> bool {
        let ours = self.protocols.iter().map(|(name, metadata)| (&**name, &**metadata));
        ours.eq(protocols.iter().copied())
    }

    /// Its metadata for a protocol.
    pub fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| Some(&**name) == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| **name == *protocol)
    }
}

/// The first rebalance of a group waits for more members, again and again while some come, until nothing remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Initial {
    /// How long it waits this time, in ms.
    pub delay_ms: i64,
    /// How long it may wait after that, in ms.
    pub remaining_ms: i64,
    /// Whether somebody came during this wait.
    pub somebody_came: bool,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub name: Arc<str>,
    pub state: State,
    /// Only while the first rebalance is prepared.
    pub initial: Option<Initial>,
    /// Since when it is in this state; unknown where an old record did not say.
    pub since: Option<i64>,
    pub generation: i32,
    /// None for a group that only keeps offsets.
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    pub members: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    pub instances: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out and not yet come back with (KIP-394).
    pub promised: BTreeSet<Arc<str>>,
    /// Members of the generation that have not asked for their assignment.
    pub unsynced: BTreeSet<Arc<str>>,
    /// What the members of a consumer group subscribe to; none where that cannot be known.
    pub subscribed: Option<BTreeSet<Arc<str>>>,
    pub offsets: Topics,
    /// Offsets of open transactions, by producer id.
    pub pending: BTreeMap<i64, Topics>,
}

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

impl Group {
    /// A group without members.
    pub fn new(name: Arc<str>, since: Option<i64>) -> Group {
        Group {
            name,
            state: State::Empty,
            initial: None,
            since,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            promised: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            subscribed: None,
            offsets: Topics::default(),
            pending: BTreeMap::new(),
        }
    }

    /// Whether a request that made the group has left nothing in it.
    pub fn is_void(&self) -> bool {
        self.state == State::Empty && self.promised.is_empty()
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Members whose request to join waits.
    pub fn joining(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    pub fn all_joined(&self) -> bool {
        self.promised.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// The longest that any member wants a rebalance to wait, in ms.
    pub fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(1).max(1))
    }

    /// Whether a member with these protocols can be in the group together with the others.
    pub fn supports(&self, protocol_type: &str, protocols: &[(&str, &[u8])]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |name: &str| self.members.values().all(|member| member.supports(name));
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(|(name, _)| by_all(name))
    }

    /// The protocol of the next generation: every member votes for the first of its list that all support. A tie goes to
    /// what the leader prefers.
    pub fn select_protocol(&self) -> Option<Arc<str>> {
        let leader =
            self.leader.as_ref().and_then(|leader| self.members.get(leader)).or(self.members.values().next())?;
        let by_all = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut candidates: Vec<(&Arc<str>, usize)> =
            leader.protocols.iter().filter(|(name, _)| by_all(name)).map(|(name, _)| (name, 0)).collect();
        for member in self.members.values() {
            let vote =
                member.protocols.iter().find_map(|(name, _)| candidates.iter().position(|(other, _)| *other == name));
            if let Some(vote) = vote {
                candidates[vote].1 += 1;
            }
        }
        let most = candidates.iter().map(|(_, votes)| *votes).max()?;
        candidates.into_iter().find(|(_, votes)| *votes == most).map(|(name, _)| name.clone())
    }

    pub fn add(&mut self, id: Arc<str>, protocol_type: &str, member: Member) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.into());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.promised.remove(&id);
        self.members.insert(id, member);
    }

    /// Takes a member out, or an id that was only promised. Somebody else leads, if it did.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        self.promised.remove(id);
        self.unsynced.remove(id);
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Makes sure that somebody who joined leads. `false` where nobody joined.
    pub fn elect(&mut self) -> bool {
        let joined = |id: &Arc<str>| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            match self.members.keys().find(|id| joined(id)) {
                Some(id) => self.leader = Some(id.clone()),
                None => return false,
            }
        }
        true
    }

    /// Every member, as the leader is told.
    pub fn roster(&self) -> Vec<JoinedMember> {
        let tell = |(id, member): (&Arc<str>, &Member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(self.protocol.as_deref()),
        };
        self.members.iter().map(tell).collect()
    }

    /// That the member is one, and the instance id is the member's.
    pub fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(owner) if **owner != *member => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// That offsets may be committed (KIP-447 for those of a transaction).
    pub fn check_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            // The offsets of a consumer that is no member, or of an administrator.
            return Ok(());
        }
        if generation >= 0 || !member.is_empty() || instance.is_some() {
            self.check_member(member, instance)?;
            if generation != self.generation {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if !transactional {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if !transactional && self.state == State::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// Whether its members read the topic. Of a consumer group whose subscriptions cannot be read it has to be assumed.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumer(), |topics| topics.contains(topic))
    }

    /// Reads the subscriptions anew, after a generation began or was loaded.
    pub fn note_subscriptions(&mut self) {
        let protocol = self.protocol.as_deref();
        let topics = |member: &Member| topics_of(&member.metadata(protocol));
        self.subscribed = match self.is_consumer() {
            true if self.members.is_empty() => Some(BTreeSet::new()),
            true => self
                .members
                .values()
                .map(topics)
                .collect::<Option<Vec<_>>>()
                .map(|all| all.into_iter().flatten().collect()),
            false => None,
        };
    }

    /// Whether an offset of the partition waits for the end of a transaction.
    pub fn is_pending(&self, topic: &str, partition: i32) -> bool {
        self.pending.values().any(|offsets| offsets.get(topic, partition).is_some())
    }
}

/// The topics of a consumer's subscription; nothing where it is none.
fn topics_of(metadata: &Bytes) -> Option<Vec<Arc<str>>> {
    let subscription = ConsumerProtocolSubscription::decode(metadata.clone()).ok()?;
    Some(subscription.topics.iter().map(|topic| Arc::from(topic.as_str())).collect())
}
