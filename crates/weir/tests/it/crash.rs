//! The whole mesh in one process dies again and again under load, by SIGKILL: broker, registry and enforcer at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_avro::{JsonForm, Schema};
use weir_kafka::{
    Admin, ClusterConfig, NewTopic, Outgoing, Read, ReadOptions, Reader, Record, TransactionalWriter, Writer,
};
use weir_testkit::{Process, free_port, wait_for};

use crate::world::PATIENCE;
use crate::{cases, command, weir};

const ROUNDS: u64 = 50;
/// Every so many events one has a quantity of 0, which the contract forbids.
const BROKEN: u64 = 25;
/// Records of one transaction of the test's own.
const TOGETHER: u64 = 10;
const TRANSACTIONS: &str = "transactions";

/// A mesh that can be killed and started again on the same ports and data.
struct Mesh {
    process: Option<Process>,
    data: tempfile::TempDir,
    ports: [u16; 4],
}

impl Mesh {
    fn new() -> Mesh {
        Mesh { process: None, data: tempfile::tempdir().unwrap(), ports: [(); 4].map(|()| free_port()) }
    }

    fn address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.ports[index])
    }

    /// Starts it and waits for `ready`; how long that took.
    fn start(&mut self) -> Duration {
        let [broker, registry, enforcer, router] = [0, 1, 2, 3].map(|index| self.address(index));
        let mut line = command(&["up", "--headless", "--rate", "0", "--contracts", "mesh/orders.odcs.yaml"]);
        line.args(["--broker-listen", &broker, "--registry-listen", &registry, "--enforcer-listen", &enforcer]);
        line.args(["--router-listen", &router]);
        line.arg("--data").arg(self.data.path());
        let began = Instant::now();
        let mut process = Process::spawn(line.stdout(Stdio::piped())).unwrap();
        let mut first = String::new();
        BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(first, "ready\n");
        self.process = Some(process);
        began.elapsed()
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }
}

fn cluster(mesh: &Mesh) -> ClusterConfig {
    ClusterConfig::new(&mesh.address(0), [("client.id", "test")]).unwrap()
}

/// What of a topic is committed, in the order of its offsets.
fn read(kafka: &ClusterConfig, topic: &str) -> Vec<Record> {
    let mut reader = Reader::open(kafka, topic, ReadOptions::default()).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.next(PATIENCE).unwrap() {
            Read::Record(record) => records.push(record),
            Read::CaughtUp => break,
            Read::Idle => panic!("{topic} does not come to its end"),
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn number(record: &Record) -> u64 {
    String::from_utf8(record.key.clone().unwrap()).unwrap().parse().unwrap()
}

/// Writes events until it is stopped; how many were acknowledged, all of which must come out.
fn events(kafka: &ClusterConfig, schema: &Schema, id: u32, acked: &AtomicU64, stop: &AtomicBool) -> u64 {
    let mut writer = Writer::open(kafka, 10_000).unwrap();
    let mut sent = 0;
    let settle = |deliveries: Vec<weir_kafka::Delivery>| {
        for delivery in deliveries {
            // An idempotent writer repeats a record until it is acknowledged, and the mesh always comes back.
            delivery.result.unwrap();
            acked.fetch_add(1, Ordering::Relaxed);
        }
    };
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..50 {
            let quantity = u64::from(sent % BROKEN != 0);
            let event = serde_json::json!({ "id": sent.to_string(), "quantity": quantity, "note": null, "at": 1_767_323_045_000_i64 });
            let mut value = vec![0];
            value.extend(id.to_be_bytes());
            value.extend(weir_avro::from_json(schema, &event, JsonForm::Plain).unwrap());
            let key = sent.to_string();
            let partition = Some((sent % 3) as i32);
            let (key, value) = (Some(key.as_bytes()), Some(value.as_slice()));
            let record = Outgoing { topic: "shop.orders.landing", partition, key, value, ..Outgoing::default() };
            writer.send(&record, 0).unwrap();
            sent += 1;
        }
        settle(writer.deliveries());
        std::thread::park_timeout(Duration::from_millis(10));
    }
    settle(writer.flush());
    sent
}

/// What became of the test's own transactions.
#[derive(Default)]
struct Outcomes {
    committed: BTreeSet<u64>,
    aborted: BTreeSet<u64>,
    /// The commit was asked for and never answered: all or nothing.
    doubtful: BTreeSet<u64>,
}

fn transactions(kafka: &ClusterConfig, stop: &AtomicBool) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let (mut writer, mut next) = (None, 0);
    while !stop.load(Ordering::Relaxed) {
        let Some(current) = writer.as_mut() else {
            writer = TransactionalWriter::open(kafka, "test", Duration::from_secs(10)).ok();
            continue;
        };
        let transaction = next;
        next += 1;
        let key = transaction.to_string();
        let (topic, key) = (TRANSACTIONS, Some(key.as_bytes()));
        let record = Outgoing { topic, partition: Some(0), key, value: Some(b"x"), ..Outgoing::default() };
        let written = current.begin().and_then(|()| (0..TOGETHER).try_for_each(|_| current.send(&record)));
        let ended = written.is_ok().then(|| match transaction % 4 {
            0 => (false, current.abort().is_ok()),
            _ => (true, current.commit().is_ok()),
        });
        match ended {
            Some((true, true)) => outcomes.committed.insert(transaction),
            Some((true, false)) => outcomes.doubtful.insert(transaction),
            _ => outcomes.aborted.insert(transaction),
        };
        if !matches!(ended, Some((_, true))) {
            // A new producer fences this one, so that nothing of it can end later.
            writer = None;
        }
    }
    outcomes
}

fn schema_id(mesh: &Mesh) -> u32 {
    let [_, registry, _] = [0, 1, 2].map(|index| mesh.address(index));
    let mut stream = std::net::TcpStream::connect(&registry).unwrap();
    let request = format!(
        "GET /subjects/shop.orders-value/versions/latest HTTP/1.1\r\nHost: {registry}\r\nConnection: close\r\n\r\n"
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    let body = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
    serde_json::from_str::<serde_json::Value>(body).unwrap()["id"].as_u64().unwrap() as u32
}

#[test]
fn fifty_kills_of_the_whole_mesh_lose_and_double_nothing() {
    let mut mesh = Mesh::new();
    mesh.start();
    let (kafka, id) = (cluster(&mesh), schema_id(&mesh));
    Admin::new(&kafka).unwrap().create_topic(&NewTopic::new(TRANSACTIONS, 1)).unwrap();
    let schema = Schema::parse(&std::fs::read_to_string(cases().join("mesh/Order.avsc")).unwrap()).unwrap();
    let (acked, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sent, outcomes, slowest) = std::thread::scope(|scope| {
        let events = scope.spawn(|| events(&kafka, &schema, id, &acked, &stop));
        let transactions = scope.spawn(|| transactions(&kafka, &stop));
        let stopping = Stop(&stop);
        let mut slowest = Duration::ZERO;
        for round in 0..ROUNDS {
            let target = acked.load(Ordering::Relaxed) + 100 + round * 7919 % 1500;
            wait_for(PATIENCE, "the mesh to be in the middle of its work", || acked.load(Ordering::Relaxed) >= target);
            mesh.kill();
            slowest = slowest.max(mesh.start());
        }
        drop(stopping);
        (events.join().unwrap(), transactions.join().unwrap(), slowest)
    });
    assert_eq!(acked.load(Ordering::Relaxed), sent);
    let admin = Admin::new(&kafka).unwrap();
    wait_for(PATIENCE, "the enforcer to drain the landing topic", || {
        let lag = admin.lag("contract-enforcer", "shop.orders.landing");
        lag.is_ok_and(|lag| lag.len() == 3 && lag.values().all(|behind| *behind == 0))
    });

    let (landing, accepted, quarantined) =
        (read(&kafka, "shop.orders.landing"), read(&kafka, "shop.orders"), read(&kafka, "shop.orders.quarantine"));
    let by_partition = |records: &[Record]| {
        let mut found: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
        for record in records {
            found.entry(record.partition).or_default().push(number(record));
        }
        found
    };
    let expected = |take: &dyn Fn(u64) -> bool| -> BTreeMap<i32, Vec<u64>> {
        (0..3)
            .map(|partition| (partition as i32, (0..sent).filter(|n| n % 3 == partition && take(*n)).collect()))
            .collect()
    };
    assert!(by_partition(&landing) == expected(&|_| true), "the broker lost, doubled or moved an acknowledged event");
    assert!(by_partition(&accepted) == expected(&|n| n % BROKEN != 0), "{} of {sent} events accepted", accepted.len());
    assert!(by_partition(&quarantined) == expected(&|n| n % BROKEN == 0), "{} quarantined", quarantined.len());

    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for record in read(&kafka, TRANSACTIONS) {
        *seen.entry(number(&record)).or_default() += 1;
    }
    let torn: Vec<_> = seen.iter().filter(|(_, records)| **records != TOGETHER).collect();
    assert!(torn.is_empty(), "torn transactions: {torn:?}");
    let lost: Vec<_> = outcomes.committed.iter().filter(|transaction| !seen.contains_key(transaction)).collect();
    assert!(lost.is_empty(), "committed transactions that are not there: {lost:?}");
    let risen: Vec<_> = outcomes.aborted.iter().filter(|transaction| seen.contains_key(transaction)).collect();
    assert!(risen.is_empty(), "aborted transactions that are there: {risen:?}");
    let Outcomes { committed, aborted, doubtful } = outcomes;
    assert!(committed.len() > 50 && aborted.len() > 20, "{} and {}: too few to show", committed.len(), aborted.len());
    eprintln!(
        "kills={ROUNDS} events={sent} committed={} aborted={} doubtful={} slowest_start={slowest:?}",
        committed.len(),
        aborted.len(),
        doubtful.len()
    );
    mesh.process.take().unwrap().terminate(PATIENCE);
}

struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The arguments of every start are those of a user; what is left running by a broken one is nothing.
#[test]
fn a_port_or_a_folder_that_is_taken_is_an_error_that_names_the_setting() {
    let mut mesh = Mesh::new();
    mesh.start();
    let [broker, registry, enforcer, router] = [0, 1, 2, 3].map(|index| mesh.address(index));
    let check = |broker: &str, registry: &str, enforcer: &str, router: &str, data: &Path, expect: &str| {
        let fixed = ["up", "--headless", "--rate", "0", "--contracts", "mesh/orders.odcs.yaml"];
        let data = data.to_str().unwrap();
        let ports = ["--broker-listen", broker, "--registry-listen", registry, "--enforcer-listen", enforcer];
        let ports = [&ports[..], &["--router-listen", router]].concat();
        let ran = weir(&[&fixed[..], &ports, &["--data", data]].concat());
        assert!(ran.code != 0 && ran.stderr.contains(expect), "{expect}: {ran:?}");
    };
    let (free, other) = ("127.0.0.1:0", tempfile::tempdir().unwrap());
    check(&broker, free, free, free, other.path(), "--broker-listen");
    check(free, &registry, free, free, other.path(), "--registry-listen");
    check(free, free, &enforcer, free, other.path(), "--enforcer-listen");
    check(free, free, free, &router, other.path(), "--router-listen");
    check(free, free, free, free, mesh.data.path(), "--data");
    let foreign = tempfile::tempdir().unwrap();
    std::fs::create_dir(foreign.path().join("broker")).unwrap();
    std::fs::write(foreign.path().join("broker/thesis.txt"), "words").unwrap();
    check(free, free, free, free, foreign.path(), "--data");
    assert_eq!(std::fs::read_to_string(foreign.path().join("broker/thesis.txt")).unwrap(), "words");
    mesh.process.take().unwrap().terminate(PATIENCE);
}
