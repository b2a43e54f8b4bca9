//! `x IS [NOT] OF (type, ...)`. The parser does not know it, so its tokens are made `x [NOT] IN ("IS OF"(n))`, where n is
//! the number of its list of types.

use sqlparser::ast as p;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Parsed, fail, pos, word};

const FORM: &str = "write x IS OF (STRING, BIGINT), with types or the names of records";
/// What stands for a list of types in the parser's tree.
const MARK: &str = "IS OF";

/// The names of the types in a list: those of SQL in one spelling, others as they are written.
pub(super) type Types = Vec<Box<str>>;

/// Takes the lists of types out of the tokens.
pub(super) fn lists(tokens: &mut Vec<TokenWithSpan>) -> Parsed<Vec<Types>> {
    let mut found = Vec::new();
    let mut kept = Vec::with_capacity(tokens.len());
    let mut all = std::mem::take(tokens).into_iter().peekable();
    while let Some(token) = all.next() {
        if word(&token).as_deref() != Some("IS") {
            kept.push(token);
            continue;
        }
        let not = all.next_if(|t| word(t).as_deref() == Some("NOT"));
        if all.next_if(|t| word(t).as_deref() == Some("OF")).is_none() {
            kept.extend([Some(token), not].into_iter().flatten());
            continue;
        }
        let (at, span) = (pos(token.span.start), token.span);
        let mut list = Vec::new();
        if all.next_if(|t| t.token == Token::LParen).is_none() {
            return fail(at, FORM);
        }
        let mut depth = 1;
        for token in all.by_ref() {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            list.push(token);
        }
        let types = types(&list).filter(|_| depth == 0);
        let Some(types) = types else { return fail(at, FORM) };
        let number = Token::Number(found.len().to_string(), false);
        found.push(types);
        let made =
            [Token::LParen, Token::make_word(MARK, Some('"')), Token::LParen, number, Token::RParen, Token::RParen];
        kept.extend(not);
        kept.extend([Token::make_keyword("IN")].into_iter().chain(made).map(|token| TokenWithSpan::new(token, span)));
    }
    *tokens = kept;
    Ok(found)
}

/// The number of the list of types that stands for a list of values.
pub(super) fn number(list: &[p::Expr]) -> Option<usize> {
    let [p::Expr::Function(mark)] = list else { return None };
    let [p::ObjectNamePart::Identifier(name)] = &mark.name.0[..] else { return None };
    if name.value != MARK {
        return None;
    }
    mark.args.to_string().trim_matches(['(', ')']).parse().ok()
}

fn types(list: &[TokenWithSpan]) -> Option<Types> {
    let mut found = Vec::new();
    let mut rest = list;
    loop {
        let mut name = String::new();
        while let Some((token, behind)) = rest.split_first() {
            match &token.token {
                Token::Word(part) if name.is_empty() || name.ends_with('.') => name.push_str(&part.value),
                Token::Period if !name.is_empty() => name.push('.'),
                // DOUBLE PRECISION is one type.
                Token::Word(part) if part.value.eq_ignore_ascii_case("PRECISION") => {}
                Token::LParen if !name.is_empty() => {
                    let end = behind.iter().position(|t| t.token == Token::RParen)?;
                    name.push('(');
                    behind.iter().take(end).for_each(|t| name.push_str(&t.token.to_string()));
                    name.push(')');
                    rest = behind.get(end + 1..)?;
                    break;
                }
                _ => break,
            }
            rest = behind;
        }
        if name.is_empty() || name.ends_with('.') {
            return None;
        }
        found.push(spelled(&name));
        match rest.split_first() {
            None => return Some(found),
            Some((comma, behind)) if comma.token == Token::Comma => rest = behind,
            Some(_) => return None,
        }
    }
}

/// A type of SQL in the spelling of the plan.
fn spelled(name: &str) -> Box<str> {
    let (base, digits) = name.find('(').map_or((name, ""), |at| name.split_at(at));
    let base = match base.to_ascii_uppercase().as_str() {
        "STRING" | "VARCHAR" | "TEXT" => "TEXT",
        "BOOL" | "BOOLEAN" => "BOOLEAN",
        "INT" | "INTEGER" => "INT",
        "BIGINT" => "BIGINT",
        "DOUBLE" => "DOUBLE",
        "DECIMAL" | "NUMERIC" | "DEC" => "DECIMAL",
        "BYTES" | "BYTEA" => "BYTES",
        "DATE" => "DATE",
        "TIME" => "TIME",
        "TIMESTAMP" => "TIMESTAMP",
        "ARRAY" => "ARRAY",
        "MAP" => "MAP",
        _ => return name.into(),
    };
    format!("{base}{digits}").into()
}
