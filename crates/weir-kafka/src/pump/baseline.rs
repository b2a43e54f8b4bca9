//! The pump's client settings for a copy loop without a pump, to measure the pump against.

use rdkafka::config::ClientConfig;

use super::PumpConfig;
use super::context::member_config;
use super::shared::Shared;
use super::transaction::{BATCH_SIZE, producer_config};
use crate::ClusterConfig;

/// The settings of the consumer and of the producer of the first worker of a pump. The only place where a type of
/// rdkafka shows: whoever uses it benchmarks bare rdkafka.
#[doc(hidden)]
pub fn clients(cluster: &ClusterConfig, config: PumpConfig) -> (ClientConfig, ClientConfig) {
    let shared = Shared::new(cluster.clone(), config, Vec::new());
    (member_config(&shared, 0), producer_config(&shared, 0, BATCH_SIZE))
}
