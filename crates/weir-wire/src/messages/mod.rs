//! The requests and responses, by family, with Kafka's own names in snake case.
//!
//! Each names the versions that Apache Kafka 4.3 serves. Where two of Kafka's structures share a name, ours are told apart by
//! a longer one. What a field means is in Kafka's protocol guide; here stands what it looks like.
//!
//! Strings and byte fields are slices of the frame and keep it in memory for as long as they live. Tagged fields that are
//! not known are dropped.

mod fetch;
mod metadata;
mod produce;
mod versions;

pub use fetch::*;
pub use metadata::*;
pub use produce::*;
pub use versions::*;
