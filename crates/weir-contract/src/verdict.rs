//! From a report or a fault to a verdict, and from a verdict to what is done with the record. Both are pure.
//!
//! Only [`decide`] makes a [`Verdict`]. The headers follow section 5 of the design: a quarantined record keeps its own
//! headers untouched and gains these behind them, so that of several `weir.attempt` the last one counts.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use weir_avro::{Fault, FaultKind};

use crate::check::{Header, Report, Violation};
use crate::codes::Code;
use crate::compile::CompiledObject;
use crate::settings::Mode;

/// The most violations a header holds.
pub const MAX_HEADER_VIOLATIONS: usize = 32;
/// The most bytes the violations in a header take.
pub const MAX_HEADER_BYTES: usize = 8 << 10;
/// The most bytes of one message in a header.
const MAX_MESSAGE_BYTES: usize = 512;

/// The id of a schema as a record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaRef {
    /// The four bytes in front of the payload.
    Id(u32),
    /// The GUID of the header.
    Guid([u8; 16]),
}

impl fmt::Display for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Guid(bytes) => {
                for (i, byte) in bytes.iter().enumerate() {
                    let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

/// Why a record cannot be checked at all. It is the record's own fault, never that of the world around it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataFault {
    /// There is no schema id.
    #[error("the value carries no schema id")]
    FrameMissing,
    /// The registry knows no such schema.
    #[error("the registry knows no schema {id}")]
    SchemaUnknown {
        /// The id.
        id: SchemaRef,
    },
    /// The contract does not allow the schema.
    #[error("the contract does not allow the schema {id}: {}", reasons.join("; "))]
    SchemaNotAllowed {
        /// The id.
        id: SchemaRef,
        /// Why, each reason with its field.
        reasons: Vec<String>,
    },
    /// The payload is no datum of its schema.
    #[error("{0}")]
    Malformed(Fault),
    /// The value is null and must not be.
    #[error("the value is null and the contract allows no tombstones")]
    TombstoneDenied,
    /// The record does not fit the product topic.
    #[error("the record takes {size} bytes, the topic takes {limit}")]
    RecordTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest the topic takes.
        limit: usize,
    },
    /// Records of the log could not be read.
    #[error("the records from offset {first} to {last} cannot be read: {reason}")]
    BatchUnreadable {
        /// The first offset.
        first: i64,
        /// The last offset.
        last: i64,
        /// Why.
        reason: String,
    },
}

impl DataFault {
    /// The code of the violation it becomes.
    pub fn code(&self) -> Code {
        match self {
            Self::FrameMissing => Code::FrameMissing,
            Self::SchemaUnknown { .. } => Code::SchemaUnknown,
            Self::SchemaNotAllowed { .. } => Code::SchemaNotAllowed,
            Self::Malformed(fault) if fault.kind == FaultKind::TrailingBytes => Code::PayloadTrailingBytes,
            Self::Malformed(_) => Code::PayloadMalformed,
            Self::TombstoneDenied => Code::TombstoneDenied,
            Self::RecordTooLarge { .. } => Code::RecordTooLarge,
            Self::BatchUnreadable { .. } => Code::BatchUnreadable,
        }
    }

    /// The part of the record that is at fault, in the place of a rule's name.
    fn part(&self) -> &'static str {
        match self {
            Self::FrameMissing => "framing",
            Self::SchemaUnknown { .. } | Self::SchemaNotAllowed { .. } => "schema",
            Self::Malformed(_) => "payload",
            Self::TombstoneDenied => "tombstones",
            Self::RecordTooLarge { .. } => "size",
            Self::BatchUnreadable { .. } => "batch",
        }
    }

    /// A draft lets everything pass that can pass.
    fn mode(&self, draft: bool) -> Mode {
        let can_pass = !matches!(self, Self::RecordTooLarge { .. } | Self::BatchUnreadable { .. });
        if draft && can_pass { Mode::Shadow } else { Mode::Enforce }
    }
}

impl From<Fault> for DataFault {
    fn from(fault: Fault) -> Self {
        Self::Malformed(fault)
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It goes on as it came. Violations in shadow are counted only.
    Accepted,
    /// It goes on with a header that says what is wrong.
    Warned,
    /// It goes to quarantine.
    Quarantined,
}

/// The verdict on one event. Only [`decide`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    violations: Vec<Violation>,
    omitted: usize,
}

impl Verdict {
    /// What becomes of the event.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Every violation, those in shadow too.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many more violations there were than are kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

/// Decides on an event by the modes of the rules it broke.
pub fn decide(object: &CompiledObject, outcome: Result<Report, DataFault>) -> Verdict {
    let (violations, omitted, worst) = match outcome {
        Ok(report) => report.into_parts(),
        Err(fault) => {
            let mode = fault.mode(object.draft);
            let path = match &fault {
                DataFault::Malformed(fault) => fault.path.clone(),
                _ => "this".to_owned(),
            };
            let (code, message) = (fault.code(), fault.to_string());
            (vec![Violation { code, rule: fault.part().into(), path, mode, message }], 0, Some(mode))
        }
    };
    let outcome = match worst {
        Some(Mode::Enforce) => Outcome::Quarantined,
        Some(Mode::Warn) => Outcome::Warned,
        Some(Mode::Shadow) | None => Outcome::Accepted,
    };
    Verdict { outcome, violations, omitted }
}

/// Where a record came from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The id of its schema, where it could be read.
    pub schema_id: Option<SchemaRef>,
    /// How often the record has now been judged: 1 for the first time, one more for every replay.
    pub attempt: u32,
}

/// Headers that are put behind a record's own.
pub type Headers = Vec<(Cow<'static, str>, Vec<u8>)>;

/// What is done with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to the product topic as it is.
    Forward,
    /// It goes to the product topic with these headers behind its own.
    ForwardWith(Headers),
    /// It goes to the quarantine topic with these headers behind its own.
    Quarantine(Headers),
}

/// Plans what is done with a record by the verdict on it.
pub fn plan(object: &CompiledObject, verdict: &Verdict, source: &Source<'_>) -> Action {
    match verdict.outcome {
        Outcome::Accepted => Action::Forward,
        Outcome::Warned => {
            let warnings = render(verdict, Mode::Warn);
            Action::ForwardWith(vec![
                (Cow::Borrowed("weir.contract"), object.contract.clone().into_bytes()),
                (Cow::Borrowed("weir.warnings"), warnings),
            ])
        }
        Outcome::Quarantined => Action::Quarantine(quarantine(object, verdict, source)),
    }
}

fn quarantine(object: &CompiledObject, verdict: &Verdict, source: &Source<'_>) -> Headers {
    let Source { topic, partition, offset, schema_id, attempt } = source;
    let shown = |mode| verdict.violations.iter().filter(move |v| v.mode >= mode);
    let more = shown(Mode::Warn).count() + verdict.omitted;
    let mut message = match shown(Mode::Enforce).next().or(verdict.violations.first()) {
        Some(first) => format!("{}: {}", first.code, cut(&first.message)),
        None => String::new(),
    };
    if more > 1 {
        message += &format!(" (and {} more)", more - 1);
    }
    let mut headers: Headers = Vec::with_capacity(11);
    let mut add = |name: &'static str, value: String| headers.push((Cow::Borrowed(name), value.into_bytes()));
    add("weir.contract", object.contract.clone());
    add("weir.source.topic", (*topic).to_owned());
    add("weir.source.partition", partition.to_string());
    add("weir.source.offset", offset.to_string());
    if let Some(id) = schema_id {
        add("weir.schema.id", id.to_string());
    }
    add("weir.attempt", attempt.to_string());
    add("__connect.errors.topic", (*topic).to_owned());
    add("__connect.errors.partition", partition.to_string());
    add("__connect.errors.offset", offset.to_string());
    add("__connect.errors.exception.message", message);
    headers.insert(1, (Cow::Borrowed("weir.violations"), render(verdict, Mode::Warn)));
    headers
}

/// The violations of at least a mode as JSON, within the limits of a header, and how many were left out.
fn render(verdict: &Verdict, least: Mode) -> Vec<u8> {
    let all = || verdict.violations.iter().filter(|v| v.mode >= least);
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(br#"{"violations":["#);
    let start = out.len();
    let mut listed = 0;
    for violation in all().take(MAX_HEADER_VIOLATIONS) {
        let before = out.len();
        if listed > 0 {
            out.push(b',');
        }
        let message = cut(&violation.message);
        let parts: [(&[u8], &str); 5] = [
            (br#"{"code":"#, violation.code.name()),
            (br#","rule":"#, &violation.rule),
            (br#","path":"#, &violation.path),
            (br#","mode":"#, violation.mode.name()),
            (br#","message":"#, &message),
        ];
        for (name, text) in parts {
            out.extend_from_slice(name);
            put_text(&mut out, text);
        }
        out.push(b'}');
        if out.len() - start > MAX_HEADER_BYTES {
            out.truncate(before);
            break;
        }
        listed += 1;
    }
    let omitted = all().count() - listed + verdict.omitted;
    let _ = write!(out, r#"],"omitted":{omitted}}}"#);
    out
}

/// A text in JSON.
fn put_text(out: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// A text within the bytes a header gives one message.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_MESSAGE_BYTES {
        return Cow::Borrowed(text);
    }
    let end = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= MAX_MESSAGE_BYTES).last();
    Cow::Owned(format!("{}…", &text[..end.unwrap_or(0)]))
}

/// How often a record was judged before: the last `weir.attempt` among its headers, 0 where there is none.
pub fn attempts(headers: &[Header<'_>]) -> u32 {
    let last = headers.iter().rev().find(|(name, _)| *name == "weir.attempt").and_then(|(_, value)| *value);
    last.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}
