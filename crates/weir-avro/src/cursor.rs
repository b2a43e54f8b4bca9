//! Reading Avro's primitive encodings from a slice, with every length checked before it is believed.

use crate::walk::FaultKind;

/// A place in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], FaultKind> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(FaultKind::Truncated),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FaultKind> {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(taken) => {
                self.at += N;
                Ok(*taken)
            }
            None => Err(FaultKind::Truncated),
        }
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Result<bool, FaultKind> {
        match self.bytes.get(self.at) {
            Some(b @ (0 | 1)) => {
                self.at += 1;
                Ok(*b == 1)
            }
            Some(_) => Err(FaultKind::BadBoolean),
            None => Err(FaultKind::Truncated),
        }
    }

    /// A zigzag varint of at most ten bytes. Bits beyond the 64th are dropped, as every Avro implementation does.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, FaultKind> {
        let Some(rest) = self.bytes.get(self.at..) else { return Err(FaultKind::Truncated) };
        // Most numbers of most events take one or two bytes.
        let raw = match rest {
            [a @ 0..=0x7f, ..] => {
                self.at += 1;
                u64::from(*a)
            }
            [a, b @ 0..=0x7f, ..] => {
                self.at += 2;
                u64::from(a & 0x7f) | u64::from(*b) << 7
            }
            _ => self.long_slow()?,
        };
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn long_slow(&mut self) -> Result<u64, FaultKind> {
        let mut raw = 0u64;
        let rest = &self.bytes[self.at..];
        for (i, byte) in rest.iter().take(10).enumerate() {
            raw |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.at += i + 1;
                return Ok(raw);
            }
        }
        Err(if rest.len() < 10 { FaultKind::Truncated } else { FaultKind::VarintTooLong })
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i64, FaultKind> {
        let start = self.at;
        let n = self.long()?;
        if i32::try_from(n).is_err() {
            self.at = start;
            return Err(FaultKind::IntOutOfRange);
        }
        Ok(n)
    }

    #[inline]
    pub(crate) fn blob(&mut self) -> Result<&'a [u8], FaultKind> {
        let start = self.at;
        let len = self.long()?;
        let fault = match usize::try_from(len) {
            Ok(len) => match self.take(len) {
                Ok(bytes) => return Ok(bytes),
                Err(_) => FaultKind::LengthBeyondEnd,
            },
            Err(_) => FaultKind::NegativeLength,
        };
        self.at = start;
        Err(fault)
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, FaultKind> {
        let start = self.at;
        let bytes = self.blob()?;
        std::str::from_utf8(bytes).map_err(|_| {
            self.at = start;
            FaultKind::BadUtf8
        })
    }
}
