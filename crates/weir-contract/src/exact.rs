//! Exact decimal numbers, so that a bound such as 0.1 means the same for an int, a double and an Avro decimal.

use crate::yaml::{Node, Value};

/// `unscaled` / 10^`scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exact {
    pub unscaled: i128,
    pub scale: u32,
}

impl Exact {
    /// The number of a YAML scalar, by the shortest text that reads back as it. Nothing where 38 digits do not hold it.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        match node.value {
            Value::Int(n) => Some(Self { unscaled: n, scale: 0 }),
            Value::Float(n) if n.is_finite() => Self::parse(&n.to_string()),
            _ => None,
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let unscaled = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { unscaled, scale: u32::try_from(fraction.len()).ok()? })
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// This number times 10^`scale`, rounded down. What does not fit becomes the nearest that does.
    pub(crate) fn floor_at(self, scale: u32) -> i128 {
        self.at(scale).0
    }

    /// This number times 10^`scale`, rounded up.
    pub(crate) fn ceil_at(self, scale: u32) -> i128 {
        let (floor, whole) = self.at(scale);
        if whole { floor } else { floor.saturating_add(1) }
    }

    /// The same as an integer at `scale`, if it is one there.
    pub(crate) fn whole_at(self, scale: u32) -> Option<i128> {
        let (floor, whole) = self.at(scale);
        whole.then_some(floor)
    }

    fn at(self, scale: u32) -> (i128, bool) {
        match self.scale.checked_sub(scale) {
            None | Some(0) => {
                let factor = 10i128.checked_pow(scale - self.scale);
                (self.unscaled.saturating_mul(factor.unwrap_or(i128::MAX)), true)
            }
            Some(less) => match 10i128.checked_pow(less) {
                Some(factor) => (self.unscaled.div_euclid(factor), self.unscaled.rem_euclid(factor) == 0),
                None => (if self.unscaled < 0 { -1 } else { 0 }, self.unscaled == 0),
            },
        }
    }
}

impl std::fmt::Display for Exact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.unscaled.unsigned_abs(), width = self.scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.scale as usize);
        write!(f, "{sign}{whole}")?;
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

/// The number an Avro decimal holds: two's complement, big endian. Beyond 16 bytes the nearest that fits.
pub(crate) fn unscaled(bytes: &[u8]) -> i128 {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let start = bytes.iter().position(|b| *b != fill).unwrap_or(bytes.len());
    let significant = &bytes[start..];
    let fits = significant.len() < 16 || (significant.len() == 16 && (significant[0] & 0x80 != 0) == negative);
    if !fits {
        return if negative { i128::MIN } else { i128::MAX };
    }
    let mut buffer = [fill; 16];
    buffer[16 - significant.len()..].copy_from_slice(significant);
    i128::from_be_bytes(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_round_towards_the_values_they_allow() {
        for (text, scale, floor, ceil) in [
            ("0.5", 0, 0, 1),
            ("-0.5", 0, -1, 0),
            ("12", 2, 1200, 1200),
            ("0.125", 2, 12, 13),
            ("-12.30", 1, -123, -123),
        ] {
            let exact = Exact::parse(text).unwrap();
            assert_eq!((exact.floor_at(scale), exact.ceil_at(scale)), (floor, ceil), "{text}");
            assert_eq!(exact.to_string(), text);
        }
    }

    #[test]
    fn decimals_of_any_length_are_read() {
        for (bytes, expect) in [
            (vec![], 0),
            (vec![0x7f], 127),
            (vec![0xff], -1),
            (vec![0, 0xff], 255),
            (vec![0xff; 20], -1),
            (vec![0x7f; 20], i128::MAX),
            (vec![0x80; 20], i128::MIN),
        ] {
            assert_eq!(unscaled(&bytes), expect, "{bytes:?}");
        }
    }
}
