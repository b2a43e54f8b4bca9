//! YAML as a tree in which every key and value knows its line and column.
//!
//! Only what a contract needs: one document, text keys, the core scalars of YAML 1.2 (so `no` is a text and
//! `2020-01-01` is one too). Size, depth and what aliases unfold to are bounded, and a duplicate key is an error.
//! The tree is for reading; nothing here writes YAML.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Findings, Place};

/// The largest text that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting of collections that is read.
pub const MAX_DEPTH: usize = 64;
/// The most nodes a document may have, aliases unfolded.
pub const MAX_NODES: usize = 200_000;

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value begins; for an alias, where the alias stands.
    pub place: Place,
    /// The value.
    pub value: Value,
    size: usize,
    depth: usize,
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A number with a fraction or an exponent, `.inf` or `.nan`.
    Float(f64),
    /// A text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written.
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub place: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    fn scalar(place: Place, value: Value) -> Self {
        Self { place, value, size: 1, depth: 0 }
    }

    /// What kind of value this is, for a message.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The entries of a mapping; nothing for any other value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; nothing for any other value.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of a mapping with this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a mapping under this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text, where the value is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, where the value is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// The integer, where the value is one.
    pub fn as_int(&self) -> Option<i128> {
        match self.value {
            Value::Int(n) => Some(n),
            _ => None,
        }
    }

    /// The number, where the value is an integer or a number.
    pub fn as_number(&self) -> Option<f64> {
        match self.value {
            Value::Int(n) => Some(n as f64),
            Value::Float(n) => Some(n),
            _ => None,
        }
    }

    /// The scalar as a reader would write it; nothing for collections.
    pub fn render(&self) -> Option<String> {
        match &self.value {
            Value::Null => Some("null".to_owned()),
            Value::Bool(b) => Some(b.to_string()),
            Value::Int(n) => Some(n.to_string()),
            Value::Float(n) => Some(n.to_string()),
            Value::Text(text) => Some(text.clone()),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The value as JSON; numbers JSON cannot hold become texts.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => i64::try_from(*n)
                .map(Json::from)
                .or_else(|_| u64::try_from(*n).map(Json::from))
                .unwrap_or_else(|_| Json::from(n.to_string())),
            Value::Float(n) => serde_json::Number::from_f64(*n).map_or_else(|| n.to_string().into(), Json::Number),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => Json::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect()),
        }
    }
}

/// A collection that is still open while its events arrive.
struct Open {
    place: Place,
    anchor: usize,
    items: Vec<Node>,
    /// `None` for a list.
    map: Option<OpenMap>,
    size: usize,
    depth: usize,
}

/// A mapping's entries, the places of its keys, and the key that waits for its value.
type OpenMap = (Vec<Entry>, HashMap<String, Place>, Option<(String, Place)>);

/// Reads the one document of a text for a reader outside this crate; the findings are those of the file.
pub fn read(text: &str, file: &str) -> (Option<Node>, Vec<Diagnostic>) {
    let mut findings = Findings::new(file);
    let node = parse(text, &mut findings);
    (node, findings.finish())
}

/// Reads the one document of a text. Nothing comes back where the text is not YAML or breaks a bound.
pub(crate) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    let start = Place { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        findings.error(start, "yaml", format!("the file is larger than {MAX_BYTES} bytes; split it"));
        return None;
    }
    let mut reader = Reader { findings, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None, documents: 0 };
    // A byte order mark is allowed by YAML 1.2 (section 5.2) and means nothing in UTF-8.
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match event {
            Ok((event, span)) => reader.take(event, place(&span.start))?,
            Err(error) => {
                reader.findings.error(place(error.marker()), "yaml", format!("not YAML: {}", error.info()));
                return None;
            }
        }
    }
    if reader.root.is_none() {
        reader.findings.error(start, "yaml", "the file is empty");
    }
    reader.root
}

fn place(mark: &Marker) -> Place {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: count(mark.line()), column: count(mark.col()).saturating_add(1) }
}

struct Reader<'f> {
    findings: &'f mut Findings,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    documents: usize,
}

impl Reader<'_> {
    /// Takes the next event; nothing comes back when reading must stop.
    fn take(&mut self, event: Event<'_>, at: Place) -> Option<()> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.stop(at, "the file holds more than one document; keep one per file");
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.resolve(&text, style, tag.as_deref(), at);
                self.close(Node::scalar(at, value), anchor)?;
            }
            Event::SequenceStart(anchor, tag) => self.begin(at, anchor, false, tag.as_deref())?,
            Event::MappingStart(anchor, tag) => self.begin(at, anchor, true, tag.as_deref())?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { place, anchor, items, map, size, depth }) = self.open.pop() {
                    let value = map.map_or(Value::List(items), |(entries, ..)| Value::Map(entries));
                    self.close(Node { place, value, size: size + 1, depth: depth + 1 }, anchor)?;
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) if node.size + self.nodes > MAX_NODES => {
                    return self.stop(at, "the aliases unfold to too many nodes; write the values out");
                }
                Some(node) if node.depth + self.open.len() > MAX_DEPTH => return self.stop_depth(at),
                Some(node) => {
                    let mut node = node.clone();
                    self.nodes += node.size - 1;
                    node.place = at;
                    self.close(node, 0)?;
                }
                None => return self.stop(at, "the alias stands inside the value it names"),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn stop(&mut self, at: Place, message: &str) -> Option<()> {
        self.findings.error(at, "yaml", message);
        None
    }

    fn stop_depth(&mut self, at: Place) -> Option<()> {
        self.stop(at, &format!("values are nested deeper than {MAX_DEPTH} levels"))
    }

    fn begin(&mut self, place: Place, anchor: usize, map: bool, tag: Option<&Tag>) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            return self.stop_depth(place);
        }
        let core = if map { "map" } else { "seq" };
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == core)) {
            self.findings.error(place, "yaml-tag", format!("the tag `{tag}` means nothing here; remove it"));
        }
        let map = map.then(|| (Vec::new(), HashMap::new(), None));
        self.open.push(Open { place, anchor, items: Vec::new(), map, size: 0, depth: 0 });
        Some(())
    }

    /// Hands a finished node to the collection that waits for it.
    fn close(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.stop(node.place, &format!("the document has more than {MAX_NODES} values"));
        }
        if anchor > 0 {
            // The kept copy counts as well, so that nested anchors cannot multiply memory.
            self.nodes += node.size;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        parent.size += node.size;
        parent.depth = parent.depth.max(node.depth);
        let Some((entries, keys, waiting)) = &mut parent.map else {
            parent.items.push(node);
            return Some(());
        };
        match waiting.take() {
            Some((key, place)) => match keys.get(&key) {
                Some(first) => self.findings.error(
                    place,
                    "yaml-duplicate-key",
                    format!("`{key}` stands twice in this mapping, first in line {}", first.line),
                ),
                None => {
                    keys.insert(key.clone(), place);
                    entries.push(Entry { key, place, value: node });
                }
            },
            None => match node.render() {
                Some(key) => *waiting = Some((key, node.place)),
                None => return self.stop(node.place, "a key must be a text"),
            },
        }
        Some(())
    }

    /// The value of a scalar by the core schema of YAML 1.2 (section 10.3).
    fn resolve(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Place) -> Value {
        let plain = || core(text);
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { plain() } else { Value::Text(text.to_owned()) };
        };
        let value = plain();
        let fits = tag.is_yaml_core_schema()
            && match (tag.suffix.as_str(), &value) {
                ("str", _) => return Value::Text(text.to_owned()),
                ("float", Value::Int(n)) => return Value::Float(*n as f64),
                ("null", Value::Null) | ("bool", Value::Bool(_)) | ("int", Value::Int(_)) => true,
                ("float", Value::Float(_)) => true,
                _ => false,
            };
        if !fits {
            self.findings.error(at, "yaml-tag", format!("the tag `{tag}` does not fit this value; remove it"));
        }
        value
    }
}

fn core(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x").filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())) {
        return i128::from_str_radix(digits, 16).map_or_else(|_| Value::Text(text.to_owned()), Value::Int);
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|d| d.bytes().all(|b| (b'0'..b'8').contains(&b))) {
        return i128::from_str_radix(digits, 8).map_or_else(|_| Value::Text(text.to_owned()), Value::Int);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let numeric = unsigned.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.')
        && unsigned.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && unsigned.bytes().any(|b| b.is_ascii_digit());
    if numeric {
        if let Ok(n) = text.parse() {
            return Value::Int(n);
        }
        if let Ok(n) = text.parse() {
            return Value::Float(n);
        }
    }
    Value::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<serde_json::Value>, Vec<String>) {
        let mut findings = Findings::new("f");
        let node = parse(text, &mut findings);
        (node.map(|n| n.to_json()), findings.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, expect) in [
            ("no", "\"no\""),
            ("0o17", "15"),
            ("0xff", "255"),
            ("+12", "12"),
            ("1.5e3", "1500.0"),
            ("1.2.3", "\"1.2.3\""),
            ("2020-01-01", "\"2020-01-01\""),
            ("'1'", "\"1\""),
            ("!!str 1", "\"1\""),
            ("~", "null"),
            ("True", "true"),
            (".5", "0.5"),
            ("-", "[null]"),
            ("99999999999999999999", "\"99999999999999999999\""),
            ("1e", "\"1e\""),
            ("{a: [1, {b: c}]}", r#"{"a":[1,{"b":"c"}]}"#),
            ("a: &x {b: 1}\nc: *x", r#"{"a":{"b":1},"c":{"b":1}}"#),
            ("a: |\n  x\n  y\n", r#"{"a":"x\ny\n"}"#),
        ] {
            let (value, findings) = read(text);
            assert_eq!(value.map(|v| v.to_string()).as_deref(), Some(expect), "{text}: {findings:?}");
            assert!(findings.is_empty(), "{text}: {findings:?}");
        }
    }

    #[test]
    fn faults_name_their_place() {
        let deep = "[".repeat(100);
        let bomb = {
            let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
            for i in 1..9 {
                let alias = format!("*a{}", i - 1);
                text += &format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(","));
            }
            text
        };
        for (text, expect) in [
            (
                "a: 1\nb: 2\na: 3\n",
                "f:3:1: error[yaml-duplicate-key]: `a` stands twice in this mapping, first in line 1",
            ),
            ("a: !foo 1", "f:1:4: error[yaml-tag]: the tag `!foo` does not fit this value; remove it"),
            ("a: 1\n---\nb: 2\n", "f:2:1: error[yaml]: the file holds more than one document; keep one per file"),
            ("", "f:1:1: error[yaml]: the file is empty"),
            ("a: &x [*x]", "f:1:8: error[yaml]: the alias stands inside the value it names"),
            ("? [a]\n: b", "f:1:3: error[yaml]: a key must be a text"),
            (&deep, "f:1:65: error[yaml]: values are nested deeper than 64 levels"),
            (&bomb, "f:6:1: error[yaml]: the document has more than 200000 values"),
        ] {
            let (_, findings) = read(text);
            assert_eq!(findings, [expect], "{text}");
        }
        assert!(read("a: [1").1[0].starts_with("f:2:1: error[yaml]: not YAML"), "{:?}", read("a: [1"));
    }
}
