//! Both lanes over the same generated input: they leave the same bytes in the same order on both output topics.
//!
//! Everything follows from a seed. `WEIR_DIFFERENTIAL_RECORDS` is how many records there are (15,000 where it is not set) and
//! `WEIR_DIFFERENTIAL_SEED` the seed of the first round; a round has at most 100,000 records and topics of its own.

use std::sync::Arc;
use std::thread;

use weir_kafka::{Lane, Pump, PumpConfig};
use weir_pump::{Counts, Route};
use weir_testkit::wait_for;

use crate::lab::{self, Judge, LONG, Lab, Sent};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: i32 = 4;
/// Records of one round: what the test holds in memory, three times over.
const ROUND: u64 = 100_000;
/// The largest batch is of this many records; the sizes between are drawn evenly by their number of digits.
const LARGEST: u64 = 8_000;

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// From 1 to `most`, small numbers as often as large ones.
    fn size(&mut self, most: u64) -> u64 {
        let bits = self.below(u64::from(64 - most.leading_zeros()) + 1);
        (1 + self.below(1 << bits)).min(most)
    }

    /// Bytes that compress well, or not at all.
    fn bytes(&mut self, length: u64) -> Vec<u8> {
        if self.one_in(2) {
            let byte = b'a' + (self.next() % 26) as u8;
            return vec![byte; length as usize];
        }
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// How the records of a batch are mixed.
#[derive(Clone, Copy)]
enum Mix {
    /// All are accepted as they are: the batch goes on whole.
    Whole,
    /// None is accepted.
    Bad,
    /// One in so many is turned away, and one in so many gains a header.
    Some(u64, u64),
}

fn record(draws: &mut Draws, partition: i32, mix: Mix) -> Sent {
    let word = match mix {
        Mix::Whole => "ok",
        Mix::Bad => "bad",
        Mix::Some(bad, _) if draws.one_in(bad) => "bad",
        Mix::Some(_, warned) if draws.one_in(warned) => "warn",
        Mix::Some(..) => "ok",
    };
    let value = match draws.below(40) {
        0 if word == "ok" => None,
        1 if word == "ok" => Some(Vec::new()),
        _ => {
            let most = if draws.one_in(200) { 20_000 } else { 400 };
            let length = draws.size(most);
            Some([word.as_bytes(), b":", &draws.bytes(length)].concat())
        }
    };
    let key = match draws.below(8) {
        0 => None,
        1 => Some(Vec::new()),
        _ => {
            let length = draws.size(24);
            Some(draws.bytes(length))
        }
    };
    let count = if draws.one_in(3) { draws.size(4) } else { 0 };
    let headers = (0..count).map(|_| {
        let name =
            ["trace", "trace", "", "ключ", "a-name-that-is-long-enough-to-need-two-bytes-of-length-and-then-some-more"];
        let value = match draws.below(4) {
            0 => None,
            1 => Some(Vec::new()),
            _ => {
                let length = draws.size(200);
                Some(draws.bytes(length))
            }
        };
        (name[draws.below(name.len() as u64) as usize].to_owned(), value)
    });
    let headers = headers.collect();
    // From 1970 on, out of order, negative deltas too; 0 and -1 would be taken for "now".
    let timestamp =
        if draws.one_in(50) { 1 + draws.below(1 << 40) as i64 } else { lab::today() - draws.below(5_000) as i64 };
    Sent { partition, timestamp, key, value, headers }
}

/// Fills a partition with batches that follow from `seed` and returns what lies there.
fn fill(lab: &Lab, topic: &str, partition: i32, seed: u64, records: u64) -> Vec<Sent> {
    let draws = &mut Draws(seed ^ (u64::from(partition.unsigned_abs()) << 32));
    let mut all = Vec::new();
    while (all.len() as u64) < records {
        // Some batches in a row with one codec: a producer has one.
        let codec = CODECS[draws.below(CODECS.len() as u64) as usize];
        let mut batches: Vec<Vec<Sent>> = Vec::new();
        for _ in 0..draws.size(12) {
            let left = records - (all.len() + batches.iter().map(Vec::len).sum::<usize>()) as u64;
            let mix = match draws.below(8) {
                0..=2 => Mix::Whole,
                3 => Mix::Bad,
                _ => Mix::Some(draws.size(1_000), draws.size(1_000)),
            };
            let count = draws.size(LARGEST).min(left);
            batches.push((0..count).map(|_| record(draws, partition, mix)).collect());
        }
        batches.retain(|batch| !batch.is_empty());
        // Slow to send, so that what is flushed together is one batch, as far as a batch may grow.
        lab.send_batches(
            topic,
            &batches,
            &[("compression.type", codec), ("linger.ms", "500"), ("batch.size", "4000000")],
        );
        all.extend(batches.into_iter().flatten());
    }
    all
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// One round; what was counted on either lane.
fn round(seed: u64, records: u64) -> Option<Counts> {
    let lab = lab::shared()?;
    let routes = ["rdkafka", "native"].map(|output| {
        let name = |topic: &str| format!("{}.{topic}", lab.name);
        Route {
            source: name("same.landing"),
            accepted: name(output),
            quarantine: format!("{}.quarantine", name(output)),
        }
    });
    // Every fourth round has the time of the append, so that no batch can go on whole.
    let appended = seed.is_multiple_of(4);
    let time = if appended { "LogAppendTime" } else { "CreateTime" };
    lab.create_topic(
        &routes[0].source,
        PARTITIONS,
        &[("message.timestamp.type", time), ("max.message.bytes", "8000000")],
    );
    for topic in routes.iter().flat_map(|route| [&route.accepted, &route.quarantine]) {
        lab.create_topic(topic, PARTITIONS, &[]);
    }
    let share = |partition: i32| records / 4 + u64::from(partition == 0) * (records % 4);
    let sent: Vec<Sent> = thread::scope(|scope| {
        let (lab, source) = (&lab, &routes[0].source);
        let filling: Vec<_> =
            (0..PARTITIONS).map(|p| scope.spawn(move || fill(lab, source, p, seed, share(p)))).collect();
        filling.into_iter().flat_map(|filled| filled.join().unwrap()).collect()
    });
    let arrived: Vec<Sent> = lab.drain(&routes[0].source).into_values().flatten().collect();
    if appended {
        assert_eq!(arrived.len(), sent.len());
    } else {
        assert!(arrived == sent, "seed {seed}: the input is not what was sent");
    }
    let mut counts = Vec::new();
    for (lane, route) in [Lane::Rdkafka, Lane::Native].into_iter().zip(&routes) {
        let cluster = lab.cluster.clone().with_lane(lane);
        let config = PumpConfig { group: format!("{}.{lane}", lab.name), ..lab.config("a") };
        let pump = Pump::start(&cluster, config, vec![route.clone()], Arc::new(|_| Box::new(Judge))).unwrap();
        wait_for(LONG, "the pump to catch up", || {
            assert_eq!(pump.failure(), None);
            let lag = lab.admin.lag(&format!("{}.{lane}", lab.name), &route.source);
            lag.is_ok_and(|lag| lag.len() == PARTITIONS as usize && lag.values().sum::<u64>() == 0)
        });
        pump.stop(LONG).unwrap();
        counts.push(pump.ledger().topic(&route.source));
        lab.check(route, &arrived);
    }
    assert_eq!(counts[0], counts[1], "seed {seed}");
    // Both are as expected; here is the comparison itself, so that it rests on nothing but what the lanes left.
    for topics in [[&routes[0].accepted, &routes[1].accepted], [&routes[0].quarantine, &routes[1].quarantine]] {
        lab::same(topics[1], &lab.drain(topics[1]), &lab.drain(topics[0]));
    }
    for topic in routes.iter().flat_map(|route| [&route.source, &route.accepted, &route.quarantine]) {
        // Where it cannot be deleted it only takes room.
        drop(lab.admin.delete_topic(topic));
    }
    Some(counts[1])
}

/// `WEIR_TEST_BROKER=apache WEIR_DIFFERENTIAL_RECORDS=1000000 cargo test -p weir-kafka --test it differential -- --nocapture`
#[test]
fn both_lanes_leave_the_same_bytes_of_generated_input() {
    let (mut left, mut seed) = (setting("WEIR_DIFFERENTIAL_RECORDS", 15_000), setting("WEIR_DIFFERENTIAL_SEED", 1));
    let (mut accepted, mut warned, mut quarantined) = (0, 0, 0);
    while left > 0 {
        let records = left.min(ROUND);
        let Some(counts) = round(seed, records) else { return };
        assert_eq!(counts.accepted + counts.quarantined, records, "seed {seed}: {counts:?}");
        (accepted, warned, quarantined) =
            (accepted + counts.accepted, warned + counts.warned, quarantined + counts.quarantined);
        eprintln!("seed {seed}: accepted={accepted} of them warned={warned} quarantined={quarantined} different=0");
        left -= records;
        seed += 1;
    }
    assert!(accepted > 0 && warned > 0 && quarantined > 0);
}
