//! What the condition of a join says: which key meets which.

use std::collections::BTreeSet;

use weir_avro::FieldPath;
use weir_expr::sql::{Binary, Expr, Kind};

use super::encoding::{key_type, meets, unlike};
use super::{Planned, Planner, fail};
use crate::sql::{How, Within};

impl Planner<'_> {
    /// Whether what is joined can be: tables, a stream with tables, or two streams within a time, which it gives.
    pub(super) fn within(&self) -> Planned<Option<Within>> {
        let joins = &self.query.joins;
        let Some(first) = joins.first() else { return Ok(None) };
        let streams: Vec<_> = self.sources.iter().filter(|(_, r)| !r.table).collect();
        if let Some((_, at)) = joins.iter().find_map(|j| j.times.within)
            && streams.len() < self.sources.len()
        {
            let table = self.sources.iter().find(|(_, r)| r.table).map_or("", |(_, r)| &*r.name);
            return fail(
                at,
                format!(
                    "WITHIN is for a join of two streams, and {table} is a table; leave WITHIN out, or join the streams in a view of their own"
                ),
            );
        }
        for join in joins {
            let Some((of, at)) = &join.times.of else { continue };
            if self.sources[0].1.table || streams.len() > 1 {
                return fail(*at, "AS OF is for a stream that looks into the past of a table");
            }
            if !self.is_time(&of.time)? {
                let alias = &self.sources[0].0.alias;
                return fail(*at, format!("AS OF takes the time of the record that looks: {alias}.rowtime"));
            }
        }
        match (streams.len(), first.times.within) {
            (0, _) => Ok(None),
            (1, _) if !self.sources[0].1.table => match joins.iter().find(|j| j.how == How::Full) {
                Some(join) => fail(
                    join.with.at,
                    "a stream joins tables with JOIN or LEFT JOIN; a full join needs tables on both sides, or streams",
                ),
                None => Ok(None),
            },
            (1, _) => fail(first.with.at, "a stream that joins tables stands in FROM, the tables behind it"),
            (2, Some((within, _))) if joins.len() == 1 => Ok(Some(within)),
            (2, None) if joins.len() == 1 => fail(
                first.with.at,
                "a join of two streams is within a time: write JOIN b WITHIN INTERVAL '1' HOUR ON a.id = b.id",
            ),
            _ => fail(
                joins.last().map_or(first.with.at, |j| j.with.at),
                "a join of streams is of two; join what it gives with another in a view that reads this one",
            ),
        }
    }

    /// Whether an expression is the time of a record of the stream in FROM.
    fn is_time(&self, e: &Expr) -> Planned<bool> {
        let (source, relation) = &self.sources[0];
        if let Kind::Path(names) = &e.kind
            && let [alias, name] = &names[..]
            && name.eq_ignore_ascii_case("rowtime")
        {
            return Ok(**alias == *source.alias);
        }
        Ok(match self.resolved(e)?.kind {
            Kind::RowTime => true,
            Kind::Path(names) => {
                *names[0] == *source.alias
                    && relation.event_time.as_ref().is_some_and(|time| time.to_string() == names[1..].join("."))
            }
            _ => false,
        })
    }

    /// The condition of a join: each field of the key equal to its counterpart in a relation before.
    pub(super) fn on_keys(&self, right: usize, on: &Expr) -> Planned<()> {
        let relation = &self.sources[right].1;
        let mut equal = BTreeSet::new();
        let mut left_over = vec![on];
        while let Some(e) = left_over.pop() {
            match &e.kind {
                Kind::Binary(Binary::And, two) => left_over.extend(two.iter()),
                Kind::Binary(Binary::Eq, two) => {
                    let (a, b) = (self.key_part(&two[0])?, self.key_part(&two[1])?);
                    match (a, b) {
                        (Some((s, i)), Some((t, j))) if i == j && (s == right) != (t == right) && s.max(t) == right => {
                            equal.insert(i)
                        }
                        _ => {
                            return fail(
                                e.at,
                                format!(
                                    "a join is on the key of {1} ({0}); make a view of it that has another key, and join that",
                                    relation.key.join(", "),
                                    relation.name
                                ),
                            );
                        }
                    };
                }
                _ => return fail(e.at, "ON takes equalities of key fields, joined with AND"),
            }
        }
        let whole = equal.contains(&usize::MAX);
        if !whole && (relation.key.is_empty() || (0..relation.key.len()).any(|i| !equal.contains(&i))) {
            return fail(
                on.at,
                format!("ON must name every field of the key of {}: {}", relation.name, relation.key.join(", ")),
            );
        }
        if self.sources.iter().take(right + 1).any(|(_, r)| r.key.len() != relation.key.len() && !whole) {
            return fail(on.at, "the keys of both sides have a different number of fields");
        }
        let first = &self.sources[0].1;
        if first.key_schema != relation.key_schema {
            return fail(on.at, unlike(first, relation));
        }
        for (a, b) in first.key.iter().zip(&relation.key) {
            let part = |of: usize, path: &String| self.at(of, &FieldPath::parse(path)).ty;
            let units = [key_type(first, a), key_type(relation, b)];
            if !meets(&part(0, a), &part(right, b)) || units[0].1 != units[1].1 {
                let [left, own] = units.map(|(name, _)| name);
                return fail(
                    on.at,
                    format!(
                        "{a} of {0} is {left} and {b} of {1} is {own}: as keys they never meet; CAST one of them in a view of its own and join that",
                        first.name, relation.name
                    ),
                );
            }
        }
        Ok(())
    }

    /// Which relation's key an expression is, and which field of it; `usize::MAX` for the whole key.
    pub(super) fn key_part(&self, e: &Expr) -> Planned<Option<(usize, usize)>> {
        let Kind::Path(names) = &e.kind else { return Ok(None) };
        if let [alias, name] = &names[..]
            && name.eq_ignore_ascii_case("rowkey")
        {
            return Ok(self.sources.iter().position(|(s, _)| *s.alias == **alias).map(|i| (i, usize::MAX)));
        }
        let Kind::Path(names) = self.resolved(e)?.kind else { return Ok(None) };
        let Some(source) = self.sources.iter().position(|(s, _)| *s.alias == *names[0]) else { return Ok(None) };
        let path = names[1..].join(".");
        Ok(self.sources[source].1.key.iter().position(|k| *k == path).map(|field| (source, field)))
    }
}
