//! Several brokers that are one cluster, and clusters that begin with an older level of a feature: Apache Kafka only.

use super::{Cluster, Program, libs, owned};
use crate::{absent, free_port};

/// What a cluster of several brokers has beyond the properties of one: everything is kept three times, and two are enough to write.
/// Leaders go back to the broker that is meant to lead within seconds, so that one that has come back leads again.
const REPLICATED: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("leader.imbalance.check.interval.seconds", "2"),
    ("leader.imbalance.per.broker.percentage", "0"),
    ("replica.lag.time.max.ms", "4000"),
];

/// Three brokers of Apache Kafka, each a process of its own on 127.0.0.1, each also a controller.
#[derive(Debug)]
pub struct Nodes(Vec<Cluster>);

impl Nodes {
    /// Starts the brokers and waits until each answers; with properties on top of ours. `None` as for [`Cluster::start`].
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[track_caller]
    pub fn start(properties: &[(&str, &str)]) -> Option<Nodes> {
        let libs = found()?;
        let controllers = [free_port(), free_port(), free_port()];
        let properties = [REPLICATED, properties].concat();
        let node = |index| {
            let program = Program::Apache(libs.clone());
            let prepared = Cluster::prepare(program, owned(&properties), None, &controllers, index, &[]);
            prepared.unwrap_or_else(|error| panic!("broker {index} cannot be prepared: {error}"))
        };
        let mut nodes: Vec<Cluster> = (0..controllers.len()).map(node).collect();
        // None of them answers before most of them are there.
        nodes.iter_mut().for_each(Cluster::spawn);
        nodes.iter_mut().for_each(Cluster::wait_until_it_answers);
        Some(Nodes(nodes))
    }

    /// `host:port` of all brokers.
    pub fn bootstrap(&self) -> String {
        self.0.iter().map(Cluster::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The broker with node id `index + 1`, to be killed and brought back.
    pub fn node(&mut self, index: usize) -> &mut Cluster {
        &mut self.0[index]
    }
}

impl Cluster {
    /// One broker of Apache Kafka whose cluster begins with these levels of features, such as `("transaction.version", 1)`. `None` as
    /// for [`Cluster::start`].
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[track_caller]
    pub fn start_with_features(features: &[(&str, u16)], properties: &[(&str, &str)]) -> Option<Cluster> {
        let program = Program::Apache(found()?);
        let prepared = Cluster::prepare(program, owned(properties), None, &[free_port()], 0, features);
        let mut cluster = prepared.unwrap_or_else(|error| panic!("the broker cannot be prepared: {error}"));
        cluster.restart();
        Some(cluster)
    }
}

fn found() -> Option<std::path::PathBuf> {
    libs().map_err(|reason| absent(&reason)).ok()
}
