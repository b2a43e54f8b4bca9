//! What a walk leaves behind: values that borrow from the payload, and lazy access to the collections in it.

use std::fmt;

use crate::cursor::Cursor;
use crate::read::{Guard, Limits, block, read_value};
use crate::schema::{Field, Kind, NodeId, Schema};
use crate::trusted;

/// A field by its names from the root: `customer.address.zip`. The empty path is the whole datum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(Vec<Box<str>>);

impl FieldPath {
    /// Splits at the dots; Avro names contain none (specification, "Names").
    pub fn parse(text: &str) -> FieldPath {
        FieldPath(text.split('.').filter(|s| !s.is_empty()).map(Into::into).collect())
    }

    /// The whole datum.
    pub fn root() -> FieldPath {
        FieldPath::default()
    }

    /// This path with one more name.
    pub fn join(&self, name: &str) -> FieldPath {
        let mut path = self.clone();
        path.0.push(name.into());
        path
    }

    /// The names in order.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("this");
        }
        f.write_str(&self.0.join("."))
    }
}

/// The value of a wanted field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slot<'a> {
    /// A record on the way to the field was null, so the field does not exist in this datum.
    Absent,
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An int or a long.
    Long(i64),
    /// A float or a double.
    Double(f64),
    /// Bytes or a fixed.
    Bytes(&'a [u8]),
    /// A string or the symbol of an enum.
    Str(Utf8<'a>),
    /// An array, a map or a record, as the bytes it was found in.
    Region(Region<'a>),
}

impl<'a> Slot<'a> {
    /// The value that `bytes` hold as one datum of `node`, such as a default from
    /// [`encode_default`](crate::encode_default); `None` where they do not hold one.
    pub fn read(schema: &'a Schema, node: NodeId, bytes: &'a [u8]) -> Option<Slot<'a>> {
        let mut cursor = Cursor::new(bytes);
        let slot = read_value(schema, node, &mut cursor, &mut Guard::new(Limits::default())).ok()?;
        (cursor.left() == 0).then_some(slot)
    }
}

/// Text that has been validated and is kept as its bytes, because most rules need no more than those. A `str` costs
/// another validation, as only the standard library may skip it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Utf8<'a>(&'a [u8]);

impl<'a> Utf8<'a> {
    /// The bytes as text, if they are UTF-8. ASCII, which most text is, is seen eight bytes at a time.
    #[inline(never)]
    pub fn new(bytes: &'a [u8]) -> Option<Utf8<'a>> {
        let ascii = match bytes.last_chunk::<8>() {
            Some(last) => {
                let (words, _) = bytes.as_chunks::<8>();
                let seen = words.iter().fold(u64::from_le_bytes(*last), |seen, word| seen | u64::from_le_bytes(*word));
                seen & 0x8080_8080_8080_8080 == 0
            }
            None => bytes.iter().fold(0, |seen, byte| seen | byte) < 0x80,
        };
        (ascii || std::str::from_utf8(bytes).is_ok()).then_some(Utf8(bytes))
    }

    /// Bytes that were found to be UTF-8 before.
    #[inline]
    pub(crate) fn trusted(bytes: &'a [u8]) -> Utf8<'a> {
        Utf8(bytes)
    }

    /// Its bytes.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text.
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }

    /// Whether these are its bytes.
    #[inline]
    pub fn is(self, bytes: &[u8]) -> bool {
        same(self.0, bytes)
    }

    /// How many code points it has.
    #[inline]
    pub fn chars(self) -> usize {
        // All bytes but those that continue a code point.
        self.0.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
    }
}

/// Whether two texts are the same bytes. Names, codes and keys are short, and a call to compare them costs more than the
/// comparison, so up to sixteen bytes are looked at here, in two words that may overlap.
#[inline]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let ends = |a: &[u8], b: &[u8]| a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk();
    match a.len() {
        0..4 => std::iter::zip(a, b).all(|(a, b)| a == b),
        4..8 => a.first_chunk::<4>() == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk(),
        8..=16 => ends(a, b),
        _ => a == b,
    }
}

impl<'a> From<&'a str> for Utf8<'a> {
    #[inline]
    fn from(text: &'a str) -> Utf8<'a> {
        Utf8(text.as_bytes())
    }
}

impl fmt::Debug for Utf8<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// The validated bytes of an array, a map or a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region<'a> {
    /// Its type.
    pub node: NodeId,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a> Region<'a> {
    /// The items of an array in order. Empty for any other type.
    pub fn items(self, schema: &'a Schema) -> Items<'a> {
        let item = match schema.node(self.node).kind {
            Kind::Array { items } => Some(items),
            _ => None,
        };
        Items { schema, item, cursor: Cursor::new(self.bytes), left: 0 }
    }

    /// The items of an array in order, each as its bytes. Empty for any other type.
    pub fn item_bytes(self, schema: &'a Schema) -> impl Iterator<Item = &'a [u8]> {
        let mut items = self.items(schema);
        std::iter::from_fn(move || items.next_bytes())
    }

    /// The entries of a map in order. Empty for any other type.
    pub fn entries(self, schema: &'a Schema) -> Entries<'a> {
        let value = match schema.node(self.node).kind {
            Kind::Map { values } => Some(values),
            _ => None,
        };
        Entries { schema, value, cursor: Cursor::new(self.bytes), left: 0 }
    }

    /// The field at `index` of a record; `Absent` for any other type or an index beyond its fields.
    pub fn field(self, schema: &'a Schema, index: usize) -> Slot<'a> {
        let Kind::Record { fields } = &schema.node(self.node).kind else { return Slot::Absent };
        let Some((wanted, before)) = fields.get(..=index).and_then(<[Field]>::split_last) else { return Slot::Absent };
        let mut cursor = Cursor::new(self.bytes);
        for field in before {
            if trusted::skip(schema, field.node, &mut cursor).is_none() {
                return Slot::Absent;
            }
        }
        trusted::value(schema, wanted.node, &mut cursor).unwrap_or(Slot::Absent)
    }

    /// How many items an array or entries a map has, without reading them where the blocks tell.
    pub fn count(self, schema: &'a Schema) -> usize {
        match schema.node(self.node).kind {
            Kind::Array { .. } => self.items(schema).count(),
            Kind::Map { .. } => self.entries(schema).count(),
            _ => 0,
        }
    }
}

/// The items of an array. Made by [`Region::items`].
#[derive(Clone, Debug)]
pub struct Items<'a> {
    schema: &'a Schema,
    item: Option<NodeId>,
    cursor: Cursor<'a>,
    left: u64,
}

impl<'a> Items<'a> {
    /// Steps to the next item: its type.
    fn step(&mut self) -> Option<NodeId> {
        let item = self.item?;
        if self.left == 0 {
            self.left = block(&mut self.cursor).ok()?.0;
            if self.left == 0 {
                self.item = None;
                return None;
            }
        }
        self.left -= 1;
        Some(item)
    }

    fn next_bytes(&mut self) -> Option<&'a [u8]> {
        let item = self.step()?;
        let from = self.cursor;
        trusted::skip(self.schema, item, &mut self.cursor)?;
        Some(self.cursor.since(from))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Slot<'a>;

    fn next(&mut self) -> Option<Slot<'a>> {
        let item = self.step()?;
        trusted::value(self.schema, item, &mut self.cursor)
    }

    fn count(mut self) -> usize {
        let mut total = 0usize;
        // A block with a stated size, or of items without bytes, is counted without reading its items.
        while let Some(item) = self.item {
            if self.left == 0 {
                let Ok((count, size)) = block(&mut self.cursor) else { break };
                if count == 0 {
                    break;
                }
                let skip = size.or((self.schema.node(item).min_size == 0).then_some(0));
                if let Some(size) = skip {
                    let _ = self.cursor.take(size);
                    total = total.saturating_add(count as usize);
                    continue;
                }
                self.left = count;
            }
            if self.next().is_none() {
                break;
            }
            total += 1;
        }
        total
    }
}

/// The entries of a map. Made by [`Region::entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    schema: &'a Schema,
    value: Option<NodeId>,
    cursor: Cursor<'a>,
    left: u64,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, Slot<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.value?;
        if self.left == 0 {
            self.left = block(&mut self.cursor).ok()?.0;
            if self.left == 0 {
                self.value = None;
                return None;
            }
        }
        self.left -= 1;
        let key = Utf8(self.cursor.blob().ok()?);
        Some((key.as_str(), trusted::value(self.schema, value, &mut self.cursor)?))
    }
}

/// Empties a buffer of slots for the next payload and keeps its memory. Collecting in place reuses the allocation.
pub fn recycle<'b>(mut slots: Vec<Slot<'_>>) -> Vec<Slot<'b>> {
    slots.clear();
    slots.into_iter().map(|_| Slot::Absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn texts_are_the_same_where_their_bytes_are(a in "[ab]{0,20}", at in any::<usize>(), other in "[ab]{0,20}") {
            prop_assert!(same(a.as_bytes(), a.clone().as_bytes()));
            prop_assert_eq!(same(a.as_bytes(), other.as_bytes()), a == other);
            let mut b = a.clone().into_bytes();
            if !b.is_empty() {
                let at = at % b.len();
                b[at] ^= 1;
                prop_assert!(!same(a.as_bytes(), &b));
            }
        }

        #[test]
        fn text_is_what_the_standard_library_says(text in "[a-zé€😀]{0,12}", at in any::<usize>(), byte in any::<u8>()) {
            let whole = Utf8::new(text.as_bytes()).map(|text| (text.as_str(), text.chars()));
            prop_assert_eq!(whole, Some((text.as_str(), text.chars().count())));
            let mut bytes = text.into_bytes();
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            prop_assert_eq!(Utf8::new(&bytes).map(Utf8::as_str), std::str::from_utf8(&bytes).ok());
        }
    }
}
