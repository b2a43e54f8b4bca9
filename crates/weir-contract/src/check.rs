//! Checks one event against a bound contract: every broken promise, in field order, and no allocation where there is
//! none.
//!
//! Only this module makes a [`Report`]. It decides nothing: what a breach does to the event is the verdict's.

use std::fmt::Write as _;
use std::sync::Arc;

use weir_avro::{Kind, Logical, NodeId, Schema, Slot, Utf8, same};
use weir_expr::Input;

use crate::bind::{Binding, Inside, SlotTest};
use crate::codes::Code;
use crate::compile::{CompiledObject, millis};
use crate::exact::{Exact, unscaled};
use crate::rule::Spec;
use crate::settings::{KeyFormat, Mode};
use crate::test::has_length;
use crate::verdict::DataFault;

/// The most violations of one event that are kept; further ones are counted.
pub const MAX_VIOLATIONS: usize = 256;
/// The most characters of a value that a message shows.
pub const MAX_SHOWN: usize = 64;

/// A header of a record: its name and its value.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// What of a record is checked.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The key as it is on the wire.
    pub key: Option<&'a [u8]>,
    /// The Avro body, behind the framing.
    pub body: &'a [u8],
    /// The headers in order.
    pub headers: &'a [Header<'a>],
    /// The timestamp of the record in milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// The time now in milliseconds since the epoch.
    pub now_ms: i64,
}

/// A broken promise of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The kind of promise.
    pub code: Code,
    /// The rule by the name the contract gives it.
    pub rule: Arc<str>,
    /// The field, as `a.b[3].c`; `this` for the whole event and `key` for the record key.
    pub path: String,
    /// What the breach does.
    pub mode: Mode,
    /// What is wrong, without the values of protected fields.
    pub message: String,
}

/// All violations of one event, in field order. Only a check makes one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    violations: Vec<Violation>,
    omitted: usize,
    worst: Option<Mode>,
}

impl Report {
    /// The violations, at most [`MAX_VIOLATIONS`].
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many more there were.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// The strictest mode of any violation, of the omitted ones too.
    pub fn worst(&self) -> Option<Mode> {
        self.worst
    }

    pub(crate) fn into_parts(self) -> (Vec<Violation>, usize, Option<Mode>) {
        (self.violations, self.omitted, self.worst)
    }

    fn push(&mut self, mode: Mode, violation: impl FnOnce() -> Violation) {
        self.worst = self.worst.max(Some(mode));
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation());
        } else {
            self.omitted += 1;
        }
    }
}

impl CompiledObject {
    /// Checks a record whose value is null.
    ///
    /// # Errors
    /// [`DataFault::TombstoneDenied`] where the contract allows none.
    pub fn check_tombstone(&self, event: &Event<'_>) -> Result<Report, DataFault> {
        if !self.allows_tombstones() {
            return Err(DataFault::TombstoneDenied);
        }
        let mut report = Report::default();
        if event.key.is_none() && !self.key.is_empty() {
            self.key_missing(&mut report);
        }
        Ok(report)
    }

    #[cold]
    fn key_missing(&self, report: &mut Report) {
        report.push(self.mode, || self.violation(Code::KeyMissing, "key", "key", "the record has no key".to_owned()));
    }

    fn violation(&self, code: Code, rule: &str, path: &str, message: String) -> Violation {
        Violation { code, rule: rule.into(), path: path.to_owned(), mode: self.mode, message }
    }
}

impl Binding {
    /// The object whose rules these are.
    pub fn object(&self) -> &Arc<CompiledObject> {
        &self.object
    }

    /// The writer's schema.
    pub fn schema(&self) -> &Arc<Schema> {
        self.walker.schema()
    }

    /// Checks one event. `slots` is working memory: hand the same vector in again, through
    /// [`weir_avro::recycle`], and a clean event allocates nothing.
    ///
    /// # Errors
    /// [`DataFault::Malformed`] where the body is no datum of the writer's schema.
    pub fn check<'a>(&'a self, event: &Event<'a>, slots: &mut Vec<Slot<'a>>) -> Result<Report, DataFault> {
        self.walker.walk(event.body, slots).map_err(DataFault::Malformed)?;
        for filler in &self.defaults {
            if matches!(slots[filler.parent as usize], Slot::Region(_))
                && let Some(slot) = Slot::read(&self.object.schema, filler.node, &filler.bytes)
            {
                slots[filler.slot as usize] = slot;
            }
        }
        let mut report = Report::default();
        if !self.key.is_empty() {
            self.check_key(event, slots, &mut report);
        }
        if !self.is_clean(event, slots) {
            self.look_closer(event, slots, &mut report);
        }
        self.check_time(event, slots, &mut report);
        Ok(report)
    }

    /// Whether all tests hold.
    #[inline(always)]
    fn is_clean<'a>(&'a self, event: &Event<'a>, slots: &[Slot<'a>]) -> bool {
        let absent = |slot: &Slot<'_>| matches!(slot, Slot::Null | Slot::Absent);
        self.clean.longs.iter().all(|(slot, lo, hi)| match &slots[*slot as usize] {
            Slot::Long(n) => lo <= n && n <= hi,
            other => absent(other),
        }) && self.clean.doubles.iter().all(|(slot, lo, hi)| match &slots[*slot as usize] {
            Slot::Double(n) => lo <= n && n <= hi,
            other => absent(other),
        }) && self.clean.chars.iter().all(|(slot, least, most)| match &slots[*slot as usize] {
            Slot::Str(text) => has_length(*text, *least, *most),
            other => absent(other),
        }) && self.clean.others.iter().all(|index| self.holds(*index, event, slots))
    }

    #[inline(always)]
    fn holds<'a>(&'a self, index: usize, event: &Event<'a>, slots: &[Slot<'a>]) -> bool {
        let (slot, test) = &self.tests[index];
        let value = &slots[*slot as usize];
        match test {
            SlotTest::One(test) => test.holds(value, self.schema()),
            SlotTest::Inside(inside) => {
                let mut clean = true;
                inside.each(*value, self.schema(), &mut |_, _, _, _| clean = false);
                clean
            }
            _ if matches!(value, Slot::Null | Slot::Absent) => true,
            SlotTest::Program(program) | SlotTest::ReaderProgram(program) => match program.decide(slots) {
                Some(holds) => holds,
                None => matches!(program.test(&self.input(test, event, slots)), Ok(true)),
            },
        }
    }

    /// Reports what does not hold, in the order of the fields.
    #[inline(never)]
    fn look_closer<'a>(&'a self, event: &Event<'a>, slots: &[Slot<'a>], report: &mut Report) {
        for (index, (slot, test)) in self.tests.iter().enumerate() {
            match test {
                SlotTest::Inside(inside) => self.check_inside(index, inside, slots[*slot as usize], report),
                _ if !self.holds(index, event, slots) => self.broken(index, test, event, slots, report),
                _ => {}
            }
        }
    }

    /// The event as an expression sees it.
    #[inline(never)]
    fn input<'a>(&'a self, test: &SlotTest, event: &Event<'a>, slots: &'a [Slot<'a>]) -> Input<'a> {
        let schema = if let SlotTest::ReaderProgram(_) = test { &self.object.schema } else { self.schema() };
        let key = if self.reads_key { self.key_slot(event) } else { Slot::Null };
        Input { key, headers: event.headers, now_ms: event.now_ms, ..Input::new(schema, slots) }
    }

    /// Reports a broken rule; an expression is asked again, for the error it may have ended with.
    #[cold]
    fn broken(&self, index: usize, test: &SlotTest, event: &Event<'_>, slots: &[Slot<'_>], report: &mut Report) {
        let label = &self.labels[index];
        let spec = &self.object.specs[label.spec as usize];
        let (outcome, value) = match test {
            SlotTest::Program(program) | SlotTest::ReaderProgram(program) => {
                (program.test(&self.input(test, event, slots)), Slot::Absent)
            }
            SlotTest::One(_) | SlotTest::Inside(_) => (Ok(false), slots[self.tests[index].0 as usize]),
        };
        let path = label.path.to_string();
        report.push(spec.mode, || match outcome {
            Ok(_) => violation(spec, path, value, self.schema(), label.node),
            Err(error) => Violation {
                code: Code::RuleError,
                rule: spec.rule.clone(),
                path,
                mode: spec.mode,
                message: format!("the rule {} could not be evaluated: {error}", spec.rule),
            },
        });
    }

    /// The record key as an expression sees it.
    fn key_slot<'a>(&self, event: &Event<'a>) -> Slot<'a> {
        let avro = self.object.settings.key_format.as_ref().is_some_and(|at| at.value == KeyFormat::Avro);
        match event.key {
            Some(key) if avro => Slot::Bytes(key),
            Some(key) => Utf8::new(key).map_or(Slot::Null, Slot::Str),
            None => Slot::Null,
        }
    }

    fn check_inside(&self, index: usize, inside: &Inside, value: Slot<'_>, report: &mut Report) {
        let label = &self.labels[index];
        inside.each(value, self.schema(), &mut |spec, below, node, slot| {
            let spec = &self.object.specs[spec as usize];
            report.push(spec.mode, || violation(spec, format!("{}{below}", label.path), slot, self.schema(), node));
        });
    }

    fn check_key(&self, event: &Event<'_>, slots: &[Slot<'_>], report: &mut Report) {
        let object = &self.object;
        let Some(key) = event.key else { return object.key_missing(report) };
        let values = || self.key.iter().map(|slot| slots[*slot as usize]);
        // A key field that is null breaks the rule that it must have a value; there is no key to compare with.
        if values().any(|slot| matches!(slot, Slot::Null | Slot::Absent)) {
            return;
        }
        let avro = object.settings.key_format.as_ref().is_some_and(|at| at.value == KeyFormat::Avro);
        let same = if avro { is_avro_key(key, event.headers, values()) } else { is_text_key(key, values()) };
        if !same {
            report.push(object.mode, || {
                let names: Vec<_> = object.key.iter().map(ToString::to_string).collect();
                let message = format!("the record key is not made of the event's {}", names.join(", "));
                object.violation(Code::KeyMismatch, "key", "key", message)
            });
        }
    }

    fn check_time(&self, event: &Event<'_>, slots: &[Slot<'_>], report: &mut Report) {
        let object = &self.object;
        let settings = &object.settings;
        if settings.max_lateness.is_none() && settings.max_future.is_none() {
            return;
        }
        let time = match self.event_time {
            Some((slot, node)) => match slots[slot as usize] {
                Slot::Long(value) => millis(self.schema(), node, value),
                _ => None,
            },
            None => event.timestamp_ms,
        };
        let Some(time) = time else { return };
        let age = event.now_ms.saturating_sub(time);
        let path = || object.event_time.as_ref().map_or_else(|| "this".to_owned(), ToString::to_string);
        if let Some(limit) = settings.max_lateness.as_ref().map(|at| at.value).filter(|limit| age > *limit) {
            report.push(object.mode, || {
                let message = format!("the event is {} old, {} is allowed", span(age), span(limit));
                object.violation(Code::EventLate, "maxLateness", &path(), message)
            });
        }
        if let Some(limit) =
            settings.max_future.as_ref().map(|at| at.value).filter(|limit| age.saturating_neg() > *limit)
        {
            report.push(object.mode, || {
                let ahead = span(age.saturating_neg());
                let message = format!("the event is {ahead} in the future, {} is allowed", span(limit));
                object.violation(Code::EventFuture, "maxFuture", &path(), message)
            });
        }
    }
}

/// A length of time by its two largest units.
fn span(ms: i64) -> String {
    const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let first = UNITS.iter().position(|(_, unit)| ms >= *unit).unwrap_or(UNITS.len() - 1);
    let mut rest = ms;
    let mut out = String::new();
    for (name, unit) in UNITS.iter().skip(first).take(2) {
        if rest / unit > 0 || out.is_empty() {
            let _ = write!(out, "{}{name}", rest / unit);
        }
        rest %= unit;
    }
    out
}

fn violation(spec: &Spec, path: String, value: Slot<'_>, schema: &Schema, node: NodeId) -> Violation {
    let mut message = if path == "this" { spec.expect.clone() } else { format!("{path} {}", spec.expect) };
    if !spec.protected
        && let Some(shown) = show(value, schema, node)
    {
        let _ = write!(message, ", {shown}");
    }
    Violation { code: spec.code, rule: spec.rule.clone(), path, mode: spec.mode, message }
}

/// What a value is, for a message; nothing for what is no single value.
fn show(value: Slot<'_>, schema: &Schema, node: NodeId) -> Option<String> {
    let logical = schema.node(schema.non_null(node).0).logical;
    let shown = match (value, logical) {
        (Slot::Bool(b), _) => b.to_string(),
        (Slot::Long(n), Some(logical)) => instant(n, logical).unwrap_or_else(|| n.to_string()),
        (Slot::Long(n), None) => n.to_string(),
        (Slot::Double(n), _) => n.to_string(),
        (Slot::Str(text), _) => {
            let text = text.as_str();
            let cut: String = text.chars().take(MAX_SHOWN).collect();
            let more = if cut.len() < text.len() { " and more" } else { "" };
            format!("{cut:?}{more}")
        }
        (Slot::Bytes(bytes), Some(Logical::Decimal { scale, .. })) => {
            Exact { unscaled: unscaled(bytes), scale: scale as u32 }.to_string()
        }
        (Slot::Bytes(bytes), _) => return Some(format!("has {} bytes", bytes.len())),
        (Slot::Region(region), _) if !matches!(schema.node(region.node).kind, Kind::Record { .. }) => {
            return Some(format!("has {}", region.count(schema)));
        }
        (Slot::Region(_) | Slot::Null | Slot::Absent, _) => return None,
    };
    Some(format!("is {shown}"))
}

fn instant(n: i64, logical: Logical) -> Option<String> {
    let text = |nanos: i128| jiff::Timestamp::from_nanosecond(nanos).ok().map(|t| t.to_string());
    let n = i128::from(n);
    match logical {
        Logical::Date => text(n * 86_400_000_000_000).map(|t| t[..10].to_owned()),
        Logical::TimestampMillis | Logical::LocalTimestampMillis => text(n * 1_000_000),
        Logical::TimestampMicros | Logical::LocalTimestampMicros => text(n * 1_000),
        Logical::TimestampNanos | Logical::LocalTimestampNanos => text(n),
        _ => None,
    }
}

/// Takes a prefix off the key, if it is there.
fn strip(key: &mut &[u8], prefix: &[u8]) -> bool {
    match key.split_at_checked(prefix.len()) {
        Some((start, rest)) if same(start, prefix) => {
            *key = rest;
            true
        }
        _ => false,
    }
}

/// Whether a key is the text of these values, joined with `|`.
fn is_text_key<'a>(mut key: &[u8], values: impl Iterator<Item = Slot<'a>>) -> bool {
    for (i, value) in values.enumerate() {
        if i > 0 && !strip(&mut key, b"|") {
            return false;
        }
        let same = match value {
            Slot::Str(text) => strip(&mut key, text.as_bytes()),
            Slot::Bool(b) => strip(&mut key, if b { b"true" } else { b"false" }),
            Slot::Long(n) => {
                let mut buffer = [0; 20];
                strip(&mut key, decimal(n, &mut buffer))
            }
            Slot::Bytes(bytes) => strip_uuid(&mut key, bytes),
            _ => false,
        };
        if !same {
            return false;
        }
    }
    key.is_empty()
}

/// The decimal digits of a number.
fn decimal(n: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = n.unsigned_abs();
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// Takes the text of a uuid's 16 bytes off the key.
fn strip_uuid(key: &mut &[u8], uuid: &[u8]) -> bool {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    uuid.iter().enumerate().all(|(i, byte)| {
        (!matches!(i, 4 | 6 | 8 | 10) || strip(key, b"-"))
            && strip(key, &[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
    })
}

/// Whether a key is the Avro encoding of these values behind its framing.
fn is_avro_key<'a>(key: &[u8], headers: &[Header<'_>], values: impl Iterator<Item = Slot<'a>>) -> bool {
    let framed = headers.iter().any(|(name, _)| *name == "__key_schema_id");
    let Some(mut key) = (if framed { Some(key) } else { key.get(5..).filter(|_| key[0] == 0) }) else { return false };
    let number = |key: &mut &[u8], n: i64| {
        let mut rest = ((n << 1) ^ (n >> 63)) as u64;
        loop {
            let more = rest > 0x7f;
            if !strip(key, &[(rest & 0x7f) as u8 | if more { 0x80 } else { 0 }]) {
                return false;
            }
            if !more {
                return true;
            }
            rest >>= 7;
        }
    };
    let blob = |key: &mut &[u8], bytes: &[u8]| number(key, bytes.len() as i64) && strip(key, bytes);
    for value in values {
        let same = match value {
            Slot::Str(text) => blob(&mut key, text.as_bytes()),
            Slot::Long(n) => number(&mut key, n),
            Slot::Bool(b) => strip(&mut key, &[u8::from(b)]),
            // Bytes carry their length, a fixed does not; the key may hold either.
            Slot::Bytes(bytes) => strip(&mut key, bytes) || blob(&mut key, bytes),
            _ => false,
        };
        if !same {
            return false;
        }
    }
    key.is_empty()
}

/// The way down to a value, told only when something is wrong with it.
struct Trail<'t> {
    up: Option<&'t Trail<'t>>,
    step: Step<'t>,
}

enum Step<'t> {
    Start,
    Field(&'t str),
    Index(usize),
}

impl Trail<'_> {
    fn write(&self, out: &mut String) {
        if let Some(up) = self.up {
            up.write(out);
        }
        let _ = match self.step {
            Step::Start => Ok(()),
            Step::Field(name) => write!(out, ".{name}"),
            Step::Index(index) => write!(out, "[{index}]"),
        };
    }
}

/// Takes a broken rule, the path below the value where the tests began, and the value with its type.
type Found<'f, 'a> = dyn FnMut(u32, String, NodeId, Slot<'a>) + 'f;

impl Inside {
    /// Tests a value and all that is in it.
    pub(crate) fn each<'a>(&self, slot: Slot<'a>, schema: &'a Schema, found: &mut Found<'_, 'a>) {
        self.visit(slot, schema, &Trail { up: None, step: Step::Start }, found);
    }

    fn visit<'a>(&self, slot: Slot<'a>, schema: &'a Schema, trail: &Trail<'_>, found: &mut Found<'_, 'a>) {
        for (spec, test) in &self.tests {
            if !test.holds(&slot, schema) {
                let mut path = String::new();
                trail.write(&mut path);
                found(*spec, path, self.node, slot);
            }
        }
        let Slot::Region(region) = slot else { return };
        for (spec, below) in &self.never {
            let mut path = String::new();
            trail.write(&mut path);
            found(*spec, path + below, self.node, Slot::Absent);
        }
        for (index, name, inside) in &self.fields {
            let trail = Trail { up: Some(trail), step: Step::Field(name) };
            inside.visit(region.field(schema, *index), schema, &trail, found);
        }
        if let Some(inside) = &self.items {
            for (index, item) in region.items(schema).enumerate() {
                inside.visit(item, schema, &Trail { up: Some(trail), step: Step::Index(index) }, found);
            }
        }
        if let Some((keys, values)) = self.entries.as_deref() {
            for (index, (key, value)) in region.entries(schema).enumerate() {
                let trail = Trail { up: Some(trail), step: Step::Index(index) };
                keys.visit(Slot::Str(key.into()), schema, &trail, found);
                values.visit(value, schema, &trail, found);
            }
        }
    }
}
