//! Metadata and rule sets of a new version: its own, else those of the version before, over the defaults and under the
//! overrides that settings ask for. They are kept and given back; nothing here acts on a rule.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::record::ConfigValue;
use crate::schema::SchemaRequest;
use crate::store::Content;

/// Longest name of a rule in characters.
const MAX_NAME: usize = 64;
/// The lists of a rule set, with the modes that their rules may have.
const LISTS: [(&str, [&str; 3]); 3] = [
    ("migrationRules", ["UPGRADE", "DOWNGRADE", "UPDOWN"]),
    ("domainRules", ["WRITE", "READ", "WRITEREAD"]),
    ("encodingRules", ["WRITE", "READ", "WRITEREAD"]),
];

/// What a request comes to with what it does not say itself; none where that is what it says already.
pub fn complete(request: &SchemaRequest, config: &ConfigValue, latest: Option<&Content>) -> Option<SchemaRequest> {
    let own = |of_request: &Option<Value>, of_latest: fn(&Content) -> &Option<Value>| {
        of_request.clone().or_else(|| latest.and_then(|content| of_latest(content).clone()))
    };
    let metadata = own(&request.metadata, |content| &content.metadata);
    let metadata = merged(config.addition("defaultMetadata"), metadata.as_ref(), merge_metadata);
    let metadata = merged(metadata.as_ref(), config.addition("overrideMetadata"), merge_metadata);
    let rules = own(&request.rule_set, |content| &content.rule_set);
    let rules = merged(config.addition("defaultRuleSet"), rules.as_ref(), merge_rules);
    let rules = merged(rules.as_ref(), config.addition("overrideRuleSet"), merge_rules);
    let mut complete = SchemaRequest { metadata, rule_set: rules, ..request.clone() };
    if let (true, Some(latest)) = (request.schema.as_deref().is_none_or(|text| text.trim().is_empty()), latest) {
        // Without a text only metadata and rules are new.
        complete.schema = Some(latest.schema.clone());
        complete.schema_type = Some(latest.schema_type.clone());
        complete.references = Some(latest.references.clone());
    }
    let same = complete.schema == request.schema
        && complete.metadata == request.metadata
        && complete.rule_set == request.rule_set;
    (!same).then_some(complete)
}

fn merged(under: Option<&Value>, over: Option<&Value>, merge: fn(&Value, &Value) -> Value) -> Option<Value> {
    match (under, over) {
        (Some(under), Some(over)) => Some(merge(under, over)),
        (one, other) => other.or(one).cloned(),
    }
}

/// Tags and properties by name, and the names of sensitive ones, the latter's before the former's.
fn merge_metadata(under: &Value, over: &Value) -> Value {
    let mut out = Map::new();
    for part in ["tags", "properties", "sensitive"] {
        let value = match (&under[part], &over[part]) {
            (Value::Object(under), Value::Object(over)) => {
                let mut all = under.clone();
                all.extend(over.clone());
                Value::Object(all)
            }
            (Value::Array(under), Value::Array(over)) => {
                let mut all = under.clone();
                all.extend(over.iter().filter(|name| !under.contains(name)).cloned());
                Value::Array(all)
            }
            (under, Value::Null) => under.clone(),
            (_, over) => over.clone(),
        };
        if !value.is_null() {
            out.insert(part.to_owned(), value);
        }
    }
    Value::Object(out)
}

/// Rules by name; one that comes later takes the place of its namesake.
fn merge_rules(under: &Value, over: &Value) -> Value {
    let mut out = Map::new();
    for (list, _) in LISTS {
        let value = match (&under[list], &over[list]) {
            (Value::Array(under), Value::Array(over)) => {
                let replaced = |rule: &Value| over.iter().any(|other| other["name"] == rule["name"]);
                under.iter().filter(|rule| !replaced(rule)).chain(over).cloned().collect()
            }
            (under, Value::Null) => under.clone(),
            (_, over) => over.clone(),
        };
        if !value.is_null() {
            out.insert(list.to_owned(), value);
        }
    }
    for from in [over, under] {
        if !out.contains_key("enableAt") && !from["enableAt"].is_null() {
            out.insert("enableAt".to_owned(), from["enableAt"].clone());
        }
    }
    Value::Object(out)
}

/// Checks what can be said of rules without knowing what they do: names, types and modes.
///
/// # Errors
/// [`Fault::InvalidRules`] with the place.
pub fn check_rules(rules: &Value) -> Result<(), Fault> {
    let wrong = |reason: String| Err(Fault::InvalidRules(reason));
    if !rules.is_object() {
        return wrong("it must be an object".to_owned());
    }
    let mut names = HashSet::new();
    for (list, modes) in LISTS {
        let found = match &rules[list] {
            Value::Null => continue,
            Value::Array(found) => found,
            _ => return wrong(format!("{list} must be a list")),
        };
        for (index, rule) in found.iter().enumerate() {
            let wrong = |reason: &str| wrong(format!("{list}[{index}]: {reason}"));
            let Some(name) = rule["name"].as_str() else { return wrong("it has no name") };
            let mut characters = name.chars();
            let fits = characters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
                && characters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
            if !fits || name.chars().count() > MAX_NAME {
                return wrong("its name must be 1 to 64 letters, digits, '_' and '-', a letter or '_' first");
            }
            if !names.insert(name) {
                return wrong("another rule has its name");
            }
            if !rule["type"].is_string() {
                return wrong("it has no type");
            }
            match &rule["mode"] {
                Value::Null => {}
                Value::String(mode) if modes.contains(&mode.as_str()) => {}
                _ => return wrong(&format!("its mode must be {}, {} or {}", modes[0], modes[1], modes[2])),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_merges_by_name() {
        let check = |under: Value, over: Value, expect: Value| assert_eq!(merge_metadata(&under, &over), expect);
        check(json!({}), json!({ "properties": { "a": "1" } }), json!({ "properties": { "a": "1" } }));
        check(
            json!({ "properties": { "a": "1", "b": "1" }, "sensitive": ["a"] }),
            json!({ "properties": { "b": "2" }, "tags": { "x": ["PII"] }, "sensitive": ["a", "b"] }),
            json!({ "tags": { "x": ["PII"] }, "properties": { "a": "1", "b": "2" }, "sensitive": ["a", "b"] }),
        );
    }

    #[test]
    fn rules_merge_by_name() {
        let rule = |name: &str, expr: &str| json!({ "name": name, "type": "CEL", "expr": expr });
        let check = |under: Value, over: Value, expect: Value| assert_eq!(merge_rules(&under, &over), expect);
        check(
            json!({ "domainRules": [rule("a", "1"), rule("b", "1")], "enableAt": "CLIENT" }),
            json!({ "domainRules": [rule("a", "2"), rule("c", "2")] }),
            json!({ "domainRules": [rule("b", "1"), rule("a", "2"), rule("c", "2")], "enableAt": "CLIENT" }),
        );
        check(
            json!({ "migrationRules": [rule("a", "1")] }),
            json!({ "domainRules": [] }),
            json!({ "migrationRules": [rule("a", "1")], "domainRules": [] }),
        );
    }

    #[test]
    fn rules_must_be_rules() {
        let check = |rules: Value, expect: &str| match (check_rules(&rules), expect) {
            (Ok(()), "") => {}
            (Err(fault), part) if !part.is_empty() => assert!(fault.to_string().contains(part), "{fault}"),
            (got, _) => panic!("{rules}: {got:?}, expected {expect}"),
        };
        let one = |rule: Value| json!({ "domainRules": [rule] });
        check(json!({}), "");
        check(json!({ "domainRules": null }), "");
        check(one(json!({ "name": "a-1_b", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "true" })), "");
        check(json!(5), "object");
        check(json!({ "domainRules": {} }), "domainRules must be a list");
        check(one(json!({ "type": "CEL" })), "domainRules[0]: it has no name");
        check(one(json!({ "name": "1a", "type": "CEL" })), "a letter or '_' first");
        check(one(json!({ "name": "a b", "type": "CEL" })), "letters");
        check(one(json!({ "name": "a".repeat(65), "type": "CEL" })), "1 to 64");
        check(one(json!({ "name": "a" })), "no type");
        check(one(json!({ "name": "a", "type": "CEL", "mode": "UPGRADE" })), "WRITE, READ or WRITEREAD");
        check(
            json!({ "domainRules": [{ "name": "a", "type": "X" }], "migrationRules": [{ "name": "a", "type": "X" }] }),
            "domainRules[0]: another rule has its name",
        );
    }
}
