//! The check of calls: functions by their table, and the macros `has`, `all`, `exists`, `exists_one`, `map`, `filter`.

use crate::ast::{Expr, ExprKind};
use crate::check::{Checked, Checker, Typed, nearest};
use crate::code::{Code, Op};
use crate::env::Type;
use crate::error::Pos;
use crate::func::{Func, ITEM, OVERLOADS, Overload};
use crate::loops::{Loop, LoopKind};
use crate::pattern;
use crate::time::Zone;

const LOOPS: [(&str, usize, LoopKind); 7] = [
    ("all", 2, LoopKind::All),
    ("exists", 2, LoopKind::Exists),
    ("exists_one", 2, LoopKind::ExistsOne),
    ("existsOne", 2, LoopKind::ExistsOne),
    ("filter", 2, LoopKind::Filter),
    ("map", 2, LoopKind::Map),
    ("map", 3, LoopKind::Map),
];

impl Checker<'_, '_> {
    pub(crate) fn call(&mut self, of: Option<&Expr>, name: &str, args: &[Expr], at: Pos) -> Checked {
        match (of, name) {
            (None, "has") => match args {
                [arg] => return self.has(arg, at),
                _ => return self.fail(at, "has() takes one field, as in has(this.name)"),
            },
            (None, "dyn") => match args {
                [arg] => return Ok(Typed { ty: Type::Dyn, ..self.expr(arg)? }),
                _ => return self.fail(at, "dyn() takes one value"),
            },
            (Some(of), name) if LOOPS.iter().any(|(l, _, _)| *l == name) => {
                let found = LOOPS.iter().find(|(l, count, _)| *l == name && *count == args.len());
                return match (found, args) {
                    (Some((_, _, kind)), [Expr { kind: ExprKind::Ident(var), .. }, rest @ ..]) => {
                        self.loop_over(of, *kind, var, rest, at)
                    }
                    _ => self
                        .fail(at, format!("`{name}` takes a variable and an expression, as in list.{name}(x, x > 0)")),
                };
            }
            _ => {}
        }
        let given: Vec<Checked> = of.into_iter().chain(args).map(|e| self.expr(e)).collect();
        let given = given.into_iter().collect::<Checked<Vec<_>>>()?;
        let (func, ty) = self.overload(of.is_some(), name, &given, at)?;
        self.function(func, ty, given, at)
    }

    /// The function and its result. Where a dynamic argument leaves several, they are one function of several types.
    fn overload(&mut self, method: bool, name: &str, given: &[Typed], at: Pos) -> Checked<(Func, Type)> {
        let named = |o: &&Overload| o.name == name && o.method == method;
        let takes = |o: &&Overload| {
            o.args.len() == given.len() && o.args.iter().zip(given).all(|(p, g)| p.takes(&g.ty) && g.ty != Type::Null)
        };
        let mut fitting = OVERLOADS.iter().filter(named).filter(takes);
        if let Some(first) = fitting.next() {
            let one = fitting.all(|o| o.result == first.result);
            return Ok((first.func, if one { first.result.ty() } else { Type::Dyn }));
        }
        if name == "type" && !method && given.len() == 1 {
            return Ok((Func::TypeOf, Type::Type));
        }
        let list = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
        let message = if OVERLOADS.iter().any(|o| named(&o)) {
            let form = |types: &[Type]| match types {
                [first, rest @ ..] if method => format!("{first}.{name}({})", list(rest)),
                all => format!("{name}({})", list(all)),
            };
            let known: Vec<_> = OVERLOADS.iter().filter(named).collect();
            let known: Vec<_> =
                known.iter().map(|o| form(&o.args.iter().map(|p| p.ty()).collect::<Vec<_>>())).collect();
            let found = form(&given.iter().map(|g| g.ty.clone()).collect::<Vec<_>>());
            format!("`{name}` does not take these types: found {found}, known are {}", known.join(", "))
        } else if OVERLOADS.iter().any(|o| o.name == name) {
            let right = if method { format!("{name}(value)") } else { format!("value.{name}()") };
            format!("`{name}` is called the other way, as in {right}")
        } else {
            let known = OVERLOADS.iter().filter(|o| o.method == method).map(|o| o.name).chain(LOOPS.map(|(l, _, _)| l));
            match nearest(name, known) {
                Some(near) => format!("unknown function `{name}`; did you mean `{near}`?"),
                None => format!("unknown function `{name}`"),
            }
        };
        self.fail(at, message)
    }

    fn function(&mut self, func: Func, ty: Type, given: Vec<Typed>, at: Pos) -> Checked {
        let constant = given.iter().all(Typed::is_const);
        let cost = given.iter().fold(0_u64, |sum, g| sum.saturating_add(g.cost));
        let total = given.iter().fold(0_u64, |sum, g| sum.saturating_add(g.size));
        let first = given.first().map_or(1, |g| g.size);
        let literal = given.get(1).and_then(|g| g.const_text().map(|text| (text.to_owned(), g.code.at)));
        let given: Vec<Typed> =
            if func == Func::TypeOf { given } else { given.into_iter().map(|g| self.non_null(g)).collect() };
        let scanned = 1 + total / 8;
        let (own, size) = match func {
            Func::Replace => (scanned.saturating_add(total.saturating_mul(first) / 8), total.saturating_mul(first)),
            Func::Split => (scanned.saturating_add(first.saturating_mul(ITEM)), first.saturating_add(1)),
            Func::Join => {
                let text = self.env.limits.text.saturating_add(total);
                (first.saturating_mul(1 + text / 8), first.saturating_mul(text))
            }
            Func::Matches if literal.is_none() => (20_000 + scanned, 1),
            _ => (scanned, first),
        };
        let mut codes: Vec<Code> = given.into_iter().map(|g| g.code).collect();
        let op = match (func, literal, codes.len()) {
            (Func::Matches, Some((text, at)), _) => match pattern::compile(&text) {
                Ok(regex) => Op::Matches(Box::new(codes.swap_remove(0)), regex),
                Err(reason) => return self.fail(at, format!("not a valid pattern: {reason}")),
            },
            (Func::Get(part), Some((text, at)), _) => match Zone::parse(&text) {
                Some(zone) => Op::Part(Box::new(codes.swap_remove(0)), part, zone),
                None => return self.fail(at, format!("unknown time zone `{text}`; write Europe/Berlin or +02:00")),
            },
            (Func::Get(part), None, 1) => Op::Part(Box::new(codes.swap_remove(0)), part, Zone::UTC),
            (Func::Size, _, _) => Op::Size(Box::new(codes.swap_remove(0))),
            (Func::Starts | Func::Ends | Func::Contains, _, 2) => match <[Code; 2]>::try_from(codes) {
                Ok(two) => Op::TextTest(func, Box::new(two)),
                Err(codes) => Op::Call(func, codes.into()),
            },
            _ => Op::Call(func, codes.into()),
        };
        let sized = matches!(ty, Type::String | Type::Bytes | Type::List(_) | Type::Dyn);
        let made = self.made(op, at, ty, cost, own);
        let made = Typed { size: if sized { size } else { 1 }, ..made };
        match self.fold(made, constant) {
            Ok(made) => Ok(made),
            Err(failed) if func.is_conversion() => self.fail(at, format!("this always fails: {}", failed.1)),
            Err(failed) => Ok(failed.0),
        }
    }

    fn loop_over(&mut self, over: &Expr, kind: LoopKind, var: &str, rest: &[Expr], at: Pos) -> Checked {
        let over = self.expr(over)?;
        let over = self.non_null(over);
        let item = match &over.ty {
            Type::List(item) => (**item).clone(),
            Type::Map(key, _) => (**key).clone(),
            ty if ty.is_dynamic() => Type::Dyn,
            other => {
                let message = format!("a loop needs a list or a map, found {other}");
                return self.fail(over.code.at, message);
            }
        };
        let before = self.operations;
        self.locals.push((var.to_owned(), item.clone()));
        let (test, make) = match (kind, rest) {
            (LoopKind::Map, [make]) => (None, Some(self.expr(make))),
            (LoopKind::Map, [test, make, ..]) => {
                (Some(self.condition(test, "the filter of `map`")), Some(self.expr(make)))
            }
            (_, [test, ..]) => (Some(self.condition(test, "the condition of a loop")), None),
            (_, []) => (None, None),
        };
        self.locals.pop();
        let (test, make) = (test.transpose()?, make.transpose()?);
        // Dynamic values in the list of a map stay so; everything else keeps its type.
        let ty = match (kind, &make) {
            (LoopKind::Filter, _) => Type::List(Box::new(item)),
            (LoopKind::Map, Some(make)) => Type::List(Box::new(make.ty.clone())),
            _ => Type::Bool,
        };
        let weight = 1 + self.operations - before;
        let body = [&test, &make].into_iter().flatten().fold(weight, |sum, t| sum.saturating_add(t.cost));
        let list = if ty == Type::Bool { 0 } else { ITEM };
        let own = over.size.saturating_mul(body.saturating_add(list));
        let size = over.size;
        let inner = Loop { kind, over: over.code, test: test.map(|t| t.code), make: make.map(|m| m.code), weight };
        let is_list = ty != Type::Bool;
        let made = self.made(Op::Loop(Box::new(inner)), at, ty, over.cost, own);
        Ok(Typed { size: if is_list { size } else { 1 }, ..made })
    }
}
