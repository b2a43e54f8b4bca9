//! Settings: what a user writes becomes a valid [`Config`] or an error that names the setting.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use weir_kafka::ClusterConfig;
use weir_telemetry::LogFormat;

use crate::auth::Users;

/// The command line; every option can come from the environment too.
#[derive(Debug, Parser)]
#[command(
    name = "schema-registry",
    version,
    about = "Schema registry with Confluent's REST API, kept in a Kafka topic."
)]
pub struct Args {
    /// Address to listen on.
    #[arg(long, env = "WEIR_REGISTRY_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: String,
    /// Kafka brokers as host:port, several separated by commas.
    #[arg(long, env = "WEIR_KAFKA", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// A client property such as security.protocol=SSL; may be given several times.
    #[arg(long = "kafka-property", env = "WEIR_KAFKA_PROPERTIES", value_delimiter = ';', value_name = "NAME=VALUE")]
    pub properties: Vec<String>,
    /// Compacted topic with one partition that holds the schemas; created if missing.
    #[arg(long, env = "WEIR_REGISTRY_TOPIC", default_value = "_schemas")]
    pub topic: String,
    /// Copies of the topic if it is created; -1 is the broker's default.
    #[arg(long, env = "WEIR_REGISTRY_REPLICATION", default_value_t = -1, allow_negative_numbers = true)]
    pub replication: i32,
    /// Seconds until a request that waits for Kafka is answered with error 50002.
    #[arg(long, env = "WEIR_REGISTRY_REQUEST_TIMEOUT", default_value_t = 15)]
    pub request_timeout: u64,
    /// Largest request body in bytes.
    #[arg(long, env = "WEIR_REGISTRY_MAX_BODY", default_value_t = 2 << 20)]
    pub max_body: usize,
    /// File of those who may use the API, lines of user:hash as 'htpasswd -nB <user>' prints them; without it everybody.
    #[arg(long, env = "WEIR_REGISTRY_USERS", value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// Log lines as text or json.
    #[arg(long, env = "WEIR_LOG_FORMAT", default_value = "text")]
    pub log_format: String,
    /// What to log, as tracing's filter directives.
    #[arg(long, env = "WEIR_LOG", default_value = "info")]
    pub log: String,
}

/// Valid settings of the service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where Kafka is.
    pub cluster: ClusterConfig,
    /// The log of schemas.
    pub topic: String,
    /// Copies of the topic if it is created; -1 is the broker's default.
    pub replication: i32,
    /// Limit for one request.
    pub request_timeout: Duration,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Those who may use the API; everybody where there are none.
    pub users: Option<Arc<Users>>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct ConfigError {
    setting: &'static str,
    reason: String,
}

fn wrong(setting: &'static str, reason: impl ToString) -> ConfigError {
    ConfigError { setting, reason: reason.to_string() }
}

impl Config {
    /// Defaults for a cluster: `_schemas`, 15 s per request, bodies of 2 MiB, a free port of this machine.
    pub fn new(cluster: ClusterConfig) -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cluster,
            topic: "_schemas".to_owned(),
            replication: -1,
            request_timeout: Duration::from_secs(15),
            max_body: 2 << 20,
            users: None,
        }
    }
}

impl TryFrom<&Args> for Config {
    type Error = ConfigError;

    fn try_from(args: &Args) -> Result<Config, ConfigError> {
        let properties = weir_kafka::properties(&args.properties).map_err(|error| wrong("--kafka-property", error))?;
        let listen = args.listen.parse();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if args.topic.is_empty() || args.topic.len() > 249 || !args.topic.chars().all(legal) {
            return Err(wrong("--topic", "use 1 to 249 letters, digits, '.', '_' or '-'"));
        }
        if args.replication == 0 || args.replication < -1 || args.replication > i32::from(i16::MAX) {
            return Err(wrong("--replication", "use -1 or a number from 1 to 32767"));
        }
        if !(1..=3600).contains(&args.request_timeout) {
            return Err(wrong("--request-timeout", "use 1 to 3600 seconds"));
        }
        if !(1024..=64 << 20).contains(&args.max_body) {
            return Err(wrong("--max-body", "use 1024 to 67108864 bytes"));
        }
        let users = args.users.as_ref().map(|file| {
            let wrong = |reason: String| wrong("--users", format!("{}: {reason}", file.display()));
            let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
            Users::parse(&text).map(Arc::new).map_err(wrong)
        });
        Ok(Config {
            users: users.transpose()?,
            listen: listen.map_err(|_| wrong("--listen", "use an address with a port, such as 127.0.0.1:8081"))?,
            cluster: ClusterConfig::new(&args.kafka, properties).map_err(|e| wrong("--kafka", e))?,
            topic: args.topic.clone(),
            replication: args.replication,
            request_timeout: Duration::from_secs(args.request_timeout),
            max_body: args.max_body,
        })
    }
}

impl Args {
    /// The log format asked for.
    pub fn format(&self) -> Result<LogFormat, ConfigError> {
        match self.log_format.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(wrong("--log-format", "use text or json")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expect: Result<(), &str>) {
        let args = Args::try_parse_from([&["schema-registry"], args].concat()).unwrap();
        let result = Config::try_from(&args).map(drop).map_err(|e| e.to_string());
        match (&result, expect) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            _ => panic!("{args:?}: {result:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn settings() {
        check(&[], Ok(()));
        check(&["--replication", "3", "--kafka-property", "client.id=r"], Ok(()));
        check(&["--listen", "8081"], Err("--listen"));
        check(&["--topic", "a b"], Err("--topic"));
        check(&["--replication", "0"], Err("--replication"));
        check(&["--request-timeout", "0"], Err("--request-timeout"));
        check(&["--max-body", "1"], Err("--max-body"));
        check(&["--kafka-property", "acks"], Err("name=value"));
        check(&["--kafka-property", "isolation.level=read_uncommitted"], Err("isolation.level"));
    }
}
