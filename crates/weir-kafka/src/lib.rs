//! Weir's way to a Kafka cluster, and the only crate that names rdkafka.
//!
//! * [`ClusterConfig`]: where the cluster is; options exactly-once rests on are refused when it is loaded.
//! * [`Admin`]: topics, their configuration, offsets, lag.
//! * [`Reader`], [`Writer`], [`TransactionalWriter`]: one topic in, records out, all or none.
//! * [`Pump`]: topics in, topics out through a [`weir_pump::Stage`], exactly once.
//! * [`Membership`]: many topics in, for a loop of its own that commits with a [`TransactionalWriter`], exactly once.
//!
//! Everything blocks, with timeouts; an asynchronous caller keeps it on threads of its own. Nothing here judges a
//! record, and no key or value is ever logged.

mod admin;
mod config;
mod context;
mod error;
mod membership;
mod pump;
mod reader;
mod record;
mod writer;

pub use admin::{Admin, NewTopic, Offsets, TopicConfig};
pub use config::{ClusterConfig, is_name, properties};
pub use error::{Error, Failure, TransactionError};
pub use membership::{Incoming, Membership, MembershipOptions, Moved, Standing};
#[doc(hidden)]
pub use pump::baseline;
pub use pump::{GroupProtocol, Hung, Lane, PartitionStatus, Pump, PumpConfig, StageMaker, Status, WorkerState};
pub use reader::{Read, ReadOptions, Reader, Start, Until};
pub use record::{Outgoing, Record};
pub use weir_pump::native::{Ended, Hanging, Transactions, Unanswered};
pub use writer::{Delivery, TransactionalWriter, Writer};
