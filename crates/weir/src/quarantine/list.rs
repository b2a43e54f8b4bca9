//! `weir quarantine list`: quarantined events with their reasons, or how often each reason occurs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::entry::{Entry, Reason};
use super::markers::{Marker, Markers, Outcome};
use super::{exists, names};
use crate::args::QuarantineList;
use crate::check::with_path;
use crate::decode::time;
use crate::kafka::Kafka;
use crate::output::{Out, count, say, thousands};
use crate::{Exit, Failure};

/// Prints what is in quarantine and was not replayed yet.
///
/// # Errors
/// [`Failure`] when Kafka cannot be reached or the topic is not there.
pub fn run(arguments: &QuarantineList) -> Result<Exit, Failure> {
    let selection = &arguments.selection;
    let (_, quarantine) = names(&selection.topic);
    let kafka = Kafka::connect(&selection.kafka)?;
    exists(&kafka, &quarantine)?;
    let markers = Markers::read(&kafka, &quarantine)?;
    let mut out = Out::new();
    let (mut shown, mut left_out, mut replayed) = (0u64, 0u64, 0u64);
    let mut reasons: BTreeMap<(String, String), u64> = BTreeMap::new();
    kafka.read_all(&quarantine, |record| {
        let marker = markers.of(&record);
        let entry = Entry::read(record.clone());
        if !entry.matches(selection.code.as_deref(), selection.rule.as_deref()) {
            return Ok(());
        }
        let done = marker.is_some_and(|marker| marker.outcome == Outcome::Replayed);
        if done {
            replayed += 1;
        }
        if done && !arguments.all {
            return Ok(());
        }
        if arguments.max.is_some_and(|max| shown >= max) {
            left_out += 1;
            return Ok(());
        }
        shown += 1;
        if arguments.summary {
            for reason in kinds(&entry) {
                *reasons.entry(reason).or_default() += 1;
            }
            return Ok(());
        }
        match arguments.json {
            true => out.json(&entry_json(&quarantine, &entry, marker)),
            false => out.line(entry_line(&entry, marker)),
        }
    })?;
    let mut rows: Vec<_> = reasons.into_iter().collect();
    rows.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let width = rows.iter().map(|(_, number)| thousands(*number).len()).max().unwrap_or_default();
    for ((code, rule), number) in rows {
        if arguments.json {
            out.json(&json!({ "code": code, "rule": rule, "events": number }))?;
        } else {
            out.line(format!("{:>width$}  {code} {rule}", thousands(number)).trim_end())?;
        }
    }
    out.flush()?;
    let more = if left_out > 0 { format!(", {} more not shown", thousands(left_out)) } else { String::new() };
    say(format_args!("{quarantine}: {}{more}, {} replayed", count(shown, "event"), thousands(replayed)));
    Ok(Exit::Done)
}

/// The different codes and rules of an entry: an event that breaks one rule in three fields counts once for it.
fn kinds(entry: &Entry) -> Vec<(String, String)> {
    let mut kinds: Vec<_> =
        entry.reasons.violations.iter().map(|reason| (reason.code.clone(), reason.rule.clone())).collect();
    if kinds.is_empty() {
        kinds.push(("no reason".to_owned(), String::new()));
    }
    kinds.sort();
    kinds.dedup();
    kinds
}

/// A reason in one line: code, rule, and what is wrong where. `this` is the whole event and says nothing.
pub fn reason_line(reason: &Reason) -> String {
    let rule = if reason.rule.is_empty() { String::new() } else { format!(" [{}]", reason.rule) };
    let path = if reason.path == "this" { "" } else { &reason.path };
    let line = format!("{}{rule} {}", reason.code, with_path(path, &reason.message).trim_start());
    line.trim_end().to_owned()
}

/// What became of it since, in brackets.
pub fn marker_text(marker: Option<&Marker>) -> String {
    match marker {
        None => String::new(),
        Some(Marker { outcome: Outcome::Replayed, contract, .. }) => format!(" [replayed under {contract}]"),
        Some(Marker { attempt, contract, .. }) => format!(" [attempt {attempt}, failed under {contract}]"),
    }
}

fn entry_line(entry: &Entry, marker: Option<&Marker>) -> String {
    let record = &entry.record;
    let at = record.timestamp.millis().map_or_else(|| "-".to_owned(), time);
    let mut reasons: Vec<String> = entry.reasons.violations.iter().map(reason_line).collect();
    if entry.reasons.omitted > 0 {
        reasons.push(format!("{} more", entry.reasons.omitted));
    }
    if reasons.is_empty() {
        reasons.push("no reason given".to_owned());
    }
    format!("{}:{}  {at}  {}{}", record.partition, record.offset, reasons.join("; "), marker_text(marker))
}

/// An entry without its value, for a machine.
pub fn entry_json(quarantine: &str, entry: &Entry, marker: Option<&Marker>) -> Value {
    json!({
        "topic": quarantine,
        "partition": entry.record.partition,
        "offset": entry.record.offset,
        "timestamp": entry.record.timestamp.millis().map(time),
        "contract": entry.contract,
        "source": entry.source,
        "schema": entry.schema,
        "attempt": marker.map_or(entry.attempt, |marker| marker.attempt),
        "replay": marker.map(|marker| json!({ "outcome": marker.outcome, "contract": marker.contract, "at": time(marker.at) })),
        "violations": entry.reasons.violations,
        "omitted": entry.reasons.omitted,
    })
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{RANGE, record};
    use super::*;

    #[test]
    fn a_line_names_place_time_reasons_and_what_became_of_it() {
        let entry = Entry::read(record(9, &[], RANGE));
        let line = "3:9  1970-01-01T00:00:00.001Z  FIELD_RANGE [quantity_positive] quantity too small; 2 more";
        assert_eq!(entry_line(&entry, None), line);
        let mut marker = Marker::new(Outcome::Failed, 2, "c@1.1.0".to_owned(), 5, &entry.record);
        assert_eq!(entry_line(&entry, Some(&marker)), format!("{line} [attempt 2, failed under c@1.1.0]"));
        marker.outcome = Outcome::Replayed;
        assert_eq!(entry_line(&entry, Some(&marker)), format!("{line} [replayed under c@1.1.0]"));
        let foreign = Entry::read(record(9, &[], "{"));
        assert_eq!(entry_line(&foreign, None), "3:9  1970-01-01T00:00:00.001Z  no reason given");
    }

    #[test]
    fn a_reason_counts_once_per_event() {
        let twice =
            r#"{"violations":[{"code":"B","rule":"r","path":"x"},{"code":"B","rule":"r","path":"y"},{"code":"A"}]}"#;
        let entry = Entry::read(record(9, &[], twice));
        assert_eq!(kinds(&entry), [("A".to_owned(), String::new()), ("B".to_owned(), "r".to_owned())]);
    }
}
