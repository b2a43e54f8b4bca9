//! Which lane moves the records, and why that one.

use std::fmt;
use std::str::FromStr;

use weir_pump::{GroupProtocol, native};

use crate::{ClusterConfig, Error};

/// What moves the records: a client that hands over one message at a time, or one that moves whole record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// The pump chooses, and logs why.
    #[default]
    Auto,
    /// [`weir_pump::native`]: whole batches.
    Native,
    /// librdkafka: every cluster, every security mechanism.
    Rdkafka,
}

impl Lane {
    /// The name in settings, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Auto => "auto",
            Lane::Native => "native",
            Lane::Rdkafka => "rdkafka",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Lane {
    type Err = String;

    fn from_str(text: &str) -> Result<Lane, String> {
        [Lane::Auto, Lane::Native, Lane::Rdkafka]
            .into_iter()
            .find(|lane| lane.name() == text)
            .ok_or_else(|| "is no lane; use auto, native or rdkafka".to_owned())
    }
}

/// The lane that runs, and why.
pub(super) struct Choice {
    pub(super) lane: Lane,
    pub(super) reason: String,
}

/// Chooses for `Lane::Auto`, and holds a choice of the user's against what the native lane can do.
///
/// # Errors
/// [`Error::Config`] where the native lane is asked for and cannot serve the cluster.
pub(super) fn choose(cluster: &ClusterConfig, protocol: GroupProtocol) -> Result<Choice, Error> {
    let unfit = native_cluster(cluster, protocol).err();
    match (cluster.lane(), unfit) {
        (Lane::Rdkafka, _) => Ok(Choice { lane: Lane::Rdkafka, reason: "asked for".to_owned() }),
        (Lane::Native, None) => Ok(Choice { lane: Lane::Native, reason: "asked for".to_owned() }),
        (Lane::Native, Some(reason)) => {
            Err(Error::config("lane", format!("native cannot serve this cluster: {reason}; use rdkafka or auto")))
        }
        (Lane::Auto, Some(reason)) => Ok(Choice { lane: Lane::Rdkafka, reason }),
        (Lane::Auto, None) => Ok(Choice { lane: Lane::Native, reason: "it can serve this cluster".to_owned() }),
    }
}

/// The cluster as the native lane knows it.
///
/// # Errors
/// What keeps the native lane from serving it.
pub(super) fn native_cluster(cluster: &ClusterConfig, protocol: GroupProtocol) -> Result<native::Cluster, String> {
    if protocol == GroupProtocol::Consumer {
        return Err("it does not speak the consumer protocol of KIP-848".to_owned());
    }
    native::Cluster::new(cluster.bootstrap(), cluster.properties()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_lane_runs_only_where_it_can() {
        let check =
            |lane: Lane, property: Option<(&str, &str)>, protocol: GroupProtocol, expect: Result<Lane, &str>| {
                let cluster = ClusterConfig::new("b:1", property).unwrap().with_lane(lane);
                match (choose(&cluster, protocol), expect) {
                    (Ok(choice), Ok(expect)) => {
                        assert_eq!(choice.lane, expect);
                        assert!(!choice.reason.is_empty());
                    }
                    (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
                    (found, expect) => panic!("{:?} {expect:?}", found.map(|choice| choice.lane)),
                }
            };
        let (classic, consumer) = (GroupProtocol::Cooperative, GroupProtocol::Consumer);
        check(Lane::Auto, None, classic, Ok(Lane::Native));
        check(Lane::Auto, Some(("security.protocol", "ssl")), classic, Ok(Lane::Native));
        check(Lane::Auto, None, consumer, Ok(Lane::Rdkafka));
        check(Lane::Native, None, classic, Ok(Lane::Native));
        check(Lane::Native, None, GroupProtocol::Eager, Ok(Lane::Native));
        check(Lane::Native, Some(("security.protocol", "PLAINTEXT")), classic, Ok(Lane::Native));
        check(Lane::Native, Some(("linger.ms", "1")), classic, Ok(Lane::Native));
        check(Lane::Native, Some(("security.protocol", "sasl_ssl")), classic, Err("sasl.mechanisms asks for GSSAPI"));
        check(Lane::Auto, Some(("security.protocol", "sasl_ssl")), classic, Ok(Lane::Rdkafka));
        check(Lane::Native, Some(("ssl.ca.location", "x")), classic, Ok(Lane::Native));
        check(Lane::Native, None, consumer, Err("KIP-848"));
        check(Lane::Rdkafka, None, consumer, Ok(Lane::Rdkafka));
        for lane in [Lane::Auto, Lane::Native, Lane::Rdkafka] {
            assert_eq!(lane.name().parse(), Ok(lane));
        }
        assert!("fast".parse::<Lane>().unwrap_err().contains("auto, native or rdkafka"));
    }
}
