//! Which calls are masks, and what is worth saying of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_avro::Schema;
use weir_expr::Wanted;
use weir_expr::sql::{self, Expr, Kind, SqlType};

use super::{Planned, Planner, aggregate_kind, fail};
use crate::aggregate;

/// The most characters of a text that a mask may leave.
const MOST_CHARACTERS: i64 = 4;
/// The fewest integers that a mask must make one.
const LEAST_STEP: i64 = 5;

impl Planner<'_> {
    /// Whether a call hides what is in it. `TRUNCATE` does where its number stands in the query and leaves little.
    pub(super) fn is_mask(&self, e: &Expr) -> bool {
        let Kind::Call(name, args) = &e.kind else { return false };
        match (&**name, &args[..]) {
            ("TRUNCATE", [of, Expr { kind: Kind::Int(n), .. }]) => match self.type_of(of) {
                Some(SqlType::Text) => (0..=MOST_CHARACTERS).contains(n),
                Some(SqlType::Int | SqlType::BigInt) => *n >= LEAST_STEP,
                _ => false,
            },
            ("TRUNCATE", _) => false,
            (name, _) => sql::is_mask(name),
        }
    }

    /// The type of an expression of a row, or of an aggregate that keeps the type of its values.
    fn type_of(&self, e: &Expr) -> Option<SqlType> {
        use aggregate::Kind as A;
        let mut e = e;
        while let Kind::Call(name, args) = &e.kind
            && let Some(A::Min | A::Max | A::Latest | A::Earliest) = aggregate_kind(name)
        {
            e = args.first()?;
        }
        let schema: Arc<Schema> = match &self.sources[..] {
            [(_, one)] => Arc::clone(&one.schema),
            all => Arc::new(self.joined(&vec![true; all.len()]).ok()?),
        };
        sql::compile(e, &schema, &self.options.salt, &mut Wanted::new()).ok().map(|(_, column)| column.ty)
    }

    /// Whether no TRUNCATE around a field only looks as if it hid it.
    pub(super) fn hidden_by(&self, e: &Expr, field: &str, class: &str) -> Planned<()> {
        let truncates = matches!(&e.kind, Kind::Call(name, _) if &**name == "TRUNCATE");
        if truncates && !self.is_mask(e) && self.clear(e).iter().any(|clear| clear == field) {
            return fail(
                e.at,
                format!(
                    "this TRUNCATE does not hide {field}, which is {class}: write a number, at most {MOST_CHARACTERS} characters of a text or steps of at least {LEAST_STEP} for an integer; or use MASK, HASH or REDACT"
                ),
            );
        }
        e.inner().into_iter().try_for_each(|inner| self.hidden_by(inner, field, class))
    }

    pub(super) fn masks_in(&self, e: &Expr, masks: &mut Vec<String>) {
        if let Kind::Call(name, _) = &e.kind
            && self.is_mask(e)
            && !masks.contains(&name.to_string())
        {
            masks.push(name.to_string());
        }
        e.inner().into_iter().for_each(|inner| self.masks_in(inner, masks));
    }

    /// A note for each classified field that `HASH` hides without a salt.
    pub(super) fn unsalted(&self, columns: &[(String, Expr)]) -> Planned<Vec<String>> {
        let mut found = BTreeSet::new();
        if self.options.salt.is_empty() {
            for e in self.shown(columns)? {
                self.hashed(&e, &mut found);
            }
        }
        let note = |field| {
            format!(
                "HASH({field}) has no salt, so whoever can list the values of the field can find them; set masks.salt"
            )
        };
        Ok(found.into_iter().map(note).collect())
    }

    fn hashed(&self, e: &Expr, found: &mut BTreeSet<String>) {
        if matches!(&e.kind, Kind::Call(name, _) if &**name == "HASH") {
            let mut read = Vec::new();
            e.inner().into_iter().for_each(|inner| self.reads(inner, false, &mut read));
            found.extend(
                read.into_iter().filter(|(field, masked)| !masked && self.class(field).is_some()).map(|(f, _)| f),
            );
        }
        e.inner().into_iter().for_each(|inner| self.hashed(inner, found));
    }

    /// What leaves the view, in a field or in the key.
    fn shown(&self, columns: &[(String, Expr)]) -> Planned<Vec<Expr>> {
        let mut all: Vec<Expr> = columns.iter().map(|(_, e)| e.clone()).collect();
        for e in self.query.group.iter().chain(&self.query.partition) {
            all.push(self.resolved(e)?);
        }
        Ok(all)
    }

    /// The fields that the query is made of, and those of the keys that it reads.
    pub(super) fn all_fields(&self, columns: &[(String, Expr)]) -> Planned<BTreeSet<String>> {
        let mut all = self.shown(columns)?;
        let more = self.query.filter.iter().chain(&self.query.having);
        for e in more.chain(self.query.joins.iter().map(|join| &join.on)) {
            all.push(self.resolved(e)?);
        }
        let mut found = Vec::new();
        all.iter().for_each(|e| self.reads(e, false, &mut found));
        let keys = self.sources.iter().flat_map(|(_, r)| r.key.iter().map(|key| format!("{}.{key}", r.name)));
        Ok(found.into_iter().map(|(field, _)| field).chain(keys).collect())
    }
}
