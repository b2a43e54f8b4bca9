//! What the names of a query stand for, and the fields of its output.

use weir_expr::Pos;
use weir_expr::sql::{Expr, Kind};

use super::{Planned, Planner, fail};
use crate::relation::Relation;
use crate::sql::{Item, Source};

impl Planner<'_> {
    /// The expression with every name leading from the root of the row.
    pub(super) fn resolved(&self, e: &Expr) -> Planned<Expr> {
        let mut e = e.clone();
        self.resolve(&mut e)?;
        Ok(e)
    }

    fn resolve(&self, e: &mut Expr) -> Planned<()> {
        let at = e.at;
        if let Kind::Path(names) = &e.kind {
            e.kind = self.name(names, at)?;
            return Ok(());
        }
        let one = matches!(e.kind, Kind::RowPartition | Kind::RowOffset | Kind::Headers);
        if one && self.query.joins.iter().any(|j| j.times.within.is_some()) {
            return fail(at, "a row of two streams is of two records; give the field a name in a view of its stream");
        }
        e.inner_mut().into_iter().try_for_each(|inner| self.resolve(inner))
    }

    fn name(&self, names: &[Box<str>], at: Pos) -> Planned<Kind> {
        let joined = self.sources.len() > 1;
        let has = |r: &Relation, name: &str| r.fields().contains(&name);
        let qualified = self.sources.iter().find_map(|(s, r)| {
            let parts: Vec<&str> = s.name.split('.').collect();
            let long = names.len() > parts.len() && names.iter().zip(&parts).all(|(a, b)| **a == **b);
            match (names.len() > 1 && *s.alias == *names[0], long) {
                (true, _) => Some((s, r, 1)),
                (_, true) => Some((s, r, parts.len())),
                _ => None,
            }
        });
        if let Some((source, relation, used)) = qualified {
            let rest = &names[used..];
            if has(relation, &rest[0]) {
                let alias = joined.then(|| source.alias.as_str().into());
                return Ok(Kind::Path(alias.into_iter().chain(rest.iter().cloned()).collect()));
            }
            match rest[0].to_ascii_lowercase().as_str() {
                "rowkey" => return Ok(Kind::RowKey),
                "rowtime" if self.query.joins.iter().any(|j| j.times.within.is_some()) => {
                    return fail(at, "a row of two streams has the later of their times; write rowtime");
                }
                "rowtime" => return Ok(Kind::RowTime),
                _ if has(relation, &names[0]) => {}
                _ => {
                    return fail(
                        at,
                        format!(
                            "{} has no field `{}`; it has {}",
                            relation.name,
                            rest[0],
                            relation.fields().join(", ")
                        ),
                    );
                }
            }
        }
        let mut found = self.sources.iter().filter(|(_, r)| has(r, &names[0]));
        match (found.next(), found.next()) {
            (Some((source, _)), None) => {
                let alias = joined.then(|| source.alias.as_str().into());
                Ok(Kind::Path(alias.into_iter().chain(names.iter().cloned()).collect()))
            }
            (Some((a, _)), Some((b, _))) => {
                fail(at, format!("`{0}` is a field of {1} and of {2}; write {1}.{0}", names[0], a.alias, b.alias))
            }
            (None, _) if self.query.window.is_some() && matches!(&*names[0], "window_start" | "window_end") => {
                Ok(Kind::Path(names.into()))
            }
            (None, _) => {
                let all: Vec<&str> = self.sources.iter().flat_map(|(_, r)| r.fields()).collect();
                fail(at, format!("there is no field `{}`; there are {}", names[0], all.join(", ")))
            }
        }
    }

    /// The output fields by name.
    pub(super) fn columns(&self) -> Planned<Vec<(String, Expr)>> {
        let mut columns: Vec<(String, Expr)> = Vec::new();
        for item in &self.query.items {
            let new = match item {
                Item::One(e, alias) => {
                    let name = match (alias, &e.kind) {
                        (Some(alias), _) => alias.clone(),
                        (None, Kind::Path(names)) => names.last().map(ToString::to_string).unwrap_or_default(),
                        (None, Kind::Field(_, name)) => name.to_string(),
                        _ => return fail(e.at, "this needs a name: add AS name"),
                    };
                    if !is_name(&name) {
                        return fail(
                            e.at,
                            format!("`{name}` is no Avro name: letters, digits and `_`, not a digit first"),
                        );
                    }
                    vec![(name, self.resolved(e)?)]
                }
                Item::All(of, at) => {
                    let mut all = Vec::new();
                    let wanted = |s: &Source| of.as_ref().is_none_or(|of| s.alias == *of || s.name == *of);
                    for (source, relation) in self.sources.iter().filter(|(s, _)| wanted(s)) {
                        for field in relation.fields() {
                            let path = [source.alias.as_str(), field].map(Box::from).into();
                            all.push((field.to_owned(), self.resolved(&Expr::new(*at, Kind::Path(path)))?));
                        }
                    }
                    if all.is_empty() {
                        return fail(*at, format!("`{}` is no relation of this query", of.as_deref().unwrap_or("*")));
                    }
                    all
                }
            };
            for (name, e) in new {
                if columns.iter().any(|(known, _)| *known == name) {
                    return fail(e.at, format!("two output fields are called `{name}`; add AS to one"));
                }
                columns.push((name, e));
            }
        }
        Ok(columns)
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
