//! `weir check`: events in a file against a contract, offline, by the same steps as the enforcer's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_avro::Slot;
use weir_contract::{Binding, CompiledContract, CompiledObject, Event, Mode, Outcome, Verdict, decide};

use crate::args::Check;
use crate::contracts::load_one;
use crate::decode::now;
use crate::encode::{Encoded, Encoder};
use crate::events::Events;
use crate::output::{Out, count, say, thousands};
use crate::{Exit, Failure};

/// What came of the events.
#[derive(Debug, Default)]
struct Totals {
    accepted: u64,
    warned: u64,
    quarantined: u64,
    unencodable: u64,
    /// Broken promises by mode, code and rule.
    broken: BTreeMap<(&'static str, &'static str, String), u64>,
}

/// Checks every event and prints what is wrong with it.
///
/// # Errors
/// [`Failure::Usage`] for files that are not there, [`Failure::No`] for a contract with errors.
pub fn run(arguments: &Check) -> Result<Exit, Failure> {
    let contract = load_one(&arguments.contract)?;
    let object = pick(contract.compiled.as_ref(), arguments.topic.as_deref())?;
    let binding = object.bind(object.schema().clone()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::No(errors.join("\n"))
    })?;
    // The ids in the prefixes are of no meaning offline: the contract's own schema is the writer's.
    let mut encoder = Encoder::new(&object, 0, 0)?;
    let mut events = Events::open(&arguments.events, arguments.format, object.schema())?;
    let place = events.place().to_owned();
    let mut out = Out::new();
    let mut encoded = Encoded::default();
    let mut totals = Totals::default();
    while let Some(row) = events.next()? {
        let line = row.line;
        if let Err(why) = row.value.and_then(|event| encoder.encode(event, &mut encoded)) {
            totals.unencodable += 1;
            if arguments.json {
                out.json(&json!({ "file": place, "line": line, "outcome": "unencodable", "message": why }))?;
            } else {
                out.line(format_args!("{place}:{line}: cannot be encoded: {why}"))?;
            }
            continue;
        }
        let verdict = judge(&object, &binding, &encoded);
        totals.add(&verdict);
        if verdict.outcome() == Outcome::Accepted {
            continue;
        }
        if arguments.json {
            out.json(&verdict_json(&place, line, &verdict))?;
        } else {
            for violation in verdict.violations().iter().filter(|violation| violation.mode > Mode::Shadow) {
                let mode = if violation.mode == Mode::Warn { "warning: " } else { "" };
                let what = with_path(&violation.path, &violation.message);
                out.line(format_args!("{place}:{line}: {mode}{} {what}", violation.code))?;
            }
        }
    }
    out.flush()?;
    totals.say();
    Ok(if totals.quarantined + totals.unencodable > 0 { Exit::No } else { Exit::Done })
}

fn judge(object: &Arc<CompiledObject>, binding: &Binding, encoded: &Encoded) -> Verdict {
    let event = Event {
        key: encoded.key(),
        body: encoded.body(),
        headers: &[],
        timestamp_ms: encoded.timestamp,
        now_ms: now(),
    };
    let mut slots: Vec<Slot<'_>> = Vec::new();
    decide(object, binding.check(&event, &mut slots))
}

/// The object whose topic, landing topic or quarantine is `topic`; without it, the only one there is.
///
/// # Errors
/// [`Failure::Usage`] where that names none; the text lists the topics.
pub fn pick(contract: Option<&CompiledContract>, topic: Option<&str>) -> Result<Arc<CompiledObject>, Failure> {
    let objects = contract.map_or(&[][..], |contract| &contract.objects);
    let named = |object: &&Arc<CompiledObject>| {
        topic.is_some_and(|topic| topic == object.topic() || Some(topic) == object.landing())
    };
    if let Some(object) = objects.iter().find(named) {
        return Ok(object.clone());
    }
    match (objects, topic) {
        ([], _) => Err(Failure::Usage("the contract has no schema object with physicalType: topic".to_owned())),
        ([only], None) => Ok(only.clone()),
        _ => {
            let topics: Vec<&str> = objects.iter().map(|object| object.topic()).collect();
            Err(Failure::Usage(format!("--topic: name one of the contract's topics: {}", topics.join(", "))))
        }
    }
}

/// A message and the path it is about, which some messages begin with.
pub fn with_path(path: &str, message: &str) -> String {
    match message.strip_prefix(path) {
        Some(rest) if path.is_empty() || rest.starts_with(' ') || rest.is_empty() => message.to_owned(),
        _ => format!("{path} {message}"),
    }
}

fn outcome(verdict: &Verdict) -> &'static str {
    match verdict.outcome() {
        Outcome::Accepted => "accepted",
        Outcome::Warned => "warned",
        Outcome::Quarantined => "quarantined",
    }
}

fn verdict_json(place: &str, line: u64, verdict: &Verdict) -> Value {
    let violations = verdict.violations().iter().map(|violation| {
        json!({
            "code": violation.code.name(), "rule": &*violation.rule, "path": violation.path,
            "mode": violation.mode.name(), "message": violation.message,
        })
    });
    json!({
        "file": place, "line": line, "outcome": outcome(verdict),
        "violations": violations.collect::<Value>(), "omitted": verdict.omitted(),
    })
}

impl Totals {
    fn add(&mut self, verdict: &Verdict) {
        match verdict.outcome() {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Warned => (self.accepted, self.warned) = (self.accepted + 1, self.warned + 1),
            Outcome::Quarantined => self.quarantined += 1,
        }
        for violation in verdict.violations() {
            let key = (violation.mode.name(), violation.code.name(), violation.rule.to_string());
            *self.broken.entry(key).or_default() += 1;
        }
    }

    fn say(&self) {
        let all = self.accepted + self.quarantined + self.unencodable;
        say(format_args!(
            "{}: {} accepted ({} with warnings), {} quarantined, {} cannot be encoded",
            count(all, "event"),
            thousands(self.accepted),
            thousands(self.warned),
            thousands(self.quarantined),
            thousands(self.unencodable)
        ));
        for ((mode, code, rule), number) in &self.broken {
            say(format!("  {} {code} {rule}", format_args!("{} {mode}", thousands(*number))).trim_end());
        }
    }
}
