//! The network loses, delays and doubles requests at chosen points, and every record still arrives once.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use weir_kafka::{ClusterConfig, Lane, Outgoing, Pump, PumpConfig, Read, ReadOptions, Reader, TransactionalWriter};
use weir_pump::Route;
use weir_testkit::kafka::{Cluster, Kind};
use weir_testkit::proxy::{Act, Api, Fault, Proxy};
use weir_testkit::wait_for;

use crate::lab::{self, LONG, Lab, Sent};

/// A lab whose pumps stand behind a proxy. What else it does goes straight to the broker.
struct Behind {
    lab: Lab,
    proxy: Proxy,
    route: Route,
    partitions: i32,
    sent: Vec<Sent>,
}

impl Behind {
    fn new(mut lab: Lab, lane: Lane, partitions: i32) -> Behind {
        let port = lab.bootstrap.rsplit(':').next().unwrap().parse().unwrap();
        let proxy = Proxy::start(&[port]);
        let route = lab.create(partitions);
        lab.cluster = ClusterConfig::new(&proxy.bootstrap(), [] as [(&str, &str); 0]).unwrap().with_lane(lane);
        Behind { lab, proxy, route, partitions, sent: Vec::new() }
    }

    fn fill(&mut self, count: u64) {
        let from = self.sent.len() as u64 / u64::from(self.partitions.unsigned_abs());
        self.sent.extend(self.lab.fill(&self.route.source, self.partitions, from..from + count));
    }

    fn wait_until_done(&self, pump: &Pump) {
        self.lab.wait_until_done(&[pump], &self.route);
    }

    fn finish(&self, pump: &Pump) {
        self.wait_until_done(pump);
        pump.stop(LONG).unwrap();
        self.lab.check(&self.route, &self.sent);
    }
}

fn wait_struck(fault: &Fault) {
    wait_for(LONG, &format!("{fault:?} to strike"), || fault.struck() > 0);
}

/// The error code in an answer to EndTxn or TxnOffsetCommit without details; `flexible`: in the compact form (KIP-482).
fn end_code(answer: &[u8], flexible: bool) -> i16 {
    // Correlation id, tagged fields, throttle time.
    let at = 4 + usize::from(flexible) + 4;
    i16::from_be_bytes(answer[at..at + 2].try_into().unwrap())
}

/// Each request of a transaction is lost before and after it is carried out, arrives twice, and arrives late, once each.
#[test]
fn every_request_of_a_transaction_may_be_lost_doubled_and_late() {
    let Some(lab) = lab::shared() else { return };
    let mut behind = Behind::new(lab, lab::lane(), 2);
    let pump = behind.lab.pump(behind.lab.config("a"), &behind.route);
    behind.fill(100);
    behind.wait_until_done(&pump);
    let apis =
        [Api::Fetch, Api::Produce, Api::AddPartitionsToTxn, Api::AddOffsetsToTxn, Api::TxnOffsetCommit, Api::EndTxn];
    // Transactions of version 2 need fewer requests.
    let apis: Vec<Api> = apis.into_iter().filter(|api| behind.proxy.seen(*api) > 0).collect();
    assert!(apis.len() >= 4, "{apis:?}");
    let acts = [Act::Stray, Act::CutAfter, Act::CutBefore, Act::Duplicate];
    for act in if lab::is_long() { &acts[..] } else { &acts[..1] } {
        for api in &apis {
            let fault = behind.proxy.inject(*api, *act, |n| n == 1);
            behind.fill(20);
            wait_struck(&fault);
            behind.wait_until_done(&pump);
            // What is late arrives in the middle of later transactions.
            fault.release();
            behind.fill(20);
            behind.wait_until_done(&pump);
        }
    }
    behind.finish(&pump);
}

/// Whatever is asked on the way into the group and to the first transaction.
#[test]
fn every_request_of_a_beginning_may_be_lost() {
    let Some(lab) = lab::shared() else { return };
    let mut behind = Behind::new(lab, lab::lane(), 2);
    let apis =
        [Api::InitProducerId, Api::JoinGroup, Api::SyncGroup, Api::OffsetFetch, Api::FindCoordinator, Api::Metadata];
    for api in if lab::is_long() { &apis[..] } else { &apis[..2] } {
        let fault = behind.proxy.inject(*api, Act::CutAfter, |n| n == 1);
        behind.fill(20);
        let pump = behind.lab.pump(behind.lab.config("a"), &behind.route);
        wait_struck(&fault);
        behind.wait_until_done(&pump);
        pump.stop(LONG).unwrap();
    }
    behind.lab.check(&behind.route, &behind.sent);
}

/// Connections that break all the time, at any request.
#[test]
fn a_network_that_breaks_all_the_time_loses_and_doubles_nothing() {
    let Some(lab) = lab::shared() else { return };
    let mut behind = Behind::new(lab, lab::lane(), 2);
    behind.fill(4_000);
    let faults: Vec<Fault> = [
        (Api::Produce, Act::CutAfter, 7),
        (Api::Produce, Act::Duplicate, 5),
        (Api::Fetch, Act::CutBefore, 11),
        (Api::TxnOffsetCommit, Act::CutAfter, 5),
        (Api::EndTxn, Act::CutAfter, 4),
        (Api::EndTxn, Act::CutBefore, 7),
        (Api::Heartbeat, Act::CutAfter, 3),
    ]
    .into_iter()
    .map(|(api, act, every)| behind.proxy.inject(api, act, move |n| n.is_multiple_of(every)))
    .collect();
    let config = PumpConfig { transaction_records: 400, ..behind.lab.config("a") };
    let pump = behind.lab.pump(config, &behind.route);
    let struck = || faults.iter().map(Fault::struck).sum::<u64>();
    wait_for(LONG, "some of everything", || {
        assert_eq!(pump.failure(), None);
        struck() >= 8
    });
    behind.finish(&pump);
    eprintln!("{} lane, {} requests struck", pump.lane(), struck());
}

/// The end of a transaction is delayed and arrives while the next one is open (KIP-890). librdkafka asks again by itself with
/// the same epoch and says nothing: that lane needs another producer after every connection that broke. The native lane has
/// an epoch for each transaction, or takes a new one where the broker gives none.
fn a_late_end_falls_to_no_other_transaction(lab: Lab, lane: Lane) {
    const OPEN: Duration = Duration::from_millis(2_000);
    let mut behind = Behind::new(lab, lane, 1);
    let late = behind.proxy.inject(Api::EndTxn, Act::Stray, |n| n == 1);
    let config = PumpConfig { commit_interval: OPEN, ..behind.lab.config("a") };
    let pump = behind.lab.pump(config, &behind.route);
    assert_eq!(pump.lane(), lane);
    behind.fill(20);
    wait_struck(&late);
    // The transaction ends all the same, and the next one is opened.
    behind.wait_until_done(&pump);
    let client = |isolation: &str| -> BaseConsumer {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &behind.lab.bootstrap).set("isolation.level", isolation).create().unwrap()
    };
    let (stable, all) = (client("read_committed"), client("read_uncommitted"));
    let end = |reader: &BaseConsumer| reader.fetch_watermarks(&behind.route.accepted, 0, LONG).unwrap().1;
    // Markers are written behind the answer.
    wait_for(LONG, "the first transaction to have its marker", || end(&stable) == end(&all));
    let begin = Instant::now();
    behind.sent.extend(behind.lab.fill(&behind.route.source, 1, 20..40));
    wait_for(LONG, "the next transaction to be open", || end(&stable) < end(&all));
    let before = end(&stable);
    late.release();
    wait_for(LONG, "the late end to be answered", || !late.answers().is_empty());
    let mut looked = 0;
    while begin.elapsed() < OPEN * 2 / 3 {
        assert_eq!(end(&stable), before, "the late end has ended another transaction");
        looked += 1;
    }
    let code = end_code(&late.answers()[0], lane == Lane::Native);
    assert_ne!(code, 0, "the late end was carried out");
    // On a machine that is too slow to look, the answer alone says it.
    eprintln!("{lane} lane: the late end of a transaction is answered with error code {code}, {looked} looks");
    behind.fill(100);
    behind.finish(&pump);
}

#[test]
fn a_late_end_tears_no_transaction() {
    let Some(lab) = lab::shared() else { return };
    a_late_end_falls_to_no_other_transaction(lab, lab::lane());
}

/// Offsets that were to be committed arrive behind those of the next transaction, and before its end: the group must not go back.
fn late_offsets_take_no_group_back(lab: Lab, lane: Lane) {
    let mut behind = Behind::new(lab, lane, 1);
    let pump = behind.lab.pump(behind.lab.config("a"), &behind.route);
    assert_eq!(pump.lane(), lane);
    let late = behind.proxy.inject(Api::TxnOffsetCommit, Act::Stray, |n| n == 1);
    behind.fill(20);
    wait_struck(&late);
    behind.wait_until_done(&pump);
    let held = behind.proxy.inject(Api::EndTxn, Act::Hold, |n| n == 1);
    behind.fill(20);
    wait_struck(&held);
    late.release();
    wait_for(LONG, "the late offsets to be answered", || !late.answers().is_empty());
    held.release();
    behind.wait_until_done(&pump);
    behind.fill(20);
    behind.finish(&pump);
    // The one after it begins where this one ended.
    let next = behind.lab.pump(behind.lab.config("a"), &behind.route);
    behind.fill(20);
    behind.finish(&next);
}

#[test]
fn late_offsets_are_not_taken_for_newer_ones() {
    let Some(lab) = lab::shared() else { return };
    late_offsets_take_no_group_back(lab, lab::lane());
}

/// The same on a cluster whose transactions are of version 1, which is older than the native lane's protocol.
#[test]
fn transactions_of_version_one_are_not_torn_either() {
    if Kind::chosen() == Kind::Embedded {
        return weir_testkit::skipped("the embedded broker always offers transactions of version 2");
    }
    let Some(cluster) = Cluster::start_with_features(&[("transaction.version", 1)], &[]) else { return };
    a_late_end_falls_to_no_other_transaction(Lab::new(cluster.bootstrap()), lab::lane());
    late_offsets_take_no_group_back(Lab::new(cluster.bootstrap()), lab::lane());
}

/// The same of a writer of transactions, which has librdkafka's one epoch: the late end of a transaction is refused.
#[test]
fn a_late_end_tears_no_transaction_of_a_writer() {
    let Some(lab) = lab::shared() else { return };
    let topic = format!("{}.topic", lab.name);
    lab.create_topic(&topic, 1, &[]);
    let proxy = Proxy::start(&[lab.bootstrap.rsplit(':').next().unwrap().parse().unwrap()]);
    let cluster = ClusterConfig::new(&proxy.bootstrap(), [] as [(&str, &str); 0]).unwrap();
    let mut writer = TransactionalWriter::open(&cluster, &lab.name, LONG).unwrap();
    let write = |writer: &mut TransactionalWriter, value: &str| {
        writer.begin().unwrap();
        writer.send(&Outgoing { topic: &topic, value: Some(value.as_bytes()), ..Outgoing::default() }).unwrap();
    };
    let late = proxy.inject(Api::EndTxn, Act::Stray, |n| n == 1);
    write(&mut writer, "one");
    writer.commit().unwrap();
    wait_struck(&late);
    write(&mut writer, "two");
    late.release();
    wait_for(LONG, "the late end to be answered", || !late.answers().is_empty());
    assert_ne!(end_code(&late.answers()[0], false), 0, "the late end was carried out");
    writer.abort().unwrap();
    write(&mut writer, "three");
    writer.commit().unwrap();
    let mut reader = Reader::open(&lab.cluster, &topic, ReadOptions::default()).unwrap();
    let mut values = Vec::new();
    while let Read::Record(record) = reader.next(LONG).unwrap() {
        values.push(String::from_utf8(record.value.unwrap()).unwrap());
    }
    assert_eq!(values, ["one", "three"]);
}

/// Error code, session and number of topics in an answer to Fetch of version 12 (KIP-227).
fn session(answer: &[u8]) -> (i16, i32, u8) {
    // Correlation id, tagged fields, throttle time.
    let rest = &answer[4 + 1 + 4..];
    (i16::from_be_bytes([rest[0], rest[1]]), i32::from_be_bytes(rest[2..6].try_into().unwrap()), rest[6] - 1)
}

/// Apache Kafka keeps one session for all fetches of a worker, and leaves out what is not new; after a connection was lost it is
/// another one.
#[test]
fn fetches_are_one_session() {
    if lab::lane() != Lane::Native || Kind::chosen() == Kind::Embedded {
        return weir_testkit::skipped("a session is kept by Apache Kafka, and looked at on the native lane");
    }
    let Some(lab) = lab::shared() else { return };
    let mut behind = Behind::new(lab, Lane::Native, 3);
    let fetches = behind.proxy.inject(Api::Fetch, Act::HoldAnswer, |_| true);
    fetches.release();
    let sessions = || fetches.answers().iter().map(|answer| session(answer)).collect::<Vec<_>>();
    let pump = behind.lab.pump(behind.lab.config("a"), &behind.route);
    for _ in 0..3 {
        behind.fill(50);
        behind.wait_until_done(&pump);
    }
    wait_for(LONG, "an answer that leaves everything out", || {
        sessions().last().is_some_and(|(_, _, topics)| *topics == 0)
    });
    let first = sessions();
    let id = first[0].1;
    assert!(id > 0, "{first:?}");
    assert!(first.iter().all(|(code, other, _)| (*code, *other) == (0, id)), "{first:?}");
    behind.proxy.cut();
    behind.fill(50);
    behind.wait_until_done(&pump);
    let later = &sessions()[first.len()..];
    assert!(later.iter().any(|(_, other, _)| *other > 0 && *other != id), "{later:?}");
    behind.finish(&pump);
}
