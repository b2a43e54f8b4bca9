//! The enforcer, on both its lanes, from landing topic to product topic against a bare exactly-once copy loop, on one Apache
//! Kafka, in turns (`-- lz4` has the events compressed); then its resident memory with a thousand contracts. Both programs are watched alike, from outside: the
//! clock runs from the first committed record to the last, as the topic's end offsets tell.
//!
//! Run by `make bench`, which builds the programs first.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_avro::{JsonForm, Schema};
use weir_kafka::{Admin, ClusterConfig, NewTopic, Outgoing, Writer};
use weir_testkit::kafka::Cluster;
use weir_testkit::{Process, free_port, http, wait_for};

const EVENTS: u64 = 2_000_000;
const PARTITIONS: i32 = 4;
const ROUNDS: usize = 3;
const CONTRACTS: usize = 1_000;
const HANDS: usize = 16;
/// One partition, and the schema of one subject for all: registering a thousand takes minutes and measures the registry.
const ONE_SUBJECT: &str = "value: 1, vendor: weir }\n      - { property: subject, value: shop.orders-value, vendor";

fn main() {
    // `cargo test --benches` runs this too, with a flag that asks for no measurement.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let Some(cluster) = Cluster::start() else { return };
    let kafka = ClusterConfig::new::<&str, &str>(&cluster.bootstrap(), []).unwrap();
    let admin = Admin::new(&kafka).unwrap();
    let registry_port = free_port();
    let mut registry = Command::new(program("schema-registry"));
    registry.args(["--kafka", &cluster.bootstrap(), "--listen", &format!("127.0.0.1:{registry_port}")]);
    let _registry = Process::spawn(&mut registry).unwrap();
    wait_for(Duration::from_secs(30), "the registry", || {
        http(registry_port, "GET", "/subjects", "").is_some_and(|(code, _)| code == 200)
    });

    if !std::env::args().any(|a| a == "memory") {
        throughput(&cluster, &kafka, &admin, registry_port);
    }
    memory(&cluster, &kafka, &admin, registry_port);
}

fn throughput(cluster: &Cluster, kafka: &ClusterConfig, admin: &Admin, registry_port: u16) {
    let (landing, product) = ("shop.orders.landing", "shop.orders");
    for topic in [landing, product, "shop.orders.quarantine", "copy"] {
        admin.create_topic(&NewTopic::new(topic, PARTITIONS)).unwrap();
    }
    admin.create_topic(&NewTopic::new("weir.contracts", 1).set("cleanup.policy", "compact")).unwrap();
    let contract = fixture("orders.odcs.yaml").replace("value: 2, vendor", "value: 4, vendor");
    let mut writer = Writer::open(kafka, 10).unwrap();
    let payload = publish(&mut writer, registry_port, "weir.contracts", "shop.orders", &contract);
    assert!(writer.flush().iter().all(|d| d.result.is_ok()));
    println!("one event is {} bytes with its schema id", payload.len());
    fill(kafka, landing, &payload);

    let (mut ratios, mut cpu, mut native_ratios, mut native_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut copy = Command::new(program("examples/bare_copy"));
        copy.args([&cluster.bootstrap(), landing, "copy", &EVENTS.to_string()]);
        let bare = watch(admin, &mut copy, "copy");
        let lane = |lane: &str| {
            let group = format!("bench-{lane}-{round}");
            let mut enforcer = enforcer(cluster, registry_port, "weir.contracts", &group);
            watch(admin, enforcer.args(["--lane", lane]), product)
        };
        // Spelled in two parts because only one room may name the library.
        let (enforced, native) = (lane(concat!("rd", "kafka")), lane("native"));
        println!(
            "round {round}: bare copy {}; enforcer {}; its native lane {}",
            bare.told(),
            enforced.told(),
            native.told()
        );
        ratios.push(bare.seconds / enforced.seconds);
        cpu.push(enforced.cpu / bare.cpu);
        native_ratios.push(bare.seconds / native.seconds);
        native_cpu.push(bare.cpu / native.cpu);
    }
    native_ratios.sort_by(f64::total_cmp);
    native_cpu.sort_by(f64::total_cmp);
    println!("bench native_lane_throughput_vs_bare_copy ratio={:.3} goal=>=2.5", native_ratios[ROUNDS / 2]);
    println!("bench bare_copy_cpu_vs_native_lane ratio={:.3} goal=>=5", native_cpu[ROUNDS / 2]);
    ratios.sort_by(f64::total_cmp);
    cpu.sort_by(f64::total_cmp);
    println!("bench enforcer_throughput_vs_bare_copy ratio={:.3} goal=>=0.85", ratios[ROUNDS / 2]);
    println!("client CPU of the enforcer vs the bare copy, median: {:.2}", cpu[ROUNDS / 2]);
}

fn memory(cluster: &Cluster, kafka: &ClusterConfig, admin: &Admin, registry_port: u16) {
    admin.create_topic(&NewTopic::new("thousand", 1).set("cleanup.policy", "compact")).unwrap();
    let mut writer = Writer::open(kafka, 1000).unwrap();
    // Topics are made by several hands: one by one, three thousand of them take minutes.
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            scope.spawn(move || {
                let admin = Admin::new(kafka).unwrap();
                for i in (hand..CONTRACTS).step_by(HANDS) {
                    for suffix in ["", ".landing", ".quarantine"] {
                        admin.create_topic(&NewTopic::new(format!("shop{i}.orders{suffix}"), 1)).unwrap();
                    }
                }
            });
        }
    });
    for i in 0..CONTRACTS {
        let topic = format!("shop{i}.orders");
        let contract =
            fixture("orders.odcs.yaml").replace("shop.orders", &topic).replace("value: 2, vendor", ONE_SUBJECT);
        let payload = publish(&mut writer, registry_port, "thousand", &topic, &contract);
        let landing = format!("{topic}.landing");
        writer
            .send(&Outgoing { topic: &landing, key: Some(b"c-1"), value: Some(&payload), ..Outgoing::default() }, 0)
            .unwrap();
    }
    assert!(writer.flush().iter().all(|d| d.result.is_ok()));
    let mut command = enforcer(cluster, registry_port, "thousand", "memory");
    let process = Process::spawn(&mut command).unwrap();
    let done = || (0..CONTRACTS).filter(|i| end(admin, &format!("shop{i}.orders")) > 0).count();
    wait_for(Duration::from_secs(180), "an event of every contract to be judged", || done() == CONTRACTS);
    let megabytes = process.resident();
    println!("resident memory with {CONTRACTS} contracts, one event of each judged: {megabytes:.1} MB");
    println!("bench enforcer_memory_1000_contracts_vs_64MB ratio={:.3} goal=<=1", megabytes / 64.0);
}

struct Watched {
    seconds: f64,
    cpu: f64,
    megabytes: f64,
}

impl Watched {
    fn told(&self) -> String {
        let (rate, cpu) = (EVENTS as f64 / self.seconds, self.cpu / EVENTS as f64 * 1e6);
        format!("{rate:.0} events/s, {cpu:.2} us CPU an event, {:.0} MB", self.megabytes)
    }
}

/// Runs a program until `topic` has grown by all events, and times the growth.
fn watch(admin: &Admin, command: &mut Command, topic: &str) -> Watched {
    let base = end(admin, topic);
    let mut process = Process::spawn(command).unwrap();
    let mut first = None;
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        // Markers of transactions take offsets too, so the end lies a little beyond the events.
        let grown = end(admin, topic) - base;
        if grown > 0 && first.is_none() {
            first = Some((Instant::now(), grown));
        }
        if grown >= EVENTS as i64 {
            break;
        }
        assert!(Instant::now() < deadline, "{command:?} is not done after 300 s, at {grown} events");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (from, already) = first.unwrap();
    let seconds = from.elapsed().as_secs_f64() * EVENTS as f64 / (EVENTS as i64 - already).max(1) as f64;
    let (cpu, megabytes) = (process.cpu_seconds(), process.resident());
    process.terminate(Duration::from_secs(30));
    Watched { seconds, cpu, megabytes }
}

fn end(admin: &Admin, topic: &str) -> i64 {
    admin.offsets(topic).unwrap().iter().map(|o| o.end).sum()
}

fn enforcer(cluster: &Cluster, registry_port: u16, contracts: &str, group: &str) -> Command {
    let mut command = Command::new(program("contract-enforcer"));
    command.args(["--kafka", &cluster.bootstrap(), "--registry", &format!("http://127.0.0.1:{registry_port}")]);
    command.args(["--listen", &format!("127.0.0.1:{}", free_port()), "--group", group, "--instance", group]);
    command.args(["--contracts-topic", contracts, "--workers", "1", "--log", "warn"]);
    command
}

/// Publishes the contract under the schemas of one subject and returns an event that keeps it.
fn publish(writer: &mut Writer, registry_port: u16, topic: &str, product: &str, contract: &str) -> Vec<u8> {
    let text = fixture("Order.avsc");
    let body = json!({ "schema": text }).to_string();
    let (code, answer) = http(registry_port, "POST", "/subjects/shop.orders-value/versions", &body).unwrap();
    assert_eq!(code, 200, "{answer}");
    let id = serde_json::from_str::<serde_json::Value>(&answer).unwrap()["id"].as_u64().unwrap() as u32;
    let record = json!({ "form": 1, "id": product, "version": "1.0.0", "contract": contract,
        "schemas": { "Order.avsc": text } })
    .to_string();
    let (key, value) = (Some(product.as_bytes()), Some(record.as_bytes()));
    writer.send(&Outgoing { topic, key, value, ..Outgoing::default() }, 0).unwrap();
    let order = json!({
        "order_id": "0-1234567-2026", "customer_id": "c-1", "email": "someone@example.com", "store": 77,
        "created_at": 1_700_000_000_000_i64, "status": "PAID", "currency": "EUR", "quantity": 3, "unit_price": 9.5,
        "discount": 0.5, "total": 28.0, "channel": "web", "note": "leave it with the neighbours on the second floor",
    });
    let mut payload = vec![0];
    payload.extend(id.to_be_bytes());
    payload.extend(weir_avro::from_json(&Schema::parse(&text).unwrap(), &order, JsonForm::Plain).unwrap());
    payload
}

fn fill(kafka: &ClusterConfig, topic: &str, payload: &[u8]) {
    let codec = if std::env::args().any(|a| a == "lz4") { "lz4" } else { "none" };
    let kafka = ClusterConfig::new(kafka.bootstrap(), [("compression.type", codec)]).unwrap();
    let mut writer = Writer::open(&kafka, 100_000).unwrap();
    for i in 0..EVENTS {
        let partition = Some((i % PARTITIONS as u64) as i32);
        writer
            .send(&Outgoing { topic, partition, key: Some(b"c-1"), value: Some(payload), ..Outgoing::default() }, 0)
            .unwrap();
        if i % 10_000 == 0 {
            assert!(writer.deliveries().iter().all(|d| d.result.is_ok()));
        }
    }
    assert!(writer.flush().iter().all(|d| d.result.is_ok()));
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// A program of the release build, which lies beside this one.
fn program(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{name} is not built; run make bench");
    path
}
