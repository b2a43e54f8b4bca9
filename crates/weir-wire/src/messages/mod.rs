//! The requests and responses, by family, with Kafka's own names in snake case.
//!
//! Each names the versions that Apache Kafka 4.3 serves. Where two of Kafka's structures share a name, ours are told
//! apart by a longer one. What a field means is in Kafka's protocol guide; here stands what it looks like.
//!
//! A decoded request takes at most 32 times the memory of its frame, any other message at most 43 times, whatever the
//! frame claims; the message itself comes on top once. Strings and byte fields cost nothing: they are slices of the frame,
//! and keep it in memory for as long as they live. Tagged fields that are not known are dropped.

mod acls;
mod cluster;
mod configs;
mod consumer_groups;
mod credentials;
mod fetch;
mod group_admin;
mod group_offsets;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod quotas;
mod replicas;
mod telemetry;
mod topics;
mod transaction_admin;
mod transactions;
mod versions;

pub use acls::*;
pub use cluster::*;
pub use configs::*;
pub use consumer_groups::*;
pub use credentials::*;
pub use fetch::*;
pub use group_admin::*;
pub use group_offsets::*;
pub use groups::*;
pub use metadata::*;
pub use offsets::*;
pub use produce::*;
pub use quotas::*;
pub use replicas::*;
pub use telemetry::*;
pub use topics::*;
pub use transaction_admin::*;
pub use transactions::*;
pub use versions::*;
