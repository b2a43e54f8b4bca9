//! Reads the primitives of the protocol out of a frame. No read goes beyond the frame, and no count is believed before
//! the bytes for it are seen to be there.

use crate::error::{Fault, WireError};
use bytes::Bytes;

/// A place in a frame. Strings and byte fields it hands out are slices of the frame.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    /// Where reading ends: the end of the frame, or of the tagged field that is being read.
    end: usize,
    /// Bytes before `end` that elements still to come of the arrays around must take at least. See [`Reader::elements`].
    owed: usize,
}

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Where the frame ends before it.
        #[inline]
        pub fn $name(&mut self) -> Result<$name, WireError> {
            self.array().map($name::from_be_bytes)
        }
    )*};
}

impl Reader {
    /// Reads from the first byte of `frame`.
    pub fn new(frame: Bytes) -> Reader {
        Reader { at: 0, end: frame.len(), bytes: frame, owed: 0 }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What has not been read.
    pub fn rest(&self) -> Bytes {
        self.bytes.slice(self.at..self.end)
    }

    number! {
        /// One signed byte.
        i8
        /// Two bytes, signed, big endian.
        i16
        /// Four bytes, signed, big endian.
        i32
        /// Eight bytes, signed, big endian.
        i64
        /// Two bytes, unsigned, big endian.
        u16
        /// Four bytes, unsigned, big endian.
        u32
        /// An IEEE 754 number of eight bytes, big endian.
        f64
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    /// Where the frame ends before them.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.bytes[self.at..self.end].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.short(N)),
        }
    }

    /// The next `count` bytes, not copied.
    ///
    /// # Errors
    /// Where the frame ends before them.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<Bytes, WireError> {
        if count > self.remaining() {
            return Err(self.short(count));
        }
        self.at += count;
        Ok(self.bytes.slice(self.at - count..self.at))
    }

    /// An unsigned number of 1 to 5 bytes, seven bits each, least significant first. What the fifth byte has above 32
    /// bits is dropped, as Kafka does.
    ///
    /// # Errors
    /// Where the frame ends before it, or it goes on after the fifth byte.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let start = self.at;
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::new(Fault::Varint, start))
    }

    /// A length as it stands before strings, byte fields and arrays in flexible versions: one more than the length, 0 for
    /// null. `None` is null; so is everything that is negative in 32 bits, as in Kafka.
    #[inline]
    pub(crate) fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        let length = (self.uvarint()? as i32).wrapping_sub(1);
        Ok(usize::try_from(length).ok())
    }

    /// Announces an array of `count` elements that take at least `least` bytes each.
    ///
    /// The bytes of all its elements are set aside: an array inside the first element cannot claim what the others need.
    /// So all arrays that are ever allocated for a frame have, together, at most as many elements as the frame can hold.
    /// Each element must be begun with [`Reader::begin_element`].
    ///
    /// # Errors
    /// Where they cannot lie in the rest of the frame.
    #[inline]
    pub(crate) fn elements(&mut self, count: usize, least: usize) -> Result<(), WireError> {
        let left = self.remaining().saturating_sub(self.owed);
        match count.checked_mul(least) {
            Some(needed) if needed <= left => {
                self.owed += needed;
                Ok(())
            }
            _ => Err(WireError::new(Fault::Count { count, left }, self.at)),
        }
    }

    /// Frees the bytes that were set aside for one element, for that element to read.
    #[inline]
    pub(crate) fn begin_element(&mut self, least: usize) {
        self.owed = self.owed.saturating_sub(least);
    }

    /// Reads the tagged fields at the end of a structure. `known` reads the field of a tag, if it knows it; all others are
    /// skipped and dropped: what we do not understand we neither act on nor pass on.
    ///
    /// # Errors
    /// Where the section does not fit the frame, or a known field does not fill its size exactly.
    pub fn tagged(
        &mut self,
        known: &mut dyn FnMut(u32, &mut Reader) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            // What is owed lies behind this field, which so can neither read it nor claim it.
            let left = self.remaining().saturating_sub(self.owed);
            if size > left {
                return Err(WireError::new(Fault::Short { needed: size, left }, self.at));
            }
            let (end, owed) = (self.end, self.owed);
            self.end = self.at + size;
            self.owed = 0;
            if !known(tag, self)? {
                self.at = self.end;
            }
            if self.at != self.end {
                return Err(WireError::new(Fault::Tagged { size, left: self.remaining() }, self.at));
            }
            (self.end, self.owed) = (end, owed);
        }
        Ok(())
    }

    #[cold]
    fn short(&self, needed: usize) -> WireError {
        WireError::new(Fault::Short { needed, left: self.remaining() }, self.at)
    }
}
