//! The walker: one pass over the bytes of a datum that validates all of it and keeps only what is wanted.
//!
//! A datum costs time in proportion to its own bytes. A declared count is compared with the bytes that are left
//! and the smallest size of an item before anything is done with it, and items without bytes are not visited one by
//! one. Nothing here allocates but a fault.

use std::fmt;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::schema::{Kind, Logical, NodeId, Schema};
use crate::slot::{FieldPath, Region, Slot};

/// What a datum may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most levels of records, arrays and maps inside each other.
    pub depth: u32,
    /// The most values that collections, unions and nested records of one datum may hold together.
    pub items: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: 64, items: 4_000_000 }
    }
}

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It ends in the middle of a value.
    Truncated,
    /// Bytes follow the datum.
    TrailingBytes,
    /// A number takes more than ten bytes.
    VarintTooLong,
    /// An int does not fit 32 bits.
    IntOutOfRange,
    /// A length is below zero.
    NegativeLength,
    /// A length reaches beyond the end.
    LengthBeyondEnd,
    /// A boolean is neither 0 nor 1.
    BadBoolean,
    /// A string is not UTF-8.
    BadUtf8,
    /// There is no symbol of this index.
    EnumOutOfRange,
    /// There is no branch of this index.
    UnionOutOfRange,
    /// A block claims more items than bytes are left for.
    CountBeyondEnd,
    /// The size of a block is not what its items took.
    BadBlockSize,
    /// Values nest deeper than the limit.
    TooDeep,
    /// There are more values than the limit.
    TooManyItems,
    /// A uuid is not one (RFC 4122 text form or 16 bytes).
    BadUuid,
    /// A big-decimal does not contain a number and a scale.
    BadBigDecimal,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Truncated => "payload ends inside a value",
            FaultKind::TrailingBytes => "bytes follow the end of the datum",
            FaultKind::VarintTooLong => "number is longer than ten bytes",
            FaultKind::IntOutOfRange => "int does not fit 32 bits",
            FaultKind::NegativeLength => "length is negative",
            FaultKind::LengthBeyondEnd => "length reaches beyond the payload",
            FaultKind::BadBoolean => "boolean is neither 0 nor 1",
            FaultKind::BadUtf8 => "string is not valid UTF-8",
            FaultKind::EnumOutOfRange => "enum index has no symbol",
            FaultKind::UnionOutOfRange => "union index has no branch",
            FaultKind::CountBeyondEnd => "block claims more items than the payload can hold",
            FaultKind::BadBlockSize => "block size differs from the size of its items",
            FaultKind::TooDeep => "values nest too deep",
            FaultKind::TooManyItems => "payload holds too many values",
            FaultKind::BadUuid => "not a uuid",
            FaultKind::BadBigDecimal => "big-decimal holds no number and scale",
        })
    }
}

/// Where and why a payload is no datum of its schema. It never holds a value of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} in {path}")]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The byte at which the value starts that is at fault, from the start of the datum.
    pub offset: usize,
    /// The field, as `a.b[3].c`; entries of a map are counted like items. `this` is the datum itself.
    pub path: String,
}

/// Why a walker could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WalkerError {
    /// A wanted field is not in the schema.
    #[error("the schema has no field {0}; use a field of the schema")]
    UnknownField(FieldPath),
}

/// A fault on its way up, which gains a segment of its path at each level.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) kind: FaultKind,
    offset: usize,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Field(Box<str>),
    Index(u64),
}

pub(crate) type Fail = Box<Failing>;

impl Failing {
    #[cold]
    pub(crate) fn new(kind: FaultKind, offset: usize) -> Fail {
        Box::new(Failing { kind, offset, segments: Vec::new() })
    }

    #[cold]
    fn in_field(mut self: Box<Self>, name: &str) -> Fail {
        self.segments.push(Segment::Field(name.into()));
        self
    }

    #[cold]
    fn at_index(mut self: Box<Self>, index: u64) -> Fail {
        self.segments.push(Segment::Index(index));
        self
    }

    #[cold]
    pub(crate) fn finish(&self) -> Fault {
        let mut path = String::new();
        for segment in self.segments.iter().rev() {
            match segment {
                Segment::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Segment::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        if path.is_empty() || path.starts_with('[') {
            path.insert_str(0, "this");
        }
        Fault { kind: self.kind, offset: self.offset, path }
    }
}

/// What is left of the [`Limits`] during one walk.
#[derive(Debug)]
pub(crate) struct Guard {
    depth: u32,
    items: u64,
}

impl Guard {
    pub(crate) fn new(limits: Limits) -> Guard {
        Guard { depth: limits.depth, items: limits.items }
    }

    #[inline]
    fn spend(&mut self, items: u64, at: usize) -> Result<(), Fail> {
        match self.items.checked_sub(items) {
            Some(left) => {
                self.items = left;
                Ok(())
            }
            None => Err(Failing::new(FaultKind::TooManyItems, at)),
        }
    }

    #[inline]
    fn enter(&mut self, at: usize) -> Result<(), Fail> {
        match self.depth.checked_sub(1) {
            Some(left) => {
                self.depth = left;
                Ok(())
            }
            None => Err(Failing::new(FaultKind::TooDeep, at)),
        }
    }
}

/// A schema compiled for a set of wanted fields.
#[derive(Debug)]
pub struct Walker {
    schema: Arc<Schema>,
    root: Step,
    blocks: Vec<Block>,
    slots: usize,
    limits: Limits,
}

/// The fields of a record that has something wanted in it.
#[derive(Debug, Default)]
struct Block {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: Box<str>,
    node: NodeId,
    op: Op,
    /// Which branch of a union with null is null, where the field is one.
    null: Option<u8>,
    /// Where the value goes; [`UNWANTED`] where nobody looks at it.
    slot: u32,
}

/// A slot that no walker has.
const UNWANTED: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
enum Op {
    Boolean,
    Int,
    Long,
    Double,
    String,
    /// A string that nobody looks at.
    SkipString,
    /// A record with something wanted in it, by its block.
    Record(u32),
    /// Anything else, which the general reader takes.
    Any,
}

impl Walker {
    /// Compiles `schema` so that slot `i` of a walk holds the field `wanted[i]`. A path that is given again is a place
    /// kept for the caller: only its first slot is filled, the others stay [`Slot::Absent`].
    ///
    /// # Errors
    /// [`WalkerError::UnknownField`] for a path that does not lead through records to a field.
    pub fn new(schema: Arc<Schema>, wanted: &[FieldPath], limits: Limits) -> Result<Walker, WalkerError> {
        let mut walker = Walker {
            root: Step { name: Box::default(), node: schema.root(), op: Op::Any, null: None, slot: UNWANTED },
            schema,
            blocks: Vec::new(),
            slots: wanted.len(),
            limits,
        };
        let paths: Vec<(Vec<&str>, u32)> =
            wanted.iter().enumerate().map(|(i, p)| (p.segments().collect(), i as u32)).collect();
        for path in wanted {
            if walker.schema.find(path).is_none() {
                return Err(WalkerError::UnknownField(path.clone()));
            }
        }
        let root = walker.schema.root();
        walker.root = walker.step("", root, &paths);
        Ok(walker)
    }

    /// The schema the walker reads.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn step(&mut self, name: &str, node: NodeId, paths: &[(Vec<&str>, u32)]) -> Step {
        let schema = self.schema.clone();
        let (inner, nullable) = schema.non_null(node);
        let null = match &schema.node(node).kind {
            Kind::Union { branches } if nullable => branches.iter().position(|b| *b != inner).map(|i| i as u8),
            _ => None,
        };
        let slot = paths.iter().find(|(p, _)| p.is_empty()).map_or(UNWANTED, |(_, slot)| *slot);
        let target = schema.node(inner);
        let op = match &target.kind {
            Kind::Boolean => Op::Boolean,
            Kind::Int => Op::Int,
            Kind::Long => Op::Long,
            Kind::Double => Op::Double,
            Kind::String if target.logical.is_none() && slot == UNWANTED => Op::SkipString,
            Kind::String if target.logical.is_none() => Op::String,
            Kind::Record { fields } if paths.iter().any(|(p, _)| !p.is_empty()) => {
                let steps = fields
                    .iter()
                    .map(|field| {
                        let below: Vec<_> = paths
                            .iter()
                            .filter(|(p, _)| p.first() == Some(&&*field.name))
                            .map(|(p, s)| (p[1..].to_vec(), *s))
                            .collect();
                        self.step(&field.name, field.node, &below)
                    })
                    .collect();
                self.blocks.push(Block { steps });
                Op::Record(self.blocks.len() as u32 - 1)
            }
            _ => Op::Any,
        };
        let (node, null) = if matches!(op, Op::Any) { (node, None) } else { (inner, null) };
        Step { name: name.into(), node, op, null, slot }
    }

    /// Validates `payload` as one datum and fills `slots` with the wanted fields, in the order they were given.
    ///
    /// # Errors
    /// [`Fault`] at the first byte that does not fit the schema; also for bytes behind the datum and for a datum
    /// beyond the limits. The slots are then meaningless.
    pub fn walk<'a>(&'a self, payload: &'a [u8], slots: &mut Vec<Slot<'a>>) -> Result<(), Fault> {
        slots.clear();
        slots.resize(self.slots, Slot::Absent);
        let mut cursor = Cursor::new(payload);
        let mut guard = Guard::new(self.limits);
        self.take(&self.root, &mut cursor, &mut guard, slots).map_err(|fail| fail.finish())?;
        if cursor.left() > 0 {
            return Err(Failing::new(FaultKind::TrailingBytes, cursor.at()).finish());
        }
        Ok(())
    }

    /// Inlined into the loop over a record's fields, which is where events spend their time.
    #[inline(always)]
    fn take<'a>(
        &'a self,
        step: &'a Step,
        cursor: &mut Cursor<'a>,
        guard: &mut Guard,
        slots: &mut [Slot<'a>],
    ) -> Result<(), Fail> {
        let slot = 'value: {
            if let Some(null) = step.null {
                let start = cursor.at();
                match cursor.long().map_err(|kind| Failing::new(kind, start))? {
                    n if n == i64::from(null) => break 'value Slot::Null,
                    0 | 1 => {}
                    _ => return Err(Failing::new(FaultKind::UnionOutOfRange, start)),
                }
            }
            let start = cursor.at();
            let failing = |kind| Failing::new(kind, start);
            match step.op {
                Op::Boolean => Slot::Bool(cursor.boolean().map_err(failing)?),
                Op::Int => Slot::Long(cursor.int().map_err(failing)?),
                Op::Long => Slot::Long(cursor.long().map_err(failing)?),
                Op::Double => Slot::Double(f64::from_le_bytes(cursor.array().map_err(failing)?)),
                Op::String => Slot::Str(cursor.text().map_err(failing)?),
                Op::SkipString => return cursor.skip_text().map_err(failing),
                Op::Record(block) => self.record(block, step.node, cursor, guard, slots)?,
                Op::Any => read_value(&self.schema, step.node, cursor, guard)?,
            }
        };
        if let Some(place) = slots.get_mut(step.slot as usize) {
            *place = slot;
        }
        Ok(())
    }

    fn record<'a>(
        &'a self,
        block: u32,
        node: NodeId,
        cursor: &mut Cursor<'a>,
        guard: &mut Guard,
        slots: &mut [Slot<'a>],
    ) -> Result<Slot<'a>, Fail> {
        let start = cursor.at();
        guard.enter(start)?;
        // A copy that the loop can keep in registers.
        let mut own = *cursor;
        for inner in &self.blocks[block as usize].steps {
            if let Err(fail) = self.take(inner, &mut own, guard, slots) {
                return Err(fail.in_field(&inner.name));
            }
        }
        *cursor = own;
        guard.depth += 1;
        Ok(Slot::Region(Region { node, bytes: cursor.since(start) }))
    }
}

/// Validates `payload` as one datum of `schema` and keeps nothing of it.
pub(crate) fn validate(schema: &Schema, payload: &[u8], limits: Limits) -> Result<(), Fault> {
    let mut cursor = Cursor::new(payload);
    read_value(schema, schema.root(), &mut cursor, &mut Guard::new(limits)).map_err(|fail| fail.finish())?;
    if cursor.left() > 0 {
        return Err(Failing::new(FaultKind::TrailingBytes, cursor.at()).finish());
    }
    Ok(())
}

/// Reads the head of a block: how many items, and their size in bytes where it is given. Zero items end a collection.
pub(crate) fn block(cursor: &mut Cursor<'_>) -> Result<(u64, Option<usize>), FaultKind> {
    let count = cursor.long()?;
    if count >= 0 {
        return Ok((count as u64, None));
    }
    let size = cursor.long()?;
    let size = usize::try_from(size).map_err(|_| FaultKind::NegativeLength)?;
    if size > cursor.left() {
        return Err(FaultKind::LengthBeyondEnd);
    }
    Ok((count.unsigned_abs(), Some(size)))
}

/// Reads and validates any value. A union gives the value of its branch.
pub(crate) fn read_value<'a>(
    schema: &'a Schema,
    id: NodeId,
    cursor: &mut Cursor<'a>,
    guard: &mut Guard,
) -> Result<Slot<'a>, Fail> {
    let start = cursor.at();
    let failing = |kind| Failing::new(kind, start);
    guard.spend(1, start)?;
    let node = schema.node(id);
    Ok(match &node.kind {
        Kind::Null => Slot::Null,
        Kind::Boolean => Slot::Bool(cursor.boolean().map_err(failing)?),
        Kind::Int => Slot::Long(cursor.int().map_err(failing)?),
        Kind::Long => Slot::Long(cursor.long().map_err(failing)?),
        Kind::Float => Slot::Double(f64::from(f32::from_le_bytes(cursor.array().map_err(failing)?))),
        Kind::Double => Slot::Double(f64::from_le_bytes(cursor.array().map_err(failing)?)),
        Kind::Bytes => {
            let bytes = cursor.blob().map_err(failing)?;
            match node.logical {
                Some(Logical::Uuid) if bytes.len() != 16 => return Err(failing(FaultKind::BadUuid)),
                Some(Logical::BigDecimal) => big_decimal(bytes).map_err(failing)?,
                _ => {}
            }
            Slot::Bytes(bytes)
        }
        Kind::String => {
            let text = cursor.text().map_err(failing)?;
            if node.logical == Some(Logical::Uuid) && !is_uuid(text) {
                return Err(failing(FaultKind::BadUuid));
            }
            Slot::Str(text)
        }
        Kind::Fixed { size } => Slot::Bytes(cursor.take(*size).map_err(failing)?),
        Kind::Enum { symbols, .. } => {
            let index = cursor.long().map_err(failing)?;
            match usize::try_from(index).ok().and_then(|i| symbols.get(i)) {
                Some(symbol) => Slot::Str(symbol),
                None => return Err(failing(FaultKind::EnumOutOfRange)),
            }
        }
        Kind::Union { branches } => {
            let index = cursor.long().map_err(failing)?;
            let Some(branch) = usize::try_from(index).ok().and_then(|i| branches.get(i)) else {
                return Err(failing(FaultKind::UnionOutOfRange));
            };
            read_value(schema, *branch, cursor, guard)?
        }
        Kind::Array { items } => {
            read_blocks(schema, *items, false, cursor, guard)?;
            Slot::Region(Region { node: id, bytes: cursor.since(start) })
        }
        Kind::Map { values } => {
            read_blocks(schema, *values, true, cursor, guard)?;
            Slot::Region(Region { node: id, bytes: cursor.since(start) })
        }
        Kind::Record { fields } => {
            guard.enter(start)?;
            for field in fields {
                if let Err(fail) = read_value(schema, field.node, cursor, guard) {
                    return Err(fail.in_field(&field.name));
                }
            }
            guard.depth += 1;
            Slot::Region(Region { node: id, bytes: cursor.since(start) })
        }
    })
}

fn read_blocks<'a>(
    schema: &'a Schema,
    item: NodeId,
    keyed: bool,
    cursor: &mut Cursor<'a>,
    guard: &mut Guard,
) -> Result<(), Fail> {
    guard.enter(cursor.at())?;
    let smallest = schema.node(item).min_size + u64::from(keyed);
    let mut index = 0u64;
    loop {
        let start = cursor.at();
        let (count, size) = block(cursor).map_err(|kind| Failing::new(kind, start))?;
        if count == 0 {
            if size.is_some_and(|s| s > 0) {
                return Err(Failing::new(FaultKind::BadBlockSize, start));
            }
            guard.depth += 1;
            return Ok(());
        }
        if smallest.checked_mul(count).is_none_or(|bytes| bytes > cursor.left() as u64) {
            return Err(Failing::new(FaultKind::CountBeyondEnd, start));
        }
        let from = cursor.at();
        // Items without bytes are all alike: one is looked at, and all are paid for with every value in them.
        let visit = if smallest == 0 { 1 } else { count };
        let before = guard.items;
        for i in 0..visit {
            if keyed {
                let at = cursor.at();
                cursor.text().map_err(|kind| Failing::new(kind, at).at_index(index + i))?;
            }
            if let Err(fail) = read_value(schema, item, cursor, guard) {
                return Err(fail.at_index(index + i));
            }
        }
        guard.spend((before - guard.items).saturating_mul(count - visit), start)?;
        index += count;
        if size.is_some_and(|size| size != cursor.at() - from) {
            return Err(Failing::new(FaultKind::BadBlockSize, start));
        }
    }
}

/// The text form of RFC 4122, section 3: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// A big-decimal is bytes that hold the bytes of the unscaled number and then the scale.
pub(crate) fn big_decimal(bytes: &[u8]) -> Result<(), FaultKind> {
    let mut cursor = Cursor::new(bytes);
    let number = cursor.blob().and_then(|_| cursor.long());
    if number.is_err() || cursor.left() > 0 { Err(FaultKind::BadBigDecimal) } else { Ok(()) }
}
