//! One ledger and one oracle for every test that sends a stream through something: what was sent, what must come of each record, and whether it did.
//!
//! Every property of a record is a pure function of its id, so nothing but the ids travels, in a header, and the oracle
//! can say what a record must look like without remembering it. This is plain data: who produces and who reads is the test's choice.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// The header that carries the [`Id`] through the stream.
pub const ID_HEADER: &str = "test.id";
/// How many breaks are listed; all are counted.
const LISTED: usize = 50;

/// Which record this is: the `seq`-th that run `run` sends to `partition`, counted from 0. Written `run/partition/seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The run, to tell the records of one test from those another left behind.
    pub run: u32,
    /// The partition of the input topic.
    pub partition: i32,
    /// The place among the records of this partition.
    pub seq: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.run, self.partition, self.seq)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Id, ()> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(());
        Ok(Id {
            run: part()?.parse().map_err(drop)?,
            partition: part()?.parse().map_err(drop)?,
            seq: part()?.parse().map_err(drop)?,
        })
    }
}

/// What must come of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It reaches the consumers as it is.
    Accepted,
    /// It lies in quarantine with this one violation code.
    Quarantined(&'a str),
}

/// A seeded stream: the same numbers give the same stream, whoever asks and in whatever order.
#[derive(Clone, Debug)]
pub struct Generator {
    /// See [`Id::run`].
    pub run: u32,
    /// Two seeds give two streams.
    pub seed: u64,
    /// Partitions of the input topic.
    pub partitions: i32,
    /// Records per partition.
    pub records: u64,
    /// Distinct keys per partition.
    pub keys: u64,
    /// How many records of a thousand break the contract.
    pub broken: u64,
    /// The ways to break it, as violation codes; each is equally likely.
    pub codes: Vec<String>,
}

impl Generator {
    /// All ids, in the order in which they are to be sent: the partitions take turns.
    pub fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        let (run, partitions) = (self.run, self.partitions);
        (0..self.records).flat_map(move |seq| (0..partitions).map(move |partition| Id { run, partition, seq }))
    }

    /// A random number for property number `stream` of a record.
    pub fn draw(&self, id: Id, stream: u64) -> u64 {
        [u64::from(id.run), u64::from(id.partition.cast_unsigned()), id.seq, stream]
            .into_iter()
            .fold(self.seed, |state, n| mix(state ^ mix(n)))
    }

    /// The key of a record. A key stays in one partition.
    pub fn key(&self, id: Id) -> String {
        format!("{}-{}", id.partition, self.draw(id, u64::MAX) % self.keys.max(1))
    }

    /// What must come of a record.
    pub fn verdict(&self, id: Id) -> Verdict<'_> {
        if self.codes.is_empty() || self.draw(id, u64::MAX - 1) % 1000 >= self.broken {
            return Verdict::Accepted;
        }
        let pick = self.draw(id, u64::MAX - 2) % self.codes.len() as u64;
        self.codes
            .get(usize::try_from(pick).unwrap_or_default())
            .map_or(Verdict::Accepted, |code| Verdict::Quarantined(code))
    }

    fn knows(&self, id: Id) -> bool {
        id.run == self.run && (0..self.partitions).contains(&id.partition) && id.seq < self.records
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): one step and its finalizer.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Headers of a record, in order; names may repeat.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// A record without its place: what a producer sends and what must arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Milliseconds since 1970, set by the producer.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Headers,
}

/// A record that an independent `read_committed` reader found in an output topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Partition of the output topic.
    pub partition: i32,
    /// Offset in the output topic.
    pub offset: i64,
    /// What was found there.
    pub record: Record,
}

/// The broker's acknowledgement of a record of the input topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The record.
    pub id: Id,
    /// Its offset in partition `id.partition`.
    pub offset: i64,
}

/// An output topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The product topic.
    Accepted,
    /// The quarantine topic.
    Quarantine,
}

/// The place of a record in an output topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub output: Output,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = match self.output {
            Output::Accepted => "accepted",
            Output::Quarantine => "quarantine",
        };
        write!(f, "{output}:{}@{}", self.partition, self.offset)
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// Conservation: acknowledged and nowhere in the outputs.
    #[error("{0} was acknowledged and is lost")]
    Missing(Id),
    /// Conservation: there more than once, in one output or in both.
    #[error("{0} is at {1} and was at {2} already")]
    Duplicate(Id, Place, Place),
    /// Conservation: without an id, or with one that this run did not send.
    #[error("the record at {0} was never sent")]
    Unknown(Place),
    /// The producer wrote it twice, so the test proves nothing.
    #[error("{0} was acknowledged twice, by offsets {1} and {2}")]
    AckedTwice(Id, i64, i64),
    /// The reader gave an offset that is not above the one before, so the test proves nothing.
    #[error("the reader gave {0} after offset {1}")]
    ReadTwice(Place, i64),
    /// Verdict: in the wrong output, or in quarantine for another reason.
    #[error("{id} at {place} should be {expected} and is {found}")]
    Verdict {
        /// The record.
        id: Id,
        /// Where it is.
        place: Place,
        /// What the generator says.
        expected: String,
        /// What happened.
        found: String,
    },
    /// Order: after a later record of its input partition.
    #[error("{0} at {1} comes after seq {2}")]
    OutOfOrder(Id, Place, u64),
    /// Fidelity: not as it was sent.
    #[error("{0} at {1} has another {2} than it was sent with")]
    Changed(Id, Place, &'static str),
    /// Fidelity: a header of the quarantine does not say what it must.
    #[error("{id} at {place}: header {header} should say {expected} and says {found}")]
    Unexplained {
        /// The record.
        id: Id,
        /// Where it is.
        place: Place,
        /// The header.
        header: &'static str,
        /// What it must say.
        expected: String,
        /// What it says.
        found: String,
    },
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records the broker acknowledged to the producer.
    pub acked: u64,
    /// Distinct records in the product topic.
    pub accepted: u64,
    /// Distinct records in the quarantine topic.
    pub quarantined: u64,
    /// Records in an output whose acknowledgement did not reach the producer: legal, at most once each.
    pub unacked: u64,
    /// Surplus copies.
    pub duplicates: u64,
    /// Records after a later one of their input partition.
    pub out_of_order: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { acked, accepted, quarantined, unacked, duplicates, out_of_order } = self;
        write!(
            f,
            "acked={acked} unacked={unacked} accepted={accepted} quarantined={quarantined} duplicates={duplicates} out_of_order={out_of_order}"
        )
    }
}

/// A run that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{total} breaks, {summary}{}", .breaks.iter().map(|each| format!("\n  {each}")).collect::<String>())]
pub struct Broken {
    /// The counts.
    pub summary: Summary,
    /// The first breaks, in the order in which they were found.
    pub breaks: Vec<Break>,
    /// How many breaks there were in all.
    pub total: u64,
}

/// What a run sends and what must come of it.
pub struct Ledger<'a> {
    generator: &'a Generator,
    topic: &'a str,
    make: &'a dyn Fn(Id, Verdict<'_>) -> Record,
}

impl<'a> Ledger<'a> {
    /// The records of `generator` go to `topic`; `make` turns an id and what must come of it into the record, and must be a pure function.
    pub fn new(generator: &'a Generator, topic: &'a str, make: &'a dyn Fn(Id, Verdict<'_>) -> Record) -> Ledger<'a> {
        Ledger { generator, topic, make }
    }

    /// The record to send for an id, with the id in its last header.
    pub fn record(&self, id: Id) -> Record {
        let mut record = (self.make)(id, self.generator.verdict(id));
        record.headers.push((ID_HEADER.to_owned(), Some(id.to_string().into_bytes())));
        record
    }

    /// Compares what was sent with what arrived. Each output comes partition by partition, or the partitions mixed, but each in the order of its offsets.
    ///
    /// Held are conservation (every acknowledged record in exactly one output, once), verdict, order per input partition and so per
    /// key, and fidelity: key, value, timestamp and headers as sent, and in quarantine the headers that say where it came from and why.
    pub fn compare(
        &self,
        acked: impl IntoIterator<Item = Acked>,
        accepted: impl IntoIterator<Item = Received>,
        quarantined: impl IntoIterator<Item = Received>,
    ) -> Result<Summary, Broken> {
        let mut audit = Audit {
            ledger: self,
            acked: HashMap::new(),
            seen: HashMap::new(),
            broken: Broken { summary: Summary::default(), breaks: Vec::new(), total: 0 },
        };
        for Acked { id, offset } in acked {
            if let Some(before) = audit.acked.insert(id, offset) {
                audit.note(Break::AckedTwice(id, before, offset));
            }
        }
        audit.read(Output::Accepted, accepted);
        audit.read(Output::Quarantine, quarantined);
        audit.close()
    }
}

struct Audit<'a> {
    ledger: &'a Ledger<'a>,
    acked: HashMap<Id, i64>,
    seen: HashMap<Id, Place>,
    broken: Broken,
}

impl Audit<'_> {
    fn note(&mut self, found: Break) {
        self.broken.total += 1;
        if self.broken.breaks.len() < LISTED {
            self.broken.breaks.push(found);
        }
    }

    fn read(&mut self, output: Output, records: impl IntoIterator<Item = Received>) {
        let mut offsets = HashMap::new();
        let mut last = HashMap::new();
        for Received { partition, offset, record } in records {
            let place = Place { output, partition, offset };
            if let Some(before) = offsets.insert(partition, offset).filter(|before| *before >= offset) {
                self.note(Break::ReadTwice(place, before));
            }
            let Some(id) = id_of(&record).filter(|id| self.ledger.generator.knows(*id)) else {
                self.note(Break::Unknown(place));
                continue;
            };
            if let Some(before) = self.seen.insert(id, place) {
                self.broken.summary.duplicates += 1;
                self.note(Break::Duplicate(id, place, before));
                continue;
            }
            match output {
                Output::Accepted => self.broken.summary.accepted += 1,
                Output::Quarantine => self.broken.summary.quarantined += 1,
            }
            let high = last.entry(id.partition).or_insert(id.seq);
            if id.seq < *high {
                self.broken.summary.out_of_order += 1;
                self.note(Break::OutOfOrder(id, place, *high));
            } else {
                *high = id.seq;
            }
            self.judge(id, place, &record);
            self.fidelity(id, place, &record);
        }
    }

    fn judge(&mut self, id: Id, place: Place, record: &Record) {
        let expected = match self.ledger.generator.verdict(id) {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Quarantined(code) => format!("quarantined for {code}"),
        };
        let found = match place.output {
            Output::Accepted => "accepted".to_owned(),
            Output::Quarantine => format!("quarantined for {}", codes(record).join(" ")),
        };
        if expected != found {
            self.note(Break::Verdict { id, place, expected, found });
        }
    }

    fn fidelity(&mut self, id: Id, place: Place, record: &Record) {
        let sent = self.ledger.record(id);
        // Only a quarantined record gains headers; ours stand apart from those of the producer, whose order must not change.
        let ours = |name: &str| {
            place.output == Output::Quarantine && (name.starts_with("weir.") || name.starts_with("__connect.errors."))
        };
        let kept = record.headers.iter().filter(|(name, _)| !ours(name));
        let changed = [
            ("partition", id.partition != place.partition),
            ("timestamp", sent.timestamp != record.timestamp),
            ("key", sent.key != record.key),
            ("value", sent.value != record.value),
            ("set of headers", !sent.headers.iter().eq(kept)),
        ];
        for (what, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            self.note(Break::Changed(id, place, what));
        }
        if place.output == Output::Quarantine {
            self.explained(id, place, record);
        }
    }

    fn explained(&mut self, id: Id, place: Place, record: &Record) {
        let (topic, partition) = (self.ledger.topic.to_owned(), id.partition.to_string());
        // A record whose acknowledgement was lost has an offset that nobody told us.
        let offset = self.acked.get(&id).map(i64::to_string);
        let expected = [
            ("weir.source.topic", Some(&topic)),
            ("weir.source.partition", Some(&partition)),
            ("weir.source.offset", offset.as_ref()),
            ("__connect.errors.topic", Some(&topic)),
            ("__connect.errors.partition", Some(&partition)),
            ("__connect.errors.offset", offset.as_ref()),
            ("weir.contract", None),
        ];
        for (header, expected) in expected {
            let found = text(record, header);
            if found.is_none() || expected.is_some_and(|expected| found.as_deref() != Some(expected.as_str())) {
                let expected = expected.map_or_else(|| "something".to_owned(), ToString::to_string);
                self.note(Break::Unexplained {
                    id,
                    place,
                    header,
                    expected,
                    found: found.unwrap_or_else(|| "nothing".to_owned()),
                });
            }
        }
    }

    fn close(mut self) -> Result<Summary, Broken> {
        let mut missing: Vec<Id> = self.acked.keys().filter(|id| !self.seen.contains_key(id)).copied().collect();
        missing.sort_unstable();
        for id in missing {
            self.note(Break::Missing(id));
        }
        let summary = &mut self.broken.summary;
        summary.acked = self.acked.len() as u64;
        summary.unacked = self.seen.keys().filter(|id| !self.acked.contains_key(id)).count() as u64;
        if self.broken.total == 0 { Ok(self.broken.summary) } else { Err(self.broken) }
    }
}

/// The last header of that name, as Kafka's `lastHeader` has it.
fn text(record: &Record, header: &str) -> Option<String> {
    let (_, value) = record.headers.iter().rev().find(|(name, _)| name == header)?;
    Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
}

fn id_of(record: &Record) -> Option<Id> {
    text(record, ID_HEADER)?.parse().ok()
}

/// The distinct codes of `weir.violations`, sorted.
fn codes(record: &Record) -> Vec<String> {
    let violations: serde_json::Value =
        text(record, "weir.violations").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut codes: Vec<String> = violations["violations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|violation| violation.get("code")?.as_str().map(str::to_owned))
        .collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
