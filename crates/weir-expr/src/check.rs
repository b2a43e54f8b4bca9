//! From what an expression says to what it means: names become slots and fields, operators become typed operations,
//! constants are computed, and every wrong type is an error with its place. It also adds up what a run may cost.

use std::sync::Arc;

use weir_avro::{FieldPath, Kind, NodeId, Schema};

use crate::ast::{self, Expr, ExprKind, Literal};
use crate::code::{Code, Op};
use crate::env::{Env, KeyType, Source, Type, Wanted};
use crate::error::{EvalErrorKind, ExprError, Pos};
use crate::func::ITEM;
use crate::read::Read;
use crate::value::{Shared, Text, Value};

/// Compiles the tree of an expression.
pub(crate) fn check(expr: &Expr, env: &Env<'_>, wanted: &mut Wanted) -> Result<Typed, Vec<ExprError>> {
    let mut checker = Checker { env, wanted, errors: Vec::new(), locals: Vec::new(), operations: 0 };
    match checker.expr(expr) {
        Ok(typed) if checker.errors.is_empty() => Ok(typed),
        _ => Err(checker.errors),
    }
}

/// A compiled part of an expression.
pub(crate) struct Typed {
    pub(crate) code: Code,
    pub(crate) ty: Type,
    /// The most it costs.
    pub(crate) cost: u64,
    /// The most items or bytes it has; 1 for what has none.
    pub(crate) size: u64,
    /// The text of a literal double, which is exact where the double is not.
    pub(crate) literal: Option<String>,
}

/// The reason is already among the errors.
pub(crate) struct Failed;

pub(crate) type Checked<T = Typed> = Result<T, Failed>;

pub(crate) struct Checker<'e, 's> {
    pub(crate) env: &'e Env<'s>,
    wanted: &'e mut Wanted,
    errors: Vec<ExprError>,
    /// The variables of the loops around, innermost last.
    pub(crate) locals: Vec<(String, Type)>,
    /// How many operations have been made so far.
    pub(crate) operations: u64,
}

/// A field that a walk can have a slot for.
struct Place {
    path: FieldPath,
    node: NodeId,
}

impl Typed {
    pub(crate) fn is_const(&self) -> bool {
        matches!(self.code.op, Op::Const(_))
    }

    pub(crate) fn const_text(&self) -> Option<&str> {
        match &self.code.op {
            Op::Const(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

impl<'s> Checker<'_, 's> {
    #[cold]
    pub(crate) fn fail<T>(&mut self, at: Pos, message: impl Into<String>) -> Checked<T> {
        self.errors.push(ExprError::new(at, message));
        Err(Failed)
    }

    /// An operation that costs `own` on top of its operands.
    pub(crate) fn made(&mut self, op: Op, at: Pos, ty: Type, operands: u64, own: u64) -> Typed {
        self.operations += 1;
        let size = self.assumed(&ty);
        Typed { code: Code { op, at }, ty, cost: operands.saturating_add(own), size, literal: None }
    }

    fn constant(&mut self, value: Value<'static>, at: Pos, ty: Type) -> Typed {
        let size = match &value {
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 1,
        };
        Typed { size: size as u64, ..self.made(Op::Const(value), at, ty, 0, 1) }
    }

    /// How many items or bytes a value of a payload is taken to have.
    pub(crate) fn assumed(&self, ty: &Type) -> u64 {
        let limits = &self.env.limits;
        match ty.non_null() {
            Type::String | Type::Bytes => limits.text,
            Type::List(_) | Type::Map(..) => limits.items,
            Type::Dyn | Type::Union(..) => limits.text.max(limits.items),
            _ => 1,
        }
    }

    pub(crate) fn schema(&self, source: Source) -> &'s Schema {
        match (source, self.env.key) {
            (Source::Key, KeyType::Avro(schema)) => schema,
            _ => self.env.this.0,
        }
    }

    pub(crate) fn expr(&mut self, expr: &Expr) -> Checked {
        let at = expr.at;
        match &expr.kind {
            ExprKind::Literal(literal) => Ok(self.literal(literal, at)),
            ExprKind::Ident(name) => self.ident(name, expr),
            ExprKind::Select(of, field) => self.select(expr, of, field),
            ExprKind::Index(two) => self.index(&two[0], &two[1], at),
            ExprKind::Call(of, name, args) => self.call(of.as_deref(), name, args, at),
            ExprKind::List(items) => {
                let items = self.all(items)?;
                self.list(items, at)
            }
            ExprKind::Map(entries) => self.map(entries, at),
            ExprKind::Not(of) => {
                let of = self.condition(of, "`!`")?;
                Ok(self.made(Op::Not(Box::new(of.code)), at, Type::Bool, of.cost, 1))
            }
            ExprKind::Negate(of) => {
                let of = self.expr(of)?;
                if !(of.ty.is_dynamic() || matches!(of.ty.non_null(), Type::Int | Type::Double | Type::Decimal)) {
                    return self.fail(at, format!("`-` needs a signed number, found {}", of.ty));
                }
                let (constant, ty, of) = (of.is_const(), of.ty.non_null().clone(), self.non_null(of));
                let made = self.made(Op::Negate(Box::new(of.code)), at, ty, of.cost, 1);
                Ok(self.fold(made, constant).unwrap_or_else(|failed| failed.0))
            }
            ExprKind::And(all) => self.logic(all, "`&&`", at, Op::And),
            ExprKind::Or(all) => self.logic(all, "`||`", at, Op::Or),
            ExprKind::Cond(three) => self.conditional(&three[0], &three[1], &three[2], at),
            ExprKind::Binary(op, two) => match op {
                ast::Op::Eq | ast::Op::Ne => self.equality(*op == ast::Op::Ne, &two[0], &two[1], at),
                ast::Op::In => self.membership(&two[0], &two[1], at),
                ast::Op::Lt | ast::Op::Le | ast::Op::Gt | ast::Op::Ge => self.order(*op, &two[0], &two[1], at),
                _ => self.arithmetic(*op, &two[0], &two[1], at),
            },
        }
    }

    /// All of them, so that a mistake in one does not hide the mistakes in the others.
    pub(crate) fn all(&mut self, exprs: &[Expr]) -> Checked<Vec<Typed>> {
        let checked: Vec<Checked> = exprs.iter().map(|e| self.expr(e)).collect();
        checked.into_iter().collect()
    }

    fn both(&mut self, a: &Expr, b: &Expr) -> Checked<(Typed, Typed)> {
        let (a, b) = (self.expr(a), self.expr(b));
        Ok((a?, b?))
    }

    fn literal(&mut self, literal: &Literal, at: Pos) -> Typed {
        match literal {
            Literal::Null => self.constant(Value::Null, at, Type::Null),
            Literal::Bool(v) => self.constant(Value::Bool(*v), at, Type::Bool),
            Literal::Int(v) => self.constant(Value::Int(*v), at, Type::Int),
            Literal::Uint(v) => self.constant(Value::Uint(*v), at, Type::Uint),
            Literal::Double(v, text) => {
                Typed { literal: Some(text.clone()), ..self.constant(Value::Double(*v), at, Type::Double) }
            }
            Literal::String(v) => self.constant(Value::text(v.clone()), at, Type::String),
            Literal::Bytes(v) => self.constant(Value::bytes(v), at, Type::Bytes),
        }
    }

    // Names.

    fn ident(&mut self, name: &str, expr: &Expr) -> Checked {
        let at = expr.at;
        if let Some(index) = self.locals.iter().rposition(|(local, _)| local == name) {
            let ty = self.locals[index].1.clone();
            let up = self.locals.len() - 1 - index;
            return Ok(self.made(Op::Local(up), at, ty, 0, 1));
        }
        match name {
            "this" => match self.place(expr)? {
                Some(place) => self.slot(place, at),
                None => Err(Failed),
            },
            "key" => {
                let (ty, read) = match self.env.key {
                    KeyType::Null => (Type::Null, Read::PLAIN),
                    KeyType::String => (Type::String.nullable(), Read::PLAIN),
                    KeyType::Bytes => (Type::Bytes.nullable(), Read::PLAIN),
                    KeyType::Avro(s) => {
                        (Type::of(s, Source::Key, s.root()).nullable(), Read::of(s, s.non_null(s.root()).0))
                    }
                };
                Ok(self.made(Op::Key(read), at, ty, 0, 1))
            }
            "headers" => {
                let ty = Type::Map(Box::new(Type::String), Box::new(Type::String.nullable()));
                Ok(self.made(Op::Headers, at, ty, 0, 1))
            }
            "now" => Ok(self.made(Op::Now, at, Type::Timestamp, 0, 1)),
            _ => match type_named(name) {
                Some(ty) => Ok(self.constant(Value::Type(Shared::Borrowed(ty)), at, Type::Type)),
                None => self.unknown_name(name, at),
            },
        }
    }

    fn unknown_name<T>(&mut self, name: &str, at: Pos) -> Checked<T> {
        let (schema, node) = self.env.this;
        if schema.field(schema.non_null(node).0, name).is_some() {
            return self.fail(at, format!("unknown name `{name}`; the field is `this.{name}`"));
        }
        let known = ["this", "key", "headers", "now"].into_iter().chain(self.locals.iter().map(|(n, _)| n.as_str()));
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "known are this, key, headers and now".to_owned(),
        };
        self.fail(at, format!("unknown name `{name}`; {hint}"))
    }

    /// The field that `expr` names, if records alone lead to it from `this`.
    fn place(&mut self, expr: &Expr) -> Checked<Option<Place>> {
        match &expr.kind {
            ExprKind::Ident(name) if name == "this" && !self.locals.iter().any(|(local, _)| local == name) => {
                Ok(Some(Place { path: self.env.this_prefix.clone(), node: self.env.this.1 }))
            }
            ExprKind::Select(of, name) => {
                let Some(parent) = self.place(of)? else { return Ok(None) };
                let schema = self.env.this.0;
                let record = schema.non_null(parent.node).0;
                if !matches!(schema.node(record).kind, Kind::Record { .. }) {
                    return Ok(None);
                }
                let (_, field) = self.field(schema, record, name, expr.at)?;
                Ok(Some(Place { path: parent.path.join(name), node: field }))
            }
            _ => Ok(None),
        }
    }

    /// The index and the type of the field of a record.
    fn field(&mut self, schema: &Schema, record: NodeId, name: &str, at: Pos) -> Checked<(usize, NodeId)> {
        if let Some((index, field)) = schema.field(record, name) {
            return Ok((index, field.node));
        }
        let node = schema.node(record);
        let names: Vec<&str> = match &node.kind {
            Kind::Record { fields } => fields.iter().map(|f| &*f.name).collect(),
            _ => Vec::new(),
        };
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", names.join(", ")),
        };
        self.fail(at, format!("{} has no field `{name}`; {hint}", node.name.as_deref().unwrap_or("the record")))
    }

    fn clear(&mut self, schema: &Schema, node: NodeId, at: Pos) -> Checked<Read> {
        let read = Read::of(schema, schema.non_null(node).0);
        if read.is_clear() {
            return Ok(read);
        }
        self.fail(at, format!("the branches of the union {} cannot be told apart", schema.describe(node)))
    }

    fn slot(&mut self, place: Place, at: Pos) -> Checked {
        let schema = self.env.this.0;
        let read = self.clear(schema, place.node, at)?;
        let path: Arc<str> = place.path.to_string().into();
        let slot = self.wanted.intern(place.path);
        let ty = Type::of(schema, Source::This, place.node);
        Ok(self.made(Op::Slot(slot as u32, read, path), at, ty, 0, 1))
    }

    fn select(&mut self, expr: &Expr, of: &Expr, name: &str) -> Checked {
        let at = expr.at;
        if let Some(place) = self.place(expr)? {
            return self.slot(place, at);
        }
        if let Some(dotted) = expr.dotted()
            && !self.is_variable(&dotted)
        {
            return match type_named(&dotted).map(Shared::Borrowed).or_else(|| self.record_named(&dotted)) {
                Some(ty) => Ok(self.constant(Value::Type(ty), at, Type::Type)),
                None => self.expr(of).and_then(|_| self.unknown_name(&dotted, at)),
            };
        }
        let of_at = of.at;
        let of = self.expr(of)?;
        let skipping = 4;
        match of.ty.non_null().clone() {
            Type::Record(source, record, _) => {
                let schema = self.schema(source);
                let (index, node) = self.field(schema, record, name, at)?;
                let read = self.clear(schema, node, at)?;
                let ty = Type::of(schema, source, node);
                let path = match &of.code.op {
                    Op::Slot(_, _, path) | Op::Field(_, _, _, path) => format!("{path}.{name}"),
                    Op::Key(_) => format!("key.{name}"),
                    Op::Local(up) => format!("{}.{name}", self.locals[self.locals.len() - 1 - up].0),
                    _ => name.to_owned(),
                };
                Ok(self.made(Op::Field(Box::new(of.code), index, read, path.into()), at, ty, of.cost, skipping))
            }
            Type::Map(key, value) if Type::String.comparable(&key) => {
                let of = self.non_null(of);
                let name = self.constant(Value::text(name.to_owned()), at, Type::String);
                let own = of.size.saturating_mul(2);
                Ok(self.made(Op::Index(Box::new([of.code, name.code])), at, *value, of.cost, own))
            }
            Type::Union(source, union) => {
                let ty = self.field_of_union(source, union, name, at)?;
                Ok(self.made(Op::Select(Box::new(of.code), name.into()), at, ty, of.cost, skipping + of.size))
            }
            Type::Dyn => {
                Ok(self.made(Op::Select(Box::new(of.code), name.into()), at, Type::Dyn, of.cost, skipping + of.size))
            }
            other => self.fail(of_at, format!("{other} has no fields, so no `{name}`")),
        }
    }

    /// The type of a field that at least one branch of a union has.
    fn field_of_union(&mut self, source: Source, union: NodeId, name: &str, at: Pos) -> Checked<Type> {
        let schema = self.schema(source);
        let Kind::Union { branches } = &schema.node(union).kind else { return Ok(Type::Dyn) };
        let mut found: Option<Type> = None;
        for branch in branches {
            let ty = match &schema.node(*branch).kind {
                Kind::Map { values } => Type::of(schema, source, *values),
                _ => match schema.field(*branch, name) {
                    Some((_, field)) => Type::of(schema, source, field.node),
                    None => continue,
                },
            };
            found = Some(match found {
                Some(known) => known.join(ty),
                None => ty,
            });
        }
        match found {
            Some(ty) => Ok(ty),
            None => self.fail(at, format!("no branch of the union {} has a field `{name}`", schema.describe(union))),
        }
    }

    fn is_variable(&self, dotted: &str) -> bool {
        let first = dotted.split('.').next().unwrap_or_default();
        matches!(first, "this" | "key" | "headers" | "now") || self.locals.iter().any(|(local, _)| local == first)
    }

    /// The full name of a record of the schemas, as a value that `type()` gives.
    fn record_named(&self, name: &str) -> Option<Text<'static>> {
        let holds = |schema: &Schema, root: NodeId| {
            let mut seen = Vec::new();
            let mut left = vec![root];
            while let Some(id) = left.pop() {
                if seen.contains(&id) {
                    continue;
                }
                seen.push(id);
                let node = schema.node(id);
                if node.name.as_deref() == Some(name) && matches!(node.kind, Kind::Record { .. }) {
                    return true;
                }
                match &node.kind {
                    Kind::Array { items: next } | Kind::Map { values: next } => left.push(*next),
                    Kind::Union { branches } => left.extend(branches),
                    Kind::Record { fields } => left.extend(fields.iter().map(|f| f.node)),
                    _ => {}
                }
            }
            false
        };
        let (schema, root) = self.env.this;
        let known = holds(schema, root) || matches!(self.env.key, KeyType::Avro(key) if holds(key, key.root()));
        known.then(|| name.to_owned().into())
    }

    /// `has(a.b)`.
    pub(crate) fn has(&mut self, arg: &Expr, at: Pos) -> Checked {
        let ExprKind::Select(of, name) = &arg.kind else {
            return self.fail(arg.at, "has() needs a field, as in has(this.name)");
        };
        if let Some(place) = self.place(arg)? {
            let slot = self.wanted.intern(place.path);
            return Ok(self.made(Op::HasSlot(slot as u32), at, Type::Bool, 0, 1));
        }
        let of = self.expr(of)?;
        let own = 4 + of.size;
        let op = match of.ty.non_null().clone() {
            Type::Record(source, record, _) => {
                let schema = self.schema(source);
                let (index, node) = self.field(schema, record, name, arg.at)?;
                Op::HasField(Box::new(of.code), index, Read::of(schema, node))
            }
            Type::Map(key, _) if Type::String.comparable(&key) => Op::HasName(Box::new(of.code), name.as_str().into()),
            Type::Union(source, union) => {
                self.field_of_union(source, union, name, arg.at)?;
                Op::HasName(Box::new(of.code), name.as_str().into())
            }
            Type::Dyn => Op::HasName(Box::new(of.code), name.as_str().into()),
            other => return self.fail(arg.at, format!("{other} has no fields, so no `{name}`")),
        };
        Ok(self.made(op, at, Type::Bool, of.cost, own))
    }

    fn index(&mut self, of: &Expr, by: &Expr, at: Pos) -> Checked {
        let (of, by) = self.both(of, by)?;
        let (of, by) = (self.non_null(of), self.non_null(by));
        let ty = match &of.ty {
            Type::List(item) => {
                if !(by.ty.is_dynamic() || matches!(by.ty, Type::Int | Type::Uint)) {
                    return self.fail(by.code.at, format!("the index of a list is an int, found {}", by.ty));
                }
                (**item).clone()
            }
            Type::Map(key, value) => {
                if !key.comparable(&by.ty) || by.ty == Type::Null {
                    let message = format!("the key of this map is {key}, found {}", by.ty);
                    return self.fail(by.code.at, message);
                }
                (**value).clone()
            }
            ty if ty.is_dynamic() => Type::Dyn,
            other => {
                let message = format!("`[]` needs a list or a map, found {other}");
                return self.fail(at, message);
            }
        };
        let (operands, own) = (of.cost.saturating_add(by.cost), of.size.saturating_mul(2));
        let constant = of.is_const() && by.is_const();
        let made = self.made(Op::Index(Box::new([of.code, by.code])), at, ty, operands, own);
        Ok(self.fold(made, constant).unwrap_or_else(|failed| failed.0))
    }

    // Literals of collections.

    pub(crate) fn list(&mut self, items: Vec<Typed>, at: Pos) -> Checked {
        let count = items.len() as u64;
        let constant = items.iter().all(Typed::is_const);
        let cost = items.iter().fold(1 + count * ITEM, |sum, item| sum.saturating_add(item.cost));
        let item = items.iter().map(|i| i.ty.clone()).reduce(Type::join).unwrap_or(Type::Dyn);
        let codes = items.into_iter().map(|i| i.code).collect();
        let made = Typed { size: count, ..self.made(Op::List(codes), at, Type::List(Box::new(item)), cost, 0) };
        Ok(self.fold(made, constant).unwrap_or_else(|failed| failed.0))
    }

    fn map(&mut self, entries: &[[Expr; 2]], at: Pos) -> Checked {
        let checked: Vec<Checked<(Typed, Typed)>> = entries.iter().map(|[k, v]| self.both(k, v)).collect();
        let checked = checked.into_iter().collect::<Checked<Vec<_>>>()?;
        let (mut key, mut value) = (None::<Type>, None::<Type>);
        let mut constant = true;
        // Each key is compared with the ones before it.
        let count = checked.len() as u64;
        let mut cost = 1 + count * (ITEM + count);
        let mut codes = Vec::with_capacity(checked.len());
        let join = |known: Option<Type>, next: Type| known.map_or(next.clone(), |k| k.join(next));
        for (k, v) in checked {
            if !(k.ty.is_dynamic() || matches!(k.ty, Type::Bool | Type::Int | Type::Uint | Type::String)) {
                return self.fail(k.code.at, format!("the key of a map is bool, int, uint or string, found {}", k.ty));
            }
            constant &= k.is_const() && v.is_const();
            cost = cost.saturating_add(k.cost).saturating_add(v.cost);
            (key, value) = (Some(join(key, k.ty)), Some(join(value, v.ty)));
            codes.push([k.code, v.code]);
        }
        let ty = Type::Map(Box::new(key.unwrap_or(Type::Dyn)), Box::new(value.unwrap_or(Type::Dyn)));
        let made = Typed { size: count, ..self.made(Op::Map(codes.into()), at, ty, cost, 0) };
        match self.fold(made, constant) {
            Ok(made) => Ok(made),
            Err(failed) if failed.1 == EvalErrorKind::DuplicateKey => self.fail(at, failed.1.to_string()),
            Err(failed) => Ok(failed.0),
        }
    }

    // Logic.

    pub(crate) fn condition(&mut self, expr: &Expr, what: &str) -> Checked {
        let typed = self.expr(expr)?;
        self.is_condition(typed, what)
    }

    pub(crate) fn is_condition(&mut self, typed: Typed, what: &str) -> Checked {
        if typed.ty.is_dynamic() || *typed.ty.non_null() == Type::Bool {
            return Ok(typed);
        }
        self.fail(typed.code.at, format!("{what} needs bool, found {}", typed.ty))
    }

    fn logic(&mut self, all: &[Expr], what: &str, at: Pos, op: fn(Box<[Code]>) -> Op) -> Checked {
        let checked: Vec<Checked> = all.iter().map(|e| self.condition(e, what)).collect();
        let checked = checked.into_iter().collect::<Checked<Vec<_>>>()?;
        let cost = checked.iter().fold(0_u64, |sum, t| sum.saturating_add(t.cost));
        Ok(self.made(op(checked.into_iter().map(|t| t.code).collect()), at, Type::Bool, cost, 1))
    }

    fn conditional(&mut self, condition: &Expr, then: &Expr, otherwise: &Expr, at: Pos) -> Checked {
        let condition = self.condition(condition, "the condition of `? :`");
        let (then, otherwise) = self.both(then, otherwise)?;
        let condition = condition?;
        let dynamic = then.ty.is_dynamic() || otherwise.ty.is_dynamic();
        let ty = then.ty.clone().join(otherwise.ty.clone());
        if ty == Type::Dyn && !dynamic {
            let message = format!("the branches of `? :` are {} and {}; they need one type", then.ty, otherwise.ty);
            return self.fail(otherwise.code.at, message);
        }
        let cost = condition.cost.saturating_add(then.cost.max(otherwise.cost));
        let size = then.size.max(otherwise.size);
        let codes = Box::new([condition.code, then.code, otherwise.code]);
        Ok(Typed { size, ..self.made(Op::Cond(codes), at, ty, cost, 1) })
    }
}

/// The CEL name of a type that can stand as a value.
fn type_named(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 13] = [
        "bool",
        "int",
        "uint",
        "double",
        "decimal",
        "string",
        "bytes",
        "list",
        "map",
        "null_type",
        "type",
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
    ];
    NAMES.into_iter().find(|known| *known == name)
}

/// The known name that `name` is most likely a slip of.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let near = |k: &&str| distance(&name.to_lowercase(), &k.to_lowercase());
    known.into_iter().map(|k| (near(&k), k)).min().filter(|(d, _)| *d <= 1 + name.chars().count() / 4).map(|(_, k)| k)
}

/// How many characters have to be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
