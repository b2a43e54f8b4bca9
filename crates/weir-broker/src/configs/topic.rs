//! The configs of topics.

use crate::log::{Cleanup, Flush, LogConfig, TimestampType};
use weir_wire::codec::Codec;

use super::{Definition, Dynamic, Entry, Invalid, Kind, Overrides, Source, Valid, list};

const fn config(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    valid: Valid,
    synonym: Option<&'static str>,
) -> Definition {
    Definition { name, kind, default: Some(default), valid, synonym, listed: true }
}

const DAY: &str = "86400000";
const WEEK: &str = "604800000";
const FOREVER: &str = "9223372036854775807";
const NEVER_TIERED: Valid = Valid::Fixed("false");

/// All configs of topics, by name. (Kafka 4.3, `LogConfig` and `TopicConfig`.)
pub const DEFINITIONS: &[Definition] = &[
    config("cleanup.policy", Kind::List, "delete", Valid::ListOf(&["compact", "delete"]), Some("log.cleanup.policy")),
    config("compression.gzip.level", Kind::Int, "-1", Valid::MinusOneOr(1, 9), Some("compression.gzip.level")),
    config("compression.lz4.level", Kind::Int, "9", Valid::Between(1, 17), Some("compression.lz4.level")),
    config(
        "compression.type",
        Kind::Text,
        "producer",
        Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Some("compression.type"),
    ),
    config("compression.zstd.level", Kind::Int, "3", Valid::Between(-131_072, 22), Some("compression.zstd.level")),
    config("delete.retention.ms", Kind::Long, DAY, Valid::AtLeast(0), Some("log.cleaner.delete.retention.ms")),
    config("file.delete.delay.ms", Kind::Long, "60000", Valid::AtLeast(0), Some("log.segment.delete.delay.ms")),
    config("flush.messages", Kind::Long, FOREVER, Valid::AtLeast(1), Some("log.flush.interval.messages")),
    config("flush.ms", Kind::Long, FOREVER, Valid::AtLeast(0), Some("log.flush.interval.ms")),
    config("follower.replication.throttled.replicas", Kind::List, "", Valid::Replicas, None),
    config("index.interval.bytes", Kind::Int, "4096", Valid::AtLeast(0), Some("log.index.interval.bytes")),
    Definition {
        name: "internal.segment.bytes",
        kind: Kind::Int,
        default: None,
        valid: Valid::AtLeast(64),
        synonym: None,
        listed: false,
    },
    config("leader.replication.throttled.replicas", Kind::List, "", Valid::Replicas, None),
    config("local.retention.bytes", Kind::Long, "-2", Valid::AtLeast(-2), Some("log.local.retention.bytes")),
    config("local.retention.ms", Kind::Long, "-2", Valid::AtLeast(-2), Some("log.local.retention.ms")),
    config("max.compaction.lag.ms", Kind::Long, FOREVER, Valid::AtLeast(1), Some("log.cleaner.max.compaction.lag.ms")),
    config("max.message.bytes", Kind::Int, "1048588", Valid::AtLeast(0), Some("message.max.bytes")),
    config(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        Valid::AtLeast(0),
        Some("log.message.timestamp.after.max.ms"),
    ),
    config(
        "message.timestamp.before.max.ms",
        Kind::Long,
        FOREVER,
        Valid::AtLeast(0),
        Some("log.message.timestamp.before.max.ms"),
    ),
    config(
        "message.timestamp.type",
        Kind::Text,
        "CreateTime",
        Valid::OneOf(&["CreateTime", "LogAppendTime"]),
        Some("log.message.timestamp.type"),
    ),
    config("min.cleanable.dirty.ratio", Kind::Double, "0.5", Valid::Ratio, Some("log.cleaner.min.cleanable.ratio")),
    config("min.compaction.lag.ms", Kind::Long, "0", Valid::AtLeast(0), Some("log.cleaner.min.compaction.lag.ms")),
    config("min.insync.replicas", Kind::Int, "1", Valid::AtLeast(1), Some("min.insync.replicas")),
    config("preallocate", Kind::Boolean, "false", Valid::Any, Some("log.preallocate")),
    config("remote.log.copy.disable", Kind::Boolean, "false", Valid::Any, None),
    config("remote.log.delete.on.disable", Kind::Boolean, "false", Valid::Any, None),
    config("remote.storage.enable", Kind::Boolean, "false", NEVER_TIERED, None),
    config("retention.bytes", Kind::Long, "-1", Valid::Any, Some("log.retention.bytes")),
    config("retention.ms", Kind::Long, WEEK, Valid::AtLeast(-1), Some("log.retention.ms")),
    config("segment.bytes", Kind::Int, "1073741824", Valid::AtLeast(1 << 20), Some("log.segment.bytes")),
    config("segment.index.bytes", Kind::Int, "10485760", Valid::AtLeast(4), Some("log.index.size.max.bytes")),
    config("segment.jitter.ms", Kind::Long, "0", Valid::AtLeast(0), Some("log.roll.jitter.ms")),
    config("segment.ms", Kind::Long, WEEK, Valid::AtLeast(1), Some("log.roll.ms")),
    config(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        Valid::Any,
        Some("unclean.leader.election.enable"),
    ),
];

/// The config of that name.
///
/// # Errors
/// When there is none.
pub fn definition(name: &str) -> Result<&'static Definition, Invalid> {
    DEFINITIONS
        .iter()
        .find(|definition| definition.name == name)
        .ok_or_else(|| Invalid(format!("unknown topic config name: {name}")))
}

/// Holds all values of a topic against their ranges and against each other.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(overrides: &Overrides) -> Result<(), Invalid> {
    for (name, value) in overrides {
        definition(name)?.check(value)?;
    }
    let number = |name: &str, or: i64| overrides.get(name).and_then(|value| value.trim().parse().ok()).unwrap_or(or);
    let (least, most) = (number("min.compaction.lag.ms", 0), number("max.compaction.lag.ms", i64::MAX));
    if least > most {
        return Err(Invalid(format!("min.compaction.lag.ms {least} must not exceed max.compaction.lag.ms {most}")));
    }
    Ok(())
}

/// The value of a topic's config that holds.
#[must_use]
pub fn value<'a>(definition: &'a Definition, overrides: &'a Overrides, dynamic: &'a Dynamic) -> Option<&'a str> {
    let own = overrides.get(definition.name).map(String::as_str);
    own.or_else(|| definition.synonym.and_then(|name| dynamic.get(name))).or(definition.default)
}

/// All configs of a topic, as DescribeConfigs shows them.
#[must_use]
pub fn describe(overrides: &Overrides, dynamic: &Dynamic) -> Vec<Entry> {
    let shown = DEFINITIONS.iter().filter(|one| one.listed || overrides.contains_key(one.name));
    shown.map(|definition| entry(definition, overrides, dynamic)).collect()
}

fn entry(definition: &'static Definition, overrides: &Overrides, dynamic: &Dynamic) -> Entry {
    let name = definition.name;
    let mut synonyms: Vec<_> =
        overrides.get(name).map(|value| (name, value.clone(), Source::Topic)).into_iter().collect();
    if let Some(synonym) = definition.synonym {
        synonyms.extend(dynamic.known(synonym).map(|(value, source)| (synonym, value.to_owned(), source)));
        // A time that the broker has in hours too has no default in milliseconds.
        let default = super::broker::definition(synonym).map_or(definition.default, |found| found.default);
        synonyms.extend(default.map(|value| (synonym, value.to_owned(), Source::Default)));
    }
    Entry {
        name,
        kind: definition.kind,
        value: value(definition, overrides, dynamic).map(str::to_owned),
        source: synonyms.first().map_or(Source::Default, |&(_, _, source)| source),
        read_only: false,
        synonyms,
    }
}

/// What a log does by these configs.
///
/// # Errors
/// When a value cannot be, which [`check`] finds before it is kept.
pub fn log_config(overrides: &Overrides, dynamic: &Dynamic, flush: Flush) -> Result<LogConfig, Invalid> {
    let text = |name: &str| -> Result<&str, Invalid> {
        let definition = definition(name)?;
        value(definition, overrides, dynamic).ok_or_else(|| Invalid(format!("{name} has no value")))
    };
    let long = |name: &str| -> Result<i64, Invalid> {
        text(name)?.trim().parse().map_err(|_| Invalid(format!("{name} must be a number")))
    };
    let unsigned = |name: &str| long(name).map(|number| u64::try_from(number).unwrap_or(0));
    let bounded = |name: &str| long(name).map(|number| (number >= 0).then_some(number));
    let policies: Vec<&str> = list(text("cleanup.policy")?).collect();
    let segment_bytes = match overrides.get("internal.segment.bytes") {
        Some(value) => value.trim().parse().map_err(|_| Invalid("internal.segment.bytes must be a number".into()))?,
        None => unsigned("segment.bytes")?,
    };
    let fsync = long("flush.messages")? == 1 || long("flush.ms")? == 0;
    Ok(LogConfig {
        segment_bytes,
        segment_ms: long("segment.ms")?,
        segment_index_bytes: unsigned("segment.index.bytes")?,
        index_interval_bytes: unsigned("index.interval.bytes")?,
        retention_ms: bounded("retention.ms")?,
        retention_bytes: bounded("retention.bytes")?.and_then(|bytes| u64::try_from(bytes).ok()),
        cleanup: Cleanup { delete: policies.contains(&"delete"), compact: policies.contains(&"compact") },
        delete_retention_ms: long("delete.retention.ms")?,
        min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio")?.trim().parse().unwrap_or(0.5),
        min_compaction_lag_ms: long("min.compaction.lag.ms")?,
        max_compaction_lag_ms: long("max.compaction.lag.ms")?,
        compaction_bytes: LogConfig::default().compaction_bytes,
        max_message_bytes: usize::try_from(long("max.message.bytes")?).unwrap_or(0),
        timestamp_type: match text("message.timestamp.type")? {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: long("message.timestamp.before.max.ms")?,
        timestamp_after_max_ms: long("message.timestamp.after.max.ms")?,
        compression: match text("compression.type")? {
            "uncompressed" => Some(Codec::None),
            "gzip" => Some(Codec::Gzip),
            "snappy" => Some(Codec::Snappy),
            "lz4" => Some(Codec::Lz4),
            "zstd" => Some(Codec::Zstd),
            _ => None,
        },
        flush: if fsync { Flush::Fsync } else { flush },
        producer_id_expiration_ms: dynamic
            .get("producer.id.expiration.ms")
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(86_400_000),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Operation, alter};
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> Overrides {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_default_is_valid_and_makes_a_log_config() {
        for definition in DEFINITIONS {
            if let Some(default) = definition.default {
                definition.check(default).unwrap();
            }
        }
        log_config(&Overrides::new(), &Dynamic::default(), Flush::Os).unwrap();
    }

    #[test]
    fn values_are_held_against_their_range() {
        let check = |name: &str, value: &str, expect: &str| {
            let answer = check(&overrides(&[(name, value)]));
            match (answer, expect) {
                (Ok(()), "") => {}
                (Err(Invalid(text)), expect) if !expect.is_empty() && text.contains(expect) => {}
                (answer, _) => panic!("{name}={value}: {answer:?}, expected {expect:?}"),
            }
        };
        check("retention.ms", "-1", "");
        check("retention.ms", "-2", "at least -1");
        check("retention.ms", "soon", "64-bit");
        check("cleanup.policy", "compact,delete", "");
        check("cleanup.policy", "", "");
        check("cleanup.policy", "compact,shred", "list of");
        check("cleanup.policy", "compact,compact", "twice");
        check("compression.type", "lz4", "");
        check("compression.type", "rar", "one of");
        check("compression.gzip.level", "-1", "");
        check("compression.gzip.level", "0", "-1, or from 1 to 9");
        check("min.cleanable.dirty.ratio", "1.5", "from 0 to 1");
        check("segment.bytes", "99999999999", "32-bit");
        check("segment.bytes", "14", "at least 1048576");
        check("internal.segment.bytes", "4096", "");
        check("preallocate", "yes", "true or false");
        check("remote.storage.enable", "true", "only false");
        check("follower.replication.throttled.replicas", "0:1,1:1", "");
        check("follower.replication.throttled.replicas", "all", "pairs");
        check("retention", "1", "unknown topic config name: retention");
    }

    #[test]
    fn lags_that_contradict_each_other_are_refused() {
        let lags = overrides(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")]);
        assert!(check(&lags).unwrap_err().0.contains("must not exceed"));
    }

    #[test]
    fn the_nearest_value_holds_and_all_are_shown() {
        let mut dynamic = Dynamic::default();
        dynamic.all.insert("log.retention.ms".into(), "2".into());
        let find = |entries: Vec<Entry>| entries.into_iter().find(|entry| entry.name == "retention.ms").unwrap();
        let entry = find(describe(&Overrides::new(), &dynamic));
        assert_eq!((entry.value.as_deref(), entry.source), (Some("2"), Source::AllBrokers));
        dynamic.this.insert("log.retention.ms".into(), "3".into());
        let entry = find(describe(&overrides(&[("retention.ms", "4")]), &dynamic));
        assert_eq!((entry.value.as_deref(), entry.source), (Some("4"), Source::Topic));
        let names: Vec<_> = entry.synonyms.iter().map(|(name, value, _)| (*name, value.as_str())).collect();
        assert_eq!(names, [("retention.ms", "4"), ("log.retention.ms", "3"), ("log.retention.ms", "2")]);
        let config = log_config(&Overrides::new(), &dynamic, Flush::Os).unwrap();
        assert_eq!(config.retention_ms, Some(3));
    }

    #[test]
    fn steps_change_only_what_they_name() {
        let check =
            |start: &[(&str, &str)], name: &str, step, value: Option<&str>, expect: Result<Option<&str>, &str>| {
                let mut own = overrides(start);
                let definition = definition(name).unwrap();
                match (alter(&mut own, definition, step, value, definition.default), expect) {
                    (Ok(()), Ok(expect)) => assert_eq!(own.get(name).map(String::as_str), expect),
                    (Err(Invalid(text)), Err(expect)) => assert!(text.contains(expect), "{text}"),
                    (answer, expect) => panic!("{name}: {answer:?}, expected {expect:?}"),
                }
            };
        let policy = "cleanup.policy";
        check(&[], policy, Operation::Append, Some("compact"), Ok(Some("delete,compact")));
        check(&[(policy, "compact,delete")], policy, Operation::Subtract, Some("delete"), Ok(Some("compact")));
        check(&[], policy, Operation::Append, Some("shred"), Err("list of"));
        check(&[], "retention.ms", Operation::Append, Some("1"), Err("no list"));
        check(&[], "retention.ms", Operation::Set, Some("1"), Ok(Some("1")));
        check(&[], "retention.ms", Operation::Set, None, Err("null"));
        check(&[("retention.ms", "1")], "retention.ms", Operation::Delete, None, Ok(None));
    }
}
