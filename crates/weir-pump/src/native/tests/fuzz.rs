//! Mutated bytes of a broker for all that this lane makes of them beyond reading a message, which weir-wire fuzzes by itself: frames,
//! membership, metadata, SCRAM, and batches from the fetch to what is produced.
//!
//! Of each input is asked: no panic, an end, no more memory than a bound that follows from its length, and batches that any reader
//! takes. All follows from a seed. `WEIR_FUZZ_INPUTS=1000000 cargo test --release -p weir-pump fuzz -- --nocapture` runs as many
//! as one likes.

#[path = "../../../../weir-wire/tests/it/fuzz/mutate.rs"]
mod mutate;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_wire::build::{BatchBuilder, Producer, marker_batch};
use weir_wire::codec::Codec;
use weir_wire::control::Marker;
use weir_wire::messages::*;
use weir_wire::records::Records;
use weir_wire::versioned::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartitions, Versioned as _};
use weir_wire::{ErrorCode, Message, Reader, Text, Writer};

use self::mutate::{Rng, mutate};
use super::batches::Words;
use crate::native::frames::{Buffers, Frames, LARGEST};
use crate::native::group::{Member, Settings, Wish};
use crate::native::judge::{Judge, Judged};
use crate::native::metadata::Metadata;
use crate::native::out::Out;
use crate::native::producer::Place;
use crate::native::scram::{Hash, Scram};
use crate::native::security::Secret;
use crate::native::source::{Next, Source};
use crate::{Board, GroupProtocol, Ledger, Progress, PumpConfig, Route, TopicLimit};

/// What a worker may hold while it takes in one batch: its records decompressed, and as much again while that grows.
const BATCH: u64 = 2 * LARGEST as u64;
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// A stream of frames, in pieces.
    Frames,
    /// An answer to JoinGroup, and what the member says then.
    Join,
    /// An answer to SyncGroup.
    Sync,
    /// An answer to Metadata.
    Metadata,
    /// Both messages of a broker that authenticates; the second begins behind the first 0.
    Scram,
    /// What a fetch brought, judged and put out.
    Batches,
}

impl Target {
    /// The most bytes that may be held for an input of `length` bytes.
    fn bound(self, length: usize) -> u64 {
        let length = length as u64;
        match self {
            // A buffer of twice the frame while it grows, and what the frame begins with.
            Target::Frames => (64 << 10) + 4 * length,
            Target::Join | Target::Sync | Target::Metadata => (8 << 10) + 150 * length,
            Target::Scram => (4 << 10) + 4 * length,
            Target::Batches => BATCH,
        }
    }

    /// Whether the input was taken.
    fn run(self, input: &Bytes) -> bool {
        match self {
            Target::Frames => frames(input),
            Target::Join => join(input),
            Target::Sync => sync(input),
            Target::Metadata => metadata(input),
            Target::Scram => scram(input),
            Target::Batches => batches(input),
        }
    }
}

fn frames(input: &Bytes) -> bool {
    let (mut frames, mut buffers, mut whole) = (Frames::default(), Buffers::default(), 0);
    // A length that is within the limits is believed, up to 8 MiB; the bound is for what is there.
    let claims = |at: usize| input.get(at..at + 4).map_or(0, |l| i32::from_be_bytes(l.try_into().unwrap()));
    let mut at = 0;
    while (4..=1 << 16).contains(&claims(at)) {
        at += 4 + claims(at) as usize;
    }
    if claims(at) > 1 << 16 && claims(at) as usize <= LARGEST {
        return false;
    }
    for piece in input.chunks(1 + input.len() / 3) {
        if frames.feed(piece, &mut buffers, |frame| whole += frame.len()).is_err() {
            break;
        }
    }
    assert!(whole <= input.len());
    whole > 0
}

fn settings() -> Settings {
    Settings {
        group: "g".to_owned(),
        instance: None,
        protocol: GroupProtocol::Cooperative,
        session: Duration::from_secs(10),
    }
}

fn member(now: Instant) -> Member {
    let mut member = Member::new(settings(), now);
    member.subscribe(BTreeSet::from(["t".to_owned(), "u".to_owned()]));
    assert!(matches!(member.wish(now), Ok(Some(Wish::Join(_)))));
    member
}

fn join(input: &Bytes) -> bool {
    let now = Instant::now();
    let mut member = member(now);
    let Ok(response) = JoinGroupResponse::read(&mut Reader::new(input.clone()), 9) else { return false };
    drop(member.joined(&response, now));
    for _ in 0..3 {
        match member.wish(now + Duration::from_secs(5)) {
            Ok(Some(Wish::Partitions(topics))) => member.counted(topics.into_iter().map(|topic| (topic, 3)).collect()),
            Ok(Some(_)) => drop(member.gone(now)),
            Ok(None) | Err(_) => break,
        }
    }
    true
}

fn sync(input: &Bytes) -> bool {
    let now = Instant::now();
    let mut member = member(now);
    let joined = JoinGroupResponse { generation_id: 3, leader: Text::from("other"), ..Default::default() };
    drop(member.joined(&joined, now));
    assert!(matches!(member.wish(now), Ok(Some(Wish::Sync(_)))));
    let Ok(response) = SyncGroupResponse::read(&mut Reader::new(input.clone()), 5) else { return false };
    drop(member.synced(&response, now));
    true
}

fn metadata(input: &Bytes) -> bool {
    let mut metadata = Metadata::default();
    let Ok(response) = MetadataResponse::read(&mut Reader::new(input.clone()), 12) else { return false };
    let counts = metadata.take(&response);
    for (topic, count) in &counts {
        for partition in [-1, 0, count - 1, *count, i32::MAX] {
            let led = metadata.leader(&Place { topic: topic.as_str().into(), partition });
            assert!(led.is_none_or(|(node, _)| metadata.nodes().contains(&node)));
        }
    }
    metadata.keep(&BTreeSet::from(["t".to_owned()]));
    true
}

fn scram(input: &Bytes) -> bool {
    let mut scram = Scram::new(Hash::Sha256, "user", &Secret::from("pencil"), NONCE.to_owned());
    let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    // Many rounds take long and are another test's.
    let many = input[..at].windows(7).any(|digits| digits.iter().all(u8::is_ascii_digit));
    !many && scram.answer(&input[..at]).is_ok() && scram.answer(&input[input.len().min(at + 1)..]).is_ok()
}

fn batches(input: &Bytes) -> bool {
    let name = |suffix: &str| format!("orders{suffix}");
    let route =
        std::sync::Arc::new(Route { source: name(".landing"), accepted: name(""), quarantine: name(".quarantine") });
    let board = Board::new(PumpConfig::new("g", "i"), vec![route.as_ref().clone()]);
    let limit = TopicLimit { bytes: 10_000, compression: None, partitions: 1 };
    board.set_limits(BTreeMap::from([(name(""), Ok(limit)), (name(".quarantine"), Ok(limit))]));
    let now = Instant::now();
    let progress = Progress::new("orders.landing".into(), std::sync::Arc::new(Ledger::default()));
    let mut source = Source::new(&route, 0, progress, 1, now);
    source.seek(0, 1);
    let aborted = || vec![AbortedTransaction { producer_id: 7, first_offset: 2 }];
    source.fetched(input.clone(), aborted(), i64::MAX);
    let (mut out, mut stage, mut actions) = (Out::default(), Words, Vec::new());
    let mut judged = 0;
    // Garbage is given up offset by offset, which takes as long as there are offsets.
    for serial in 0..200 {
        let mut judge = Judge { stage: &mut stage, board: &board, out: &mut out, actions: &mut actions, now };
        // Memory that was used before, as nearly always.
        match source.next(&mut vec![0xA5; 1 << 14]) {
            Next::Empty | Next::Foreign(_) => break,
            Next::Suspect(_) => {
                source.fetch_again(serial);
                source.fetched(input.clone(), aborted(), i64::MAX);
            }
            Next::Damaged { first, last, why } => {
                assert!(first <= last, "{first}..{last} {why}");
                drop(judge.unreadable(&mut source, (first, last), &why, 5).unwrap());
            }
            Next::Batch(mut work) => match judge.run(&mut source, &mut work).unwrap() {
                Judged::More(_) => source.work = Some(work),
                Judged::Done(_) => judged += 1,
                Judged::Stalled { .. } => break,
                Judged::Broken { from, .. } => {
                    let last = work.batch.last_offset();
                    if from <= last {
                        drop(judge.unreadable(&mut source, (from, last), "broken", 5).unwrap());
                    }
                }
            },
        }
    }
    out.release(true, |place, batch| {
        // What is sent must be what every broker takes.
        batch.verify_crc().unwrap_or_else(|error| {
            // A batch that goes on whole has had its checksum compared.
            panic!("{place:?}: {error}")
        });
        assert_eq!(i64::from(batch.count()), i64::from(batch.last_offset_delta()) + 1, "{place:?}");
        Records::read(&batch, LARGEST).unwrap().check().unwrap();
    })
    .unwrap();
    judged > 0
}

fn written<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.write(&mut writer, version).unwrap();
    writer.into_bytes().unwrap()
}

/// Valid inputs.
fn corpus() -> BTreeMap<Target, Vec<Bytes>> {
    let topics = |names: &[&str]| -> Vec<TopicPartitions> {
        names.iter().map(|name| TopicPartitions { topic: Text::from(*name), partitions: vec![0, 1, 2] }).collect()
    };
    let assignment = ConsumerProtocolAssignment { assigned_partitions: topics(&["t", "u"]), user_data: None };
    let assignment = assignment.encode(0).unwrap();
    let members = (0..3).map(|member| JoinGroupResponseMember {
        member_id: Text::from(format!("m-{member}")),
        metadata: ConsumerProtocolSubscription {
            topics: vec![Text::from("t"), Text::from("u")],
            owned_partitions: topics(&["t"]),
            generation_id: member,
            ..Default::default()
        }
        .encode(3)
        .unwrap(),
        ..Default::default()
    });
    let joined = JoinGroupResponse {
        generation_id: 4,
        leader: Text::from("m-0"),
        member_id: Text::from("m-0"),
        members: members.collect(),
        ..Default::default()
    };
    let partitions = (0..3).map(|partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: partition_index,
        replica_nodes: vec![0, 1, 2],
        ..Default::default()
    });
    let topic = |name: &str, error_code| MetadataResponseTopic {
        error_code,
        name: Some(Text::from(name)),
        partitions: partitions.clone().collect(),
        ..Default::default()
    };
    let metadata = MetadataResponse {
        topics: vec![topic("t", ErrorCode::NONE), topic("u", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)],
        ..Default::default()
    };
    let challenge = format!("r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096\0");
    let proved = format!("{challenge}v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    BTreeMap::from([
        (
            Target::Frames,
            vec![Bytes::from_static(b"\0\0\0\x04abcd\0\0\0\x06abcdef"), Bytes::from_static(b"\0\0\x01\0")],
        ),
        (Target::Join, vec![written(&joined, 9)]),
        (Target::Sync, vec![written(&SyncGroupResponse { assignment, ..Default::default() }, 5)]),
        (Target::Metadata, vec![written(&metadata, 12)]),
        (Target::Scram, vec![Bytes::from(proved), Bytes::from(challenge), Bytes::from_static(b"e=other-error\0")]),
        (Target::Batches, stored()),
    ])
}

/// Runs of batches as they lie in a log.
fn stored() -> Vec<Bytes> {
    let mut runs = Vec::new();
    for codec in Codec::ALL {
        let build = |base: i64, values: &[&str], id: Option<i64>| {
            let mut builder = BatchBuilder::new(codec).leader_epoch(4);
            if let Some(id) = id {
                builder = builder.transactional().producer(Producer { id, epoch: 0, base_sequence: 0 });
            }
            for (n, value) in (0..).zip(values) {
                let headers: &[(&[u8], Option<&[u8]>)] = &[(b"own", Some(b"x")), (b"", None)];
                builder.push(1_000 + n, Some(b"key"), Some(value.as_bytes()), headers).unwrap();
            }
            builder.finish(base).unwrap()
        };
        let marker = marker_batch(Marker { commit: true, coordinator_epoch: 0 }, 8, 0, 7, 0, 1).unwrap();
        let long = "ok ".repeat(60);
        let all = [
            build(0, &["ok", "ok"], None),
            build(2, &["ok", "bad"], Some(7)),
            build(4, &["warned", "ok", "bad"], Some(8)),
            marker,
            build(8, &["ok", &long, "bad"], None),
        ];
        runs.extend(all.iter().cloned());
        runs.push(Bytes::from(all.concat()));
    }
    runs
}

/// Makes what was mutated pass the checksum, so that it is the records that lie.
fn repaired(input: &[u8]) -> Bytes {
    let mut bytes = input.to_vec();
    let mut at = 0;
    while let Some(size) = bytes.get(at..).and_then(|rest| weir_wire::batch::Header::peek_size(rest).ok()) {
        let end = at.saturating_add(size);
        let Some(batch) = bytes.get(at..end) else { break };
        let Some(covered) = batch.get(21..) else { break };
        let crc = crc(covered);
        bytes[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
        at = end;
    }
    Bytes::from(bytes)
}

/// CRC-32C bit by bit (RFC 3720, appendix B.4).
pub(super) fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

fn run(inputs: u64, seed: u64) -> BTreeMap<Target, (u64, u64, u64)> {
    let corpus = corpus();
    let targets: Vec<Target> = corpus.keys().copied().collect();
    let mut rng = Rng(seed);
    let mut seen: BTreeMap<Target, (u64, u64, u64)> = BTreeMap::new();
    for number in 0..inputs {
        // Half of it are batches; an authentication takes a thousand times as long as anything else.
        let target = match rng.below(200) {
            0 => Target::Scram,
            1..100 => Target::Batches,
            _ => rng.pick(&targets[..4]),
        };
        let seeds = &corpus[&target];
        let (from, other) = (&seeds[rng.below(seeds.len())], &seeds[rng.below(seeds.len())]);
        let mut input = from.to_vec();
        // Some as they are: what leads on is seldom hit.
        if rng.below(16) > 0 {
            mutate(&mut rng, &mut input, other);
        }
        let input = if target == Target::Batches && rng.below(4) > 0 { repaired(&input) } else { Bytes::from(input) };
        let hex = || input.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut taken = Ok(false);
        let used = allocation_counter::measure(|| {
            taken = catch_unwind(AssertUnwindSafe(|| target.run(&input)));
        });
        let taken = taken.unwrap_or_else(|_| panic!("panic at input {number} of seed {seed}, {target:?}: {}", hex()));
        let (most, bound) = (used.bytes_max, target.bound(input.len()));
        assert!(most <= bound, "{most} of {bound} bytes at input {number} of seed {seed}, {target:?}: {}", hex());
        let counts = seen.entry(target).or_default();
        *counts = (counts.0 + 1, counts.1 + u64::from(taken), counts.2.max(most));
    }
    seen
}

#[test]
fn fuzz_what_a_broker_says() {
    let inputs = std::env::var("WEIR_FUZZ_INPUTS").map_or(20_000, |inputs| inputs.parse().unwrap());
    let seed = std::env::var("WEIR_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let start = Instant::now();
    let seen = run(inputs, seed);
    for (target, (inputs, taken, most)) in &seen {
        println!("| {target:?} | {inputs} | {taken} | {most} |");
        assert!(*taken > 0, "{target:?}");
    }
    println!("{inputs} inputs of seed {seed} in {:.1} s", start.elapsed().as_secs_f64());
}
