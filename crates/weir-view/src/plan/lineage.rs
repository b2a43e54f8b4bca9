//! Where every output field comes from, and whether a classified one is masked or allowed.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_avro::Schema;
use weir_expr::sql::{Column, Expr, Kind, SqlType};

use super::{Lineage, Planned, Planner, fail};
use crate::projection::Made;

impl Planner<'_> {
    /// The classification of a field by its full name.
    pub(super) fn class(&self, field: &str) -> Option<String> {
        self.sources.iter().find_map(|(_, r)| {
            let path = field.strip_prefix(&*r.name)?.strip_prefix('.')?;
            let found = r
                .personal
                .iter()
                .find(|(p, _)| path == **p || p.starts_with(&format!("{path}.")) || path.starts_with(&format!("{p}.")));
            found.map(|(_, class)| class.clone())
        })
    }

    pub(super) fn full(&self, names: &[Box<str>]) -> Option<String> {
        if self.sources.len() == 1 {
            let relation = &self.sources[0].1;
            return relation.fields().contains(&&*names[0]).then(|| format!("{}.{}", relation.name, names.join(".")));
        }
        let (_, relation) = self.sources.iter().find(|(s, _)| *s.alias == *names[0])?;
        Some(format!("{}.{}", relation.name, names[1..].join(".")))
    }

    pub(super) fn reads(&self, e: &Expr, masked: bool, found: &mut Vec<(String, bool)>) {
        match &e.kind {
            Kind::Path(names) => found.extend(self.full(names).map(|full| (full, masked))),
            Kind::RowKey => {
                let relation = &self.sources[0].1;
                found.extend(relation.key.iter().map(|k| (format!("{}.{k}", relation.name), masked)));
            }
            _ => {}
        }
        // A count tells nothing of what is counted.
        let hides = self.is_mask(e) || matches!(&e.kind, Kind::Call(name, _) if name.starts_with("COUNT"));
        e.inner().into_iter().for_each(|inner| self.reads(inner, masked || hides, found));
    }

    /// The fields an expression shows unmasked.
    pub(super) fn clear(&self, e: &Expr) -> Vec<String> {
        let mut found = Vec::new();
        self.reads(e, false, &mut found);
        found.into_iter().filter(|(_, masked)| !masked).map(|(field, _)| field).collect()
    }

    pub(super) fn allowed(&self, e: &Expr, what: &str) -> Planned<()> {
        for field in self.clear(e) {
            if let Some(class) = self.class(&field)
                && !self.options.allow.contains(&field)
            {
                self.hidden_by(e, &field, &class)?;
                return fail(
                    e.at,
                    format!(
                        "{what} shows {field}, which is {class}; put MASK, HASH, REDACT or TRUNCATE around it, or allow it by name in `allow`"
                    ),
                );
            }
        }
        Ok(())
    }

    pub(super) fn lineage(
        &self,
        columns: &[(String, Expr)],
        made: &[Made],
        schema: &Arc<Schema>,
    ) -> Planned<Vec<Lineage>> {
        let mut all = Vec::new();
        for ((name, e), made) in columns.iter().zip(made) {
            self.allowed(e, &format!("`{name}`"))?;
            let mut found = Vec::new();
            self.reads(e, false, &mut found);
            let mut masks = Vec::new();
            self.masks_in(e, &mut masks);
            let column = match made {
                Made::Field(path, wrap) => {
                    let mut column =
                        schema.find(path).map_or(Column::new(SqlType::Null, true), |node| Column::of(schema, node));
                    column.nullable |= *wrap;
                    column
                }
                Made::Typed(column) => column.clone(),
            };
            let from: BTreeSet<String> = found.into_iter().map(|(field, _)| field).collect();
            let ty = format!("{}{}", column.ty, if column.nullable { "" } else { " NOT NULL" });
            all.push(Lineage { field: name.clone(), ty, from: from.into_iter().collect(), masks });
        }
        Ok(all)
    }
}
