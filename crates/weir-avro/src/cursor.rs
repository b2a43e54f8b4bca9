//! Reading Avro's primitive encodings from a slice, with every length checked before it is believed.

use crate::walk::FaultKind;

/// A place in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { whole: bytes, rest: bytes }
    }

    /// How many bytes lie behind it.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The bytes from `start` to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.whole.get(start..self.at()).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], FaultKind> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(FaultKind::Truncated),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FaultKind> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(FaultKind::Truncated),
        }
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Result<bool, FaultKind> {
        match self.rest {
            [b @ (0 | 1), rest @ ..] => {
                self.rest = rest;
                Ok(*b == 1)
            }
            [_, ..] => Err(FaultKind::BadBoolean),
            [] => Err(FaultKind::Truncated),
        }
    }

    /// A zigzag varint of at most ten bytes. Bits beyond the 64th are dropped, as every Avro implementation does.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, FaultKind> {
        // Most numbers of most events take one or two bytes.
        let raw = match self.rest {
            [a @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                u64::from(*a)
            }
            [a, b @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                u64::from(a & 0x7f) | u64::from(*b) << 7
            }
            _ => self.long_slow()?,
        };
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn long_slow(&mut self) -> Result<u64, FaultKind> {
        let mut raw = 0u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            raw |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(raw);
            }
        }
        Err(if self.rest.len() < 10 { FaultKind::Truncated } else { FaultKind::VarintTooLong })
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i64, FaultKind> {
        let n = self.long()?;
        if i32::try_from(n).is_ok() { Ok(n) } else { Err(FaultKind::IntOutOfRange) }
    }

    #[inline]
    pub(crate) fn blob(&mut self) -> Result<&'a [u8], FaultKind> {
        let len = self.long()?;
        match usize::try_from(len) {
            Ok(len) => self.take(len).map_err(|_| FaultKind::LengthBeyondEnd),
            Err(_) => Err(FaultKind::NegativeLength),
        }
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, FaultKind> {
        std::str::from_utf8(self.blob()?).map_err(|_| FaultKind::BadUtf8)
    }

    /// A text that nobody looks at. Most are ASCII, which is seen eight bytes at a time.
    #[inline]
    pub(crate) fn skip_text(&mut self) -> Result<(), FaultKind> {
        let bytes = self.blob()?;
        if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() { Ok(()) } else { Err(FaultKind::BadUtf8) }
    }
}
