//! What is asked of the groups and what they answer: plain values, no wire form. Strings of a request are borrowed, what is
//! kept is copied.

use super::ErrorCode;
use super::record::{Entry, Record, RecordError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request that waits for its answer. The shell makes up the number and keeps the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the shell has to do, in the order given.
#[derive(Debug)]
#[must_use]
pub enum Action {
    /// Append the records, then hand the write back to [`super::Groups::written`].
    Write(Write),
    /// Answer the request, once everything written before is as durable as the broker promises.
    Answer {
        /// Which request.
        ticket: Ticket,
        /// What it is told.
        answer: Answer,
    },
}

/// Records for `__consumer_offsets`, one batch.
#[derive(Debug)]
#[must_use = "a write is handed back to Groups::written, whether it succeeded or not"]
pub struct Write {
    /// For offsets that are part of a transaction: producer id and epoch of the transactional batch, which has no sequence.
    pub producer: Option<(i64, i16)>,
    pub(super) entries: Vec<Entry>,
    pub(super) then: Then,
}

impl Write {
    /// Keys and values in Kafka's own format, in this order; no value deletes.
    ///
    /// # Errors
    /// Where a text is longer than the format allows. No request that was read from a frame can bring that; it is a failed
    /// write.
    pub fn records(&self) -> Result<Vec<Record>, RecordError> {
        self.entries.iter().map(Entry::write).collect()
    }
}

/// What follows a write.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing: the state is ahead of the log already, and losing the record does no harm.
    Nothing,
    /// The request is answered, with an error where the write failed.
    Answer(Ticket, Answer),
    /// The entries take effect, and the request is answered.
    Apply(Option<(Ticket, Answer)>),
    /// The assignments of a generation take effect, and all who wait for theirs are answered.
    Assign { group: Arc<str>, generation: i32, assignments: BTreeMap<Arc<str>, Bytes> },
}

/// The answer to a request that was given a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`super::Groups::join`].
    Join(Joined),
    /// To [`super::Groups::sync`].
    Sync(Result<Synced, ErrorCode>),
    /// To [`super::Groups::leave`].
    Leave(Result<Vec<Left>, ErrorCode>),
    /// To [`super::Groups::commit`] and [`super::Groups::txn_commit`]: topics and partitions in the order of the request.
    Commit(Vec<TopicOutcome>),
    /// To [`super::Groups::delete`]: groups in the order of the request.
    Delete(Vec<(Arc<str>, ErrorCode)>),
    /// To [`super::Groups::delete_offsets`]: topics and partitions in the order of the request.
    DeleteOffsets(Result<Vec<TopicOutcome>, ErrorCode>),
}

/// What became of each partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOutcome {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Partition and error.
    pub partitions: Vec<(i32, ErrorCode)>,
}

/// A member wants to join (JoinGroup).
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// Version of the request: from 4 a dynamic member is told its id first (KIP-394), from 9 an assignment can be skipped
    /// (KIP-814).
    pub version: i16,
    /// Group id.
    pub group: &'a str,
    /// The member's id, empty where it has none yet.
    pub member: &'a str,
    /// The id of a static member (KIP-345).
    pub instance: Option<&'a str>,
    /// The client id of the request header; empty where there is none.
    pub client_id: &'a str,
    /// Where the request came from. Kafka writes `/127.0.0.1`.
    pub client_host: &'a str,
    /// After how many ms without a heartbeat the member is out.
    pub session_timeout_ms: i32,
    /// How many ms a rebalance waits for the member; below 0 the session timeout holds (version 0).
    pub rebalance_timeout_ms: i32,
    /// Such as `consumer`.
    pub protocol_type: &'a str,
    /// Names and metadata, the preferred one first.
    pub protocols: &'a [(&'a str, &'a [u8])],
}

/// The answer to a [`Join`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// [`ErrorCode::NONE`] where the member is in. The fields below are then those of the new generation.
    pub error: ErrorCode,
    /// The member's id, also with `MEMBER_ID_REQUIRED`.
    pub member: Arc<str>,
    /// -1 with an error.
    pub generation: i32,
    /// Nothing with an error. Versions below 7 know no null here: send an empty text.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that got the most votes.
    pub protocol: Option<Arc<str>>,
    /// The id of the leader, empty with an error.
    pub leader: Arc<str>,
    /// The leader, though it leads, need not compute an assignment (KIP-814).
    pub skip_assignment: bool,
    /// For the leader: every member with its metadata for the protocol.
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Member id.
    pub member: Arc<str>,
    /// The id of a static member.
    pub instance: Option<Arc<str>>,
    /// Metadata for the protocol of the generation.
    pub metadata: Bytes,
}

/// A member asks for its assignment; the leader brings everybody's (SyncGroup).
#[derive(Debug, Clone, Copy)]
pub struct Sync<'a> {
    /// Group id.
    pub group: &'a str,
    /// Generation of the member.
    pub generation: i32,
    /// Member id.
    pub member: &'a str,
    /// The id of a static member.
    pub instance: Option<&'a str>,
    /// From version 5: has to be the group's.
    pub protocol_type: Option<&'a str>,
    /// From version 5: has to be the group's.
    pub protocol: Option<&'a str>,
    /// From the leader: member ids and assignments.
    pub assignments: &'a [(&'a str, &'a [u8])],
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The group's.
    pub protocol_type: Option<Arc<str>>,
    /// The group's.
    pub protocol: Option<Arc<str>>,
    /// Empty where the leader gave the member nothing.
    pub assignment: Bytes,
}

/// Who leaves (LeaveGroup): a member, or a static one by its instance id and an empty member id.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// Member id, empty to remove a static member by its instance id alone.
    pub member: &'a str,
    /// The id of a static member.
    pub instance: Option<&'a str>,
}

/// What became of one [`Leaving`]. For versions below 3 its error is the answer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// As in the request.
    pub member: Arc<str>,
    /// As in the request.
    pub instance: Option<Arc<str>>,
    /// Or none.
    pub error: ErrorCode,
}

/// Offsets to commit (OffsetCommit, TxnOffsetCommit).
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// Version of an OffsetCommit: from 9 a missing group is `GROUP_ID_NOT_FOUND`. Of no meaning for a transaction's.
    pub version: i16,
    /// Group id.
    pub group: &'a str,
    /// -1 for a consumer that is no member.
    pub generation: i32,
    /// Member id, empty for a consumer that is no member.
    pub member: &'a str,
    /// The id of a static member.
    pub instance: Option<&'a str>,
    /// How long to keep them, in ms, where a version from 2 to 4 says so; below 0 the broker's retention holds.
    pub retention_ms: i64,
    /// The topics that exist. What does not exist is answered by the shell, `UNKNOWN_TOPIC_OR_PARTITION`, and not handed in.
    pub topics: &'a [(&'a str, &'a [CommitPartition<'a>])],
}

/// An offset to commit.
#[derive(Debug, Clone, Copy)]
pub struct CommitPartition<'a> {
    /// Partition of the topic.
    pub partition: i32,
    /// The offset to go on from.
    pub offset: i64,
    /// Epoch of the last record consumed, -1 where unknown.
    pub leader_epoch: i32,
    /// Whatever the client wants to keep with it; null is kept as empty.
    pub metadata: &'a str,
}

/// Which offsets to fetch (OffsetFetch).
#[derive(Debug, Clone, Copy)]
pub struct FetchOffsets<'a> {
    /// Group id.
    pub group: &'a str,
    /// Topics and partitions; none asks for all that the group has.
    pub topics: Option<&'a [(&'a str, &'a [i32])]>,
    /// Answer `UNSTABLE_OFFSET_COMMIT` for partitions with offsets of an open transaction (KIP-447).
    pub require_stable: bool,
}

/// The committed offsets of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<FetchedOffset>,
}

/// The committed offset of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffset {
    /// Partition of the topic.
    pub partition: i32,
    /// -1 where nothing is committed.
    pub offset: i64,
    /// -1 where unknown.
    pub leader_epoch: i32,
    /// What was kept with it.
    pub metadata: Arc<str>,
    /// `UNSTABLE_OFFSET_COMMIT` or none.
    pub error: ErrorCode,
}

/// A group in a list (ListGroups). Its type is always `classic`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Group id.
    pub group: Arc<str>,
    /// Empty for a group that only keeps offsets.
    pub protocol_type: Arc<str>,
    /// Name of the state.
    pub state: &'static str,
}

/// A group in full (DescribeGroups).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Name of the state; `Dead` for a group that does not exist. From version 6 that is the error `GROUP_ID_NOT_FOUND`
    /// besides.
    pub state: &'static str,
    /// Empty for a group that only keeps offsets.
    pub protocol_type: Arc<str>,
    /// The protocol of the generation, empty unless the group is stable.
    pub protocol: Arc<str>,
    /// All members, in the order of their ids.
    pub members: Vec<DescribedMember>,
}

/// A member in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Member id.
    pub member: Arc<str>,
    /// The id of a static member.
    pub instance: Option<Arc<str>>,
    /// Client id at its last join.
    pub client_id: Arc<str>,
    /// Where it joined from.
    pub client_host: Arc<str>,
    /// Metadata for the protocol of the generation, empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

impl Joined {
    pub(super) fn refused(member: &str, error: ErrorCode) -> Joined {
        Joined {
            error,
            member: member.into(),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: Arc::default(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }
}

impl Answer {
    /// The same answer after its write failed.
    pub(super) fn failed(self, error: ErrorCode) -> Answer {
        fn partitions(topics: Vec<TopicOutcome>, error: ErrorCode) -> Vec<TopicOutcome> {
            let fail = |topic: TopicOutcome| TopicOutcome {
                topic: topic.topic,
                partitions: topic.partitions.into_iter().map(|(partition, _)| (partition, error)).collect(),
            };
            topics.into_iter().map(fail).collect()
        }
        match self {
            Answer::Join(_) => Answer::Join(Joined::refused("", error)),
            Answer::Sync(_) => Answer::Sync(Err(error)),
            Answer::Leave(_) => Answer::Leave(Err(error)),
            Answer::Commit(topics) => Answer::Commit(partitions(topics, error)),
            Answer::Delete(groups) => {
                let fail = |(group, was)| (group, if was == ErrorCode::NONE { error } else { was });
                Answer::Delete(groups.into_iter().map(fail).collect())
            }
            Answer::DeleteOffsets(_) => Answer::DeleteOffsets(Err(error)),
        }
    }
}
