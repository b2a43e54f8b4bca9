//! From the parser's SELECT to a query: its clauses, joins, items and windows, and the SELECTs of a UNION ALL.

use sqlparser::ast as p;
use weir_expr::sql::Expr;
use weir_expr::{ExprError, Pos};

use super::places::Places;
use super::words::{interval, source};
use super::{How, Item, Join, Parsed, Query, Reader, Shape, Window, at, fail, plain, unsupported};

impl Reader {
    pub(super) fn query(&mut self, query: p::Query, partition: Option<Expr>, last: Option<Pos>) -> Parsed<Query> {
        let place = at(&query);
        let p::Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let first = |word: &str| self.places.first(word, place);
        let behind = |word: &str| self.places.last(word, place);
        let limit = match &limit_clause {
            Some(p::LimitClause::LimitOffset { limit: None, offset: Some(_), .. }) => behind("OFFSET"),
            Some(_) => behind("LIMIT"),
            None => behind("FETCH"),
        };
        let odd = [
            (with.is_some(), first("WITH"), "WITH; make a view of it"),
            (order_by.is_some(), behind("ORDER"), "ORDER BY: a stream has the order it has"),
            (limit_clause.is_some() || fetch.is_some(), limit, "LIMIT: a view does not end"),
            (!locks.is_empty() || for_clause.is_some(), behind("FOR"), "FOR"),
            (settings.is_some(), behind("SETTINGS"), "SETTINGS"),
            (format_clause.is_some(), behind("FORMAT"), "FORMAT"),
            (!pipe_operators.is_empty(), place, "pipe operators"),
        ];
        unsupported(&odd)?;
        let mut selects = selects(*body, &self.places)?.into_iter().map(|select| self.select(select));
        let Some(first) = selects.next() else { return fail(place, "a view is one SELECT") };
        let (first, union) = (first?, selects.collect::<Parsed<_>>()?);
        Ok(Query { union, partition, last, ..first })
    }

    fn select(&mut self, select: p::Select) -> Parsed<Query> {
        let place = at(&select);
        let p::Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor: _,
        } = select;
        let first = |word: &str| self.places.first(word, place);
        let windows = "window functions; use GROUP BY with TUMBLE or HOP";
        let odd = [
            (!optimizer_hints.is_empty() || select_modifiers.is_some(), place, "hints"),
            (distinct.is_some(), first("DISTINCT"), "DISTINCT; use GROUP BY"),
            (top.is_some(), first("TOP"), "TOP"),
            (exclude.is_some(), first("EXCLUDE"), "EXCLUDE; name the fields"),
            (into.is_some(), first("INTO"), "INTO: the output stands in the view file"),
            (!lateral_views.is_empty(), first("LATERAL"), "LATERAL VIEW"),
            (prewhere.is_some(), first("PREWHERE"), "PREWHERE; use WHERE"),
            (!connect_by.is_empty(), first("CONNECT"), "CONNECT BY"),
            (!cluster_by.is_empty(), first("CLUSTER"), "CLUSTER BY; use PARTITION BY"),
            (!distribute_by.is_empty(), first("DISTRIBUTE"), "DISTRIBUTE BY; use PARTITION BY"),
            (!sort_by.is_empty(), first("SORT"), "SORT BY: a stream has the order it has"),
            (!named_window.is_empty(), first("WINDOW"), windows),
            (qualify.is_some(), first("QUALIFY"), windows),
            (value_table_mode.is_some(), first("AS"), "SELECT AS"),
        ];
        unsupported(&odd)?;
        let group_place = first("GROUP");
        let mut tables = from.into_iter();
        let (table, second) = (tables.next(), tables.next());
        let (Some(table), None) = (table, &second) else {
            let place = second.as_ref().map_or(place, at);
            return fail(place, "FROM names one relation; join others to it with JOIN ... ON");
        };
        let p::TableWithJoins { relation, joins } = table;
        let from = source(relation)?;
        let joins = joins.into_iter().map(|join| self.join(join)).collect::<Parsed<Vec<_>>>()?;
        let items = projection.into_iter().map(|item| self.item(item)).collect::<Parsed<Vec<_>>>()?;
        let filter = selection.map(|e| self.expr(e)).transpose()?;
        let having = having.map(|e| self.expr(e)).transpose()?;
        let (mut group, mut window) = (Vec::new(), None);
        match group_by {
            p::GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => {
                for e in exprs {
                    let place = at(&e);
                    match self.window(&e, place)? {
                        Some(_) if window.is_some() => return fail(place, "GROUP BY takes one window"),
                        Some(found) => window = Some((found, place)),
                        None => group.push(self.expr(e)?),
                    }
                }
            }
            _ => return fail(group_place, "GROUP BY takes expressions and at most one window"),
        }
        Ok(Query { items, from, joins, filter, group, window, having, partition: None, last: None, union: Vec::new() })
    }

    fn join(&mut self, join: p::Join) -> Parsed<Join> {
        let with = source(join.relation)?;
        use p::JoinOperator as J;
        let (how, constraint) = match join.join_operator {
            J::Join(c) | J::Inner(c) => (How::Inner, c),
            J::Left(c) | J::LeftOuter(c) => (How::Left, c),
            J::FullOuter(c) => (How::Full, c),
            J::Right(_) | J::RightOuter(_) => {
                return fail(with.at, "RIGHT JOIN is not supported; swap the sides and use LEFT JOIN");
            }
            _ => return fail(with.at, "a join is JOIN, LEFT JOIN or FULL JOIN with ON"),
        };
        let times = self.times.remove(&self.joins).unwrap_or_default();
        self.joins += 1;
        match constraint {
            p::JoinConstraint::On(on) => Ok(Join { how, with, on: self.expr(on)?, times }),
            _ => fail(with.at, "a join needs ON a.key = b.key"),
        }
    }

    fn item(&mut self, item: p::SelectItem) -> Parsed<Item> {
        let place = at(&item);
        match item {
            p::SelectItem::UnnamedExpr(e) => Ok(Item::One(self.expr(e)?, None)),
            p::SelectItem::ExprWithAlias { expr, alias } => Ok(Item::One(self.expr(expr)?, Some(alias.value))),
            p::SelectItem::Wildcard(options) if plain(&options) => Ok(Item::All(None, place)),
            p::SelectItem::QualifiedWildcard(p::SelectItemQualifiedWildcardKind::ObjectName(name), options)
                if plain(&options) =>
            {
                Ok(Item::All(Some(name.to_string()), place))
            }
            _ => fail(place, "`*` and `alias.*` stand alone; name the fields instead"),
        }
    }

    /// `TUMBLE(size [, grace])`, `HOP(size, step [, grace])` and `SESSION(gap [, grace])`.
    fn window(&mut self, e: &p::Expr, place: Pos) -> Parsed<Option<Window>> {
        let p::Expr::Function(function) = e else { return Ok(None) };
        let name = function.name.to_string().to_ascii_uppercase();
        let least = match name.as_str() {
            "TUMBLE" => 1,
            "HOP" => 2,
            "SESSION" => 1,
            _ => return Ok(None),
        };
        let form = "write TUMBLE(INTERVAL '1' DAY, GRACE => INTERVAL '1' HOUR), HOP(INTERVAL '1' DAY, INTERVAL '1' HOUR) or SESSION(INTERVAL '30' MINUTE)";
        let p::FunctionArguments::List(list) = &function.args else { return fail(place, form) };
        let (mut lengths, mut grace, mut zone) = (Vec::new(), 0, None);
        for arg in &list.args {
            match arg {
                p::FunctionArg::Unnamed(p::FunctionArgExpr::Expr(p::Expr::Interval(i))) => {
                    lengths.push(interval(i, place)?)
                }
                p::FunctionArg::Named { name, arg: p::FunctionArgExpr::Expr(p::Expr::Interval(i)), .. }
                    if name.value.eq_ignore_ascii_case("grace") =>
                {
                    grace = interval(i, place)?;
                }
                p::FunctionArg::ExprNamed { name, arg: p::FunctionArgExpr::Expr(p::Expr::Interval(i)), .. }
                    if name.to_string().eq_ignore_ascii_case("grace") =>
                {
                    grace = interval(i, place)?;
                }
                p::FunctionArg::Named { name, arg: p::FunctionArgExpr::Expr(p::Expr::Value(value)), .. }
                    if name.value.eq_ignore_ascii_case("zone") =>
                {
                    zone = Some(time_zone(&value.value, place)?);
                }
                p::FunctionArg::ExprNamed { name, arg: p::FunctionArgExpr::Expr(p::Expr::Value(value)), .. }
                    if name.to_string().eq_ignore_ascii_case("zone") =>
                {
                    zone = Some(time_zone(&value.value, place)?);
                }
                _ => return fail(place, form),
            }
        }
        if lengths.len() != least || lengths.iter().any(|l| *l <= 0) || grace < 0 {
            return fail(place, form);
        }
        let (size, step) = (lengths[0], *lengths.last().unwrap_or(&lengths[0]));
        if step > size || size / step > 1_000 {
            return fail(place, "the step of HOP is at most its size and at least a thousandth of it");
        }
        let shape = match zone {
            _ if name == "SESSION" && zone.is_some() => {
                return fail(place, "a session has the times of its records; ZONE is for TUMBLE and HOP");
            }
            _ if name == "SESSION" => Shape::Session { gap: size },
            None => Shape::Hop { size, step },
            Some(_) if size % DAY != 0 || step % DAY != 0 => {
                return fail(
                    place,
                    "ZONE is for windows of whole days, as in TUMBLE(INTERVAL '1' DAY, ZONE => 'Europe/Berlin')",
                );
            }
            Some(zone) => Shape::Days { size: size / DAY, step: step / DAY, zone },
        };
        Ok(Some(Window { shape, grace }))
    }
}

/// In milliseconds.
const DAY: i64 = 86_400_000;

/// A time zone by its name in the IANA database that is built in, so that every machine has the same days.
fn time_zone(name: &p::Value, place: Pos) -> Parsed<jiff::tz::TimeZone> {
    let p::Value::SingleQuotedString(name) = name else {
        return fail(place, "a time zone is a name in quotes, as in ZONE => 'Europe/Berlin'");
    };
    let found = jiff::tz::TimeZoneDatabase::bundled().get(name);
    found.map_err(|_| {
        ExprError::new(place, format!("there is no time zone '{name}'; use a name as 'Europe/Berlin' or 'UTC'"))
    })
}

const FORM: &str = "a view is one SELECT, or several with UNION ALL between them, without parentheses";

/// The SELECTs of a query, in their order. A long union is a deep tree; this goes down it without recursion.
fn selects(mut body: p::SetExpr, places: &Places) -> Parsed<Vec<p::Select>> {
    let mut found = Vec::new();
    loop {
        let (left, last) = match body {
            p::SetExpr::SetOperation { op: p::SetOperator::Union, set_quantifier, left, right } => {
                if set_quantifier != p::SetQuantifier::All {
                    return fail(
                        places.before("UNION", at(&*right)),
                        "write UNION ALL: a stream does not know what it has said before",
                    );
                }
                (Some(*left), *right)
            }
            other => (None, other),
        };
        let place = at(&last);
        match last {
            p::SetExpr::Select(select) => found.push(*select),
            p::SetExpr::SetOperation { op, .. } => {
                return fail(places.first(&op.to_string(), place), FORM);
            }
            p::SetExpr::Query(_) => return fail(place, FORM),
            _ => return fail(place, "a view is one SELECT"),
        }
        match left {
            Some(left) => body = left,
            None => break,
        }
    }
    found.reverse();
    Ok(found)
}
