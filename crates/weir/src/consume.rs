//! `weir consume`: a topic as JSON lines. It joins no group and commits nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_avro::JsonForm;
use weir_kafka::{Error, Read, ReadOptions, Start, Until};

use crate::args::Consume;
use crate::decode::{Decoder, record_json};
use crate::interrupt::Interrupt;
use crate::kafka::Kafka;
use crate::output::{Out, say};
use crate::registry::Registry;
use crate::{Exit, Failure};

/// How long to wait for a record before looking whether to end.
const TICK: Duration = Duration::from_millis(200);
/// How long a topic that is not at its end may stay silent.
const SILENCE: u32 = 50;

/// How often in a row a batch may be unreadable.
const UNREADABLE: u32 = 5;

/// Prints the committed records from where it was asked to, to the end or for ever.
///
/// # Errors
/// [`Failure`] when Kafka or the registry cannot be reached. A record that cannot be decoded is shown, not a failure.
pub fn run(arguments: &Consume) -> Result<Exit, Failure> {
    let kafka = Kafka::connect(&arguments.kafka)?;
    let registry = Registry::of(&arguments.registry)?;
    let interrupt = Interrupt::listen()?;
    let decoder = Decoder::new(&registry, if arguments.avro_json { JsonForm::Avro } else { JsonForm::Plain });
    let count = kafka.admin().partitions(&arguments.topic).map_err(|error| kafka.failure(error))?;
    let count = count.ok_or_else(|| {
        Failure::Usage(format!("topic {} does not exist; run `weir apply` or correct the name", arguments.topic))
    })?;
    if let Some(partition) = arguments.partition.filter(|partition| !(0..count).contains(partition)) {
        let text = format!("--partition {partition}: topic {} has partitions 0 to {}", arguments.topic, count - 1);
        return Err(Failure::Usage(text));
    }
    let start = match arguments.offset {
        0 => Start::Beginning,
        offset => Start::Offsets((0..count).map(|partition| (partition, offset)).collect::<BTreeMap<_, _>>()),
    };
    let options = ReadOptions {
        start,
        until: if arguments.follow { Until::Live } else { Until::End },
        partitions: arguments.partition.map(|partition| vec![partition]),
        uncommitted: false,
    };
    let mut reader = kafka.reader(&arguments.topic, options)?;
    let mut out = Out::new();
    let (mut shown, mut silent, mut unreadable) = (0, 0, 0);
    while arguments.max.is_none_or(|max| shown < max) && !interrupt.asked() {
        let record = match reader.next(TICK) {
            Ok(Read::Record(record)) => record,
            Ok(Read::CaughtUp) if arguments.follow => {
                out.flush()?;
                continue;
            }
            Ok(Read::CaughtUp) => break,
            Ok(Read::Idle) => {
                out.flush()?;
                silent += 1;
                if silent >= SILENCE && !arguments.follow {
                    let action = format!("read topic {}", arguments.topic);
                    let reason = "nothing more comes".to_owned();
                    return Err(kafka.failure(Error::Unavailable { action, reason }));
                }
                continue;
            }
            // A batch that cannot be read is told, and passed over where the client can; else it comes again for ever.
            Err(error @ Error::Unreadable { .. }) if unreadable < UNREADABLE => {
                unreadable += 1;
                say(format_args!("warning: {error}"));
                continue;
            }
            Err(error) => return Err(kafka.failure(error)),
        };
        (silent, unreadable) = (0, 0);
        shown += 1;
        let value = decoder.value(&record)?;
        if arguments.json {
            out.json(&record_json(&arguments.topic, &record, decoder.key(&record)?, value))?;
        } else {
            out.json(&value.into_json())?;
        }
    }
    out.flush()?;
    if shown == 0 && arguments.max != Some(0) && !arguments.follow {
        let partition = arguments.partition.map_or_else(String::new, |number| format!(" in partition {number}"));
        let from = if arguments.offset == 0 { String::new() } else { format!(" from offset {}", arguments.offset) };
        say(format_args!("topic {} holds no committed record{partition}{from}", arguments.topic));
    }
    Ok(Exit::Done)
}
