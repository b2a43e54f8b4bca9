//! A schema that a request brings: checked, brought into the form it is kept in, and compared with earlier ones. Only
//! Avro is read and compared; JSON Schema and Protobuf are kept as they are sent.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use weir_avro::Schema;
use weir_avro::compat::can_read;

use crate::additions;
use crate::canonical::{canonical, compact};
use crate::fault::Fault;
use crate::record::{Guid, Reference};
use crate::store::{Content, Filter, Level, Store, Version, Wanted};
use crate::subject;

/// Types of schemas, in Confluent's order.
pub const TYPES: [&str; 3] = ["JSON", "PROTOBUF", "AVRO"];
/// The type of a schema that names none.
const AVRO: &str = "AVRO";
/// Most schemas that one schema may reach through references.
const MAX_REFERENCES: usize = 256;

/// A schema as a request brings it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchemaRequest {
    /// The text.
    pub schema: Option<String>,
    /// One of [`TYPES`]; absent for Avro.
    pub schema_type: Option<String>,
    /// Named types taken from other subjects.
    pub references: Option<Vec<Reference>>,
    /// Tags and properties, kept for others.
    pub metadata: Option<Value>,
    /// Rules, kept for others.
    pub rule_set: Option<Value>,
    /// The id to use; only when importing.
    pub id: Option<i64>,
    /// The version to use: the next one, or any when importing.
    pub version: Option<i64>,
}

/// A schema that was checked and can be compared and kept.
#[derive(Debug)]
pub struct Candidate {
    /// The content, under the id 0.
    pub content: Content,
    /// Avro only.
    parsed: Option<Schema>,
}

/// What comparing a schema with earlier ones came to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What would break, newest version first; empty if nothing would.
    pub problems: Vec<String>,
    /// What was not judged.
    pub notes: Vec<String>,
}

/// Checks a schema and brings it into the form it is kept in. `filter` says which versions it may refer to.
pub fn prepare(
    store: &Store,
    subject: &str,
    request: &SchemaRequest,
    normalize: bool,
    filter: Filter,
) -> Result<Candidate, Fault> {
    let invalid = |reason: String| Fault::InvalidSchema(reason);
    let schema_type = request.schema_type.as_deref().filter(|name| !name.is_empty()).unwrap_or(AVRO);
    if !TYPES.contains(&schema_type) {
        return Err(invalid(format!("there is no type {schema_type}; use AVRO, JSON or PROTOBUF")));
    }
    if request.metadata.as_ref().is_some_and(|value| !value.is_object()) {
        return Err(invalid("metadata must be an object".to_owned()));
    }
    request.rule_set.as_ref().map_or(Ok(()), additions::check_rules)?;
    let text = request.schema.as_deref().filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| invalid("the schema is empty".to_owned()))?;
    let normalize = normalize || store.config_in_scope(Some(subject)).normalize == Some(true);
    let mut references = request.references.clone().unwrap_or_default();
    for reference in &mut references {
        if reference.version == -1 {
            let latest = store.version(&subject::beside(subject, &reference.subject), Wanted::Latest, filter);
            reference.version = latest.map_err(|_| dangling(reference))?.0.into();
        }
    }
    if normalize {
        references.sort_by(|a, b| (&a.subject, a.version).cmp(&(&b.subject, b.version)));
        references.dedup();
    }
    let not_json = |error| invalid(format!("it is not JSON: {error}"));
    let schema = match schema_type {
        AVRO => canonical(&serde_json::from_str(text).map_err(not_json)?, normalize),
        "JSON" => match serde_json::from_str(text).map_err(not_json)? {
            Value::Object(_) | Value::Bool(_) => compact(text),
            _ => return Err(invalid("a JSON schema is an object, true or false".to_owned())),
        },
        _ => text.to_owned(),
    };
    let parsed = match schema_type {
        AVRO => Some(parse(store, subject, &schema, &references, filter).map_err(invalid)?),
        _ => {
            resolve(store, subject, &references, filter, &mut HashSet::new(), &mut Vec::new()).map_err(invalid)?;
            None
        }
    };
    let (metadata, rule_set) = (request.metadata.clone(), request.rule_set.clone());
    let guid = Guid::of(&schema, &references, metadata.as_ref(), rule_set.as_ref());
    let schema_type = schema_type.to_owned();
    Ok(Candidate { content: Content { id: 0, guid, schema_type, schema, references, metadata, rule_set }, parsed })
}

fn parse(
    store: &Store,
    subject: &str,
    schema: &str,
    references: &[Reference],
    filter: Filter,
) -> Result<Schema, String> {
    let mut texts = Vec::new();
    resolve(store, subject, references, filter, &mut HashSet::new(), &mut texts)?;
    Schema::parse_with_references(schema, &texts).map_err(|e| e.to_string())
}

/// Collects the texts of everything referred to, what is referred to before what refers. The depth is bounded by
/// the number of references, that by [`MAX_REFERENCES`].
fn resolve<'a>(
    store: &'a Store,
    parent: &str,
    references: &[Reference],
    filter: Filter,
    seen: &mut HashSet<(String, i64)>,
    texts: &mut Vec<&'a str>,
) -> Result<(), String> {
    for reference in references {
        let subject = subject::beside(parent, &reference.subject);
        if !seen.insert((subject.clone(), reference.version)) {
            continue;
        }
        if seen.len() > MAX_REFERENCES {
            return Err(format!("it reaches more than {MAX_REFERENCES} schemas through references"));
        }
        let number = u32::try_from(reference.version).unwrap_or_default();
        let (_, version) =
            store.version(&subject, Wanted::Exactly(number), filter).map_err(|_| dangling(reference).to_string())?;
        resolve(store, &subject, &version.content.references, Filter::All, seen, texts)?;
        texts.push(&version.content.schema);
    }
    Ok(())
}

fn dangling(reference: &Reference) -> Fault {
    let Reference { name, subject, version } = reference;
    Fault::InvalidSchema(format!(
        "reference '{name}' names subject '{subject}' version {version}, which does not exist"
    ))
}

/// The version of a subject that has exactly the candidate's content.
pub fn find<'a>(store: &'a Store, subject: &str, candidate: &Candidate, filter: Filter) -> Option<(u32, &'a Version)> {
    store.of(subject, filter).rev().find(|(_, version)| version.content.is(&candidate.content))
}

/// Compares the candidate with earlier versions, newest first.
pub fn compare<'a>(
    store: &Store,
    subject: &str,
    level: Level,
    candidate: &Candidate,
    earlier: impl Iterator<Item = (u32, &'a Version)>,
) -> Verdict {
    let mut verdict = Verdict::default();
    if !level.backward && !level.forward {
        return verdict;
    }
    let config = store.config_in_scope(Some(subject));
    let group = |content: &Content| {
        config
            .group()
            .and_then(|property| content.metadata.as_ref()?["properties"][property].as_str().map(str::to_owned))
    };
    let wanted = group(&candidate.content);
    let earlier = earlier.filter(|(_, version)| group(&version.content) == wanted);
    let schema_type = &candidate.content.schema_type;
    for (number, version) in earlier.take(if level.transitive { usize::MAX } else { 1 }) {
        let content = &version.content;
        if content.schema_type != *schema_type {
            verdict.problems.push(format!("version {number} is of type {}", content.schema_type));
            continue;
        }
        let Some(parsed) = &candidate.parsed else {
            verdict
                .notes
                .push(format!("not compared with version {number}: schemas of type {schema_type} are not judged"));
            continue;
        };
        let earlier = match parse(store, subject, &content.schema, &content.references, Filter::All) {
            Ok(schema) => schema,
            Err(error) => {
                verdict.problems.push(format!("version {number} cannot be compared with: {error}"));
                continue;
            }
        };
        let mut check = |writer: &Schema, reader: &Schema, story: &str| {
            let found = can_read(writer, reader);
            verdict.problems.extend(found.iter().map(|problem| format!("{story} version {number}: {problem}")));
        };
        if level.backward {
            check(&earlier, parsed, "the new schema cannot read data of");
        }
        if level.forward {
            check(parsed, &earlier, "data of the new schema cannot be read with");
        }
    }
    verdict
}
