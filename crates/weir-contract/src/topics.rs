//! What a contract asks of Kafka and the schema registry, as plain data for whoever applies it.

use std::collections::BTreeMap;

use crate::compile::CompiledObject;
use crate::settings::{Compatibility, Kind, Retention};

/// The partitions of a topic whose contract names no number.
pub const DEFAULT_PARTITIONS: u32 = 6;
/// How long a landing topic keeps records, in milliseconds: 7 days.
pub const LANDING_RETENTION_MS: i64 = 7 * 86_400_000;
/// How long a quarantine topic keeps records, in milliseconds: 30 days.
pub const QUARANTINE_RETENTION_MS: i64 = 30 * 86_400_000;
/// The largest record of product and landing topics in bytes, Kafka's own default.
pub const MAX_RECORD_BYTES: u32 = 1_048_588;
/// How much larger a record may be in quarantine, for the headers it gains.
pub const QUARANTINE_HEADROOM_BYTES: u32 = 64 << 10;

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Consumers read it.
    Product,
    /// Producers write it.
    Landing,
    /// Rejected events lie in it.
    Quarantine,
}

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its partitions: the same for all topics of an object, since a record keeps its partition.
    pub partitions: u32,
    /// Its configuration by Kafka's names; what is not named is the broker's.
    pub config: BTreeMap<&'static str, String>,
}

/// A subject as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPlan {
    /// Its name.
    pub name: String,
    /// The URL the contract names the schema by.
    pub schema: String,
    /// Its compatibility level.
    pub compatibility: Compatibility,
}

/// What one object of a contract asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaPlan {
    /// The topics: product, landing if there is one, quarantine.
    pub topics: Vec<TopicPlan>,
    /// The subjects, the product topic's first.
    pub subjects: Vec<SubjectPlan>,
    /// What one producer may write, in bytes per second.
    pub quota: Option<u64>,
}

impl CompiledObject {
    /// What this object asks of Kafka and of the registry.
    pub fn kafka_plan(&self) -> KafkaPlan {
        let settings = &self.settings;
        let partitions = settings.partitions.as_ref().map_or(DEFAULT_PARTITIONS, |at| at.value);
        let table = settings.kind.as_ref().is_some_and(|at| at.value == Kind::Table);
        let retention = settings.retention.as_ref().map(|at| match at.value {
            Retention::Forever => -1,
            Retention::Millis(ms) => ms,
        });
        let policy = match (table, retention) {
            (true, None | Some(-1)) => "compact",
            (true, Some(_)) => "compact,delete",
            (false, _) => "delete",
        };
        let topic = |name: &str, role, policy: &str, retention: Option<i64>, bytes: u32| {
            let mut config = BTreeMap::from([
                ("cleanup.policy", policy.to_owned()),
                ("max.message.bytes", bytes.to_string()),
                // A record keeps the time its producer gave it on the whole way.
                ("message.timestamp.type", "CreateTime".to_owned()),
            ]);
            config.extend(retention.map(|ms| ("retention.ms", ms.to_string())));
            TopicPlan { name: name.to_owned(), role, partitions, config }
        };
        let mut topics = vec![topic(&self.topic, Role::Product, policy, retention, MAX_RECORD_BYTES)];
        if let Some(landing) = &self.landing {
            topics.push(topic(landing, Role::Landing, "delete", Some(LANDING_RETENTION_MS), MAX_RECORD_BYTES));
        }
        let bytes = MAX_RECORD_BYTES + QUARANTINE_HEADROOM_BYTES;
        topics.push(topic(&self.quarantine, Role::Quarantine, "delete", Some(QUARANTINE_RETENTION_MS), bytes));
        let compatibility = settings.compatibility.as_ref().map_or(Compatibility::Backward, |at| at.value);
        let subject = |name| SubjectPlan { name, schema: self.schema_url.clone(), compatibility };
        let subjects = self.subjects().into_iter().map(subject).collect();
        KafkaPlan { topics, subjects, quota: settings.quota.as_ref().map(|at| at.value) }
    }
}
