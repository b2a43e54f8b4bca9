//! Regular expressions with the meaning they have in RE2, which CEL prescribes, on the `regex` crate, which differs
//! in a few places: it reads `\d`, `\w`, `\s` and `\b` as Unicode, has set operations inside classes and some escapes
//! and flags that RE2 lacks, and lacks `\Q..\E`. A pattern is rewritten before it is compiled.

use regex::{Regex, RegexBuilder};

/// The longest pattern, in bytes.
const LONGEST: usize = 4 * 1024;
/// The most memory a compiled pattern takes, in bytes.
const LARGEST: usize = 1 << 20;

/// Compiles an RE2 pattern.
///
/// # Errors
/// What is wrong with it, which quotes nothing but the pattern.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > LONGEST {
        return Err(format!("pattern is longer than {LONGEST} bytes"));
    }
    RegexBuilder::new(&rewrite(pattern)?).size_limit(LARGEST).dfa_size_limit(LARGEST).nest_limit(64).build().map_err(
        |e| {
            match e {
                regex::Error::CompiledTooBig(_) => "pattern is too large; use smaller repetitions".to_owned(),
                // The message draws the pattern over several lines; its last line says what is wrong.
                other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            }
        },
    )
}

fn rewrite(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let Some(escaped) = after.chars().next() else { return Err("pattern ends in a backslash".into()) };
                let next = &after[escaped.len_utf8()..];
                if escaped == 'Q' {
                    let (literal, end) = next.split_once("\\E").unwrap_or((next, ""));
                    out.push_str(&regex::escape(literal));
                    rest = end;
                    continue;
                }
                escape(escaped, class, &mut out)?;
                rest = next;
                continue;
            }
            '[' if class && after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").map_or(0, |i| i + 2);
                out.push('[');
                out.push_str(&after[..end]);
                rest = &after[end..];
                continue;
            }
            // What would start a class inside a class or a set operation is only itself in RE2.
            '[' | '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && after.starts_with('-') => {
                out.push_str("-\\-");
                rest = &after[1..];
                continue;
            }
            '[' => {
                class = true;
                out.push('[');
                let mut inner = after;
                if let Some(negated) = inner.strip_prefix('^') {
                    out.push('^');
                    inner = negated;
                }
                // A bracket that comes first is a member of the class.
                if let Some(first) = inner.strip_prefix(']') {
                    out.push_str("\\]");
                    inner = first;
                }
                rest = inner;
                continue;
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '(' if !class && after.starts_with('?') => {
                let flags = after[1..].chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-');
                let named = after.starts_with("?P<") || after.starts_with("?<");
                if !named && flags.into_iter().any(|f| !"imsU-".contains(f)) {
                    return Err("group flags are i, m, s and U".into());
                }
                out.push('(');
            }
            c => out.push(c),
        }
        rest = after;
    }
    Ok(out)
}

fn escape(c: char, class: bool, out: &mut String) -> Result<(), String> {
    let (inside, outside) = match c {
        'd' => ("0-9", "[0-9]"),
        'D' => ("[^0-9]", "[^0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        's' => ("\\t\\n\\x0C\\r ", "[\\t\\n\\x0C\\r ]"),
        'S' => ("[^\\t\\n\\x0C\\r ]", "[^\\t\\n\\x0C\\r ]"),
        'b' if !class => ("", "(?-u:\\b)"),
        'B' if !class => ("", "\\B"),
        'A' | 'z' if !class => ("", if c == 'A' { "\\A" } else { "\\z" }),
        'p' | 'P' | 'x' | 'a' | 'f' | 't' | 'n' | 'r' | 'v' => {
            out.extend(['\\', c]);
            return Ok(());
        }
        c if c.is_ascii_punctuation() => {
            // `\<` and `\>` are word boundaries in the crate and themselves in RE2.
            if !matches!(c, '<' | '>') {
                out.push('\\');
            }
            out.push(c);
            return Ok(());
        }
        c => return Err(format!("`\\{c}` is no escape of RE2")),
    };
    out.push_str(if class { inside } else { outside });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_re2() {
        for (pattern, text, expected) in [
            ("^\\d+$", "123", true),
            ("^\\d+$", "١٢٣", false),
            ("^\\w$", "é", false),
            ("^\\W$", "é", true),
            ("^[\\d-]+$", "1-2", true),
            ("^[^\\D]+$", "12", true),
            ("^[[]$", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[a&&b]+$", "&ab", true),
            ("^[+--]$", ",", true),
            ("^[[:alpha:]]+$", "abc", true),
            ("^\\Qa.b\\E$", "a.b", true),
            ("^\\Qa.b\\E$", "axb", false),
            ("^\\<a\\>$", "<a>", true),
            ("(?i)ABC", "xabcx", true),
            ("(?P<y>\\d{4})", "in 2024", true),
            ("^.$", "é", true),
            ("^\\pL+$", "é", true),
            ("\\bfoo\\b", "a foo b", true),
            ("a\\.b", "a.b", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text}");
        }
        for bad in ["(", "[a", "\\", "\\1", "a{1001}{1000}", "(?x)a", "(?=a)", "\\u0041", "*", "\\Z", "[a--b]"] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
