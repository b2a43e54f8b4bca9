//! The functions of arrays and maps.

use std::cmp::Ordering;

use crate::error::EvalErrorKind as Kind;
use crate::func::{LARGEST_LIST, may_list, may_make};
use crate::read::load;
use crate::sql::run::text_of;
use crate::value::{Budget, List, Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Contains,
    Join,
    Distinct,
    Concat,
    Sort,
    Min,
    Max,
    Remove,
    Position,
    Slice,
    MapKeys,
    MapValues,
    MapContainsKey,
}

fn list<'v, 'a>(value: &'v Value<'a>) -> Result<&'v List<'a>, Kind> {
    match value {
        Value::List(list) => Ok(list),
        other => Err(other.unfit("function of arrays")),
    }
}

fn map<'v, 'a>(value: &'v Value<'a>) -> Result<&'v Map<'a>, Kind> {
    match value {
        Value::Map(map) => Ok(map),
        other => Err(other.unfit("function of maps")),
    }
}

/// Runs a function of an array or a map that is there; what else it is given may be null for `ARRAY_REMOVE` alone.
pub(crate) fn run<'a>(of: Of, args: &[Value<'a>], budget: &Budget) -> Result<Value<'a>, Kind> {
    let arg = |i: usize| args.get(i).ok_or(Kind::Input);
    Ok(match of {
        Of::Contains => Value::Bool(list(arg(0)?)?.contains(arg(1)?, budget)?),
        Of::Position => {
            for (place, item) in (1..).zip(list(arg(0)?)?.iter()) {
                if item?.equals(arg(1)?, budget)? {
                    return Ok(Value::Int(place));
                }
            }
            Value::Int(0)
        }
        Of::Join => {
            let (mut out, mut first) = (String::new(), true);
            let between = text_of(arg(1)?)?;
            for item in list(arg(0)?)?.iter() {
                let item = item?;
                if matches!(item, Value::Null) {
                    continue;
                }
                let piece = text_of(&item)?;
                may_make(out.len() + piece.len() + between.len(), "ARRAY_JOIN", budget)?;
                if !first {
                    out.push_str(between);
                }
                first = false;
                out.push_str(piece);
            }
            Value::text(out)
        }
        Of::Distinct => {
            let mut kept: Vec<Value<'a>> = Vec::new();
            'items: for item in list(arg(0)?)?.iter() {
                let item = item?;
                for known in &kept {
                    if known.equals(&item, budget)? {
                        continue 'items;
                    }
                }
                kept.push(item);
            }
            Value::list(kept)
        }
        Of::Concat => {
            let (a, b) = (list(arg(0)?)?, list(arg(1)?)?);
            let count = a.len(budget)?.saturating_add(b.len(budget)?);
            if count > LARGEST_LIST {
                return Err(Kind::TooLarge("ARRAY_CONCAT"));
            }
            may_list(count, "ARRAY_CONCAT", budget)?;
            Value::list(a.iter().chain(b.iter()).collect::<Result<_, _>>()?)
        }
        Of::Sort => {
            let mut items = items(list(arg(0)?)?, "ARRAY_SORT", budget)?;
            let nulls = items.extract_if(.., |item| matches!(item, Value::Null)).collect::<Vec<_>>();
            if let Some(first) = items.first() {
                items.iter().try_for_each(|item| item.order(first).map(drop))?;
            }
            budget.spend(items.len() as u64 * u64::from(items.len().max(1).ilog2()))?;
            items.sort_by(total);
            items.extend(nulls);
            Value::list(items)
        }
        Of::Min | Of::Max => {
            let mut best = Value::Null;
            for item in list(arg(0)?)?.iter() {
                let item = item?;
                budget.spend(1)?;
                let better = match (&best, &item) {
                    (_, Value::Null) => false,
                    (Value::Null, _) => true,
                    (best, item) => {
                        item.order(best)?;
                        let wanted = if of == Of::Min { Ordering::Less } else { Ordering::Greater };
                        total(item, best) == wanted
                    }
                };
                if better {
                    best = item;
                }
            }
            best
        }
        Of::Remove => {
            let mut kept = Vec::new();
            for item in items(list(arg(0)?)?, "ARRAY_REMOVE", budget)? {
                if !item.equals(arg(1)?, budget)? {
                    kept.push(item);
                }
            }
            Value::list(kept)
        }
        Of::Slice => {
            let (Value::Int(from), Value::Int(to)) = (arg(1)?, arg(2)?) else { return Err(Kind::Input) };
            // Counted from 1, with the last; what lies outside of the array is passed over.
            let skip = usize::try_from((*from).max(1) - 1).unwrap_or(usize::MAX);
            let end = usize::try_from((*to).max(0)).unwrap_or(usize::MAX);
            let of = list(arg(0)?)?;
            let count = of.len(budget)?;
            may_list(end.min(count).saturating_sub(skip), "SLICE", budget)?;
            budget.spend(skip.min(count) as u64)?;
            Value::list(of.iter().take(end).skip(skip).collect::<Result<_, _>>()?)
        }
        Of::MapKeys => {
            let map = map(arg(0)?)?;
            may_list(map.len(budget)?, "MAP_KEYS", budget)?;
            Value::list(map.keys(budget)?.collect::<Result<_, _>>()?)
        }
        Of::MapValues => values(map(arg(0)?)?, budget)?,
        Of::MapContainsKey => Value::Bool(map(arg(0)?)?.has(arg(1)?, budget)?),
    })
}

fn items<'a>(of: &List<'a>, op: &'static str, budget: &Budget) -> Result<Vec<Value<'a>>, Kind> {
    may_list(of.len(budget)?, op, budget)?;
    of.iter().collect()
}

/// An order of all values of one type, integers among doubles too: NaN stands behind the other numbers.
fn total(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    let nan = |value: &Value<'_>| matches!(value, Value::Double(number) if number.is_nan());
    nan(a).cmp(&nan(b)).then_with(|| a.compare(b).unwrap_or(Ordering::Equal))
}

/// The values in the order of the keys.
fn values<'a>(map: &Map<'a>, budget: &Budget) -> Result<Value<'a>, Kind> {
    may_list(map.len(budget)?, "MAP_VALUES", budget)?;
    Ok(Value::list(match map {
        Map::Slice(entries) => entries.iter().map(|(_, value)| value.clone()).collect(),
        Map::Owned(entries) => entries.iter().map(|(_, value)| value.clone()).collect(),
        Map::Entries(of) => {
            let entries = of.region.entries(of.schema);
            entries.map(|(_, slot)| load(of.schema, of.item, slot)).collect::<Result<_, _>>()?
        }
        Map::Headers(_) => {
            let value = |key: Result<Value<'a>, Kind>| Ok(map.get(&key?, budget)?.unwrap_or(Value::Null));
            map.keys(budget)?.map(value).collect::<Result<_, Kind>>()?
        }
    }))
}
