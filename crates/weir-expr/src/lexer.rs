//! CEL source to tokens (CEL language definition, "Syntax"), each with its line and column. It knows words and
//! literals, not what may follow what.

use crate::error::{ExprError, Pos};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok {
    /// The size of an integer literal; its sign is a token of its own.
    Int(u64),
    Uint(u64),
    /// The value and the text, which tells exactly what the value only comes near to.
    Double(f64, String),
    Str(String),
    Bytes(Vec<u8>),
    Ident(String),
    /// A field name between backticks.
    Quoted(String),
    Punct(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) at: Pos,
}

const PUNCT: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// Cuts `source` into tokens; the last one is [`Tok::End`].
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, ExprError> {
    let mut lexer = Lexer { rest: source, at: Pos { line: 1, column: 1 } };
    let mut out = Vec::new();
    loop {
        lexer.skip_blank();
        let at = lexer.at;
        let tok = lexer.token()?;
        let end = tok == Tok::End;
        out.push(Token { tok, at });
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'s> {
    rest: &'s str,
    at: Pos,
}

impl<'s> Lexer<'s> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes `bytes` bytes, which end at a character, and moves the place on.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        for c in taken.chars() {
            if c == '\n' {
                self.at = Pos { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        taken
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'s str {
        self.take(self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len()))
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c'));
            if !self.rest.starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<Tok, ExprError> {
        let at = self.at;
        let Some(c) = self.peek() else { return Ok(Tok::End) };
        if let Some(prefix) = self.text_prefix() {
            return self.text(prefix);
        }
        if c.is_ascii_digit() || (c == '.' && self.rest[1..].starts_with(|d: char| d.is_ascii_digit())) {
            return self.number();
        }
        if c.is_ascii_alphabetic() || c == '_' {
            return Ok(Tok::Ident(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_').to_owned()));
        }
        if c == '`' {
            self.take(1);
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c)).to_owned();
            if name.is_empty() || self.peek() != Some('`') {
                return Err(ExprError::new(
                    at,
                    "a quoted name has letters, digits, `_`, `.`, `-`, `/` and blanks between two backticks",
                ));
            }
            self.take(1);
            return Ok(Tok::Quoted(name));
        }
        if let Some(punct) = PUNCT.iter().find(|p| self.rest.starts_with(**p)) {
            self.take(punct.len());
            return Ok(Tok::Punct(punct));
        }
        let hint = match c {
            '=' => "a single `=` is no operator; compare with `==`".to_owned(),
            '&' => "a single `&` is no operator; use `&&`".to_owned(),
            '|' => "a single `|` is no operator; use `||`".to_owned(),
            c => format!("character `{}` has no meaning here", c.escape_default()),
        };
        Err(ExprError::new(at, hint))
    }

    /// The length of `r`, `b` or `br` before a quote, if a text or bytes literal starts here.
    fn text_prefix(&self) -> Option<usize> {
        let letters = self.rest.bytes().take(3).position(|b| matches!(b, b'"' | b'\''))?;
        let ok = matches!(&self.rest[..letters], "" | "r" | "R" | "b" | "B" | "br" | "bR" | "Br" | "BR");
        ok.then_some(letters)
    }

    fn text(&mut self, prefix: usize) -> Result<Tok, ExprError> {
        let start = self.at;
        let prefix = self.take(prefix);
        let raw = prefix.contains(['r', 'R']);
        let as_bytes = prefix.contains(['b', 'B']);
        let quote = if self.rest.starts_with("\"\"\"") {
            "\"\"\""
        } else if self.rest.starts_with("'''") {
            "'''"
        } else {
            &self.rest[..1]
        };
        self.take(quote.len());
        let mut out = Vec::new();
        loop {
            let at = self.at;
            if self.rest.starts_with(quote) {
                self.take(quote.len());
                break;
            }
            match self.peek() {
                None => return Err(ExprError::new(start, "text has no closing quote")),
                Some('\n' | '\r') if quote.len() == 1 => {
                    return Err(ExprError::new(
                        start,
                        "text has no closing quote in its line; use three quotes for several",
                    ));
                }
                Some('\\') if !raw => self.escape(as_bytes, at, &mut out)?,
                Some(c) => out.extend_from_slice(self.take(c.len_utf8()).as_bytes()),
            }
        }
        if as_bytes {
            return Ok(Tok::Bytes(out));
        }
        // Only whole characters were added.
        String::from_utf8(out).map(Tok::Str).map_err(|_| ExprError::new(start, "text is not valid UTF-8"))
    }

    fn escape(&mut self, as_bytes: bool, at: Pos, out: &mut Vec<u8>) -> Result<(), ExprError> {
        self.take(1);
        let Some(c) = self.peek() else { return Err(ExprError::new(at, "text has no closing quote")) };
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '?' | '"' | '\'' | '`' => c as u8,
            _ => 0,
        };
        if simple != 0 {
            self.take(1);
            out.push(simple);
            return Ok(());
        }
        let (skip, length, radix) = match c {
            'x' | 'X' => (1, 2, 16),
            'u' if !as_bytes => (1, 4, 16),
            'U' if !as_bytes => (1, 8, 16),
            '0'..='3' => (0, 3, 8),
            _ => {
                let message = format!(
                    "`\\{}` is no escape; write `\\\\` for a backslash or use a raw text r'...'",
                    c.escape_default()
                );
                return Err(ExprError::new(at, message));
            }
        };
        self.take(skip);
        let digits = self.rest.get(..length).filter(|d| d.chars().all(|c| c.is_digit(radix)));
        let code = digits.and_then(|d| u32::from_str_radix(d, radix).ok());
        let Some(code) = code else {
            return Err(ExprError::new(at, format!("this escape needs {length} digits of base {radix}")));
        };
        self.take(length);
        if as_bytes {
            // Three octal digits that start with 3 at most, or two hex digits, are one byte.
            out.push(code as u8);
            return Ok(());
        }
        let c = char::from_u32(code).ok_or_else(|| ExprError::new(at, "this escape is no Unicode character"))?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn number(&mut self) -> Result<Tok, ExprError> {
        let at = self.at;
        let start = self.rest;
        let too_large = || ExprError::new(at, "number does not fit 64 bits");
        if self.rest.starts_with("0x") || self.rest.starts_with("0X") {
            self.take(2);
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            if digits.is_empty() {
                return Err(ExprError::new(at, "`0x` needs hexadecimal digits"));
            }
            let value = u64::from_str_radix(digits, 16).map_err(|_| too_large())?;
            return self.suffixed(value, at);
        }
        let whole = self.take_while(|c| c.is_ascii_digit());
        let mut is_double = false;
        if self.rest.starts_with('.') && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            is_double = true;
            self.take(1);
            self.take_while(|c| c.is_ascii_digit());
        }
        if self.rest.starts_with(['e', 'E']) {
            let sign = usize::from(self.rest[1..].starts_with(['+', '-']));
            if self.rest[1 + sign..].starts_with(|c: char| c.is_ascii_digit()) {
                is_double = true;
                self.take(1 + sign);
                self.take_while(|c| c.is_ascii_digit());
            }
        }
        if !is_double {
            return self.suffixed(whole.parse().map_err(|_| too_large())?, at);
        }
        let text = &start[..start.len() - self.rest.len()];
        self.no_letter(at)?;
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Tok::Double(value, text.to_owned())),
            _ => Err(ExprError::new(at, "number does not fit a double")),
        }
    }

    fn suffixed(&mut self, value: u64, at: Pos) -> Result<Tok, ExprError> {
        let unsigned = self.rest.starts_with(['u', 'U']);
        if unsigned {
            self.take(1);
        }
        self.no_letter(at)?;
        Ok(if unsigned { Tok::Uint(value) } else { Tok::Int(value) })
    }

    fn no_letter(&self, at: Pos) -> Result<(), ExprError> {
        match self.peek() {
            Some(c) if c.is_alphanumeric() || c == '_' => {
                Err(ExprError::new(at, "number runs into a name; put a blank between"))
            }
            _ => Ok(()),
        }
    }
}
