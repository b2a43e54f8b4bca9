//! The check of SQL: every expression gets its type, and becomes operations of the program.

use weir_avro::{FieldPath, Kind as Avro, Schema, Slot};

use crate::ast;
use crate::check::nearest;
use crate::code::{Code, Context, Op as CodeOp, Scope};
use crate::env::{Limits, Type, Wanted};
use crate::error::{ExprError, Pos};
use crate::number::Decimal;
use crate::program::{Input, Program};
use crate::read::Read;
use crate::sql::cast::{self, Cast};
use crate::sql::forms::{self, FUNCTIONS};
use crate::sql::func::{self, Func};
use crate::sql::json;
use crate::sql::run::Op;
use crate::sql::{Binary, Column, Expr, Kind, SqlType as T, Unit};
use crate::value::{Budget, Value};

/// Compiles an expression over rows of `schema`; the fields it reads are added to `wanted`. `salt` is what `HASH` puts
/// in front of a value. The program gives a value that [`encode`](crate::sql::encode) writes by the column.
///
/// # Errors
/// The first thing that is wrong with it, with its place and what would work.
pub fn compile(expr: &Expr, schema: &Schema, salt: &str, wanted: &mut Wanted) -> Result<(Program, Column), ExprError> {
    let known = wanted.paths().len();
    let mut checker = Checker { schema, salt, wanted };
    match checker.expr(expr) {
        Ok(typed) => {
            let slots = wanted.paths().len();
            Ok((Program::of_sql(typed.code, slots), typed.column))
        }
        Err(error) => {
            wanted.truncate(known);
            Err(error)
        }
    }
}

pub(super) struct Checker<'e> {
    pub(super) schema: &'e Schema,
    salt: &'e str,
    wanted: &'e mut Wanted,
}

pub(super) struct Typed {
    pub(super) code: Code,
    pub(super) column: Column,
}

pub(super) type Checked<X = Typed> = Result<X, ExprError>;

pub(super) fn fail<X>(at: Pos, message: impl Into<String>) -> Checked<X> {
    Err(ExprError::new(at, message))
}

pub(super) fn made(op: Op, args: Vec<Typed>, at: Pos, ty: T, nullable: bool) -> Typed {
    let constant = !args.is_empty() && args.iter().all(|a| matches!(a.code.op, CodeOp::Const(_)));
    let code = Code { op: CodeOp::Sql(op, args.into_iter().map(|a| a.code).collect()), at };
    let column = Column::new(ty, nullable);
    if constant {
        // A constant that fails fails for every row that gets there, and for no other.
        let text = Schema::parse("\"null\"");
        if let Ok(schema) = text {
            let slots: [Slot<'_>; 0] = [];
            let input = Input::new(&schema, &slots);
            let cx = Context { input: &input, budget: Budget::new(Limits::default().cost) };
            let value = code.eval(Scope { cx: &cx, frame: None }).ok().and_then(|v| v.constant());
            if let Some(value) = value {
                return Typed { code: Code { op: CodeOp::Const(value), at }, column };
            }
        }
    }
    Typed { code, column }
}

fn constant(value: Value<'static>, at: Pos, ty: T) -> Typed {
    let nullable = ty == T::Null;
    Typed { code: Code { op: CodeOp::Const(value), at }, column: Column::new(ty, nullable) }
}

impl Checker<'_> {
    pub(super) fn expr(&mut self, e: &Expr) -> Checked {
        let at = e.at;
        Ok(match &e.kind {
            Kind::Null => constant(Value::Null, at, T::Null),
            Kind::Bool(b) => constant(Value::Bool(*b), at, T::Boolean),
            Kind::Int(n) => constant(Value::Int(*n), at, if i32::try_from(*n).is_ok() { T::Int } else { T::BigInt }),
            Kind::Number(text) => self.number(text, at)?,
            Kind::Text(text) => constant(Value::text(text.to_string()), at, T::Text),
            Kind::Typed(ty, text) => {
                match cast::plan(&T::Text, ty).and_then(|c| cast::cast(&Value::text(&**text), c).ok()) {
                    Some(value) => constant(value.constant().unwrap_or(Value::Null), at, ty.clone()),
                    None => {
                        return fail(
                            at,
                            format!("'{text}' is no {ty}; write DATE '2026-01-31' or TIMESTAMP '2026-01-31T12:00:00Z'"),
                        );
                    }
                }
            }
            Kind::Interval(ms) => constant(Value::Duration(jiff::SignedDuration::from_millis(*ms)), at, T::Interval),
            Kind::Path(names) => self.path(names, at)?,
            Kind::RowKey => {
                Typed { code: Code { op: CodeOp::Key(Read::PLAIN), at }, column: Column::new(T::Text, true) }
            }
            Kind::RowTime => {
                Typed { code: Code { op: CodeOp::Now, at }, column: Column::new(T::Timestamp(Unit::Millis), false) }
            }
            Kind::RowPartition => made(Op::Partition, vec![], at, T::Int, false),
            Kind::RowOffset => made(Op::Offset, vec![], at, T::BigInt, false),
            Kind::Headers => {
                let ty = T::Map(Box::new(Column::new(T::Text, true)));
                Typed { code: Code { op: CodeOp::Headers, at }, column: Column::new(ty, false) }
            }
            Kind::Field(of, name) => self.field(of, name, at)?,
            Kind::Index(two) => self.index(two, at)?,
            Kind::Not(of) => {
                let of = self.boolean(of, "NOT")?;
                let nullable = of.column.nullable;
                made(Op::Not, vec![of], at, T::Boolean, nullable)
            }
            Kind::Negate(of) => {
                let of = self.expr(of)?;
                let (ty, nullable) = (of.column.ty.clone(), of.column.nullable);
                if !ty.is_number() {
                    return fail(at, format!("`-` needs a number, found {ty}"));
                }
                let ty = if ty == T::Int { T::BigInt } else { ty };
                made(Op::Negate, vec![of], at, ty, nullable)
            }
            Kind::Binary(op, two) => self.binary(*op, two, at)?,
            Kind::IsNull(of, not) => {
                let of = self.expr(of)?;
                made(Op::IsNull(*not), vec![of], at, T::Boolean, false)
            }
            Kind::IsTruth(of, truth, not) => {
                let of = self.boolean(of, "IS")?;
                made(Op::IsTruth(*truth, *not), vec![of], at, T::Boolean, false)
            }
            Kind::IsOf(of, types, not) => self.is_of(of, types, *not, at)?,
            Kind::Distinct(two, not) => {
                let (a, b, _) = self.alike(&two[0], &two[1], at)?;
                made(Op::Distinct(*not), vec![a, b], at, T::Boolean, false)
            }
            Kind::In(of, list, not) => {
                let mut all = vec![self.expr(of)?];
                for item in list {
                    all.push(self.expr(item)?);
                }
                let all = self.unify(all, at)?.0;
                let nullable = all.iter().any(|a| a.column.nullable);
                made(Op::In(*not), all, at, T::Boolean, nullable)
            }
            Kind::Between(three, not) => {
                let [of, low, high] = &**three;
                let side = |op, bound: &Expr| Expr::new(at, Kind::Binary(op, Box::new([of.clone(), bound.clone()])));
                let both = Box::new([side(Binary::Ge, low), side(Binary::Le, high)]);
                let within = Expr::new(at, Kind::Binary(Binary::And, both));
                self.expr(&if *not { Expr::new(at, Kind::Not(Box::new(within))) } else { within })?
            }
            Kind::Like(like) => {
                let (text, pattern) = (self.expr(&like.text)?, self.expr(&like.pattern)?);
                for side in [&text, &pattern] {
                    if !matches!(side.column.ty, T::Text | T::Null) {
                        return fail(side.code.at, format!("LIKE needs TEXT, found {}", side.column.ty));
                    }
                }
                let nullable = text.column.nullable || pattern.column.nullable;
                let op = Op::Like { escape: like.escape, fold: like.fold, not: like.not };
                made(op, vec![text, pattern], at, T::Boolean, nullable)
            }
            Kind::Case(operand, arms, otherwise) => self.case(operand.as_deref(), arms, otherwise.as_deref(), at)?,
            Kind::Cast(of, to, lenient) => {
                let of = self.expr(of)?;
                if of.column.ty == *to {
                    return Ok(of);
                }
                let Some(plan) = cast::plan(&of.column.ty, to) else {
                    return fail(at, format!("{} cannot be cast to {to}; cast it to TEXT first", of.column.ty));
                };
                let nullable = of.column.nullable || *lenient;
                made(Op::Cast(plan, *lenient), vec![of], at, to.clone(), nullable)
            }
            Kind::Ticks(of) => {
                let of = self.expr(of)?;
                let nullable = of.column.nullable;
                let unit = match of.column.ty {
                    T::Date => None,
                    T::Timestamp(unit) => Some(unit),
                    other => return fail(at, format!("{other} has no ticks")),
                };
                made(Op::Ticks(unit), vec![of], at, T::BigInt, nullable)
            }
            Kind::Call(name, args) => self.call(name, args, at)?,
            Kind::Array(items) => {
                let items = items.iter().map(|i| self.expr(i)).collect::<Checked<Vec<_>>>()?;
                if items.is_empty() {
                    return fail(at, "an array needs an item to have a type, as in ARRAY[1]");
                }
                let (items, item) = self.unify(items, at)?;
                made(Op::Array, items, at, T::Array(Box::new(item)), false)
            }
            Kind::Map(entries) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for [key, value] in entries {
                    let key = self.expr(key)?;
                    if key.column.ty != T::Text {
                        return fail(key.code.at, format!("the key of a map is TEXT, found {}", key.column.ty));
                    }
                    keys.push(key);
                    values.push(self.expr(value)?);
                }
                let (values, of) = self.unify(values, at)?;
                let all = keys.into_iter().zip(values).flat_map(|(k, v)| [k, v]).collect();
                made(Op::Map, all, at, T::Map(Box::new(of)), false)
            }
            Kind::Struct(fields) => {
                let mut columns = Vec::new();
                let mut values = Vec::new();
                for (name, value) in fields {
                    let value = self.expr(value)?;
                    if columns.iter().any(|(known, _)| known == name) {
                        return fail(at, format!("the struct has the field `{name}` twice"));
                    }
                    columns.push((name.clone(), value.column.clone()));
                    values.push(value);
                }
                made(Op::Array, values, at, T::Struct(columns), false)
            }
        })
    }

    /// A number with a point is exact, one with an exponent a double.
    fn number(&mut self, text: &str, at: Pos) -> Checked {
        if text.contains(['e', 'E']) {
            return match text.parse::<f64>() {
                Ok(x) if x.is_finite() => Ok(constant(Value::Double(x), at, T::Double)),
                _ => fail(at, format!("{text} is beyond a DOUBLE")),
            };
        }
        match Decimal::parse(text) {
            Some(d) => {
                let ty = T::Decimal { precision: d.digits().max(d.scale()).max(1), scale: d.scale() };
                Ok(constant(Value::Decimal(d), at, ty))
            }
            None => fail(at, format!("{text} has more than 38 digits")),
        }
    }

    fn path(&mut self, names: &[Box<str>], at: Pos) -> Checked {
        let schema = self.schema;
        let mut node = schema.root();
        let mut path = FieldPath::root();
        let mut nullable = false;
        for name in names {
            let (record, null) = schema.non_null(node);
            nullable |= null;
            let Some((_, field)) = schema.field(record, name) else {
                return fail(at, no_field(schema, record, name));
            };
            node = field.node;
            path = path.join(name);
        }
        let mut column = Column::of(schema, node);
        column.nullable |= nullable;
        let read = Read::of(schema, schema.non_null(node).0);
        let slot = self.wanted.intern(path) as u32;
        Ok(Typed { code: Code { op: CodeOp::Sql(Op::Field(slot, read), Box::default()), at }, column })
    }

    fn field(&mut self, of: &Expr, name: &str, at: Pos) -> Checked {
        let of = self.expr(of)?;
        let nullable = of.column.nullable;
        match of.column.ty.clone() {
            T::Record(node, _) => {
                let Some((index, field)) = self.schema.field(node, name) else {
                    return fail(at, no_field(self.schema, node, name));
                };
                let mut column = Column::of(self.schema, field.node);
                column.nullable |= nullable;
                let read = Read::of(self.schema, self.schema.non_null(field.node).0);
                Ok(Typed { column, ..made(Op::Get(index, read), vec![of], at, T::Null, true) })
            }
            T::Struct(fields) => match fields.iter().position(|(known, _)| **known == *name) {
                Some(index) => {
                    let column = &fields[index].1;
                    Ok(made(Op::Item(index), vec![of], at, column.ty.clone(), column.nullable || nullable))
                }
                None => fail(at, format!("the struct has no field `{name}`")),
            },
            other => fail(at, format!("{other} has no fields, so no `{name}`; a map is read as in m['{name}']")),
        }
    }

    fn index(&mut self, two: &[Expr; 2], at: Pos) -> Checked {
        let (of, by) = (self.expr(&two[0])?, self.expr(&two[1])?);
        match (of.column.ty.clone(), &by.column.ty) {
            (T::Array(item), by_ty) if by_ty.is_integer() => Ok(made(Op::ArrayItem, vec![of, by], at, item.ty, true)),
            (T::Map(value), T::Text) => Ok(made(Op::MapValue, vec![of, by], at, value.ty, true)),
            (ty, by) => {
                fail(at, format!("`[]` takes an array and a number from 1 or a map and a text, found {ty} and {by}"))
            }
        }
    }

    fn boolean(&mut self, e: &Expr, what: &str) -> Checked {
        let typed = self.expr(e)?;
        if matches!(typed.column.ty, T::Boolean | T::Null) {
            return Ok(typed);
        }
        fail(e.at, format!("{what} needs BOOLEAN, found {}", typed.column.ty))
    }

    /// Casts a value where its type is not the one wanted.
    fn cast(&mut self, typed: Typed, to: &T) -> Typed {
        if typed.column.ty == *to || typed.column.ty == T::Null || matches!((&typed.column.ty, to), (T::Int, T::BigInt))
        {
            return typed;
        }
        match cast::plan(&typed.column.ty, to) {
            // Between decimals only the scale of the column differs; the values are what they are.
            Some(Cast::Decimal { .. }) if matches!(typed.column.ty, T::Decimal { .. }) => typed,
            Some(plan) => {
                let (at, nullable) = (typed.code.at, typed.column.nullable);
                made(Op::Cast(plan, false), vec![typed], at, to.clone(), nullable)
            }
            None => typed,
        }
    }

    /// Brings values to one type. A literal text beside a time means the time.
    fn unify(&mut self, values: Vec<Typed>, at: Pos) -> Checked<(Vec<Typed>, Column)> {
        let literal = |v: &Typed| v.column.ty == T::Text && matches!(v.code.op, CodeOp::Const(_));
        let time =
            values.iter().map(|v| &v.column.ty).find(|t| matches!(t, T::Date | T::Time | T::Timestamp(_))).cloned();
        let mut ready = Vec::with_capacity(values.len());
        for value in values {
            ready.push(match &time {
                Some(time) if literal(&value) => {
                    let at = value.code.at;
                    let cast = self.cast(value, time);
                    if !matches!(cast.code.op, CodeOp::Const(_)) {
                        return fail(at, format!("this text is no {time}"));
                    }
                    cast
                }
                _ => value,
            });
        }
        let mut column = Column::new(T::Null, false);
        for value in &ready {
            column = match column.join(&value.column) {
                Some(joined) => joined,
                None => {
                    let message = format!("{} and {} have no common type; use CAST", column.ty, value.column.ty);
                    return fail(if value.code.at.line > 0 { value.code.at } else { at }, message);
                }
            };
        }
        let ty = column.ty.clone();
        Ok((ready.into_iter().map(|v| self.cast(v, &ty)).collect(), column))
    }

    fn alike(&mut self, a: &Expr, b: &Expr, at: Pos) -> Checked<(Typed, Typed, Column)> {
        let both = vec![self.expr(a)?, self.expr(b)?];
        let (both, column) = self.unify(both, at)?;
        match <[Typed; 2]>::try_from(both) {
            Ok([a, b]) => Ok((a, b, column)),
            Err(_) => fail(at, "two values are needed"),
        }
    }

    fn binary(&mut self, op: Binary, two: &[Expr; 2], at: Pos) -> Checked {
        use Binary as B;
        let sign = match op {
            B::And | B::Or => {
                let name = if op == B::And { "AND" } else { "OR" };
                let (a, b) = (self.boolean(&two[0], name)?, self.boolean(&two[1], name)?);
                let nullable = a.column.nullable || b.column.nullable;
                let op = if op == B::And { Op::And } else { Op::Or };
                return Ok(made(op, vec![a, b], at, T::Boolean, nullable));
            }
            B::Concat => {
                let (a, b) = (self.expr(&two[0])?, self.expr(&two[1])?);
                for side in [&a, &b] {
                    if !matches!(side.column.ty, T::Text | T::Null) {
                        return fail(
                            side.code.at,
                            format!("`||` needs TEXT, found {}; use CAST(... AS TEXT)", side.column.ty),
                        );
                    }
                }
                let nullable = a.column.nullable || b.column.nullable;
                return Ok(made(Op::Concat, vec![a, b], at, T::Text, nullable));
            }
            B::Eq | B::Ne => {
                let (a, b, column) = self.alike(&two[0], &two[1], at)?;
                if matches!(column.ty, T::Opaque(_) | T::Record(..)) {
                    return fail(at, format!("{} cannot be compared; compare its fields", column.ty));
                }
                return Ok(made(Op::Equal(op == B::Ne), vec![a, b], at, T::Boolean, column.nullable));
            }
            B::Lt | B::Le | B::Gt | B::Ge => {
                let (a, b, column) = self.alike(&two[0], &two[1], at)?;
                if !column.ty.is_ordered() && column.ty != T::Null {
                    return fail(at, format!("{} has no order", column.ty));
                }
                let sign = match op {
                    B::Lt => ast::Op::Lt,
                    B::Le => ast::Op::Le,
                    B::Gt => ast::Op::Gt,
                    _ => ast::Op::Ge,
                };
                return Ok(made(Op::Compare(sign), vec![a, b], at, T::Boolean, column.nullable));
            }
            B::Add => ast::Op::Add,
            B::Sub => ast::Op::Sub,
            B::Mul => ast::Op::Mul,
            B::Div => ast::Op::Div,
            B::Rem => ast::Op::Rem,
        };
        let (a, b) = (self.expr(&two[0])?, self.expr(&two[1])?);
        let nullable = a.column.nullable || b.column.nullable;
        let (left, right) = (a.column.ty.clone(), b.column.ty.clone());
        let moment = |t: &T| matches!(t, T::Timestamp(_) | T::Date);
        let times = match (op, &left, &right) {
            (B::Add, t, T::Interval) | (B::Add, T::Interval, t) if moment(t) => {
                Some((Func::AddTime, T::Timestamp(func::unit_of(t, t))))
            }
            (B::Sub, t, T::Interval) if moment(t) => Some((Func::SubTime, T::Timestamp(func::unit_of(t, t)))),
            (B::Sub, s, t) if moment(s) && moment(t) => Some((Func::Between, T::Interval)),
            _ => None,
        };
        if let Some((function, ty)) = times {
            return Ok(made(Op::Func(function), vec![a, b], at, ty, nullable));
        }
        let numbers = |t: &T| t.is_number() || *t == T::Null;
        if !numbers(&left) || !numbers(&right) {
            return fail(at, format!("`{}` does not take {left} and {right}; use CAST", sign.sign()));
        }
        let joined = left.join(&right).unwrap_or(T::Null);
        let scale = |t: &T| if let T::Decimal { scale, .. } = t { *scale } else { 0 };
        let (op, ty) = match (&joined, op) {
            (T::Int | T::BigInt | T::Null, _) => (Op::Arith(sign), T::BigInt),
            (T::Decimal { .. }, B::Mul) if scale(&left) + scale(&right) > 38 => {
                return fail(at, "the product has more than 38 digits behind the point; CAST to a smaller scale first");
            }
            (T::Decimal { .. }, B::Mul) => {
                (Op::Arith(sign), T::Decimal { precision: 38, scale: scale(&left) + scale(&right) })
            }
            (T::Decimal { .. }, B::Div) => {
                let scale = scale(&left).max(scale(&right)).max(6);
                (Op::Quotient(scale), T::Decimal { precision: 38, scale })
            }
            (T::Decimal { .. }, B::Rem) => return fail(at, "`%` takes integers and DOUBLE; use CAST"),
            (T::Decimal { scale, .. }, _) => (Op::Arith(sign), T::Decimal { precision: 38, scale: *scale }),
            (other, _) => (Op::Arith(sign), other.clone()),
        };
        let (a, b) = (self.cast(a, &joined), self.cast(b, &joined));
        Ok(made(op, vec![a, b], at, ty, nullable))
    }

    fn case(&mut self, operand: Option<&Expr>, arms: &[[Expr; 2]], otherwise: Option<&Expr>, at: Pos) -> Checked {
        let (mut conditions, mut results) = (Vec::new(), Vec::new());
        for [condition, result] in arms {
            conditions.push(match operand {
                Some(operand) => self.binary(Binary::Eq, &[operand.clone(), condition.clone()], condition.at)?,
                None => self.boolean(condition, "WHEN")?,
            });
            results.push(self.expr(result)?);
        }
        results.push(match otherwise {
            Some(e) => self.expr(e)?,
            None => constant(Value::Null, at, T::Null),
        });
        let (mut results, column) = self.unify(results, at)?;
        let last = results.pop();
        let all = conditions.into_iter().zip(results).flat_map(|(c, r)| [c, r]).chain(last).collect();
        Ok(made(Op::Case, all, at, column.ty, column.nullable))
    }

    fn call(&mut self, name: &str, args: &[Expr], at: Pos) -> Checked {
        let given = args.iter().map(|a| self.expr(a)).collect::<Checked<Vec<_>>>()?;
        match name {
            "COALESCE" if !given.is_empty() => {
                let nullable = given.iter().all(|g| g.column.nullable);
                let (given, column) = self.unify(given, at)?;
                return Ok(made(Op::Coalesce, given, at, column.ty, nullable));
            }
            "NULLIF" if given.len() == 2 => {
                let (given, column) = self.unify(given, at)?;
                return Ok(made(Op::NullIf, given, at, column.ty, true));
            }
            "TRY" if given.len() == 1 => {
                let ty = given[0].column.ty.clone();
                return Ok(made(Op::Try, given, at, ty, true));
            }
            "MOD" if args.len() == 2 => return self.binary(Binary::Rem, &[args[0].clone(), args[1].clone()], at),
            _ => {}
        }
        let literal = match (name, args) {
            ("ROUND", [_, Expr { kind: Kind::Int(n), .. }]) => Some(n.to_string()),
            ("ENCODE" | "DECODE", [_, Expr { kind: Kind::Text(base), .. }]) => Some(base.to_string()),
            (_, [_, Expr { kind: Kind::Text(path), at }]) if name.starts_with("JSON_") && !json::is_path(path) => {
                return fail(*at, format!("'{path}' is no path; write '$.a.b[0]', or '$[''a b'']' for other names"));
            }
            ("EXTRACT" | "DATE_TRUNC", [Expr { kind: Kind::Text(part), .. }, ..]) => Some(part.to_string()),
            _ => None,
        };
        let columns: Vec<Column> = given.iter().map(|g| g.column.clone()).collect();
        match forms::resolve(name, &columns, literal.as_deref(), self.salt) {
            Some((function, want, column)) => {
                let given: Vec<_> = given.into_iter().zip(&want).map(|(g, w)| self.cast(g, &w.ty)).collect();
                Ok(made(Op::Func(function), given, at, column.ty, column.nullable))
            }
            None => match FUNCTIONS.iter().find(|(known, _)| *known == name) {
                Some((_, form)) => {
                    let found: Vec<String> = columns.iter().map(|c| c.ty.to_string()).collect();
                    fail(at, format!("{name} does not take ({}); write {form}", found.join(", ")))
                }
                None => match nearest(name, FUNCTIONS.iter().map(|(known, _)| *known)) {
                    Some(near) => fail(at, format!("there is no function {name}; did you mean {near}?")),
                    None => fail(at, format!("there is no function {name}; docs/views.md lists those there are")),
                },
            },
        }
    }
}

fn no_field(schema: &Schema, record: weir_avro::NodeId, name: &str) -> String {
    let node = schema.node(record);
    let Avro::Record { fields } = &node.kind else {
        return format!("{} has no fields, so no `{name}`", schema.describe(record));
    };
    let hint = match nearest(name, fields.iter().map(|f| &*f.name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", fields.iter().map(|f| &*f.name).collect::<Vec<_>>().join(", ")),
    };
    format!("{} has no field `{name}`; {hint}", node.name.as_deref().unwrap_or("the row"))
}

impl Program {
    fn of_sql(code: Code, slots: usize) -> Program {
        Program::new(code, Type::Dyn, slots)
    }
}
