//! What can go wrong between Weir and a Kafka cluster, told so that a caller knows what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A failed operation on a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be used.
    #[error("kafka option {option}: {reason}")]
    Config {
        /// The option as the user wrote it.
        option: String,
        /// Why it is refused and what to do.
        reason: String,
    },
    /// The cluster did not answer, or not in time: try again later.
    #[error("cannot {action}: the cluster does not answer ({reason}); check that the brokers run and can be reached")]
    Unavailable {
        /// What was being done.
        action: String,
        /// What the client said.
        reason: String,
    },
    /// The topic, or this partition of it, does not exist.
    #[error("topic {topic} does not exist or has too few partitions; create it first")]
    NoSuchTopic {
        /// Its name.
        topic: String,
    },
    /// The record takes more bytes than the topic allows.
    #[error("record is larger than topic {topic} takes; raise the topic's max.message.bytes or send less")]
    TooLarge {
        /// The topic it was meant for.
        topic: String,
    },
    /// A batch of the log whose bytes cannot be turned into records.
    #[error("topic {topic} holds a batch that cannot be read: {reason}")]
    Unreadable {
        /// The topic it lies in.
        topic: String,
        /// What the client said; names the offset.
        reason: String,
    },
    /// The cluster, or the client, refused.
    #[error("cannot {action}: {reason}")]
    Refused {
        /// What was being done.
        action: String,
        /// What the client said.
        reason: String,
    },
}

impl From<weir_pump::Unfit> for Error {
    fn from(unfit: weir_pump::Unfit) -> Error {
        Error::config(unfit.option, unfit.reason)
    }
}

impl Error {
    pub(crate) fn config(option: &str, reason: impl Into<String>) -> Error {
        Error::Config { option: option.to_owned(), reason: reason.into() }
    }

    pub(crate) fn of(action: impl Into<String>, error: &KafkaError) -> Error {
        let (action, reason) = (action.into(), error.to_string());
        match code_of(error) {
            Some(code) if is_away(code) => Error::Unavailable { action, reason },
            _ => Error::Refused { action, reason },
        }
    }

    /// Whether the same operation may succeed later without anybody changing anything but the cluster's health.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }
}

/// How a transaction failed, and so what its owner must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A newer owner of the transactional id exists: stop; what this one did since its last commit is undone.
    #[error("fenced by a newer owner of the same transactional id")]
    Fenced,
    /// Abort the transaction and do it again.
    #[error("must be aborted")]
    Abortable,
    /// The producer is of no use any more: open a new one. Whether a commit took place is unknown.
    #[error("producer is unusable")]
    Fatal,
    /// The same call may be made again.
    #[error("may be tried again")]
    Retriable,
}

/// A failed step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction step {step} failed, {failure}: {reason}")]
pub struct TransactionError {
    /// Which step: begin, send, commit …
    pub step: &'static str,
    /// What to do about it.
    pub failure: Failure,
    /// What the client said.
    pub reason: String,
}

impl TransactionError {
    pub(crate) fn of(step: &'static str, error: &KafkaError) -> TransactionError {
        let failure = match error {
            _ if code_of(error).is_some_and(is_fence) => Failure::Fenced,
            KafkaError::Transaction(e) if e.is_fatal() => Failure::Fatal,
            KafkaError::Transaction(e) if e.txn_requires_abort() => Failure::Abortable,
            KafkaError::Transaction(e) if e.is_retriable() => Failure::Retriable,
            KafkaError::MessageProduction(RDKafkaErrorCode::Fatal) => Failure::Fatal,
            KafkaError::MessageProduction(_) => Failure::Abortable,
            _ => Failure::Fatal,
        };
        TransactionError { step, failure, reason: error.to_string() }
    }
}

pub(crate) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        KafkaError::MessageConsumptionFatal(code) => Some(*code),
        _ => error.rdkafka_error_code(),
    }
}

/// Codes by which a coordinator tells a producer that its epoch is over.
pub(crate) fn is_fence(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// Codes of a cluster that is away, not of one that refuses.
pub(crate) fn is_away(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::WaitingForCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::NotController
            | Code::BrokerDestroy
    )
}
