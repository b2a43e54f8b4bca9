//! Reading bytes that were validated before, such as the items of an array that a walk has passed over.
//!
//! No text is looked at again, and there are no limits, because the bytes have kept them. A count is no more believed
//! than elsewhere: where the bytes end, the reading does.

use crate::cursor::Cursor;
use crate::read::block;
use crate::schema::{Kind, NodeId, Schema};
use crate::slot::{Region, Slot, Utf8};

/// The next value. A union gives the value of its branch.
#[inline]
pub(crate) fn value<'a>(schema: &'a Schema, id: NodeId, cursor: &mut Cursor<'a>) -> Option<Slot<'a>> {
    Some(match &schema.node(id).kind {
        Kind::Null => Slot::Null,
        Kind::Boolean => Slot::Bool(cursor.boolean().ok()?),
        Kind::Int | Kind::Long => Slot::Long(cursor.long().ok()?),
        Kind::Float => Slot::Double(f64::from(f32::from_le_bytes(cursor.array().ok()?))),
        Kind::Double => Slot::Double(f64::from_le_bytes(cursor.array().ok()?)),
        Kind::Bytes => Slot::Bytes(cursor.blob().ok()?),
        Kind::String => Slot::Str(Utf8::trusted(cursor.blob().ok()?)),
        Kind::Fixed { size } => Slot::Bytes(cursor.take(*size).ok()?),
        Kind::Enum { symbols, .. } => Slot::Str(Utf8::from(&**symbols.get(index(cursor)?)?)),
        Kind::Union { branches } => return value(schema, *branches.get(index(cursor)?)?, cursor),
        Kind::Array { .. } | Kind::Map { .. } | Kind::Record { .. } => {
            let from = *cursor;
            skip(schema, id, cursor)?;
            Slot::Region(Region { node: id, bytes: cursor.since(from) })
        }
    })
}

/// Passes over the next value.
pub(crate) fn skip(schema: &Schema, id: NodeId, cursor: &mut Cursor<'_>) -> Option<()> {
    match &schema.node(id).kind {
        Kind::Null => {}
        Kind::Boolean => drop(cursor.take(1).ok()?),
        Kind::Int | Kind::Long | Kind::Enum { .. } => drop(cursor.long().ok()?),
        Kind::Float => drop(cursor.take(4).ok()?),
        Kind::Double => drop(cursor.take(8).ok()?),
        Kind::Bytes | Kind::String => drop(cursor.blob().ok()?),
        Kind::Fixed { size } => drop(cursor.take(*size).ok()?),
        Kind::Union { branches } => skip(schema, *branches.get(index(cursor)?)?, cursor)?,
        Kind::Array { items } => skip_blocks(schema, *items, false, cursor)?,
        Kind::Map { values } => skip_blocks(schema, *values, true, cursor)?,
        Kind::Record { fields } => {
            for field in fields {
                skip(schema, field.node, cursor)?;
            }
        }
    }
    Some(())
}

fn skip_blocks(schema: &Schema, item: NodeId, keyed: bool, cursor: &mut Cursor<'_>) -> Option<()> {
    let empty = !keyed && schema.node(item).min_size == 0;
    loop {
        let (count, size) = block(cursor).ok()?;
        match size {
            _ if count == 0 => return Some(()),
            Some(size) => drop(cursor.take(size).ok()?),
            // Items that take no bytes are not visited one by one.
            None if empty => {}
            None => {
                for _ in 0..count {
                    if keyed {
                        cursor.blob().ok()?;
                    }
                    skip(schema, item, cursor)?;
                }
            }
        }
    }
}

#[inline]
fn index(cursor: &mut Cursor<'_>) -> Option<usize> {
    usize::try_from(cursor.long().ok()?).ok()
}
