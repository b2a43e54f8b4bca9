//! The rules of one property as data: what must hold, how it is called, what its breach does.
//!
//! A rule is read once from the contract and knows nothing of a writer's schema; [`bind`](crate::bind) turns it into
//! the cheapest test for that schema. What ODCS can say and no single event can break becomes a [`Promise`] only.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Findings, Place, hint};
use crate::exact::Exact;
use crate::model::{LogicalType, Property, Rule};
use crate::odcs::has_option;
use crate::pattern::Pattern as TextPattern;
use crate::promise::{How, Promise};
use crate::settings::Mode;
use crate::text_format::{self, Clock, Format, Pattern, Temporal};
use crate::yaml::{Node, Value};

/// A rule that one event can break.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Where the contract states it.
    pub place: Place,
    pub code: Code,
    /// Its name: the key of the standard, or the name or id of the quality rule.
    pub rule: Arc<str>,
    pub mode: Mode,
    /// Whether the values it looks at must not be shown.
    pub protected: bool,
    /// What must be, as in `must be at least 1`.
    pub expect: String,
    pub check: Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Least,
    Most,
}

/// What a rule asks of a value that is not null.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// That it is not null.
    Required,
    Number {
        bound: Exact,
        side: Side,
        exclusive: bool,
    },
    /// A date or time in nanoseconds; texts are read as the clock says.
    Instant {
        bound: i128,
        side: Side,
        exclusive: bool,
        clock: Clock,
    },
    MultipleOf(Exact),
    /// An integer between these.
    Width(i128, i128),
    /// A number that a float of 32 bits can hold.
    Float32,
    Chars {
        least: u64,
        most: u64,
    },
    Pattern(TextPattern),
    Format(Format),
    /// A text written as the clock says.
    Written(Clock),
    /// One of these values, or none of these.
    Listed {
        values: Vec<Value>,
        allowed: bool,
    },
    /// So many items, entries or fields that are not null.
    Count {
        least: u64,
        most: u64,
    },
    /// No two equal items.
    Unique,
    /// An expression that is true.
    Cel(Arc<str>),
}

/// Reads the rules of one property after another.
pub(crate) struct Reader<'f> {
    pub findings: &'f mut Findings,
    pub promises: &'f mut Vec<Promise>,
    /// The mode of rules that name none, and whether every rule is in shadow.
    pub mode: Mode,
    pub draft: bool,
}

impl Reader<'_> {
    /// The rules of a property: its own keys first, then its quality rules in order.
    pub(crate) fn property(&mut self, property: &Property, path: &str) -> Vec<Spec> {
        let mode = property.settings.mode.as_ref().map_or(self.mode, |at| at.value);
        let mode = if self.draft { Mode::Shadow } else { mode };
        let mut list = Builder { mode, protected: property.protected, specs: Vec::new() };
        if let Some(required) = property.required.as_ref().filter(|at| at.value) {
            list.add(required.place, Code::FieldMissing, "required", "must have a value", Check::Required);
        }
        if let Some(unique) = property.unique.as_ref().filter(|at| at.value) {
            let why = "needs the values of earlier events; this version judges every event by itself";
            self.promise(unique.place, path, "unique", How::Measured, why);
        }
        if let Some(options) = &property.options {
            let kind = property.logical_type.as_ref().map(|at| at.value);
            self.options(options, kind, path, &mut list);
        }
        if let Some(values) = &property.values {
            let all: Vec<_> = values.value.iter().map(|node| node.value.clone()).collect();
            list.add(
                values.place,
                Code::FieldEnum,
                "enum",
                &listed(&all, true),
                Check::Listed { values: all, allowed: true },
            );
        }
        let mut specs = list.specs;
        for rule in &property.quality {
            specs.extend(self.quality(rule, path, property.protected, mode, true));
        }
        for spec in &specs {
            self.enforced(spec, path);
        }
        specs
    }

    /// The rules of a whole object.
    pub(crate) fn object(&mut self, rules: &[Rule]) -> Vec<Spec> {
        let mode = if self.draft { Mode::Shadow } else { self.mode };
        let mut specs = Vec::new();
        for rule in rules {
            specs.extend(self.quality(rule, "this", true, mode, false));
        }
        for spec in &specs {
            self.enforced(spec, "this");
        }
        specs
    }

    pub(crate) fn enforced(&mut self, spec: &Spec, path: &str) {
        let why = format!("in mode {}", spec.mode.name());
        self.promise(spec.place, path, &format!("{} ({})", spec.rule, spec.expect), How::PerEvent, &why);
    }

    fn promise(&mut self, place: Place, path: &str, what: &str, how: How, why: &str) {
        let what = if path == "this" { what.to_owned() } else { format!("{path}: {what}") };
        self.promises.push(Promise { place, what, how, why: why.to_owned() });
    }

    fn options(&mut self, options: &Node, kind: Option<LogicalType>, path: &str, list: &mut Builder) {
        let clock = match kind {
            Some(LogicalType::Date) => self.clock(options, Temporal::Date),
            Some(LogicalType::Timestamp) => self.clock(options, Temporal::Timestamp),
            Some(LogicalType::Time) => self.clock(options, Temporal::Time),
            _ => None,
        };
        for entry in options.entries() {
            let (node, place, key) = (&entry.value, entry.place, entry.key.as_str());
            // A key the logical type does not have has been reported as such.
            if !has_option(kind.map(LogicalType::name), key) {
                continue;
            }
            let count = node.as_number().filter(|n| *n >= 0.0).map(|n| n as u64);
            let counted = |one: &str, many: &str| match count {
                Some(1) => format!("1 {one}"),
                count => format!("{} {many}", count.unwrap_or_default()),
            };
            let (characters, entries) = (counted("character", "characters"), counted("entry", "entries"));
            match (key, count) {
                ("minLength", Some(least)) => {
                    let check = Check::Chars { least, most: u64::MAX };
                    list.add(place, Code::FieldLength, key, &format!("must have at least {characters}"), check);
                }
                ("maxLength", Some(most)) => {
                    let check = Check::Chars { least: 0, most };
                    list.add(place, Code::FieldLength, key, &format!("must have at most {characters}"), check);
                }
                ("minItems" | "minProperties", Some(least)) => {
                    let check = Check::Count { least, most: u64::MAX };
                    list.add(place, Code::FieldLength, key, &format!("must have at least {entries}"), check);
                }
                ("maxItems" | "maxProperties", Some(most)) => {
                    let check = Check::Count { least: 0, most };
                    list.add(place, Code::FieldLength, key, &format!("must have at most {entries}"), check);
                }
                ("dimensions", Some(count)) => {
                    let check = Check::Count { least: count, most: count };
                    list.add(place, Code::FieldLength, key, &format!("must have {entries}"), check);
                }
                ("uniqueItems", _) if node.as_bool() == Some(true) => {
                    list.add(place, Code::RuleFailed, key, "must not hold two equal items", Check::Unique);
                }
                ("pattern", _) => self.pattern(node, place, key, list),
                ("format", _) => self.format(node, place, kind, clock.as_ref(), path, list),
                ("multipleOf", _) => {
                    if let Some(step) = Exact::of(node).filter(|e| e.unscaled > 0) {
                        let expect = format!("must be a multiple of {step}");
                        list.add(place, Code::FieldRange, key, &expect, Check::MultipleOf(step));
                    }
                }
                ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", _) => {
                    self.bound(options, node, place, key, clock.as_ref(), list);
                }
                _ => {}
            }
        }
    }

    /// How texts of a date or time are written; nothing where Weir cannot read the pattern, which is said.
    fn clock(&mut self, options: &Node, kind: Temporal) -> Option<Clock> {
        let zone = match options.get("defaultTimezone").map(|node| (node, node.as_text().map(Clock::zone))) {
            Some((_, Some(Some(zone)))) => zone,
            Some((node, Some(None))) => {
                self.findings.error(
                    node.place,
                    "rule-timezone",
                    "there is no time zone of this name; use one such as `Europe/Berlin`",
                );
                return None;
            }
            _ => jiff::tz::TimeZone::UTC,
        };
        let pattern = match options.get("format").and_then(|node| node.as_text().map(|text| (node, text))) {
            Some((node, text)) => match Pattern::parse(text) {
                Some(pattern) => Some(pattern),
                None => {
                    let message = "Weir reads patterns of the letters y M d H m s S and offsets only, so texts are not held against this one";
                    self.findings.warn(node.place, "rule-format", message);
                    None
                }
            },
            None => None,
        };
        let needs_offset = options.get("timezone").and_then(Node::as_bool) == Some(true);
        Some(Clock { kind, pattern, needs_offset, zone })
    }

    fn bound(
        &mut self,
        options: &Node,
        node: &Node,
        place: Place,
        key: &str,
        clock: Option<&Clock>,
        list: &mut Builder,
    ) {
        let side = if key.ends_with("inimum") { Side::Least } else { Side::Most };
        // ODCS 3.0 sharpens `minimum` and `maximum` by booleans.
        if node.as_bool().is_some() {
            return;
        }
        let sharpened = match side {
            Side::Least => options.get("exclusiveMinimum"),
            Side::Most => options.get("exclusiveMaximum"),
        };
        let exclusive = key.starts_with("exclusive") || sharpened.and_then(Node::as_bool) == Some(true);
        let words = match (side, exclusive) {
            (Side::Least, false) => "must be at least",
            (Side::Least, true) => "must be above",
            (Side::Most, false) => "must be at most",
            (Side::Most, true) => "must be below",
        };
        let expect = format!("{words} {}", node.render().unwrap_or_default());
        match (clock, node.as_text()) {
            (Some(clock), Some(text)) => match clock.bound(text) {
                Some(bound) => {
                    let check = Check::Instant { bound, side, exclusive, clock: clock.clone() };
                    list.add(place, Code::FieldRange, key, &expect, check);
                }
                None => {
                    let message = format!("`{key}` is not a date or time Weir can read; write it as in ISO 8601");
                    self.findings.error(node.place, "rule-bound", message);
                }
            },
            (None, _) => match Exact::of(node) {
                Some(bound) => {
                    list.add(place, Code::FieldRange, key, &expect, Check::Number { bound, side, exclusive });
                }
                None if node.as_number().is_some() => {
                    self.findings.error(node.place, "rule-bound", format!("`{key}` has more than 38 digits"));
                }
                None => {}
            },
            _ => {}
        }
    }

    fn pattern(&mut self, node: &Node, place: Place, name: &str, list: &mut Builder) {
        let Some(text) = node.as_text() else { return };
        match TextPattern::compile(text) {
            Ok(pattern) => {
                let expect = format!("must match {text}");
                list.add(place, Code::FieldPattern, name, &expect, Check::Pattern(pattern));
            }
            Err(reason) => {
                let message = format!("the pattern does not compile: {reason}; use the syntax of RE2");
                self.findings.error(node.place, "rule-pattern", message);
            }
        }
    }

    fn format(
        &mut self,
        node: &Node,
        place: Place,
        kind: Option<LogicalType>,
        clock: Option<&Clock>,
        path: &str,
        list: &mut Builder,
    ) {
        let Some(text) = node.as_text() else { return };
        if let Some(clock) = clock {
            match clock.pattern {
                Some(_) => {
                    let expect = format!("must be written as {text}");
                    list.add(place, Code::FieldFormat, "format", &expect, Check::Written(clock.clone()));
                }
                None => self.promise(
                    place,
                    path,
                    &format!("format {text}"),
                    How::Impossible,
                    "Weir cannot read the pattern",
                ),
            }
            return;
        }
        match kind {
            Some(LogicalType::Integer) => {
                let bits = text[1..].parse::<u32>().unwrap_or(128);
                let signed = text.starts_with('i');
                let (low, high) = match (signed, bits) {
                    (true, 128) => (i128::MIN, i128::MAX),
                    (true, bits) => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
                    (false, 128) => (0, i128::MAX),
                    (false, bits) => (0, (1i128 << bits) - 1),
                };
                let expect = format!("must fit {text}");
                list.add(place, Code::FieldRange, "format", &expect, Check::Width(low, high));
            }
            Some(LogicalType::Number) if text == "f32" => {
                list.add(place, Code::FieldRange, "format", "must fit f32", Check::Float32);
            }
            Some(LogicalType::String) => match Format::parse(text) {
                Some(format) => {
                    let article = if text.starts_with(['e', 'i']) { "an" } else { "a" };
                    let expect = format!("must be {article} {text}");
                    list.add(place, Code::FieldFormat, "format", &expect, Check::Format(format));
                }
                None if matches!(text, "binary" | "password") => {}
                None => {
                    let message = format!("Weir does not check the format `{text}`{}", hint(text, text_format::NAMES));
                    self.findings.warn(node.place, "rule-format", message);
                    self.promise(
                        place,
                        path,
                        &format!("format {text}"),
                        How::Impossible,
                        "Weir does not know the format",
                    );
                }
            },
            _ => {}
        }
    }

    /// A quality rule: what of it holds for each event, and a promise for what does not.
    fn quality(&mut self, rule: &Rule, path: &str, protected: bool, outer: Mode, field: bool) -> Vec<Spec> {
        let mut list = Builder { mode: self.rule_mode(rule, outer), protected, specs: Vec::new() };
        let metric = rule.text("metric").or(rule.text("rule"));
        let kind = rule.text("type").unwrap_or(if metric.is_some() { "library" } else { "text" });
        let name = rule.text("name").or(rule.text("id")).or(metric).unwrap_or(kind).to_owned();
        match (kind, metric) {
            ("library", Some("rowCount")) => {
                self.promise(rule.place, path, &name, How::Measured, "counts events over time");
            }
            ("library", Some("duplicateValues" | "duplicateCount")) => {
                let why = "needs the values of earlier events; this version judges every event by itself";
                self.promise(rule.place, path, &name, How::Measured, why);
            }
            ("library", Some(metric)) if field => {
                if !never(rule) {
                    let why = "allows some events to break it, so it holds for a window and not for one event; `mustBe: 0` is enforced per event";
                    self.promise(rule.place, path, &name, How::Measured, why);
                    return Vec::new();
                }
                self.metric(rule, metric, &name, &mut list);
            }
            ("library", Some(metric)) => {
                let message = format!("the metric `{metric}` belongs to a property; put the rule there");
                self.findings.error(rule.place, "rule-level", message);
            }
            ("custom", _) => match (rule.text("engine"), rule.node.get("implementation")) {
                (Some(engine), Some(node)) if engine.eq_ignore_ascii_case("cel") => match node.as_text() {
                    Some(source) => {
                        let said = rule.text("description").and_then(|text| text.lines().next()).map(str::trim);
                        let said = said.filter(|text| !text.is_empty()).map(str::to_owned);
                        let shown = || source.trim().lines().next().unwrap_or_default().chars().take(120);
                        let expect = said.unwrap_or_else(|| format!("must keep {}", String::from_iter(shown())));
                        list.add(node.place, Code::RuleFailed, &name, &expect, Check::Cel(source.into()));
                    }
                    None => self.findings.error(node.place, "rule-cel", "the implementation of a CEL rule is a text"),
                },
                (engine, _) => {
                    let why =
                        format!("is for the engine {}; Weir runs `engine: cel`", engine.unwrap_or("of another tool"));
                    self.promise(rule.place, path, &name, How::Impossible, &why);
                }
            },
            ("sql", _) => {
                let why = "is SQL over a table; write what holds for one event as a CEL rule";
                self.promise(rule.place, path, &name, How::Impossible, why);
            }
            _ => self.promise(rule.place, path, &name, How::Impossible, "is a text for people"),
        }
        list.specs
    }

    fn rule_mode(&mut self, rule: &Rule, outer: Mode) -> Mode {
        if self.draft {
            return Mode::Shadow;
        }
        let severity = rule.text("severity").and_then(|text| match text.to_ascii_lowercase().as_str() {
            "info" => Some(Mode::Shadow),
            "warning" | "warn" => Some(Mode::Warn),
            "error" => Some(Mode::Enforce),
            _ => None,
        });
        rule.settings.mode.as_ref().map(|at| at.value).or(severity).unwrap_or(outer)
    }

    fn metric(&mut self, rule: &Rule, metric: &str, name: &str, list: &mut Builder) {
        let arguments = rule.node.get("arguments");
        let argument = |key| arguments.and_then(|node| node.get(key));
        let values = |node: &Node| node.items().iter().map(|n| n.value.clone()).collect::<Vec<_>>();
        match metric {
            "nullValues" => list.add(rule.place, Code::FieldMissing, name, "must have a value", Check::Required),
            "missingValues" => {
                let missing =
                    argument("missingValues").map_or_else(|| vec![Value::Null, Value::Text(String::new())], values);
                if missing.contains(&Value::Null) {
                    list.add(rule.place, Code::FieldMissing, name, "must have a value", Check::Required);
                }
                let values: Vec<_> = missing.into_iter().filter(|v| *v != Value::Null).collect();
                if !values.is_empty() {
                    let expect = listed(&values, false);
                    list.add(rule.place, Code::FieldMissing, name, &expect, Check::Listed { values, allowed: false });
                }
            }
            "invalidValues" => {
                if let Some(node) = argument("validValues") {
                    let values: Vec<_> = values(node).into_iter().filter(|v| *v != Value::Null).collect();
                    let expect = listed(&values, true);
                    list.add(node.place, Code::FieldEnum, name, &expect, Check::Listed { values, allowed: true });
                }
                if let Some(node) = argument("pattern") {
                    self.pattern(node, node.place, name, list);
                }
                if argument("validValues").is_none() && argument("pattern").is_none() {
                    let message = "`invalidValues` needs the argument `validValues` or `pattern`";
                    self.findings.error(rule.place, "rule-arguments", message);
                }
            }
            _ => {}
        }
    }
}

/// Whether the comparisons of a rule allow no event at all to break it.
fn never(rule: &Rule) -> bool {
    let number = |key| rule.node.get(key).and_then(Node::as_number);
    let rows = rule.text("unit").is_none_or(|unit| unit == "rows");
    number("mustBe") == Some(0.0)
        || number("mustBeLessOrEqualTo") == Some(0.0)
        || (rows && number("mustBeLessThan").is_some_and(|n| n > 0.0 && n <= 1.0))
}

fn listed(values: &[Value], allowed: bool) -> String {
    let show = |value: &Value| match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Int(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        _ => "null".to_owned(),
    };
    let shown: Vec<_> = values.iter().take(8).map(show).collect();
    let more = if values.len() > 8 { format!(" and {} more", values.len() - 8) } else { String::new() };
    format!("must {}be one of {}{more}", if allowed { "" } else { "not " }, shown.join(", "))
}

struct Builder {
    mode: Mode,
    protected: bool,
    specs: Vec<Spec>,
}

impl Builder {
    fn add(&mut self, place: Place, code: Code, rule: &str, expect: &str, check: Check) {
        let (mode, protected) = (self.mode, self.protected);
        self.specs.push(Spec { place, code, rule: rule.into(), mode, protected, expect: expect.to_owned(), check });
    }
}
