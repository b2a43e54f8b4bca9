//! `weir quarantine`: what broke its contract, why, and how it gets back into the stream.

mod entry;
mod list;
pub mod markers;
mod replay;
mod show;

use crate::args::{Quarantine, QuarantineCommand};
use crate::kafka::Kafka;
use crate::{Exit, Failure};

/// How the name of a quarantine topic ends.
pub const SUFFIX: &str = ".quarantine";

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`] when Kafka or the registry cannot be reached, or the topic is not there.
pub fn run(arguments: &Quarantine) -> Result<Exit, Failure> {
    match &arguments.command {
        QuarantineCommand::List(arguments) => list::run(arguments),
        QuarantineCommand::Show(arguments) => show::run(arguments),
        QuarantineCommand::Replay(arguments) => replay::run(arguments),
    }
}

/// The product topic and its quarantine topic, whichever of the two was named.
fn names(topic: &str) -> (String, String) {
    let product = topic.strip_suffix(SUFFIX).unwrap_or(topic);
    (product.to_owned(), format!("{product}{SUFFIX}"))
}

/// The quarantine topic must be there.
fn exists(kafka: &Kafka, quarantine: &str) -> Result<(), Failure> {
    match kafka.admin().partitions(quarantine).map_err(|error| kafka.failure(error))? {
        Some(_) => Ok(()),
        None => Err(Failure::Usage(format!(
            "topic {quarantine} does not exist; name the topic of a product whose contract was applied"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_topic_names_both() {
        let both = ("a.b".to_owned(), "a.b.quarantine".to_owned());
        assert_eq!(names("a.b"), both);
        assert_eq!(names("a.b.quarantine"), both);
    }
}
