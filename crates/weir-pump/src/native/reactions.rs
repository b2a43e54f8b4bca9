//! What each answer of a coordinator, or of a leader that was sent records, leads to: one table, which
//! docs/native-lane.md shows.

use weir_wire::ErrorCode;

/// A step of a transaction, named by its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// InitProducerId
    Init,
    /// AddPartitionsToTxn, before version 2 of transactions
    AddPartitions,
    /// AddOffsetsToTxn, before version 2 of transactions
    AddOffsets,
    /// Produce
    Produce,
    /// TxnOffsetCommit
    Offsets,
    /// EndTxn
    End,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reaction {
    /// It is done.
    Done,
    /// The same again, a little later.
    Retry,
    /// The same again, of the coordinator that is to be found anew.
    FindCoordinator,
    /// The same again, of the leader that is to be found anew.
    FindLeader,
    /// The topic takes less than it did: look up its limits, abort, read again.
    TooLarge,
    /// The topic is gone, or the broker does not know it yet: look it up, abort, read again.
    TopicGone,
    /// The broker will refuse the same record again: abort, and let its partition wait while the others go on.
    Refused,
    /// The group has moved on: abort, join again.
    Rejoin,
    /// Abort, read again.
    Abort,
    /// The epoch is over. After a transaction that took too long it is renewed; else a newer owner lives, and this one ends.
    Fenced,
    /// Nobody knows how the transaction ended or will: a new epoch before anything else, then the group's positions tell.
    NewEpoch,
}

use ErrorCode as Code;
use Reaction as R;
use Step as S;

const COORDINATED: &[Step] = &[S::Init, S::AddPartitions, S::AddOffsets, S::Offsets, S::End];
const ALL: &[Step] = &[S::Init, S::AddPartitions, S::AddOffsets, S::Produce, S::Offsets, S::End];

/// Codes, at which steps, and the reaction. What stands in no row is a [`Reaction::NewEpoch`].
pub(super) const TABLE: &[(&[ErrorCode], &[Step], Reaction)] = &[
    (&[Code::NONE], ALL, R::Done),
    (&[Code::DUPLICATE_SEQUENCE_NUMBER], &[S::Produce], R::Done),
    (&[Code::NOT_COORDINATOR, Code::COORDINATOR_NOT_AVAILABLE], COORDINATED, R::FindCoordinator),
    (
        &[
            Code::CONCURRENT_TRANSACTIONS,
            Code::COORDINATOR_LOAD_IN_PROGRESS,
            Code::REQUEST_TIMED_OUT,
            Code::NETWORK_EXCEPTION,
        ],
        ALL,
        R::Retry,
    ),
    (
        &[
            Code::NOT_ENOUGH_REPLICAS,
            Code::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            Code::CORRUPT_MESSAGE,
            Code::NOT_COORDINATOR,
            Code::COORDINATOR_NOT_AVAILABLE,
        ],
        &[S::Produce],
        R::Retry,
    ),
    (&[Code::PRODUCER_FENCED], &[S::Init], R::Retry),
    (
        &[
            Code::NOT_LEADER_OR_FOLLOWER,
            Code::LEADER_NOT_AVAILABLE,
            Code::REPLICA_NOT_AVAILABLE,
            Code::BROKER_NOT_AVAILABLE,
            Code::FENCED_LEADER_EPOCH,
            Code::UNKNOWN_LEADER_EPOCH,
            Code::KAFKA_STORAGE_ERROR,
        ],
        &[S::Produce],
        R::FindLeader,
    ),
    (&[Code::MESSAGE_TOO_LARGE, Code::RECORD_LIST_TOO_LARGE], &[S::Produce], R::TooLarge),
    (
        &[Code::UNKNOWN_TOPIC_OR_PARTITION, Code::UNKNOWN_TOPIC_ID, Code::INCONSISTENT_TOPIC_ID],
        &[S::Produce, S::AddPartitions],
        R::TopicGone,
    ),
    (
        &[
            Code::INVALID_RECORD,
            Code::INVALID_TIMESTAMP,
            Code::POLICY_VIOLATION,
            Code::UNSUPPORTED_COMPRESSION_TYPE,
            Code::TOPIC_AUTHORIZATION_FAILED,
        ],
        &[S::Produce, S::AddPartitions],
        R::Refused,
    ),
    (&[Code::UNKNOWN_TOPIC_OR_PARTITION, Code::TRANSACTION_ABORTABLE], &[S::Offsets], R::Abort),
    (
        &[Code::UNKNOWN_MEMBER_ID, Code::ILLEGAL_GENERATION, Code::FENCED_INSTANCE_ID, Code::REBALANCE_IN_PROGRESS],
        &[S::Offsets],
        R::Rejoin,
    ),
    (
        &[Code::TRANSACTION_ABORTABLE, Code::OPERATION_NOT_ATTEMPTED],
        &[S::AddPartitions, S::AddOffsets, S::Produce],
        R::Abort,
    ),
    // Where a batch before it failed it is sent again with that one; else the log has another idea of the sequence.
    (&[Code::OUT_OF_ORDER_SEQUENCE_NUMBER], &[S::Produce], R::Abort),
    (
        &[Code::PRODUCER_FENCED, Code::INVALID_PRODUCER_EPOCH],
        &[S::AddPartitions, S::AddOffsets, S::Produce, S::Offsets, S::End],
        R::Fenced,
    ),
];

/// What the answer `code` to `step` leads to.
pub(super) fn reaction(step: Step, code: ErrorCode) -> Reaction {
    let row = TABLE.iter().find(|(codes, steps, _)| codes.contains(&code) && steps.contains(&step));
    row.map_or(Reaction::NewEpoch, |(_, _, reaction)| *reaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_has_two_reactions() {
        for step in ALL {
            for code in (-1..134).map(ErrorCode) {
                let rows = TABLE.iter().filter(|(codes, steps, _)| codes.contains(&code) && steps.contains(step));
                assert!(rows.count() <= 1, "{step:?} {code}");
            }
        }
        assert_eq!(reaction(Step::End, ErrorCode::INVALID_TXN_STATE), Reaction::NewEpoch);
        assert_eq!(reaction(Step::Produce, ErrorCode(4_711)), Reaction::NewEpoch);
        assert_eq!(reaction(Step::Init, ErrorCode::PRODUCER_FENCED), Reaction::Retry);
    }

    /// The page has one line for each row, with the names as they are here.
    #[test]
    fn the_page_shows_the_table_as_it_is() {
        let page = include_str!("../../../../docs/native-lane.md");
        let shown: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |(codes, steps, reaction): &(&[ErrorCode], &[Step], Reaction)| {
            let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
            let steps = match *steps {
                all if all == ALL => "all".to_owned(),
                coordinated if coordinated == COORDINATED => "all but Produce".to_owned(),
                steps => steps.iter().map(|step| format!("{step:?}")).collect::<Vec<_>>().join(", "),
            };
            format!("| {} | {steps} | {reaction:?} |", codes.join(" "))
        };
        let real: Vec<String> = TABLE.iter().map(row).collect();
        assert_eq!(shown, real, "\n{}\n", real.join("\n"));
    }
}
