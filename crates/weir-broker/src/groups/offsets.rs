//! Committed offsets, those that wait for the end of a transaction, and when they expire.

use super::group::{Group, State};
use super::record::Entry;
use super::request::{
    Action, Answer, Commit, FetchOffsets, FetchedOffset, FetchedTopic, Then, Ticket, TopicOutcome, Write,
};
use super::timers::Timer;
use super::{ErrorCode, Groups};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An offset that a group goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offset {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
    pub committed_at: i64,
    /// Where the client said how long to keep it.
    pub expires_at: Option<i64>,
    /// Offset of its record in `__consumer_offsets`: of two, the later one counts, whichever way it became effective.
    pub record: i64,
}

/// Offsets by topic and partition. A topic without any is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Topics(BTreeMap<Arc<str>, BTreeMap<i32, Offset>>);

impl Topics {
    pub fn get(&self, topic: &str, partition: i32) -> Option<&Offset> {
        self.0.get(topic)?.get(&partition)
    }

    pub fn insert(&mut self, topic: Arc<str>, partition: i32, offset: Offset) {
        self.0.entry(topic).or_default().insert(partition, offset);
    }

    pub fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.0.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Offset)> {
        self.0.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |(at, offset)| (topic, *at, offset)))
    }

    /// The partitions of a topic that have an offset.
    pub fn partitions(&self, topic: &str) -> impl Iterator<Item = i32> {
        self.0.get(topic).into_iter().flat_map(|partitions| partitions.keys().copied())
    }
}

impl Groups {
    /// Commits offsets (OffsetCommit). They take effect, and the ticket is answered, once the write succeeded.
    pub fn commit(&mut self, commit: Commit<'_>, ticket: Ticket, now: i64) -> Vec<Action> {
        if let Err(error) = self.check_commit(&commit, false) {
            return vec![refuse(&commit, ticket, error)];
        }
        // A commit shows that the member lives.
        if let Some(group) = self.groups.get(commit.group)
            && matches!(group.state, State::Stable | State::PreparingRebalance)
            && let Some((id, member)) = group.members.get_key_value(commit.member)
        {
            let at = now + i64::from(member.session_timeout_ms);
            self.timers.set(Timer::Session(group.name.clone(), id.clone()), at);
        }
        self.write_commit(&commit, None, ticket, now)
    }

    /// Commits offsets as part of a transaction (TxnOffsetCommit): they wait for [`Groups::complete`].
    ///
    /// That the transaction is open and has `__consumer_offsets` in it is for the transaction coordinator to verify, before
    /// this.
    pub fn txn_commit(&mut self, commit: Commit<'_>, producer: (i64, i16), ticket: Ticket, now: i64) -> Vec<Action> {
        if commit.group.is_empty() {
            return vec![refuse(&commit, ticket, ErrorCode::INVALID_GROUP_ID)];
        }
        match self.check_commit(&commit, true) {
            Ok(()) => self.write_commit(&commit, Some(producer), ticket, now),
            Err(error) => vec![refuse(&commit, ticket, error)],
        }
    }

    /// Ends the transaction of a producer: its offsets become those of their groups, or are dropped.
    ///
    /// To be called when the marker is in `__consumer_offsets`, without another call between the append and this one, and
    /// for each marker that is met while loading.
    pub fn complete(&mut self, producer: i64, commit: bool) {
        for name in self.open.remove(&producer).unwrap_or_default() {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let Some(pending) = group.pending.remove(&producer) else { continue };
            if !commit {
                continue;
            }
            for (topic, partition, offset) in pending.iter() {
                if group.offsets.get(topic, partition).is_none_or(|other| other.record < offset.record) {
                    group.offsets.insert(topic.clone(), partition, offset.clone());
                }
            }
        }
    }

    /// The offsets of a group (OffsetFetch), topics and partitions in the order asked for.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS`. A group that does not exist has no offsets, which is no error.
    pub fn fetch_offsets(&self, fetch: FetchOffsets<'_>) -> Result<Vec<FetchedTopic>, ErrorCode> {
        if !self.loaded {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        let group = self.groups.get(fetch.group);
        let one = |topic: &str, partition: i32| {
            let unstable = fetch.require_stable && group.is_some_and(|group| group.is_pending(topic, partition));
            match group.and_then(|group| group.offsets.get(topic, partition)) {
                Some(offset) if !unstable => FetchedOffset {
                    partition,
                    offset: offset.offset,
                    leader_epoch: offset.leader_epoch,
                    metadata: offset.metadata.clone(),
                    error: ErrorCode::NONE,
                },
                _ => FetchedOffset {
                    partition,
                    offset: -1,
                    leader_epoch: -1,
                    metadata: Arc::default(),
                    error: if unstable { ErrorCode::UNSTABLE_OFFSET_COMMIT } else { ErrorCode::NONE },
                },
            }
        };
        if let Some(topics) = fetch.topics {
            let all = |(topic, partitions): &(&str, &[i32])| FetchedTopic {
                topic: (*topic).into(),
                partitions: partitions.iter().map(|partition| one(topic, *partition)).collect(),
            };
            return Ok(topics.iter().map(all).collect());
        }
        let Some(group) = group else { return Ok(Vec::new()) };
        let all = |topic: &Arc<str>| FetchedTopic {
            topic: topic.clone(),
            partitions: group.offsets.partitions(topic).map(|partition| one(topic, partition)).collect(),
        };
        Ok(group.offsets.0.keys().map(all).collect())
    }

    /// Deletes offsets of topics that the group does not read (OffsetDelete).
    pub fn delete_offsets(&mut self, group: &str, topics: &[(&str, &[i32])], ticket: Ticket) -> Vec<Action> {
        let (entries, outcomes) = match self.offsets_to_delete(group, topics) {
            Ok(found) => found,
            Err(error) => return vec![Action::Answer { ticket, answer: Answer::DeleteOffsets(Err(error)) }],
        };
        apply(entries, None, Some((ticket, Answer::DeleteOffsets(Ok(outcomes)))))
    }

    /// Drops the offsets of topics that were deleted, those of open transactions too.
    pub fn delete_topics(&mut self, topics: &[&str]) -> Vec<Action> {
        let mut entries = Vec::new();
        for group in self.groups.values() {
            for topic in topics {
                let kept = std::iter::once(&group.offsets).chain(group.pending.values());
                let mut partitions: Vec<i32> = kept.flat_map(|offsets| offsets.partitions(topic)).collect();
                partitions.sort_unstable();
                partitions.dedup();
                entries.extend(partitions.into_iter().map(|partition| tombstone(group, topic, partition)));
            }
        }
        apply(entries, None, None)
    }

    /// Writes tombstones for the offsets that expired, and for groups that keep nothing any more.
    pub(super) fn expire(&mut self, now: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        for group in self.groups.values() {
            let expired: Vec<Entry> = group
                .offsets
                .iter()
                .filter(|(topic, partition, offset)| {
                    !group.is_subscribed(topic)
                        && !group.is_pending(topic, *partition)
                        && is_expired(group, offset, now, self.settings.offsets_retention_ms)
                })
                .map(|(topic, partition, _)| tombstone(group, topic, partition))
                .collect();
            let over = group.state == State::Empty && group.promised.is_empty() && group.pending.is_empty();
            let gone = over && expired.len() == group.offsets.iter().count();
            let end = gone.then(|| Entry::Group { group: group.name.clone(), generation: None });
            actions.extend(apply(expired.into_iter().chain(end).collect(), None, None));
        }
        actions
    }

    /// What becomes of a record: of one that was written, or one that is loaded. `at` is its offset in `__consumer_offsets`.
    pub(super) fn apply_offset(&mut self, entry: Entry, producer: Option<i64>, at: i64) {
        let Entry::Offset { group: name, topic, partition, offset } = entry else { return };
        let Some(mut offset) = offset else {
            if let Some(group) = self.groups.get_mut(&name) {
                group.offsets.remove(&topic, partition);
                for pending in group.pending.values_mut() {
                    pending.remove(&topic, partition);
                }
            }
            return;
        };
        offset.record = at;
        let group = self.groups.entry(name.clone()).or_insert_with(|| Group::new(name.clone(), None));
        match producer {
            Some(producer) => {
                group.pending.entry(producer).or_default().insert(topic, partition, offset);
                self.open.entry(producer).or_default().insert(name);
            }
            None => group.offsets.insert(topic, partition, offset),
        }
    }

    fn check_commit(&self, commit: &Commit<'_>, transactional: bool) -> Result<(), ErrorCode> {
        if !self.loaded {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        match self.groups.get(commit.group) {
            Some(group) => group.check_commit(commit.member, commit.instance, commit.generation, transactional),
            // It comes to be when its first offset is written.
            None if commit.generation < 0 => Ok(()),
            None if commit.version >= 9 && !transactional => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    fn write_commit(&self, commit: &Commit<'_>, producer: Option<(i64, i16)>, ticket: Ticket, now: i64) -> Vec<Action> {
        let group: Arc<str> = commit.group.into();
        let expires_at = (commit.retention_ms >= 0).then(|| now.saturating_add(commit.retention_ms));
        let mut entries = Vec::new();
        let mut outcomes = Vec::new();
        for (topic, partitions) in commit.topics {
            let topic: Arc<str> = (*topic).into();
            let mut outcome = TopicOutcome { topic: topic.clone(), partitions: Vec::new() };
            for partition in *partitions {
                // Kafka counts the UTF-16 units of Java's strings.
                let long = partition.metadata.encode_utf16().count() > self.settings.offset_metadata_max_bytes;
                let error = if long { ErrorCode::OFFSET_METADATA_TOO_LARGE } else { ErrorCode::NONE };
                outcome.partitions.push((partition.partition, error));
                if long {
                    continue;
                }
                let offset = Offset {
                    offset: partition.offset,
                    // The only format that knows when an offset expires does not know this.
                    leader_epoch: if expires_at.is_none() { partition.leader_epoch } else { -1 },
                    metadata: partition.metadata.into(),
                    committed_at: now,
                    expires_at,
                    record: -1,
                };
                let (group, topic) = (group.clone(), topic.clone());
                entries.push(Entry::Offset { group, topic, partition: partition.partition, offset: Some(offset) });
            }
            outcomes.push(outcome);
        }
        apply(entries, producer, Some((ticket, Answer::Commit(outcomes))))
    }

    fn offsets_to_delete(
        &self,
        name: &str,
        topics: &[(&str, &[i32])],
    ) -> Result<(Vec<Entry>, Vec<TopicOutcome>), ErrorCode> {
        if !self.loaded {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        if name.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let group = self.groups.get(name).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if group.state != State::Empty && !group.is_consumer() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let mut entries = Vec::new();
        let mut outcomes = Vec::new();
        for (topic, partitions) in topics {
            let subscribed = group.is_subscribed(topic);
            let error = if subscribed { ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC } else { ErrorCode::NONE };
            let partitions_and_errors = partitions.iter().map(|partition| (*partition, error)).collect();
            outcomes.push(TopicOutcome { topic: (*topic).into(), partitions: partitions_and_errors });
            let there =
                |partition: &i32| group.offsets.get(topic, *partition).is_some() || group.is_pending(topic, *partition);
            if !subscribed {
                let there = partitions.iter().copied().filter(there);
                entries.extend(there.map(|partition| tombstone(group, topic, partition)));
            }
        }
        Ok((entries, outcomes))
    }
}

/// A write of entries that take effect when it succeeded, or the answer alone, where nothing is to be written.
pub(super) fn apply(
    entries: Vec<Entry>,
    producer: Option<(i64, i16)>,
    answer: Option<(Ticket, Answer)>,
) -> Vec<Action> {
    if entries.is_empty() {
        return answer.map(|(ticket, answer)| Action::Answer { ticket, answer }).into_iter().collect();
    }
    vec![Action::Write(Write { producer, entries, then: Then::Apply(answer) })]
}

pub(super) fn tombstone(group: &Group, topic: &str, partition: i32) -> Entry {
    Entry::Offset { group: group.name.clone(), topic: topic.into(), partition, offset: None }
}

fn refuse(commit: &Commit<'_>, ticket: Ticket, error: ErrorCode) -> Action {
    let fail = |(topic, partitions): &(&str, &[super::CommitPartition<'_>])| TopicOutcome {
        topic: (*topic).into(),
        partitions: partitions.iter().map(|partition| (partition.partition, error)).collect(),
    };
    Action::Answer { ticket, answer: Answer::Commit(commit.topics.iter().map(fail).collect()) }
}

/// Whether Kafka would drop the offset now, given that nobody subscribes to its topic (KIP-211).
fn is_expired(group: &Group, offset: &Offset, now: i64, retention_ms: i64) -> bool {
    let since = match (&group.protocol_type, group.state) {
        (None, _) => offset.committed_at,
        (Some(_), State::Empty) => group.since.unwrap_or(offset.committed_at),
        (Some(_), State::Stable) if group.is_consumer() && group.subscribed.is_some() => offset.committed_at,
        _ => return false,
    };
    match offset.expires_at {
        Some(at) => now >= at,
        None => now - since >= retention_ms,
    }
}
