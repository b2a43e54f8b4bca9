//! A worker against a broker that lies: lengths, counts, bombs. It neither panics nor gets stuck, and never holds more memory than
//! docs/native-lane.md says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_testkit::wait_for;
use weir_wire::batch::{Batch, HEADER_SIZE};
use weir_wire::build::BatchBuilder;
use weir_wire::codec::Codec;
use weir_wire::header::write_response_header;
use weir_wire::messages::*;
use weir_wire::records::Records;
use weir_wire::{ApiKey, Message, Reader, Text, Writer, api, read_request_header};

use super::batches::Words;
use super::fuzz::crc;
use crate::native::frames::LARGEST;
use crate::native::security::Cluster;
use crate::{Board, PumpConfig, Route, TopicLimit, WorkerState};

const LONG: Duration = Duration::from_secs(120);
/// What the page promises: records of one batch, once more while they grow, and what waits.
const BOUND: u64 = 2 * LARGEST as u64 + (64 << 20);
/// Offsets that each step of the script stands for.
const STEP: i64 = 10;

/// What a fetch at the offset of a step brings.
pub(super) enum Step {
    /// These batches, as often as they are asked for.
    Records(Bytes),
    /// Once this in place of the answer's body, then good records.
    Body(Vec<u8>),
    /// Once this in place of the whole frame, and the end of the connection, then good records.
    Frame(Vec<u8>),
}

/// One broker, with one partition of each topic.
#[derive(Default)]
pub(super) struct Broker {
    pub(super) port: u16,
    pub(super) steps: Vec<(&'static str, Step)>,
    pub(super) served: Mutex<BTreeMap<usize, u32>>,
    pub(super) produced: Mutex<BTreeMap<String, Vec<Bytes>>>,
    pub(super) committed: Mutex<i64>,
    /// The epoch that the group's position is told with, and then the last committed one.
    pub(super) epoch: Mutex<i32>,
    /// What was committed: positions and epochs.
    pub(super) commits: Mutex<Vec<(i64, i32)>>,
    /// How transactions ended.
    pub(super) ends: Mutex<Vec<bool>>,
    /// The highest version of Fetch, where it is not the latest.
    pub(super) fetch: Option<i16>,
    /// Where there is one, it answers fetches in place of the steps.
    pub(super) log: Option<Log>,
}

/// Answers the fetch of a partition.
type Log = Box<dyn Fn(&FetchPartition) -> FetchPartitionData + Send + Sync>;

impl Broker {
    pub(super) fn start(broker: Broker) -> Arc<Broker> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Arc::new(Broker { port: listener.local_addr().unwrap().port(), ..broker });
        let serving = Arc::clone(&broker);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let broker = Arc::clone(&serving);
                thread::spawn(move || drop(broker.talk(stream)));
            }
        });
        broker
    }

    fn end(&self) -> i64 {
        self.steps.len() as i64 * STEP
    }

    fn talk(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let mut frame = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut frame)?;
            let mut reader = Reader::new(Bytes::from(frame));
            let header = read_request_header(&mut reader).unwrap();
            let key = ApiKey::try_from(header.api_key).unwrap();
            let request = api::Request::read(key, &mut reader, header.api_version).unwrap();
            let mut writer = Writer::new();
            write_response_header(header.correlation_id, &mut writer, key, header.api_version);
            match self.answer(request, &mut writer, header.api_version) {
                Some(raw) => {
                    stream.write_all(&raw)?;
                    return Ok(());
                }
                None => {
                    let body = writer.into_bytes().unwrap();
                    stream.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes())?;
                    stream.write_all(&body)?;
                }
            }
        }
    }

    /// Writes the answer, or says what to write in place of the whole frame.
    fn answer(&self, request: api::Request, writer: &mut Writer, version: i16) -> Option<Vec<u8>> {
        let host = || Text::from_static("127.0.0.1");
        let port = i32::from(self.port);
        match request {
            api::Request::ApiVersions(_) => {
                let of = |key: &ApiKey| ApiVersion {
                    api_key: key.number(),
                    min_version: *key.versions().start(),
                    max_version: self.fetch.filter(|_| *key == ApiKey::Fetch).unwrap_or(*key.versions().end()),
                };
                let feature = FinalizedFeatureKey {
                    name: Text::from_static("transaction.version"),
                    max_version_level: 2,
                    min_version_level: 2,
                };
                let answer = ApiVersionsResponse {
                    api_keys: ApiKey::ALL.iter().map(of).collect(),
                    finalized_features_epoch: 0,
                    finalized_features: vec![feature],
                    ..Default::default()
                };
                write(&answer, writer, version);
            }
            api::Request::Metadata(asked) => {
                let topic = |topic: MetadataRequestTopic| MetadataResponseTopic {
                    name: topic.name,
                    partitions: vec![MetadataResponsePartition { leader_id: 1, leader_epoch: 4, ..Default::default() }],
                    ..Default::default()
                };
                let broker = MetadataResponseBroker { node_id: 1, host: host(), port, ..Default::default() };
                let topics = asked.topics.unwrap_or_default().into_iter().map(topic).collect();
                write(&MetadataResponse { brokers: vec![broker], topics, ..Default::default() }, writer, version);
            }
            api::Request::FindCoordinator(_) => {
                write(
                    &FindCoordinatorResponse { node_id: 1, host: host(), port, ..Default::default() },
                    writer,
                    version,
                );
            }
            api::Request::JoinGroup(asked) => {
                let member = JoinGroupResponseMember {
                    member_id: Text::from_static("m"),
                    metadata: asked.protocols[0].metadata.clone(),
                    ..Default::default()
                };
                let answer = JoinGroupResponse {
                    generation_id: 1,
                    leader: Text::from_static("m"),
                    member_id: Text::from_static("m"),
                    protocol_name: Some(asked.protocols[0].name.clone()),
                    members: vec![member],
                    ..Default::default()
                };
                write(&answer, writer, version);
            }
            api::Request::SyncGroup(asked) => {
                let assignment = asked.assignments.first().map(|first| first.assignment.clone()).unwrap_or_default();
                write(&SyncGroupResponse { assignment, ..Default::default() }, writer, version);
            }
            api::Request::Heartbeat(_) => write(&HeartbeatResponse::default(), writer, version),
            api::Request::LeaveGroup(_) => write(&LeaveGroupResponse::default(), writer, version),
            api::Request::OffsetFetch(asked) => {
                let group = |group: OffsetFetchRequestGroup| OffsetFetchResponseGroup {
                    group_id: group.group_id,
                    topics: (group.topics.unwrap_or_default().into_iter())
                        .map(|topic| OffsetFetchResponseTopics {
                            name: topic.name,
                            partitions: vec![OffsetFetchResponsePartitions {
                                committed_offset: *self.committed.lock().unwrap(),
                                committed_leader_epoch: *self.epoch.lock().unwrap(),
                                ..Default::default()
                            }],
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                };
                let groups = asked.groups.into_iter().map(group).collect();
                write(&OffsetFetchResponse { groups, ..Default::default() }, writer, version);
            }
            api::Request::InitProducerId(_) => {
                write(
                    &InitProducerIdResponse { producer_id: 1, producer_epoch: 1, ..Default::default() },
                    writer,
                    version,
                );
            }
            api::Request::TxnOffsetCommit(asked) => {
                let partition = &asked.topics[0].partitions[0];
                *self.committed.lock().unwrap() = partition.committed_offset;
                *self.epoch.lock().unwrap() = partition.committed_leader_epoch;
                self.commits.lock().unwrap().push((partition.committed_offset, partition.committed_leader_epoch));
                let topic = TxnOffsetCommitResponseTopic {
                    name: asked.topics[0].name.clone(),
                    partitions: vec![TxnOffsetCommitResponsePartition::default()],
                };
                write(&TxnOffsetCommitResponse { topics: vec![topic], ..Default::default() }, writer, version);
            }
            api::Request::EndTxn(asked) => {
                self.ends.lock().unwrap().push(asked.committed);
                let (producer_id, producer_epoch) = (asked.producer_id, asked.producer_epoch + 1);
                write(&EndTxnResponse { producer_id, producer_epoch, ..Default::default() }, writer, version);
            }
            api::Request::Produce(asked) => {
                let responses = asked.topic_data.into_iter().map(|topic| {
                    let data = topic.partition_data.into_iter().next().unwrap();
                    let records = data.records.unwrap();
                    self.produced.lock().unwrap().entry(topic.name.as_str().to_owned()).or_default().push(records);
                    TopicProduceResponse {
                        name: topic.name,
                        partition_responses: vec![PartitionProduceResponse::default()],
                        ..Default::default()
                    }
                });
                write(&ProduceResponse { responses: responses.collect(), ..Default::default() }, writer, version);
            }
            api::Request::ListOffsets(asked) => {
                let partitions = vec![ListOffsetsPartitionResponse { offset: 0, ..Default::default() }];
                let topic = ListOffsetsTopicResponse { name: asked.topics[0].name.clone(), partitions };
                write(&ListOffsetsResponse { topics: vec![topic], ..Default::default() }, writer, version);
            }
            api::Request::Fetch(asked) => return self.fetch(&asked, writer, version),
            other => panic!("{other:?}"),
        }
        None
    }

    fn fetch(&self, asked: &FetchRequest, writer: &mut Writer, version: i16) -> Option<Vec<u8>> {
        if let Some(log) = &self.log {
            let partitions = vec![log(&asked.topics[0].partitions[0])];
            let topic = asked.topics[0].topic.clone();
            let responses = vec![FetchableTopicResponse { topic, partitions, ..Default::default() }];
            write(&FetchResponse { responses, ..Default::default() }, writer, version);
            return None;
        }
        let at = asked.topics[0].partitions[0].fetch_offset;
        let index = usize::try_from(at / STEP).unwrap();
        let mut records = Bytes::new();
        if let Some((_, step)) = self.steps.get(index) {
            let times = {
                let mut served = self.served.lock().unwrap();
                let times = served.entry(index).or_default();
                *times += 1;
                *times
            };
            match step {
                _ if at % STEP != 0 => records = good(at, (STEP - at % STEP) as usize),
                Step::Records(bytes) => records = bytes.clone(),
                Step::Body(body) if times == 1 => {
                    writer.slice(body);
                    return None;
                }
                Step::Frame(frame) if times == 1 => return Some(frame.clone()),
                Step::Body(_) | Step::Frame(_) => records = good(at, STEP as usize),
            }
        } else {
            thread::park_timeout(Duration::from_millis(20));
        }
        let data = FetchPartitionData {
            high_watermark: i64::MAX,
            last_stable_offset: i64::MAX,
            // More than there can be.
            aborted_transactions: Some(vec![AbortedTransaction { producer_id: 9, first_offset: 0 }; 1_000]),
            records: Some(records),
            ..Default::default()
        };
        let topic = FetchableTopicResponse {
            topic: asked.topics[0].topic.clone(),
            partitions: vec![data],
            ..Default::default()
        };
        write(&FetchResponse { responses: vec![topic], ..Default::default() }, writer, version);
        None
    }
}

fn write<M: Message>(message: &M, writer: &mut Writer, version: i16) {
    message.write(writer, version).unwrap();
}

fn good(base: i64, count: usize) -> Bytes {
    written(4, base, count)
}

/// A batch of good records, written in an epoch.
pub(super) fn written(epoch: i32, base: i64, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).leader_epoch(epoch);
    for n in 0..count {
        builder.push(1_000 + n as i64, Some(b"key"), Some(b"ok"), &[]).unwrap();
    }
    builder.finish(base).unwrap()
}

/// A batch of [`STEP`] records with a change, a true length and a true checksum.
fn lying(base: i64, change: impl FnOnce(&mut Vec<u8>)) -> Step {
    let mut bytes = good(base, STEP as usize).to_vec();
    change(&mut bytes);
    Step::Records(repaired(bytes))
}

fn repaired(mut bytes: Vec<u8>) -> Bytes {
    let length = u32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    // The table-driven one of weir-wire is as good, and a hundred times as fast in a test.
    let crc = if bytes.len() < 10_000 { crc(&bytes[21..]) } else { fast_crc(&bytes) };
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

fn fast_crc(batch: &[u8]) -> u32 {
    let mut bytes = Bytes::copy_from_slice(batch);
    match Batch::split(&mut bytes).unwrap().unwrap().verify_crc() {
        Err(weir_wire::batch::BatchError::Crc { computed, .. }) => computed,
        _ => u32::from_be_bytes(batch[17..21].try_into().unwrap()),
    }
}

/// A batch of [`STEP`] records, as it says, whose payload is this.
fn packed(base: i64, codec: Codec, payload: &[u8]) -> Step {
    let mut bytes = good(base, STEP as usize)[..HEADER_SIZE].to_vec();
    bytes[22] = codec.id();
    bytes.extend_from_slice(payload);
    Step::Records(repaired(bytes))
}

fn varint(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// Records without key and value; the first has so many headers of two bytes.
fn with_headers(count: usize) -> Vec<u8> {
    let mut body: Vec<u8> = Vec::new();
    for n in 0..STEP {
        let headers = if n == 0 { count } else { 0 };
        let mut record: Vec<u8> = vec![0, 0];
        record.extend(varint(n));
        record.extend_from_slice(&[1, 1]);
        record.extend(varint(headers as i64));
        // An empty name, and null.
        record.extend_from_slice(&[0, 1].repeat(headers));
        body.extend(varint(record.len() as i64));
        body.extend(record);
    }
    body
}

/// Makes a step for its first offset.
type Make = Box<dyn FnOnce(i64) -> Step>;

fn script() -> Vec<(&'static str, Step)> {
    let mut steps: Vec<(&'static str, Make)> = Vec::new();
    let mut add = |name, step: Make| steps.push((name, step));
    let number = |at: usize, value: i32| -> Make {
        Box::new(move |base| lying(base, |bytes| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes())))
    };
    let whole = |base| Step::Records(good(base, STEP as usize));
    add("nothing wrong", Box::new(whole));
    for (name, at) in [("count", 57), ("last offset delta", 23)] {
        for value in [i32::MAX, i32::MIN, -1, 0] {
            // A large delta alone is what compaction leaves, and must be believed.
            if at == 57 || value < 0 {
                add(name, number(at, value));
            }
        }
    }
    for length in [i32::MAX, i32::MIN, -1, 0, 48, 100_000_000] {
        add(
            "length of a batch",
            Box::new(move |base| {
                let mut bytes = good(base, STEP as usize).to_vec();
                bytes[8..12].copy_from_slice(&length.to_be_bytes());
                Step::Records(Bytes::from(bytes))
            }),
        );
    }
    add("garbage", Box::new(|_| Step::Records(Bytes::from(vec![0x02; 300]))));
    add("a codec that is none", Box::new(|base| lying(base, |bytes| bytes[22] = 7)));
    // The length of the first record, of its key, and the number of its headers: right behind the header of the batch.
    for (name, at) in [("length of a record", 0), ("length of a key", 4), ("number of headers", 11)] {
        for value in [i64::from(i32::MAX), -2, i64::MAX] {
            add(
                name,
                Box::new(move |base| {
                    lying(base, |bytes| {
                        let at = HEADER_SIZE + at;
                        bytes.splice(at..at + 1, varint(value));
                    })
                }),
            );
        }
    }
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        add(
            "a bomb",
            Box::new(move |base| {
                let mut payload = Vec::new();
                codec.compress(&vec![0; LARGEST + LARGEST / 5], &mut payload).unwrap();
                packed(base, codec, &payload)
            }),
        );
    }
    let claims: [(Codec, &[u8]); 5] = [
        // Raw Snappy of 4 GiB, and a block of 2 GiB in snappy-java's frame.
        (Codec::Snappy, b"\xff\xff\xff\xff\x0f\x00\x00\x00"),
        (Codec::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff\0\0"),
        // An LZ4 frame with a content size of 2^60, and a block of 2 GiB.
        (Codec::Lz4, b"\x04\x22\x4d\x18\x68\x70\0\0\0\0\0\0\0\x10\x00\xff\xff\xff\x7f\0\0"),
        // Zstandard with a content size of 2^62, and with a window of 2^41.
        (Codec::Zstd, b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x40\x03\x00\x00\x41"),
        (Codec::Zstd, b"\x28\xb5\x2f\xfd\x00\xff\x03\x00\x00\x41"),
    ];
    for (codec, payload) in claims {
        add("a size in a compressed form", Box::new(move |base| packed(base, codec, payload)));
    }
    for count in [70_000, 10_000_000] {
        add(
            "millions of headers",
            Box::new(move |base| {
                let mut payload = Vec::new();
                Codec::Zstd.compress(&with_headers(count), &mut payload).unwrap();
                packed(base, Codec::Zstd, &payload)
            }),
        );
    }
    // Throttle time, error code, session, and then lists that claim what they have not: topics, partitions, aborted, records.
    for body in [
        &b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\x0f"[..],
        b"\0\0\0\0\0\0\0\0\0\0\x02\x02t\xff\xff\xff\xff\x0f",
        b"\0\0\0\0\0\0\0\0\0\0\x02\x02t\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\xff\xff\xff\xff\x07",
        b"",
    ] {
        // Behind the tagged fields of the header.
        add("a body", Box::new(move |_| Step::Body(body.to_vec())));
    }
    for frame in [
        &b"\x7f\xff\xff\xff"[..],
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        // As large as may be, and then nothing more.
        b"\x05\xf5\xe1\x00\0\0\0\x07",
    ] {
        add("a frame", Box::new(move |_| Step::Frame(frame.to_vec())));
    }
    add("nothing wrong", Box::new(whole));
    (0..).zip(steps).map(|(n, (name, step))| (name, step(n * STEP))).collect()
}

#[test]
fn a_broker_that_lies_costs_no_more_than_the_page_says() {
    let broker = Broker::start(Broker { steps: script(), ..Default::default() });
    let name = |suffix: &str| format!("t{suffix}");
    let route = Route { source: name(""), accepted: name(".ok"), quarantine: name(".quarantine") };
    let config = PumpConfig { commit_interval: Duration::from_millis(20), ..PumpConfig::new("g", "i") };
    let board = Arc::new(Board::new(config, vec![route]));
    let limit = TopicLimit { bytes: 1_000_000, compression: None, partitions: 1 };
    board.set_limits(BTreeMap::from([(name(".ok"), Ok(limit)), (name(".quarantine"), Ok(limit))]));
    let cluster = Cluster::new(&format!("127.0.0.1:{}", broker.port), []).unwrap();
    let worker = {
        let board = Arc::clone(&board);
        thread::spawn(move || {
            // All the memory of a worker is that of its thread.
            let mut ended = Ok(());
            let used = allocation_counter::measure(|| ended = crate::native::run(&board, &cluster, 0, Box::new(Words)));
            (ended, used.bytes_max)
        })
    };
    let mut reached = -1;
    wait_for(LONG, "everything to be judged and committed", || {
        let at = *broker.committed.lock().unwrap();
        if at != reached {
            reached = at;
            let step = broker.steps.get(usize::try_from(at / STEP).unwrap()).map_or("end", |(name, _)| name);
            // The last line says where a worker that does not come to the end is.
            println!("offset {at}: {step}, {:?}", board.status().reasons());
        }
        assert!(!worker.is_finished(), "the worker ended at {at}");
        at >= broker.end()
    });
    assert!(!matches!(board.status().workers[0], WorkerState::Failed(_)));
    board.stop(Instant::now() + Duration::from_secs(5));
    let (ended, most) = worker.join().unwrap();
    assert_eq!(ended, Ok(()));
    assert!(most <= BOUND, "{most} bytes held, not {BOUND}");
    println!("{most} bytes held at most");
    // Whatever was made of it, what is left is sound, and the last batch has come through.
    let produced = broker.produced.lock().unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (topic, runs) in produced.iter() {
        for run in runs {
            let mut rest = run.clone();
            while let Some(batch) = Batch::split(&mut rest).unwrap() {
                batch.verify_crc().unwrap();
                let records = Records::read(&batch, LARGEST).unwrap();
                records.check().unwrap();
                *counts.entry(topic.as_str()).or_default() += records.iter().count();
            }
        }
    }
    assert!(counts["t.ok"] >= 20 && counts["t.quarantine"] >= 20, "{counts:?}");
}
