//! What became of quarantined events when they were replayed: one marker per event in the compacted topic
//! [`TOPIC`], written in the transaction that writes the event to its product topic.
//!
//! So an event is on the product topic exactly where its marker says so, whatever crashed in between, and a replay
//! that reads the markers first sends nothing twice. Quarantine itself is never rewritten: an entry keeps its place,
//! its bytes and its reasons.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_kafka::{ReadOptions, Record, Start};

use crate::Failure;
use crate::kafka::Kafka;

/// The topic of the markers: compacted, one partition.
pub const TOPIC: &str = "weir.replays";
/// The form of a marker's JSON.
const FORM: u32 = 1;
/// No transaction of a replay lasts longer. One that was killed holds up readers of the product topic for so long,
/// unless the next replay ends it before.
pub const TRANSACTION: Duration = Duration::from_secs(30);

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It kept the contract and is on the product topic.
    Replayed,
    /// It broke the contract again and stays.
    Failed,
}

/// A marker, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The form of this JSON.
    pub form: u32,
    /// What became of the event.
    pub outcome: Outcome,
    /// How often it was replayed.
    pub attempt: u32,
    /// The contract that judged it last, as `id@version`.
    pub contract: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// Which event: offsets start again where a topic is deleted and made anew, and its entries are other ones.
    pub fingerprint: String,
}

impl Marker {
    /// A marker of this form.
    pub fn new(outcome: Outcome, attempt: u32, contract: String, at: i64, record: &Record) -> Marker {
        Marker { form: FORM, outcome, attempt, contract, at, fingerprint: fingerprint(record) }
    }
}

/// The markers of one quarantine topic.
#[derive(Debug, Default)]
pub struct Markers {
    entries: HashMap<(i32, i64), Marker>,
}

impl Markers {
    /// Reads what has been committed for `quarantine`. Nothing where there is no marker topic yet.
    ///
    /// # Errors
    /// [`Failure`] of the cluster, or [`Failure::Other`] when another transaction does not end.
    pub fn read(kafka: &Kafka, quarantine: &str) -> Result<Markers, Failure> {
        let mut markers = Markers::default();
        if kafka.admin().partitions(TOPIC).map_err(|e| kafka.failure(e))?.is_none() {
            return Ok(markers);
        }
        read_settled(kafka, &mut |record| {
            markers.take(quarantine, &record);
            Ok(())
        })?;
        Ok(markers)
    }

    /// Takes a record of the marker topic; the newest of an entry counts.
    fn take(&mut self, quarantine: &str, record: &Record) {
        let Some((topic, partition, offset)) = record.key.as_deref().and_then(position) else { return };
        if topic != quarantine {
            return;
        }
        match record.value.as_deref().map(serde_json::from_slice::<Marker>) {
            Some(Ok(marker)) => drop(self.entries.insert((partition, offset), marker)),
            Some(Err(error)) => tracing::warn!(partition, offset, %error, "a replay marker cannot be read"),
            None => drop(self.entries.remove(&(partition, offset))),
        }
    }

    /// The marker of this entry, if it is of this very event.
    pub fn of(&self, record: &Record) -> Option<&Marker> {
        let marker = self.entries.get(&(record.partition, record.offset))?;
        (marker.fingerprint == fingerprint(record)).then_some(marker)
    }
}

/// The keys of all markers of these quarantine topics, by topic; all are read in one go, as a reader of its own for each takes longer
/// than making the topic. Nothing where there is no marker topic yet.
///
/// # Errors
/// As [`Markers::read`].
pub fn keys(kafka: &Kafka, quarantines: &BTreeSet<&str>) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if quarantines.is_empty() || kafka.admin().partitions(TOPIC).map_err(|e| kafka.failure(e))?.is_none() {
        return Ok(keys);
    }
    read_settled(kafka, &mut |record| {
        let Some((topic, partition, offset)) = record.key.as_deref().and_then(position) else { return Ok(()) };
        if quarantines.contains(topic) {
            let known = keys.entry(topic.to_owned()).or_default();
            let key = key(topic, partition, offset);
            if record.value.is_some() {
                known.insert(key)
            } else {
                known.remove(&key)
            };
        }
        Ok(())
    })?;
    Ok(keys)
}

/// The key of an entry's marker.
pub fn key(quarantine: &str, partition: i32, offset: i64) -> String {
    format!("{quarantine}/{partition}/{offset}")
}

fn position(key: &[u8]) -> Option<(&str, i32, i64)> {
    let mut parts = std::str::from_utf8(key).ok()?.rsplitn(3, '/');
    let offset = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    Some((parts.next()?, partition, offset))
}

/// Shows all committed markers, up to the last record of the topic.
///
/// The end of a read_committed reader is the last stable offset, which the open transaction of a replay of some other
/// topic holds back: a committed marker of ours may lie behind it. So the end is asked for as an uncommitted reader
/// sees it, and such a transaction is waited for.
fn read_settled(kafka: &Kafka, visit: &mut impl FnMut(Record) -> Result<(), Failure>) -> Result<(), Failure> {
    let end = ReadOptions { start: Start::End, uncommitted: true, ..ReadOptions::default() };
    let ends = kafka.reader(TOPIC, end)?.positions();
    let deadline = Instant::now() + TRANSACTION + Duration::from_secs(20);
    let mut reader = kafka.read_all(TOPIC, &mut *visit)?;
    while ends.iter().any(|(partition, end)| reader.positions().get(partition).is_none_or(|position| position < end)) {
        if Instant::now() >= deadline {
            return Err(Failure::other(format!(
                "topic {TOPIC} has a transaction that does not end; see that no other replay hangs, then run this again"
            )));
        }
        std::thread::sleep(Duration::from_millis(100));
        reader.extend().map_err(|e| kafka.failure(e))?;
        kafka.read_on(&mut reader, visit)?;
    }
    Ok(())
}

/// FNV-1a over all that makes the event, 64 bits.
fn fingerprint(record: &Record) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes.unwrap_or_default()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    add(record.timestamp.millis().map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
    add(record.key.as_deref());
    add(record.value.as_deref());
    for (name, value) in &record.headers {
        add(Some(name.as_bytes()));
        add(value.as_deref());
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_pump::Timestamp;

    fn record(partition: i32, offset: i64, key: &str, value: Option<&str>) -> Record {
        Record {
            partition,
            offset,
            timestamp: Timestamp::Create(1),
            key: Some(key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    #[test]
    fn the_newest_marker_of_an_entry_counts_and_only_for_the_same_event() {
        let entry = record(2, 7, "k", Some("event"));
        let mark = |outcome, attempt| {
            serde_json::to_string(&Marker::new(outcome, attempt, "c@1".to_owned(), 5, &entry)).unwrap()
        };
        let mut markers = Markers::default();
        let key = key("a/b.quarantine", 2, 7);
        markers.take("a/b.quarantine", &record(0, 0, &key, Some(&mark(Outcome::Failed, 1))));
        markers.take("a/b.quarantine", &record(0, 1, &key, Some(&mark(Outcome::Replayed, 2))));
        markers.take("a/b.quarantine", &record(0, 2, "other.quarantine/2/7", Some(&mark(Outcome::Failed, 9))));
        markers.take("a/b.quarantine", &record(0, 3, "no position", Some("x")));
        let found = markers.of(&entry).unwrap();
        assert_eq!((found.outcome, found.attempt), (Outcome::Replayed, 2));
        assert_eq!(markers.of(&record(2, 7, "k", Some("another event"))), None);
        assert_eq!(markers.of(&record(2, 7, "k", None)), None);
        assert_eq!(markers.of(&record(2, 8, "k", Some("event"))), None);
        markers.take("a/b.quarantine", &record(0, 4, &key, None));
        assert_eq!(markers.of(&entry), None);
    }

    #[test]
    fn the_fingerprint_tells_fields_apart() {
        let mut first = record(0, 0, "ab", Some("c"));
        let second = record(0, 0, "a", Some("bc"));
        assert_ne!(fingerprint(&first), fingerprint(&second));
        let before = fingerprint(&first);
        first.headers.push(("h".to_owned(), None));
        let null = fingerprint(&first);
        first.headers[0].1 = Some(Vec::new());
        assert!(before != null && null != fingerprint(&first));
    }
}
