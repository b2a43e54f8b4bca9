//! JSON in texts: what stands at a path such as `$.a.b[0]`.

use serde_json::Value as Json;

use crate::error::EvalErrorKind as Kind;
use crate::func::{may_list, may_make};
use crate::value::{Budget, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The scalar there, as text.
    Value,
    /// The JSON of what is there, whatever it is.
    Query,
    /// Whether anything is there, be it null.
    Exists,
    /// How many items the array there has.
    Length,
    /// The JSON of each item of the array there.
    Items,
}

enum Step<'p> {
    Field(&'p str),
    Item(usize),
}

/// Whether a text is a path: `$`, then `.name`, `['name']` and `[0]`.
pub(crate) fn is_path(text: &str) -> bool {
    steps(text).is_some()
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix("['") {
            let (name, behind) = name.split_once("']")?;
            found.push(Step::Field(name));
            rest = behind;
        } else if let Some(number) = rest.strip_prefix('[') {
            let (number, behind) = number.split_once(']')?;
            found.push(Step::Item(number.parse().ok()?));
            rest = behind;
        } else {
            let name = rest.strip_prefix('.')?;
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, behind) = name.split_at(end);
            found.push(Step::Field(Some(name).filter(|name| !name.is_empty())?));
            rest = behind;
        }
    }
    Some(found)
}

/// What is asked of the part at a path. A text that is no JSON is an error; where there is no such part, or it is not
/// what is asked for, null.
pub(crate) fn ask<'a>(ask: Ask, text: &str, path: Option<&str>, budget: &Budget) -> Result<Value<'a>, Kind> {
    budget.spend(text.len() as u64 / 8)?;
    let document: Json = serde_json::from_str(text).map_err(|_| Kind::Convert { from: "text", to: "JSON" })?;
    let mut at = Some(document);
    for step in steps(path.unwrap_or("$")).ok_or(Kind::Pattern)? {
        at = match (at, step) {
            (Some(Json::Array(mut items)), Step::Item(n)) if n < items.len() => Some(items.swap_remove(n)),
            (Some(Json::Object(mut fields)), Step::Field(name)) => fields.remove(name),
            _ => None,
        };
    }
    let text = |json: &Json| -> Result<Value<'a>, Kind> {
        let text = json.to_string();
        may_make(text.len(), "JSON", budget)?;
        Ok(Value::text(text))
    };
    Ok(match (ask, at) {
        (Ask::Exists, at) => Value::Bool(at.is_some()),
        (Ask::Value, Some(Json::String(text))) => Value::text(text),
        (Ask::Value, Some(json @ (Json::Bool(_) | Json::Number(_)))) => text(&json)?,
        (Ask::Query, Some(json)) => text(&json)?,
        (Ask::Length, Some(Json::Array(items))) => Value::Int(items.len() as i64),
        (Ask::Items, Some(Json::Array(items))) => {
            may_list(items.len(), "JSON_ITEMS", budget)?;
            Value::list(items.iter().map(text).collect::<Result<_, _>>()?)
        }
        _ => Value::Null,
    })
}
