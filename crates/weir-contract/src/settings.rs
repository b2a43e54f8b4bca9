//! The streaming settings ODCS has no field for, read from `customProperties` with `vendor: weir`.
//!
//! Documented for authors in `docs/contracts.md`. A setting stands on the contract, where it holds for all its topics,
//! or on one schema object, where it wins. ODCS before 3.2 has no `vendor`; there, and anywhere else, the name may
//! carry the prefix `weir.` instead. This module gives the values meaning; what they mean for a broker is
//! [`topics`](crate::topics)'s.

use crate::diagnostic::{Findings, Place, hint};
use crate::yaml::{Node, Value};

/// Whether a topic carries facts or the newest state of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every event counts.
    Stream,
    /// The newest event of a key counts; the topic is compacted.
    Table,
}

/// How the key of a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// The fields as UTF-8 text, joined with `|`.
    String,
    /// The fields in Avro encoding, behind the same framing as the value.
    Avro,
}

/// Where the schema id of a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// In front of the payload: `0x00` and four bytes, big endian.
    Confluent,
    /// In the header `__value_schema_id`.
    Header,
    /// In the header where there is one, otherwise in front.
    Auto,
}

/// The Confluent compatibility level of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation of the Schema Registry API")]
pub enum Compatibility {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl Compatibility {
    /// The level as the registry's API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}

/// Under which subjects the schema of a topic is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `<topic>-value`, and the same of the landing topic.
    TopicName,
    /// The full name of the record.
    RecordName,
    /// `<topic>-<full name of the record>`, and the same of the landing topic.
    TopicRecordName,
    /// This one.
    Named(String),
}

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    Forever,
    /// This many milliseconds.
    Millis(i64),
}

/// What a rule's breach does to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It is counted.
    Shadow,
    /// It is counted and the event is marked.
    Warn,
    /// The event goes to quarantine.
    Enforce,
}

impl Mode {
    /// The name as a contract writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        choice(text, &[("shadow", Self::Shadow), ("warn", Self::Warn), ("enforce", Self::Enforce)])
    }
}

/// A setting that was given, and where its value stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// The settings as given; what is not given is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `kind`.
    pub kind: Option<At<Kind>>,
    /// `key`: the paths of its fields.
    pub key: Option<At<Vec<String>>>,
    /// `keyFormat`.
    pub key_format: Option<At<KeyFormat>>,
    /// `eventTime`: the path of a field.
    pub event_time: Option<At<String>>,
    /// `landing`: the name of the landing topic, or nothing where there is none.
    pub landing: Option<At<Option<String>>>,
    /// `tombstones`: whether a null value is allowed.
    pub tombstones: Option<At<bool>>,
    /// `framing`.
    pub framing: Option<At<Framing>>,
    /// `compatibility`.
    pub compatibility: Option<At<Compatibility>>,
    /// `subject`.
    pub subject: Option<At<Subject>>,
    /// `partitions`.
    pub partitions: Option<At<u32>>,
    /// `retention`.
    pub retention: Option<At<Retention>>,
    /// `quota` of a producer in bytes per second.
    pub quota: Option<At<u64>>,
    /// `maxLateness` in milliseconds.
    pub max_lateness: Option<At<i64>>,
    /// `maxFuture` in milliseconds.
    pub max_future: Option<At<i64>>,
    /// `unknownSchema`: whether a schema that is in none of the topic's subjects is allowed.
    pub unknown_schema: Option<At<bool>>,
    /// `mode` of the rules below.
    pub mode: Option<At<Mode>>,
}

/// The settings of a contract or an object.
pub(crate) const NAMES: [&str; 16] = [
    "kind",
    "key",
    "keyFormat",
    "eventTime",
    "landing",
    "tombstones",
    "framing",
    "compatibility",
    "subject",
    "partitions",
    "retention",
    "quota",
    "maxLateness",
    "maxFuture",
    "unknownSchema",
    "mode",
];

impl Settings {
    /// Reads the settings among an element's custom properties; `known` are the names that may stand there.
    pub(crate) fn read(custom: Option<&Node>, known: &[&str], findings: &mut Findings) -> Self {
        let mut settings = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for item in custom.map_or(&[][..], Node::items) {
            let (Some(name), Some(value)) = (item.get("property"), item.get("value")) else { continue };
            let Some(text) = name.as_text() else { continue };
            let vendor = item.get("vendor").and_then(Node::as_text);
            let (setting, ours) = match text.strip_prefix("weir.") {
                Some(rest) => (rest, true),
                None => (text, vendor.is_some_and(|v| v.eq_ignore_ascii_case("weir"))),
            };
            if !ours {
                if vendor.is_none() && NAMES.contains(&text) {
                    findings.info(
                        name.place,
                        "weir-setting-foreign",
                        format!(
                            "`{text}` is not read by Weir; add `vendor: weir` or call it `weir.{text}` if it should be"
                        ),
                    );
                }
                continue;
            }
            if !known.contains(&setting) {
                let message = match NAMES.contains(&setting) {
                    true => format!("the setting `{setting}` cannot stand here, only: {}", known.join(", ")),
                    false => format!("Weir has no setting `{setting}`{}", hint(setting, known.iter().copied())),
                };
                findings.error(name.place, "weir-setting", message);
            } else if seen.contains(&setting) {
                findings.error(name.place, "weir-setting", format!("the setting `{setting}` stands twice; remove one"));
            } else if let Err(wanted) = settings.set(setting, value) {
                let shown = value.render().map_or_else(|| value.kind().to_owned(), |text| format!("`{text}`"));
                let message = format!("the setting `{setting}` must be {wanted}, not {shown}");
                findings.error(value.place, "weir-setting", message);
            }
            seen.push(setting);
        }
        settings
    }

    /// These settings, and those of `outer` where these say nothing.
    pub(crate) fn within(self, outer: &Self) -> Self {
        macro_rules! merge {
            ($($field:ident),*) => { Self { $($field: self.$field.or_else(|| outer.$field.clone())),* } };
        }
        merge!(
            kind,
            key,
            key_format,
            event_time,
            landing,
            tombstones,
            framing,
            compatibility,
            subject,
            partitions,
            retention,
            quota,
            max_lateness,
            max_future,
            unknown_schema,
            mode
        )
    }

    /// Takes a value; the error says what the value must be.
    fn set(&mut self, name: &str, node: &Node) -> Result<(), &'static str> {
        fn at<T>(node: &Node, value: Option<T>, wanted: &'static str) -> Result<Option<At<T>>, &'static str> {
            value.map(|value| Some(At { value, place: node.place })).ok_or(wanted)
        }
        let text = node.as_text();
        let pick = text.unwrap_or_default();
        match name {
            "kind" => {
                let kind = choice(pick, &[("stream", Kind::Stream), ("table", Kind::Table)]);
                self.kind = at(node, kind, "`stream` or `table`")?;
            }
            "key" => {
                let one = text.map(|t| vec![t.to_owned()]);
                let all = || node.items().iter().map(|n| n.as_text().map(str::to_owned)).collect::<Option<Vec<_>>>();
                let fields = one.or_else(all).filter(|f| !f.is_empty() && f.iter().all(|name| is_path(name)));
                self.key = at(node, fields, "the name of a field or a list of names")?;
            }
            "keyFormat" => {
                let format = choice(pick, &[("string", KeyFormat::String), ("avro", KeyFormat::Avro)]);
                self.key_format = at(node, format, "`string` or `avro`")?;
            }
            "eventTime" => {
                let path = text.filter(|t| is_path(t)).map(str::to_owned);
                self.event_time = at(node, path, "the name of a field")?;
            }
            // The default, `<topic>.landing`, said aloud.
            "landing" if node.value == Value::Bool(true) => {}
            "landing" => {
                let topic = match &node.value {
                    Value::Bool(false) => Some(None),
                    Value::Text(text) if is_topic(text) => Some(Some(text.clone())),
                    _ => None,
                };
                self.landing =
                    at(node, topic, "`true`, the name of a topic, or `false` where producers go through the gateway")?;
            }
            "tombstones" => {
                self.tombstones = at(node, choice(pick, &[("allow", true), ("deny", false)]), "`allow` or `deny`")?;
            }
            "framing" => {
                let all = [("confluent", Framing::Confluent), ("header", Framing::Header), ("auto", Framing::Auto)];
                self.framing = at(node, choice(pick, &all), "`confluent`, `header` or `auto`")?;
            }
            "compatibility" => {
                use Compatibility::*;
                let all = [None, Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive];
                let level = all.into_iter().find(|level| level.name().eq_ignore_ascii_case(pick));
                self.compatibility = at(
                    node,
                    level,
                    "one of NONE, BACKWARD, BACKWARD_TRANSITIVE, FORWARD, FORWARD_TRANSITIVE, FULL, FULL_TRANSITIVE",
                )?;
            }
            "subject" => {
                let subject = text.filter(|t| !t.trim().is_empty()).map(|text| match text {
                    "TopicName" => Subject::TopicName,
                    "RecordName" => Subject::RecordName,
                    "TopicRecordName" => Subject::TopicRecordName,
                    name => Subject::Named(name.to_owned()),
                });
                self.subject =
                    at(node, subject, "`TopicName`, `RecordName`, `TopicRecordName` or the name of a subject")?;
            }
            "partitions" => {
                let count = node.as_int().filter(|n| (1..=100_000).contains(n)).map(|n| n as u32);
                self.partitions = at(node, count, "an integer from 1 to 100000")?;
            }
            "retention" => {
                let kept = match pick {
                    "forever" => Some(Retention::Forever),
                    text => duration(text).filter(|ms| *ms > 0).map(Retention::Millis),
                };
                self.retention = at(node, kept, "`forever` or a duration such as `7d`, `36h` or `P7D`")?;
            }
            "quota" => self.quota = at(node, rate(pick), "bytes per second such as `10MB/s` or `512KiB/s`")?,
            "maxLateness" => self.max_lateness = at(node, duration(pick), "a duration such as `15m`, `7d` or `PT15M`")?,
            "maxFuture" => self.max_future = at(node, duration(pick), "a duration such as `30s`, `5m` or `PT30S`")?,
            "unknownSchema" => {
                self.unknown_schema = at(node, choice(pick, &[("allow", true), ("deny", false)]), "`allow` or `deny`")?;
            }
            "mode" => self.mode = at(node, Mode::parse(pick), "`shadow`, `warn` or `enforce`")?,
            _ => {}
        }
        Ok(())
    }
}

fn choice<T: Copy>(text: &str, all: &[(&str, T)]) -> Option<T> {
    all.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

/// Whether a text is names of Avro fields joined with dots.
fn is_path(text: &str) -> bool {
    let name = |s: &str| {
        s.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    text.split('.').all(name)
}

/// Whether Kafka takes a text as the name of a topic (`org.apache.kafka.common.internals.Topic`).
pub(crate) fn is_topic(text: &str) -> bool {
    (1..=249).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A duration in milliseconds: numbers with the units `ms`, `s`, `m`, `h`, `d`, `w` (`1d12h`), or ISO 8601 up to days
/// (`P1DT12H`). A day has 24 hours.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (text, iso) = match text.strip_prefix('P') {
        Some(rest) => (rest.replacen('T', "", 1).to_ascii_lowercase(), true),
        None => (text.replace(' ', ""), false),
    };
    let mut rest = text.as_str();
    let mut total = 0i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let unit = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "ms" if !iso => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(scale)?)?;
        rest = tail;
    }
    Some(total)
}

/// Bytes per second: a whole number with `B`, `kB`, `KB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`, and `/s`.
fn rate(text: &str) -> Option<u64> {
    let text = text.strip_suffix("/s")?.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates() {
        for (text, expect) in [
            ("7d", Some(604_800_000)),
            ("1d12h", Some(129_600_000)),
            ("250ms", Some(250)),
            ("P1DT12H", Some(129_600_000)),
            ("PT15M", Some(900_000)),
            ("0s", Some(0)),
            ("", None),
            ("P", None),
            ("7", None),
            ("7y", None),
            ("-1d", None),
            ("999999999999999w", None),
        ] {
            assert_eq!(duration(text), expect, "{text}");
        }
        for (text, expect) in
            [("10MB/s", Some(10_000_000)), ("512 KiB/s", Some(524_288)), ("10MB", None), ("0B/s", None), ("x/s", None)]
        {
            assert_eq!(rate(text), expect, "{text}");
        }
    }
}
