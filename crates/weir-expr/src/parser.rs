//! Tokens to the tree of an expression, by precedence climbing. Both the nesting of the source and the levels of the
//! tree are bounded, so nothing after this step can run out of stack.

use crate::ast::{Expr, ExprKind, Literal, Op};
use crate::error::{ExprError, Pos};
use crate::lexer::{Tok, Token, tokens};

/// The most levels an expression may nest.
pub(crate) const DEPTH: usize = 96;

/// Names that CEL keeps for the languages it is embedded in.
const RESERVED: [&str; 16] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "while",
];

type Parsed = Result<Expr, ExprError>;

/// Reads one expression, which must be all of `source`.
pub(crate) fn parse(source: &str) -> Parsed {
    let mut parser = Parser { tokens: tokens(source)?, next: 0, nesting: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Tok::End => Ok(expr),
        Tok::Ident(word) => {
            let hint = match word.to_ascii_lowercase().as_str() {
                "and" => "; `&&` is the operator for and",
                "or" => "; `||` is the operator for or",
                "not" => "; `!` is the operator for not",
                _ => "",
            };
            Err(parser.error(format!("`{word}` does not continue the expression{hint}")))
        }
        _ => Err(parser.error("an operator or the end of the expression is needed here")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    nesting: usize,
}

impl Parser {
    fn peek(&self) -> &Tok {
        &self.tokens[self.next].tok
    }

    fn at(&self) -> Pos {
        self.tokens[self.next].at
    }

    /// Takes a token; the last one, which is the end, stays.
    fn advance(&mut self) -> Tok {
        let tok = self.tokens[self.next].tok.clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        tok
    }

    fn is(&self, punct: &str) -> bool {
        matches!(self.peek(), Tok::Punct(p) if *p == punct)
    }

    fn eat(&mut self, punct: &str) -> bool {
        let found = self.is(punct);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, punct: &str, what: &str) -> Result<(), ExprError> {
        if self.eat(punct) { Ok(()) } else { Err(self.error(format!("`{punct}` is missing {what}"))) }
    }

    fn error(&self, message: impl Into<String>) -> ExprError {
        ExprError::new(self.at(), message)
    }

    fn node(&self, at: Pos, kind: ExprKind) -> Parsed {
        let most = |exprs: &[Expr]| exprs.iter().map(|e| e.depth).max().unwrap_or(0);
        let below = match &kind {
            ExprKind::Literal(_) | ExprKind::Ident(_) => 0,
            ExprKind::Select(e, _) | ExprKind::Not(e) | ExprKind::Negate(e) => e.depth,
            ExprKind::Index(two) | ExprKind::Binary(_, two) => most(&two[..]),
            ExprKind::Call(of, _, args) => most(args).max(of.as_ref().map_or(0, |e| e.depth)),
            ExprKind::List(all) | ExprKind::And(all) | ExprKind::Or(all) => most(all),
            ExprKind::Map(entries) => entries.iter().map(|e| most(&e[..])).max().unwrap_or(0),
            ExprKind::Cond(three) => most(&three[..]),
        };
        if below >= DEPTH {
            return Err(ExprError::new(at, format!("expression has more than {DEPTH} levels; split it")));
        }
        Ok(Expr { at, depth: below + 1, kind })
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ExprError>) -> Result<T, ExprError> {
        if self.nesting >= DEPTH {
            return Err(self.error(format!("expression has more than {DEPTH} levels; split it")));
        }
        self.nesting += 1;
        let out = parse(self);
        self.nesting -= 1;
        out
    }

    fn expr(&mut self) -> Parsed {
        self.nested(|p| {
            let at = p.at();
            let condition = p.binary(1)?;
            if !p.eat("?") {
                return Ok(condition);
            }
            let then = p.binary(1)?;
            p.expect(":", "between the branches of `? :`")?;
            let otherwise = p.expr()?;
            p.node(at, ExprKind::Cond(Box::new([condition, then, otherwise])))
        })
    }

    fn operator(&self) -> Option<Op> {
        Some(match self.peek() {
            Tok::Punct(p) => match *p {
                "==" => Op::Eq,
                "!=" => Op::Ne,
                "<" => Op::Lt,
                "<=" => Op::Le,
                ">" => Op::Gt,
                ">=" => Op::Ge,
                "+" => Op::Add,
                "-" => Op::Sub,
                "*" => Op::Mul,
                "/" => Op::Div,
                "%" => Op::Rem,
                _ => return None,
            },
            Tok::Ident(word) if word == "in" => Op::In,
            _ => return None,
        })
    }

    /// Operators that bind at least as tightly as `level`.
    fn binary(&mut self, level: u8) -> Parsed {
        if level <= 2 {
            let sign = if level == 1 { "||" } else { "&&" };
            let first = self.binary(level + 1)?;
            if !self.is(sign) {
                return Ok(first);
            }
            let at = first.at;
            let mut all = vec![first];
            while self.eat(sign) {
                all.push(self.binary(level + 1)?);
            }
            return self.node(at, if level == 1 { ExprKind::Or(all) } else { ExprKind::And(all) });
        }
        let mut left = self.unary()?;
        while let Some(op) = self.operator().filter(|op| op.binding() >= level) {
            let at = self.at();
            self.advance();
            let right = self.binary(op.binding() + 1)?;
            left = self.node(at, ExprKind::Binary(op, Box::new([left, right])))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        if self.eat("!") {
            let of = self.nested(Self::unary)?;
            return self.node(at, ExprKind::Not(Box::new(of)));
        }
        if !self.is("-") {
            return self.member();
        }
        self.advance();
        let literal = match self.peek() {
            Tok::Int(size) => match 0_i64.checked_sub_unsigned(*size) {
                Some(value) => Literal::Int(value),
                None => return Err(self.error("number does not fit 64 bits")),
            },
            Tok::Double(value, text) => Literal::Double(-value, format!("-{text}")),
            _ => {
                let of = self.nested(Self::unary)?;
                return self.node(at, ExprKind::Negate(Box::new(of)));
            }
        };
        self.advance();
        let literal = self.node(at, ExprKind::Literal(literal))?;
        self.suffixes(literal)
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut expr: Expr) -> Parsed {
        loop {
            let at = self.at();
            if self.eat(".") {
                let at = self.at();
                let name = match self.peek() {
                    Tok::Ident(name) if !matches!(name.as_str(), "true" | "false" | "null" | "in") => name.clone(),
                    Tok::Quoted(name) => name.clone(),
                    Tok::Punct("?") => {
                        return Err(self.error("optional fields `.?` are not part of this CEL; use has()"));
                    }
                    _ => return Err(self.error("a field or method name is needed after `.`")),
                };
                let quoted = matches!(self.advance(), Tok::Quoted(_));
                let kind = if !quoted && self.eat("(") {
                    ExprKind::Call(Some(Box::new(expr)), name, self.list(")")?)
                } else if self.is("{") {
                    return Err(self.error("messages cannot be constructed here; use a map literal"));
                } else {
                    ExprKind::Select(Box::new(expr), name)
                };
                expr = self.node(at, kind)?;
            } else if self.eat("[") {
                if self.is("?") {
                    return Err(self.error("optional indexing `[?` is not part of this CEL; test with `in` first"));
                }
                let index = self.expr()?;
                self.expect("]", "after the index")?;
                expr = self.node(at, ExprKind::Index(Box::new([expr, index])))?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// Expressions between commas up to `close`; a comma may follow the last item of a list, not of a call.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, ExprError> {
        let mut all = Vec::new();
        while !self.eat(close) {
            all.push(self.expr()?);
            if self.eat(",") {
                if close == ")" && self.is(close) {
                    return Err(self.error("an argument is missing after `,`"));
                }
                continue;
            }
            self.expect(close, "or `,` after an item")?;
            break;
        }
        Ok(all)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let kind = match self.peek().clone() {
            Tok::Int(size) => match i64::try_from(size) {
                Ok(value) => ExprKind::Literal(Literal::Int(value)),
                Err(_) => return Err(self.error("number does not fit 64 bits; write a `u` behind it for a uint")),
            },
            Tok::Uint(value) => ExprKind::Literal(Literal::Uint(value)),
            Tok::Double(value, text) => ExprKind::Literal(Literal::Double(value, text)),
            Tok::Str(text) => ExprKind::Literal(Literal::String(text)),
            Tok::Bytes(bytes) => ExprKind::Literal(Literal::Bytes(bytes)),
            Tok::Ident(name) => match name.as_str() {
                "true" => ExprKind::Literal(Literal::Bool(true)),
                "false" => ExprKind::Literal(Literal::Bool(false)),
                "null" => ExprKind::Literal(Literal::Null),
                "in" => return Err(self.error("`in` needs an expression before it")),
                word if RESERVED.contains(&word) => {
                    return Err(self.error(format!("`{word}` is a reserved word and cannot be a name")));
                }
                _ => {
                    self.advance();
                    if self.eat("(") {
                        let args = self.list(")")?;
                        return self.node(at, ExprKind::Call(None, name, args));
                    }
                    if self.is("{") {
                        return Err(self.error("messages cannot be constructed here; use a map literal"));
                    }
                    return self.node(at, ExprKind::Ident(name));
                }
            },
            Tok::Punct("(") => {
                self.advance();
                let inner = self.expr()?;
                self.expect(")", "to close the parenthesis")?;
                return Ok(inner);
            }
            Tok::Punct("[") => {
                self.advance();
                let items = self.list("]")?;
                return self.node(at, ExprKind::List(items));
            }
            Tok::Punct("{") => {
                self.advance();
                let mut entries = Vec::new();
                while !self.eat("}") {
                    let key = self.expr()?;
                    self.expect(":", "between a key and its value")?;
                    entries.push([key, self.expr()?]);
                    if !self.eat(",") {
                        self.expect("}", "or `,` after an entry")?;
                        break;
                    }
                }
                return self.node(at, ExprKind::Map(entries));
            }
            Tok::Quoted(_) => return Err(self.error("a quoted name is only allowed after a `.`")),
            Tok::End => return Err(self.error("an expression is missing here")),
            Tok::Punct(p) => return Err(self.error(format!("an expression is needed before `{p}`"))),
        };
        self.advance();
        self.node(at, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nesting_is_refused_before_the_stack_ends() {
        let n = 10_000;
        for (open, close) in
            [("(", ")"), ("[", "]"), ("-", "x"), ("!", "x"), ("f(", ")"), ("x?", ":y"), ("{1:", "}"), ("x[", "]")]
        {
            let source = format!("{}1{}", open.repeat(n), close.repeat(n));
            assert!(parse(&source).is_err(), "{open}");
        }
        assert!(parse(&"1+".repeat(n)).is_err());
        assert!(parse(&format!("x{}", ".y".repeat(n))).is_err());
        assert!(parse(&format!("1{}", "?1:1".repeat(n))).is_err());
        assert!(parse(&format!("{}1{}", "(".repeat(60), ")".repeat(60))).is_ok());
        assert!(parse(&format!("true{}", " && true".repeat(500))).is_ok());
        assert!(parse(&format!("1{}", " + 1".repeat(80))).is_ok());
    }

    proptest! {
        #[test]
        fn random_text_never_panics(source in "\\PC{0,80}") {
            let _ = parse(&source);
        }

        #[test]
        fn random_tokens_never_panic(words in proptest::collection::vec(prop_oneof![
            Just("this"), Just("."), Just("a"), Just("("), Just(")"), Just("["), Just("]"), Just("{"), Just("}"), Just(":"),
            Just("?"), Just(","), Just("1"), Just("-"), Just("1.5"), Just("'x'"), Just("b'\\xff'"), Just("&&"), Just("||"),
            Just("!"), Just("in"), Just("=="), Just("<"), Just("+"), Just("all"), Just("has"), Just("0x"), Just("\\"), Just("'"),
        ], 0..40), space in any::<bool>()) {
            let _ = parse(&words.join(if space { " " } else { "" }));
        }
    }
}
