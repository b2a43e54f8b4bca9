//! The walk over the properties of a contract and the types of its schema, side by side.
//!
//! Every property must have its field and every field its property; each rule must be one that values of the field's
//! type can keep or break. What is left is a tree of rules shaped like the schema.

use std::sync::Arc;

use weir_avro::{FieldPath, Kind, NodeId, Schema};
use weir_expr::{Env, Wanted};

use crate::agree;
use crate::compile::{Branch, Compiler};
use crate::diagnostic::{Place, hint};
use crate::model::{Contract, LogicalType, Property};
use crate::rule::{Check, Reader, Spec};
use crate::settings::Mode;
use crate::text_format::{Clock, Temporal};
use crate::yaml::Node;

/// The walk over the properties of one object and its schema.
pub(crate) struct Walk<'w, 'c> {
    pub contract: &'c Contract,
    pub schema: &'w Arc<Schema>,
    pub specs: Vec<Spec>,
    pub mode: Mode,
    pub draft: bool,
    pub compiler: &'w mut Compiler<'c>,
}

impl Walk<'_, '_> {
    pub(crate) fn reader(&mut self) -> Reader<'_> {
        let Compiler { findings, promises, .. } = &mut *self.compiler;
        Reader { findings, promises, mode: self.mode, draft: self.draft }
    }

    fn error(&mut self, place: Place, code: &'static str, message: String) {
        self.compiler.findings.error(place, code, message);
    }

    /// Both ways: every property has its field, every field its property.
    pub(crate) fn record(
        &mut self,
        properties: &[Property],
        id: NodeId,
        path: &str,
        place: Place,
        inside: bool,
    ) -> Branch {
        let schema = self.schema.clone();
        let mut branch = Branch::default();
        let Kind::Record { fields } = &schema.node(id).kind else { return branch };
        for property in properties {
            if !fields.iter().any(|field| *field.name == *property.field) {
                let near = hint(&property.field, fields.iter().map(|field| &*field.name));
                let record = schema.describe(id);
                let message = format!("the schema's record {record} has no field `{}`{near}", property.field);
                self.error(property.place, "schema-no-field", message);
            }
        }
        for field in fields {
            let full = join(path, &field.name);
            match properties.iter().find(|property| property.field == *field.name) {
                Some(property) => {
                    let below = self.property(property, field.node, &full, inside);
                    if !below.is_empty() {
                        branch.fields.push((field.name.clone(), below));
                    }
                }
                None => {
                    let kind = agree::suggestion(&schema, schema.non_null(field.node).0).unwrap_or("object");
                    let message = format!(
                        "the schema has the field `{full}`, the contract does not; add a property `{}` with `logicalType: {kind}`",
                        field.name
                    );
                    self.error(place, "schema-undeclared", message);
                }
            }
        }
        branch
    }

    fn property(&mut self, property: &Property, id: NodeId, path: &str, inside: bool) -> Branch {
        let schema = self.schema.clone();
        let (node, nullable) = schema.non_null(id);
        let place = property.logical_type.as_ref().map_or(property.place, |at| at.place);
        if let Some(message) = agree::disagreement(property, &schema, node) {
            self.error(place, "schema-type", format!("`{path}`: {message}"));
            return Branch::default();
        }
        if let Some(at) = &property.physical_type
            && agree::physical_mismatch(&at.value, &schema, node)
        {
            let message = format!(
                "`{path}`: the contract says physicalType {}, the schema {}",
                at.value,
                agree::describe(&schema, node)
            );
            self.compiler.findings.warn(at.place, "schema-physical-type", message);
        }
        if !property.name.is_empty() && !nullable && property.required.as_ref().is_none_or(|at| !at.value) {
            let message = format!("`{path}` can never be null by the schema; say `required: true`");
            let place = property.required.as_ref().map_or(property.place, |at| at.place);
            self.compiler.findings.warn(place, "schema-required", message);
        }
        let mut own = self.reader().property(property, path);
        self.written(property, node, path, &mut own);
        let mut branch = Branch { specs: self.take(own, node, path, inside, Some(property)), ..Branch::default() };
        self.children(property, node, path, inside, &mut branch);
        self.required_names(property, path, &mut branch);
        branch
    }

    /// A text that holds a date or time is written in ISO 8601 where the contract gives no pattern.
    fn written(&mut self, property: &Property, node: NodeId, path: &str, own: &mut Vec<Spec>) {
        let kind = property.logical_type.as_ref().map(|at| at.value);
        let (temporal, what) = match kind {
            Some(LogicalType::Date) => (Temporal::Date, "a date"),
            Some(LogicalType::Timestamp) => (Temporal::Timestamp, "a date and time"),
            Some(LogicalType::Time) => (Temporal::Time, "a time"),
            _ => return,
        };
        let option = |key| property.options.as_ref().and_then(|options| options.get(key));
        if !matches!(self.schema.node(node).kind, Kind::String) || option("format").is_some() {
            return;
        }
        let needs_offset = option("timezone").and_then(Node::as_bool) == Some(true);
        let clock = Clock { kind: temporal, pattern: None, needs_offset, zone: jiff::tz::TimeZone::UTC };
        let mode = property.settings.mode.as_ref().map_or(self.mode, |at| at.value);
        let spec = Spec {
            place: property.logical_type.as_ref().map_or(property.place, |at| at.place),
            code: crate::Code::FieldFormat,
            rule: "logicalType".into(),
            mode: if self.draft { Mode::Shadow } else { mode },
            protected: property.protected,
            expect: format!("must be {what} as in ISO 8601"),
            check: Check::Written(clock),
        };
        self.reader().enforced(&spec, path);
        own.push(spec);
    }

    fn children(&mut self, property: &Property, node: NodeId, path: &str, inside: bool, branch: &mut Branch) {
        let schema = self.schema.clone();
        match &schema.node(node).kind {
            Kind::Record { .. } if property.properties.is_empty() => {
                let message =
                    format!("the contract says nothing about the fields of `{path}`; list them under `properties`");
                self.compiler.findings.warn(property.place, "schema-undeclared", message);
            }
            Kind::Record { .. } => {
                branch.fields = self.record(&property.properties, node, path, property.place, inside).fields;
            }
            Kind::Array { items } => {
                if let Some(item) = &property.items {
                    let below = self.property(item, *items, &format!("{path}[]"), true);
                    branch.items = (!below.is_empty()).then(|| Box::new(below));
                }
            }
            Kind::Map { values } => {
                if let Some((key, value)) = property.map.as_deref() {
                    let keys = self.key_rules(key, path);
                    let values = self.property(value, *values, &format!("{path}{{}}"), true);
                    let empty = keys.is_empty() && values.is_empty();
                    branch.entries = (!empty).then(|| Box::new((keys, values)));
                }
            }
            _ => {}
        }
    }

    /// The rules of a map's keys, which are texts in Avro.
    fn key_rules(&mut self, key: &Property, path: &str) -> Branch {
        if let Some(at) = key.logical_type.as_ref().filter(|at| at.value != LogicalType::String) {
            let message = format!("`{path}`: keys of an Avro map are texts; say `logicalType: string`");
            self.error(at.place, "schema-type", message);
            return Branch::default();
        }
        let own = self.reader().property(key, &format!("{path}{{}}"));
        let mut specs = Vec::new();
        for spec in own {
            match spec.check {
                Check::Cel(_) => self.misplaced(spec.place),
                Check::Required => {}
                _ => {
                    specs.push(self.specs.len() as u32);
                    self.specs.push(spec);
                }
            }
        }
        Branch { specs, ..Branch::default() }
    }

    /// The option `required` of an object makes its fields required.
    fn required_names(&mut self, property: &Property, path: &str, branch: &mut Branch) {
        let Some(names) = property.options.as_ref().and_then(|options| options.get("required")) else { return };
        for node in names.items() {
            let Some(name) = node.as_text() else { continue };
            let Some(child) = property.properties.iter().find(|p| p.name == name) else {
                let message = format!(
                    "`{path}` has no property `{name}`{}",
                    hint(name, property.properties.iter().map(|p| p.name.as_str()))
                );
                self.error(node.place, "rule-arguments", message);
                continue;
            };
            let mode = property.settings.mode.as_ref().map_or(self.mode, |at| at.value);
            let spec = Spec {
                place: node.place,
                code: crate::Code::FieldMissing,
                rule: "required".into(),
                mode: if self.draft { Mode::Shadow } else { mode },
                protected: child.protected,
                expect: "must have a value".to_owned(),
                check: Check::Required,
            };
            self.reader().enforced(&spec, &join(path, &child.field));
            let index = self.specs.len() as u32;
            self.specs.push(spec);
            match branch.fields.iter_mut().find(|(field, _)| **field == *child.field) {
                Some((_, below)) => below.specs.insert(0, index),
                None => branch
                    .fields
                    .push((child.field.as_str().into(), Branch { specs: vec![index], ..Branch::default() })),
            }
        }
    }

    /// Keeps the rules that can be tested on values of this type and reports the others.
    pub(crate) fn take(
        &mut self,
        specs: Vec<Spec>,
        id: NodeId,
        path: &str,
        inside: bool,
        property: Option<&Property>,
    ) -> Vec<u32> {
        let mut kept = Vec::new();
        for spec in specs {
            if let Check::Cel(source) = &spec.check {
                if inside {
                    self.misplaced(spec.place);
                    continue;
                }
                let at = if property.is_some() { FieldPath::parse(path) } else { FieldPath::root() };
                self.expression(source, at, spec.place);
            } else if let Err(why) = crate::test::testable(&spec.check, self.schema, id) {
                self.error(spec.place, "rule-type", format!("`{path}`: the rule {} {why}", spec.rule));
                continue;
            }
            kept.push(self.specs.len() as u32);
            self.specs.push(spec);
        }
        kept
    }

    fn misplaced(&mut self, place: Place) {
        let message =
            "a CEL rule cannot stand inside a list or map; put it on the object, as in `this.lines.all(l, l.qty > 0)`";
        self.error(place, "rule-cel", message.to_owned());
    }

    fn expression(&mut self, source: &str, at: FieldPath, place: Place) {
        let schema = self.schema.clone();
        let Some(env) = environment(&schema, &at) else { return };
        match weir_expr::compile(source, &env, &mut Wanted::new()) {
            Ok(program) if matches!(program.result().non_null(), weir_expr::Type::Bool | weir_expr::Type::Dyn) => {}
            Ok(program) => {
                let message = format!("the rule must be true or false, not {}", program.result());
                self.error(place, "rule-cel", message);
            }
            Err(errors) => {
                for error in errors {
                    let place = locate(&self.contract.text, place, source, error.line, error.column);
                    self.error(place, "rule-cel", error.message);
                }
            }
        }
    }
}

/// What a rule at a path sees: `this` is the value there, without its null.
pub(crate) fn environment<'s>(schema: &'s Schema, at: &FieldPath) -> Option<Env<'s>> {
    let mut env = Env::at(schema, at.clone())?;
    env.this.1 = schema.non_null(env.this.1).0;
    Some(env)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Where a place inside an expression is in the file, as far as the way it is quoted lets that be told.
fn locate(text: &str, scalar: Place, source: &str, line: u32, column: u32) -> Place {
    let row = |n: u32| text.lines().nth(n as usize).unwrap_or_default();
    let head = row(scalar.line.saturating_sub(1));
    let rest: String = head.chars().skip(scalar.column as usize - 1).collect();
    let wanted = source.lines().nth(line as usize - 1).unwrap_or_default();
    if line == 1
        && let Some(quoted) = rest.find(wanted).filter(|at| *at <= 1 && !wanted.is_empty())
    {
        return Place { line: scalar.line, column: scalar.column + quoted as u32 + column - 1 };
    }
    // The further lines of a scalar are found by their text, whatever indents them.
    let at = scalar.line + line - 1;
    match row(at - 1).find(wanted) {
        Some(indent) if !wanted.is_empty() => Place { line: at, column: indent as u32 + column },
        _ => scalar,
    }
}
