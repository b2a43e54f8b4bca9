//! What an expression may refer to: the types of `this`, `key`, `headers` and `now`, and the fields that programs
//! want from a walk. No values here.

use std::fmt;

use weir_avro::{FieldPath, Kind, Logical, NodeId, Schema};

/// The type of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Known only at run time.
    Dyn,
    /// Only null.
    Null,
    /// A boolean.
    Bool,
    /// A 64-bit integer.
    Int,
    /// A 64-bit integer without a sign.
    Uint,
    /// A 64-bit float.
    Double,
    /// An exact decimal number of up to 38 digits.
    Decimal,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// An instant from year 1 to year 9999, to the nanosecond.
    Timestamp,
    /// A length of time, to the nanosecond.
    Duration,
    /// The type of a value as a value.
    Type,
    /// A list of items.
    List(Box<Type>),
    /// A map of keys to values.
    Map(Box<Type>, Box<Type>),
    /// An Avro record.
    Record(Source, NodeId, Box<str>),
    /// An Avro union of several types besides null; behaves like [`Type::Dyn`], but its fields are checked.
    Union(Source, NodeId),
    /// Null or a value of the type inside, which is none of `Dyn`, `Null`, `Union` and `Nullable`.
    Nullable(Box<Type>),
}

/// Which schema an Avro type belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The schema of the value.
    This,
    /// The schema of the key.
    Key,
}

impl Type {
    /// The type that values of an Avro type have in an expression.
    pub fn of(schema: &Schema, source: Source, id: NodeId) -> Type {
        let (inner, nullable) = schema.non_null(id);
        if nullable {
            return Type::of(schema, source, inner).nullable();
        }
        let node = schema.node(id);
        use Logical as L;
        match (&node.kind, node.logical) {
            (Kind::Int | Kind::Long, Some(L::TimeMillis | L::TimeMicros)) => Type::Duration,
            (Kind::Int | Kind::Long, Some(_)) => Type::Timestamp,
            (Kind::Bytes | Kind::Fixed { .. }, Some(L::Decimal { .. } | L::BigDecimal)) => Type::Decimal,
            (Kind::Bytes | Kind::Fixed { .. }, Some(L::Uuid)) => Type::String,
            (Kind::Null, _) => Type::Null,
            (Kind::Boolean, _) => Type::Bool,
            (Kind::Int | Kind::Long, None) => Type::Int,
            (Kind::Float | Kind::Double, _) => Type::Double,
            (Kind::String | Kind::Enum { .. }, _) => Type::String,
            (Kind::Bytes | Kind::Fixed { .. }, _) => Type::Bytes,
            (Kind::Array { items }, _) => Type::List(Box::new(Type::of(schema, source, *items))),
            (Kind::Map { values }, _) => Type::Map(Box::new(Type::String), Box::new(Type::of(schema, source, *values))),
            (Kind::Record { .. }, _) => Type::Record(source, id, node.name.clone().unwrap_or_default()),
            (Kind::Union { branches }, _) => match branches[..] {
                [only] => Type::of(schema, source, only),
                _ => Type::Union(source, id),
            },
        }
    }

    /// This type or null.
    pub fn nullable(self) -> Type {
        match self {
            Type::Dyn | Type::Null | Type::Nullable(_) | Type::Union(..) => self,
            other => Type::Nullable(Box::new(other)),
        }
    }

    /// The type without its null.
    pub fn non_null(&self) -> &Type {
        match self {
            Type::Nullable(inner) => inner,
            other => other,
        }
    }

    pub(crate) fn is_dynamic(&self) -> bool {
        matches!(self, Type::Dyn | Type::Union(..))
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Uint | Type::Double | Type::Decimal)
    }

    /// Whether values of the two types can be equal.
    pub(crate) fn comparable(&self, other: &Type) -> bool {
        match (self.non_null(), other.non_null()) {
            (Type::Null, _) | (_, Type::Null) => true,
            (a, b) if a.is_dynamic() || b.is_dynamic() => true,
            (a, b) if a.is_number() && b.is_number() => true,
            (Type::List(a), Type::List(b)) => a.comparable(b),
            (Type::Map(k, v), Type::Map(l, w)) => k.comparable(l) && v.comparable(w),
            (a, b) => a == b,
        }
    }

    /// The narrowest type that holds the values of both.
    pub(crate) fn join(self, other: Type) -> Type {
        match (self, other) {
            (a, b) if a == b => a,
            (Type::Null, b) | (b, Type::Null) => b.nullable(),
            (Type::Nullable(a), b) if *a == b => Type::Nullable(a),
            (b, Type::Nullable(a)) if *a == b => Type::Nullable(a),
            (Type::List(a), Type::List(b)) => Type::List(Box::new(a.join(*b))),
            (Type::Map(k, v), Type::Map(l, w)) => Type::Map(Box::new(k.join(*l)), Box::new(v.join(*w))),
            _ => Type::Dyn,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Dyn => "dyn",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::Decimal => "decimal",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "timestamp",
            Type::Duration => "duration",
            Type::Type => "type",
            Type::Union(..) => "union",
            Type::List(item) => return write!(f, "list({item})"),
            Type::Map(key, value) => return write!(f, "map({key}, {value})"),
            Type::Record(_, _, name) => return f.write_str(name),
            Type::Nullable(inner) => return write!(f, "nullable {inner}"),
        })
    }
}

/// What the key of a record is. Any key may be null.
#[derive(Clone, Copy, Debug, Default)]
pub enum KeyType<'s> {
    /// Always null: `key` can only be compared with null.
    Null,
    /// UTF-8 text, handed in as [`Slot::Str`](weir_avro::Slot::Str).
    #[default]
    String,
    /// Bytes, handed in as [`Slot::Bytes`](weir_avro::Slot::Bytes).
    Bytes,
    /// A datum of a schema, handed in as the slot of its root.
    Avro(&'s Schema),
}

/// What an expression is compiled against.
#[derive(Clone, Debug)]
pub struct Env<'s> {
    /// The schema that the payload is walked with and the type of `this` in it.
    pub this: (&'s Schema, NodeId),
    /// Where `this` is, from the root of the datum: empty when `this` is the whole datum.
    pub this_prefix: FieldPath,
    /// The type of `key`.
    pub key: KeyType<'s>,
    /// What an expression may cost.
    pub limits: Limits,
}

impl<'s> Env<'s> {
    /// `this` is the whole datum, the key is text, the limits are the usual ones.
    pub fn new(schema: &'s Schema) -> Env<'s> {
        Env {
            this: (schema, schema.root()),
            this_prefix: FieldPath::root(),
            key: KeyType::String,
            limits: Limits::default(),
        }
    }

    /// `this` is the field at `path`; `None` where the schema has no such field.
    pub fn at(schema: &'s Schema, path: FieldPath) -> Option<Env<'s>> {
        let node = schema.find(&path)?;
        Some(Env { this: (schema, node), this_prefix: path, ..Env::new(schema) })
    }
}

/// What an expression may cost. A unit of cost is one operation, one visited item or 64 bytes of scanned text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest source, in bytes.
    pub source: usize,
    /// How many items an array or map of the payload is taken to have when the cost is computed.
    pub items: u64,
    /// How many bytes a text of the payload is taken to have when the cost is computed.
    pub text: u64,
    /// The highest cost. A program whose bound is above it does not compile; one that does more work at run time,
    /// because a payload holds more than was assumed, ends with [`EvalErrorKind::Budget`](crate::EvalErrorKind).
    pub cost: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { source: 16 * 1024, items: 200, text: 1_024, cost: 10_000_000 }
    }
}

/// The most work an expression does, in the units of [`Limits`], for payloads within the assumed sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u64);

/// The fields that a set of programs reads: field `i` of [`Wanted::paths`] is slot `i` of a walk.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    paths: Vec<FieldPath>,
}

impl Wanted {
    /// Nothing wanted yet.
    pub fn new() -> Wanted {
        Wanted::default()
    }

    /// The slot of a field, which is taken up if it is new.
    pub fn intern(&mut self, path: FieldPath) -> usize {
        match self.slot(&path) {
            Some(slot) => slot,
            None => {
                self.paths.push(path);
                self.paths.len() - 1
            }
        }
    }

    /// The slot of a field, if it is wanted.
    pub fn slot(&self, path: &FieldPath) -> Option<usize> {
        self.paths.iter().position(|p| p == path)
    }

    /// The wanted fields in the order of their slots, for [`Walker::new`](weir_avro::Walker::new).
    pub fn paths(&self) -> &[FieldPath] {
        &self.paths
    }

    /// Forgets the fields from slot `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.paths.truncate(len);
    }
}
