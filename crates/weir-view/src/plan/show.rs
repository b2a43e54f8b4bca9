//! A plan for people and for tools.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::{Plan, Stage};
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
        let between = self.stages.split_last().map_or(&[][..], |(_, between)| between);
        if between.is_empty() {
            line("repartition", "none");
        }
        for stage in between {
            let reads: Vec<_> = stage.inputs.iter().map(|i| &*i.relation.topic).collect();
            let fields = stage.output.fields().join(", ");
            line("repartition", &format!("{} ({}) by {}", stage.output.topic, fields, stage.output.key.join(", ")));
            line("", &format!("from {}: {}", reads.join(", "), stage.operator));
            line("", &format!("state: {}", stage.state));
        }
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
        let stage = |s: &Stage| {
            let reads: Vec<_> = s.inputs.iter().map(|i| &*i.relation.topic).collect();
            json!({"reads": reads, "writes": s.output.topic, "operator": s.operator, "state": s.state})
        };
        json!({
            "view": relation(&self.output),
            "reads": self.inputs.iter().map(|r| relation(r)).collect::<Vec<_>>(),
            "operator": self.operator, "state": self.state, "coPartitioned": self.copartitioned, "repartitions": self.stages.iter().filter(|s| s.suffix.is_some()).map(|s| relation(&s.output)).collect::<Vec<_>>(),
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "lineage": self.lineage.iter().map(|l| json!({"field": l.field, "type": l.ty, "from": l.from, "masks": l.masks})).collect::<Vec<_>>(),
            "notes": self.notes, "schema": self.schema,
        })
    }
}
