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

/// As [`log`], for a producer that has itself told of what is lost: the rest of what its level brings is for debugging.
pub(crate) fn log_of_a_producer(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::debug!(target: "librdkafka", facility, message),
        level => log(level, facility, message),
    }
}

/// Whether a message of the log tells that a connection was lost while it was in use: "Disconnected (after 5021ms in state
/// UP)", and the like for requests that timed out. What was asked on it may still be under way; librdkafka asks again by
/// itself and says nothing of it but this. A connection that never came about carried nothing.
pub(crate) fn was_in_use(facility: &str, message: &str) -> bool {
    facility == "FAIL" && message.contains("in state UP")
}
