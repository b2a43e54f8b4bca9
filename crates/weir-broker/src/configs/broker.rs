//! The configs of the broker: what it was started with, and what can be set while it runs.
//!
//! Kafka has some 350 of them; here are those that mean something on this broker, and those that tools look for.

use super::{Definition, Dynamic, Entry, Invalid, Kind, Source, Valid, topic};

/// What the broker was started with, as DescribeConfigs shows it.
pub type Started = Vec<(&'static str, Kind, String)>;

const fn config(name: &'static str, kind: Kind, default: Option<&'static str>, valid: Valid) -> Definition {
    Definition { name, kind, default, valid, synonym: None, listed: true }
}

/// Configs of the broker alone that can be set while it runs.
const OWN: &[Definition] = &[
    config("log.cleaner.backoff.ms", Kind::Long, Some("15000"), Valid::AtLeast(0)),
    config("max.connections", Kind::Int, None, Valid::AtLeast(0)),
    config("producer.id.expiration.ms", Kind::Int, Some("86400000"), Valid::AtLeast(1)),
];

/// Configs that can be set because tools set them, and that change nothing: the runtime has as many threads as it needs.
const KEPT: &[Definition] = &[
    config("background.threads", Kind::Int, Some("10"), Valid::AtLeast(1)),
    config("log.cleaner.dedupe.buffer.size", Kind::Long, Some("134217728"), Valid::AtLeast(0)),
    config("log.cleaner.threads", Kind::Int, Some("1"), Valid::AtLeast(0)),
    config("num.io.threads", Kind::Int, Some("8"), Valid::AtLeast(1)),
    config("num.network.threads", Kind::Int, Some("3"), Valid::AtLeast(1)),
    config("num.recovery.threads.per.data.dir", Kind::Int, Some("2"), Valid::AtLeast(1)),
];

/// Configs that never change here and that tools look for: one node, Kafka's defaults.
const FIXED: &[(&str, Kind, Option<&str>)] = &[
    ("authorizer.class.name", Kind::Text, Some("")),
    ("broker.rack", Kind::Text, None),
    ("default.replication.factor", Kind::Int, Some("1")),
    ("delete.topic.enable", Kind::Boolean, Some("true")),
    ("group.max.session.timeout.ms", Kind::Int, Some("1800000")),
    ("group.min.session.timeout.ms", Kind::Int, Some("6000")),
    ("inter.broker.listener.name", Kind::Text, None),
    ("log.cleaner.enable", Kind::Boolean, Some("true")),
    ("log.retention.check.interval.ms", Kind::Long, Some("300000")),
    ("log.retention.hours", Kind::Int, Some("168")),
    ("log.retention.minutes", Kind::Int, None),
    ("log.roll.hours", Kind::Int, Some("168")),
    ("offsets.retention.minutes", Kind::Int, Some("10080")),
    ("security.inter.broker.protocol", Kind::Text, Some("PLAINTEXT")),
    ("transaction.max.timeout.ms", Kind::Int, Some("900000")),
    ("transactional.id.expiration.ms", Kind::Int, Some("604800000")),
];

/// Times that the broker also has in hours: in milliseconds nobody set them.
const IN_HOURS: &[&str] = &["log.retention.ms", "log.roll.ms", "log.roll.jitter.ms", "log.flush.interval.ms"];

/// The config of the broker of that name, where it can be set while it runs.
#[must_use]
pub fn definition(name: &str) -> Option<Definition> {
    let own = OWN.iter().chain(KEPT).find(|own| own.name == name).copied();
    own.or_else(|| {
        let topic = topic::DEFINITIONS.iter().find(|topic| topic.synonym == Some(name))?;
        let default = if IN_HOURS.contains(&name) { None } else { topic.default };
        let name = topic.synonym.unwrap_or(topic.name);
        Some(Definition { name, default, synonym: None, ..*topic })
    })
}

/// Holds a value that somebody wants to set while the broker runs against its range.
///
/// # Errors
/// When the config is not known or cannot be set while the broker runs, or the value is out of range.
pub fn settable(name: &str) -> Result<Definition, Invalid> {
    definition(name).ok_or_else(|| Invalid(format!("{name} cannot be set while this broker runs")))
}

/// All configs of the broker as DescribeConfigs shows them, by name. `started` holds over the defaults.
#[must_use]
pub fn describe(started: &Started, dynamic: &Dynamic) -> Vec<Entry> {
    let mut entries = Vec::new();
    let names =
        topic::DEFINITIONS.iter().filter_map(|topic| topic.synonym).chain(OWN.iter().chain(KEPT).map(|own| own.name));
    for definition in names.filter_map(definition) {
        let name = definition.name;
        let mut synonyms: Vec<_> =
            dynamic.known(name).map(|(value, source)| (name, value.to_owned(), source)).collect();
        let given = started.iter().find(|(started, ..)| *started == name);
        synonyms.extend(given.map(|(_, _, value)| (name, value.clone(), Source::Start)));
        synonyms.extend(definition.default.map(|value| (name, value.to_owned(), Source::Default)));
        entries.push(shown(name, definition.kind, false, synonyms));
    }
    for (name, kind, value) in started {
        if definition(name).is_none() {
            entries.push(shown(name, *kind, true, vec![(*name, value.clone(), Source::Start)]));
        }
    }
    for &(name, kind, value) in FIXED {
        let synonyms = value.map(|value| (name, value.to_owned(), Source::Default)).into_iter().collect();
        entries.push(shown(name, kind, true, synonyms));
    }
    entries.sort_by_key(|entry| entry.name);
    entries
}

fn shown(name: &'static str, kind: Kind, read_only: bool, synonyms: Vec<(&'static str, String, Source)>) -> Entry {
    let first = synonyms.first();
    let value = first.map(|(_, value, _)| value.clone());
    let source = first.map_or(Source::Default, |&(_, _, source)| source);
    Entry { name, kind, value, source, read_only, synonyms }
}

/// What was set at run time, for this broker or for all, as DescribeConfigs shows it where no broker is named.
#[must_use]
pub fn describe_all(dynamic: &Dynamic) -> Vec<Entry> {
    let set = dynamic.all.iter().filter_map(|(name, value)| {
        let definition = definition(name)?;
        let synonyms = vec![(definition.name, value.clone(), Source::AllBrokers)];
        Some(shown(definition.name, definition.kind, false, synonyms))
    });
    set.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_config_is_shown_once_with_what_holds() {
        let mut dynamic = Dynamic::default();
        dynamic.this.insert("message.max.bytes".into(), "5".into());
        let started = vec![("node.id", Kind::Int, "1".to_owned()), ("max.connections", Kind::Int, "10".to_owned())];
        let entries = describe(&started, &dynamic);
        let mut names: Vec<_> = entries.iter().map(|entry| entry.name).collect();
        names.dedup();
        assert_eq!(names.len(), entries.len());
        let find = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!((find("node.id").source, find("node.id").read_only), (Source::Start, true));
        assert_eq!((find("max.connections").source, find("max.connections").read_only), (Source::Start, false));
        assert_eq!(find("message.max.bytes").source, Source::Broker);
        assert_eq!(find("message.max.bytes").synonyms.len(), 2);
        assert_eq!(find("log.retention.ms").value, None);
        assert_eq!(find("log.retention.hours").value.as_deref(), Some("168"));
    }

    #[test]
    fn what_is_given_at_the_start_cannot_be_set() {
        assert!(settable("log.retention.ms").is_ok());
        assert!(settable("node.id").is_err());
        assert!(settable("log.dirs").is_err());
        assert!(settable("num.io.threads").is_ok());
    }
}
