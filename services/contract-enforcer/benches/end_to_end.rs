//! The enforcer from landing topic to product topic against a bare exactly-once copy loop with librdkafka, on one Apache
//! Kafka, in turns: real receipts and made-up orders, of several sizes, codecs and batches, some of them broken; then against Kafka
//! Streams that decodes, checks and encodes; then its resident memory with a thousand contracts. Programs are watched alike, from
//! outside: the clock runs from the first committed record to the last, as the topics' end offsets tell, and CPU is that of
//! the whole process.
//!
//! Run by `make bench`, which builds the programs first. Arguments choose parts: a case by its name, `streams`, `memory`.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_avro::{JsonForm, Schema};
use weir_kafka::{Admin, ClusterConfig, NewTopic, Outgoing, Writer};
use weir_testkit::kafka::Cluster;
use weir_testkit::{Process, free_port, http, wait_for};

const PARTITIONS: i32 = 4;
const ROUNDS: usize = 3;
const CONTRACTS: usize = 1_000;
const HANDS: usize = 16;
/// How many different orders there are.
const VARIETY: u64 = 9_973;
const WORDS: [&str; 8] = ["leave", "it", "with", "the", "neighbours", "on", "second", "floor"];
/// One partition, and the schema of one subject for all: registering a thousand takes minutes and measures the registry.
const ONE_SUBJECT: &str = "value: 1, vendor: weir }\n      - { property: subject, value: shop.orders-value, vendor";
/// Spelled in two parts because only one room may name the library.
const LIBRARY: &str = concat!("rd", "kafka");

/// What goes through.
#[derive(Clone, Copy)]
enum Events {
    /// The receipts of conformance/retail, under their own contract.
    Receipts,
    /// Orders of so many bytes with their schema id, one in so many of them broken.
    Orders { size: usize, broken: Option<u64> },
}

struct Case {
    name: &'static str,
    events: Events,
    count: u64,
    codec: &'static str,
    /// How many records a batch holds, where it is not as many as fit 1 MB.
    batch: Option<u32>,
    /// How many times the CPU of the native lane the bare copy is to take, where that is asked for.
    goal: Option<&'static str>,
}

const CASES: [Case; 13] = [
    Case { name: "retail_none", ..case(Events::Receipts, 1_460_000, "none", Some(">=5")) },
    Case { name: "retail_lz4", ..case(Events::Receipts, 1_460_000, "lz4", Some(">=5")) },
    Case { name: "retail_zstd", ..case(Events::Receipts, 1_460_000, "zstd", None) },
    Case { name: "160_none", ..case(orders(160), 2_000_000, "none", Some(">=5")) },
    Case { name: "160_lz4", ..case(orders(160), 2_000_000, "lz4", Some(">=5")) },
    Case { name: "160_zstd", ..case(orders(160), 2_000_000, "zstd", None) },
    Case { name: "1024_none", ..case(orders(1024), 500_000, "none", Some(">=5")) },
    Case { name: "1024_lz4", ..case(orders(1024), 500_000, "lz4", Some(">=5")) },
    Case { name: "1024_zstd", ..case(orders(1024), 500_000, "zstd", None) },
    Case { name: "160_none_16k", batch: Some(96), ..case(orders(160), 2_000_000, "none", Some(">=4")) },
    Case { name: "160_none_1pct", ..case(broken(100), 2_000_000, "none", None) },
    Case { name: "160_lz4_1pct", ..case(broken(100), 2_000_000, "lz4", None) },
    Case { name: "160_none_50pct", ..case(broken(2), 2_000_000, "none", Some(">=1")) },
];

const fn case(events: Events, count: u64, codec: &'static str, goal: Option<&'static str>) -> Case {
    Case { name: "", events, count, codec, batch: None, goal }
}

const fn orders(size: usize) -> Events {
    Events::Orders { size, broken: None }
}

const fn broken(one_in: u64) -> Events {
    Events::Orders { size: 160, broken: Some(one_in) }
}

struct Bench {
    cluster: Cluster,
    kafka: ClusterConfig,
    admin: Admin,
    registry: u16,
}

/// The medians of a case.
struct Median {
    name: &'static str,
    cpu: f64,
    megabytes: f64,
}

fn main() {
    // `cargo test --benches` runs this too, with a flag that asks for no measurement.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|a| a == part);
    let Some(cluster) = Cluster::start_measured() else { return };
    let kafka = ClusterConfig::new::<&str, &str>(&cluster.bootstrap(), []).unwrap();
    let admin = Admin::new(&kafka).unwrap();
    let registry = free_port();
    let mut command = Command::new(program("schema-registry"));
    command.args(["--kafka", &cluster.bootstrap(), "--listen", &format!("127.0.0.1:{registry}")]);
    let _process = Process::spawn(&mut command).unwrap();
    wait_for(Duration::from_secs(30), "the registry", || {
        http(registry, "GET", "/subjects", "").is_some_and(|(code, _)| code == 200)
    });
    let bench = Bench { cluster, kafka, admin, registry };
    let medians: Vec<Median> =
        CASES.iter().filter(|case| wanted(case.name)).filter_map(|case| bench.throughput(case)).collect();
    let of = |name: &str| medians.iter().find(|median| median.name == name);
    for (name, base, goal) in [("160_none_1pct", "160_none", "<=1.4"), ("160_lz4_1pct", "160_lz4", "<=2.3")] {
        if let (Some(some), Some(none)) = (of(name), of(base)) {
            println!("bench native_cpu_{name}_vs_none_broken ratio={:.2} goal={goal}", some.cpu / none.cpu);
        }
    }
    let megabytes = medians.iter().map(|median| median.megabytes).fold(0.0, f64::max);
    if megabytes > 0.0 {
        println!("bench native_lane_memory_vs_64MB ratio={:.2} goal=<=1", megabytes / 64.0);
    }
    if wanted("streams") {
        bench.streams();
    }
    if wanted("memory") {
        bench.memory();
    }
}

impl Bench {
    /// Bare copy and native lane in turns, and for one case the other lane too; nothing where its events are not there.
    fn throughput(&self, case: &Case) -> Option<Median> {
        let product = format!("bench{}.orders", case.name.replace('_', ""));
        let contracts = self.fill(case, &product)?;
        let (landing, quarantine) = (format!("{product}.landing"), format!("{product}.quarantine"));
        let copied = format!("{product}.copy");
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let mut copy = Command::new(program("examples/bare_copy"));
            copy.args([&self.cluster.bootstrap(), &landing, &copied, &case.count.to_string()]);
            let bare = self.watch(&mut copy, &[&copied], case.count);
            let lane = |lane: &str| {
                let group = format!("{product}-{lane}-{round}");
                let mut enforcer = self.enforcer(&contracts, &group);
                self.watch(enforcer.args(["--lane", lane]), &[&product, &quarantine], case.count)
            };
            let native = lane("native");
            let library = (case.name == "160_none").then(|| lane(LIBRARY));
            let other = library.as_ref().map(|of| format!("; its other lane {}", of.told())).unwrap_or_default();
            println!("{} round {round}: bare copy {}; native lane {}{other}", case.name, bare.told(), native.told());
            rounds.push((bare, native, library));
        }
        for topic in [&product, &landing, &quarantine, &copied, &contracts] {
            self.admin.delete_topic(topic).unwrap();
        }
        let name = case.name;
        let cpu = median(rounds.iter().map(|(bare, native, _)| bare.cpu / native.cpu));
        let goal = case.goal.map(|goal| format!(" goal={goal}")).unwrap_or_default();
        println!("bench bare_copy_cpu_vs_native_lane_{name} ratio={cpu:.2}{goal}");
        let speed = median(rounds.iter().map(|(bare, native, _)| bare.seconds / native.seconds));
        let goal = case.goal.filter(|goal| *goal == ">=5").map(|_| " goal=>=2.5").unwrap_or_default();
        println!("bench native_lane_throughput_vs_bare_copy_{name} ratio={speed:.2}{goal}");
        if rounds.iter().any(|(.., library)| library.is_some()) {
            let both = || rounds.iter().filter_map(|(bare, _, library)| Some((bare, library.as_ref()?)));
            let speed = median(both().map(|(bare, library)| bare.seconds / library.seconds));
            println!("bench enforcer_throughput_vs_bare_copy ratio={speed:.3} goal=>=0.85");
            let cpu = median(both().map(|(bare, library)| library.cpu / bare.cpu));
            println!("client CPU of that lane vs the bare copy, median: {cpu:.2}");
        }
        Some(Median {
            name,
            cpu: median(rounds.iter().map(|(_, native, _)| native.cpu)) / case.count as f64,
            megabytes: rounds.iter().map(|(_, native, _)| native.megabytes).fold(0.0, f64::max),
        })
    }

    /// Has the machine's page cache take as much as a program will write: on a virtual machine the first touch of a page costs
    /// several times the write, and all of it would be the broker's.
    fn warm(&self) {
        let mut file = tempfile::tempfile_in(self.cluster.log_dir()).unwrap();
        for _ in 0..1_000 {
            file.write_all(&[0; 1 << 20]).unwrap();
        }
    }

    /// Makes the topics of a case, writes its events and publishes its contract; the topic of the contracts.
    fn fill(&self, case: &Case, product: &str) -> Option<String> {
        let csv = match case.events {
            Events::Receipts => match std::fs::read_to_string(root().join(".weir/retail/transactions.csv")) {
                Ok(csv) => csv,
                Err(_) => {
                    println!("{}: no receipts; run conformance/retail/run, which fetches them", case.name);
                    return None;
                }
            },
            Events::Orders { .. } => String::new(),
        };
        let contracts = format!("{product}.contracts");
        for suffix in ["", ".landing", ".quarantine", ".copy"] {
            self.admin.create_topic(&NewTopic::new(format!("{product}{suffix}"), PARTITIONS)).unwrap();
        }
        self.admin.create_topic(&NewTopic::new(&contracts, 1).set("cleanup.policy", "compact")).unwrap();
        let batch = case.batch.unwrap_or(100_000).to_string();
        let properties = [("compression.type", case.codec), ("batch.num.messages", &batch)];
        let kafka = ClusterConfig::new(self.kafka.bootstrap(), properties).unwrap();
        let mut writer = Writer::open(&kafka, 100_000).unwrap();
        let landing = format!("{product}.landing");
        let mut send = |at: u64, key: &str, value: &[u8]| {
            let partition = Some((at % PARTITIONS as u64) as i32);
            let record = Outgoing {
                topic: &landing,
                partition,
                key: Some(key.as_bytes()),
                value: Some(value),
                ..Outgoing::default()
            };
            writer.send(&record, 0).unwrap();
            if at.is_multiple_of(10_000) {
                assert!(writer.deliveries().iter().all(|d| d.result.is_ok()));
            }
        };
        match case.events {
            Events::Receipts => {
                let schema = std::fs::read_to_string(root().join("schemas/sales/Transaction.avsc")).unwrap();
                let contract = std::fs::read_to_string(root().join("contracts/sales/transactions.odcs.yaml")).unwrap();
                let contract = contract.replace("sales.transactions", product).replace("../../schemas/sales/", "");
                let id = self.publish(&contracts, product, &contract, "Transaction.avsc", &schema);
                let schema = Schema::parse(&schema).unwrap();
                for (at, (key, receipt)) in receipts(&csv).take(case.count as usize).enumerate() {
                    send(at as u64, &key, &framed(id, &schema, &receipt));
                }
            }
            Events::Orders { size, broken } => {
                let text = fixture("Order.avsc");
                let contract = fixture("orders.odcs.yaml").replace("value: 2, vendor", "value: 4, vendor");
                let contract = contract.replace("shop.orders", product).replace("maxLength: 200", "maxLength: 2000");
                let id = self.publish(&contracts, product, &contract, "Order.avsc", &text);
                let schema = Schema::parse(&text).unwrap();
                let made = |quantity| (0..VARIETY).map(|seed| order(id, &schema, size, quantity, seed)).collect();
                let (good, bad): (Vec<_>, Vec<_>) = (made(3), made(0));
                for at in 0..case.count {
                    // Whole turns of the partitions, so that each of them has its share.
                    let is_broken = broken.is_some_and(|one_in| (at / PARTITIONS as u64).is_multiple_of(one_in));
                    let of = if is_broken { &bad } else { &good };
                    send(at, "c-1", &of[(at % VARIETY) as usize]);
                }
            }
        }
        assert!(writer.flush().iter().all(|d| d.result.is_ok()));
        Some(contracts)
    }

    /// Publishes a contract with its schema; the schema's id.
    fn publish(&self, topic: &str, product: &str, contract: &str, file: &str, schema: &str) -> u32 {
        let body = json!({ "schema": schema }).to_string();
        let path = format!("/subjects/{product}-value/versions");
        let (code, answer) = http(self.registry, "POST", &path, &body).unwrap();
        assert_eq!(code, 200, "{answer}");
        let record = json!({ "form": 1, "id": product, "version": "1.0.0", "contract": contract,
            "schemas": { file: schema } })
        .to_string();
        let mut writer = Writer::open(&self.kafka, 10).unwrap();
        let (key, value) = (Some(product.as_bytes()), Some(record.as_bytes()));
        writer.write(&Outgoing { topic, key, value, ..Outgoing::default() }).unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()["id"].as_u64().unwrap() as u32
    }

    /// Kafka Streams that decodes every order, holds it against the same rules and encodes it, in turns with the native lane.
    fn streams(&self) {
        let case = Case { name: "streams", ..case(orders(160), 2_000_000, "none", None) };
        let product = "bench.streams";
        let Some(contracts) = self.fill(&case, product) else { return };
        let home = root().join(".weir/peers/streams");
        let landing = format!("{product}.landing");
        let (mut cpu, mut speed) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let group = format!("{product}-{round}");
            let quarantine = format!("{product}.quarantine");
            let mut enforcer = self.enforcer(&contracts, &group);
            let ours = self.watch(enforcer.args(["--lane", "native"]), &[product, &quarantine], case.count);
            let state = TempDir::new().unwrap();
            let mut peer = Command::new("java");
            peer.arg("-cp").arg(format!("{0}/classes:{0}/libs/*", home.display()));
            peer.args(["-Xmx3g", "weir.peers.Streams", &self.cluster.bootstrap()]);
            peer.args([&format!("{product}-streams-{round}"), "check", "tuned"]).arg(state.path());
            peer.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
            // The id that stands in front of what is encoded; nobody reads it.
            peer.args(["0", &landing, &format!("{product}.copy"), &quarantine]);
            let theirs = self.watch(&mut peer, &[&format!("{product}.copy"), &quarantine], case.count);
            println!("streams round {round}: Kafka Streams {}; native lane {}", theirs.told(), ours.told());
            cpu.push(theirs.cpu / ours.cpu);
            speed.push(theirs.seconds / ours.seconds);
        }
        println!("bench streams_cpu_vs_native_lane ratio={:.1} goal=>=15", median(cpu.into_iter()));
        println!("throughput of the native lane against it: {:.2}", median(speed.into_iter()));
    }

    fn memory(&self) {
        let (kafka, admin) = (&self.kafka, &self.admin);
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
        let text = fixture("Order.avsc");
        let body = json!({ "schema": text }).to_string();
        let (code, answer) = http(self.registry, "POST", "/subjects/shop.orders-value/versions", &body).unwrap();
        assert_eq!(code, 200, "{answer}");
        let id = serde_json::from_str::<Value>(&answer).unwrap()["id"].as_u64().unwrap() as u32;
        let payload = order(id, &Schema::parse(&text).unwrap(), 160, 3, 0);
        for i in 0..CONTRACTS {
            let topic = format!("shop{i}.orders");
            let contract =
                fixture("orders.odcs.yaml").replace("shop.orders", &topic).replace("value: 2, vendor", ONE_SUBJECT);
            let record = json!({ "form": 1, "id": topic, "version": "1.0.0", "contract": contract,
                "schemas": { "Order.avsc": text } })
            .to_string();
            let (key, value) = (Some(topic.as_bytes()), Some(record.as_bytes()));
            writer.send(&Outgoing { topic: "thousand", key, value, ..Outgoing::default() }, 0).unwrap();
            let landing = format!("{topic}.landing");
            writer
                .send(&Outgoing { topic: &landing, key: Some(b"c-1"), value: Some(&payload), ..Outgoing::default() }, 0)
                .unwrap();
        }
        assert!(writer.flush().iter().all(|d| d.result.is_ok()));
        let mut command = self.enforcer("thousand", "memory");
        let process = Process::spawn(&mut command).unwrap();
        let done = || (0..CONTRACTS).filter(|i| self.end(&format!("shop{i}.orders")) > 0).count();
        wait_for(Duration::from_secs(180), "an event of every contract to be judged", || done() == CONTRACTS);
        let megabytes = process.resident();
        println!("resident memory with {CONTRACTS} contracts, one event of each judged: {megabytes:.1} MB");
        println!("bench enforcer_memory_1000_contracts_vs_64MB ratio={:.3} goal=<=1", megabytes / 64.0);
    }

    fn enforcer(&self, contracts: &str, group: &str) -> Command {
        let mut command = Command::new(program("contract-enforcer"));
        command.args([
            "--kafka",
            &self.cluster.bootstrap(),
            "--registry",
            &format!("http://127.0.0.1:{}", self.registry),
        ]);
        command.args(["--listen", &format!("127.0.0.1:{}", free_port()), "--group", group, "--instance", group]);
        command.args(["--contracts-topic", contracts, "--workers", "1", "--log", "warn"]);
        command
    }

    /// Runs a program until the topics have grown by all events, and times the growth.
    fn watch(&self, command: &mut Command, topics: &[&str], events: u64) -> Watched {
        let ends = || topics.iter().map(|topic| self.end(topic)).sum::<i64>();
        self.warm();
        let (base, broker) = (ends(), self.cluster.cpu_seconds());
        let mut process = Process::spawn(command).unwrap();
        let mut first = None;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            // Markers of transactions take offsets too, so the end lies a little beyond the events.
            let grown = ends() - base;
            if grown > 0 && first.is_none() {
                first = Some((Instant::now(), grown));
            }
            if grown >= events as i64 {
                break;
            }
            assert!(Instant::now() < deadline, "{command:?} is not done after 300 s, at {grown} events");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (from, already) = first.unwrap();
        let seconds = from.elapsed().as_secs_f64() * events as f64 / (events as i64 - already).max(1) as f64;
        let (cpu, megabytes) = (process.cpu_seconds(), process.resident());
        let broker = self.cluster.cpu_seconds() - broker;
        process.terminate(Duration::from_secs(30));
        Watched { events, seconds, cpu, broker, megabytes }
    }

    fn end(&self, topic: &str) -> i64 {
        self.admin.offsets(topic).unwrap().iter().map(|o| o.end).sum()
    }
}

struct Watched {
    events: u64,
    seconds: f64,
    cpu: f64,
    /// CPU of the broker meanwhile.
    broker: f64,
    megabytes: f64,
}

impl Watched {
    fn told(&self) -> String {
        let events = self.events as f64;
        let (rate, cpu, broker) = (events / self.seconds, self.cpu / events * 1e6, self.broker / events * 1e6);
        format!("{rate:.0} events/s, {cpu:.3} us CPU an event (broker {broker:.2}), {:.0} MB", self.megabytes)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An order that keeps its contract if it is for some pieces, of so many bytes with its schema id.
fn order(id: u32, schema: &Schema, size: usize, quantity: i32, seed: u64) -> Vec<u8> {
    // Words in an order that does not repeat itself, so that a codec has something to do.
    let words = (0..).flat_map(|n: u64| {
        let hash = (seed * 1_000 + n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        format!("{} {} ", WORDS[(hash % WORDS.len() as u64) as usize], hash % 977).into_bytes()
    });
    let words = String::from_utf8(words.take(size).collect()).unwrap();
    let made = |note: usize| {
        let order = json!({
            "order_id": format!("0-{:07}-2026", seed * 7_919 % 10_000_000), "customer_id": "c-1",
            "email": format!("someone{}@example.com", 100 + seed % 900), "store": 1 + seed % 999,
            "created_at": 1_700_000_000_000_i64 + seed as i64 * 997, "status": "PAID", "currency": "EUR", "quantity": quantity,
            "unit_price": 9.5 + seed as f64 / 100.0, "discount": 0.0, "total": 28.0, "channel": "web", "note": &words[..note],
        });
        framed(id, schema, &order)
    };
    // The length of a note may take another byte when the note grows.
    let note = size - made(0).len();
    let over = made(note).len() - size;
    made(note - over)
}

fn framed(id: u32, schema: &Schema, value: &Value) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    bytes.extend(weir_avro::from_json(schema, value, JsonForm::Plain).unwrap());
    bytes
}

/// The receipts of a table, each with its key. No cell of it holds a comma.
fn receipts(csv: &str) -> impl Iterator<Item = (String, Value)> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').map(|name| name.trim_matches('"')).collect();
    lines.map(move |line| {
        let cell = |(name, text): (&&str, &str)| {
            let value = match *name {
                "transaction_timestamp" => {
                    let time: jiff::Timestamp = text.trim_matches('"').parse().unwrap();
                    time.as_millisecond().into()
                }
                "sales_value" | "retail_disc" | "coupon_disc" | "coupon_match_disc" => {
                    text.parse::<f64>().unwrap().into()
                }
                _ => Value::from(text.parse::<i64>().unwrap()),
            };
            ((*name).to_owned(), value)
        };
        let receipt: Value = names.iter().zip(line.split(',')).map(cell).collect::<serde_json::Map<_, _>>().into();
        (receipt["household_id"].to_string(), receipt)
    })
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A program of the release build, which lies beside this one.
fn program(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{name} is not built; run make bench");
    path
}
