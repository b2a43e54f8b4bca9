//! A quarantined event as it lies in its topic: what the producer wrote, and behind it what Weir added.

use serde::{Deserialize, Serialize};
use weir_kafka::Record;
use weir_pump::Header;

/// The header our own begin with; the last one of this name counts, for an event may have been quarantined before.
const FIRST: &str = "weir.contract";
/// What the Kafka client shows for a header whose name is not UTF-8; its bytes are not to be had.
const UNREADABLE_NAME: &str = "\u{fffd}";

/// A quarantined event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The record of the quarantine topic.
    pub record: Record,
    /// How many of its headers are the producer's; those behind them are ours.
    pub own_headers: usize,
    /// The contract that judged it, as `id@version`.
    pub contract: Option<String>,
    /// Where it came from.
    pub source: Option<Source>,
    /// The id of its schema, as text.
    pub schema: Option<String>,
    /// How often it was judged when it came here.
    pub attempt: u32,
    /// Why it is here.
    pub reasons: Reasons,
}

/// Where an event came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The topic it was read from.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// The header `weir.violations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Reasons {
    /// The broken promises.
    pub violations: Vec<Reason>,
    /// How many more there were.
    #[serde(default)]
    pub omitted: u64,
}

/// One broken promise, as the header tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The violation code.
    pub code: String,
    /// The rule of the contract; empty where the record itself is at fault.
    #[serde(default)]
    pub rule: String,
    /// The field.
    #[serde(default)]
    pub path: String,
    /// The mode of the rule.
    #[serde(default)]
    pub mode: String,
    /// What is wrong, without a value.
    #[serde(default)]
    pub message: String,
}

impl Entry {
    /// Takes a record of a quarantine topic apart. One that is not Weir's has no reasons and only own headers.
    pub fn read(record: Record) -> Entry {
        let own_headers = own_headers(&record);
        let ours = &record.headers[own_headers..];
        let text = |name: &str| {
            let (_, value) = ours.iter().rev().find(|(header, _)| header == name)?;
            Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
        };
        let source = || {
            Some(Source {
                topic: text("weir.source.topic")?,
                partition: text("weir.source.partition")?.parse().ok()?,
                offset: text("weir.source.offset")?.parse().ok()?,
            })
        };
        Entry {
            own_headers,
            contract: text(FIRST),
            source: source(),
            schema: text("weir.schema.id"),
            attempt: text("weir.attempt").and_then(|attempt| attempt.parse().ok()).unwrap_or(1),
            reasons: text("weir.violations").and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
            record,
        }
    }

    /// The producer's headers.
    pub fn headers(&self) -> Vec<Header<'_>> {
        let own = self.record.headers.iter().take(self.own_headers);
        own.map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    /// Why this can never be replayed: it stands for something that is not here to be written again.
    pub fn lost(&self) -> Option<&'static str> {
        if self.reasons.violations.iter().any(|reason| reason.code == "BATCH_UNREADABLE") {
            return Some("it stands for records that could not be read");
        }
        let unreadable = |(name, value): &(String, Option<Vec<u8>>)| name == UNREADABLE_NAME && value.is_none();
        let own = self.record.headers.iter().take(self.own_headers);
        own.into_iter().any(unreadable).then_some("the name of a header is not UTF-8 and cannot be written again")
    }

    /// Whether one and the same reason has this code and is of this rule; what is not asked for fits.
    pub fn matches(&self, code: Option<&str>, rule: Option<&str>) -> bool {
        let fits = |reason: &Reason| {
            code.is_none_or(|code| reason.code.eq_ignore_ascii_case(code))
                && rule.is_none_or(|rule| reason.rule == rule)
        };
        (code.is_none() && rule.is_none()) || self.reasons.violations.iter().any(fits)
    }
}

/// Ours are put behind the producer's in one piece. A producer's header of the same name stays the producer's.
fn own_headers(record: &Record) -> usize {
    let ours = |name: &str| name.starts_with("weir.") || name.starts_with("__connect.errors.");
    let first = record.headers.iter().rposition(|(name, _)| name == FIRST);
    first.filter(|first| record.headers[*first..].iter().all(|(name, _)| ours(name))).unwrap_or(record.headers.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use weir_pump::Timestamp;

    /// An entry as the enforcer writes it.
    pub fn record(offset: i64, own: &[(&str, &str)], violations: &str) -> Record {
        let ours = [
            ("weir.contract", "c@1.0.0"),
            ("weir.violations", violations),
            ("weir.source.topic", "t.landing"),
            ("weir.source.partition", "3"),
            ("weir.source.offset", "77"),
            ("weir.schema.id", "5"),
            ("weir.attempt", "1"),
            ("__connect.errors.topic", "t.landing"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "77"),
            ("__connect.errors.exception.message", "FIELD_RANGE: too small"),
        ];
        let headers = own.iter().chain(&ours);
        Record {
            partition: 3,
            offset,
            timestamp: Timestamp::Create(1),
            key: Some(b"k".to_vec()),
            value: Some(b"v".to_vec()),
            headers: headers.map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec()))).collect(),
        }
    }

    pub const RANGE: &str = r#"{"violations":[{"code":"FIELD_RANGE","rule":"quantity_positive","path":"quantity","mode":"enforce","message":"too small"}],"omitted":2}"#;

    #[test]
    fn an_entry_is_what_the_producer_wrote_and_what_was_added() {
        let entry = Entry::read(record(9, &[("trace", "abc")], RANGE));
        assert_eq!(entry.headers(), [("trace", Some(b"abc".as_slice()))]);
        assert_eq!(entry.contract.as_deref(), Some("c@1.0.0"));
        assert_eq!(entry.source, Some(Source { topic: "t.landing".to_owned(), partition: 3, offset: 77 }));
        assert_eq!((entry.schema.as_deref(), entry.attempt, entry.reasons.omitted), (Some("5"), 1, 2));
        assert!(entry.matches(None, None) && entry.matches(Some("field_range"), Some("quantity_positive")));
        assert!(!entry.matches(Some("FIELD_RANGE"), Some("other")) && !entry.matches(Some("RULE_FAILED"), None));
        assert_eq!(entry.lost(), None);
    }

    #[test]
    fn headers_of_the_producer_that_look_like_ours_stay() {
        // A record that somebody copied out of a dead letter queue, and out of a quarantine, by hand.
        let own = [("__connect.errors.topic", "first"), ("weir.contract", "old@1"), ("weir.attempt", "4")];
        let entry = Entry::read(record(9, &own, RANGE));
        assert_eq!(entry.own_headers, 3);
        assert_eq!((entry.contract.as_deref(), entry.attempt), (Some("c@1.0.0"), 1));
    }

    #[test]
    fn a_record_that_is_not_ours_has_no_reasons() {
        let mut foreign = record(9, &[], RANGE);
        foreign.headers.push(("other".to_owned(), None));
        let entry = Entry::read(foreign.clone());
        assert_eq!((entry.own_headers, entry.contract, entry.attempt), (foreign.headers.len(), None, 1));
        foreign.headers.clear();
        assert_eq!(Entry::read(foreign).reasons, Reasons::default());
        let garbled = Entry::read(record(9, &[], "{"));
        assert_eq!(garbled.reasons, Reasons::default());
    }

    #[test]
    fn what_cannot_be_written_again_is_lost() {
        let unreadable = r#"{"violations":[{"code":"BATCH_UNREADABLE"}]}"#;
        assert!(Entry::read(record(9, &[], unreadable)).lost().is_some());
        let mut named = record(9, &[], RANGE);
        named.headers.insert(0, ("\u{fffd}".to_owned(), None));
        assert!(Entry::read(named).lost().is_some());
    }
}
