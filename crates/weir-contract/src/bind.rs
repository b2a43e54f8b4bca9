//! A compiled object for one writer's schema: what a walk must leave behind and which tests look at it.
//!
//! Binding happens once per schema id. A field the writer does not know takes the default of the contract's schema,
//! as a reader would see it (Avro specification, "Schema Resolution"); rules on it are settled here, once, because
//! the value never changes.

use std::sync::Arc;

use weir_avro::{Field, FieldPath, Kind, Limits, NodeId, Schema, Slot, Walker, can_read, encode_default};
use weir_expr::{KeyType, Program, Wanted};

use crate::compile::{Branch, CompiledObject};
use crate::diagnostic::{Diagnostic, Findings};
use crate::fields::environment;
use crate::rule::Check;
use crate::settings::KeyFormat;
use crate::test::{Test, lower, lower_type};

/// A topic's rules for events of one writer's schema.
#[derive(Debug)]
pub struct Binding {
    pub(crate) object: Arc<CompiledObject>,
    pub(crate) walker: Walker,
    /// The tests in field order, and beside each what a violation tells.
    pub(crate) tests: Box<[(u32, SlotTest)]>,
    pub(crate) labels: Box<[Label]>,
    pub(crate) clean: Clean,
    pub(crate) defaults: Box<[Filler]>,
    /// The slots of the key fields.
    pub(crate) key: Box<[u32]>,
    /// The slot of the event time and its type.
    pub(crate) event_time: Option<(u32, NodeId)>,
    /// Whether any expression may read the record key.
    pub(crate) reads_key: bool,
}

/// The tests by their kind, which are asked one after the other without a choice between them: that all of them hold, as for most
/// events, is found out at a part of the cost. Which one does not, the tests in their order tell.
#[derive(Debug)]
pub(crate) struct Clean {
    /// Slots and the range that all tests of each have in common.
    pub longs: Box<[(u32, i64, i64)]>,
    pub doubles: Box<[(u32, f64, f64)]>,
    /// Slots and how many characters their texts have.
    pub chars: Box<[(u32, u64, u64)]>,
    /// All other tests.
    pub others: Box<[usize]>,
}

/// What a violation of a test tells.
#[derive(Debug)]
pub(crate) struct Label {
    pub spec: u32,
    pub node: NodeId,
    pub path: Box<str>,
}

/// A test on one slot.
#[derive(Debug)]
pub(crate) enum SlotTest {
    One(Test),
    /// The items of an array or the entries of a map.
    Inside(Box<Inside>),
    /// An expression that sees the writer's types.
    Program(Box<Program>),
    /// An expression that sees the types of the contract's schema, as the writer lacks a field it reads.
    ReaderProgram(Box<Program>),
}

/// The tests on a value inside a list or map and on what is in it.
#[derive(Debug)]
pub(crate) struct Inside {
    pub node: NodeId,
    pub tests: Vec<(u32, Test)>,
    pub fields: Vec<(usize, Box<str>, Inside)>,
    /// Rules a default of the contract breaks, with the path below this record.
    pub never: Vec<(u32, Box<str>)>,
    pub items: Option<Box<Inside>>,
    pub entries: Option<Box<(Inside, Inside)>>,
}

impl Inside {
    fn at(node: NodeId) -> Self {
        Inside { node, tests: Vec::new(), fields: Vec::new(), never: Vec::new(), items: None, entries: None }
    }

    fn is_empty(&self) -> bool {
        self.tests.is_empty()
            && self.fields.is_empty()
            && self.never.is_empty()
            && self.items.is_none()
            && self.entries.is_none()
    }
}

/// A field the writer does not know.
#[derive(Debug)]
pub(crate) struct Filler {
    pub slot: u32,
    /// The slot of the record it belongs to: where that is null, the field does not exist.
    pub parent: u32,
    /// Its type in the contract's schema and its default there.
    pub node: NodeId,
    pub bytes: Box<[u8]>,
}

impl CompiledObject {
    /// Makes the tests for events of a writer's schema.
    ///
    /// # Errors
    /// Diagnostics that say why the contract does not allow the schema, each with the field it is about; for
    /// [`DataFault::SchemaNotAllowed`](crate::DataFault).
    pub fn bind(self: &Arc<Self>, writer: Arc<Schema>) -> Result<Binding, Vec<Diagnostic>> {
        let mut findings = Findings::new(&self.file);
        let refuse = |findings: &mut Findings, message: String| {
            findings.error(self.place, "SCHEMA_NOT_ALLOWED", message);
        };
        for incompatibility in can_read(&writer, &self.schema) {
            let message = format!("{} at {}", incompatibility.message, incompatibility.path);
            refuse(&mut findings, message);
        }
        let diagnostics = findings.finish();
        if !diagnostics.is_empty() {
            return Err(diagnostics);
        }
        let mut binder = Binder::new(self, &writer);
        // The first slot is the whole datum: the record that every default may belong to.
        binder.wanted.intern(FieldPath::root());
        binder.fields(&self.rules, writer.root(), self.schema.root(), &FieldPath::root());
        binder.specs(&self.rules.specs, writer.root(), &FieldPath::root());
        let key = self.key.iter().map(|path| binder.slot(path)).collect();
        let event_time = self.event_time.as_ref().and_then(|path| {
            // A default time would be the same for every event, so a writer without the field has no event time.
            let written = binder.written_path(path)?;
            Some((binder.slot(path), writer.non_null(writer.find(&written)?).0))
        });
        // A slot of a field the writer does not know is filled from its default; the walk puts nothing there.
        let paths: Vec<_> =
            binder.wanted.paths().iter().map(|path| binder.written_path(path).unwrap_or_default()).collect();
        match Walker::new(writer.clone(), &paths, Limits::default()) {
            Ok(walker) if binder.refusals.is_empty() => {
                let Binder { tests, labels, defaults, reads_key, .. } = binder;
                let clean = Clean::of(&tests);
                let (tests, labels, defaults) = (tests.into(), labels.into(), defaults.into());
                Ok(Binding { object: self.clone(), walker, tests, labels, clean, defaults, key, event_time, reads_key })
            }
            outcome => {
                let mut findings = Findings::new(&self.file);
                binder.refusals.extend(outcome.err().map(|error| error.to_string()));
                binder.refusals.into_iter().for_each(|message| refuse(&mut findings, message));
                Err(findings.finish())
            }
        }
    }
}

struct Binder<'b> {
    object: &'b CompiledObject,
    writer: &'b Arc<Schema>,
    wanted: Wanted,
    tests: Vec<(u32, SlotTest)>,
    labels: Vec<Label>,
    defaults: Vec<Filler>,
    refusals: Vec<String>,
    reads_key: bool,
}

impl Clean {
    fn of(tests: &[(u32, SlotTest)]) -> Clean {
        let (mut longs, mut doubles) = (Vec::<(u32, i64, i64)>::new(), Vec::<(u32, f64, f64)>::new());
        let (mut chars, mut others) = (Vec::new(), Vec::new());
        for (index, (slot, test)) in tests.iter().enumerate() {
            match test {
                SlotTest::One(Test::Long { lo, hi }) => match longs.iter_mut().find(|(of, ..)| of == slot) {
                    Some((_, least, most)) => (*least, *most) = ((*least).max(*lo), (*most).min(*hi)),
                    None => longs.push((*slot, *lo, *hi)),
                },
                SlotTest::One(Test::Double { lo, hi }) => match doubles.iter_mut().find(|(of, ..)| of == slot) {
                    Some((_, least, most)) => (*least, *most) = (least.max(*lo), most.min(*hi)),
                    None => doubles.push((*slot, *lo, *hi)),
                },
                SlotTest::One(Test::Chars { least, most }) => chars.push((*slot, *least, *most)),
                _ => others.push(index),
            }
        }
        Clean { longs: longs.into(), doubles: doubles.into(), chars: chars.into(), others: others.into() }
    }
}

/// The field of a writer's record that a reader's field is read from (Avro specification, "Aliases").
fn written<'s>(writer: &'s Schema, record: NodeId, field: &Field) -> Option<(usize, &'s Field)> {
    let record = writer.non_null(record).0;
    let named = |name: &str| writer.field(record, name);
    named(&field.name).or_else(|| field.aliases.iter().find_map(|alias| named(alias)))
}

fn prefix(path: &FieldPath, length: usize) -> FieldPath {
    path.segments().take(length).fold(FieldPath::root(), |path, name| path.join(name))
}

impl<'b> Binder<'b> {
    fn new(object: &'b CompiledObject, writer: &'b Arc<Schema>) -> Self {
        Binder {
            object,
            writer,
            wanted: Wanted::new(),
            tests: Vec::new(),
            labels: Vec::new(),
            defaults: Vec::new(),
            refusals: Vec::new(),
            reads_key: false,
        }
    }

    /// Where the writer has a field of the contract's schema; a path the contract does not know stays as it is.
    fn written_path(&self, path: &FieldPath) -> Option<FieldPath> {
        let reader = &self.object.schema;
        let (mut from, mut to) = (self.writer.root(), Some(reader.root()));
        let mut found = FieldPath::root();
        for name in path.segments() {
            let known = to.and_then(|to| reader.field(reader.non_null(to).0, name));
            let (_, field) = match known {
                Some((_, field)) => written(self.writer, from, field)?,
                None => self.writer.field(self.writer.non_null(from).0, name)?,
            };
            (from, to) = (field.node, known.map(|(_, field)| field.node));
            found = found.join(&field.name);
        }
        Some(found)
    }

    /// The slot of a field, with its default where the writer does not know it.
    fn slot(&mut self, path: &FieldPath) -> u32 {
        let known = self.wanted.slot(path).is_some();
        let slot = self.wanted.intern(path.clone()) as u32;
        if !known {
            self.default(path, slot);
        }
        slot
    }

    fn default(&mut self, path: &FieldPath, slot: u32) {
        if self.written_path(path).is_some() {
            return;
        }
        if let Some((parent, node, bytes)) = self.default_bytes(path) {
            let parent = self.slot(&parent);
            self.defaults.push(Filler { slot, parent, node, bytes: bytes.into() });
        }
    }

    /// The nearest record around a field that the writer knows, the field's type and its default. The default may
    /// stand in that of a record around it; where that is null, there is none.
    fn default_bytes(&self, path: &FieldPath) -> Option<(FieldPath, NodeId, Vec<u8>)> {
        let reader = &self.object.schema;
        let length = path.segments().len();
        let known = (0..length).rev().find(|n| self.written_path(&prefix(path, *n)).is_some())?;
        let parent = prefix(path, known);
        let mut node = reader.find(&parent)?;
        let mut value: Option<serde_json::Value> = None;
        for name in path.segments().skip(known) {
            let (_, field) = reader.field(reader.non_null(node).0, name)?;
            value = match value {
                Some(serde_json::Value::Object(mut fields)) => {
                    fields.shift_remove(name).or_else(|| field.default.clone())
                }
                Some(_) => return None,
                None => field.default.clone(),
            };
            value.as_ref()?;
            node = field.node;
        }
        let bytes = encode_default(reader, node, &value?).ok()?;
        Some((parent, node, bytes))
    }

    fn push(&mut self, slot: u32, spec: u32, node: NodeId, path: &FieldPath, test: SlotTest) {
        self.tests.push((slot, test));
        self.labels.push(Label { spec, node, path: path.to_string().into() });
    }

    /// The rules of a value that a slot can hold.
    fn branch(&mut self, branch: &Branch, writer: NodeId, reader: NodeId, path: &FieldPath) {
        self.specs(&branch.specs, writer, path);
        let (inner, _) = self.writer.non_null(writer);
        match self.writer.node(inner).kind {
            Kind::Record { .. } => self.fields(branch, writer, reader, path),
            Kind::Array { .. } | Kind::Map { .. } => {
                if let Some(inside) = self.inside(&Branch { specs: Vec::new(), ..branch.clone() }, writer, reader) {
                    let slot = self.slot(path);
                    self.push(slot, 0, inner, path, SlotTest::Inside(Box::new(inside)));
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, branch: &Branch, writer: NodeId, reader: NodeId, path: &FieldPath) {
        let schema = &self.object.schema;
        for (name, below) in &branch.fields {
            let Some((_, field)) = schema.field(schema.non_null(reader).0, name) else { continue };
            let path = path.join(name);
            match written(self.writer, writer, field) {
                Some((_, written)) => self.branch(below, written.node, field.node, &path),
                None => self.missing(below, &path),
            }
        }
    }

    /// The rules of a field the writer does not know: settled now, except for expressions.
    fn missing(&mut self, branch: &Branch, path: &FieldPath) {
        self.programs(branch, path);
        let Some((parent, node, bytes)) = self.default_bytes(path) else { return };
        let parent = self.slot(&parent);
        for (spec, below) in self.broken(branch, node, &bytes) {
            self.tests.push((parent, SlotTest::One(Test::Never)));
            self.labels.push(Label { spec, node: self.writer.root(), path: format!("{path}{below}").into() });
        }
    }

    fn programs(&mut self, branch: &Branch, path: &FieldPath) {
        for spec in &branch.specs {
            if let Check::Cel(source) = &self.object.specs[*spec as usize].check {
                self.program(*spec, source.clone(), path, self.object.schema.root());
            }
        }
        for (name, below) in &branch.fields {
            self.programs(below, &path.join(name));
        }
    }

    /// The rules a default breaks, with the path below it.
    fn broken(&self, branch: &Branch, node: NodeId, bytes: &[u8]) -> Vec<(u32, String)> {
        let schema = &self.object.schema;
        let mut found = Vec::new();
        if let Some(slot) = Slot::read(schema, node, bytes)
            && let Some(inside) = Binder::new(self.object, schema).inside(branch, node, node)
        {
            inside.each(slot, schema, &mut |spec, path, _, _| found.push((spec, path)));
        }
        found
    }

    fn specs(&mut self, specs: &[u32], node: NodeId, path: &FieldPath) {
        for spec in specs {
            let check = self.object.specs[*spec as usize].check.clone();
            if let Check::Cel(source) = check {
                self.program(*spec, source, path, node);
                continue;
            }
            match lower(&check, self.writer, node) {
                Ok(Some(test)) => {
                    let slot = self.slot(path);
                    self.push(slot, *spec, self.writer.non_null(node).0, path, SlotTest::One(test));
                }
                Ok(None) => {}
                Err(why) => {
                    let rule = &self.object.specs[*spec as usize].rule;
                    self.refusals.push(format!("{path}: the rule {rule} {why}"));
                }
            }
        }
    }

    /// An expression, with the writer's types where it knows every field, otherwise with those of the contract.
    fn program(&mut self, spec: u32, source: Arc<str>, path: &FieldPath, node: NodeId) {
        let test = match self.compile(&source, path, self.writer.clone()) {
            Some(program) => SlotTest::Program(Box::new(program)),
            None => match self.compile_for_reader(&source, path) {
                Some(program) => SlotTest::ReaderProgram(Box::new(program)),
                None => {
                    let rule = &self.object.specs[spec as usize].rule;
                    self.refusals.push(format!("the rule {rule} reads fields this schema does not have"));
                    return;
                }
            },
        };
        self.reads_key |= source.contains("key");
        let slot = self.slot(path);
        self.push(slot, spec, node, path, test);
    }

    fn compile(&mut self, source: &str, path: &FieldPath, schema: Arc<Schema>) -> Option<Program> {
        let mut env = environment(&schema, path)?;
        env.key = self.key_type();
        let before = self.wanted.paths().len();
        let program = weir_expr::compile(source, &env, &mut self.wanted).ok();
        let fresh: Vec<_> = self.wanted.paths()[before..].to_vec();
        for path in fresh {
            if let Some(slot) = self.wanted.slot(&path) {
                self.default(&path, slot as u32);
            }
        }
        program
    }

    /// Values of collections carry the writer's types, so a program that sees the contract's may read scalars only.
    fn compile_for_reader(&mut self, source: &str, path: &FieldPath) -> Option<Program> {
        let reader = self.object.schema.clone();
        let mut env = environment(&reader, path)?;
        env.key = self.key_type();
        let mut trial = Wanted::new();
        weir_expr::compile(source, &env, &mut trial).ok()?;
        let scalar = |path: &FieldPath| {
            let node = reader.find(path).map(|id| &reader.node(reader.non_null(id).0).kind);
            node.is_some_and(|kind| {
                !matches!(kind, Kind::Array { .. } | Kind::Map { .. } | Kind::Record { .. } | Kind::Union { .. })
            })
        };
        let written = |path: &FieldPath| self.writer.find(&self.written_path(path)?);
        let same = |path: &FieldPath| match (written(path), reader.find(path)) {
            (Some(w), Some(r)) => {
                let (w, r) = (self.writer.node(self.writer.non_null(w).0), reader.node(reader.non_null(r).0));
                std::mem::discriminant(&w.kind) == std::mem::discriminant(&r.kind) && w.logical == r.logical
            }
            _ => true,
        };
        if !trial.paths().iter().all(|path| scalar(path) && same(path)) {
            return None;
        }
        self.compile(source, path, reader)
    }

    fn key_type(&self) -> KeyType<'static> {
        match self.object.settings.key_format.as_ref().map(|at| at.value) {
            Some(KeyFormat::Avro) => KeyType::Bytes,
            _ => KeyType::String,
        }
    }

    /// The tests on a value by its content, for values that no slot holds.
    fn inside(&mut self, branch: &Branch, writer: NodeId, reader: NodeId) -> Option<Inside> {
        let (node, _) = self.writer.non_null(writer);
        let (reader, _) = self.object.schema.non_null(reader);
        let mut inside = Inside::at(node);
        for spec in &branch.specs {
            let test = lower(&self.object.specs[*spec as usize].check, self.writer, writer);
            self.keep(*spec, test, &mut inside);
        }
        match (&self.writer.node(node).kind, &self.object.schema.node(reader).kind) {
            (Kind::Record { .. }, Kind::Record { fields }) => {
                for (name, below) in &branch.fields {
                    let Some(field) = fields.iter().find(|field| field.name == *name) else { continue };
                    match written(self.writer, node, field) {
                        Some((index, written)) => {
                            let inner = self.inside(below, written.node, field.node);
                            inside.fields.extend(inner.map(|inner| (index, name.clone(), inner)));
                        }
                        None => {
                            let default = field.default.as_ref();
                            let bytes = default.and_then(|d| encode_default(&self.object.schema, field.node, d).ok());
                            let broken = bytes.map(|bytes| self.broken(below, field.node, &bytes)).unwrap_or_default();
                            inside
                                .never
                                .extend(broken.into_iter().map(|(spec, path)| (spec, format!(".{name}{path}").into())));
                        }
                    }
                }
            }
            (Kind::Array { items: from }, Kind::Array { items: to }) => {
                inside.items = branch.items.as_ref().and_then(|below| self.inside(below, *from, *to)).map(Box::new);
            }
            (Kind::Map { values: from }, Kind::Map { values: to }) => {
                if let Some((keys, values)) = branch.entries.as_deref() {
                    let mut on_keys = Inside::at(node);
                    for spec in &keys.specs {
                        let test =
                            lower_type(&self.object.specs[*spec as usize].check, &Kind::String, None, "a map's key");
                        self.keep(*spec, test, &mut on_keys);
                    }
                    let on_values = self.inside(values, *from, *to).unwrap_or_else(|| Inside::at(node));
                    let some = !on_keys.is_empty() || !on_values.is_empty();
                    inside.entries = some.then(|| Box::new((on_keys, on_values)));
                }
            }
            _ => {}
        }
        (!inside.is_empty()).then_some(inside)
    }

    fn keep(&mut self, spec: u32, test: Result<Option<Test>, String>, inside: &mut Inside) {
        match test {
            Ok(test) => inside.tests.extend(test.map(|test| (spec, test))),
            Err(why) => self.refusals.push(format!("the rule {} {why}", self.object.specs[spec as usize].rule)),
        }
    }
}
