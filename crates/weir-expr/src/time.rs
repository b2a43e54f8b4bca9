//! Instants and lengths of time: their text forms, their range and their calendar parts. `jiff` knows the time zones;
//! its own timestamp ends a day before the last one CEL and business data use (9999-12-31), so the instant is ours.
//! Nothing here asks what time it is.

use std::fmt;
use std::sync::LazyLock;

use jiff::SignedDuration;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::error::EvalErrorKind;

/// The first and the last second of CEL's timestamps: 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// The longest duration, in seconds (google.protobuf.Duration).
const LONGEST: i64 = 315_576_000_000;
const DAY: i64 = 86_400;

/// An instant from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(SignedDuration);

impl Timestamp {
    /// The instant this long after 1970-01-01T00:00:00Z, `None` outside the range.
    pub fn since_epoch(duration: SignedDuration) -> Option<Timestamp> {
        let seconds = duration.as_secs() - i64::from(duration.subsec_nanos() < 0);
        SECONDS.contains(&seconds).then_some(Timestamp(duration))
    }

    /// The instant this many milliseconds after the epoch, `None` outside the range.
    pub fn from_millis(millis: i64) -> Option<Timestamp> {
        Timestamp::since_epoch(SignedDuration::from_millis(millis))
    }

    /// The instant this many seconds after the epoch, `None` outside the range.
    pub fn from_seconds(seconds: i64) -> Option<Timestamp> {
        Timestamp::since_epoch(SignedDuration::from_secs(seconds))
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.parts().0
    }

    /// How long after 1970-01-01T00:00:00Z; negative before it.
    pub fn as_duration(self) -> SignedDuration {
        self.0
    }

    /// Whole seconds since the epoch, rounded down, and the nanoseconds on top of them.
    fn parts(self) -> (i64, i64) {
        let (seconds, nanos) = (self.0.as_secs(), i64::from(self.0.subsec_nanos()));
        if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) }
    }

    /// Reads RFC 3339: `2024-02-29T12:30:00.5+01:00`, with `T` and `Z` or an offset.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let b = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| -> Option<i64> {
            b.get(range)?.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
        };
        let is = |at: usize, any: &[u8]| b.get(at).is_some_and(|c| any.contains(c));
        if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":")) {
            return None;
        }
        let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
        let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
        if !(1..=12).contains(&month)
            || day < 1
            || day > days_in(year, month)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let mut at = 19;
        let mut nanos = 0;
        if is(at, b".") {
            let end = at + 1 + b[at + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
            if !(1..=9).contains(&(end - at - 1)) {
                return None;
            }
            nanos = digits(at + 1..end)? * 10_i64.pow(9 - (end - at - 1) as u32);
            at = end;
        }
        let offset = match &b[at..] {
            b"Z" | b"z" => 0,
            [b'+' | b'-', ..] => i64::from(parse_offset(&text[at..])?),
            _ => return None,
        };
        let seconds = days_before(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
        Timestamp::since_epoch(SignedDuration::new(seconds, nanos as i32))
    }

    /// The calendar part of the instant as seen in a zone, counted as CEL counts it.
    pub(crate) fn part(self, part: Part, zone: &Zone) -> i64 {
        let (seconds, nanos) = self.parts();
        let local = seconds + zone.offset_at(seconds);
        let (days, in_day) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        match part {
            Part::FullYear => year,
            Part::Month => month - 1,
            Part::Date => day,
            Part::DayOfMonth => day - 1,
            Part::DayOfWeek => (days + 4).rem_euclid(7),
            Part::DayOfYear => days - days_before(year, 1, 1),
            Part::Hours => in_day / 3600,
            Part::Minutes => in_day / 60 % 60,
            Part::Seconds => in_day % 60,
            Part::Milliseconds => nanos / 1_000_000,
        }
    }

    pub(crate) fn plus(self, duration: SignedDuration) -> Result<Timestamp, EvalErrorKind> {
        self.0
            .checked_add(duration)
            .and_then(Timestamp::since_epoch)
            .ok_or(EvalErrorKind::Overflow("timestamp arithmetic"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = self.parts();
        let (year, month, day) = date_of(seconds.div_euclid(DAY));
        let s = seconds.rem_euclid(DAY);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)?;
        write_fraction(f, nanos)?;
        f.write_str("Z")
    }
}

fn write_fraction(f: &mut impl fmt::Write, nanos: i64) -> fmt::Result {
    if nanos == 0 {
        return Ok(());
    }
    let digits = format!("{nanos:09}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

/// The part of an instant or of a duration that a getter asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// A time zone by name or by offset.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    Fixed(i32),
    Named(TimeZone),
}

impl Zone {
    pub(crate) const UTC: Zone = Zone::Fixed(0);

    /// Reads a name of the IANA database (`Europe/Berlin`) or an offset (`+02:00`, `-03:30`, `02:00`).
    pub(crate) fn parse(text: &str) -> Option<Zone> {
        // The database inside the binary is the same everywhere; the one of the machine is not.
        static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        if text.starts_with(|c: char| c == '+' || c == '-' || c.is_ascii_digit()) {
            let signed = if text.starts_with(['+', '-']) { text.to_owned() } else { format!("+{text}") };
            return parse_offset(&signed).map(Zone::Fixed);
        }
        DATABASE.get(text).ok().map(Zone::Named)
    }

    fn offset_at(&self, seconds: i64) -> i64 {
        match self {
            Zone::Fixed(offset) => i64::from(*offset),
            Zone::Named(zone) => {
                let last = jiff::Timestamp::MAX.as_second();
                let at = jiff::Timestamp::from_second(seconds.min(last)).unwrap_or(jiff::Timestamp::MAX);
                i64::from(zone.to_offset(at).seconds())
            }
        }
    }
}

/// Seconds east of UTC in `+02:00`.
fn parse_offset(text: &str) -> Option<i32> {
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    let digit = |c: &u8| c.is_ascii_digit().then(|| i32::from(c - b'0'));
    let (hours, minutes) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
    let seconds = (hours * 60 + minutes) * 60;
    (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -seconds } else { seconds })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Years are counted from March, so that the leap
/// day is the last of its year and the lengths of the months follow one formula.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that is `days` after 1970-01-01: the inverse of [`days_before`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A duration within the range of google.protobuf.Duration.
pub(crate) fn in_range(duration: Option<SignedDuration>) -> Result<SignedDuration, EvalErrorKind> {
    duration.filter(|d| d.as_secs().abs() <= LONGEST).ok_or(EvalErrorKind::Overflow("duration arithmetic"))
}

/// Reads `1h30m`, `-1.5s`, `250ms`: decimal numbers with the units h, m, s, ms, us (or µs) and ns.
pub(crate) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut total = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let unit = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, after) = after.split_at(unit);
        let nanos: i128 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') || whole.len() > 18 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(nanos)?)?;
        // Digits below a nanosecond are cut off; 13 of them reach one even for hours.
        let mut place = nanos;
        let mut below = 0_i128;
        let mut scale = 1_i128;
        for c in fraction.bytes().take(13) {
            below = below * 10 + i128::from(c - b'0');
            scale *= 10;
        }
        place *= below;
        total = total.checked_add(place / scale)?;
        rest = after;
    }
    let total = if negative { -total } else { total };
    let seconds = i64::try_from(total / 1_000_000_000).ok()?;
    in_range(Some(SignedDuration::new(seconds, (total % 1_000_000_000) as i32))).ok()
}

/// Writes a duration as CEL does: in seconds, `-1.5s`.
pub(crate) fn duration_text(duration: SignedDuration) -> String {
    let mut text = String::new();
    if duration.is_negative() {
        text.push('-');
    }
    let length = duration.unsigned_abs();
    text.push_str(&length.as_secs().to_string());
    // Writing to a String cannot fail.
    let _ = write_fraction(&mut text, i64::from(length.subsec_nanos()));
    text.push('s');
    text
}

/// The part of a duration: hours, minutes and seconds are totals, milliseconds are those of the last second.
pub(crate) fn duration_part(duration: SignedDuration, part: Part) -> i64 {
    match part {
        Part::Hours => duration.as_secs() / 3600,
        Part::Minutes => duration.as_secs() / 60,
        Part::Seconds => duration.as_secs(),
        _ => i64::from(duration.subsec_nanos() / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_are_inverse() {
        for days in (-719_162..2_932_897).step_by(37) {
            let (y, m, d) = date_of(days);
            assert!((1..=9999).contains(&y) && d <= days_in(y, m));
            assert_eq!(days_before(y, m, d), days);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
    }

    #[test]
    fn timestamps_read_and_write() {
        for text in [
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "2024-02-29T12:00:00.05Z",
        ] {
            assert_eq!(Timestamp::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
        }
        for bad in [
            "",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01T24:00:00Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00.Z",
            "0001-01-01T00:00:00+00:01",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00+1:00",
            "2024-é1-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_read_and_write() {
        for (text, written) in [
            ("1h30m", "5400s"),
            ("-1.5s", "-1.5s"),
            ("250ms", "0.25s"),
            ("0", "0s"),
            ("1.5h1ns", "5400.000000001s"),
            ("-2us", "-0.000002s"),
        ] {
            assert_eq!(parse_duration(text).map(duration_text).as_deref(), Some(written), "{text}");
        }
        for bad in ["", "-", "1", "s", ".s", "1.2.3s", "1d", "1 s", "999999999999s", "9999999999999999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
