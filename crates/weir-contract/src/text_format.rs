//! Formats of texts: whether a text is an e-mail address, a URI, a date as some pattern writes it.
//!
//! The checks follow the standards behind the names and allocate nothing for a text that fits. They say whether a
//! text has the form, not whether the thing exists.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A named format of ODCS's `logicalTypeOptions.format` for strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Email,
    Uuid,
    Uri,
    Hostname,
    Ipv4,
    Ipv6,
    DateTime,
    Date,
    Time,
    Byte,
}

pub(crate) const NAMES: [&str; 12] =
    ["email", "uuid", "uri", "hostname", "ipv4", "ipv6", "date-time", "date", "time", "byte", "binary", "password"];

impl Format {
    /// The format of this name. `binary` and `password` ask nothing of the text.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "email" => Self::Email,
            "uuid" => Self::Uuid,
            "uri" => Self::Uri,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "date-time" => Self::DateTime,
            "date" => Self::Date,
            "time" => Self::Time,
            "byte" => Self::Byte,
            _ => return None,
        })
    }

    pub(crate) fn fits(self, text: &str) -> bool {
        match self {
            Self::Email => is_email(text),
            Self::Uuid => is_uuid(text),
            Self::Uri => is_uri(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.parse::<std::net::Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<std::net::Ipv6Addr>().is_ok(),
            Self::DateTime => {
                matches!(text.as_bytes().get(10), Some(b'T' | b't')) && text.parse::<jiff::Timestamp>().is_ok()
            }
            Self::Date => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
            Self::Time => text.len() >= 8 && text.parse::<jiff::civil::Time>().is_ok(),
            Self::Byte => is_base64(text),
        }
    }
}

/// The dot-atom form of RFC 5321 with a domain name; no quoted local parts, no address literals.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b) || b >= 0x80;
    local.len() <= 64
        && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
        && domain.contains('.')
        && is_hostname(domain)
}

/// RFC 9562, section 4: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// An absolute URI by its characters (RFC 3986, sections 2 and 3.1).
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let in_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let bytes = rest.as_bytes();
    let fits = |(i, b): (usize, u8)| match b {
        b'%' => bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        b => b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&b),
    };
    scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(in_scheme)
        && !rest.is_empty()
        && rest.bytes().enumerate().all(fits)
}

/// RFC 1123, section 2.1: labels of letters, digits and inner hyphens.
fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |s: &str| {
        (1..=63).contains(&s.len())
            && !s.starts_with('-')
            && !s.ends_with('-')
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// RFC 4648, section 4, with padding.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// What a text of a date or time logical type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temporal {
    Date,
    Timestamp,
    Time,
}

/// How the texts of a property write dates or times.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub kind: Temporal,
    /// The pattern; ISO 8601 where there is none.
    pub pattern: Option<Pattern>,
    /// Whether a text must say its offset from UTC.
    pub needs_offset: bool,
    /// The zone of texts that do not say.
    pub zone: TimeZone,
}

impl Clock {
    /// The zone of this name, from the zones compiled in, so that no file is read.
    pub(crate) fn zone(name: &str) -> Option<TimeZone> {
        TimeZoneDatabase::bundled().get(name).ok()
    }

    /// Nanoseconds since the epoch, for a time since midnight; `None` for a text that is not written so.
    pub(crate) fn read(&self, text: &str) -> Option<i128> {
        match &self.pattern {
            Some(pattern) => self.finish(pattern.read(text)?),
            None => self.iso(text),
        }
    }

    /// A bound of the contract, which may be written in ISO 8601 whatever the pattern says.
    pub(crate) fn bound(&self, text: &str) -> Option<i128> {
        Self { pattern: None, needs_offset: false, ..self.clone() }.iso(text).or_else(|| self.read(text))
    }

    fn iso(&self, text: &str) -> Option<i128> {
        match self.kind {
            Temporal::Date => self.finish((text.parse::<jiff::civil::Date>().ok()?.at(0, 0, 0, 0), None)),
            Temporal::Time => self.finish((jiff::civil::date(1970, 1, 1).to_datetime(text.parse().ok()?), None)),
            Temporal::Timestamp => match text.parse::<jiff::Timestamp>() {
                Ok(instant) => Some(instant.as_nanosecond()),
                Err(_) => self.finish((text.parse().ok()?, None)),
            },
        }
    }

    fn finish(&self, (civil, offset): (jiff::civil::DateTime, Option<i32>)) -> Option<i128> {
        let zone = match offset {
            Some(seconds) => TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?),
            None if self.needs_offset => return None,
            None if self.kind == Temporal::Timestamp => self.zone.clone(),
            None => TimeZone::UTC,
        };
        Some(zone.to_timestamp(civil).ok()?.as_nanosecond())
    }
}

/// The part of the patterns of `java.time.format.DateTimeFormatter` that is made of digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Token>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A field and its fewest and most digits.
    Digits(Field, usize, usize),
    Offset,
    Literal(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Fraction,
}

impl Pattern {
    /// Reads a pattern; `None` for letters that do not stand for digits or offsets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let mut count = 1;
            if c.is_ascii_alphabetic() {
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
            }
            let digits = |field| Some(Token::Digits(field, count, if count == 1 { 2 } else { count }));
            let token = match (c, count) {
                ('y' | 'u', 4) => digits(Field::Year),
                ('M', 1 | 2) => digits(Field::Month),
                ('d', 1 | 2) => digits(Field::Day),
                ('H', 1 | 2) => digits(Field::Hour),
                ('m', 1 | 2) => digits(Field::Minute),
                ('s', 1 | 2) => digits(Field::Second),
                ('S', 1..=9) => Some(Token::Digits(Field::Fraction, count, count)),
                ('Z' | 'X' | 'x', 1..=3) => Some(Token::Offset),
                // The documents of ODCS write this one without the quotes Java asks for.
                ('T', 1) => Some(Token::Literal('T')),
                ('\'', _) => {
                    let quoted: String = chars.by_ref().take_while(|c| *c != '\'').collect();
                    match quoted.is_empty() {
                        true => tokens.push(Token::Literal('\'')),
                        false => tokens.extend(quoted.chars().map(Token::Literal)),
                    }
                    continue;
                }
                (c, _) if c.is_ascii_alphabetic() || "[]{}#".contains(c) => None,
                (c, _) => Some(Token::Literal(c)),
            };
            tokens.push(token?);
        }
        Some(Self(tokens))
    }

    fn read(&self, text: &str) -> Option<(jiff::civil::DateTime, Option<i32>)> {
        let (mut year, mut month, mut day, mut hour, mut minute, mut second, mut nanos) = (1970, 1, 1, 0, 0, 0, 0);
        let mut offset = None;
        let mut rest = text;
        for token in &self.0 {
            match *token {
                Token::Literal(c) => rest = rest.strip_prefix(c)?,
                Token::Offset => (offset, rest) = read_offset(rest).map(|(o, rest)| (Some(o), rest))?,
                Token::Digits(field, least, most) => {
                    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                    let (digits, tail) = rest.split_at_checked(count).filter(|_| count >= least)?;
                    let value: i32 = digits.parse().ok()?;
                    match field {
                        Field::Year => year = value,
                        Field::Month => month = value,
                        Field::Day => day = value,
                        Field::Hour => hour = value,
                        Field::Minute => minute = value,
                        Field::Second => second = value,
                        Field::Fraction => nanos = value * 10i32.pow(9 - count as u32),
                    }
                    rest = tail;
                }
            }
        }
        let small = |n: i32| i8::try_from(n).ok();
        let date = jiff::civil::Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()?;
        let time = jiff::civil::Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()?;
        rest.is_empty().then(|| (date.to_datetime(time), offset))
    }
}

/// `Z`, `+10`, `+1000` or `+10:00`, in seconds.
fn read_offset(text: &str) -> Option<(i32, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((0, rest));
    }
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |s: &str| s.get(..2).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse::<i32>().ok();
    let rest = &text[1..];
    let hours = two(rest)?;
    let tail = &rest[2..];
    let after = tail.strip_prefix(':').unwrap_or(tail);
    let (minutes, tail) = two(after).map_or((0, tail), |m| (m, &after[2..]));
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_form_from_nonsense() {
        for (name, fits, not) in [
            ("email", vec!["a.b+c@d-e.org"], vec!["a@b", "@b.org", "a..b@c.org", "a b@c.org", "a@-c.org", ""]),
            ("uuid", vec!["53581432-6c55-4ba2-a65f-72344a91553A"], vec!["53581432-6c55-4ba2-a65f-72344a91553", "x"]),
            ("uri", vec!["https://a.b/c?d=%20#e", "urn:x:y"], vec!["/a/b", "http://a b", "1a:b", "a:%2", "http:"]),
            ("hostname", vec!["a.b-c.d", "localhost"], vec!["-a", "a..b", "a_b", ""]),
            ("ipv4", vec!["127.0.0.1"], vec!["127.0.0.256", "1.2.3", "01.2.3.4"]),
            ("ipv6", vec!["::1", "2001:db8::ff"], vec!["::g", "1:2"]),
            (
                "date-time",
                vec!["2026-01-31T10:00:00Z", "2026-01-31T10:00:00.5+02:00"],
                vec!["2026-01-31T10:00:00", "2026-01-31 10:00:00Z", "2026-02-30T10:00:00Z"],
            ),
            ("date", vec!["2026-01-31"], vec!["2026-1-31", "20260131", "2026-02-30"]),
            ("time", vec!["10:00:00", "10:00:00.25"], vec!["10:00", "25:00:00"]),
            ("byte", vec!["", "aGk=", "aGV5"], vec!["a", "aGk", "a=b="]),
        ] {
            let format = Format::parse(name).unwrap();
            fits.iter().for_each(|text| assert!(format.fits(text), "{name}: {text}"));
            not.iter().for_each(|text| assert!(!format.fits(text), "{name}: {text}"));
        }
    }

    #[test]
    fn patterns_read_what_java_writes() {
        for (pattern, text, expect) in [
            ("yyyy-MM-dd", "2020-02-29", Some(1_582_934_400)),
            ("yyyy-MM-dd", "2021-02-29", None),
            ("yyyy-MM-dd", "2020-02-29x", None),
            ("dd.MM.yyyy HH:mm", "01.01.1970 01:30", Some(5_400)),
            ("d/M/yyyy", "1/12/1970", Some(28_857_600)),
            ("yyyy-MM-dd'T'HH:mm:ssXXX", "1970-01-01T01:00:00+01:00", Some(0)),
            ("yyyy-MM-ddTHH:mm:ssZ", "1970-01-01T00:00:01Z", Some(1)),
            ("yyyyMMdd", "19700102", Some(86_400)),
            ("yyyy-MM-dd HH:mm:ss.SSS", "1970-01-01 00:00:01.500", Some(1)),
        ] {
            let pattern = Pattern::parse(pattern);
            assert!(pattern.is_some(), "{text}");
            let clock = Clock { kind: Temporal::Timestamp, pattern, needs_offset: false, zone: TimeZone::UTC };
            let found = clock.read(text).map(|ns| ns.div_euclid(1_000_000_000));
            assert_eq!(found, expect, "{text}");
        }
        assert_eq!(Pattern::parse("EEE, d MMM yyyy"), None);
        let sydney = Clock {
            kind: Temporal::Timestamp,
            pattern: None,
            needs_offset: false,
            zone: Clock::zone("Australia/Sydney").unwrap(),
        };
        assert_eq!(sydney.bound("2020-01-01 00:00:00"), sydney.bound("2019-12-31T13:00:00Z"));
    }
}
