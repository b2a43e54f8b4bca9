//! `weir quarantine show`: one quarantined event with all that is known about it.

use std::collections::BTreeMap;
use std::fmt::Write;

use weir_avro::JsonForm;
use weir_contract::Code;
use weir_kafka::{Read, ReadOptions, Start};

use super::entry::Entry;
use super::list::{entry_json, marker_text, reason_line};
use super::markers::Markers;
use super::{exists, names};
use crate::args::QuarantineShow;
use crate::decode::{Decoder, Shown, record_json, time};
use crate::explain::summary;
use crate::kafka::{Kafka, PATIENCE};
use crate::output::Out;
use crate::registry::Registry;
use crate::{Exit, Failure};

/// Bytes of a value that a hexdump shows.
const DUMPED: usize = 512;

/// Prints the event at the position.
///
/// # Errors
/// [`Failure::Usage`] for a position that holds no event.
pub fn run(arguments: &QuarantineShow) -> Result<Exit, Failure> {
    let (partition, offset) = position(&arguments.position)?;
    let (_, quarantine) = names(&arguments.topic);
    let kafka = Kafka::connect(&arguments.kafka)?;
    exists(&kafka, &quarantine)?;
    let registry = Registry::of(&arguments.registry)?;
    let missing = || {
        Failure::Usage(format!(
            "{quarantine} has no event at {partition}:{offset}; `weir quarantine list {}` shows which ones it has",
            arguments.topic
        ))
    };
    let count = kafka.admin().partitions(&quarantine).map_err(|error| kafka.failure(error))?.unwrap_or_default();
    if !(0..count).contains(&partition) {
        return Err(missing());
    }
    let options = ReadOptions {
        start: Start::Offsets(BTreeMap::from([(partition, offset)])),
        partitions: Some(vec![partition]),
        ..ReadOptions::default()
    };
    let mut reader = kafka.reader(&quarantine, options)?;
    let record = match reader.next(PATIENCE).map_err(|error| kafka.failure(error))? {
        Read::Record(record) if record.offset == offset => record,
        _ => return Err(missing()),
    };
    let markers = Markers::read(&kafka, &quarantine)?;
    let marker = markers.of(&record);
    let decoder = Decoder::new(&registry, JsonForm::Plain);
    let (key, value) = (decoder.key(&record)?, decoder.value(&record)?);
    let entry = Entry::read(record);
    let mut out = Out::new();
    if arguments.json {
        let mut object = record_json(&quarantine, &entry.record, key, value);
        object["quarantine"] = entry_json(&quarantine, &entry, marker);
        out.json(&object)?;
    } else {
        out.text(&page(&quarantine, &entry, &marker_text(marker), key, value))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn position(text: &str) -> Result<(i32, i64), Failure> {
    let parsed = text.split_once(':').and_then(|(partition, offset)| {
        let partition = partition.parse::<u16>().ok().map(i32::from)?;
        Some((partition, offset.parse::<i64>().ok().filter(|offset| *offset >= 0)?))
    });
    parsed.ok_or_else(|| Failure::Usage(format!("{text}: no position; give partition:offset, such as 0:42")))
}

fn page(quarantine: &str, entry: &Entry, state: &str, key: Shown, value: Shown) -> String {
    let record = &entry.record;
    let mut page = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{name:<12}{value}");
    };
    line("event", &format!("{quarantine} {}:{}{state}", record.partition, record.offset));
    if let Some(source) = &entry.source {
        line("came from", &format!("{} {}:{}", source.topic, source.partition, source.offset));
    }
    line("time", &record.timestamp.millis().map_or_else(|| "none".to_owned(), time));
    line("contract", entry.contract.as_deref().unwrap_or("unknown"));
    line("schema", entry.schema.as_deref().unwrap_or("unknown"));
    line("attempt", &entry.attempt.to_string());
    line("key", &key.into_json().to_string());
    for (name, value) in entry.headers() {
        line("header", &format!("{name} = {}", value.map_or("null".into(), String::from_utf8_lossy)));
    }
    page.push_str("\nreasons\n");
    let mut codes = Vec::new();
    for reason in &entry.reasons.violations {
        let _ = writeln!(page, "  {}", reason_line(reason));
        codes.extend(Code::parse(&reason.code).filter(|code| !codes.contains(code)));
    }
    if entry.reasons.omitted > 0 {
        let _ = writeln!(page, "  and {} more", entry.reasons.omitted);
    }
    if entry.reasons.violations.is_empty() {
        page.push_str("  none is given; this record was not written by the enforcer\n");
    }
    for code in codes {
        let _ = writeln!(page, "  {code}: {} `weir explain {code}` says who repairs it.", summary(code));
    }
    page.push_str("\nvalue\n");
    match value {
        Shown::Bytes(bytes, reason) => {
            let _ = writeln!(page, "  {} bytes that cannot be decoded: {reason}", bytes.len());
            page.push_str(&hexdump(&bytes));
        }
        Shown::Null => page.push_str("null (a tombstone)\n"),
        value => {
            let value = value.into_json();
            let _ = writeln!(page, "{}", serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string()));
        }
    }
    page
}

/// Sixteen bytes a line: offset, bytes, text.
fn hexdump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (index, line) in bytes[..bytes.len().min(DUMPED)].chunks(16).enumerate() {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String =
            line.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' }).collect();
        let _ = writeln!(dump, "  {:08x}  {:<47}  {text}", index * 16, hex.join(" "));
    }
    if bytes.len() > DUMPED {
        let _ = writeln!(dump, "  … {} more bytes; `weir consume --json` has them all", bytes.len() - DUMPED);
    }
    dump
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{RANGE, record};
    use super::*;

    #[test]
    fn a_position_is_partition_and_offset() {
        assert_eq!(position("3:42").unwrap(), (3, 42));
        for wrong in ["", "3", "3:", ":1", "-1:0", "0:-1", "a:b", "0:1:2"] {
            assert_eq!(position(wrong).unwrap_err().exit(), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_page_tells_everything_about_an_event() {
        let entry = Entry::read(record(9, &[("trace", "abc")], RANGE));
        let value = Shown::Bytes(b"\x00\x01hi".to_vec(), "payload is too short".to_owned());
        let page = page("t.quarantine", &entry, "", Shown::Text("k".to_owned()), value);
        let start = "\
event       t.quarantine 3:9
came from   t.landing 3:77
time        1970-01-01T00:00:00.001Z
contract    c@1.0.0
schema      5
attempt     1
key         \"k\"
header      trace = abc

reasons
  FIELD_RANGE [quantity_positive] quantity too small
  and 2 more
  FIELD_RANGE: ";
        assert!(page.starts_with(start), "{page}");
        let end = "\n\
value
  4 bytes that cannot be decoded: payload is too short
  00000000  00 01 68 69                                      ..hi
";
        assert!(page.ends_with(end), "{page}");
    }

    #[test]
    fn a_hexdump_has_an_end() {
        let dump = hexdump(&[b'a'; 600]);
        assert_eq!(dump.lines().count(), 33);
        assert!(dump.ends_with("… 88 more bytes; `weir consume --json` has them all\n"));
    }
}
