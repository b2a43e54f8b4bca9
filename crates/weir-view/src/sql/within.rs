//! What a join says of time: `WITHIN d [GRACE g]`, and `FOR SYSTEM_TIME AS OF t.rowtime HISTORY d`. The parser does not
//! know it, so it is taken out of the tokens before.

use std::collections::BTreeMap;

use sqlparser::ast as p;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_expr::Pos;

use super::words::{interval, names};
use super::{AsOf, Parsed, Times, Within, fail, pos, syntax, word};

const FORM: &str = "write a JOIN b WITHIN INTERVAL '1' HOUR GRACE INTERVAL '5' MINUTE ON a.id = b.id";

const AS_OF: &str = "write JOIN b FOR SYSTEM_TIME AS OF a.rowtime HISTORY INTERVAL '7' DAY ON a.id = b.id";

/// Takes what each join says of time out of the tokens; by the number of the JOIN in the text, from 0.
pub(super) fn times(tokens: &mut Vec<TokenWithSpan>) -> Parsed<BTreeMap<usize, Times>> {
    let mut found: BTreeMap<usize, Times> = BTreeMap::new();
    let mut kept = Vec::with_capacity(tokens.len());
    let (mut depth, mut joins, mut open) = (0_i64, 0, false);
    let mut all = std::mem::take(tokens).into_iter().peekable();
    while let Some(token) = all.next() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        match word(&token).as_deref() {
            Some("JOIN") if depth == 0 => {
                joins += 1;
                open = true;
            }
            Some("ON") if depth == 0 => open = false,
            Some("WITHIN") if depth == 0 && open => {
                let mut of = Vec::new();
                while let Some(token) = all.next_if(|t| word(t).as_deref() != Some("ON")) {
                    of.push(token);
                }
                let at = pos(token.span.start);
                found.entry(joins - 1).or_default().within = Some((lengths(of, at)?, at));
                continue;
            }
            Some("FOR") if depth == 0 && open => {
                let at = pos(token.span.start);
                let mut said = |wanted: &str| all.next_if(|t| word(t).as_deref() == Some(wanted)).is_some();
                if !["SYSTEM_TIME", "AS", "OF"].into_iter().all(&mut said) {
                    return fail(at, AS_OF);
                }
                let mut path = Vec::new();
                let mut history = false;
                while let Some(token) = all.next_if(|t| !history && matches!(t.token, Token::Word(_) | Token::Period)) {
                    history = word(&token).as_deref() == Some("HISTORY");
                    path.push(token);
                }
                if !history {
                    return fail(at, AS_OF);
                }
                path.pop();
                found.entry(joins - 1).or_default().of = Some((as_of(path, &mut all, at)?, at));
                continue;
            }
            _ => {}
        }
        kept.push(token);
    }
    *tokens = kept;
    Ok(found)
}

/// The path, and the length that follows `HISTORY`: the three words of an interval.
fn as_of(path: Vec<TokenWithSpan>, rest: &mut impl Iterator<Item = TokenWithSpan>, at: Pos) -> Parsed<AsOf> {
    let parts: Vec<p::Ident> = path
        .into_iter()
        .filter_map(|t| if let Token::Word(word) = t.token { Some(p::Ident::new(word.value)) } else { None })
        .collect();
    if parts.is_empty() {
        return fail(at, AS_OF);
    }
    let length = rest.take(3).collect();
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(length);
    let history = match parser.parse_expr().map_err(syntax)? {
        p::Expr::Interval(i) if parser.peek_token().token == Token::EOF => interval(&i, at)?,
        _ => return fail(at, AS_OF),
    };
    if history < 0 {
        return fail(at, AS_OF);
    }
    Ok(AsOf { time: weir_expr::sql::Expr::new(at, names(parts)), history })
}

fn lengths(tokens: Vec<TokenWithSpan>, at: Pos) -> Parsed<Within> {
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens);
    let length = |parser: &mut Parser<'_>| match parser.parse_expr().map_err(syntax)? {
        p::Expr::Interval(i) => interval(&i, at),
        _ => fail(at, FORM),
    };
    let distance = length(&mut parser)?;
    let mut grace = 0;
    let next = parser.next_token();
    if word(&next).as_deref() == Some("GRACE") {
        if word(&parser.peek_token()).as_deref() == Some("PERIOD") {
            parser.next_token();
        }
        grace = length(&mut parser)?;
    } else if next.token != Token::EOF {
        return fail(at, FORM);
    }
    if parser.peek_token().token != Token::EOF || distance < 0 || grace < 0 {
        return fail(at, FORM);
    }
    Ok(Within { distance, grace })
}
