//! The group coordinator: consumer groups of Kafka's classic protocol and the offsets they commit, as a pure state machine.
//!
//! [`Groups`] does no I/O, knows no clock and waits for nothing. Requests go in with the time, [`Action`]s come out, and a
//! shell performs them. The time is in ms since 1970, as far as the shell knew at its start, and goes on evenly from there:
//! were it to jump, members would be counted out that never failed. What Kafka answers in which state is answered here,
//! error codes included: eager and cooperative assignors (the difference is the clients'), static members (KIP-345,
//! KIP-814), `MEMBER_ID_REQUIRED` (KIP-394), offsets of transactions (KIP-447). The consumer protocol of KIP-848 is not
//! here and its APIs (68, 69) must not be advertised; Kafka's clients use the classic one unless told otherwise. What is
//! not checked here: that topics exist, who may do what, and that a transaction is open.
//!
//! # What the shell has to do
//!
//! There is one `Groups` behind one lock, and one log for `__consumer_offsets` (one partition, compacted).
//!
//! 1. **Perform under the lock.** A call returns actions. Perform them one after the other *before the lock is released*,
//!    so that the log has its records in the order in which they were decided:
//!    * [`Action::Write`]: append [`Write::records`] as one batch (`Origin::Coordinator`, timestamp now; with `producer`, a
//!      transactional batch of that id and epoch, sequence -1; not limited by `max.message.bytes`, since a group of many
//!      members is one record). Then call [`Groups::written`] with the write and the offset of its first record, or the
//!      error (`KAFKA_STORAGE_ERROR` for a full disk, `INVALID_PRODUCER_EPOCH` and the like as the log says), and perform
//!      what *that* returns before the next action. A failed write is final: never append it again, `written` says what the
//!      clients are told and clients try again.
//!    * [`Action::Answer`]: keep it in a list.
//! 2. **Answer after the lock.** If anything was written and `flush = fsync`, wait until the log is durable up to its end
//!    of then. Hand the answers to whoever waits for the tickets: the request itself, or others'. Nobody waits any more?
//!    Drop it.
//! 3. **Tickets.** [`Groups::join`], [`Groups::sync`], [`Groups::leave`], [`Groups::commit`], [`Groups::txn_commit`],
//!    [`Groups::delete`] and [`Groups::delete_offsets`] take a fresh [`Ticket`] (a counter) and answer it exactly once: at
//!    once, or, for join and sync, when the group is ready. Register the ticket before the call. If the connection ends
//!    while its ticket waits, call [`Groups::forget`]; the ticket is then not answered. Waiting has no other timeout: the
//!    group's own timeouts bound it.
//! 4. **Time.** After every call, and after performing its actions, compare [`Groups::next_deadline`] with the timer that
//!    is set ([`Groups::forget`] may bring it forward too). When it comes, call [`Groups::tick`] and perform. Early or late
//!    calls do no harm.
//! 5. **Transactions.** For TxnOffsetCommit, first have the transaction coordinator verify that `__consumer_offsets`-0 is
//!    in the transaction; then [`Groups::txn_commit`]. To end one: take the lock, append the marker to
//!    `__consumer_offsets`, call [`Groups::complete`], release. A marker that could not be appended is no end: do not call.
//!    A second call does nothing. Where both locks are needed, that of the transactions is taken first.
//! 6. **Start.** Read the log from its start to its end, aborted batches too. For each record of a batch call
//!    [`Groups::replay`] (the producer id for transactional batches, the record's offset), for each marker
//!    [`Groups::complete`]. At the end [`Groups::loaded`], and perform. Requests before that are answered
//!    `COORDINATOR_LOAD_IN_PROGRESS`, so the listener may be open already. Members go on without a rebalance if they come
//!    back within their session timeout. A record that cannot be read is an error that names the record: log it and go on.
//! 7. **Topics.** OffsetCommit, TxnOffsetCommit and OffsetDelete hand in only partitions that exist; the others are
//!    answered `UNKNOWN_TOPIC_OR_PARTITION` (by id: `UNKNOWN_TOPIC_ID`) by the shell. When a topic was deleted, call
//!    [`Groups::delete_topics`].
//!
//! For the messages themselves there are [`Groups::join_group`], [`Groups::sync_group`], [`Groups::leave_group`],
//! [`Joined::response`], [`sync_response`], [`leave_response`], [`describe_response`] and a few `From`s, so that a handler
//! need not know how versions differ.
//!
//! FindCoordinator is the shell's (always this node), as is a null group id (`INVALID_GROUP_ID`).
//!
//! # Where this is not Kafka
//!
//! The scenarios of the tests that take neither waiting nor transactions were put to Apache Kafka 4.3.1, which answers the
//! same. What differs does so on purpose: a member that joins or syncs again while an earlier request of its waits, and one
//! that is removed while it waits for its assignment, have the earlier request answered (`REBALANCE_IN_PROGRESS`,
//! `UNKNOWN_MEMBER_ID`), which Kafka never does; a refused JoinGroup leaves no empty group behind; a new member whose
//! connection ends while it waits is given its session timeout and not five minutes; what a member that was replaced has
//! still to sync is expected of the one in its place; at most 10,000 ids of a group can be promised at a time; which
//! members lead after a leader left, and which of two protocols with as many votes is taken, is the same every time.

mod admin;
mod group;
mod membership;
mod offsets;
mod record;
mod request;
#[cfg(test)]
mod tests;
mod timers;
mod turn;
mod wire;

use bytes::Bytes;
use group::{Group, Member, State};
use record::Entry;
use request::Then;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use timers::{Timer, Timers};
use turn::Turn;
use weir_wire::versioned::GroupMetadataValue;
use weir_wire::{ErrorCode, Text};

pub use record::{Record, RecordError};
pub use request::{
    Action, Answer, Commit, CommitPartition, Described, DescribedMember, FetchOffsets, FetchedOffset, FetchedTopic,
    Join, Joined, JoinedMember, Leaving, Left, Listed, Sync, Synced, Ticket, TopicOutcome, Write,
};
pub use wire::{describe_response, leave_response, sync_response};

/// What can be set, with Kafka's name of it and Kafka's default unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `group.min.session.timeout.ms` to `group.max.session.timeout.ms`.
    pub session_timeout_ms: RangeInclusive<i64>,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of a group waits for more members. 0 here, 3000 in
    /// Kafka.
    pub initial_rebalance_delay_ms: i64,
    /// `group.max.size`: members of a group.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`: length of the metadata kept with an offset, in UTF-16 units, as Kafka counts them.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in ms: how long offsets are kept after a group lost its last member, or, without
    /// members, after they were committed.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            session_timeout_ms: 6_000..=1_800_000,
            initial_rebalance_delay_ms: 0,
            max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_retention_check_interval_ms: 10 * 60 * 1000,
        }
    }
}

/// All groups. See the module for how it is used.
#[derive(Debug)]
pub struct Groups {
    settings: Settings,
    ids: MemberIds,
    groups: BTreeMap<Arc<str>, Group>,
    /// Groups with offsets of a producer's open transaction.
    open: BTreeMap<i64, BTreeSet<Arc<str>>>,
    timers: Timers,
    loaded: bool,
}

impl Groups {
    /// No groups, not loaded. `salt` is a random number: member ids made up by one process must not meet those of another.
    pub fn new(settings: Settings, salt: u64) -> Groups {
        Groups {
            settings,
            ids: MemberIds { salt, count: 0 },
            groups: BTreeMap::new(),
            open: BTreeMap::new(),
            timers: Timers::default(),
            loaded: false,
        }
    }

    /// Takes in a record of `__consumer_offsets`. `producer` is that of a transactional batch, `at` the record's offset.
    ///
    /// # Errors
    /// Where key or value cannot be read. The record is then without effect.
    pub fn replay(
        &mut self,
        key: &Bytes,
        value: Option<&Bytes>,
        producer: Option<i64>,
        at: i64,
    ) -> Result<(), RecordError> {
        if let Some(entry) = Entry::read(key, value)? {
            self.apply(entry, producer, at);
        }
        Ok(())
    }

    /// Everything is read: from now on requests are served, and members have their session timeout to come back.
    pub fn loaded(&mut self, now: i64) -> Vec<Action> {
        self.loaded = true;
        self.timers.set(Timer::Expiry, now + self.settings.offsets_retention_check_interval_ms.max(1));
        let mut actions = Vec::new();
        for name in self.groups.keys().cloned().collect::<Vec<_>>() {
            let Some(mut turn) = self.turn(&name, now) else { continue };
            for id in turn.group.members.keys().cloned().collect::<Vec<_>>() {
                turn.expect(&id);
            }
            if turn.group.members.len() > turn.settings.max_size {
                turn.rebalance();
            }
            actions.append(&mut turn.actions);
        }
        actions
    }

    /// A write succeeded, its first record at an offset, or it failed. What that means is in the actions.
    pub fn written(&mut self, write: Write, outcome: Result<i64, ErrorCode>, now: i64) -> Vec<Action> {
        let outcome = outcome.map_err(to_clients);
        match write.then {
            Then::Nothing => Vec::new(),
            Then::Answer(ticket, answer) => {
                let answer = match outcome {
                    Ok(_) => answer,
                    Err(error) => answer.failed(error),
                };
                vec![Action::Answer { ticket, answer }]
            }
            Then::Apply(answer) => {
                let failed = outcome.err();
                if let Ok(base) = outcome {
                    let producer = write.producer.map(|(id, _)| id);
                    for (entry, at) in write.entries.into_iter().zip(base..) {
                        self.apply(entry, producer, at);
                    }
                }
                let answer = answer.map(|(ticket, answer)| Action::Answer {
                    ticket,
                    answer: match failed {
                        None => answer,
                        Some(error) => answer.failed(error),
                    },
                });
                answer.into_iter().collect()
            }
            Then::Assign { group, generation, assignments } => {
                let Some(mut turn) = self.turn(&group, now) else { return Vec::new() };
                if turn.group.state == State::CompletingRebalance && turn.group.generation == generation {
                    match outcome {
                        Ok(_) => turn.assign(assignments),
                        Err(error) => {
                            turn.drop_assignments(error);
                            turn.rebalance();
                        }
                    }
                }
                turn.actions
            }
        }
    }

    /// When [`Groups::tick`] is to be called next.
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next()
    }

    /// Does everything that has fallen due.
    pub fn tick(&mut self, now: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(timer) = self.timers.pop(now) {
            let (Timer::Session(group, _) | Timer::Join(group) | Timer::Sync(group)) = &timer else {
                actions.append(&mut self.expire(now));
                self.timers.set(Timer::Expiry, now + self.settings.offsets_retention_check_interval_ms.max(1));
                continue;
            };
            let Some(mut turn) = self.turn(group, now) else { continue };
            match &timer {
                Timer::Session(_, member) => turn.session_timed_out(member),
                Timer::Join(_) => turn.join_timed_out(),
                Timer::Sync(_) => turn.sync_timed_out(),
                Timer::Expiry => {}
            }
            actions.append(&mut turn.actions);
        }
        actions
    }

    fn turn(&mut self, group: &str, now: i64) -> Option<Turn<'_>> {
        let group = self.groups.get_mut(group)?;
        Some(Turn { group, timers: &mut self.timers, settings: &self.settings, now, actions: Vec::new() })
    }

    /// What becomes of a record that is written, whether just now or before the start.
    fn apply(&mut self, entry: Entry, producer: Option<i64>, at: i64) {
        match entry {
            Entry::Group { group, generation: Some(generation) } => {
                let group = self.groups.entry(group.clone()).or_insert_with(|| Group::new(group, None));
                restore(group, generation);
            }
            Entry::Group { group, generation: None } => {
                if let Some(group) = self.groups.remove(&group) {
                    for id in group.members.into_keys().chain(group.promised) {
                        self.timers.cancel(&Timer::Session(group.name.clone(), id));
                    }
                }
            }
            Entry::Offset { .. } => self.apply_offset(entry, producer, at),
        }
    }
}

/// Puts a kept generation in the place of whatever the group was. Its offsets stay.
fn restore(group: &mut Group, kept: GroupMetadataValue) {
    let copy = |text: &Text| Arc::<str>::from(text.as_str());
    let protocol = kept.protocol.as_ref().map(copy);
    group.state = if kept.members.is_empty() { State::Empty } else { State::Stable };
    group.since = Some(kept.current_state_timestamp).filter(|since| *since >= 0);
    group.generation = kept.generation;
    group.protocol_type = Some(copy(&kept.protocol_type)).filter(|name| !name.is_empty());
    group.members.clear();
    group.instances.clear();
    for member in kept.members {
        let id = copy(&member.member_id);
        let instance = member.group_instance_id.as_ref().map(copy);
        if let Some(instance) = &instance {
            group.instances.insert(instance.clone(), id.clone());
        }
        let timeout_ms = member.rebalance_timeout;
        // The bytes are copied: what is kept must not keep the batch it came in.
        let restored = Member {
            instance,
            client_id: copy(&member.client_id),
            client_host: copy(&member.client_host),
            session_timeout_ms: member.session_timeout,
            rebalance_timeout_ms: if timeout_ms < 0 { member.session_timeout } else { timeout_ms },
            protocols: vec![(protocol.clone().unwrap_or_default(), Bytes::copy_from_slice(&member.subscription))],
            assignment: Bytes::copy_from_slice(&member.assignment),
            joining: None,
            syncing: None,
            new: false,
        };
        group.members.insert(id, restored);
    }
    group.protocol = protocol;
    // A leader that is no member could never be replaced.
    let leader = kept.leader.as_ref().map(copy).filter(|id| group.members.contains_key(id));
    group.leader = leader.or(group.members.keys().next().cloned());
    group.note_subscriptions();
}

/// What clients are told of a write that failed, as Kafka does: what passes by itself is worth another try.
fn to_clients(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::NOT_ENOUGH_REPLICAS | ErrorCode::REQUEST_TIMED_OUT => {
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        }
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        other => other,
    }
}

/// Makes up member ids: a name, and what looks like a random UUID and is never the same twice in a process.
#[derive(Debug)]
struct MemberIds {
    salt: u64,
    count: u64,
}

/// The most that is taken of a client's own name, in bytes. The id has to stay far below what a string on the wire can hold.
const MAX_NAME: usize = 1024;

impl MemberIds {
    fn next(&mut self, name: &str) -> Arc<str> {
        self.count += 1;
        // `scramble` maps different numbers to different ones, so no two counts share the low half.
        let (high, low) =
            (scramble(self.salt ^ self.count.rotate_left(32)), scramble(self.salt.wrapping_add(self.count)));
        let name = &name[..name.floor_char_boundary(MAX_NAME)];
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
        let (d, e) = (low >> 48, low & 0xffff_ffff_ffff);
        format!("{name}-{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}").into()
    }
}

/// The finaliser of SplitMix64: a bijection that spreads every bit of its input.
fn scramble(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
