//! `weir quarantine replay`: quarantined events that keep the contract now go to their product topic, exactly once.
//!
//! Each batch is one transaction: the events that pass, and a marker for every event that was judged. The
//! transactional id belongs to the quarantine topic, so a second replay of it fences the first, and only then reads
//! the markers: whatever the first one committed is seen, and nothing it had not committed ever will be. Entries are
//! never moved: one that fails stays where it is and is judged again by a later replay, under the contract of that
//! day, until it was tried too often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract_enforcer::pipeline::Judge;
use serde_json::json;
use weir_contract::{Action, CompiledObject, Mode, Outcome as Judged, Source, Verdict, plan};
use weir_kafka::{Outgoing, TransactionalWriter};
use weir_pump::{Header, RecordView, added_size};

use super::entry::Entry;
use super::markers::{self, Marker, Markers, Outcome, TRANSACTION};
use super::{exists, names};
use crate::args::QuarantineReplay;
use crate::decode::now;
use crate::interrupt::Interrupt;
use crate::kafka::Kafka;
use crate::output::{Out, say, thousands};
use crate::published::governing;
use crate::registry::Registry;
use crate::{Exit, Failure};

/// Events of one transaction.
const BATCH: usize = 500;
/// How long the registry may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kafka's default for the largest record batch, where the topic tells none.
const DEFAULT_LIMIT: usize = 1_048_588;

/// What came of the entries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    warned: u64,
    failed: u64,
    /// Broken promises of the failed, by code and rule.
    reasons: BTreeMap<(String, String), u64>,
    replayed_before: u64,
    tried_too_often: u64,
    lost: u64,
}

/// What to do with an entry before anybody judges it.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    NotSelected,
    ReplayedBefore,
    TriedTooOften,
    Lost,
    /// It is judged; this would be its so-manieth time.
    Due(u32),
}

/// Judges the selected entries and replays those that pass.
///
/// # Errors
/// [`Failure`] when Kafka or the registry cannot be reached, no contract governs the topic, or another replay took
/// over. What was committed until then stays, and a further run goes on behind it.
pub fn run(arguments: &QuarantineReplay) -> Result<Exit, Failure> {
    let (product, quarantine) = names(&arguments.selection.topic);
    let kafka = Kafka::connect(&arguments.selection.kafka)?;
    exists(&kafka, &quarantine)?;
    let registry = Registry::of(&arguments.selection.registry)?;
    let object = governing(&kafka, &product)?;
    let limit = limit(&kafka, &product)?;
    let interrupt = Interrupt::listen()?;
    let mut sink = match arguments.dry_run {
        true => None,
        false => Some(Sink::open(&kafka, &product, &quarantine)?),
    };
    // Only now: see above.
    let markers = Markers::read(&kafka, &quarantine)?;
    let mut judge = Judge::new(registry.client().clone());
    let mut tally = Tally::default();
    let outcome = kafka.read_all(&quarantine, |record| {
        if interrupt.asked() {
            return Err(Failure::other("interrupted; run it again to go on"));
        }
        let entry = Entry::read(record);
        let attempt = match standing(&entry, markers.of(&entry.record), arguments) {
            Standing::Due(attempt) => attempt,
            other => {
                tally.skip(&other);
                return Ok(());
            }
        };
        let headers = entry.headers();
        let view = RecordView {
            offset: entry.record.offset,
            timestamp: entry.record.timestamp,
            key: entry.record.key.as_deref(),
            value: entry.record.value.as_deref(),
            headers: &headers,
        };
        let now = now();
        let (verdict, added) = judged(&mut judge, &registry, &object, &view, now)?;
        let size = view.size() + added_size(&added);
        let fits = size <= limit;
        let passes = verdict.outcome() != Judged::Quarantined && fits;
        tally.add(&verdict, fits);
        let Some(sink) = &mut sink else { return Ok(()) };
        let outcome = if passes { Outcome::Replayed } else { Outcome::Failed };
        let marker = Marker::new(outcome, attempt, object.contract().to_owned(), now, &entry.record);
        let added: Vec<Header<'_>> =
            added.iter().map(|(name, value)| (name.as_ref(), Some(value.as_slice()))).collect();
        let headers = [headers, added].concat();
        sink.take(&entry, passes.then_some(headers.as_slice()), &marker)
    });
    // What is judged and not yet committed is committed also where the reading was cut short: it is whole.
    if let Some(sink) = &mut sink {
        sink.commit()?;
    }
    // Where a batch was undone, the counts would say too much.
    if outcome.is_ok() || interrupt.asked() {
        report(arguments, object.contract(), &tally)?;
    }
    outcome?;
    Ok(if tally.failed + tally.tried_too_often + tally.lost > 0 { Exit::No } else { Exit::Done })
}

fn standing(entry: &Entry, marker: Option<&Marker>, arguments: &QuarantineReplay) -> Standing {
    let selection = &arguments.selection;
    if !entry.matches(selection.code.as_deref(), selection.rule.as_deref()) {
        return Standing::NotSelected;
    }
    let tried = match marker {
        Some(Marker { outcome: Outcome::Replayed, .. }) => return Standing::ReplayedBefore,
        Some(marker) => marker.attempt,
        None => entry.attempt,
    };
    if entry.lost().is_some() {
        Standing::Lost
    } else if tried >= arguments.max_attempts {
        Standing::TriedTooOften
    } else {
        Standing::Due(tried.saturating_add(1))
    }
}

/// The verdict on an event, and the headers it would gain on the product topic.
fn judged(
    judge: &mut Judge,
    registry: &Registry,
    object: &Arc<CompiledObject>,
    view: &RecordView<'_>,
    now: i64,
) -> Result<(Verdict, weir_contract::Headers), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let (verdict, schema_id) = loop {
        let seen = registry.client().changes();
        match judge.judge(object, view, now) {
            Ok(verdict) => break verdict,
            Err(stall) if Instant::now() >= deadline => return Err(registry.unreachable(&stall.reason)),
            Err(_) => drop(registry.client().wait(seen, Duration::from_millis(200))),
        }
    };
    // Where it came from stands in the headers of a quarantined event only, and this one stays where it is.
    let source = Source { topic: "", partition: 0, offset: view.offset, schema_id, attempt: 0 };
    let added = match plan(object, &verdict, &source) {
        Action::ForwardWith(headers) => headers,
        Action::Forward | Action::Quarantine(_) => Vec::new(),
    };
    Ok((verdict, added))
}

/// The largest record the product topic takes, in bytes.
fn limit(kafka: &Kafka, product: &str) -> Result<usize, Failure> {
    let configs = kafka.admin().configs(&[product]).map_err(|error| kafka.failure(error))?;
    let configs = configs
        .get(product)
        .ok_or_else(|| Failure::No(format!("topic {product} does not exist; run `weir apply` with its contract")))?;
    let limit = configs.get("max.message.bytes").and_then(|config| config.value.parse().ok());
    Ok(limit.unwrap_or(DEFAULT_LIMIT))
}

/// Where events and markers are written, a transaction for each batch.
struct Sink<'k> {
    kafka: &'k Kafka,
    writer: TransactionalWriter,
    product: String,
    quarantine: String,
    pending: usize,
}

impl<'k> Sink<'k> {
    /// Becomes the only one that replays this quarantine.
    fn open(kafka: &'k Kafka, product: &str, quarantine: &str) -> Result<Sink<'k>, Failure> {
        let there = kafka.admin().partitions(markers::TOPIC).map_err(|error| kafka.failure(error))?;
        if there.is_none() {
            return Err(Failure::No(format!("topic {} does not exist; run `weir apply` first", markers::TOPIC)));
        }
        let id = format!("weir-replay.{quarantine}");
        let writer =
            TransactionalWriter::open(kafka.config(), &id, TRANSACTION).map_err(|error| kafka.transaction(error))?;
        Ok(Sink { kafka, writer, product: product.to_owned(), quarantine: quarantine.to_owned(), pending: 0 })
    }

    /// Writes the marker of an entry and, where it passed, the event with these headers to the partition it came from.
    fn take(&mut self, entry: &Entry, passed: Option<&[Header<'_>]>, marker: &Marker) -> Result<(), Failure> {
        let record = &entry.record;
        let key = markers::key(&self.quarantine, record.partition, record.offset);
        let value = json!(marker).to_string();
        let steps = || {
            if self.pending == 0 {
                self.writer.begin()?;
            }
            if let Some(headers) = passed {
                self.writer.send(&Outgoing {
                    topic: &self.product,
                    partition: Some(record.partition),
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    headers,
                    timestamp: record.timestamp.millis(),
                })?;
            }
            self.writer.send(&Outgoing {
                topic: markers::TOPIC,
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                ..Outgoing::default()
            })
        };
        let mut steps = steps;
        if let Err(error) = steps() {
            return Err(self.failed(error));
        }
        self.pending += 1;
        if self.pending >= BATCH { self.commit() } else { Ok(()) }
    }

    /// Commits what is pending.
    fn commit(&mut self) -> Result<(), Failure> {
        if self.pending == 0 {
            return Ok(());
        }
        self.pending = 0;
        match self.writer.commit() {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&mut self, error: weir_kafka::TransactionError) -> Failure {
        self.pending = 0;
        match error.failure {
            weir_kafka::Failure::Fenced => {
                Failure::other(format!("another replay of {} took over; this one ends", self.quarantine))
            }
            weir_kafka::Failure::Abortable => {
                // The coordinator does it as well, after a while; an error here changes nothing.
                let _ = self.writer.abort();
                Failure::other(format!("{error}; this batch was undone, run it again to go on"))
            }
            _ => match self.kafka.transaction(error) {
                Failure::Other(error) => {
                    Failure::Other(error.context("the last batch may or may not be committed; run it again to go on"))
                }
                failure => failure,
            },
        }
    }
}

impl Tally {
    fn skip(&mut self, standing: &Standing) {
        match standing {
            Standing::ReplayedBefore => self.replayed_before += 1,
            Standing::TriedTooOften => self.tried_too_often += 1,
            Standing::Lost => self.lost += 1,
            Standing::NotSelected | Standing::Due(_) => {}
        }
    }

    fn add(&mut self, verdict: &Verdict, fits: bool) {
        if verdict.outcome() != Judged::Quarantined && fits {
            self.passed += 1;
            self.warned += u64::from(verdict.outcome() == Judged::Warned);
            return;
        }
        self.failed += 1;
        let enforced = verdict.violations().iter().filter(|violation| violation.mode == Mode::Enforce);
        let mut kinds: Vec<_> =
            enforced.map(|violation| (violation.code.name().to_owned(), violation.rule.to_string())).collect();
        if kinds.is_empty() && !fits {
            kinds.push((weir_contract::Code::RecordTooLarge.name().to_owned(), String::new()));
        }
        kinds.sort();
        kinds.dedup();
        for kind in kinds {
            *self.reasons.entry(kind).or_default() += 1;
        }
    }

    fn lines(&self, dry_run: bool, max_attempts: u32) -> Vec<String> {
        let (pass, fail) = if dry_run { ("would pass", "would fail") } else { ("replayed", "failed again") };
        let number = |number: u64| format!("{:>12}", thousands(number));
        let mut lines = vec![format!("{} {pass}", number(self.passed))];
        if self.warned > 0 {
            lines.push(format!("{}   of them with warnings", number(self.warned)));
        }
        lines.push(format!("{} {fail}", number(self.failed)));
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by(|one, other| other.1.cmp(one.1).then_with(|| one.0.cmp(other.0)));
        for ((code, rule), times) in reasons {
            lines.push(format!("{}   {code} {rule}", number(*times)).trim_end().to_owned());
        }
        for (times, what) in [
            (self.replayed_before, "replayed before".to_owned()),
            (
                self.tried_too_often,
                format!(
                    "left alone, tried {max_attempts} times or more; --max-attempts with a higher number tries them again"
                ),
            ),
            (self.lost, "can never be replayed (`weir quarantine show` says why)".to_owned()),
        ] {
            if times > 0 {
                lines.push(format!("{} {what}", number(times)));
            }
        }
        lines
    }
}

fn report(arguments: &QuarantineReplay, contract: &str, tally: &Tally) -> Result<(), Failure> {
    let mut out = Out::new();
    if arguments.json {
        let reasons = tally.reasons.iter();
        let reasons: Vec<_> =
            reasons.map(|((code, rule), times)| json!({ "code": code, "rule": rule, "events": times })).collect();
        out.json(&json!({
            "contract": contract, "dry_run": arguments.dry_run, "passed": tally.passed, "warned": tally.warned,
            "failed": tally.failed, "reasons": reasons, "replayed_before": tally.replayed_before,
            "tried_too_often": tally.tried_too_often, "lost": tally.lost,
        }))?;
    } else {
        for line in tally.lines(arguments.dry_run, arguments.max_attempts) {
            out.line(line)?;
        }
    }
    out.flush()?;
    let done = if arguments.dry_run { "nothing was changed" } else { "done" };
    say(format_args!("{} under {contract}: {done}", arguments.selection.topic));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{RANGE, record};
    use super::*;
    use crate::args::{KafkaArgs, RegistryArgs, Selection};

    fn arguments(code: Option<&str>, max_attempts: u32) -> QuarantineReplay {
        let selection = Selection {
            topic: "t".to_owned(),
            kafka: KafkaArgs { kafka: String::new(), kafka_properties: Vec::new() },
            registry: RegistryArgs { registry: String::new(), registry_credentials: None },
            code: code.map(str::to_owned),
            rule: None,
        };
        QuarantineReplay { selection, dry_run: false, max_attempts, json: false }
    }

    #[test]
    fn an_entry_is_due_until_it_was_replayed_or_tried_too_often() {
        let entry = Entry::read(record(9, &[], RANGE));
        let marker = |outcome, attempt| Marker::new(outcome, attempt, "c@1".to_owned(), 0, &entry.record);
        let check = |marker: Option<&Marker>, code, expect| {
            assert_eq!(standing(&entry, marker, &arguments(code, 3)), expect);
        };
        check(None, None, Standing::Due(2));
        check(None, Some("FIELD_RANGE"), Standing::Due(2));
        check(None, Some("RULE_FAILED"), Standing::NotSelected);
        check(Some(&marker(Outcome::Failed, 2)), None, Standing::Due(3));
        check(Some(&marker(Outcome::Failed, 3)), None, Standing::TriedTooOften);
        check(Some(&marker(Outcome::Replayed, 2)), None, Standing::ReplayedBefore);
        let lost = Entry::read(record(9, &[], r#"{"violations":[{"code":"BATCH_UNREADABLE"}]}"#));
        assert_eq!(standing(&lost, None, &arguments(None, 3)), Standing::Lost);
    }

    #[test]
    fn the_report_counts_every_entry_once() {
        let mut tally = Tally { passed: 8_869, failed: 4, replayed_before: 2, lost: 1, ..Tally::default() };
        tally.reasons.insert(("RULE_FAILED".to_owned(), "coupons".to_owned()), 4);
        assert_eq!(
            tally.lines(true, 5),
            [
                "       8,869 would pass",
                "           4 would fail",
                "           4   RULE_FAILED coupons",
                "           2 replayed before",
                "           1 can never be replayed (`weir quarantine show` says why)",
            ]
        );
    }
}
