//! `IS OF`: which type of a union a value has. A walk leaves the value and not the number of its branch, so types whose
//! values look alike, such as INT and BIGINT, can only be named together.

use weir_avro::{FieldPath, Kind as Avro, NodeId, Schema, Slot};

use crate::code::Op as CodeOp;
use crate::error::Pos;
use crate::sql::check::{Checked, Checker, fail, made};
use crate::sql::run::Op;
use crate::sql::{Column, Expr, Kind, SqlType};

/// What the values of a branch look like in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Bool,
    Long,
    Double,
    Bytes,
    Text,
    Region(NodeId),
}

impl Look {
    fn of(schema: &Schema, branch: NodeId) -> Look {
        match &schema.node(branch).kind {
            Avro::Boolean => Look::Bool,
            Avro::Int | Avro::Long => Look::Long,
            Avro::Float | Avro::Double => Look::Double,
            Avro::Bytes | Avro::Fixed { .. } => Look::Bytes,
            Avro::String | Avro::Enum { .. } => Look::Text,
            _ => Look::Region(branch),
        }
    }

    /// Whether a value in a slot looks like this.
    pub(crate) fn fits(self, slot: &Slot<'_>) -> bool {
        match (self, slot) {
            (Look::Bool, Slot::Bool(_)) | (Look::Long, Slot::Long(_)) | (Look::Double, Slot::Double(_)) => true,
            (Look::Bytes, Slot::Bytes(_)) | (Look::Text, Slot::Str(_)) => true,
            (Look::Region(branch), Slot::Region(region)) => region.node == branch,
            _ => false,
        }
    }
}

/// A type by what `IS OF` may call it: `DECIMAL` and `DECIMAL(9,2)`, a named type also by the last part of its name.
fn is_called(schema: &Schema, branch: NodeId, name: &str) -> bool {
    let ty = Column::of(schema, branch).ty.to_string();
    let own = schema.node(branch).name.as_deref();
    ty == name
        || ty.split(['(', '<']).next() == Some(name)
        || own.is_some_and(|own| own == name || own.rsplit('.').next() == Some(name))
}

impl Checker<'_> {
    pub(super) fn is_of(&mut self, of: &Expr, names: &[Box<str>], not: bool, at: Pos) -> Checked {
        let Kind::Path(path) = &of.kind else {
            return fail(of.at, "IS OF tests a field; what is computed has one type");
        };
        let typed = self.expr(of)?;
        let schema = self.schema;
        let shown = path.join(".");
        let node = schema.find(&path.iter().fold(FieldPath::root(), |path, name| path.join(name)));
        let (CodeOp::Sql(Op::Field(slot, _), _), Some(node)) = (&typed.code.op, node) else {
            return fail(of.at, format!("`{shown}` is no field"));
        };
        let branches: Vec<NodeId> = match &schema.node(node).kind {
            Avro::Union { branches } => branches.to_vec(),
            _ => vec![node],
        };
        let ty = |branch: NodeId| Column::of(schema, branch).ty;
        let branches: Vec<NodeId> = branches.into_iter().filter(|b| ty(*b) != SqlType::Null).collect();
        let called = |branch: &NodeId| names.iter().any(|name| is_called(schema, *branch, name));
        if let Some(never) = names.iter().find(|name| !branches.iter().any(|b| is_called(schema, *b, name))) {
            let known: Vec<String> = branches.iter().map(|b| ty(*b).to_string()).collect();
            return fail(at, format!("`{shown}` is never {never}; it is {}", known.join(" or ")));
        }
        let looks: Vec<Look> = branches.iter().filter(|b| called(b)).map(|b| Look::of(schema, *b)).collect();
        if let Some(other) = branches.iter().find(|b| !called(b) && looks.contains(&Look::of(schema, **b))) {
            let alike = branches.iter().find(|b| called(b) && Look::of(schema, **b) == Look::of(schema, *other));
            let alike = alike.map_or_else(String::new, |b| schema.describe(*b));
            let other = schema.describe(*other);
            return fail(at, format!("the {alike} and the {other} of `{shown}` cannot be told apart; name both types"));
        }
        let op = Op::IsOf { slot: *slot, looks: looks.into(), not };
        Ok(made(op, Vec::new(), at, SqlType::Boolean, typed.column.nullable))
    }
}
