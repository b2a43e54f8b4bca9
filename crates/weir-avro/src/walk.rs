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
    /// No value: where in the payload the walk is, for the bytes of a field as they stand.
    Mark,
}

impl Walker {
    /// Compiles `schema` so that slot `i` of a walk holds the field `wanted[i]`. A path that is given again is a place
    /// kept for the caller: only its first slot is filled, the others stay [`Slot::Absent`].
    ///
    /// # Errors
    /// [`WalkerError::UnknownField`] for a path that does not lead through records to a field.
    pub fn new(schema: Arc<Schema>, wanted: &[FieldPath], limits: Limits) -> Result<Walker, WalkerError> {
        Self::with_marks(schema, wanted, &[], limits)
    }

    /// Like [`Walker::new`], and two more slots for every path of `marks`, behind the wanted ones: the offsets in the
    /// payload at which the field begins and ends, as [`Slot::Long`]. They stay [`Slot::Absent`] where a record on the
    /// way is null. The bytes between them are the field as its writer wrote it, the branch of a union included.
    ///
    /// # Errors
    /// As [`Walker::new`].
    pub fn with_marks(
        schema: Arc<Schema>,
        wanted: &[FieldPath],
        marks: &[FieldPath],
        limits: Limits,
    ) -> Result<Walker, WalkerError> {
        for path in wanted.iter().chain(marks) {
            if schema.find(path).is_none() {
                return Err(WalkerError::UnknownField(path.clone()));
            }
        }
        let values =
            wanted.iter().enumerate().map(|(i, p)| Path { left: p.segments().collect(), slot: i as u32, mark: false });
        let first = wanted.len();
        let bounds = marks.iter().enumerate().map(|(i, p)| Path {
            left: p.segments().collect(),
            slot: (first + 2 * i) as u32,
            mark: true,
        });
        let paths: Vec<Path<'_>> = values.chain(bounds).collect();
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
        Ok(Walker { schema, root, whole, blocks, slots: wanted.len() + 2 * marks.len(), limits })
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
                Op::Boolean | Op::Double | Op::Record(_) | Op::Any | Op::Mark => 0,
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
                Op::Mark => put(Slot::Long(own.at() as i64)),
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

/// What is wanted below a type.
struct Path<'p> {
    /// The names that are left to it.
    left: Vec<&'p str>,
    /// Where it goes: the value, or the offset of its first byte with that behind its last byte in the slot after it.
    slot: u32,
    mark: bool,
}

/// The slot of the value itself.
fn own_slot(paths: &[Path<'_>]) -> u32 {
    paths.iter().find(|path| path.left.is_empty() && !path.mark).map_or(UNWANTED, |path| path.slot)
}

/// The steps of a record.
fn record(schema: &Schema, fields: &[Field], paths: &[Path<'_>], blocks: &mut Vec<Block>) -> Block {
    let mut block = Block { levels: 1, ..Block::default() };
    for field in fields {
        let below: Vec<_> = paths
            .iter()
            .filter(|path| path.left.first() == Some(&&*field.name))
            .map(|path| Path { left: path.left[1..].to_vec(), ..*path })
            .collect();
        let marks = || below.iter().filter(|path| path.mark && path.left.is_empty());
        let mark = |slot| Step { op: Op::Mark, slot, node: field.node };
        block.steps.extend(marks().map(|path| mark(path.slot)));
        compile(schema, field.node, &below, &mut block, blocks);
        block.steps.extend(marks().map(|path| mark(path.slot + 1)));
    }
    block
}

/// Appends the steps of a type.
fn compile(schema: &Schema, node: NodeId, paths: &[Path<'_>], into: &mut Block, blocks: &mut Vec<Block>) {
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
        Kind::Record { fields } if paths.iter().any(|path| !path.left.is_empty()) => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JsonForm, from_json};

    /// What lies between the marks of a field is the field, wherever it lies, and parts side by side are one datum.
    #[test]
    fn marks_lie_around_the_bytes_of_a_field() {
        let inner = r#"{"type":"record","name":"I","fields":[{"name":"x","type":["null","long"]},{"name":"y","type":"string"}]}"#;
        let schema = Schema::parse(&format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":"int"}},{{"name":"i","type":["null",{inner}]}},{{"name":"z","type":{{"type":"array","items":"int"}}}}]}}"#
        ));
        let schema = Arc::new(schema.unwrap());
        let pair = Schema::of_parts(&[("l", &schema, schema.root(), false), ("r", &schema, schema.root(), true)]);
        let pair = Arc::new(pair.unwrap());
        let marks = ["l.a", "l.i.x", "l.i.y", "l.z", "r.i.y", "r", "l.i"].map(FieldPath::parse);
        let walker = Walker::with_marks(Arc::clone(&pair), &marks[..1], &marks, Limits::default()).unwrap();
        let check = |left: &str, right: Option<&str>, expect: [Option<&[u8]>; 7]| {
            let encode =
                |text: &str| from_json(&schema, &serde_json::from_str(text).unwrap(), JsonForm::Plain).unwrap();
            let mut row = encode(left);
            match right {
                Some(right) => row.extend([vec![2], encode(right)].concat()),
                None => row.push(0),
            }
            let mut slots = Vec::new();
            walker.walk(&row, &mut slots).unwrap();
            let found = slots[1..].chunks(2).map(|two| match two {
                [Slot::Long(from), Slot::Long(to)] => Some(&row[*from as usize..*to as usize]),
                _ => None,
            });
            assert_eq!(found.collect::<Vec<_>>(), expect);
        };
        check(
            r#"{"a":3,"i":{"x":5,"y":"q"},"z":[1]}"#,
            Some(r#"{"a":3,"i":null,"z":[]}"#),
            [
                Some(&[6]),
                Some(&[2, 10]),
                Some(&[2, b'q']),
                Some(&[2, 2, 0]),
                None,
                Some(&[2, 6, 0, 0]),
                Some(&[2, 2, 10, 2, b'q']),
            ],
        );
        check(r#"{"a":-1,"i":null,"z":[]}"#, None, [Some(&[1]), None, None, Some(&[0]), None, Some(&[0]), Some(&[0])]);
    }
}
