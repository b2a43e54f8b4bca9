//! The walker: one pass over the bytes of a datum that validates all of it and keeps only what is wanted.
//!
//! A schema is compiled to flat lists of steps, one list for a record. A walk only finds out that something is wrong;
//! [`validate`](crate::read::validate), which judges alike, is then asked what and where. Nothing here allocates.

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::fault::{Fault, FaultKind};
use crate::read::{Guard, Limits, read_value, validate};
use crate::schema::{Field, Kind, Logical, NodeId, Schema};
use crate::slot::{FieldPath, Region, Slot, Utf8};

/// Why a walker could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WalkerError {
    /// A wanted field is not in the schema.
    #[error("the schema has no field {0}; use a field of the schema")]
    UnknownField(FieldPath),
}

/// A schema compiled for a set of wanted fields.
#[derive(Debug)]
pub struct Walker {
    schema: Arc<Schema>,
    root: Block,
    /// Where the datum itself goes, if it is a record. Its fields are then the steps of the root.
    whole: u32,
    blocks: Vec<Block>,
    slots: usize,
    limits: Limits,
}

/// The steps of the fields of a record that has something wanted in it, or of the whole datum.
#[derive(Debug, Default)]
struct Block {
    steps: Vec<Step>,
    /// How many values the steps take from the limit; [`Op::Any`] takes its own.
    values: u64,
    /// How many levels they lie deeper.
    levels: u32,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    op: Op,
    /// Where the value goes; [`UNWANTED`] where nobody looks at it.
    slot: u32,
    node: NodeId,
}

/// A slot that no walker has.
const UNWANTED: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
enum Op {
    Int,
    Long,
    Bytes,
    String,
    Enum,
    /// The index of a union with null, of which this branch is null. The next step is the other branch.
    Nullable(u8),
    Boolean,
    Double,
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
        for path in wanted {
            if schema.find(path).is_none() {
                return Err(WalkerError::UnknownField(path.clone()));
            }
        }
        let paths: Vec<(Vec<&str>, u32)> =
            wanted.iter().enumerate().map(|(i, p)| (p.segments().collect(), i as u32)).collect();
        let mut blocks = Vec::new();
        let (root, whole) = match &schema.node(schema.root()).kind {
            Kind::Record { fields } => {
                let mut root = record(&schema, fields, &paths, &mut blocks);
                root.values += 1;
                (root, own_slot(&paths))
            }
            _ => {
                let mut root = Block::default();
                compile(&schema, schema.root(), &paths, &mut root, &mut blocks);
                (root, UNWANTED)
            }
        };
        Ok(Walker { schema, root, whole, blocks, slots: wanted.len(), limits })
    }

    /// The schema the walker reads.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Validates `payload` as one datum and fills `slots` with the wanted fields, in the order they were given.
    ///
    /// # Errors
    /// [`Fault`] at the first byte that does not fit the schema; also for bytes behind the datum and for a datum
    /// beyond the limits. The slots are then meaningless.
    pub fn walk<'a>(&'a self, payload: &'a [u8], slots: &mut Vec<Slot<'a>>) -> Result<(), Fault> {
        slots.clear();
        slots.resize(self.slots, Slot::Absent);
        if let Some(place) = slots.get_mut(self.whole as usize) {
            *place = Slot::Region(Region { node: self.schema.root(), bytes: payload });
        }
        let mut cursor = Cursor::new(payload);
        match self.take(&self.root, &mut cursor, &mut Guard::new(self.limits), slots) {
            Ok(()) if cursor.left() == 0 => Ok(()),
            Ok(()) => Err(self.fault(payload, FaultKind::TrailingBytes)),
            Err(kind) => Err(self.fault(payload, kind)),
        }
    }

    /// The fault of a payload that a walk has refused.
    #[cold]
    fn fault(&self, payload: &[u8], kind: FaultKind) -> Fault {
        match validate(&self.schema, payload, self.limits) {
            Err(fault) => fault,
            Ok(()) => Fault { kind, offset: 0, path: "this".to_owned() },
        }
    }

    fn take<'a>(
        &'a self,
        block: &'a Block,
        cursor: &mut Cursor<'a>,
        guard: &mut Guard,
        slots: &mut [Slot<'a>],
    ) -> Result<(), FaultKind> {
        guard.spend(block.values)?;
        guard.enter(block.levels)?;
        // A copy that stays in registers: no reference to it leaves the loop.
        let mut own = *cursor;
        let mut steps = block.steps.iter();
        while let Some(step) = steps.next() {
            let mut put = |slot| {
                if let Some(place) = slots.get_mut(step.slot as usize) {
                    *place = slot;
                }
            };
            // What starts with a number reads it here, so that the loop stays small: it is a length, an index or a value.
            let n = match step.op {
                Op::Boolean | Op::Double | Op::Record(_) | Op::Any => 0,
                _ => own.long()?,
            };
            match step.op {
                Op::Int if i32::try_from(n).is_err() => return Err(FaultKind::IntOutOfRange),
                Op::Int | Op::Long => put(Slot::Long(n)),
                Op::Bytes => put(Slot::Bytes(own.sized(n)?)),
                Op::String => match Utf8::new(own.sized(n)?) {
                    Some(text) => put(Slot::Str(text)),
                    None => return Err(FaultKind::BadUtf8),
                },
                Op::Enum => {
                    let Kind::Enum { symbols, .. } = &self.schema.node(step.node).kind else {
                        return Err(FaultKind::EnumOutOfRange);
                    };
                    match usize::try_from(n).ok().and_then(|i| symbols.get(i)) {
                        Some(symbol) => put(Slot::Str(Utf8::from(&**symbol))),
                        None => return Err(FaultKind::EnumOutOfRange),
                    }
                }
                Op::Nullable(null) if n == i64::from(null) => {
                    put(Slot::Null);
                    steps.next();
                }
                Op::Nullable(_) if n == 0 || n == 1 => {}
                Op::Nullable(_) => return Err(FaultKind::UnionOutOfRange),
                Op::Boolean => put(Slot::Bool(own.boolean()?)),
                Op::Double => put(Slot::Double(f64::from_le_bytes(own.array()?))),
                Op::Record(block) => {
                    *cursor = own;
                    self.take(&self.blocks[block as usize], cursor, guard, slots)?;
                    let bytes = cursor.since(own);
                    own = *cursor;
                    if let Some(place) = slots.get_mut(step.slot as usize) {
                        *place = Slot::Region(Region { node: step.node, bytes });
                    }
                }
                Op::Any => {
                    *cursor = own;
                    put(read_value(&self.schema, step.node, cursor, guard).map_err(|fail| fail.kind)?);
                    own = *cursor;
                }
            }
        }
        guard.leave(block.levels);
        *cursor = own;
        Ok(())
    }
}

/// The wanted fields below a type with their slots.
type Paths<'p> = [(Vec<&'p str>, u32)];

/// The slot of the value itself.
fn own_slot(paths: &Paths<'_>) -> u32 {
    paths.iter().find(|(path, _)| path.is_empty()).map_or(UNWANTED, |(_, slot)| *slot)
}

/// The steps of a record.
fn record(schema: &Schema, fields: &[Field], paths: &Paths<'_>, blocks: &mut Vec<Block>) -> Block {
    let mut block = Block { levels: 1, ..Block::default() };
    for field in fields {
        let below: Vec<_> = paths
            .iter()
            .filter(|(path, _)| path.first() == Some(&&*field.name))
            .map(|(path, slot)| (path[1..].to_vec(), *slot))
            .collect();
        compile(schema, field.node, &below, &mut block, blocks);
    }
    block
}

/// Appends the steps of a type.
fn compile(schema: &Schema, node: NodeId, paths: &Paths<'_>, into: &mut Block, blocks: &mut Vec<Block>) {
    let (inner, nullable) = schema.non_null(node);
    let slot = own_slot(paths);
    let target = schema.node(inner);
    let op = match &target.kind {
        Kind::Boolean => Op::Boolean,
        Kind::Int => Op::Int,
        Kind::Long => Op::Long,
        Kind::Double => Op::Double,
        Kind::Bytes if !matches!(target.logical, Some(Logical::Uuid | Logical::BigDecimal)) => Op::Bytes,
        Kind::String if target.logical.is_none() => Op::String,
        Kind::Enum { .. } => Op::Enum,
        Kind::Record { fields } if paths.iter().any(|(path, _)| !path.is_empty()) => {
            let block = record(schema, fields, paths, blocks);
            blocks.push(block);
            Op::Record(blocks.len() as u32 - 1)
        }
        _ => {
            into.steps.push(Step { op: Op::Any, slot, node });
            return;
        }
    };
    if let Kind::Union { branches } = &schema.node(node).kind
        && nullable
    {
        let null = u8::from(branches[0] == inner);
        into.steps.push(Step { op: Op::Nullable(null), slot, node });
        into.values += 1;
    }
    into.steps.push(Step { op, slot, node: inner });
    into.values += 1;
}
