//! `LIKE` and the masks of texts.

use crate::error::EvalErrorKind;
use crate::value::Budget;

/// Whether a text is like a pattern: `%` is any text, `_` one character, behind the escape each is itself. One pass with
/// one place to come back to, so the worst is text times pattern, which the budget pays for.
pub(crate) fn like(
    text: &str,
    pattern: &str,
    escape: Option<char>,
    fold: bool,
    budget: &Budget,
) -> Result<bool, EvalErrorKind> {
    enum Part {
        Any,
        One,
        Char(char),
    }
    let lower = |c: char| if fold { c.to_lowercase().next().unwrap_or(c) } else { c };
    let mut parts = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            c if Some(c) == escape => Part::Char(lower(chars.next().ok_or(EvalErrorKind::Pattern)?)),
            '%' => Part::Any,
            '_' => Part::One,
            c => Part::Char(lower(c)),
        });
    }
    let text: Vec<char> = text.chars().map(lower).collect();
    budget.spend((text.len() + parts.len()) as u64 / 8)?;
    let (mut t, mut p) = (0, 0);
    // The last `%`, and how much of the text it has taken.
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                back = Some((p, t));
                p += 1;
            }
            Some(Part::One) => (t, p) = (t + 1, p + 1),
            Some(Part::Char(c)) if *c == text[t] => (t, p) = (t + 1, p + 1),
            _ => match back {
                Some((any, taken)) => {
                    budget.spend(1)?;
                    back = Some((any, taken + 1));
                    (t, p) = (taken + 1, any + 1);
                }
                None => return Ok(false),
            },
        }
    }
    Ok(parts[p..].iter().all(|part| matches!(part, Part::Any)))
}

/// The shape of a text and nothing else: `X` for a capital, `x` for another letter, `n` for a digit, `-` for the rest.
pub(crate) fn mask(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_numeric() => 'n',
            c if c.is_uppercase() => 'X',
            c if c.is_alphabetic() => 'x',
            _ => '-',
        })
        .collect()
}
