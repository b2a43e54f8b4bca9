//! What librdkafka says on the side, brought into the log. No client of ours prints or logs by other ways.

use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// The context of every client that needs no callback but the log. Keeps the last error's text, which names the offset
/// of a damaged batch and which the safe API hands out nowhere else.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    last_error: Mutex<String>,
}

impl Quiet {
    pub(crate) fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone_into(&mut last);
    }
}

impl ConsumerContext for Quiet {}

/// librdkafka repeats itself while a broker is away, so that even its errors are no more than warnings here.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // One set of properties serves producers and consumers; each warns of those meant for the other.
        _ if facility == "CONFWARN" => tracing::debug!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
    }
}
