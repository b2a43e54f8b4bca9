//! Reading any value of any type, with the place of every fault.
//!
//! A datum costs time in proportion to its own bytes. A declared count is compared with the bytes that are left
//! and the smallest size of an item before anything is done with it, and items without bytes are not visited one by
//! one. Nothing here allocates but a fault. Where events spend their time, the [`Walker`](crate::Walker) is faster.

use crate::cursor::Cursor;
use crate::fault::{Fail, Failing, Fault, FaultKind};
use crate::schema::{Kind, Logical, NodeId, Schema};
use crate::slot::{Region, Slot, Utf8};

/// What a datum may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most levels of records, arrays and maps inside each other.
    pub depth: u32,
    /// The most values of all types that one datum may hold.
    pub items: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: 64, items: 4_000_000 }
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
    pub(crate) fn spend(&mut self, items: u64) -> Result<(), FaultKind> {
        self.items = self.items.checked_sub(items).ok_or(FaultKind::TooManyItems)?;
        Ok(())
    }

    #[inline]
    pub(crate) fn enter(&mut self, levels: u32) -> Result<(), FaultKind> {
        self.depth = self.depth.checked_sub(levels).ok_or(FaultKind::TooDeep)?;
        Ok(())
    }

    #[inline]
    pub(crate) fn leave(&mut self, levels: u32) {
        self.depth += levels;
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
    let from = *cursor;
    let failing = |kind| Failing::new(kind, from.at());
    guard.spend(1).map_err(failing)?;
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
            if node.logical == Some(Logical::Uuid) && !is_uuid(text.as_bytes()) {
                return Err(failing(FaultKind::BadUuid));
            }
            Slot::Str(text)
        }
        Kind::Fixed { size } => Slot::Bytes(cursor.take(*size).map_err(failing)?),
        Kind::Enum { symbols, .. } => {
            let index = cursor.long().map_err(failing)?;
            match usize::try_from(index).ok().and_then(|i| symbols.get(i)) {
                Some(symbol) => Slot::Str(Utf8::from(&**symbol)),
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
            Slot::Region(Region { node: id, bytes: cursor.since(from) })
        }
        Kind::Map { values } => {
            read_blocks(schema, *values, true, cursor, guard)?;
            Slot::Region(Region { node: id, bytes: cursor.since(from) })
        }
        Kind::Record { fields } => {
            guard.enter(1).map_err(failing)?;
            for field in fields {
                if let Err(fail) = read_value(schema, field.node, cursor, guard) {
                    return Err(fail.in_field(&field.name));
                }
            }
            guard.leave(1);
            Slot::Region(Region { node: id, bytes: cursor.since(from) })
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
    let start = cursor.at();
    guard.enter(1).map_err(|kind| Failing::new(kind, start))?;
    let smallest = schema.node(item).min_size + u64::from(keyed);
    let mut index = 0u64;
    loop {
        let start = cursor.at();
        let (count, size) = block(cursor).map_err(|kind| Failing::new(kind, start))?;
        if count == 0 {
            if size.is_some_and(|s| s > 0) {
                return Err(Failing::new(FaultKind::BadBlockSize, start));
            }
            guard.leave(1);
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
        let others = (before - guard.items).saturating_mul(count - visit);
        guard.spend(others).map_err(|kind| Failing::new(kind, start))?;
        index += count;
        if size.is_some_and(|size| size != cursor.at() - from) {
            return Err(Failing::new(FaultKind::BadBlockSize, start));
        }
    }
}

/// The text form of RFC 4122, section 3: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// A big-decimal is bytes that hold the bytes of the unscaled number and then the scale.
pub(crate) fn big_decimal(bytes: &[u8]) -> Result<(), FaultKind> {
    let mut cursor = Cursor::new(bytes);
    let number = cursor.blob().and_then(|_| cursor.long());
    if number.is_err() || cursor.left() > 0 { Err(FaultKind::BadBigDecimal) } else { Ok(()) }
}
