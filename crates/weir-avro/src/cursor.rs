//! Reading Avro's primitive encodings from a slice, with every length checked before it is believed.

use crate::fault::FaultKind;
use crate::slot::Utf8;

/// A place in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    /// How many bytes there are in front of it and behind it.
    total: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes, total: bytes.len() }
    }

    /// How many bytes lie behind it.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The bytes from `start` to here.
    #[inline]
    pub(crate) fn since(&self, start: Cursor<'a>) -> &'a [u8] {
        start.rest.get(..start.left() - self.left()).unwrap_or_default()
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
    #[inline(always)]
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
            bytes => {
                let (raw, length) = wide(bytes);
                match bytes.get(length..) {
                    Some(rest) if length > 0 => self.rest = rest,
                    _ => return Err(endless(bytes)),
                }
                raw
            }
        };
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i64, FaultKind> {
        let n = self.long()?;
        if i32::try_from(n).is_ok() { Ok(n) } else { Err(FaultKind::IntOutOfRange) }
    }

    /// As many bytes as a number in front of them said.
    #[inline]
    pub(crate) fn sized(&mut self, length: i64) -> Result<&'a [u8], FaultKind> {
        match usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length)) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None if length < 0 => Err(FaultKind::NegativeLength),
            None => Err(FaultKind::LengthBeyondEnd),
        }
    }

    #[inline]
    pub(crate) fn blob(&mut self) -> Result<&'a [u8], FaultKind> {
        let length = self.long()?;
        self.sized(length)
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Result<Utf8<'a>, FaultKind> {
        Utf8::new(self.blob()?).ok_or(FaultKind::BadUtf8)
    }
}

/// A varint of any length and how many bytes it takes, which is 0 where it has no end. Up to eight bytes are taken at
/// once: the bits between them are closed in pairs, then in fours, then in eights.
#[inline(never)]
fn wide(bytes: &[u8]) -> (u64, usize) {
    const MORE: u64 = 0x8080_8080_8080_8080;
    if let Some(word) = bytes.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let last = !word & MORE;
        if last != 0 {
            // All bits up to the first byte that says it is the last.
            let word = word & (last ^ (last - 1)) & !MORE;
            let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
            let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
            let word = (word & 0x0000_0000_0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4;
            return (word, last.trailing_zeros() as usize / 8 + 1);
        }
    }
    by_bytes(bytes)
}

#[cold]
fn by_bytes(bytes: &[u8]) -> (u64, usize) {
    let mut raw = 0u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (raw, i + 1);
        }
    }
    (0, 0)
}

/// Why a varint has no end.
#[cold]
fn endless(bytes: &[u8]) -> FaultKind {
    if bytes.len() < 10 { FaultKind::Truncated } else { FaultKind::VarintTooLong }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

        /// The short ways read what one byte after the other says.
        #[test]
        fn a_varint_reads_the_same_by_bytes_and_by_words(
            value in any::<u64>(), shift in 0u32..64, padding in 0usize..4, tail in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut rest = value >> shift;
            let mut bytes = Vec::new();
            while rest > 0x7f {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            // A number may be written longer than it is.
            for _ in 0..padding.min(10 - bytes.len()) {
                *bytes.last_mut().unwrap() |= 0x80;
                bytes.push(0);
            }
            let length = bytes.len();
            for cut in 0..length {
                prop_assert_eq!(Cursor::new(&bytes[..cut]).long(), Err(FaultKind::Truncated));
            }
            bytes.extend(tail);
            let mut cursor = Cursor::new(&bytes);
            let raw = value >> shift;
            prop_assert_eq!(cursor.long(), Ok((raw >> 1) as i64 ^ -((raw & 1) as i64)));
            prop_assert_eq!(cursor.at(), length);
        }
    }
}
