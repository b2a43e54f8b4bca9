//! The embedded broker: one node that speaks Kafka's protocol on a folder of its own, for laptops and tests.
//!
//! It is honest about what it is: one node, no replication, loopback unless told otherwise. Production stays Apache Kafka, and no
//! service can tell which of the two it runs on.

pub mod groups;
pub mod log;
pub mod transactions;
