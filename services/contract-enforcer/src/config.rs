//! What the enforcer is told on its command line, made into something valid before anything is started.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use weir_kafka::{ClusterConfig, Lane};
use weir_registry::Auth;

/// The settings as they are written. Each can also be given as an environment variable.
#[derive(Debug, Clone, Parser)]
#[command(name = "contract-enforcer", version, about = "Judges every event of the governed topics by its contract.")]
pub struct Raw {
    /// Kafka bootstrap servers, as host:port[,host:port].
    #[arg(long, env = "WEIR_KAFKA")]
    pub kafka: String,
    /// A librdkafka property as name=value, for security and tuning. Can be repeated.
    #[arg(long = "kafka-property", env = "WEIR_KAFKA_PROPERTIES", value_delimiter = ';')]
    pub kafka_properties: Vec<String>,
    /// What moves the records: auto, native (whole batches) or rdkafka (every cluster); see docs/native-lane.md.
    #[arg(long, env = "WEIR_ENFORCER_LANE", default_value_t = Lane::Auto)]
    pub lane: Lane,
    /// Base URL of the schema registry.
    #[arg(long, env = "WEIR_REGISTRY")]
    pub registry: String,
    /// File with one line of user:password, for a registry that asks for them.
    #[arg(long, env = "WEIR_REGISTRY_CREDENTIALS", value_name = "FILE")]
    pub registry_credentials: Option<PathBuf>,
    /// Address of /metrics, /health/live, /health/ready and /contracts.
    #[arg(long, env = "WEIR_ENFORCER_LISTEN", default_value = "127.0.0.1:9464")]
    pub listen: SocketAddr,
    /// Consumer group. Enforcers of one group share the partitions.
    #[arg(long, env = "WEIR_ENFORCER_GROUP", default_value = "contract-enforcer")]
    pub group: String,
    /// Name of this instance, which must differ from every other live one of the group: a second enforcer of the
    /// same name fences the first.
    #[arg(long, env = "WEIR_ENFORCER_INSTANCE", default_value = "0")]
    pub instance: String,
    /// Worker threads; 0 is one per core.
    #[arg(long, env = "WEIR_ENFORCER_WORKERS", default_value_t = 0)]
    pub workers: usize,
    /// Keeps each worker's thread on one core, the first on the first that this process may use, and so on. Of use where nothing
    /// else wants these cores.
    #[arg(long, env = "WEIR_ENFORCER_PIN_CORES")]
    pub pin_cores: bool,
    /// The compacted topic the contracts come from.
    #[arg(long, env = "WEIR_CONTRACTS_TOPIC", default_value = weir_contract::CONTRACTS_TOPIC)]
    pub contracts_topic: String,
    /// Milliseconds between commits.
    #[arg(long, env = "WEIR_ENFORCER_COMMIT_MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(5..=10_000))]
    pub commit_interval_ms: u64,
    /// Milliseconds after which a silent member of the group is given up, and its partitions go to others.
    #[arg(long, env = "WEIR_ENFORCER_SESSION_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2_000..=300_000))]
    pub session_timeout_ms: u64,
    /// Seconds that a shutdown may take to drain.
    #[arg(long, env = "WEIR_ENFORCER_DRAIN_S", default_value_t = 20)]
    pub drain_s: u64,
    /// Form of the log on stderr: text or json.
    #[arg(long, env = "WEIR_LOG_FORMAT", default_value = "text")]
    pub log_format: String,
    /// What is logged, as a tracing filter.
    #[arg(long, env = "WEIR_LOG", default_value = "info")]
    pub log: String,
}

/// The settings once they are known to be usable.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster all topics are in.
    pub cluster: ClusterConfig,
    /// Base URL of the schema registry, without a trailing slash.
    pub registry: String,
    /// Who asks the registry.
    pub registry_auth: Auth,
    /// Where metrics and health are served.
    pub listen: SocketAddr,
    /// The consumer group.
    pub group: String,
    /// The name of this instance.
    pub instance: String,
    /// Whether a successor of the same name has its partitions at once after a crash; others then wait for the session timeout when
    /// this instance ends for good. For a process that is the only one of its group.
    pub static_members: bool,
    /// Worker threads, at least one.
    pub workers: usize,
    /// Whether each worker's thread stays on one core.
    pub pin_cores: bool,
    /// The topic of the contracts.
    pub contracts_topic: String,
    /// Time between commits.
    pub commit_interval: Duration,
    /// Time after which a silent member is given up.
    pub session_timeout: Duration,
    /// Time a shutdown may take.
    pub drain: Duration,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The registry's address is none.
    #[error("--registry {0} is no http or https URL; give one such as http://127.0.0.1:8081")]
    Registry(String),
    /// The registry's credentials cannot be had.
    #[error("--registry-credentials {0}")]
    Credentials(#[from] weir_registry::ConfigError),
    /// A name that Kafka would refuse.
    #[error("--{0} {1:?} must be 1 to 200 letters, digits, dots, dashes or underscores; change it")]
    Name(&'static str, String),
    /// A Kafka property that cannot be set.
    #[error(transparent)]
    Kafka(#[from] weir_kafka::Error),
}

impl Config {
    /// Defaults for a cluster: instance 0 of the group `contract-enforcer`, a worker per core, a free port of this machine.
    ///
    /// # Errors
    /// [`ConfigError::Registry`] where `registry` is no http or https URL.
    pub fn new(cluster: ClusterConfig, registry: &str) -> Result<Config, ConfigError> {
        let url = registry.trim_end_matches('/');
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(ConfigError::Registry(registry.to_owned()));
        }
        Ok(Config {
            cluster,
            registry: url.to_owned(),
            registry_auth: Auth::None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            group: "contract-enforcer".to_owned(),
            instance: "0".to_owned(),
            static_members: false,
            workers: cores(),
            pin_cores: false,
            contracts_topic: weir_contract::CONTRACTS_TOPIC.to_owned(),
            commit_interval: Duration::from_millis(100),
            session_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(20),
        })
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    /// Checks the settings; the error names the first that cannot be used and what it should be.
    fn try_from(raw: Raw) -> Result<Config, ConfigError> {
        for (setting, name) in
            [("group", &raw.group), ("instance", &raw.instance), ("contracts-topic", &raw.contracts_topic)]
        {
            if !weir_kafka::is_name(name) {
                return Err(ConfigError::Name(setting, name.clone()));
            }
        }
        let properties = weir_kafka::properties(&raw.kafka_properties)?;
        let defaults = Config::new(ClusterConfig::new(&raw.kafka, properties)?.with_lane(raw.lane), &raw.registry)?;
        Ok(Config {
            registry_auth: Auth::read(raw.registry_credentials.as_deref())?,
            listen: raw.listen,
            group: raw.group,
            instance: raw.instance,
            workers: if raw.workers == 0 { defaults.workers } else { raw.workers },
            pin_cores: raw.pin_cores,
            contracts_topic: raw.contracts_topic,
            commit_interval: Duration::from_millis(raw.commit_interval_ms),
            session_timeout: Duration::from_millis(raw.session_timeout_ms),
            drain: Duration::from_secs(raw.drain_s),
            ..defaults
        })
    }
}
