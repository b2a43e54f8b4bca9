//! `contracts/<domain>/<view>.view.yaml`, read strictly: a key that means nothing is an error with its place.

use std::collections::BTreeSet;

use weir_contract::yaml::{self, Node, Value};
use weir_contract::{Diagnostic, Place, Severity};
use weir_expr::ExprError;

use crate::plan::{Options, Plan};

/// What happens when a source gets a new schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSchemaChange {
    /// The view goes on with the schema it was planned with.
    Pin,
    /// The view stops at that record.
    Fail,
}

/// How often a record may take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Output, state and positions in one transaction.
    ExactlyOnce,
    /// Again after a crash.
    AtLeastOnce,
}

/// A view file.
#[derive(Clone, Debug)]
pub struct ViewFile {
    /// The file as the caller named it.
    pub file: String,
    /// `version`.
    pub version: String,
    /// `team`.
    pub team: String,
    /// The query.
    pub sql: String,
    /// Where the first line of the query stands, and how far it is indented.
    sql_place: Place,
    block: bool,
    /// `onSchemaChange`.
    pub on_schema_change: OnSchemaChange,
    /// `delivery`.
    pub delivery: Delivery,
    /// `output.contract`: the file of the contract of what it writes, beside this one.
    pub contract: Option<String>,
    /// Whether records that come after their window has closed are written to `<topic>.late`.
    pub late: bool,
    /// Where each entry of `allow` stands.
    allow_places: Vec<(String, Place)>,
    /// Id, topic, allowed fields and salt.
    pub options: Options,
    /// The tests.
    pub tests: Vec<Test>,
}

/// An inline test.
#[derive(Clone, Debug)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The records that come in, in order.
    pub given: Vec<Given>,
    /// What must come out, in order: the key and the value, which is null for a tombstone.
    pub expect: Vec<(Option<String>, serde_json::Value)>,
    /// How many of the given records the view cannot take.
    pub faults: usize,
}

/// A record of a test.
#[derive(Clone, Debug)]
pub struct Given {
    /// The relation.
    pub from: String,
    /// Its key; made of the value where it is not given.
    pub key: Option<String>,
    /// Its value, null for a tombstone.
    pub value: serde_json::Value,
    /// Its time; the event time of the value, or that of the record before, where it is not given.
    pub time: Option<String>,
}

struct Reader {
    file: String,
    found: Vec<Diagnostic>,
}

impl Reader {
    fn error(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        let Place { line, column } = at;
        let (file, message) = (self.file.clone(), message.into());
        self.found.push(Diagnostic {
            file,
            line: line.max(1),
            column: column.max(1),
            severity: Severity::Error,
            code,
            message,
        });
    }

    /// Every key of a mapping must be known.
    fn keys(&mut self, node: &Node, known: &[&str]) {
        if !matches!(node.value, Value::Map(_)) {
            self.error(
                node.place,
                "view-type",
                format!("expected a mapping with {}, found {}", known.join(", "), node.kind()),
            );
        }
        for entry in node.entries().iter().filter(|e| !known.contains(&e.key.as_str())) {
            self.error(
                entry.place,
                "view-unknown-key",
                format!("a view has no `{}` here; known are {}", entry.key, known.join(", ")),
            );
        }
    }

    fn text(&mut self, node: &Node, key: &str, required: bool) -> Option<String> {
        match node.get(key) {
            Some(found) => match found.render() {
                Some(text) => Some(text),
                None => {
                    self.error(found.place, "view-type", format!("`{key}` is a text, found {}", found.kind()));
                    None
                }
            },
            None if required => {
                self.error(node.place, "view-missing", format!("`{key}` is missing"));
                None
            }
            None => None,
        }
    }

    /// The items of a list; none where it is not there.
    fn items<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        let Some(found) = node.get(key) else { return &[] };
        if !matches!(found.value, Value::List(_)) {
            self.error(found.place, "view-type", format!("`{key}` is a list, found {}", found.kind()));
        }
        found.items()
    }

    fn choice<T: Copy>(&mut self, node: &Node, key: &str, all: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(node, key, false) else { return default };
        match all.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => *value,
            None => {
                let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
                let at = node.get(key).map_or(node.place, |n| n.place);
                self.error(at, "view-value", format!("`{key}` is one of {}", names.join(", ")));
                default
            }
        }
    }
}

/// Reads a view file. It comes back only where nothing is wrong.
pub fn read(text: &str, file: &str) -> (Option<ViewFile>, Vec<Diagnostic>) {
    let (node, found) = yaml::read(text, file);
    let mut reader = Reader { file: file.to_owned(), found };
    let view = node.and_then(|node| view(&mut reader, &node, text));
    reader.found.sort();
    let ok = reader.found.is_empty();
    (view.filter(|_| ok), reader.found)
}

fn view(reader: &mut Reader, node: &Node, text: &str) -> Option<ViewFile> {
    reader.keys(
        node,
        &[
            "id",
            "version",
            "team",
            "description",
            "sql",
            "output",
            "onSchemaChange",
            "delivery",
            "late",
            "masks",
            "allow",
            "tests",
        ],
    );
    let id = reader.text(node, "id", true);
    let version = reader.text(node, "version", true);
    let team = reader.text(node, "team", true);
    let sql = reader.text(node, "sql", true);
    let mut topic = id.clone();
    let mut contract = None;
    if let Some(output) = node.get("output") {
        reader.keys(output, &["topic", "contract"]);
        topic = reader.text(output, "topic", false).or(topic);
        contract = reader.text(output, "contract", false);
    }
    let changes = [("pin", OnSchemaChange::Pin), ("fail", OnSchemaChange::Fail)];
    let on_schema_change = reader.choice(node, "onSchemaChange", &changes, OnSchemaChange::Pin);
    let deliveries = [("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)];
    let delivery = reader.choice(node, "delivery", &deliveries, Delivery::ExactlyOnce);
    let late = reader.choice(node, "late", &[("true", true), ("false", false)], false);
    let mut salt = String::new();
    if let Some(masks) = node.get("masks") {
        reader.keys(masks, &["salt"]);
        salt = reader.text(masks, "salt", false).unwrap_or_default();
    }
    let mut allow_places = Vec::new();
    for name in reader.items(node, "allow") {
        match name.render() {
            Some(field) => allow_places.push((field, name.place)),
            None => reader.error(name.place, "view-type", format!("`allow` names fields, found {}", name.kind())),
        }
    }
    let tests = reader.items(node, "tests").iter().map(|test| read_test(reader, test)).collect();
    let place = node.get("sql")?.place;
    // The lines of a literal block are the lines of the query; any other text is folded.
    let line = text.lines().nth(place.line.saturating_sub(1) as usize).unwrap_or_default();
    let entry = node.entry("sql").map_or(place, |e| e.place);
    let block = text.lines().nth(entry.line.saturating_sub(1) as usize).is_some_and(|l| l.trim_end().ends_with('|'))
        || line.trim_end().ends_with('|');
    let sql_line = entry.line + 1;
    let indent = text
        .lines()
        .skip(entry.line as usize)
        .find(|l| !l.trim().is_empty())
        .map_or(0, |l| l.len() - l.trim_start().len());
    let sql_place = if block { Place { line: sql_line, column: indent as u32 + 1 } } else { place };
    let id = id?;
    let allow: BTreeSet<String> = allow_places.iter().map(|(field, _)| field.clone()).collect();
    Some(ViewFile {
        file: reader.file.clone(),
        version: version?,
        team: team?,
        sql: sql?,
        sql_place,
        block,
        on_schema_change,
        delivery,
        contract,
        late,
        allow_places,
        options: Options { topic: topic.unwrap_or_else(|| id.clone()), id, allow, salt },
        tests,
    })
}

fn read_test(reader: &mut Reader, node: &Node) -> Test {
    reader.keys(node, &["name", "given", "expect", "faults"]);
    let name = reader.text(node, "name", true).unwrap_or_default();
    let mut given = Vec::new();
    for record in reader.items(node, "given") {
        reader.keys(record, &["from", "key", "value", "time"]);
        given.push(Given {
            from: reader.text(record, "from", true).unwrap_or_default(),
            key: reader.text(record, "key", false),
            value: record.get("value").map_or(serde_json::Value::Null, Node::to_json),
            time: reader.text(record, "time", false),
        });
    }
    let mut expect = Vec::new();
    for record in reader.items(node, "expect") {
        reader.keys(record, &["key", "value"]);
        expect.push((
            reader.text(record, "key", false),
            record.get("value").map_or(serde_json::Value::Null, Node::to_json),
        ));
    }
    let faults = node.get("faults").map_or(Some(0), |found| usize::try_from(found.as_int()?).ok());
    let faults = faults.unwrap_or_else(|| {
        reader.error(
            node.get("faults").map_or(node.place, |n| n.place),
            "view-type",
            "`faults` is a number of records",
        );
        0
    });
    Test { name, place: node.place, given, expect, faults }
}

impl ViewFile {
    /// The entries of `allow` that name no field the view reads: they would allow what is read one day.
    pub(crate) fn allows_nothing(&self, plan: &Plan) -> Vec<Diagnostic> {
        let wrong = self.allow_places.iter().filter(|(field, _)| !plan.fields.contains(field));
        let found = wrong.map(|(field, place)| {
            // A slip is one in the name of the field alone: what is like it as a whole may be another field that must not be shown.
            let (of, name) = field.rsplit_once('.').unwrap_or(("", field));
            let beside = plan.fields.iter().filter_map(|known| known.strip_prefix(of)?.strip_prefix('.'));
            let hint = match weir_expr::nearest(name, beside) {
                Some(near) => format!("did you mean {of}.{near}?"),
                None => {
                    let known: Vec<&str> = plan.fields.iter().map(String::as_str).collect();
                    format!("take it out; the view reads {}", known.join(", "))
                }
            };
            Diagnostic {
                file: self.file.clone(),
                line: place.line.max(1),
                column: place.column.max(1),
                severity: Severity::Error,
                code: "view-allow",
                message: format!("`allow` names {field}, which the view does not read; {hint}"),
            }
        });
        found.collect()
    }

    /// An error of the query with its place in the file; in a text that is not a literal block (`sql: |`) the place is
    /// the text's, and the place in the query stands in the message.
    pub fn diagnostic(&self, error: &ExprError) -> Diagnostic {
        let Place { line, column } = self.sql_place;
        let (line, column, message) = match self.block {
            true => (line + error.line.max(1) - 1, column + error.column.max(1) - 1, error.message.clone()),
            false => (line, column, format!("{error} (of the query)")),
        };
        Diagnostic {
            file: self.file.clone(),
            line: line.max(1),
            column: column.max(1),
            severity: Severity::Error,
            code: "view-sql",
            message,
        }
    }
}
