//! Where the words of the clauses stand, which the parser's tree does not say.

use sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_expr::Pos;

use super::{pos, word};

/// The words outside of parentheses, in their order.
#[derive(Default)]
pub(super) struct Places(Vec<(String, Pos)>);

impl Places {
    pub(super) fn of(tokens: &[TokenWithSpan]) -> Places {
        let mut depth = 0_i64;
        let mut found = Vec::new();
        for token in tokens {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ if depth == 0 => found.extend(word(token).map(|word| (word, pos(token.span.start)))),
                _ => {}
            }
        }
        Places(found)
    }

    /// The first of a word from a place on; that place where there is none.
    pub(super) fn first(&self, word: &str, from: Pos) -> Pos {
        self.0.iter().find(|(known, at)| known == word && *at >= from).map_or(from, |(_, at)| *at)
    }

    /// The last of a word; the place where there is none.
    pub(super) fn last(&self, word: &str, otherwise: Pos) -> Pos {
        self.0.iter().rev().find(|(known, _)| known == word).map_or(otherwise, |(_, at)| *at)
    }

    /// The last of a word before a place; that place where there is none.
    pub(super) fn before(&self, word: &str, to: Pos) -> Pos {
        self.0.iter().rev().find(|(known, at)| known == word && *at < to).map_or(to, |(_, at)| *at)
    }
}
