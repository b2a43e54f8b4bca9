//! A parsed schema as an arena of nodes: what the walker, the expressions and the contracts look types up in.
//!
//! `apache-avro` does the parsing and the name resolution; this module flattens its tree so that a reference to
//! a named type is an index instead of a look-up, and so that recursion costs nothing.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use apache_avro::Schema as Parsed;
use apache_avro::schema::{FixedSchema, InnerDecimalSchema, Name, UuidSchema};
use serde_json::Value;

use crate::slot::FieldPath;

/// The largest number of nodes a schema may have; a larger one is refused.
pub(crate) const MAX_NODES: usize = 1 << 16;
/// The most references a schema may come with.
const MAX_REFERENCES: usize = 256;
/// The stack for parsing. `apache-avro` recurses into every type and reference, by up to 20 KB a level where nothing is
/// optimised; JSON nests to 128 levels in each of the texts. Memory that is not touched is not taken.
const STACK: usize = 256 << 20;

/// Why a schema could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The text is no Avro schema.
    #[error("not a valid Avro schema: {0}; correct the schema")]
    Parse(String),
    /// A named type is used that neither the schema nor its references define.
    #[error("type {0} is not defined; define it or add the schema that does to the references")]
    UnknownType(String),
    /// The schema is larger than this crate accepts.
    #[error("schema has more than {MAX_NODES} types or {MAX_REFERENCES} references; split it")]
    TooLarge,
    /// The parser gave up in a way it should not have.
    #[error("the schema could not be parsed: {0}")]
    Parser(String),
    /// A logical type does not fit the type under it.
    #[error("{0}; correct the schema")]
    Logical(String),
}

/// The place of a type in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// One type of a schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The physical type.
    pub kind: Kind,
    /// The logical type on top of it, if any.
    pub logical: Option<Logical>,
    /// The full name (namespace included) of a record, enum or fixed.
    pub name: Option<Box<str>>,
    /// Full names this type was known by before.
    pub aliases: Box<[Box<str>]>,
    /// The documentation of a named type.
    pub doc: Option<Box<str>>,
    /// The fewest bytes a value of this type takes. It bounds what a declared count may claim.
    pub min_size: u64,
}

/// The physical type of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// No bytes.
    Null,
    /// One byte, 0 or 1.
    Boolean,
    /// Zigzag varint within 32 bits.
    Int,
    /// Zigzag varint within 64 bits.
    Long,
    /// Four bytes, little endian.
    Float,
    /// Eight bytes, little endian.
    Double,
    /// A length and as many bytes.
    Bytes,
    /// A length and as many bytes of UTF-8.
    String,
    /// A fixed number of bytes.
    Fixed {
        /// How many bytes.
        size: usize,
    },
    /// An index into the symbols.
    Enum {
        /// The symbols in order.
        symbols: Box<[Box<str>]>,
        /// The symbol a reader falls back to for one it does not know.
        default: Option<Box<str>>,
    },
    /// Blocks of items.
    Array {
        /// The type of an item.
        items: NodeId,
    },
    /// Blocks of string keys and values.
    Map {
        /// The type of a value.
        values: NodeId,
    },
    /// A branch index and a value of that branch.
    Union {
        /// The branches in order.
        branches: Box<[NodeId]>,
    },
    /// The fields one after the other.
    Record {
        /// The fields in order.
        fields: Box<[Field]>,
    },
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: Box<str>,
    /// Names it was known by before.
    pub aliases: Box<[Box<str>]>,
    /// Its documentation.
    pub doc: Option<Box<str>>,
    /// Its type.
    pub node: NodeId,
    /// The value a reader takes where the writer had no such field, as JSON.
    pub default: Option<Value>,
    /// Properties of the field that Avro has no meaning for.
    pub attributes: BTreeMap<String, Value>,
}

/// The logical types of Avro 1.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    /// A two's complement big-endian number times 10^-scale, on bytes or fixed.
    Decimal {
        /// The most digits.
        precision: usize,
        /// The digits behind the point.
        scale: usize,
    },
    /// A number that carries its own scale, on bytes.
    BigDecimal,
    /// A UUID, on string, bytes or fixed(16).
    Uuid,
    /// Days since 1970-01-01, on int.
    Date,
    /// Milliseconds after midnight, on int.
    TimeMillis,
    /// Microseconds after midnight, on long.
    TimeMicros,
    /// Milliseconds since the epoch in UTC, on long.
    TimestampMillis,
    /// Microseconds since the epoch in UTC, on long.
    TimestampMicros,
    /// Nanoseconds since the epoch in UTC, on long.
    TimestampNanos,
    /// Milliseconds since the epoch in an unnamed local time, on long.
    LocalTimestampMillis,
    /// Microseconds since the epoch in an unnamed local time, on long.
    LocalTimestampMicros,
    /// Nanoseconds since the epoch in an unnamed local time, on long.
    LocalTimestampNanos,
    /// Months, days and milliseconds, each 4 bytes little endian, on fixed(12).
    Duration,
}

/// A writer or reader schema, immutable, shared as `Arc<Schema>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub(crate) nodes: Box<[Node]>,
    pub(crate) root: NodeId,
    pub(crate) canonical: Box<str>,
}

impl Schema {
    /// Parses a schema that needs no other.
    ///
    /// # Errors
    /// [`SchemaError`] with the parser's reason.
    pub fn parse(json: &str) -> Result<Schema, SchemaError> {
        Self::parse_with_references(json, &[])
    }

    /// Parses a schema whose named types may be defined by `references`, in any order.
    ///
    /// # Errors
    /// [`SchemaError`] with the parser's reason, also when a reference is at fault.
    pub fn parse_with_references(json: &str, references: &[&str]) -> Result<Schema, SchemaError> {
        if references.len() > MAX_REFERENCES {
            return Err(SchemaError::TooLarge);
        }
        std::thread::scope(|scope| {
            let parser = std::thread::Builder::new().name("avro-parser".to_owned()).stack_size(STACK);
            match parser.spawn_scoped(scope, || Self::compile(json, references)) {
                Ok(thread) => {
                    thread.join().unwrap_or_else(|_| Err(SchemaError::Parser("the parser panicked".to_owned())))
                }
                Err(e) => Err(SchemaError::Parser(format!("no thread for it: {e}"))),
            }
        })
    }

    fn compile(json: &str, references: &[&str]) -> Result<Schema, SchemaError> {
        let parse = |e: apache_avro::Error| {
            // The place in the text is in the cause, not in the error.
            let causes = std::iter::successors(e.source(), |e| (*e).source());
            SchemaError::Parse(causes.fold(e.to_string(), |text, cause| format!("{text}: {cause}")))
        };
        let (main, known) = if references.is_empty() {
            (Parsed::parse_str(json).map_err(parse)?, Vec::new())
        } else {
            Parsed::parse_str_with_list(json, references).map_err(parse)?
        };
        let canonical = match main.independent_canonical_form(&known) {
            Ok(text) => text,
            Err(_) => main.canonical_form(),
        };
        let mut arena = Arena { nodes: Vec::new(), names: HashMap::new(), pending: HashMap::new() };
        for schema in &known {
            arena.announce(schema, None);
        }
        let root = arena.add(&main, None)?;
        let mut nodes = arena.nodes;
        settle_min_sizes(&mut nodes);
        Ok(Schema { nodes: nodes.into(), root, canonical: canonical.into() })
    }

    /// The type of the whole datum.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The type at `id`, which must come from this schema.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// How many types the schema has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A schema always has at least one type.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The Parsing Canonical Form (Avro specification, "Transforming into Parsing Canonical Form").
    pub fn canonical_form(&self) -> &str {
        &self.canonical
    }

    /// Looks through a union of null and one other type: `[null, T]` gives `(T, true)`, all else `(id, false)`.
    pub fn non_null(&self, id: NodeId) -> (NodeId, bool) {
        if let Kind::Union { branches } = &self.node(id).kind
            && let [a, b] = branches[..]
        {
            let null = |n: NodeId| matches!(self.node(n).kind, Kind::Null);
            match (null(a), null(b)) {
                (true, false) => return (b, true),
                (false, true) => return (a, true),
                _ => {}
            }
        }
        (id, false)
    }

    /// The type that `path` leads to through records, looking through nullable ones; `None` where a name is unknown.
    pub fn find(&self, path: &FieldPath) -> Option<NodeId> {
        let mut at = self.root;
        for segment in path.segments() {
            at = self.field(self.non_null(at).0, segment)?.1.node;
        }
        Some(at)
    }

    /// The field `name` of the record at `id`, with its index.
    pub fn field(&self, id: NodeId, name: &str) -> Option<(usize, &Field)> {
        match &self.node(id).kind {
            Kind::Record { fields } => fields.iter().enumerate().find(|(_, f)| &*f.name == name),
            _ => None,
        }
    }

    /// A short name of the type for messages: `string`, `array`, `[null, long]`, `retail.Order`.
    pub fn describe(&self, id: NodeId) -> String {
        let node = self.node(id);
        if let Some(name) = &node.name {
            return name.to_string();
        }
        match &node.kind {
            Kind::Union { branches } => {
                let names: Vec<_> = branches.iter().map(|b| self.describe(*b)).collect();
                format!("[{}]", names.join(", "))
            }
            kind => kind.name().to_owned(),
        }
    }
}

impl Kind {
    /// The name of the type in the Avro specification.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Fixed { .. } => "fixed",
            Kind::Enum { .. } => "enum",
            Kind::Array { .. } => "array",
            Kind::Map { .. } => "map",
            Kind::Union { .. } => "union",
            Kind::Record { .. } => "record",
        }
    }
}

struct Arena<'p> {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
    /// Named types of the references, which enter the arena only when something uses them.
    pending: HashMap<String, (&'p Parsed, Option<String>)>,
}

impl<'p> Arena<'p> {
    /// Notes every named type below `schema`, so that a reference to it can be resolved.
    fn announce(&mut self, schema: &'p Parsed, space: Option<&str>) {
        let own = schema.name().map(|n| n.fully_qualified_name(space).into_owned());
        if let Some(name) = &own
            && !matches!(schema, Parsed::Ref { .. })
        {
            self.pending.entry(name.fullname(None)).or_insert((schema, space.map(str::to_owned)));
        }
        let space = own.as_ref().and_then(Name::namespace).or(space);
        match schema {
            Parsed::Array(a) => self.announce(&a.items, space),
            Parsed::Map(m) => self.announce(&m.types, space),
            Parsed::Union(u) => u.variants().iter().for_each(|v| self.announce(v, space)),
            Parsed::Record(r) => r.fields.iter().for_each(|f| self.announce(&f.schema, space)),
            _ => {}
        }
    }

    fn push(&mut self, kind: Kind, logical: Option<Logical>) -> Result<NodeId, SchemaError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(SchemaError::TooLarge);
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { kind, logical, name: None, aliases: Box::default(), doc: None, min_size: 0 });
        Ok(id)
    }

    fn named(&mut self, schema: &Parsed, kind: Kind, space: Option<&str>) -> Result<NodeId, SchemaError> {
        let id = self.push(kind, None)?;
        if let Some(name) = schema.name() {
            let full = name.fully_qualified_name(space);
            let node = &mut self.nodes[id.0 as usize];
            node.name = Some(full.fullname(None).into());
            node.doc = schema.doc().map(|d| d.as_str().into());
            node.aliases =
                schema.aliases().into_iter().flatten().map(|a| a.fullname(full.namespace()).into()).collect();
            self.names.insert(full.fullname(None), id);
        }
        Ok(id)
    }

    fn fixed(
        &mut self,
        fixed: &FixedSchema,
        logical: Option<Logical>,
        space: Option<&str>,
    ) -> Result<NodeId, SchemaError> {
        let id = self.named(&Parsed::Fixed(fixed.clone()), Kind::Fixed { size: fixed.size }, space)?;
        self.nodes[id.0 as usize].logical = logical;
        Ok(id)
    }

    fn add(&mut self, schema: &Parsed, space: Option<&str>) -> Result<NodeId, SchemaError> {
        use Logical as L;
        match schema {
            Parsed::Null => self.push(Kind::Null, None),
            Parsed::Boolean => self.push(Kind::Boolean, None),
            Parsed::Int => self.push(Kind::Int, None),
            Parsed::Long => self.push(Kind::Long, None),
            Parsed::Float => self.push(Kind::Float, None),
            Parsed::Double => self.push(Kind::Double, None),
            Parsed::Bytes => self.push(Kind::Bytes, None),
            Parsed::String => self.push(Kind::String, None),
            Parsed::Date => self.push(Kind::Int, Some(L::Date)),
            Parsed::TimeMillis => self.push(Kind::Int, Some(L::TimeMillis)),
            Parsed::TimeMicros => self.push(Kind::Long, Some(L::TimeMicros)),
            Parsed::TimestampMillis => self.push(Kind::Long, Some(L::TimestampMillis)),
            Parsed::TimestampMicros => self.push(Kind::Long, Some(L::TimestampMicros)),
            Parsed::TimestampNanos => self.push(Kind::Long, Some(L::TimestampNanos)),
            Parsed::LocalTimestampMillis => self.push(Kind::Long, Some(L::LocalTimestampMillis)),
            Parsed::LocalTimestampMicros => self.push(Kind::Long, Some(L::LocalTimestampMicros)),
            Parsed::LocalTimestampNanos => self.push(Kind::Long, Some(L::LocalTimestampNanos)),
            Parsed::BigDecimal => self.push(Kind::Bytes, Some(L::BigDecimal)),
            Parsed::Decimal(d) => {
                let logical = Some(L::Decimal { precision: d.precision, scale: d.scale });
                match &d.inner {
                    InnerDecimalSchema::Bytes => self.push(Kind::Bytes, logical),
                    InnerDecimalSchema::Fixed(f) => self.fixed(f, logical, space),
                }
            }
            Parsed::Uuid(UuidSchema::String) => self.push(Kind::String, Some(L::Uuid)),
            Parsed::Uuid(UuidSchema::Bytes) => self.push(Kind::Bytes, Some(L::Uuid)),
            Parsed::Uuid(UuidSchema::Fixed(f)) if f.size != 16 => {
                Err(SchemaError::Logical(format!("a uuid on fixed needs 16 bytes, not {}", f.size)))
            }
            Parsed::Uuid(UuidSchema::Fixed(f)) => self.fixed(f, Some(L::Uuid), space),
            Parsed::Duration(f) if f.size != 12 => {
                Err(SchemaError::Logical(format!("a duration needs a fixed of 12 bytes, not {}", f.size)))
            }
            Parsed::Duration(f) => self.fixed(f, Some(L::Duration), space),
            Parsed::Fixed(f) => self.fixed(f, None, space),
            Parsed::Enum(e) => {
                let symbols = e.symbols.iter().map(|s| s.as_str().into()).collect();
                let default = e.default.as_deref().map(Into::into);
                self.named(schema, Kind::Enum { symbols, default }, space)
            }
            Parsed::Array(a) => {
                let items = self.add(&a.items, space)?;
                self.push(Kind::Array { items }, None)
            }
            Parsed::Map(m) => {
                let values = self.add(&m.types, space)?;
                self.push(Kind::Map { values }, None)
            }
            Parsed::Union(u) => {
                let branches = u.variants().iter().map(|v| self.add(v, space)).collect::<Result<_, _>>()?;
                self.push(Kind::Union { branches }, None)
            }
            Parsed::Record(r) => {
                // The name enters the arena before the fields do, so that a field can refer back to the record.
                let id = self.named(schema, Kind::Record { fields: Box::default() }, space)?;
                let full = r.name.fully_qualified_name(space);
                let fields = r
                    .fields
                    .iter()
                    .map(|f| {
                        Ok(Field {
                            name: f.name.as_str().into(),
                            aliases: f.aliases.iter().map(|a| a.as_str().into()).collect(),
                            doc: f.doc.as_deref().map(Into::into),
                            node: self.add(&f.schema, full.namespace())?,
                            default: f.default.clone(),
                            attributes: f.custom_attributes.clone(),
                        })
                    })
                    .collect::<Result<_, SchemaError>>()?;
                self.nodes[id.0 as usize].kind = Kind::Record { fields };
                Ok(id)
            }
            Parsed::Ref { name } => {
                let full = name.fully_qualified_name(space).fullname(None);
                if let Some(id) = self.names.get(&full) {
                    return Ok(*id);
                }
                let (schema, space) =
                    self.pending.get(&full).cloned().ok_or_else(|| SchemaError::UnknownType(full.clone()))?;
                self.add(schema, space.as_deref())
            }
        }
    }
}

/// Sets the minimum sizes. Collections and unions take at least the byte of their count or index; looking no further
/// keeps the sum exact where it matters: it is zero only for a type whose values never have bytes.
fn settle_min_sizes(nodes: &mut [Node]) {
    let mut sizes = vec![None; nodes.len()];
    for i in 0..nodes.len() {
        nodes[i].min_size = smallest(nodes, i, &mut sizes);
    }
}

fn smallest(nodes: &[Node], i: usize, sizes: &mut [Option<u64>]) -> u64 {
    if let Some(size) = sizes[i] {
        return size;
    }
    // A record that contains itself without an end has no values, so any size is right for it.
    sizes[i] = Some(0);
    let size = match &nodes[i].kind {
        Kind::Null => 0,
        Kind::Float => 4,
        Kind::Double => 8,
        Kind::Fixed { size } => *size as u64,
        Kind::Record { fields } => {
            fields.iter().fold(0u64, |sum, f| sum.saturating_add(smallest(nodes, f.node.0 as usize, sizes)))
        }
        _ => 1,
    };
    sizes[i] = Some(size);
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recursive_record_refers_to_itself() {
        let s = Schema::parse(
            r#"{"type":"record","name":"a.List","fields":[{"name":"v","type":"long"},{"name":"next","type":["null","List"]}]}"#,
        )
        .unwrap();
        let root = s.node(s.root());
        assert_eq!(root.name.as_deref(), Some("a.List"));
        assert_eq!(root.min_size, 2);
        assert_eq!(s.find(&FieldPath::parse("next.next.v")).map(|n| s.node(n).kind.name()), Some("long"));
        assert_eq!(s.find(&FieldPath::parse("next.none")), None);
    }

    #[test]
    fn references_define_named_types() {
        let money = r#"{"type":"record","name":"x.Money","fields":[{"name":"cents","type":"long"}]}"#;
        let order = r#"{"type":"record","name":"x.Order","fields":[{"name":"total","type":"x.Money"}]}"#;
        let s = Schema::parse_with_references(order, &[money]).unwrap();
        assert_eq!(s.find(&FieldPath::parse("total.cents")).map(|n| s.node(n).kind.name()), Some("long"));
        assert!(matches!(Schema::parse(order), Err(SchemaError::Parse(_) | SchemaError::UnknownType(_))));
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let error = Schema::parse("{\n  \"type\": long }").unwrap_err().to_string();
        assert!(error.contains("line 2 column 11"), "{error}");
    }

    #[test]
    fn an_endless_record_has_a_finite_minimum() {
        let s = Schema::parse(
            r#"{"type":"record","name":"E","fields":[{"name":"a","type":"E"},{"name":"b","type":"int"}]}"#,
        );
        if let Ok(s) = s {
            assert!(s.node(s.root()).min_size >= 1);
        }
    }

    #[test]
    fn a_long_chain_of_references_has_its_bytes_counted() {
        let link = |i: u32, inner: &str| {
            format!(r#"{{"type":"record","name":"R{i}","fields":[{{"name":"f","type":"{inner}"}}]}}"#)
        };
        let links: Vec<String> =
            (0..250).map(|i| link(i, &if i == 249 { "int".into() } else { format!("R{}", i + 1) })).collect();
        let links: Vec<&str> = links.iter().map(String::as_str).collect();
        let s = Schema::parse_with_references(r#"{"type":"array","items":"R0"}"#, &links).unwrap();
        assert!((0..s.len() as u32).all(|i| s.node(NodeId(i)).min_size == 1));
        let s = Schema::parse(
            r#"{"type":"record","name":"A","fields":[{"name":"u","type":["null",{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}]}]}"#,
        );
        let s = s.unwrap();
        assert!(
            (0..s.len() as u32)
                .all(|i| (s.node(NodeId(i)).min_size == 0) == matches!(s.node(NodeId(i)).kind, Kind::Null))
        );
    }
}
