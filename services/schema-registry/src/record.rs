//! The wire form of `_schemas`: keys and values as Confluent's registry writes them, field for field and in its
//! order, since compaction compares key bytes. What the records mean is not known here.

use std::collections::BTreeMap;
use std::fmt;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A named type taken from another subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// Full name of the type.
    pub name: String,
    /// Subject that defines it.
    pub subject: String,
    /// Version of that subject; in a request -1 is the latest.
    pub version: i64,
}

/// The key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// One version of a subject.
    Schema {
        /// The subject.
        subject: String,
        /// The version, from 1.
        version: u32,
    },
    /// Settings of a subject, or the global ones.
    Config(Option<String>),
    /// Mode of a subject, or the global one.
    Mode(Option<String>),
    /// Soft deletion of a subject.
    DeleteSubject(String),
    /// Removal of all soft-deleted versions of a subject, or of all subjects.
    ClearSubject(Option<String>),
    /// A context that has or had subjects; its name starts with a dot.
    Context(String),
    /// Nothing; Confluent marks ends with it. Weir keeps the highest ids given out in its value.
    Noop,
}

/// A record that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The key or value is no JSON of the expected form.
    #[error("{part} is not in the registry's form: {source}")]
    Json {
        /// Key or value.
        part: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// There is no key, or one of a kind or form not known.
    #[error("{0}")]
    Key(String),
}

/// The form all keys are parsed from.
#[derive(Deserialize)]
struct RawKey {
    keytype: String,
    tenant: Option<String>,
    context: Option<String>,
    subject: Option<String>,
    version: Option<u32>,
    #[serde(default)]
    magic: u32,
}

/// The tenant of a registry that has no others.
const TENANT: &str = "default";

impl Key {
    /// Reads a key; none for kinds that belong to features outside of this registry.
    pub fn parse(key: &[u8]) -> Result<Option<Key>, RecordError> {
        let raw: RawKey = serde_json::from_slice(key).map_err(|source| RecordError::Json { part: "key", source })?;
        if raw.magic > 1 {
            return Err(RecordError::Key(format!("key has magic {}, 0 and 1 are known", raw.magic)));
        }
        let missing = |what| RecordError::Key(format!("{} key has no {what}", raw.keytype));
        Ok(Some(match raw.keytype.as_str() {
            "SCHEMA" => Key::Schema {
                subject: raw.subject.ok_or_else(|| missing("subject"))?,
                version: raw.version.filter(|v| *v > 0).ok_or_else(|| missing("version"))?,
            },
            "CONFIG" => Key::Config(raw.subject),
            "MODE" => Key::Mode(raw.subject),
            "DELETE_SUBJECT" => Key::DeleteSubject(raw.subject.ok_or_else(|| missing("subject"))?),
            "CLEAR_SUBJECT" => Key::ClearSubject(raw.subject),
            "CONTEXT" if raw.tenant.as_deref().is_none_or(|tenant| tenant == TENANT) => {
                Key::Context(raw.context.filter(|name| name.starts_with('.')).ok_or_else(|| missing("context"))?)
            }
            "NOOP" => Key::Noop,
            _ => return Ok(None),
        }))
    }

    /// The bytes of the key.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Form<'a> {
            keytype: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            tenant: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            context: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            subject: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            version: Option<u32>,
            magic: u32,
        }
        let (keytype, subject, version, magic) = match self {
            Key::Schema { subject, version } => ("SCHEMA", Some(subject.as_str()), Some(*version), 1),
            Key::Config(subject) => ("CONFIG", subject.as_deref(), None, 0),
            Key::Mode(subject) => ("MODE", subject.as_deref(), None, 0),
            Key::DeleteSubject(subject) => ("DELETE_SUBJECT", Some(subject.as_str()), None, 0),
            Key::ClearSubject(subject) => ("CLEAR_SUBJECT", subject.as_deref(), None, 0),
            Key::Context(_) => ("CONTEXT", None, None, 0),
            Key::Noop => ("NOOP", None, None, 0),
        };
        let context = if let Key::Context(name) = self { Some(name.as_str()) } else { None };
        let tenant = context.map(|_| TENANT);
        json_bytes(&Form { keytype, tenant, context, subject, version, magic })
    }
}

/// Value of a `SCHEMA` record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaValue {
    /// The subject.
    pub subject: String,
    /// The version, from 1.
    pub version: u32,
    /// The global id.
    pub id: u32,
    /// Base64 hash of a schema whose stored metadata is encrypted, and so cannot be hashed again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// `AVRO` or another type; absent in older records, which are Avro.
    #[serde(default = "avro")]
    pub schema_type: String,
    /// What the schema refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub references: Vec<Reference>,
    /// Tags and properties, kept for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Rules, kept for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Value>,
    /// The text.
    pub schema: String,
    /// Whether it is soft-deleted.
    #[serde(default)]
    pub deleted: bool,
}

fn avro() -> String {
    "AVRO".to_owned()
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Value of a `CONFIG` record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigValue {
    /// The subject, absent in the global settings and in older records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether schemas are normalized unasked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// The compatibility level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_level: Option<String>,
    /// All other settings, some of which are only kept.
    #[serde(flatten)]
    pub others: serde_json::Map<String, Value>,
}

impl ConfigValue {
    /// The metadata property by which versions are told apart that need not be compatible with each other.
    pub fn group(&self) -> Option<&str> {
        self.others.get("compatibilityGroup").and_then(Value::as_str)
    }

    /// One of the settings that say what metadata and rules a new version has.
    pub fn addition(&self, name: &str) -> Option<&Value> {
        self.others.get(name).filter(|value| !value.is_null())
    }
}

/// Value of a `CONTEXT` record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContextValue {
    tenant: &'static str,
    /// The name, which starts with a dot.
    context: String,
}

impl ContextValue {
    /// The value for a context of this name.
    pub fn new(name: &str) -> ContextValue {
        ContextValue { tenant: TENANT, context: name.to_owned() }
    }
}

/// Value of a `MODE` record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeValue {
    /// The subject, absent for the global mode and in older records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The mode.
    pub mode: String,
}

/// Value of a `DELETE_SUBJECT` record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteSubjectValue {
    /// The subject.
    pub subject: String,
    /// Versions up to this one are deleted.
    pub version: u32,
}

/// Value of the `NOOP` record: Confluent ignores it; to Weir it says which ids were given out although no schema
/// has them any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NoopValue {
    /// The highest id given out in the default context.
    pub max_id: u32,
    /// The highest ids given out in the other contexts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, u32>,
}

/// A record to be written: a key and a value, or none to delete the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Vec<u8>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Record {
    /// Sets the key to a value.
    pub fn put(key: &Key, value: &impl Serialize) -> Record {
        Record { key: key.to_bytes(), value: Some(json_bytes(value)) }
    }

    /// Deletes the key.
    pub fn tombstone(key: &Key) -> Record {
        Record { key: key.to_bytes(), value: None }
    }
}

/// Reads a value of the form that its key demands.
pub fn parse_value<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, RecordError> {
    serde_json::from_slice(value).map_err(|source| RecordError::Json { part: "value", source })
}

fn json_bytes(value: &impl Serialize) -> Vec<u8> {
    // Serialization of these types cannot fail: all keys are strings and no type of theirs reports an error.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The identity of a schema's content: MD5 over text, references, metadata and rules, shown as a UUID. Confluent
/// computes it in the same way, and records may carry it in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid([u8; 16]);

impl Guid {
    /// Hashes a schema as Confluent does.
    pub fn of(schema: &str, references: &[Reference], metadata: Option<&Value>, rules: Option<&Value>) -> Guid {
        let mut md5 = Md5::new();
        md5.update(schema);
        for reference in references {
            md5.update(&reference.name);
            md5.update(&reference.subject);
            md5.update((reference.version as i32).to_be_bytes());
        }
        if let Some(metadata) = metadata {
            md5.update([1]);
            for part in ["tags", "properties", "sensitive"] {
                hash(&mut md5, &metadata[part]);
            }
        }
        if let Some(rules) = rules {
            md5.update([1]);
            for rule in
                ["migrationRules", "domainRules", "encodingRules"].iter().filter_map(|p| rules[*p].as_array()).flatten()
            {
                let parts = ["name", "doc", "kind", "mode", "type", "tags", "params", "expr", "onSuccess", "onFailure"];
                parts.iter().for_each(|part| hash(&mut md5, &rule[*part]));
                if rule["disabled"] == true {
                    md5.update([1]);
                }
            }
            hash(&mut md5, &rules["enableAt"]);
        }
        Guid(md5.finalize().into())
    }

    /// Reads Base64 of sixteen bytes, as the `md5` of a record has it.
    pub fn from_base64(text: &str) -> Option<Guid> {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = text.strip_suffix("==").filter(|digits| digits.len() == 22)?;
        let mut bits = 0u128;
        for (index, digit) in digits.bytes().enumerate() {
            let value = ALPHABET.iter().position(|c| *c == digit)? as u128;
            bits = if index < 21 { bits << 6 | value } else { bits << 2 | value >> 4 };
        }
        Some(Guid(bits.to_be_bytes()))
    }

    /// Reads a UUID, with or without hyphens.
    pub fn parse(text: &str) -> Option<Guid> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let hexadecimal = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        hexadecimal.then(|| u128::from_str_radix(&digits, 16).ok().map(|bits| Guid(bits.to_be_bytes()))).flatten()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", u128::from_be_bytes(self.0));
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// Hashes texts; of lists and maps in sorted order, as Confluent keeps them.
fn hash(md5: &mut Md5, value: &Value) {
    match value {
        Value::String(text) => md5.update(text),
        Value::Array(items) => {
            let mut items: Vec<&Value> = items.iter().collect();
            items.sort_by_key(|item| item.as_str());
            items.into_iter().for_each(|item| hash(md5, item));
        }
        Value::Object(entries) => {
            let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            for (name, value) in entries {
                md5.update(name);
                hash(md5, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: Key, expect: &str) {
        assert_eq!(String::from_utf8(key.to_bytes()).unwrap(), expect);
        assert_eq!(Key::parse(expect.as_bytes()).unwrap(), Some(key));
    }

    #[test]
    fn keys() {
        let subject = || "orders-value".to_owned();
        check(
            Key::Schema { subject: subject(), version: 3 },
            r#"{"keytype":"SCHEMA","subject":"orders-value","version":3,"magic":1}"#,
        );
        check(Key::Config(Some(subject())), r#"{"keytype":"CONFIG","subject":"orders-value","magic":0}"#);
        check(Key::Config(None), r#"{"keytype":"CONFIG","magic":0}"#);
        check(Key::Mode(None), r#"{"keytype":"MODE","magic":0}"#);
        check(Key::DeleteSubject(subject()), r#"{"keytype":"DELETE_SUBJECT","subject":"orders-value","magic":0}"#);
        check(Key::ClearSubject(None), r#"{"keytype":"CLEAR_SUBJECT","magic":0}"#);
        check(Key::Noop, r#"{"keytype":"NOOP","magic":0}"#);
        check(Key::Context(".x".to_owned()), r#"{"keytype":"CONTEXT","tenant":"default","context":".x","magic":0}"#);
    }

    #[test]
    fn foreign_and_broken_keys() {
        let global = br#"{"keytype":"CONFIG","subject":null,"magic":0}"#;
        assert_eq!(Key::parse(global).unwrap(), Some(Key::Config(None)));
        assert_eq!(Key::parse(br#"{"keytype":"CONTEXT","tenant":"other","context":".x","magic":0}"#).unwrap(), None);
        for broken in [
            "",
            "5",
            r#"{"keytype":"SCHEMA","subject":"s","magic":1}"#,
            r#"{"keytype":"SCHEMA","magic":2}"#,
            r#"{"keytype":"CONTEXT","tenant":"default","magic":0}"#,
        ] {
            assert!(Key::parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn schema_values() {
        let old = r#"{"subject":"s","version":1,"id":7,"schema":"\"int\"","deleted":false}"#;
        let value: SchemaValue = parse_value(old.as_bytes()).unwrap();
        assert_eq!((value.id, value.schema_type.as_str(), value.deleted), (7, "AVRO", false));
        let new = r#"{"subject":"s","version":1,"id":7,"schemaType":"AVRO","references":[{"name":"a.B","subject":"b","version":2}],"metadata":{"properties":{"owner":"x"}},"schema":"\"int\"","deleted":true}"#;
        let value: SchemaValue = parse_value(new.as_bytes()).unwrap();
        assert_eq!(json_bytes(&value), new.as_bytes());
    }

    #[test]
    fn settings_keep_what_is_not_ours() {
        let text = r#"{"subject":"s","normalize":true,"compatibilityLevel":"FULL","compatibilityGroup":"g"}"#;
        let value: ConfigValue = parse_value(text.as_bytes()).unwrap();
        assert_eq!(value.others.len(), 1);
        assert_eq!(json_bytes(&value), text.as_bytes());
    }

    #[test]
    fn guids() {
        let guid = Guid::of(r#""string""#, &[], None, None);
        assert_eq!(guid.to_string().len(), 36);
        assert_eq!(Guid::parse(&guid.to_string()), Some(guid));
        assert_eq!(Guid::parse(&guid.to_string().replace('-', "")), Some(guid));
        assert_eq!(Guid::parse("+123456789012345678901234567890a"), None);
        assert_eq!(Guid::from_base64("1B2M2Y8AsgTpgAmY7PhCfg=="), Guid::parse("d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(Guid::of("", &[], None, None), Guid::parse("d41d8cd98f00b204e9800998ecf8427e").unwrap());
        let tags = |json: &str| serde_json::from_str::<Value>(json).ok();
        let one = tags(r#"{"properties":{"b":"2","a":"1"}}"#);
        let two = tags(r#"{"properties":{"a":"1","b":"2"}}"#);
        assert_eq!(Guid::of("x", &[], one.as_ref(), None), Guid::of("x", &[], two.as_ref(), None));
        assert_ne!(Guid::of("x", &[], one.as_ref(), None), Guid::of("x", &[], None, None));
    }
}
