//! Patterns of texts: RE2 by the `regex` crate, and a far smaller matcher for the plain ones most contracts use.
//!
//! Codes, article numbers and postal codes are a row of characters and character classes, each so and so often, tied at
//! both ends: `^ORD-[0-9]{8}$`. Such a row needs no automaton: it is read from left to right without going back. That
//! is faster, and a thousand contracts do not each keep an automaton's cache per thread.

use regex::Regex;
use weir_avro::{Utf8, same};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    Row(Row),
    Regex(Regex),
}

/// Characters that stand once each, and atoms behind them.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    start: Box<[u8]>,
    atoms: Box<[Atom]>,
}

/// ASCII characters and how often one of them stands.
#[derive(Clone, Copy, Debug)]
struct Atom {
    /// Bit `n % 64` of word `n / 64` is the byte `n`. The bytes that are no ASCII are there so that none is out of range.
    set: [u64; 4],
    least: u32,
    most: u32,
}

impl Pattern {
    /// Compiles a pattern of RE2. The error says what is wrong with it.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        // The larger engine has the last word on what is a pattern.
        let regex = weir_expr::compile_pattern(text)?;
        Ok(row(text).map_or(Self::Regex(regex), Self::Row))
    }

    #[inline(never)]
    pub(crate) fn is_match(&self, text: Utf8<'_>) -> bool {
        match self {
            Self::Row(row) => row.is_match(text.as_bytes()),
            Self::Regex(regex) => regex.is_match(text.as_str()),
        }
    }
}

impl Row {
    fn is_match(&self, text: &[u8]) -> bool {
        let Some((_, mut text)) = text.split_at_checked(self.start.len()).filter(|(start, _)| same(start, &self.start))
        else {
            return false;
        };
        for atom in &self.atoms {
            let most = text.get(..atom.most as usize).unwrap_or(text);
            let has = |byte: u8| atom.set[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1;
            let count = most.iter().position(|byte| !has(*byte)).unwrap_or(most.len());
            if count < atom.least as usize {
                return false;
            }
            text = &text[count..];
        }
        text.is_empty()
    }
}

/// The row a pattern is; nothing where it is more than that.
fn row(pattern: &str) -> Option<Row> {
    let mut rest = pattern.strip_prefix('^')?.strip_suffix('$')?.as_bytes();
    let mut atoms: Vec<(u128, u32, u32)> = Vec::new();
    while !rest.is_empty() {
        let set;
        (set, rest) = match rest {
            [b'[', tail @ ..] => class(tail)?,
            [b'\\', c, tail @ ..] => (escaped(*c)?, tail),
            [c, tail @ ..] if c.is_ascii_alphanumeric() || b" -_/:,;@#%&=!<>~'\"".contains(c) => (1 << c, tail),
            _ => return None,
        };
        let (least, most);
        ((least, most), rest) = quantifier(rest)?;
        atoms.push((set, least, most));
    }
    // Going from left to right without going back is right where an atom that may end early cannot take what the next
    // ones want.
    let clear = |i: usize| {
        let (set, least, most) = atoms[i];
        least == most
            || atoms[i + 1..]
                .iter()
                .scan(false, |done, next| (!std::mem::replace(done, *done || next.1 > 0)).then_some(next))
                .all(|next| next.0 & set == 0)
    };
    if !(0..atoms.len()).all(clear) {
        return None;
    }
    let once = |(set, least, most): &(u128, u32, u32)| {
        (set.is_power_of_two() && (*least, *most) == (1, 1)).then_some(set.trailing_zeros() as u8)
    };
    let start: Box<[u8]> = atoms.iter().map_while(once).collect();
    let atom = |(set, least, most): &(u128, u32, u32)| Atom {
        set: [*set as u64, (*set >> 64) as u64, 0, 0],
        least: *least,
        most: *most,
    };
    Some(Row { atoms: atoms[start.len()..].iter().map(atom).collect(), start })
}

fn escaped(c: u8) -> Option<u128> {
    let range = |low: u8, high: u8| (low..=high).fold(0u128, |set, c| set | 1 << c);
    match c {
        b'd' => Some(range(b'0', b'9')),
        b'w' => Some(range(b'0', b'9') | range(b'a', b'z') | range(b'A', b'Z') | 1 << b'_'),
        // Some engines give these two a meaning.
        b'<' | b'>' => None,
        c if c.is_ascii_punctuation() => Some(1 << c),
        _ => None,
    }
}

/// A class of single characters, ranges and escapes, behind its bracket; no negation and no names.
fn class(mut rest: &[u8]) -> Option<(u128, &[u8])> {
    let mut set = 0;
    loop {
        rest = match rest {
            [b']', tail @ ..] if set != 0 => return Some((set, tail)),
            [b'\\', c, tail @ ..] if tail.first() != Some(&b'-') => {
                set |= escaped(*c)?;
                tail
            }
            [low, b'-', high, tail @ ..] if low.is_ascii_alphanumeric() && high.is_ascii_alphanumeric() => {
                set |= (*low..=*high).fold(0, |set, c| set | 1 << c);
                tail
            }
            [c, tail @ ..] if c.is_ascii_alphanumeric() || b" _./:,;@#%=!<>'\"+*".contains(c) => {
                set |= 1 << c;
                tail
            }
            [b'-', tail @ ..] if tail.first() == Some(&b']') => {
                set |= 1 << b'-';
                tail
            }
            _ => return None,
        };
    }
}

fn quantifier(rest: &[u8]) -> Option<((u32, u32), &[u8])> {
    let (count, tail) = match rest {
        [b'?', tail @ ..] => ((0, 1), tail),
        [b'*', tail @ ..] => ((0, u32::MAX), tail),
        [b'+', tail @ ..] => ((1, u32::MAX), tail),
        [b'{', tail @ ..] => {
            let end = tail.iter().position(|c| *c == b'}')?;
            let text = std::str::from_utf8(&tail[..end]).ok()?;
            let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|c| c.is_ascii_digit()));
            let count = match text.split_once(',') {
                Some((least, "")) => (number(least)?, u32::MAX),
                Some((least, most)) => (number(least)?, number(most)?),
                None => (number(text)?, number(text)?),
            };
            (count, &tail[end + 1..])
        }
        _ => ((1, 1), rest),
    };
    // A second quantifier would make the first one lazy.
    (!matches!(tail, [b'?' | b'*' | b'+' | b'{', ..])).then_some((count, tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_patterns_are_rows_and_others_are_not() {
        for (pattern, is_row) in [
            ("^ORD-[0-9]{10}$", true),
            ("^[A-Z]{3}$", true),
            (r"^\d{5}(-\d{4})?$", false),
            (r"^[\w.+-]+@[a-z]+\.org$", true),
            ("^[a-z]+[0-9]*$", true),
            ("^[a-z]+a$", false),
            ("^a?b?a$", false),
            ("^a?b?c$", true),
            ("ORD", false),
            ("^a|b$", false),
            ("^[^a]$", false),
            ("^a.c$", false),
            ("^ä$", false),
            ("^a{2,3}?$", false),
            ("^$", true),
            (r"^a\$", false),
        ] {
            assert_eq!(matches!(Pattern::compile(pattern), Ok(Pattern::Row(_))), is_row, "{pattern}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The two matchers agree on patterns built of the parts a row may have.
        #[test]
        fn a_row_matches_what_the_regex_matches(
            parts in proptest::collection::vec((
                proptest::sample::select(vec!["a", "b", "-", "[a-c]", "[ab]", r"\d", "[0-9_]", r"\.", "[.-]", r"\w", "[a-c0-2]"]),
                proptest::sample::select(vec!["", "", "?", "*", "+", "{2}", "{1,2}", "{2,}", "{0}"]),
            ), 0..5),
            texts in proptest::collection::vec("[abc012._é-]{0,6}", 8),
        ) {
            let pattern: String = parts.iter().map(|(atom, count)| format!("{atom}{count}")).collect();
            let pattern = format!("^{pattern}$");
            if let Some(row) = row(&pattern) {
                let regex = weir_expr::compile_pattern(&pattern).unwrap();
                for text in texts {
                    prop_assert_eq!(row.is_match(text.as_bytes()), regex.is_match(&text), "{} on {:?}", pattern, text);
                }
            }
        }
    }
}
