//! The check of the binary operators, and what all operators share: constants, exact literals, null.

use weir_avro::Slot;

use crate::arith;
use crate::ast::{Expr, ExprKind, Op as Sign};
use crate::check::{Checked, Checker, Typed};
use crate::code::{Context, How, Op, Scope};
use crate::env::Type;
use crate::error::{EvalErrorKind, Pos};
use crate::number::Decimal;
use crate::program::Input;
use crate::value::{Budget, List, Value};

impl Checker<'_, '_> {
    /// The value itself where it cannot be null, and else an operation that makes null an error.
    pub(crate) fn non_null(&mut self, of: Typed) -> Typed {
        let Type::Nullable(inner) = &of.ty else { return of };
        let (at, ty, size) = (of.code.at, (**inner).clone(), of.size);
        Typed { size, ..self.made(Op::NonNull(Box::new(of.code)), at, ty, of.cost, 1) }
    }

    /// Computes an operation on constants. One that fails is given back with the reason, to fail at run time.
    pub(crate) fn fold(&self, made: Typed, constant: bool) -> Result<Typed, Box<(Typed, EvalErrorKind)>> {
        if !constant {
            return Ok(made);
        }
        let slots: [Slot<'_>; 0] = [];
        let input = Input::new(self.env.this.0, &slots);
        let cx = Context { input: &input, budget: Budget::new(self.env.limits.cost) };
        let value = match made.code.eval(Scope { cx: &cx, frame: None }) {
            Ok(value) => value.constant(),
            Err(e) => return Err(Box::new((made, e.kind))),
        };
        let Some(value) = value else { return Ok(made) };
        let size = match &value {
            Value::String(text) => text.len() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            _ => made.size,
        };
        let mut folded = made;
        folded.code.op = Op::Const(value);
        Ok(Typed { cost: 1, size, ..folded })
    }

    /// A literal double beside a decimal means the number that is written, not the double that is nearest to it.
    fn exact(&mut self, typed: Typed, other: &Type) -> Typed {
        match typed.literal.as_deref().and_then(Decimal::parse) {
            Some(decimal) if *other.non_null() == Type::Decimal => {
                self.made(Op::Const(Value::Decimal(decimal)), typed.code.at, Type::Decimal, 0, 1)
            }
            _ => typed,
        }
    }

    fn operands(&mut self, a: &Expr, b: &Expr) -> Checked<(Typed, Typed)> {
        let (a, b) = (self.expr(a), self.expr(b));
        let (a, b) = (a?, b?);
        let (left, right) = (a.ty.clone(), b.ty.clone());
        Ok((self.exact(a, &right), self.exact(b, &left)))
    }

    /// How two operands can be asked. A whole literal beside a double becomes a double, if that is exact.
    fn how(a: Typed, b: Typed) -> (How, Typed, Typed) {
        let decimal = |mut typed: Typed| {
            if let Op::Const(Value::Int(value)) = typed.code.op {
                typed.code.op = Op::Const(Value::Decimal(Decimal::from(value)));
                typed.ty = Type::Decimal;
            }
            typed
        };
        let double = |mut typed: Typed| {
            if let Op::Const(Value::Int(value)) = typed.code.op
                && value.unsigned_abs() <= 1 << 53
            {
                typed.code.op = Op::Const(Value::Double(value as f64));
                typed.ty = Type::Double;
            }
            typed
        };
        let (a, b) = match (a.ty.non_null(), b.ty.non_null()) {
            (Type::Double, Type::Int) => (a, double(b)),
            (Type::Int, Type::Double) => (double(a), b),
            (Type::Decimal, Type::Int) => (a, decimal(b)),
            (Type::Int, Type::Decimal) => (decimal(a), b),
            _ => (a, b),
        };
        let how = match (a.ty.non_null(), b.ty.non_null()) {
            (Type::Int, Type::Int) => How::Int,
            (Type::Double, Type::Double) => How::Double,
            (Type::String, Type::String) => How::Text,
            (Type::Decimal, Type::Decimal) => How::Decimal,
            (Type::Timestamp, Type::Timestamp) => How::Instant,
            _ => How::Any,
        };
        (how, a, b)
    }

    /// What it costs to compare a value of this type.
    fn comparing(&self, ty: &Type) -> u64 {
        let limits = &self.env.limits;
        match ty.non_null() {
            Type::String | Type::Bytes => 1 + limits.text / 64,
            Type::List(item) => limits.items.saturating_mul(self.comparing(item)),
            Type::Map(_, value) => {
                limits.items.saturating_mul(limits.items.saturating_mul(2).saturating_add(self.comparing(value)))
            }
            Type::Record(..) | Type::Dyn | Type::Union(..) => 64 + limits.text / 64,
            _ => 1,
        }
    }

    pub(crate) fn equality(&mut self, not: bool, a: &Expr, b: &Expr, at: Pos) -> Checked {
        let (a, b) = self.operands(a, b)?;
        if !a.ty.comparable(&b.ty) {
            let message =
                format!("{} and {} are never equal; compare values of one type", a.ty.non_null(), b.ty.non_null());
            return self.fail(at, message);
        }
        let operands = a.cost.saturating_add(b.cost);
        match (&a.ty, &b.ty) {
            (_, Type::Null) => return Ok(self.made(Op::IsNull(Box::new(a.code), not), at, Type::Bool, operands, 1)),
            (Type::Null, _) => return Ok(self.made(Op::IsNull(Box::new(b.code), not), at, Type::Bool, operands, 1)),
            _ => {}
        }
        let own = match (a.is_const(), b.is_const()) {
            (true, _) | (_, true) => 1 + a.size.min(b.size),
            _ => self.comparing(&a.ty).min(self.comparing(&b.ty)),
        };
        let (how, a, b) = Self::how(a, b);
        Ok(self.made(Op::Eq(how, not, Box::new([a.code, b.code])), at, Type::Bool, operands, own))
    }

    pub(crate) fn order(&mut self, sign: Sign, a: &Expr, b: &Expr, at: Pos) -> Checked {
        let (a, b) = self.operands(a, b)?;
        let ordered = |ty: &Type| {
            use Type as T;
            matches!(ty, T::Bool | T::String | T::Bytes | T::Timestamp | T::Duration)
                || ty.is_number()
                || ty.is_dynamic()
        };
        let (left, right) = (a.ty.non_null(), b.ty.non_null());
        if !ordered(left) || !ordered(right) || !left.comparable(right) {
            let message =
                format!("`{}` has no meaning for {left} and {right}; compare values of one type", sign.sign());
            return self.fail(at, message);
        }
        let operands = a.cost.saturating_add(b.cost);
        let own = 1 + a.size.min(b.size) / 64;
        let (how, mut a, mut b) = Self::how(a, b);
        if how == How::Any {
            (a, b) = (self.non_null(a), self.non_null(b));
        }
        Ok(self.made(Op::Order(how, sign, Box::new([a.code, b.code])), at, Type::Bool, operands, own))
    }

    pub(crate) fn membership(&mut self, a: &Expr, b: &Expr, at: Pos) -> Checked {
        let a = self.expr(a);
        let b = match (&b.kind, &a) {
            (ExprKind::List(items), Ok(left)) => {
                let ty = left.ty.clone();
                let items = self.all(items)?.into_iter().map(|item| self.exact(item, &ty)).collect();
                self.list(items, b.at)
            }
            _ => self.expr(b),
        };
        let (a, b) = (a?, b?);
        let b = self.non_null(b);
        let item = match &b.ty {
            Type::List(item) | Type::Map(item, _) => &**item,
            ty if ty.is_dynamic() => &Type::Dyn,
            other => {
                let message = format!("`in` needs a list or a map, found {other}");
                return self.fail(b.code.at, message);
            }
        };
        if !a.ty.comparable(item) {
            let message = format!("`in` looks for {} in {}, which never holds one", a.ty.non_null(), b.ty);
            return self.fail(at, message);
        }
        let operands = a.cost.saturating_add(b.cost);
        if let Op::Const(Value::List(List::Owned(items))) = &b.code.op {
            let texts = || items.iter().map(|v| v.as_str().map(Box::<str>::from)).collect::<Option<Vec<_>>>();
            let ints = || {
                items.iter().map(|v| if let Value::Int(i) = v { Some(*i) } else { None }).collect::<Option<Vec<_>>>()
            };
            let own = 8 + a.size / 64;
            if *a.ty.non_null() == Type::String
                && let Some(mut texts) = texts()
            {
                texts.sort_unstable();
                texts.dedup();
                return Ok(self.made(Op::InTexts(Box::new(a.code), texts.into()), at, Type::Bool, operands, own));
            }
            if *a.ty.non_null() == Type::Int
                && let Some(mut ints) = ints()
            {
                ints.sort_unstable();
                ints.dedup();
                return Ok(self.made(Op::InInts(Box::new(a.code), ints.into()), at, Type::Bool, operands, own));
            }
        }
        let own = b.size.saturating_mul(1 + self.comparing(&a.ty).min(self.comparing(item)));
        Ok(self.made(Op::In(Box::new([a.code, b.code])), at, Type::Bool, operands, own))
    }

    pub(crate) fn arithmetic(&mut self, sign: Sign, a: &Expr, b: &Expr, at: Pos) -> Checked {
        let (a, b) = self.operands(a, b)?;
        let (left, right) = (a.ty.non_null(), b.ty.non_null());
        let Some(ty) = arith::result(sign, left, right) else {
            let decimals = *left == Type::Decimal || *right == Type::Decimal;
            let hint = if decimals && matches!(sign, Sign::Div | Sign::Rem) {
                "; a quotient of decimals is not exact, so divide double(a) by double(b)"
            } else if left.is_number() && right.is_number() && left != right {
                "; write both as one kind (2.0 for a double) or convert with int(), double() or decimal()"
            } else if *left == Type::String || *right == Type::String {
                "; convert with string()"
            } else {
                ""
            };
            let message = format!("`{}` does not take {left} and {right}{hint}", sign.sign());
            return self.fail(at, message);
        };
        let how = match ty {
            Type::Int => How::Int,
            Type::Double => How::Double,
            _ => How::Any,
        };
        let constant = a.is_const() && b.is_const();
        let operands = a.cost.saturating_add(b.cost);
        let (size, own) = match ty {
            Type::String | Type::Bytes | Type::Dyn => {
                (a.size.saturating_add(b.size), 1 + a.size.saturating_add(b.size) / 8)
            }
            Type::List(_) => (a.size.saturating_add(b.size), a.size.saturating_add(b.size).saturating_mul(8)),
            _ => (1, 1),
        };
        let (a, b) = if how == How::Any { (self.non_null(a), self.non_null(b)) } else { (a, b) };
        let made = self.made(Op::Arith(how, sign, Box::new([a.code, b.code])), at, ty, operands, own);
        Ok(self.fold(Typed { size, ..made }, constant).unwrap_or_else(|failed| failed.0))
    }
}
