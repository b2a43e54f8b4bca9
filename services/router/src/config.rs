//! What the router is told on its command line, made into something valid before anything is started.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use weir_kafka::ClusterConfig;
use weir_registry::Auth;

/// The settings as they are written. Each can also be given as an environment variable.
#[derive(Debug, Clone, Parser)]
#[command(name = "router", version, about = "Runs the views of the mesh: reads their inputs, writes what comes out.")]
pub struct Raw {
    /// Kafka bootstrap servers, as host:port[,host:port].
    #[arg(long, env = "WEIR_KAFKA")]
    pub kafka: String,
    /// A librdkafka property as name=value, for security and tuning. Can be repeated.
    #[arg(long = "kafka-property", env = "WEIR_KAFKA_PROPERTIES", value_delimiter = ';')]
    pub kafka_properties: Vec<String>,
    /// Base URL of the schema registry.
    #[arg(long, env = "WEIR_REGISTRY")]
    pub registry: String,
    /// File with one line of user:password, for a registry that asks for them.
    #[arg(long, env = "WEIR_REGISTRY_CREDENTIALS", value_name = "FILE")]
    pub registry_credentials: Option<PathBuf>,
    /// Address of /metrics, /health/live, /health/ready and /views.
    #[arg(long, env = "WEIR_ROUTER_LISTEN", default_value = "127.0.0.1:9465")]
    pub listen: SocketAddr,
    /// Folder of the local state; one that is lost is restored from the changelogs.
    #[arg(long, env = "WEIR_ROUTER_STATE", default_value = ".weir/router", value_name = "FOLDER")]
    pub state: PathBuf,
    /// Consumer group. Routers of one group share the partitions.
    #[arg(long, env = "WEIR_ROUTER_GROUP", default_value = "weir.router")]
    pub group: String,
    /// Name of this instance, which must differ from every other live one of the group: a second router of the same
    /// name fences the first.
    #[arg(long, env = "WEIR_ROUTER_INSTANCE", default_value = "0")]
    pub instance: String,
    /// Worker threads; 0 is one per core.
    #[arg(long, env = "WEIR_ROUTER_WORKERS", default_value_t = 0)]
    pub workers: usize,
    /// The compacted topic the views come from.
    #[arg(long, env = "WEIR_VIEWS_TOPIC", default_value = weir_view::VIEWS_TOPIC)]
    pub views_topic: String,
    /// Milliseconds between commits.
    #[arg(long, env = "WEIR_ROUTER_COMMIT_MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(5..=10_000))]
    pub commit_interval_ms: u64,
    /// Milliseconds that an input without a record is waited for, once it is known to have none.
    #[arg(long, env = "WEIR_ROUTER_MAX_IDLE_MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub max_idle_ms: u64,
    /// Keeps a copy of the state of the partitions that other routers have, so that one which moves here goes on at once.
    #[arg(long, env = "WEIR_ROUTER_STANDBY")]
    pub standby: bool,
    /// Seconds between two deletions of what the stages of views have read of each other.
    #[arg(long, env = "WEIR_ROUTER_PURGE_S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub purge_s: u64,
    /// Milliseconds after which a silent member of the group is given up, and its partitions go to others.
    #[arg(long, env = "WEIR_ROUTER_SESSION_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2_000..=300_000))]
    pub session_timeout_ms: u64,
    /// Seconds that a shutdown may take to drain.
    #[arg(long, env = "WEIR_ROUTER_DRAIN_S", default_value_t = 20)]
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
    /// The folder of the local state.
    pub state: PathBuf,
    /// The consumer group.
    pub group: String,
    /// The name of this instance.
    pub instance: String,
    /// Whether a successor of the same name has its partitions at once after a crash (KIP-345).
    pub static_members: bool,
    /// Worker threads, at least one.
    pub workers: usize,
    /// The topic of the views.
    pub views_topic: String,
    /// Time between commits.
    pub commit_interval: Duration,
    /// How long an input that is known to be empty is waited for.
    pub max_idle: Duration,
    /// Whether it keeps copies of the state of others.
    pub standby: bool,
    /// Time between two deletions of what lies between stages.
    pub purge: Duration,
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
    /// Defaults for a cluster: instance 0 of the group `weir.router`, one worker, a free port of this machine.
    ///
    /// # Errors
    /// [`ConfigError::Registry`] where `registry` is no http or https URL.
    pub fn new(cluster: ClusterConfig, registry: &str, state: impl Into<PathBuf>) -> Result<Config, ConfigError> {
        let url = registry.trim_end_matches('/');
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(ConfigError::Registry(registry.to_owned()));
        }
        Ok(Config {
            cluster,
            registry: url.to_owned(),
            registry_auth: Auth::None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: state.into(),
            group: "weir.router".to_owned(),
            instance: "0".to_owned(),
            static_members: false,
            workers: 1,
            views_topic: weir_view::VIEWS_TOPIC.to_owned(),
            commit_interval: Duration::from_millis(100),
            max_idle: Duration::from_millis(100),
            standby: false,
            purge: Duration::from_secs(30),
            session_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(20),
        })
    }
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    /// Checks the settings; the error names the first that cannot be used and what it should be.
    fn try_from(raw: Raw) -> Result<Config, ConfigError> {
        for (setting, name) in [("group", &raw.group), ("instance", &raw.instance), ("views-topic", &raw.views_topic)] {
            if !weir_kafka::is_name(name) {
                return Err(ConfigError::Name(setting, name.clone()));
            }
        }
        let properties = weir_kafka::properties(&raw.kafka_properties)?;
        let defaults = Config::new(ClusterConfig::new(&raw.kafka, properties)?, &raw.registry, raw.state)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Config {
            registry_auth: Auth::read(raw.registry_credentials.as_deref())?,
            listen: raw.listen,
            group: raw.group,
            instance: raw.instance,
            workers: if raw.workers == 0 { cores } else { raw.workers },
            views_topic: raw.views_topic,
            commit_interval: Duration::from_millis(raw.commit_interval_ms),
            max_idle: Duration::from_millis(raw.max_idle_ms),
            standby: raw.standby,
            purge: Duration::from_secs(raw.purge_s),
            session_timeout: Duration::from_millis(raw.session_timeout_ms),
            drain: Duration::from_secs(raw.drain_s),
            ..defaults
        })
    }
}
