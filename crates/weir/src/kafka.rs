//! The Kafka cluster of a command: reached within seconds or named with its address.

use std::time::Duration;

use weir_kafka::{Admin, ClusterConfig, Error, Read, ReadOptions, Reader, Record, TransactionError};

use crate::Failure;
use crate::args::KafkaArgs;

/// How long a cluster may take to answer before it counts as away.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// A cluster that answered when the command began.
pub struct Kafka {
    config: ClusterConfig,
    admin: Admin,
}

impl Kafka {
    /// Connects.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a property that cannot be set, [`Failure::Unreachable`] when the cluster does not answer
    /// within 8 s.
    pub fn connect(arguments: &KafkaArgs) -> Result<Kafka, Failure> {
        let usage = |error: Error| Failure::Usage(error.to_string());
        let properties = weir_kafka::properties(&arguments.kafka_properties).map_err(usage)?;
        Kafka::reach(ClusterConfig::new(&arguments.kafka, properties).map_err(usage)?)
    }

    /// Connects to a cluster whose settings are known to be usable.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when the cluster does not answer within 8 s.
    pub fn reach(config: ClusterConfig) -> Result<Kafka, Failure> {
        let admin = Admin::new(&config).map_err(|e| failure(&config, e))?.with_timeout(PATIENCE);
        admin.ping().map_err(|e| failure(&config, e))?;
        Ok(Kafka { config, admin })
    }

    /// How to reach the cluster.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Topics, configurations and offsets.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The failure a command ends with: a cluster that is away is named with its address.
    pub fn failure(&self, error: Error) -> Failure {
        failure(&self.config, error)
    }

    /// The failure of a transaction.
    pub fn transaction(&self, error: TransactionError) -> Failure {
        match error.failure {
            weir_kafka::Failure::Retriable => Failure::Unreachable(format!(
                "Kafka at {} does not answer ({error}); start it or correct --kafka",
                self.config.bootstrap()
            )),
            _ => Failure::Other(error.into()),
        }
    }

    /// Opens a reader.
    ///
    /// # Errors
    /// [`Failure`] as [`Kafka::failure`].
    pub fn reader(&self, topic: &str, options: ReadOptions) -> Result<Reader, Failure> {
        Reader::open(&self.config, topic, options).map_err(|error| self.failure(error))
    }

    /// Shows every committed record there is now.
    ///
    /// # Errors
    /// [`Failure`] of the cluster, or of `visit`, which ends the reading.
    pub fn read_all(
        &self,
        topic: &str,
        mut visit: impl FnMut(Record) -> Result<(), Failure>,
    ) -> Result<Reader, Failure> {
        let mut reader = self.reader(topic, ReadOptions::default())?;
        self.read_on(&mut reader, &mut visit)?;
        Ok(reader)
    }

    /// Shows what is left up to the reader's end.
    ///
    /// # Errors
    /// As [`Kafka::read_all`].
    pub fn read_on(
        &self,
        reader: &mut Reader,
        visit: &mut impl FnMut(Record) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            match reader.next(PATIENCE).map_err(|error| self.failure(error))? {
                Read::Record(record) => visit(record)?,
                Read::CaughtUp => return Ok(()),
                Read::Idle => {
                    let action = format!("read topic {}", reader.topic());
                    let reason = format!("nothing came for {PATIENCE:?}");
                    return Err(self.failure(Error::Unavailable { action, reason }));
                }
            }
        }
    }
}

fn failure(config: &ClusterConfig, error: Error) -> Failure {
    match error {
        Error::Unavailable { reason, .. } => Failure::Unreachable(format!(
            "Kafka at {} cannot be reached ({reason}); start it or correct --kafka",
            config.bootstrap()
        )),
        Error::Config { .. } => Failure::Usage(error.to_string()),
        error => Failure::Other(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(kafka: &str, properties: &[&str]) -> KafkaArgs {
        let kafka_properties = properties.iter().map(|property| (*property).to_owned()).collect();
        KafkaArgs { kafka: kafka.to_owned(), kafka_properties }
    }

    #[test]
    fn a_property_is_name_and_value() {
        let check = |properties: &[&str], expect: &str| {
            let failure = Kafka::connect(&arguments("127.0.0.1:1", properties)).err().unwrap();
            assert_eq!(failure.exit(), crate::Exit::Usage);
            assert!(failure.to_string().starts_with(expect), "{failure}");
        };
        check(&["acks"], "kafka option --kafka-property: is not name=value");
        check(&["enable.idempotence=false"], "kafka option enable.idempotence: cannot be set");
    }
}
