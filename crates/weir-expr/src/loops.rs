//! `all`, `exists`, `exists_one`, `filter` and `map`: one evaluation for every item, paid for by the budget.

use crate::code::{Code, Frame, Outcome, Scope};
use crate::error::EvalErrorKind as Kind;
use crate::func;
use crate::value::{Budget, Value, Walk};

#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) kind: LoopKind,
    pub(crate) over: Code,
    pub(crate) test: Option<Code>,
    /// What becomes of an item; only for a map.
    pub(crate) make: Option<Code>,
    /// What one round costs apart from the loops inside it.
    pub(crate) weight: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl LoopKind {
    pub(crate) fn makes_list(self) -> bool {
        matches!(self, LoopKind::Filter | LoopKind::Map)
    }
}

impl Code {
    /// `all`, `exists` and `exists_one`.
    pub(crate) fn search<'a>(&'a self, inner: &'a Loop, s: Scope<'_, 'a>) -> Outcome<bool> {
        let over = inner.over.eval(s)?;
        let Some(test) = &inner.test else { return Err(self.fail(Kind::Input)) };
        let mut failed = None;
        let mut found = 0;
        for item in self.walk(&inner.over, &over, &s.cx.budget)? {
            s.cx.budget.spend(inner.weight).map_err(|kind| self.fail(kind))?;
            let frame = Frame { value: item.map_err(|kind| self.fail(kind))?, up: s.frame };
            match (inner.kind, test.test(Scope { cx: s.cx, frame: Some(&frame) })) {
                (LoopKind::All, Ok(false)) => return Ok(false),
                (LoopKind::Exists, Ok(true)) => return Ok(true),
                (LoopKind::ExistsOne, Ok(true)) => found += 1,
                (_, Ok(_)) => {}
                (LoopKind::ExistsOne, Err(e)) => return Err(e),
                (_, Err(e)) if e.kind.is_final() => return Err(e),
                (_, Err(e)) => failed = failed.or(Some(e)),
            }
        }
        match failed {
            Some(e) => Err(e),
            None => Ok(inner.kind == LoopKind::All || found == 1),
        }
    }

    /// `filter` and `map`.
    pub(crate) fn collect<'a>(&'a self, inner: &'a Loop, s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        let over = inner.over.eval(s)?;
        let mut made = Vec::new();
        for item in self.walk(&inner.over, &over, &s.cx.budget)? {
            s.cx.budget.spend(inner.weight).map_err(|kind| self.fail(kind))?;
            let frame = Frame { value: item.map_err(|kind| self.fail(kind))?, up: s.frame };
            let scope = Scope { cx: s.cx, frame: Some(&frame) };
            if let Some(test) = &inner.test
                && !test.test(scope)?
            {
                continue;
            }
            let value = match &inner.make {
                Some(make) => make.eval(scope)?,
                None => frame.value,
            };
            s.cx.budget.spend(func::ITEM).map_err(|kind| self.fail(kind))?;
            if made.len() >= func::LARGEST_LIST {
                return Err(self.fail(Kind::TooLarge("map or filter")));
            }
            made.push(value);
        }
        Ok(Value::list(made))
    }

    fn walk<'i, 'a>(&self, over: &Code, value: &'i Value<'a>, budget: &Budget) -> Outcome<Walk<'i, 'a>> {
        match value {
            Value::List(list) => Ok(list.iter()),
            Value::Map(map) => map.keys(budget).map_err(|kind| self.fail(kind)),
            other => Err(over.unfit(other, "loop")),
        }
    }
}
