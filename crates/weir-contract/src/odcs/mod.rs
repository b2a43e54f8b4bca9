//! ODCS read strictly: every key known, every value of its type, or an error at its place with what was meant.
//!
//! The tables say what each version of the standard allows; this module holds a document against them. It differs from
//! the standard's JSON schemas where those are laxer or where the text of the standard says otherwise: `description`
//! takes no unknown keys, options need a `logicalType` that has them, dates are dates, a quality rule may have several
//! comparisons, and a property without a `logicalType` needs no `map`. It gives no meaning to anything: that is the
//! model's.

mod tables;
#[cfg(test)]
mod tests;

use self::tables::{
    CONTRACT, CUSTOM_KEYS, Key, LIBRARY_KEYS, More, OPERATORS, SERVERS, SQL_KEYS, Shape, Table, property_keys,
};
use crate::diagnostic::{Findings, Place, hint};
use crate::yaml::{Node, Value};
use std::fmt;

/// A minor version of ODCS; patches of one minor are read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 3.0.0 to 3.0.2.
    V30,
    /// 3.1.0.
    V31,
    /// 3.2.0.
    V32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "v3.0.0" | "v3.0.1" | "v3.0.2" => Some(Self::V30),
            "v3.1.0" => Some(Self::V31),
            "v3.2.0" => Some(Self::V32),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V30 => "v3.0.2",
            Self::V31 => "v3.1.0",
            Self::V32 => "v3.2.0",
        })
    }
}

/// Holds a document against the standard and tells its version, where that can be read.
pub(crate) fn validate(document: &Node, findings: &mut Findings) -> Option<Version> {
    let version = document.get("apiVersion").and_then(Node::as_text).and_then(Version::parse);
    let mut check = Check { version: version.unwrap_or(Version::V32), findings };
    check.object(&CONTRACT, document);
    version
}

/// Whether a logical type has an option of this name.
pub(crate) fn has_option(logical_type: Option<&str>, name: &str) -> bool {
    property_keys(logical_type).iter().any(|key| match key.shape {
        Shape::Object(options) if key.name == "logicalTypeOptions" => options.keys.iter().any(|key| key.name == name),
        _ => false,
    })
}

/// A name with its article.
fn a(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'S']) { "an" } else { "a" };
    format!("{article} {name}")
}

struct Check<'f> {
    version: Version,
    findings: &'f mut Findings,
}

impl Check<'_> {
    fn wrong(&mut self, node: &Node, name: &str, wanted: &str) {
        let shown = match node.render().filter(|_| !matches!(node.value, Value::Null)) {
            Some(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
            None => node.kind().to_owned(),
        };
        self.findings.error(node.place, "odcs-type", format!("`{name}` must be {wanted}, not {shown}"));
    }

    fn object(&mut self, object: &Table, node: &Node) {
        if !matches!(node.value, Value::Map(_)) {
            return self.wrong(node, object.name, "a mapping");
        }
        let tables = self.tables(object, node);
        let keys = || tables.iter().flat_map(|table| table.iter());
        for entry in node.entries() {
            match keys().find(|key| key.name == entry.key) {
                Some(key) if key.since > self.version => {
                    self.newer(entry.place, &format!("`{}` of {}", key.name, a(object.name)), key.since);
                    self.value(&key.shape, &entry.value, key.name);
                }
                Some(key) => self.value(&key.shape, &entry.value, key.name),
                None => {
                    let known: Vec<_> = keys().filter(|key| key.since <= self.version).map(|key| key.name).collect();
                    let mut hint = hint(&entry.key, known.iter().copied());
                    if hint.is_empty() && (1..=8).contains(&known.len()) {
                        hint = format!("; it has {}", known.join(", "));
                    }
                    let message = format!("{} has no key `{}`{hint}", a(object.name), entry.key);
                    self.findings.error(entry.place, "odcs-unknown-key", message);
                }
            }
        }
        for key in keys() {
            let must = key.must.is_some_and(|(first, last)| (first..=last).contains(&self.version));
            if must && node.entry(key.name).is_none() {
                self.missing(node.place, object.name, key.name);
            }
        }
    }

    /// Something that came with a later version than the contract's. The JSON schema of 3.1 takes documents of 3.0,
    /// and the published examples count on it, so that pair is only warned about.
    fn newer(&mut self, at: Place, what: &str, since: Version) {
        let said = self.version;
        let message = format!("{what} came with ODCS {since}; this contract says {said}: raise its `apiVersion`");
        match since {
            Version::V31 => self.findings.warn(at, "odcs-version", message),
            _ => self.findings.error(at, "odcs-version", message),
        }
    }

    fn missing(&mut self, at: Place, object: &str, key: &str) {
        self.findings.error(at, "odcs-required", format!("{} must have the key `{key}`", a(object)));
    }

    /// The tables of keys an object has by what stands in it.
    fn tables(&mut self, object: &Table, node: &Node) -> Vec<&'static [Key]> {
        let mut tables = vec![object.keys];
        let text = |key| node.get(key).and_then(Node::as_text);
        match object.more {
            More::None => {}
            More::Server => {
                if let Some(node) = node.get("type") {
                    self.server_tables(node, &mut tables);
                }
            }
            More::Quality => self.rule_tables(node, text("type"), &mut tables),
            More::Property | More::Item => {
                if matches!(object.more, More::Property) && node.entry("name").is_none() {
                    self.missing(node.place, object.name, "name");
                }
                tables.push(property_keys(text("logicalType")));
            }
            More::Relationship => {
                let is_list = |key| node.get(key).map(|n| matches!(n.value, Value::List(_)));
                if let (Some(from), Some(to)) = (is_list("from"), is_list("to"))
                    && from != to
                {
                    let message = "`from` and `to` must both be one reference or both be a list";
                    self.findings.error(node.place, "odcs-type", message);
                }
            }
        }
        tables
    }

    fn server_tables(&mut self, node: &Node, tables: &mut Vec<&'static [Key]>) {
        let Some(kind) = node.as_text() else { return };
        match SERVERS.iter().find(|(names, ..)| names.contains(&kind)) {
            Some((_, since, keys)) => {
                if *since > self.version {
                    self.newer(node.place, &format!("the server type `{kind}`"), *since);
                }
                tables.push(keys);
            }
            None => {
                let known = SERVERS.iter().filter(|s| s.1 <= self.version).flat_map(|s| s.0.iter().copied());
                let message = format!("there is no server type `{kind}`{}", hint(kind, known));
                self.findings.error(node.place, "odcs-enum", message);
                // The keys of a custom server are those of all others, so that none is reported as well.
                tables.extend(SERVERS.iter().find(|(names, ..)| names.contains(&"custom")).map(|server| server.2));
            }
        }
    }

    fn rule_tables(&mut self, node: &Node, kind: Option<&str>, tables: &mut Vec<&'static [Key]>) {
        let has = |key| node.entry(key).is_some();
        let library = kind == Some("library") || has("metric") || (kind.is_none() && has("rule"));
        let sql = kind == Some("sql");
        if library {
            tables.push(&LIBRARY_KEYS);
            if self.version == Version::V30 && !has("metric") && !has("rule") {
                self.missing(node.place, "quality rule", "rule");
            }
        }
        if sql {
            tables.push(&SQL_KEYS);
        }
        if kind == Some("custom") {
            tables.push(&CUSTOM_KEYS);
        }
        if library || sql {
            tables.push(&OPERATORS);
            // The JSON schemas allow one comparison only, the text of the standard several. ODCS 3.0 asks for none.
            if self.version > Version::V30 && !OPERATORS.iter().any(|key| has(key.name)) {
                let message = "a quality rule of this type needs a comparison such as `mustBe: 0`";
                self.findings.error(node.place, "odcs-required", message);
            }
        }
    }

    fn value(&mut self, shape: &Shape, node: &Node, name: &str) {
        let text = node.as_text();
        let wanted = match shape {
            Shape::Any => None,
            Shape::Bool => node.as_bool().is_none().then_some("true or false"),
            Shape::Int(least) => match whole(node) {
                Some(n) if n >= *least => None,
                Some(_) if *least == 0 => Some("an integer of at least 0"),
                Some(_) => Some("an integer of at least 1"),
                None => Some("an integer"),
            },
            Shape::Number => finite(node).is_none().then_some("a number"),
            Shape::PositiveNumber => finite(node).is_none_or(|n| n <= 0.0).then_some("a number above 0"),
            Shape::Text => text.is_none().then_some("a text"),
            Shape::Id => text
                .is_none_or(|t| t.is_empty() || !t.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)))
                .then_some("a text of letters, digits, `_` and `-`"),
            Shape::Date => {
                text.is_none_or(|t| t.parse::<jiff::civil::Date>().is_err()).then_some("a date such as 2026-01-31")
            }
            Shape::DateTime => text
                .is_none_or(|t| t.parse::<jiff::civil::DateTime>().is_err() && t.parse::<jiff::Timestamp>().is_err())
                .then_some("a date and time such as 2026-01-31T10:00:00Z"),
            Shape::OneOf(choices) => return self.choice(choices, node, name),
            Shape::Scalar => {
                matches!(node.value, Value::List(_) | Value::Map(_)).then_some("a single value, no list or mapping")
            }
            Shape::Mapping => (!matches!(node.value, Value::Map(_))).then_some("a mapping"),
            Shape::TextOrMapping => {
                (!matches!(node.value, Value::Map(_) | Value::Text(_))).then_some("a text or a mapping")
            }
            Shape::Port if self.version < Version::V32 => whole(node).is_none().then_some("an integer"),
            Shape::Port => (whole(node).is_none() && text.is_none()).then_some("an integer or a text"),
            Shape::Pair => {
                let pair = node.items().iter().map(finite).collect::<Option<Vec<_>>>();
                (!matches!(pair.as_deref(), Some([a, b]) if a != b)).then_some("a list of two different numbers")
            }
            Shape::TextBound if self.version == Version::V30 && node.as_bool().is_some() => None,
            Shape::TextBound => text.is_none().then_some("a text"),
            Shape::NumberBound if self.version == Version::V30 && node.as_bool().is_some() => None,
            Shape::NumberBound => finite(node).is_none().then_some("a number"),
            Shape::References => return self.references(node, name),
            Shape::Object(object) => return self.object(object, node),
            Shape::List(item) => return self.list(item, node, name),
            Shape::Set(item) => {
                if matches!(&node.value, Value::List(items) if items.is_empty()) {
                    return self.wrong(node, name, "a list with at least one item");
                }
                for (i, item) in node.items().iter().enumerate() {
                    if node.items()[..i].iter().any(|before| before.to_json() == item.to_json()) {
                        let message = format!("`{name}` lists this twice; remove one");
                        self.findings.error(item.place, "odcs-type", message);
                    }
                }
                return self.list(item, node, name);
            }
            Shape::TextOr(_) if text.is_some() => None,
            Shape::TextOr(object) => return self.object(object, node),
            Shape::ObjectOrList(object, _) if matches!(node.value, Value::Map(_)) => {
                if self.version < Version::V31 {
                    self.newer(node.place, &format!("`{name}` as one object"), Version::V31);
                }
                return self.object(object, node);
            }
            Shape::Objects(object) | Shape::ObjectOrList(_, object) => {
                return self.list(&Shape::Object(object), node, name);
            }
        };
        if let Some(wanted) = wanted {
            self.wrong(node, name, wanted);
        }
    }

    fn list(&mut self, item: &Shape, node: &Node, name: &str) {
        if !matches!(node.value, Value::List(_)) {
            return self.wrong(node, name, "a list");
        }
        for entry in node.items() {
            self.value(item, entry, name);
        }
    }

    fn choice(&mut self, choices: &[(&'static str, Version)], node: &Node, name: &str) {
        let Some(text) = node.as_text() else { return self.wrong(node, name, "a text") };
        match choices.iter().find(|(choice, _)| *choice == text) {
            // The version that came with a value of `apiVersion` is that value itself.
            Some((_, since)) if *since <= self.version || name == "apiVersion" => {}
            Some((_, since)) => self.newer(node.place, &format!("`{name}: {text}`"), *since),
            None => {
                let known: Vec<_> = choices.iter().filter(|c| c.1 <= self.version).map(|c| c.0).collect();
                let message = format!(
                    "`{name}` cannot be `{text}`{}; it is one of: {}",
                    hint(text, known.iter().copied()),
                    known.join(", ")
                );
                self.findings.error(node.place, "odcs-enum", message);
            }
        }
    }

    fn references(&mut self, node: &Node, name: &str) {
        let list = match &node.value {
            Value::List(items) if !items.is_empty() => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for item in list {
            if !item.as_text().is_some_and(|text| is_reference(text, self.version)) {
                self.wrong(item, name, "a reference such as `orders.customer_id` or `schema/orders/properties/id`");
            }
        }
    }
}

/// The integer of a value; 3.0 is one as well, as in JSON Schema.
fn whole(node: &Node) -> Option<i128> {
    node.as_int().or_else(|| finite(node).filter(|n| n.fract() == 0.0).map(|n| n as i128))
}

fn finite(node: &Node) -> Option<f64> {
    node.as_number().filter(|n| n.is_finite())
}

/// A reference of a relationship: dotted names, or the path of ids behind an optional file.
fn is_reference(text: &str, version: Version) -> bool {
    let word = |s: &str, dash: bool| {
        s.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || (dash && b == b'-'))
    };
    let id = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let dotted: Vec<_> = text.split('.').collect();
    let newer = version >= Version::V32;
    if dotted.iter().all(|s| word(s, newer)) && (dotted.len() == 2 || newer && dotted.len() > 2) {
        return true;
    }
    let path = match text.split_once('#') {
        Some((file, path)) => {
            let file = file.strip_prefix("https://").or_else(|| file.strip_prefix("http://")).unwrap_or(file);
            let stem = file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".yml").filter(|_| newer));
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
            if !stem.is_some_and(|stem| !stem.is_empty() && stem.bytes().all(fits)) {
                return false;
            }
            path
        }
        None => text,
    };
    let parts: Vec<_> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    parts.len() % 2 == 0 && parts.chunks(2).all(|pair| word(pair[0], false) && id(pair[1]))
}
