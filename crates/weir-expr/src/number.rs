//! Numbers of different kinds against each other, exactly: no comparison and no conversion goes through a type that
//! cannot hold both sides. Decimals are scaled integers.

use std::cmp::Ordering;
use std::fmt;

/// The most digits of a decimal: what 128 bits hold.
const DIGITS: u32 = 38;

/// The powers of ten that 128 bits hold.
const POWERS: [i128; DIGITS as usize + 1] = {
    let mut powers = [1; DIGITS as usize + 1];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// An exact decimal number, `unscaled / 10^scale`, of up to 38 digits with 0 to 38 of them behind the point.
///
/// Packed, so that the 16-byte alignment of `i128` does not grow every value of an expression.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(8))]
pub struct Decimal {
    unscaled: i128,
    scale: u32,
}

impl Decimal {
    /// `None` if the number has more than 38 digits.
    pub fn new(unscaled: i128, scale: u32) -> Option<Decimal> {
        let fits = scale <= DIGITS && unscaled.unsigned_abs() < POWERS[DIGITS as usize].unsigned_abs();
        fits.then_some(Decimal { unscaled, scale })
    }

    /// The digits without the point.
    pub fn unscaled(self) -> i128 {
        self.unscaled
    }

    /// How many of the digits are behind the point.
    pub fn scale(self) -> u32 {
        self.scale
    }

    /// Reads a two's complement big-endian number (Avro specification, "Decimal").
    pub(crate) fn from_bytes(bytes: &[u8], scale: u32) -> Option<Decimal> {
        if let 1..=8 = bytes.len() {
            // The usual size, without a wide copy.
            let head = i64::from(bytes[0] as i8);
            let value = bytes[1..].iter().fold(head, |value, byte| value << 8 | i64::from(*byte));
            return Decimal::new(value.into(), scale);
        }
        let sign = if bytes.first().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let extra = bytes.len().saturating_sub(16);
        let mut wide = [sign; 16];
        let kept = &bytes[extra..];
        wide[16 - kept.len()..].copy_from_slice(kept);
        let value = i128::from_be_bytes(wide);
        let fits = bytes[..extra].iter().all(|b| *b == sign) && (value < 0) == (sign != 0);
        if fits { Decimal::new(value, scale) } else { None }
    }

    /// Reads a big-decimal: a length, that many bytes of a two's complement number, and a scale.
    pub(crate) fn from_big(bytes: &[u8]) -> Option<Decimal> {
        let (length, rest) = varint(bytes)?;
        let (number, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let (scale, rest) = varint(rest)?;
        if !rest.is_empty() {
            return None;
        }
        let unscaled = Decimal::from_bytes(number, 0)?.unscaled;
        Decimal::shifted(unscaled, scale)
    }

    /// `unscaled / 10^scale` for any scale, also below zero, if the number fits.
    fn shifted(mut unscaled: i128, mut scale: i64) -> Option<Decimal> {
        if unscaled == 0 {
            return Decimal::new(0, scale.clamp(0, i64::from(DIGITS)) as u32);
        }
        while scale > i64::from(DIGITS) && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        if scale < 0 {
            let factor = POWERS.get(usize::try_from(scale.checked_neg()?).ok()?)?;
            return Decimal::new(unscaled.checked_mul(*factor)?, 0);
        }
        Decimal::new(unscaled, u32::try_from(scale).ok()?)
    }

    /// Reads `-12.50` or `1.5e3`.
    pub(crate) fn parse(text: &str) -> Option<Decimal> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 {
            return None;
        }
        let mut unscaled = 0_i128;
        for c in whole.bytes().chain(fraction.bytes()) {
            let digit = c.is_ascii_digit().then(|| i128::from(c - b'0'))?;
            unscaled = unscaled.checked_mul(10)?.checked_add(digit)?;
        }
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        Decimal::shifted(if negative { -unscaled } else { unscaled }, scale)
    }

    /// Whole units, towards zero, and what is left over in units of `10^-scale`.
    fn split(self) -> (i128, i128) {
        let unit = POWERS[self.scale as usize];
        (self.unscaled / unit, self.unscaled % unit)
    }

    /// Towards zero; `None` if it does not fit.
    pub(crate) fn to_int(self) -> Option<i64> {
        i64::try_from(self.split().0).ok()
    }

    /// The nearest double. Dividing would round twice, so the text is read instead.
    pub(crate) fn to_double(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    pub(crate) fn negated(self) -> Decimal {
        Decimal { unscaled: -self.unscaled, scale: self.scale }
    }

    /// Brings both to the larger scale.
    fn aligned(self, other: Decimal) -> Option<(i128, i128, u32)> {
        let scale = self.scale().max(other.scale());
        let up = |d: Decimal| d.unscaled().checked_mul(POWERS[(scale - d.scale) as usize]);
        Some((up(self)?, up(other)?, scale))
    }

    /// The exact result; `None` beyond 38 digits.
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        Decimal::new(a.checked_add(b)?, scale)
    }

    /// The exact result; `None` beyond 38 digits.
    pub fn minus(self, other: Decimal) -> Option<Decimal> {
        self.plus(other.negated())
    }

    pub(crate) fn times(self, other: Decimal) -> Option<Decimal> {
        let product = self.unscaled().checked_mul(other.unscaled())?;
        Decimal::shifted(product, i64::from(self.scale) + i64::from(other.scale))
    }

    pub(crate) fn cmp(self, other: Decimal) -> Ordering {
        if self.scale() == other.scale() {
            return self.unscaled().cmp(&other.unscaled());
        }
        if let Some((a, b, _)) = self.aligned(other) {
            return a.cmp(&b);
        }
        let ((a, ra), (b, rb)) = (self.split(), other.split());
        // What is left over is below 10^scale, so it stays below 10^38 at the larger scale.
        let scale = self.scale().max(other.scale());
        let up = |rest: i128, d: Decimal| rest * POWERS[(scale - d.scale) as usize];
        a.cmp(&b).then_with(|| up(ra, self).cmp(&up(rb, other)))
    }

    /// `None` for NaN.
    pub(crate) fn cmp_double(self, other: f64) -> Option<Ordering> {
        if other.is_nan() {
            return None;
        }
        // Below this bound the whole part of a double is exact in 128 bits; at and above it no decimal reaches.
        if other.abs() >= 1e38 {
            return Some(if other > 0.0 { Ordering::Less } else { Ordering::Greater });
        }
        let (whole, rest) = self.split();
        let order = whole.cmp(&(other.trunc() as i128));
        if order.is_ne() {
            return Some(order);
        }
        let mut theirs = other.fract();
        let negative = rest < 0 || theirs < 0.0;
        if (rest > 0 && theirs < 0.0) || (rest < 0 && theirs > 0.0) {
            return Some(rest.cmp(&0));
        }
        // Both fractions are unrolled bit by bit; doubling a double is exact.
        let (unit, mut ours) = (POWERS[self.scale as usize].unsigned_abs(), rest.unsigned_abs());
        theirs = theirs.abs();
        let order = loop {
            if theirs == 0.0 {
                break ours.cmp(&0);
            }
            (ours, theirs) = (ours * 2, theirs * 2.0);
            match (ours >= unit, theirs >= 1.0) {
                (true, false) => break Ordering::Greater,
                (false, true) => break Ordering::Less,
                (true, true) => (ours, theirs) = (ours - unit, theirs - 1.0),
                (false, false) => {}
            }
        };
        Some(if negative { order.reverse() } else { order })
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Decimal {
        Decimal { unscaled: value.into(), scale: 0 }
    }
}

impl From<u64> for Decimal {
    fn from(value: u64) -> Decimal {
        Decimal { unscaled: value.into(), scale: 0 }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unscaled, scale) = (self.unscaled, self.scale as usize);
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if unscaled < 0 { "-" } else { "" };
        match fraction {
            "" => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

/// A zigzag varint and what follows it.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (i, b) in bytes.iter().enumerate().take(10) {
        value |= u64::from(b & 0x7f) << (7 * i);
        if b & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), &bytes[i + 1..]));
        }
    }
    None
}

/// An int against a double; `None` for NaN.
pub(crate) fn cmp_int_double(a: i64, b: f64) -> Option<Ordering> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        None
    } else if b >= BOUND {
        Some(Ordering::Less)
    } else if b < -BOUND {
        Some(Ordering::Greater)
    } else {
        let whole = b.trunc();
        Some(a.cmp(&(whole as i64)).then_with(|| 0.0.partial_cmp(&(b - whole)).unwrap_or(Ordering::Equal)))
    }
}

/// A uint against a double; `None` for NaN.
pub(crate) fn cmp_uint_double(a: u64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        None
    } else if b >= 18_446_744_073_709_551_616.0 {
        Some(Ordering::Less)
    } else if b < 0.0 {
        Some(Ordering::Greater)
    } else {
        let whole = b.trunc();
        Some(a.cmp(&(whole as u64)).then_with(|| 0.0.partial_cmp(&(b - whole)).unwrap_or(Ordering::Equal)))
    }
}

/// Towards zero; `None` if it does not fit (CEL, "Numeric Values": out of range is an error).
pub(crate) fn double_to_int(value: f64) -> Option<i64> {
    let whole = value.trunc();
    (whole > -9_223_372_036_854_775_808.0 && whole < 9_223_372_036_854_775_808.0).then_some(whole as i64)
}

/// Towards zero; `None` if it does not fit.
pub(crate) fn double_to_uint(value: f64) -> Option<u64> {
    let whole = value.trunc();
    (0.0..18_446_744_073_709_551_616.0).contains(&whole).then_some(whole as u64)
}

/// The shortest text that reads back as the same double: plain from 1e-4 to below 1e21, with an exponent outside.
pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let size = value.abs();
    if value == 0.0 || (1e-4..1e21).contains(&size) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is no decimal"))
    }

    #[test]
    fn decimals_read_write_and_compute() {
        for (text, written) in
            [("12.50", "12.50"), ("-0.05", "-0.05"), ("1.5e3", "1500"), ("1e-3", "0.001"), ("7", "7"), (".5", "0.5")]
        {
            assert_eq!(d(text).to_string(), written);
        }
        for bad in ["", ".", "-", "1e", "1.2.3", "a", "1e400", "100000000000000000000000000000000000000000", "1e-39"] {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(d("0.10").plus(d("0.2")).unwrap().to_string(), "0.30");
        assert_eq!(d("1.25").times(d("4")).unwrap().to_string(), "5.00");
        assert_eq!(d("1").minus(d("0.01")).unwrap().to_string(), "0.99");
        assert!(d("99999999999999999999999999999999999999").plus(d("1")).is_none());
    }

    #[test]
    fn decimals_of_bytes() {
        assert_eq!(Decimal::from_bytes(&[0x04, 0xd2], 2).unwrap().to_string(), "12.34");
        assert_eq!(Decimal::from_bytes(&[0xff], 2).unwrap().to_string(), "-0.01");
        assert_eq!(Decimal::from_bytes(&[0xff; 20], 0).unwrap().to_string(), "-1");
        assert_eq!(Decimal::from_bytes(&[], 1).unwrap().to_string(), "0.0");
        assert!(Decimal::from_bytes(&[0x7f; 17], 0).is_none());
        assert_eq!(Decimal::from_big(&[4, 0x04, 0xd2, 4]).unwrap().to_string(), "12.34");
        assert_eq!(Decimal::from_big(&[2, 0x05, 3]).unwrap().to_string(), "500");
        assert!(Decimal::from_big(&[2, 0x05]).is_none());
        assert!(Decimal::from_big(&[2, 0x05, 2, 0]).is_none());
    }

    #[test]
    fn a_decimal_and_a_double_compare_exactly() {
        // 0.1 as a double is a little more than a tenth.
        assert_eq!(d("0.1").cmp_double(0.1), Some(Ordering::Less));
        assert_eq!(d("-0.1").cmp_double(-0.1), Some(Ordering::Greater));
        assert_eq!(d("0.5").cmp_double(0.5), Some(Ordering::Equal));
        assert_eq!(d("-0.5").cmp_double(0.25), Some(Ordering::Less));
        assert_eq!(d("12").cmp_double(f64::INFINITY), Some(Ordering::Less));
        assert_eq!(d("12").cmp_double(f64::NAN), None);
        assert_eq!(d("0").cmp_double(f64::MIN_POSITIVE), Some(Ordering::Less));
    }

    #[test]
    fn doubles_as_text() {
        for (value, text) in
            [(6.02214e23, "6.02214e+23"), (-456.98, "-456.98"), (1e-7, "1e-07"), (0.0, "0"), (1e6, "1000000")]
        {
            assert_eq!(double_text(value), text);
        }
    }

    proptest! {
        #[test]
        fn ints_and_doubles_compare_as_decimals_do(a: i64, b in any::<f64>()) {
            prop_assert_eq!(cmp_int_double(a, b), Decimal::from(a).cmp_double(b));
            prop_assert_eq!(cmp_uint_double(a as u64, b), Decimal::from(a as u64).cmp_double(b));
            let near = a as f64 + 0.5;
            prop_assert_eq!(cmp_int_double(a, near), Decimal::from(a).cmp_double(near));
        }

        #[test]
        fn decimals_of_any_scale_have_one_order(a in any::<i64>(), b in any::<i64>(), s in 0u32..19, t in 0u32..19) {
            let (x, y) = (Decimal::new(a.into(), s).unwrap(), Decimal::new(b.into(), t).unwrap());
            let exact = (i128::from(a) * 10_i128.pow(t)).cmp(&(i128::from(b) * 10_i128.pow(s)));
            prop_assert_eq!(Decimal::cmp(x, y), exact);
            prop_assert_eq!(Decimal::cmp(y, x), exact.reverse());
            prop_assert_eq!(x.to_string(), d(&x.to_string()).to_string());
        }

        #[test]
        fn text_of_a_double_reads_back(value in any::<f64>()) {
            let back: f64 = double_text(value).replace("Inf", "inf").parse().unwrap();
            prop_assert!(back == value || (back.is_nan() && value.is_nan()));
        }
    }
}
