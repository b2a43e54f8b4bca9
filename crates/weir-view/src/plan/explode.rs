//! Where `EXPLODE` may stand.

use weir_expr::sql::{Expr, Kind};

use super::{Planned, Planner, fail};
use crate::projection::EXPLODE;

impl Planner<'_> {
    /// One column of a stream may be `EXPLODE(array)`; it stands nowhere else.
    pub(super) fn exploded(&self, columns: &[(String, Expr)], filter: Option<&Expr>) -> Planned<()> {
        let query = self.query;
        let mut found = None;
        for (_, e) in columns {
            let alone = matches!(&e.kind, Kind::Call(name, _) if &**name == EXPLODE);
            if e.inner().into_iter().any(explodes) {
                return fail(
                    e.at,
                    "EXPLODE is not part of an expression; write EXPLODE(array) AS name, and go on in a view that reads this one",
                );
            }
            if alone && found.is_some() {
                return fail(e.at, "a SELECT explodes one array; explode the other in a view that reads this one");
            }
            found = found.or(alone.then_some(e.at));
        }
        if let Some(e) =
            filter.into_iter().chain(&query.group).chain(&query.having).chain(&query.partition).find(|e| explodes(e))
        {
            return fail(e.at, "EXPLODE stands in SELECT only; filter, group and re-key in a view that reads this one");
        }
        match found {
            Some(at) if self.sources.len() > 1 || self.sources[0].1.table || !query.group.is_empty() => {
                fail(at, "EXPLODE reads one stream, without GROUP BY; explode first and read that view")
            }
            _ => Ok(()),
        }
    }
}

fn explodes(e: &Expr) -> bool {
    matches!(&e.kind, Kind::Call(name, _) if &**name == EXPLODE) || e.inner().into_iter().any(explodes)
}
