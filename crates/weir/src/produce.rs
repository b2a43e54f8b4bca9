//! `weir produce`: a file of events into a topic, as the contract's producer would write them.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use weir_contract::CompiledObject;
use weir_contract::settings::Framing;
use weir_kafka::{Delivery, Outgoing, Writer};

use crate::args::Produce;
use crate::check::pick;
use crate::contracts::{ContractFile, load_one};
use crate::encode::{Encoded, Encoder, key_schema};
use crate::events::Events;
use crate::interrupt::Interrupt;
use crate::kafka::Kafka;
use crate::output::{Out, count, say, thousands};
use crate::registry::Registry;
use crate::{Exit, Failure};

/// Records that may wait for their delivery.
const IN_FLIGHT: usize = 100_000;
/// Rows between two looks at deliveries, progress and signals.
const LOOK: u64 = 4_096;
/// Failures that are told one by one; the others are counted.
const TOLD: u64 = 20;

#[derive(Debug, Default)]
struct Counts {
    read: u64,
    written: u64,
    failed: u64,
}

/// Writes every event of the file.
///
/// # Errors
/// [`Failure::No`] when the contract is not applied or an event cannot be encoded; what was written before stays.
pub fn run(arguments: &Produce) -> Result<Exit, Failure> {
    let file = load_one(&arguments.contract)?;
    let object = match pick(file.compiled.as_ref(), arguments.topic.as_deref()) {
        // Any topic may be written to where there is no question which events are meant.
        Err(_) if arguments.topic.is_some() => pick(file.compiled.as_ref(), None)?,
        picked => picked?,
    };
    let topic = arguments.topic.as_deref().or(object.landing()).unwrap_or(object.topic());
    let mut events = Events::open(&arguments.file, arguments.format, object.schema())?;
    let kafka = Kafka::connect(&arguments.kafka)?;
    let registry = Registry::of(&arguments.registry)?;
    if kafka.admin().partitions(topic).map_err(|error| kafka.failure(error))?.is_none() {
        return Err(Failure::No(format!("topic {topic} does not exist; run `weir apply` first")));
    }
    let (value_id, key_id) = ids(&file, &object, &registry)?;
    let mut encoder = Encoder::new(&object, value_id, key_id)?;
    let mut writer = Writer::open(kafka.config(), IN_FLIGHT).map_err(|error| kafka.failure(error))?;
    let interrupt = Interrupt::listen()?;
    let bar = progress(&events, arguments.quiet);
    let started = Instant::now();
    let mut counts = Counts::default();
    let mut encoded = Encoded::default();
    let mut stopped = None;
    while let Some(row) = events.next()? {
        let line = row.line;
        counts.read += 1;
        if let Err(why) = row.value.and_then(|event| encoder.encode(event, &mut encoded)) {
            let place = format!("{}:{line}: cannot be encoded: {why}", events.place());
            if !arguments.keep_going {
                let before = match counts.read {
                    1 => "nothing is written",
                    _ => "the events before it are written, so a file with all of them would write those twice",
                };
                stopped = Some(format!("{place}; {before}; --keep-going passes over such events"));
                break;
            }
            tell(&bar, &mut counts, &place);
            continue;
        }
        let record = Outgoing {
            topic,
            partition: None,
            key: encoded.key(),
            value: Some(&encoded.value),
            headers: &[],
            timestamp: encoded.timestamp,
        };
        let token = usize::try_from(line).unwrap_or(usize::MAX);
        match writer.send(&record, token) {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => {
                bar.finish_and_clear();
                return Err(kafka.failure(error));
            }
            Err(error) => tell(&bar, &mut counts, &format!("{}:{line}: {error}", events.place())),
        }
        if counts.read.is_multiple_of(LOOK) {
            delivered(writer.deliveries(), &mut counts, &bar, events.place());
            bar.set_position(events.position());
            bar.set_message(rate(counts.written, started));
            if interrupt.asked() {
                stopped = Some("interrupted".to_owned());
                break;
            }
        }
    }
    let last = writer.flush();
    let unavailable =
        last.iter().find_map(|delivery| delivery.result.as_ref().err().filter(|e| e.is_unavailable()).cloned());
    delivered(last, &mut counts, &bar, events.place());
    bar.finish_and_clear();
    report(arguments, topic, &counts, started)?;
    match (unavailable, stopped) {
        (Some(error), _) => Err(kafka.failure(error)),
        (None, Some(why)) => Err(Failure::No(why)),
        (None, None) => Ok(if counts.failed > 0 { Exit::No } else { Exit::Done }),
    }
}

/// The ids that the registry gave the schemas of value and key.
///
/// # Errors
/// [`Failure::No`] when one of the subjects does not have the contract's schema.
pub fn ids(file: &ContractFile, object: &CompiledObject, registry: &Registry) -> Result<(u32, u32), Failure> {
    if object.framing() == Framing::Header {
        return Err(Failure::No(format!(
            "{}: the contract wants schema ids in headers, and this command writes them before the payload; use a producer that sets __value_schema_id",
            file.path.display()
        )));
    }
    let schema = file.schemas.get(object.schema_url()).map(String::as_str).unwrap_or_default();
    let registered = |subject: &str, schema: &str| match registry.look_up(subject, schema)? {
        Some(found) => Ok(found.id),
        None => Err(Failure::No(format!(
            "subject {subject} does not have the schema of {}; run `weir apply` first",
            file.path.display()
        ))),
    };
    let mut value_id = 0;
    for subject in object.subjects() {
        value_id = registered(&subject, schema)?;
    }
    let mut key_id = 0;
    if let Some(schema) = key_schema(object) {
        let topic = object.landing().unwrap_or(object.topic());
        key_id = registered(&format!("{topic}-key"), &schema)?;
    }
    Ok((value_id, key_id))
}

fn progress(events: &Events, quiet: bool) -> ProgressBar {
    let bar = match (quiet, events.len()) {
        (true, _) => return ProgressBar::hidden(),
        (false, Some(bytes)) => ProgressBar::new(bytes),
        (false, None) => ProgressBar::no_length(),
    };
    // Drawn on stderr, and only where that is a terminal.
    let template = "{bar:40} {bytes}/{total_bytes} {msg} {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn rate(written: u64, started: Instant) -> String {
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    format!("{}/s", thousands((written as f64 / seconds) as u64))
}

fn tell(bar: &ProgressBar, counts: &mut Counts, what: &str) {
    counts.failed += 1;
    if counts.failed <= TOLD {
        bar.suspend(|| say(what));
    } else if counts.failed == TOLD + 1 {
        bar.suspend(|| say("further failures are only counted"));
    }
}

fn delivered(deliveries: Vec<Delivery>, counts: &mut Counts, bar: &ProgressBar, place: &str) {
    for Delivery { token, result } in deliveries {
        match result {
            Ok(_) => counts.written += 1,
            Err(error) => tell(bar, counts, &format!("{place}:{token}: {error}")),
        }
    }
}

fn report(arguments: &Produce, topic: &str, counts: &Counts, started: Instant) -> Result<(), Failure> {
    let seconds = started.elapsed().as_secs_f64();
    if arguments.json {
        let mut out = Out::new();
        let per_second = (counts.written as f64 / seconds.max(0.001)) as u64;
        out.json(&json!({
            "topic": topic, "written": counts.written, "failed": counts.failed,
            "seconds": (seconds * 1000.0).round() / 1000.0, "per_second": per_second,
        }))?;
        out.flush()?;
    }
    let failed = if counts.failed > 0 { format!(", {} failed", thousands(counts.failed)) } else { String::new() };
    let written = count(counts.written, "event");
    say(format_args!("{written} written to {topic} in {seconds:.1} s ({}){failed}", rate(counts.written, started)));
    Ok(())
}
