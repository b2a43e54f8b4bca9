//! Records as JSON for people and other programs. Whatever cannot be decoded is shown as it is, with the reason.

use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use weir_avro::{JsonForm, to_json};
use weir_kafka::Record;
use weir_registry::SchemaId;
use weir_registry::frame::{self, KEY_SCHEMA_ID, Place, VALUE_SCHEMA_ID};

use crate::Failure;
use crate::registry::Registry;

/// A value for eyes.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// There is none: a tombstone, or a record without a key.
    Null,
    /// Decoded by the schema of this id.
    Decoded(SchemaId, Value),
    /// Text that carries no schema id.
    Text(String),
    /// Bytes that could not be decoded, and why.
    Bytes(Vec<u8>, String),
}

/// Decodes by the schema id a record carries.
pub struct Decoder<'r> {
    registry: &'r Registry,
    form: JsonForm,
}

impl<'r> Decoder<'r> {
    /// Values are shown in `form`.
    pub fn new(registry: &'r Registry, form: JsonForm) -> Decoder<'r> {
        Decoder { registry, form }
    }

    /// The value of a record.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when the registry does not answer. What is wrong with the record is shown.
    pub fn value(&self, record: &Record) -> Result<Shown, Failure> {
        let Some(payload) = record.value.as_deref() else { return Ok(Shown::Null) };
        let headers = views(record);
        match frame::parse(payload, &headers, VALUE_SCHEMA_ID, Place::Either) {
            Ok(frame) => self.decode(frame, payload),
            Err(error) => Ok(Shown::Bytes(payload.to_vec(), error.to_string())),
        }
    }

    /// The key of a record: Avro where it carries a schema id, otherwise text where it is any.
    ///
    /// # Errors
    /// As [`Decoder::value`].
    pub fn key(&self, record: &Record) -> Result<Shown, Failure> {
        let Some(payload) = record.key.as_deref() else { return Ok(Shown::Null) };
        let headers = views(record);
        match frame::parse(payload, &headers, KEY_SCHEMA_ID, Place::Either) {
            Ok(frame) => self.decode(frame, payload),
            Err(error) => Ok(match std::str::from_utf8(payload) {
                Ok(text) => Shown::Text(text.to_owned()),
                Err(_) => Shown::Bytes(payload.to_vec(), error.to_string()),
            }),
        }
    }

    fn decode(&self, frame: frame::Frame<'_>, payload: &[u8]) -> Result<Shown, Failure> {
        let decoded = self
            .registry
            .resolve(frame.id)?
            .and_then(|resolved| to_json(&resolved.schema, frame.body, self.form).map_err(|fault| fault.to_string()));
        Ok(match decoded {
            Ok(value) => Shown::Decoded(frame.id, value),
            Err(reason) => Shown::Bytes(payload.to_vec(), reason),
        })
    }
}

/// The headers of a record as the libraries take them.
pub fn views(record: &Record) -> Vec<(&str, Option<&[u8]>)> {
    record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
}

impl Shown {
    /// As one JSON value. No Avro name begins with `$`, so that bytes are never mistaken for a record.
    pub fn into_json(self) -> Value {
        match self {
            Shown::Null => Value::Null,
            Shown::Decoded(_, value) => value,
            Shown::Text(text) => Value::String(text),
            Shown::Bytes(bytes, reason) => json!({ "$base64": BASE64_STANDARD.encode(bytes), "$reason": reason }),
        }
    }
}

/// A header's value: text where it is UTF-8.
fn header_json(value: Option<&[u8]>) -> Value {
    match value {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => json!({ "$base64": BASE64_STANDARD.encode(bytes) }),
        },
    }
}

/// A whole record as one JSON object.
pub fn record_json(topic: &str, record: &Record, key: Shown, value: Shown) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), topic.into());
    object.insert("partition".to_owned(), record.partition.into());
    object.insert("offset".to_owned(), record.offset.into());
    object.insert("timestamp".to_owned(), record.timestamp.millis().map_or(Value::Null, |ms| time(ms).into()));
    object.insert("key".to_owned(), key.into_json());
    let headers = record.headers.iter();
    let headers: Vec<Value> =
        headers.map(|(name, value)| json!({ "name": name, "value": header_json(value.as_deref()) })).collect();
    object.insert("headers".to_owned(), headers.into());
    let schema = match &value {
        Shown::Decoded(SchemaId::Id(id), _) => (*id).into(),
        Shown::Decoded(guid, _) => guid.to_string().into(),
        _ => Value::Null,
    };
    object.insert("schema".to_owned(), schema);
    object.insert("value".to_owned(), value.into_json());
    Value::Object(object)
}

/// Milliseconds since the epoch as RFC 3339, or as the number where no calendar reaches.
pub fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| time.to_string())
}

/// Milliseconds since the epoch, now.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use weir_registry::Auth;

    use super::*;
    use weir_pump::Timestamp as RecordTime;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
        Record {
            partition: 1,
            offset: 42,
            timestamp: RecordTime::Create(1_700_000_000_123),
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: vec![("trace".to_owned(), Some(b"abc".to_vec())), ("raw".to_owned(), Some(vec![0xff]))],
        }
    }

    #[test]
    fn what_carries_no_schema_id_is_shown_without_asking_anybody() {
        // Nobody listens there: a question would fail.
        let registry = Registry::new("http://127.0.0.1:1", Auth::None).unwrap();
        let decoder = Decoder::new(&registry, JsonForm::Plain);
        let check = |key: Option<&[u8]>, value: Option<&[u8]>, expect: &str| {
            let record = record(key, value);
            let shown = record_json("t", &record, decoder.key(&record).unwrap(), decoder.value(&record).unwrap());
            assert_eq!(
                shown.to_string(),
                format!(r#"{{"topic":"t","partition":1,"offset":42,"timestamp":"2023-11-14T22:13:20.123Z",{expect}"#)
            );
        };
        let headers = r#""headers":[{"name":"trace","value":"abc"},{"name":"raw","value":{"$base64":"/w=="}}]"#;
        check(Some(b"7"), None, &format!(r#""key":"7",{headers},"schema":null,"value":null}}"#));
        check(
            None,
            Some(b"hi!"),
            &format!(
                r#""key":null,{headers},"schema":null,"value":{{"$base64":"aGkh","$reason":"payload does not start with a schema id"}}}}"#
            ),
        );
        check(
            Some(&[0, 1]),
            Some(&[]),
            &format!(
                r#""key":"\u0000\u0001",{headers},"schema":null,"value":{{"$base64":"","$reason":"payload of 0 bytes is too short for a schema id"}}}}"#
            ),
        );
    }

    #[test]
    fn a_time_out_of_the_calendar_is_its_number() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }
}
