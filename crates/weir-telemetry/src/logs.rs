//! Logs: one line per event on stderr, as JSON for machines or as text for people. stdout belongs to data.

use std::io::{self, IsTerminal};
use std::str::FromStr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: coloured where stderr is a terminal.
    #[default]
    Text,
    /// One JSON object per line: `timestamp` (RFC 3339), `level`, `target` and the fields of the event, `message` among them.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("unknown log format `{other}`; use text or json")),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not one that the filter understands.
    #[error(
        "invalid log level `{level}`: {source}; use error, warn, info, debug or trace, per target as in `info,weir_kafka=debug`"
    )]
    Level {
        /// The level as it was given.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a log already.
    #[error("logging is already set up")]
    Twice,
}

/// Sends the events of this process to stderr from now on.
///
/// `level` is a level or a comma-separated list of `target=level`, as in `info,weir_kafka=debug`.
pub fn init_logs(format: LogFormat, level: &str) -> Result<(), LogError> {
    let filter =
        EnvFilter::builder().parse(level).map_err(|source| LogError::Level { level: level.to_owned(), source })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let done = match format {
        LogFormat::Text => logs.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => logs.json().flatten_event(true).finish().try_init(),
    };
    done.map_err(|_| LogError::Twice)
}
