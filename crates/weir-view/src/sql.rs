//! From text to the tree of a view's query. `sqlparser` parses; this is the only place that knows it. Whatever its tree
//! holds and a view has no meaning for is an error with its place, never passed over.

mod is_of;
mod places;
mod select;
#[cfg(test)]
mod tests;
mod within;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use sqlparser::ast as p;
use sqlparser::ast::Spanned;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use weir_expr::sql::{Expr, Kind, Like};
use weir_expr::{ExprError, Pos};

use places::Places;
use words::{binary, interval, literal, names, sql_type};

/// In bytes.
const LONGEST: usize = 64 << 10;
/// The most words, numbers and signs of a query.
const MOST_TOKENS: usize = 10_000;
/// The stack for parsing. Memory that is not touched is not taken.
const STACK: usize = 256 << 20;
/// How deep expressions nest.
const DEEPEST: u32 = 128;

/// What a view asks for.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub items: Vec<Item>,
    pub from: Source,
    pub joins: Vec<Join>,
    pub filter: Option<Expr>,
    pub group: Vec<Expr>,
    pub window: Option<(Window, Pos)>,
    pub having: Option<Expr>,
    pub partition: Option<Expr>,
    pub last: Option<Pos>,
    /// The SELECTs behind a UNION ALL, each without the clauses that stand last.
    pub union: Vec<Query>,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    All(Option<String>, Pos),
    One(Expr, Option<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub name: String,
    pub alias: String,
    pub at: Pos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Inner,
    Left,
    Full,
}

#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub how: How,
    pub with: Source,
    pub on: Expr,
    pub times: Times,
}

/// What a join says of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// How far apart in time the records of two streams meet.
    pub within: Option<(Within, Pos)>,
    /// That a stream sees a table as it was at the time of its record.
    pub of: Option<(AsOf, Pos)>,
}

/// A look into the past of a table.
#[derive(Clone, Debug)]
pub(crate) struct AsOf {
    /// The time of the record that looks.
    pub time: Expr,
    /// How long rows are kept that others have followed, in milliseconds.
    pub history: i64,
}

/// The window of a join of two streams, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Within {
    /// The most that the event times of a pair differ by.
    pub distance: i64,
    /// How long a window is kept open for records that come late.
    pub grace: i64,
}

/// A window over event time; all lengths in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub shape: Shape,
    /// How long it is kept open for records that come late.
    pub grace: i64,
}

/// Which window a time lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Windows of one size that begin at each multiple of a step.
    Hop { size: i64, step: i64 },
    /// Windows of whole days as a time zone has them.
    Days { size: i64, step: i64, zone: TimeZone },
    /// From a first record to a last one, with no more than the gap between any two that follow each other.
    Session { gap: i64 },
}

type Parsed<T> = Result<T, ExprError>;

fn fail<T>(at: Pos, message: impl Into<String>) -> Parsed<T> {
    Err(ExprError::new(at, message))
}

fn pos(location: sqlparser::tokenizer::Location) -> Pos {
    Pos { line: location.line.max(1) as u32, column: location.column.max(1) as u32 }
}

fn at(node: &impl Spanned) -> Pos {
    pos(node.span().start)
}

/// Parses the query of a view.
///
/// # Errors
/// The first thing that is no SQL or that a view has no meaning for.
pub(crate) fn parse(text: &str) -> Parsed<Query> {
    let start = Pos { line: 1, column: 1 };
    // A long chain of operators is a deep tree, and the parser's tree is walked and dropped by recursion.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sql-parser".to_owned()).stack_size(STACK);
        match thread.spawn_scoped(scope, || parse_here(text)) {
            Ok(thread) => thread.join().unwrap_or_else(|_| fail(start, "the query could not be parsed; simplify it")),
            Err(e) => fail(start, format!("no thread to parse the query: {e}")),
        }
    })
}

fn parse_here(text: &str) -> Parsed<Query> {
    let start = Pos { line: 1, column: 1 };
    if text.len() > LONGEST {
        return fail(start, format!("the query is longer than {LONGEST} bytes; split it into several views"));
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location();
    let mut tokens = tokens.map_err(|e| ExprError::new(pos(e.location), e.message))?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    if tokens.len() > MOST_TOKENS {
        return fail(
            start,
            format!("the query has more than {MOST_TOKENS} words and signs; split it into several views"),
        );
    }
    while tokens.last().is_some_and(|t| t.token == Token::SemiColon) {
        tokens.pop();
    }
    let last = emit(&mut tokens)?;
    let types: Arc<[_]> = is_of::lists(&mut tokens)?.into();
    let partition = partition(&mut tokens, &types)?;
    let times = within::times(&mut tokens)?;
    let places = Places::of(&tokens);
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let query = parser.parse_query().map_err(syntax)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return fail(pos(rest.span.start), format!("`{}` is not expected here; the query ends before it", rest.token));
    }
    Reader { depth: 0, joins: 0, times, places, types }.query(*query, partition, last)
}

/// The parser's errors name their place in the text.
fn syntax(error: sqlparser::parser::ParserError) -> ExprError {
    use sqlparser::parser::ParserError as E;
    let text = match error {
        E::ParserError(text) | E::TokenizerError(text) => text,
        E::RecursionLimitExceeded => "the query nests too deep; split it".to_owned(),
    };
    let number = |name: &str| {
        let (_, rest) = text.rsplit_once(name)?;
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    let place = Pos { line: number("Line: ").unwrap_or(1), column: number("Column: ").unwrap_or(1) };
    let message = text.split(" at Line:").next().unwrap_or(&text).trim_end_matches('.').to_owned();
    ExprError::new(place, message)
}

fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// Takes `EMIT CHANGES` or `EMIT FINAL` off the end.
fn emit(tokens: &mut Vec<TokenWithSpan>) -> Parsed<Option<Pos>> {
    let words: Vec<_> = tokens.iter().rev().take(2).map(word).collect();
    let [Some(what), Some(emit)] = &words[..] else { return Ok(None) };
    if emit != "EMIT" {
        return Ok(None);
    }
    let place = pos(tokens[tokens.len() - 2].span.start);
    let last = match what.as_str() {
        "CHANGES" => None,
        "FINAL" => Some(place),
        _ => return fail(place, "EMIT is followed by CHANGES or FINAL"),
    };
    tokens.truncate(tokens.len() - 2);
    Ok(last)
}

/// Takes `PARTITION BY e` off the end.
fn partition(tokens: &mut Vec<TokenWithSpan>, types: &Arc<[is_of::Types]>) -> Parsed<Option<Expr>> {
    let mut depth = 0;
    let found = tokens.windows(2).position(|two| {
        match two[0].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0 && word(&two[0]).as_deref() == Some("PARTITION") && word(&two[1]).as_deref() == Some("BY")
    });
    let Some(found) = found else { return Ok(None) };
    let of = tokens.split_off(found).split_off(2);
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(of);
    let expr = parser.parse_expr().map_err(syntax)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let place = pos(rest.span.start);
        return fail(place, format!("PARTITION BY takes one expression and stands last, but `{}` follows", rest.token));
    }
    let (times, places, types) = (BTreeMap::new(), Places::default(), Arc::clone(types));
    Reader { depth: 0, joins: 0, times, places, types }.expr(expr).map(Some)
}

struct Reader {
    depth: u32,
    /// How many joins have been read.
    joins: usize,
    times: BTreeMap<usize, Times>,
    places: Places,
    /// The lists of types behind `IS OF`.
    types: Arc<[is_of::Types]>,
}

impl Reader {
    fn exprs(&mut self, all: Vec<p::Expr>) -> Parsed<Vec<Expr>> {
        all.into_iter().map(|e| self.expr(e)).collect()
    }

    fn boxed(&mut self, e: Box<p::Expr>) -> Parsed<Box<Expr>> {
        self.expr(*e).map(Box::new)
    }

    fn two(&mut self, a: Box<p::Expr>, b: Box<p::Expr>) -> Parsed<Box<[Expr; 2]>> {
        Ok(Box::new([self.expr(*a)?, self.expr(*b)?]))
    }

    fn expr(&mut self, e: p::Expr) -> Parsed<Expr> {
        let place = at(&e);
        if self.depth >= DEEPEST {
            return fail(place, format!("the expression nests deeper than {DEEPEST} levels; split it"));
        }
        self.depth += 1;
        let kind = self.kind(e, place)?;
        self.depth -= 1;
        Ok(Expr::new(place, kind))
    }

    fn kind(&mut self, e: p::Expr, place: Pos) -> Parsed<Kind> {
        use p::Expr as E;
        let truth = |e: Box<Expr>, truth, not| Kind::IsTruth(e, truth, not);
        Ok(match e {
            E::Identifier(name) => names(vec![name]),
            E::CompoundIdentifier(parts) => names(parts),
            E::CompoundFieldAccess { root, access_chain } => {
                let mut made = self.expr(*root)?;
                for access in access_chain {
                    let kind = match access {
                        p::AccessExpr::Dot(E::Identifier(name)) => match made.kind {
                            Kind::Path(path) => Kind::Path(path.into_iter().chain([name.value.into()]).collect()),
                            _ => Kind::Field(Box::new(made), name.value.into()),
                        },
                        p::AccessExpr::Subscript(p::Subscript::Index { index }) => {
                            Kind::Index(Box::new([made, self.expr(index)?]))
                        }
                        _ => return fail(place, "write a.field, a[1] or a['key']"),
                    };
                    made = Expr::new(place, kind);
                }
                made.kind
            }
            E::Nested(e) => self.expr(*e)?.kind,
            E::IsNull(e) => Kind::IsNull(self.boxed(e)?, false),
            E::IsNotNull(e) => Kind::IsNull(self.boxed(e)?, true),
            E::IsUnknown(e) => Kind::IsNull(self.boxed(e)?, false),
            E::IsNotUnknown(e) => Kind::IsNull(self.boxed(e)?, true),
            E::IsTrue(e) => truth(self.boxed(e)?, true, false),
            E::IsNotTrue(e) => truth(self.boxed(e)?, true, true),
            E::IsFalse(e) => truth(self.boxed(e)?, false, false),
            E::IsNotFalse(e) => truth(self.boxed(e)?, false, true),
            E::IsDistinctFrom(a, b) => Kind::Distinct(self.two(a, b)?, false),
            E::IsNotDistinctFrom(a, b) => Kind::Distinct(self.two(a, b)?, true),
            E::In { expr, target: p::InTarget::List(list), negated, global: false } => {
                if let Some(types) = is_of::number(&list).and_then(|n| self.types.get(n)) {
                    let types = types.clone();
                    return Ok(Kind::IsOf(self.boxed(expr)?, types, negated));
                }
                Kind::In(self.boxed(expr)?, self.exprs(list)?, negated)
            }
            E::Between { expr, negated, low, high } => {
                Kind::Between(Box::new([self.expr(*expr)?, self.expr(*low)?, self.expr(*high)?]), negated)
            }
            E::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(negated, *expr, *pattern, escape_char, false, place)?
            }
            E::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(negated, *expr, *pattern, escape_char, true, place)?
            }
            E::BinaryOp { left, op, right } => Kind::Binary(binary(&op, place)?, self.two(left, right)?),
            E::UnaryOp { op: p::UnaryOperator::Not, expr } => Kind::Not(self.boxed(expr)?),
            E::UnaryOp { op: p::UnaryOperator::Plus, expr } => self.expr(*expr)?.kind,
            E::UnaryOp { op: p::UnaryOperator::Minus, expr } => match self.expr(*expr)? {
                Expr { kind: Kind::Int(n), .. } => Kind::Int(n.saturating_neg()),
                e => Kind::Negate(Box::new(e)),
            },
            E::Cast { kind, expr, data_type, format: None } => {
                let lenient = matches!(kind, p::CastKind::TryCast | p::CastKind::SafeCast);
                Kind::Cast(self.boxed(expr)?, sql_type(&data_type, place)?, lenient)
            }
            E::Extract { field, expr, .. } => {
                let part = Expr::new(place, Kind::Text(field.to_string().into()));
                Kind::Call("EXTRACT".into(), vec![part, self.expr(*expr)?])
            }
            E::Ceil { expr, field: p::CeilFloorKind::DateTimeField(p::DateTimeField::NoDateTime) } => {
                Kind::Call("CEIL".into(), vec![self.expr(*expr)?])
            }
            E::Floor { expr, field: p::CeilFloorKind::DateTimeField(p::DateTimeField::NoDateTime) } => {
                Kind::Call("FLOOR".into(), vec![self.expr(*expr)?])
            }
            E::Position { expr, r#in } => Kind::Call("POSITION".into(), vec![self.expr(*expr)?, self.expr(*r#in)?]),
            E::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let args = [Some(expr), Some(from), substring_for].into_iter().flatten().map(|e| *e).collect();
                Kind::Call("SUBSTRING".into(), self.exprs(args)?)
            }
            E::Trim { trim_where, trim_what: None, expr, trim_characters: None } => {
                let name = match trim_where {
                    None | Some(p::TrimWhereField::Both) => "TRIM",
                    Some(p::TrimWhereField::Leading) => "LTRIM",
                    Some(p::TrimWhereField::Trailing) => "RTRIM",
                };
                Kind::Call(name.into(), vec![self.expr(*expr)?])
            }
            E::Value(value) => literal(value.value, place)?,
            E::TypedString(typed) => {
                let text = match typed.value.value {
                    p::Value::SingleQuotedString(text) => text,
                    _ => return fail(place, "write the value in single quotes"),
                };
                Kind::Typed(sql_type(&typed.data_type, place)?, text.into())
            }
            E::Interval(i) => Kind::Interval(interval(&i, place)?),
            E::Case { operand, conditions, else_result, .. } => {
                let operand = operand.map(|e| self.boxed(e)).transpose()?;
                let mut arms = Vec::new();
                for arm in conditions {
                    arms.push([self.expr(arm.condition)?, self.expr(arm.result)?]);
                }
                Kind::Case(operand, arms, else_result.map(|e| self.boxed(e)).transpose()?)
            }
            E::Array(array) => Kind::Array(self.exprs(array.elem)?),
            E::Map(map) => {
                let entries = map.entries.into_iter().map(|e| Ok([self.expr(*e.key)?, self.expr(*e.value)?]));
                Kind::Map(entries.collect::<Parsed<_>>()?)
            }
            E::Dictionary(fields) => {
                let fields = fields.into_iter().map(|f| Ok((f.key.value.into(), self.expr(*f.value)?)));
                Kind::Struct(fields.collect::<Parsed<_>>()?)
            }
            E::Struct { values, fields } if fields.is_empty() => {
                let fields = values.into_iter().map(|value| match value {
                    E::Named { expr, name } => Ok((name.value.into(), self.expr(*expr)?)),
                    _ => fail(place, "write STRUCT(value AS name, ...)"),
                });
                Kind::Struct(fields.collect::<Parsed<_>>()?)
            }
            E::Function(function) => self.function(function, place)?,
            E::Exists { .. } | E::Subquery(_) => {
                return fail(place, "subqueries are not supported; make a view of it and join it");
            }
            other => return fail(place, format!("`{other}` is not part of the language; docs/views.md lists what is")),
        })
    }

    fn like(
        &mut self,
        not: bool,
        text: p::Expr,
        pattern: p::Expr,
        escape: Option<Box<p::Expr>>,
        fold: bool,
        place: Pos,
    ) -> Parsed<Kind> {
        let escape = match escape.map(|e| *e) {
            None => None,
            Some(p::Expr::Value(p::ValueWithSpan { value: p::Value::SingleQuotedString(text), .. }))
                if text.chars().count() == 1 =>
            {
                text.chars().next()
            }
            Some(_) => return fail(place, "ESCAPE takes one character in quotes"),
        };
        Ok(Kind::Like(Box::new(Like { text: self.expr(text)?, pattern: self.expr(pattern)?, escape, fold, not })))
    }

    fn function(&mut self, function: p::Function, place: Pos) -> Parsed<Kind> {
        let p::Function { name, uses_odbc_syntax: _, parameters, args, within_group, filter, null_treatment, over } =
            function;
        let odd = [
            (!matches!(parameters, p::FunctionArguments::None), place, "parameters"),
            (!within_group.is_empty(), place, "WITHIN GROUP"),
            (filter.is_some(), place, "FILTER; use CASE WHEN in the argument"),
            (null_treatment.is_some(), place, "IGNORE NULLS: aggregates ignore them"),
            (over.is_some(), place, "OVER; use GROUP BY with TUMBLE or HOP"),
        ];
        unsupported(&odd)?;
        let mut name = name.to_string().to_ascii_uppercase();
        let list = match args {
            p::FunctionArguments::List(list) if list.clauses.is_empty() => list,
            p::FunctionArguments::None => return fail(place, format!("{name} needs its arguments in parentheses")),
            _ => return fail(place, format!("{name} takes plain arguments")),
        };
        match list.duplicate_treatment {
            Some(p::DuplicateTreatment::Distinct) if name == "COUNT" => name = "COUNT DISTINCT".to_owned(),
            Some(_) => return fail(place, "DISTINCT stands only in COUNT(DISTINCT x)"),
            None => {}
        }
        let mut given = Vec::new();
        for arg in list.args {
            match arg {
                p::FunctionArg::Unnamed(p::FunctionArgExpr::Expr(e)) => given.push(self.expr(e)?),
                p::FunctionArg::Unnamed(p::FunctionArgExpr::Wildcard) if name == "COUNT" => {}
                _ => return fail(place, format!("{name} takes plain arguments")),
            }
        }
        Ok(Kind::Call(name.into(), given))
    }
}

/// The first that is there is an error at its place.
fn unsupported(odd: &[(bool, Pos, &str)]) -> Parsed<()> {
    match odd.iter().find(|(found, ..)| *found) {
        Some((_, place, what)) => fail(*place, format!("not part of the language: {what}")),
        None => Ok(()),
    }
}

fn plain(options: &p::WildcardAdditionalOptions) -> bool {
    let p::WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    opt_ilike.is_none()
        && opt_exclude.is_none()
        && opt_except.is_none()
        && opt_replace.is_none()
        && opt_rename.is_none()
        && opt_alias.is_none()
}
