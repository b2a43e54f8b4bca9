//! Gathers a message as a few pieces of memory for one vectored write. What is large is never copied.

use crate::error::{Fault, WireError};
use bytes::{BufMut, Bytes, BytesMut};

/// From how many bytes on a byte field becomes a piece of its own. Below, copying costs less than one more piece.
const LARGE: usize = 1024;
/// How many bytes the length in front of a frame has.
const PREFIX: usize = 4;

/// Bytes under construction.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// Large byte fields and where in the buffer they belong, ascending.
    large: Vec<(usize, Bytes)>,
    /// Bytes of all large fields.
    apart: usize,
    framed: bool,
}

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident $put:ident)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self, value: $name) {
            self.buffer.$put(value);
        }
    )*};
}

impl Writer {
    /// Nothing written.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Begins with the four bytes of a frame's length, which [`Writer::finish`] sets.
    pub fn framed() -> Writer {
        let mut writer = Writer { framed: true, ..Writer::default() };
        writer.i32(0);
        writer
    }

    /// Bytes written so far, the frame's length among them.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.apart
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    number! {
        /// One signed byte.
        i8 put_i8
        /// Two bytes, signed, big endian.
        i16 put_i16
        /// Four bytes, signed, big endian.
        i32 put_i32
        /// Eight bytes, signed, big endian.
        i64 put_i64
        /// Two bytes, unsigned, big endian.
        u16 put_u16
        /// Four bytes, unsigned, big endian.
        u32 put_u32
        /// An IEEE 754 number of eight bytes, big endian.
        f64 put_f64
    }

    /// Bytes as they are, copied.
    #[inline]
    pub fn slice(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Bytes as they are; not copied where that pays.
    #[inline]
    pub fn bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < LARGE {
            self.slice(bytes);
        } else {
            self.apart += bytes.len();
            self.large.push((self.buffer.len(), bytes.clone()));
        }
    }

    /// An unsigned number of 1 to 5 bytes, seven bits each, least significant first.
    #[inline]
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// All that another writer holds.
    pub(crate) fn append(&mut self, other: Writer) {
        let start = self.buffer.len();
        self.buffer.put_slice(&other.buffer);
        self.large.extend(other.large.into_iter().map(|(at, bytes)| (start + at, bytes)));
        self.apart += other.apart;
    }

    /// The pieces, in order; none of them empty.
    ///
    /// # Errors
    /// Where a frame is larger than its length can say (2 GiB - 1).
    pub fn finish(mut self) -> Result<Vec<Bytes>, WireError> {
        if self.framed {
            let size = self.len() - PREFIX;
            let limit = i32::MAX as usize;
            let length = i32::try_from(size).map_err(|_| WireError::new(Fault::Oversize { size, limit }, 0))?;
            self.buffer[..PREFIX].copy_from_slice(&length.to_be_bytes());
        }
        let buffer = self.buffer.freeze();
        let mut pieces = Vec::with_capacity(2 * self.large.len() + 1);
        let mut from = 0;
        for (at, bytes) in self.large {
            if at > from {
                pieces.push(buffer.slice(from..at));
            }
            from = at;
            pieces.push(bytes);
        }
        if from < buffer.len() {
            pieces.push(buffer.slice(from..));
        }
        Ok(pieces)
    }

    /// All as one piece: for what is stored or signed, not sent. Copies what [`Writer::finish`] would not.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn into_bytes(self) -> Result<Bytes, WireError> {
        let length = self.len();
        let mut pieces = self.finish()?;
        if pieces.len() == 1 {
            return Ok(pieces.remove(0));
        }
        let mut all = BytesMut::with_capacity(length);
        pieces.iter().for_each(|piece| all.put_slice(piece));
        Ok(all.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_fields_stay_where_they_are() {
        let records = Bytes::from(vec![7; LARGE]);
        let mut inner = Writer::new();
        inner.i8(3);
        inner.bytes(&records);
        let mut writer = Writer::framed();
        writer.i16(1);
        writer.bytes(&records);
        writer.bytes(&records);
        writer.append(inner);
        let length = writer.len();
        let pieces = writer.finish().unwrap();
        let sizes: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(sizes, [6, LARGE, LARGE, 1, LARGE]);
        assert!([1, 2, 4].iter().all(|at| pieces[*at].as_ptr() == records.as_ptr()));
        assert_eq!(pieces[0][..], [0, 0, 0x0c, 3, 0, 1]);
        assert_eq!(sizes.iter().sum::<usize>(), length);
    }

    #[test]
    fn variable_length_numbers_take_the_bytes_they_need() {
        for (value, bytes) in [
            (0, &b"\x00"[..]),
            (127, b"\x7f"),
            (128, b"\x80\x01"),
            (16_383, b"\xff\x7f"),
            (u32::MAX, b"\xff\xff\xff\xff\x0f"),
        ] {
            let mut writer = Writer::new();
            writer.uvarint(value);
            let written = writer.into_bytes().unwrap();
            assert_eq!(written, bytes);
            assert_eq!(crate::Reader::new(written).uvarint(), Ok(value));
        }
        let endless = crate::Reader::new(Bytes::from_static(&[0x80; 6])).uvarint().unwrap_err();
        assert_eq!(endless.fault(), &Fault::Varint);
    }
}
