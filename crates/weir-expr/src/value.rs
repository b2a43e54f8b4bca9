//! Values of expressions. Most borrow: from the payload (text, bytes, collections, records), from the program
//! (constants) or from the input (headers). Owned ones are shared, so that a copy never copies what it holds.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::slice;
use std::sync::Arc;

use jiff::SignedDuration;
use weir_avro::{Entries, Items, Kind, NodeId, Region, Schema, Slot};

use crate::error::EvalErrorKind;
use crate::number::{Decimal, cmp_int_double, cmp_uint_double};
use crate::read::{Read, load};
use crate::time::Timestamp;

/// The value of an expression.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A 64-bit integer without a sign.
    Uint(u64),
    /// A 64-bit float.
    Double(f64),
    /// An exact decimal number.
    Decimal(Decimal),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Blob<'a>),
    /// An instant.
    Timestamp(Timestamp),
    /// A length of time.
    Duration(SignedDuration),
    /// A type, by its CEL name or by the full name of the record.
    Type(Text<'a>),
    /// A list.
    List(List<'a>),
    /// A map.
    Map(Map<'a>),
    /// An Avro record.
    Record(Record<'a>),
}

/// Text or bytes that are borrowed or shared.
pub enum Shared<'a, T: ?Sized> {
    /// From the payload, the program or the input.
    Borrowed(&'a T),
    /// Made by an operation.
    Owned(Arc<T>),
}

/// Text of an expression.
pub type Text<'a> = Shared<'a, str>;
/// Bytes of an expression.
pub type Blob<'a> = Shared<'a, [u8]>;

impl<T: ?Sized> Clone for Shared<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Shared::Borrowed(value) => Shared::Borrowed(value),
            Shared::Owned(value) => Shared::Owned(Arc::clone(value)),
        }
    }
}

impl<T: ?Sized> Deref for Shared<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Shared::Borrowed(value) => value,
            Shared::Owned(value) => value,
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Shared<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Shared::Owned(text.into())
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Shared::Borrowed(text)
    }
}

/// A list of items.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// A constant of the program.
    Slice(&'a [Value<'a>]),
    /// Made by an operation.
    Owned(Arc<[Value<'a>]>),
    /// An array of the payload.
    Array(Collection<'a>),
}

/// A map of keys to values.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// A constant of the program.
    Slice(&'a [(Value<'a>, Value<'a>)]),
    /// Made by a literal.
    Owned(Arc<[(Value<'a>, Value<'a>)]>),
    /// A map of the payload. Where a key stands twice the last one counts, as in Avro's own readers.
    Entries(Collection<'a>),
    /// The headers of the record. Where a name stands twice the last one counts.
    Headers(&'a [(&'a str, Option<&'a [u8]>)]),
}

/// An array or a map of the payload, read lazily.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) region: Region<'a>,
    pub(crate) item: Read,
}

/// A record of the payload, read lazily.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) region: Region<'a>,
}

/// The work an evaluation may still do.
#[derive(Debug)]
pub(crate) struct Budget(Cell<u64>);

impl Budget {
    pub(crate) fn new(work: u64) -> Budget {
        Budget(Cell::new(work))
    }

    #[inline]
    pub(crate) fn spend(&self, work: u64) -> Result<(), EvalErrorKind> {
        let left = self.0.get().checked_sub(work).ok_or(EvalErrorKind::Budget)?;
        self.0.set(left);
        Ok(())
    }

    /// Pays for looking at this many bytes.
    #[inline]
    pub(crate) fn scan(&self, bytes: usize) -> Result<(), EvalErrorKind> {
        self.spend(bytes as u64 / 64)
    }
}

type Outcome<T> = Result<T, EvalErrorKind>;

impl<'a> Value<'a> {
    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of its type in CEL; `record` for every Avro record.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Decimal(_) => "decimal",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Record(_) => "record",
        }
    }

    /// The value of a slot that a walk over `schema` left for a field of this type; what cannot be read is null.
    pub fn of_slot(schema: &'a Schema, node: NodeId, slot: Slot<'a>) -> Value<'a> {
        match slot {
            Slot::Absent => Value::Null,
            slot => load(schema, Read::of(schema, schema.non_null(node).0), slot).unwrap_or(Value::Null),
        }
    }

    /// The order of two values of one type; `None` where there is none.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        self.order(other).ok().flatten()
    }

    pub(crate) fn text(text: impl Into<Text<'a>>) -> Value<'a> {
        Value::String(text.into())
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Value<'a> {
        Value::Bytes(Shared::Owned(bytes.into()))
    }

    pub(crate) fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Owned(items.into()))
    }

    /// The same value, borrowing what it would have to share.
    #[inline]
    pub(crate) fn reborrow(&'a self) -> Value<'a> {
        match self {
            Value::String(t) => Value::String(Shared::Borrowed(t)),
            Value::Bytes(b) => Value::Bytes(Shared::Borrowed(b)),
            Value::Type(t) => Value::Type(Shared::Borrowed(t)),
            Value::List(List::Owned(items)) => Value::List(List::Slice(items)),
            Value::Map(Map::Owned(entries)) => Value::Map(Map::Slice(entries)),
            other => other.clone(),
        }
    }

    /// A copy that borrows nothing; `None` if it would have to copy a part of a payload.
    pub(crate) fn constant(&self) -> Option<Value<'static>> {
        let text = |t: &Text<'_>| -> Text<'static> { Shared::Owned(Arc::from(&**t)) };
        let items = |items: &[Value<'_>]| items.iter().map(Value::constant).collect::<Option<Vec<_>>>();
        Some(match self {
            Value::Null => Value::Null,
            Value::Bool(v) => Value::Bool(*v),
            Value::Int(v) => Value::Int(*v),
            Value::Uint(v) => Value::Uint(*v),
            Value::Double(v) => Value::Double(*v),
            Value::Decimal(v) => Value::Decimal(*v),
            Value::String(t) => Value::String(text(t)),
            Value::Bytes(b) => Value::bytes(b),
            Value::Timestamp(v) => Value::Timestamp(*v),
            Value::Duration(v) => Value::Duration(*v),
            Value::Type(t) => Value::Type(text(t)),
            Value::List(List::Slice(list)) => Value::list(items(list)?),
            Value::List(List::Owned(list)) => Value::list(items(list)?),
            Value::Map(map @ (Map::Slice(_) | Map::Owned(_))) => {
                let entries = map.literal().iter().map(|(k, v)| Some((k.constant()?, v.constant()?)));
                Value::Map(Map::Owned(entries.collect::<Option<Vec<_>>>()?.into()))
            }
            Value::List(List::Array(_)) | Value::Map(_) | Value::Record(_) => return None,
        })
    }

    /// CEL equality: numbers by their mathematical value, collections deeply, different types never.
    pub(crate) fn equals(&self, other: &Value<'_>, budget: &Budget) -> Outcome<bool> {
        budget.spend(1)?;
        Ok(match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b)) => {
                budget.scan(a.len().min(b.len()))?;
                **a == **b
            }
            (Value::Bytes(a), Value::Bytes(b)) => **a == **b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => **a == **b,
            (Value::List(a), Value::List(b)) => {
                if a.len(budget)? != b.len(budget)? {
                    return Ok(false);
                }
                for (x, y) in a.iter().zip(b.iter()) {
                    if !x?.equals(&y?, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len(budget)? != b.len(budget)? {
                    return Ok(false);
                }
                for key in a.keys(budget)? {
                    let key = key?;
                    let (Some(x), Some(y)) = (a.get(&key, budget)?, b.get(&key, budget)?) else { return Ok(false) };
                    if !x.equals(&y, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Record(a), Value::Record(b)) if a.region.node == b.region.node => {
                for i in 0..a.width() {
                    if !a.field(i, budget)?.equals(&b.field(i, budget)?, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => self.number_order(other) == Some(Some(Ordering::Equal)),
        })
    }

    /// The order of two numbers; the inner `None` is for NaN, the outer one for what is no number.
    fn number_order(&self, other: &Value<'_>) -> Option<Option<Ordering>> {
        use Value::{Decimal as Dec, Double, Int, Uint};
        Some(match (self, other) {
            (Int(a), Int(b)) => Some(a.cmp(b)),
            (Uint(a), Uint(b)) => Some(a.cmp(b)),
            (Double(a), Double(b)) => a.partial_cmp(b),
            (Dec(a), Dec(b)) => Some(Decimal::cmp(*a, *b)),
            (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Int(a), Double(b)) => cmp_int_double(*a, *b),
            (Uint(a), Double(b)) => cmp_uint_double(*a, *b),
            (Dec(a), Int(b)) => Some(Decimal::cmp(*a, Decimal::from(*b))),
            (Dec(a), Uint(b)) => Some(Decimal::cmp(*a, Decimal::from(*b))),
            (Dec(a), Double(b)) => a.cmp_double(*b),
            (Int(_) | Uint(_) | Double(_), Int(_) | Uint(_) | Dec(_)) => {
                other.number_order(self)?.map(Ordering::reverse)
            }
            _ => return None,
        })
    }

    /// CEL order; `None` inside for NaN.
    pub(crate) fn order(&self, other: &Value<'_>) -> Outcome<Option<Ordering>> {
        Ok(match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some((**a).cmp(&**b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            _ => match self.number_order(other) {
                Some(order) => order,
                None => {
                    let found = if self.number_order(self).is_some() { other } else { self };
                    return Err(found.unfit("comparison"));
                }
            },
        })
    }

    /// The error of an operation that met this value.
    #[cold]
    pub(crate) fn unfit(&self, op: &'static str) -> EvalErrorKind {
        match self {
            Value::Null => EvalErrorKind::Null,
            other => EvalErrorKind::NoOverload { op, found: other.type_name() },
        }
    }
}

impl<'a> List<'a> {
    pub(crate) fn iter<'i>(&'i self) -> Walk<'i, 'a> {
        match self {
            List::Slice(items) => Walk::Slice(items.iter()),
            List::Owned(items) => Walk::Owned(items.iter()),
            List::Array(array) => Walk::Array(array.region.items(array.schema), *array),
        }
    }

    pub(crate) fn len(&self, budget: &Budget) -> Outcome<usize> {
        Ok(match self {
            List::Slice(items) => items.len(),
            List::Owned(items) => items.len(),
            List::Array(array) => array.count(budget)?,
        })
    }

    pub(crate) fn get(&self, index: usize, budget: &Budget) -> Outcome<Option<Value<'a>>> {
        match self {
            List::Slice(items) => Ok(items.get(index).map(|v| v.reborrow())),
            List::Owned(items) => Ok(items.get(index).cloned()),
            List::Array(array) => {
                budget.scan(array.region.bytes.len())?;
                budget.spend(index as u64)?;
                let slot = array.region.items(array.schema).nth(index);
                slot.map(|slot| load(array.schema, array.item, slot)).transpose()
            }
        }
    }

    pub(crate) fn contains(&self, value: &Value<'_>, budget: &Budget) -> Outcome<bool> {
        for item in self.iter() {
            if item?.equals(value, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl<'a> Collection<'a> {
    fn count(self, budget: &Budget) -> Outcome<usize> {
        budget.scan(self.region.bytes.len())?;
        Ok(self.region.count(self.schema))
    }
}

impl<'a> Map<'a> {
    /// The entries of a literal.
    fn literal(&self) -> &[(Value<'a>, Value<'a>)] {
        match self {
            Map::Slice(entries) => entries,
            Map::Owned(entries) => entries,
            _ => &[],
        }
    }

    /// How many entries; those of a payload as they were written.
    pub(crate) fn len(&self, budget: &Budget) -> Outcome<usize> {
        Ok(match self {
            Map::Slice(entries) => entries.len(),
            Map::Owned(entries) => entries.len(),
            Map::Entries(map) => map.count(budget)?,
            Map::Headers(_) => self.keys(budget)?.count(),
        })
    }

    pub(crate) fn keys<'i>(&'i self, budget: &Budget) -> Outcome<Walk<'i, 'a>> {
        Ok(match self {
            Map::Slice(entries) => Walk::Keys(entries.iter()),
            Map::Owned(entries) => Walk::OwnedKeys(entries.iter()),
            Map::Entries(map) => Walk::Entries(map.region.entries(map.schema)),
            Map::Headers(all) => {
                // Each name is looked for in all headers behind it.
                budget.spend((all.len() as u64).saturating_pow(2) / 16)?;
                Walk::Headers(all)
            }
        })
    }

    /// Whether there is an entry of this key. Its value is not looked at.
    pub(crate) fn has(&self, key: &Value<'_>, budget: &Budget) -> Outcome<bool> {
        if let (Map::Headers(all), Value::String(key)) = (self, key) {
            budget.spend(all.len() as u64)?;
            return Ok(all.iter().any(|(name, _)| *name == &**key));
        }
        for known in self.keys(budget)? {
            if known?.equals(key, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn get(&self, key: &Value<'_>, budget: &Budget) -> Outcome<Option<Value<'a>>> {
        match self {
            Map::Slice(entries) => {
                for (k, v) in *entries {
                    if k.equals(key, budget)? {
                        return Ok(Some(v.reborrow()));
                    }
                }
                Ok(None)
            }
            Map::Owned(entries) => {
                for (k, v) in entries.iter() {
                    if k.equals(key, budget)? {
                        return Ok(Some(v.clone()));
                    }
                }
                Ok(None)
            }
            Map::Entries(map) => {
                let Value::String(key) = key else { return Ok(None) };
                budget.scan(map.region.bytes.len())?;
                let mut found = None;
                let mut entries = 0;
                for (k, slot) in map.region.entries(map.schema) {
                    entries += 1;
                    if *k == **key {
                        found = Some(slot);
                    }
                }
                budget.spend(entries)?;
                found.map(|slot| load(map.schema, map.item, slot)).transpose()
            }
            Map::Headers(all) => {
                let Value::String(key) = key else { return Ok(None) };
                budget.spend(all.len() as u64)?;
                let Some((_, value)) = all.iter().rev().find(|(name, _)| *name == &**key) else { return Ok(None) };
                match value {
                    None => Ok(Some(Value::Null)),
                    Some(bytes) => {
                        let text = std::str::from_utf8(bytes).map_err(|_| EvalErrorKind::Utf8)?;
                        Ok(Some(Value::text(text)))
                    }
                }
            }
        }
    }
}

/// The items of a list or the keys of a map, one after the other and without an allocation.
pub(crate) enum Walk<'i, 'a> {
    Slice(slice::Iter<'a, Value<'a>>),
    Owned(slice::Iter<'i, Value<'a>>),
    Array(Items<'a>, Collection<'a>),
    Keys(slice::Iter<'a, (Value<'a>, Value<'a>)>),
    OwnedKeys(slice::Iter<'i, (Value<'a>, Value<'a>)>),
    Entries(Entries<'a>),
    /// The headers that are left. A name that comes again later is passed over.
    Headers(&'a [(&'a str, Option<&'a [u8]>)]),
}

impl<'a> Iterator for Walk<'_, 'a> {
    type Item = Outcome<Value<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self {
            Walk::Slice(items) => Ok(items.next()?.reborrow()),
            Walk::Owned(items) => Ok(items.next()?.clone()),
            Walk::Array(items, array) => load(array.schema, array.item, items.next()?),
            Walk::Keys(entries) => Ok(entries.next()?.0.reborrow()),
            Walk::OwnedKeys(entries) => Ok(entries.next()?.0.clone()),
            Walk::Entries(entries) => Ok(Value::text(entries.next()?.0)),
            Walk::Headers(left) => loop {
                let ((name, _), rest) = left.split_first()?;
                *left = rest;
                if rest.iter().all(|(later, _)| later != name) {
                    break Ok(Value::text(*name));
                }
            },
        })
    }
}

impl<'a> Record<'a> {
    fn width(self) -> usize {
        match &self.schema.node(self.region.node).kind {
            Kind::Record { fields } => fields.len(),
            _ => 0,
        }
    }

    /// The full Avro name.
    pub(crate) fn name(self) -> &'a str {
        self.schema.node(self.region.node).name.as_deref().unwrap_or_default()
    }

    /// The field at `index` of the schema.
    fn field(self, index: usize, budget: &Budget) -> Outcome<Value<'a>> {
        match &self.schema.node(self.region.node).kind {
            Kind::Record { fields } if index < fields.len() => {
                self.read(index, Read::of(self.schema, fields[index].node), budget)
            }
            _ => Err(EvalErrorKind::Input),
        }
    }

    /// The field at `index` with its meaning already known.
    pub(crate) fn read(self, index: usize, read: Read, budget: &Budget) -> Outcome<Value<'a>> {
        load(self.schema, read, self.slot(index, budget)?)
    }

    /// The field at `index` as it is in the payload.
    pub(crate) fn slot(self, index: usize, budget: &Budget) -> Outcome<Slot<'a>> {
        // Fields are found by skipping the ones before them.
        budget.spend(1 + self.region.bytes.len() as u64 / 256)?;
        Ok(self.region.field(self.schema, index))
    }

    /// The field of this name; `None` if the record has none.
    pub(crate) fn named(self, name: &str, budget: &Budget) -> Outcome<Option<Value<'a>>> {
        self.schema.field(self.region.node, name).map(|(index, _)| self.field(index, budget)).transpose()
    }
}
