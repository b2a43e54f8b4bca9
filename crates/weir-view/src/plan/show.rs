//! A plan for people and for tools.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::Plan;
use crate::relation::Relation;

impl Plan {
    /// The plan for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let output = &self.output;
        let kind = |table| if table { "table" } else { "stream" };
        let mut line = |name: &str, value: &str| _ = writeln!(out, "{name:<14}{value}");
        line("view", &format!("{} ({}) -> {}", output.name, kind(output.table), output.topic));
        for input in &self.inputs {
            line("reads", &format!("{} ({}, key {})", input.name, kind(input.table), input.key.join(", ")));
        }
        line("operator", &self.operator);
        line("key", &if output.key.is_empty() { "not of the value".to_owned() } else { output.key.join(", ") });
        line("copartitioned", &self.copartitioned);
        line("repartition", "none");
        line("state", &self.state);
        for field in &self.lineage {
            let from = if field.from.is_empty() { "no field".to_owned() } else { field.from.join(", ") };
            let masks = if field.masks.is_empty() { String::new() } else { format!(" [{}]", field.masks.join(", ")) };
            line("field", &format!("{} {} <- {from}{masks}", field.field, field.ty));
        }
        for note in &self.notes {
            line("note", note);
        }
        out
    }

    /// The plan for tools.
    pub fn json(&self) -> Json {
        let relation = |r: &Relation| json!({"name": r.name, "topic": r.topic, "kind": if r.table { "table" } else { "stream" }, "key": r.key, "partitions": r.partitions});
        json!({
            "view": relation(&self.output),
            "reads": self.inputs.iter().map(|r| relation(r)).collect::<Vec<_>>(),
            "operator": self.operator, "state": self.state, "coPartitioned": self.copartitioned, "repartitions": [],
            "lineage": self.lineage.iter().map(|l| json!({"field": l.field, "type": l.ty, "from": l.from, "masks": l.masks})).collect::<Vec<_>>(),
            "notes": self.notes, "schema": self.schema,
        })
    }
}
