//! `WITHIN d [GRACE g]` of a join. The parser does not know it, so it is taken out of the tokens before.

use std::collections::BTreeMap;

use sqlparser::ast as p;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_expr::Pos;

use super::words::interval;
use super::{Parsed, Within, fail, pos, syntax, word};

const FORM: &str = "write a JOIN b WITHIN INTERVAL '1' HOUR GRACE INTERVAL '5' MINUTE ON a.id = b.id";

/// Takes each `WITHIN` between a JOIN and its ON out of the tokens; by the number of the JOIN in the text, from 0.
pub(super) fn within(tokens: &mut Vec<TokenWithSpan>) -> Parsed<BTreeMap<usize, (Within, Pos)>> {
    let mut found = BTreeMap::new();
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
                found.insert(joins - 1, (lengths(of, at)?, at));
                continue;
            }
            _ => {}
        }
        kept.push(token);
    }
    *tokens = kept;
    Ok(found)
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
