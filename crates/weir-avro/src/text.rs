//! The text forms of logical types in plain JSON. Writing and reading stand side by side so that they agree.
//!
//! Dates and times are ISO 8601, timestamps RFC 3339. Years outside 0 to 9999 carry a sign, as Java's `LocalDate`
//! writes them, because Avro's range is wider than RFC 3339's. There is no clock and no time zone database here.

use std::fmt::Write;

use apache_avro::{BigDecimal, Decimal};

use crate::cursor::Cursor;

const DAY: i64 = 86_400;
/// Longer numbers are written as `0x` and their bytes: decimal digits would cost quadratic work.
const LONGEST_NUMBER: usize = 1024;
/// About as many digits as [`LONGEST_NUMBER`] bytes hold.
const MOST_DIGITS: usize = 2466;

/// `2024-02-29`.
pub(crate) fn date(days: i64) -> String {
    // Years are counted from March, so that a leap day is the last day of its year.
    let day = days + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    if (0..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+05}-{month:02}-{day:02}")
    }
}

/// `08:30:00.125`, or `None` outside a day. `digits` of a second: 3 for milliseconds, 6, 9.
pub(crate) fn time(value: i64, digits: u32) -> Option<String> {
    let (seconds, fraction) = split(value, digits);
    (0..DAY).contains(&seconds).then(|| clock(seconds, fraction, digits))
}

/// `2024-02-29T08:30:00.125`, with a `Z` at the end for an instant.
pub(crate) fn timestamp(value: i64, digits: u32, instant: bool) -> String {
    let (seconds, fraction) = split(value, digits);
    let clock = clock(seconds.rem_euclid(DAY), fraction, digits);
    format!("{}T{clock}{}", date(seconds.div_euclid(DAY)), if instant { "Z" } else { "" })
}

fn split(value: i64, digits: u32) -> (i64, i64) {
    let second = 10i64.pow(digits);
    (value.div_euclid(second), value.rem_euclid(second))
}

fn clock(seconds: i64, fraction: i64, digits: u32) -> String {
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        _ = write!(text, ".{fraction:0width$}", width = digits as usize);
    }
    text
}

pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let days = scan.date()?;
    scan.0.is_empty().then_some(days)
}

pub(crate) fn parse_time(text: &str, digits: u32) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let (seconds, fraction) = scan.clock(digits)?;
    scan.0.is_empty().then_some(seconds * 10i64.pow(digits) + fraction)
}

/// An instant needs `Z` or an offset, a local time must have neither.
pub(crate) fn parse_timestamp(text: &str, digits: u32, instant: bool) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let days = scan.date()?;
    scan.eat(b"Tt ")?;
    let (seconds, fraction) = scan.clock(digits)?;
    let offset = if instant { scan.offset()? } else { 0 };
    let seconds = i128::from(days * DAY + seconds - offset);
    let value = seconds * 10i128.pow(digits) + i128::from(fraction);
    scan.0.is_empty().then(|| i64::try_from(value).ok())?
}

struct Scan<'t>(&'t [u8]);

impl Scan<'_> {
    fn eat(&mut self, any: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        any.contains(first).then(|| self.0 = rest)?;
        Some(*first)
    }

    /// A number of `least` to `most` digits, and how many it had.
    fn number(&mut self, least: usize, most: usize) -> Option<(i64, usize)> {
        let len = self.0.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        (len >= least).then(|| (digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')), len))
    }

    fn pair(&mut self, most: i64) -> Option<i64> {
        self.number(2, 2).map(|(n, _)| n).filter(|n| *n <= most)
    }

    fn date(&mut self) -> Option<i64> {
        let start = self.0;
        let sign = self.eat(b"+-");
        let (year, _) = self.number(4, if sign.is_some() { 9 } else { 4 })?;
        let year = if sign == Some(b'-') { -year } else { year };
        self.eat(b"-")?;
        let month = self.pair(12).filter(|m| *m > 0)?;
        self.eat(b"-")?;
        let day = self.pair(31)?;
        let (from_march, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, of_era) = (from_march.div_euclid(400), from_march.rem_euclid(400));
        let days = of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1;
        let days = era * 146_097 + days - 719_468;
        // A day that the month does not have comes back as another date. "-0000" and "+2024" are other spellings.
        let taken = &start[..start.len() - self.0.len()];
        (sign.is_some() || date(days).as_bytes() == taken).then_some(days)
    }

    fn clock(&mut self, digits: u32) -> Option<(i64, i64)> {
        let hours = self.pair(23)?;
        self.eat(b":")?;
        let minutes = self.pair(59)?;
        self.eat(b":")?;
        let seconds = self.pair(59)?;
        let mut fraction = 0;
        if self.eat(b".").is_some() {
            let (n, len) = self.number(1, digits as usize)?;
            fraction = n * 10i64.pow(digits - len as u32);
            // Digits beyond the unit would be lost, so only zeros may stand there.
            while self.eat(b"0").is_some() {}
        }
        Some((hours * 3600 + minutes * 60 + seconds, fraction))
    }

    fn offset(&mut self) -> Option<i64> {
        match self.eat(b"Zz+-")? {
            b'Z' | b'z' => Some(0),
            sign => {
                let hours = self.pair(23)?;
                self.eat(b":")?;
                let seconds = hours * 3600 + self.pair(59)? * 60;
                Some(if sign == b'-' { -seconds } else { seconds })
            }
        }
    }
}

/// `P14M3DT4.500S`: months, days and milliseconds, which Avro keeps apart.
pub(crate) fn duration(bytes: &[u8]) -> Option<String> {
    let part = |i: usize| bytes.get(i..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
    let (months, days, millis) = (part(0)?, part(4)?, part(8)?);
    let mut text = "P".to_owned();
    if months > 0 {
        _ = write!(text, "{months}M");
    }
    if days > 0 {
        _ = write!(text, "{days}D");
    }
    match (millis / 1000, millis % 1000) {
        (0, 0) if months > 0 || days > 0 => {}
        (seconds, 0) => _ = write!(text, "T{seconds}S"),
        (seconds, rest) => _ = write!(text, "T{seconds}.{rest:03}S"),
    }
    Some(text)
}

/// Years, months, weeks, days, hours, minutes and seconds in this order, each at most once.
pub(crate) fn parse_duration(text: &str) -> Option<Vec<u8>> {
    let mut scan = Scan(text.as_bytes());
    scan.eat(b"P")?;
    // Each unit as (letter, part of the triple, how many of that part).
    let units = [
        (b'Y', 0, 12),
        (b'M', 0, 1),
        (b'W', 1, 7),
        (b'D', 1, 1),
        (b'T', 9, 0),
        (b'H', 2, 3_600_000),
        (b'M', 2, 60_000),
        (b'S', 2, 1000),
    ];
    let mut parts = [0i64; 3];
    let (mut next, mut ended) = (0, false);
    while !scan.0.is_empty() {
        if scan.eat(b"T").is_some() {
            ended = false;
            next = (next <= 4).then_some(5)?;
            continue;
        }
        let (n, _) = scan.number(1, 10)?;
        let millis = match scan.eat(b".") {
            Some(_) => scan.number(1, 3).map(|(n, len)| n * 10i64.pow(3 - len as u32))?,
            None => 0,
        };
        let letter = scan.eat(b"YMWDHS")?;
        let (at, (_, part, factor)) =
            units.iter().enumerate().skip(next).find(|(i, u)| u.0 == letter && (next > 4 || *i < 4))?;
        if millis > 0 && letter != b'S' {
            return None;
        }
        parts[*part] += n * factor + millis;
        (next, ended) = (at + 1, true);
    }
    let parts: Option<Vec<_>> = parts.iter().map(|p| u32::try_from(*p).ok().map(u32::to_le_bytes)).collect();
    ended.then_some(parts?.concat())
}

/// 16 bytes as 8-4-4-4-12 hexadecimal digits.
pub(crate) fn uuid(bytes: &[u8]) -> String {
    let mut text = hex(bytes);
    for at in [20, 16, 12, 8] {
        if at <= text.len() {
            text.insert(at, '-');
        }
    }
    text
}

pub(crate) fn parse_uuid(text: &str) -> Option<Vec<u8>> {
    crate::read::is_uuid(text.as_bytes()).then(|| unhex(&text.replace('-', "")))?
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, b| {
        _ = write!(text, "{b:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[a, b]| (a << 4 | b) as u8).collect())
}

/// A two's complement number times 10^-scale, all digits of the scale kept: `12.50`.
pub(crate) fn decimal(unscaled: &[u8], scale: i64) -> String {
    if unscaled.len() > LONGEST_NUMBER {
        let scale = if scale == 0 { String::new() } else { format!("E{}", -i128::from(scale)) };
        return format!("0x{}{scale}", hex(unscaled));
    }
    let number = BigDecimal::new(Decimal::from(unscaled).into(), 0).into_bigint_and_exponent().0.to_string();
    match usize::try_from(scale) {
        Ok(0) => number,
        Ok(scale) if scale <= MOST_DIGITS => {
            let (sign, digits) = number.strip_prefix('-').map_or(("", &*number), |digits| ("-", digits));
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        _ => format!("{number}E{}", -i128::from(scale)),
    }
}

/// A number in text: its digits without sign and point, and how many of them stand behind the point.
struct Digits {
    negative: bool,
    digits: String,
    scale: i64,
}

impl Digits {
    fn parse(text: &str) -> Option<Digits> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (number, exponent) = match rest.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i128>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = match number.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (number, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let scale = i64::try_from((fraction.len() as i128).checked_sub(exponent)?).ok()?;
        Some(Digits { negative, digits: format!("{whole}{fraction}"), scale })
    }

    /// The unscaled number in the fewest bytes; `None` if it has more digits than `most`.
    fn unscaled(&self, most: usize) -> Option<Vec<u8>> {
        let digits = self.digits.trim_start_matches('0');
        if digits.len() > most.min(MOST_DIGITS) {
            return None;
        }
        let text = format!("{}{}", if self.negative { "-" } else { "" }, if digits.is_empty() { "0" } else { digits });
        Some(text.parse::<BigDecimal>().ok()?.into_bigint_and_exponent().0.to_signed_bytes_be())
    }
}

/// The unscaled bytes of a decimal in text form, or what is wrong with it.
pub(crate) fn parse_decimal(text: &str, precision: usize, scale: usize) -> Result<Vec<u8>, String> {
    if let Some(digits) = text.strip_prefix("0x") {
        let digits = if scale == 0 { Some(digits) } else { digits.strip_suffix(&*format!("E-{scale}")) };
        return digits.and_then(unhex).ok_or_else(|| "expected 0x and pairs of hexadecimal digits".to_owned());
    }
    let mut number = Digits::parse(text).ok_or("expected a decimal number as text, such as \"12.50\"")?;
    let target = i64::try_from(scale).unwrap_or(i64::MAX);
    let zeros = number.digits.len() - number.digits.trim_end_matches('0').len();
    if number.digits.bytes().all(|b| b == b'0') {
        number.digits.clear();
    } else if number.scale > target {
        let surplus = usize::try_from(number.scale - target).unwrap_or(usize::MAX);
        if surplus > zeros {
            return Err(format!("expected at most {scale} digits behind the point"));
        }
        number.digits.truncate(number.digits.len() - surplus);
    } else {
        let lacking = usize::try_from(target.saturating_sub(number.scale)).unwrap_or(usize::MAX).min(MOST_DIGITS + 1);
        number.digits.extend(std::iter::repeat_n('0', lacking));
    }
    let most = precision.min(MOST_DIGITS);
    number
        .unscaled(precision)
        .ok_or_else(|| format!("expected at most {most} digits, {scale} of them behind the point"))
}

/// The content of a big-decimal as text; `None` if the bytes hold none.
pub(crate) fn big_decimal(bytes: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(bytes);
    let number = cursor.blob().ok()?;
    Some(decimal(number, cursor.long().ok()?))
}

/// The content of a big-decimal: the length and bytes of the number, then its scale.
pub(crate) fn parse_big_decimal(text: &str) -> Result<Vec<u8>, String> {
    let expected = "expected a decimal number as text, such as \"12.50\" or \"1E6\"";
    let (number, scale) = match text.strip_prefix("0x") {
        Some(rest) => {
            let (digits, exponent) = rest.split_once("E").unwrap_or((rest, "0"));
            let scale = exponent.parse::<i128>().ok().and_then(|e| i64::try_from(-e).ok());
            (unhex(digits).ok_or(expected)?, scale.ok_or(expected)?)
        }
        None => {
            let digits = Digits::parse(text).ok_or(expected)?;
            let number = digits.unscaled(MOST_DIGITS);
            (number.ok_or_else(|| format!("expected at most {MOST_DIGITS} digits"))?, digits.scale)
        }
    };
    let mut bytes = Vec::with_capacity(number.len() + 12);
    crate::encode::long(&mut bytes, number.len() as i64);
    bytes.extend(number);
    crate::encode::long(&mut bytes, scale);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_read_back() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (2_932_897, "+10000-01-01"),
            (i64::from(i32::MAX), "+5881580-07-11"),
            (i64::from(i32::MIN), "-5877641-06-23"),
        ] {
            assert_eq!((date(days).as_str(), parse_date(text)), (text, Some(days)));
        }
        for bad in ["2023-02-29", "2024-13-01", "2024-1-01", "2024-00-10", "24-01-01", "2024-01-32", "2024-01-01x", ""]
        {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
        for (millis, text) in [(0, "00:00:00"), (86_399_999, "23:59:59.999"), (5, "00:00:00.005")] {
            assert_eq!((time(millis, 3).as_deref(), parse_time(text, 3)), (Some(text), Some(millis)));
        }
        assert_eq!((time(-1, 3), time(86_400_000, 3)), (None, None));
        for bad in ["24:00:00", "12:60:00", "12:00", "12:00:00.", "12:00:00.0001", "12:00:00Z"] {
            assert_eq!(parse_time(bad, 3), None, "{bad}");
        }
    }

    #[test]
    fn timestamps_read_back() {
        for (value, digits, text) in [
            (0, 3, "1970-01-01T00:00:00Z"),
            (-1, 3, "1969-12-31T23:59:59.999Z"),
            (1_700_000_000_123_456, 6, "2023-11-14T22:13:20.123456Z"),
            (i64::MAX, 9, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, 3, "-292275055-05-16T16:47:04.192Z"),
        ] {
            assert_eq!(
                (timestamp(value, digits, true).as_str(), parse_timestamp(text, digits, true)),
                (text, Some(value))
            );
        }
        let at = |text| parse_timestamp(text, 3, true);
        assert_eq!(at("2024-01-01T01:30:00+01:30"), at("2024-01-01 00:00:00Z"));
        assert_eq!(at("2024-01-01T00:00:00.100000Z"), at("2024-01-01T00:00:00.1z"));
        for bad in ["2024-01-01T00:00:00", "2024-01-01", "2024-01-01T00:00:00.1001Z", "+999999999-01-01T00:00:00Z"] {
            assert_eq!(at(bad), None, "{bad}");
        }
        assert_eq!(parse_timestamp("2024-01-01T00:00:00Z", 3, false), None);
    }

    #[test]
    fn durations_read_back() {
        let bytes = |m: u32, d: u32, ms: u32| [m.to_le_bytes(), d.to_le_bytes(), ms.to_le_bytes()].concat();
        for (parts, text) in [
            ((0, 0, 0), "PT0S"),
            ((14, 3, 4500), "P14M3DT4.500S"),
            ((1, 0, 0), "P1M"),
            ((0, u32::MAX, 7), "P4294967295DT0.007S"),
        ] {
            let bytes = bytes(parts.0, parts.1, parts.2);
            assert_eq!((duration(&bytes).as_deref(), parse_duration(text)), (Some(text), Some(bytes)));
        }
        assert_eq!(parse_duration("P1Y2M1W1DT1H1M1.5S"), Some(bytes(14, 8, 3_661_500)));
        for bad in ["", "P", "PT", "P1D1M", "1D", "P1DT", "P1H", "PT1D", "P1.5D", "P4294967296D", "PT1S1S", "P1DT1ST1S"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn decimals_read_back() {
        for (bytes, scale, text) in [
            (&[0][..], 0, "0"),
            (&[0x04, 0xd2], 2, "12.34"),
            (&[0xff], 3, "-0.001"),
            (&[0xfb, 0x2e], 2, "-12.34"),
            (&[0x00, 0x80], 2, "1.28"),
        ] {
            assert_eq!(
                (decimal(bytes, scale).as_str(), parse_decimal(text, 9, scale as usize).as_deref()),
                (text, Ok(bytes))
            );
        }
        for same in ["12.5", "+12.50", "1.25e1", "012.500", "125E-1"] {
            assert_eq!(parse_decimal(same, 4, 2), Ok(vec![0x04, 0xe2]), "{same}");
        }
        for bad in ["", ".5", "5.", "1_0", "12.505", "100.00", "1E99999999999", "0x1", "NaN", "1e", "--1", "1E2"] {
            assert!(parse_decimal(bad, 4, 2).is_err(), "{bad}");
        }
        assert_eq!(parse_decimal("0E99999", 4, 2), Ok(vec![0]));
        let long = vec![0x7f; 5000];
        assert_eq!(parse_decimal(&decimal(&long, 2), 9, 2), Ok(long));
        for text in ["0", "12.50", "-1E1000000", "1E-9223372036854775807", "123456789012345678901234567890"] {
            let bytes = parse_big_decimal(text).unwrap();
            assert_eq!(parse_big_decimal(&big_decimal(&bytes).unwrap()), Ok(bytes), "{text}");
        }
    }
}
