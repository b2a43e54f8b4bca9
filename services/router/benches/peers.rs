//! The router against Kafka Streams on one Apache Kafka, the same topologies over the same topics, both exactly once; then
//! fifty views over one source against one, the restore of a state, and its memory. Programs are watched alike, from
//! outside: client CPU is that of the whole process, and the clock runs from the first committed output to the last.
//!
//! Run by `make bench`, which builds the programs and the peer first. An argument (filter, window, fifty, join, restore) chooses a
//! part.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_avro::{FieldPath, JsonForm, Schema};
use weir_kafka::{Admin, ClusterConfig, NewTopic, Outgoing, Writer};
use weir_testkit::kafka::Cluster;
use weir_testkit::{Process, free_port, http, wait_for};
use weir_view::{Relation, ViewRecord, plan_all, read};

const PARTITIONS: i32 = 4;
const ORDERS: u64 = 2_000_000;
const KEYS: u64 = 1_000_000;
const CUSTOMERS: u64 = 10_000;
const ROUNDS: usize = 3;
const DAWN: i64 = 1_700_000_000_000;

const FILTER: &str = "\
SELECT order_id, cents, ordered_at, HASH(customer_id) AS who FROM bench.orders WHERE cents >= 5000";
const JOIN: &str = "\
SELECT l.id, l.text, l.number + r.number AS total FROM bench.left l JOIN bench.right r ON r.id = l.id";
const WINDOW: &str = "\
SELECT customer_id, window_start, COUNT(*) AS orders FROM bench.orders GROUP BY customer_id, TUMBLE(INTERVAL '1' HOUR)";

struct Bench {
    cluster: Cluster,
    kafka: ClusterConfig,
    admin: Admin,
    registry: u16,
    products: Vec<Relation>,
    order_id: u32,
    side_id: u32,
    /// How many topics of views were made, so that each run has its own.
    runs: std::cell::Cell<u32>,
}

fn main() {
    // `cargo test --benches` runs this too, with a flag that asks for no measurement.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let wanted = |part: &str| {
        let mut named = std::env::args().skip(1).filter(|a| !a.starts_with('-')).peekable();
        named.peek().is_none() || named.any(|a| a == part)
    };
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
    let order_id = register(registry, "bench.orders", &schema("Order.avsc"));
    let side_id = register(registry, "bench.left", &schema("Side.avsc"));
    register(registry, "bench.right", &schema("Side.avsc"));
    let product = |name: &str, text: &str, table, key: &str, time: Option<&str>| Relation {
        name: name.to_owned(),
        topic: name.to_owned(),
        table,
        key: vec![key.to_owned()],
        key_schema: None,
        event_time: time.map(FieldPath::parse),
        partitions: Some(PARTITIONS as u32),
        schema: Arc::new(Schema::parse(&schema(text)).unwrap()),
        personal: Default::default(),
        personal_key: false,
    };
    let products = vec![
        product("bench.orders", "Order.avsc", false, "customer_id", Some("ordered_at")),
        product("bench.left", "Side.avsc", true, "id", None),
        product("bench.right", "Side.avsc", true, "id", None),
    ];
    let bench = Bench { cluster, kafka, admin, registry, products, order_id, side_id, runs: Default::default() };
    for topic in ["bench.orders", "bench.left", "bench.right", "bench.large", "bench.joined", "bench.counted"] {
        bench.topic(topic, "delete");
    }
    if wanted("filter") || wanted("window") || wanted("fifty") {
        bench.orders();
    }
    if wanted("filter") {
        let out = ORDERS / 2;
        bench.compare("filter", FILTER, "bench.large", ORDERS, out, &[("tuned", ">=5")]);
    }
    if wanted("window") {
        bench.compare("window", WINDOW, "bench.counted", ORDERS, ORDERS, &[("tuned", ">=3")]);
    }
    if wanted("fifty") {
        bench.fifty();
    }
    if wanted("join") || wanted("restore") {
        bench.sides();
    }
    if wanted("join") {
        bench.compare("join", JOIN, "bench.joined", 2 * KEYS, KEYS, &[("tuned", ">=3"), ("shipped", ">=8")]);
    }
    if wanted("restore") {
        bench.restore();
    }
}

impl Bench {
    fn topic(&self, name: &str, policy: &str) {
        let new = NewTopic::new(name, PARTITIONS).set("retention.ms", "-1").set("cleanup.policy", policy);
        self.admin.create_topic(&new).unwrap();
    }

    fn orders(&self) {
        let schema = Schema::parse(&schema("Order.avsc")).unwrap();
        self.fill("bench.orders", self.order_id, &schema, ORDERS, |i| {
            let customer = format!("c{}", i * 7_919 % CUSTOMERS);
            let order = json!({
                "order_id": format!("order-{i:010}"), "customer_id": customer, "cents": i * 7_919 % 10_000, "store": i % 500,
                "channel": "web", "note": "leave it with the neighbours on the second floor", "ordered_at": DAWN + i as i64 * 5,
            });
            (customer, order)
        });
    }

    fn sides(&self) {
        let schema = Schema::parse(&schema("Side.avsc")).unwrap();
        for topic in ["bench.left", "bench.right"] {
            self.fill(topic, self.side_id, &schema, KEYS, |i| {
                let id = format!("key-{:07}", i * 7_919 % KEYS);
                let row = json!({ "id": id, "number": i, "text": format!("text number {i} of a side, as long as such a text is") });
                (id, row)
            });
        }
    }

    fn fill(&self, topic: &str, id: u32, schema: &Schema, count: u64, make: impl Fn(u64) -> (String, Value)) {
        let mut writer = Writer::open(&self.kafka, 100_000).unwrap();
        for i in 0..count {
            let (key, value) = make(i);
            let mut bytes = vec![0];
            bytes.extend(id.to_be_bytes());
            bytes.extend(weir_avro::from_json(schema, &value, JsonForm::Plain).unwrap());
            let out = Outgoing {
                topic,
                key: Some(key.as_bytes()),
                value: Some(&bytes),
                timestamp: Some(DAWN + i as i64),
                ..Outgoing::default()
            };
            writer.send(&out, 0).unwrap();
            if i % 10_000 == 0 {
                assert!(writer.deliveries().iter().all(|d| d.result.is_ok()));
            }
        }
        assert!(writer.flush().iter().all(|d| d.result.is_ok()));
    }

    /// Publishes a view under a name of its own in a views topic of its own; the topic of the views and its output.
    fn view(&self, sql: impl Fn(u32) -> String, copies: u32) -> (String, Vec<String>) {
        let run = self.runs.get();
        self.runs.set(run + 1);
        let views = format!("bench.views{run}");
        self.admin.create_topic(&NewTopic::new(&views, 1).set("cleanup.policy", "compact")).unwrap();
        let mut writer = Writer::open(&self.kafka, 10).unwrap();
        let mut outputs = Vec::new();
        for copy in 0..copies {
            let (id, sql) = (format!("bench.view{run}x{copy}"), sql(copy));
            let text = format!(
                "id: {id}\nversion: 1.0.0\nteam: bench\nsql: |\n  {sql}\nmasks: {{ salt: bench }}\nallow: [bench.orders.customer_id]\n"
            );
            let (file, found) = read(&text, "bench.view.yaml");
            let file = file.unwrap_or_else(|| panic!("{found:?}"));
            let (mut plans, found) = plan_all(self.products.clone(), &[file]);
            assert_eq!(found, []);
            let plan = plans.remove(0).unwrap();
            self.topic(&id, "delete");
            self.topic(&format!("{id}.quarantine"), "delete");
            self.topic(&format!("{id}.changelog"), "compact");
            register(self.registry, &id, &plan.schema.to_string());
            let (inputs, contract) = (plan.inputs.clone(), None);
            let record =
                ViewRecord { id: id.clone(), version: "1.0.0".to_owned(), generation: 1, text, inputs, contract };
            let record = record.to_json();
            let (key, value) = (Some(id.as_bytes()), Some(record.as_bytes()));
            writer.write(&Outgoing { topic: &views, key, value, ..Outgoing::default() }).unwrap();
            outputs.push(id);
        }
        (views, outputs)
    }

    fn router(&self, views: &str, state: &Path, port: u16) -> Command {
        let mut command = Command::new(program("router"));
        command.args([
            "--kafka",
            &self.cluster.bootstrap(),
            "--registry",
            &format!("http://127.0.0.1:{}", self.registry),
        ]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--group", views, "--instance", views]);
        command.args(["--views-topic", views, "--workers", "1", "--log", "warn"]).arg("--state").arg(state);
        command
    }

    fn compare(&self, name: &str, sql: &str, peer_output: &str, records: u64, outputs: u64, peers: &[(&str, &str)]) {
        let mut cpu: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
        let mut speed = cpu.clone();
        for round in 0..ROUNDS {
            let state = TempDir::new().unwrap();
            let (views, topics) = self.view(|_| sql.to_owned(), 1);
            let ours = self.watch(&mut self.router(&views, state.path(), free_port()), &topics, outputs);
            let mut told = format!("{name}, round {round}: router {}", ours.told(records));
            for (i, (stores, _)) in peers.iter().enumerate() {
                let state = TempDir::new().unwrap();
                let mut peer = Command::new("java");
                let home = root().join(".weir/peers/streams");
                peer.arg("-cp").arg(format!("{0}/classes:{0}/libs/*", home.display()));
                peer.args([
                    "-Xmx3g",
                    "weir.peers.Streams",
                    &self.cluster.bootstrap(),
                    &format!("{name}-{stores}-{round}"),
                    name,
                    stores,
                ]);
                peer.arg(state.path()).arg(root().join("benches/peers/streams/schemas"));
                peer.arg(if name == "join" { self.side_id } else { self.order_id }.to_string());
                let theirs = self.watch(&mut peer, &[peer_output.to_owned()], outputs);
                told += &format!("; Kafka Streams {stores} {}", theirs.told(records));
                cpu[i].push(theirs.cpu / ours.cpu);
                speed[i].push(theirs.seconds / ours.seconds);
            }
            println!("{told}");
        }
        for (i, (stores, goal)) in peers.iter().enumerate() {
            println!("bench streams_{stores}_cpu_vs_router_{name} ratio={:.2} goal={goal}", median(&mut cpu[i]));
            println!("throughput of the router against it: {:.2}", median(&mut speed[i]));
        }
    }

    /// Fifty views over one source against one.
    fn fifty(&self) {
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let run = |copies| {
                let state = TempDir::new().unwrap();
                // Each view takes another hundredth.
                let sql = |copy| {
                    let from = copy * 200;
                    format!("SELECT order_id, cents FROM bench.orders WHERE cents >= {from} AND cents < {}", from + 100)
                };
                let (views, topics) = self.view(sql, copies);
                let outputs = ORDERS / 100 * u64::from(copies);
                let watched = self.watch(&mut self.router(&views, state.path(), free_port()), &topics, outputs);
                // What a run leaves behind would slow the broker of the next one down.
                for topic in &topics {
                    for of in ["", ".quarantine", ".changelog"] {
                        self.admin.delete_topic(&format!("{topic}{of}")).unwrap();
                    }
                }
                watched
            };
            let (one, fifty) = (run(1), run(50));
            println!("one view {}; fifty views {}", one.told(ORDERS), fifty.told(ORDERS));
            ratios.push(fifty.cpu / one.cpu);
        }
        println!("bench fifty_views_cpu_vs_one ratio={:.2} goal=<=3", median(&mut ratios));
    }

    /// A router that finds no local state.
    fn restore(&self) {
        let state = TempDir::new().unwrap();
        let (views, topics) = self.view(|_| JOIN.to_owned(), 1);
        let first = self.watch(&mut self.router(&views, state.path(), free_port()), &topics, KEYS);
        println!("resident memory with {KEYS} keys of two sides: {:.0} MB; {}", first.megabytes, first.told(2 * KEYS));
        let lost = TempDir::new().unwrap();
        let port = free_port();
        let began = Instant::now();
        let process = Process::spawn(&mut self.router(&views, lost.path(), port)).unwrap();
        let restored = || {
            let views: Value = serde_json::from_str(&http(port, "GET", "/views", "")?.1).ok()?;
            let tasks = views[0]["tasks"].as_array()?.len();
            (tasks == PARTITIONS as usize).then(|| views[0]["total"]["restored"].as_u64()).flatten()
        };
        let mut count = None;
        wait_for(Duration::from_secs(180), "the state to be restored", || {
            count = restored();
            count.is_some()
        });
        let seconds = began.elapsed().as_secs_f64();
        let rate = KEYS as f64 / seconds;
        println!(
            "{} entries of {KEYS} keys restored in {seconds:.2} s from the start of the process, {:.0} MB",
            count.unwrap(),
            process.resident()
        );
        println!("bench router_restore_keys_per_second_vs_500k ratio={:.2} goal=>=1", rate / 500_000.0);
    }

    /// Runs a program until the topics have grown by so many records, and times the growth.
    fn watch(&self, command: &mut Command, topics: &[String], outputs: u64) -> Watched {
        let ends = || {
            let end = |topic: &String| {
                // The leaders of a topic that was made a moment ago may not know of it yet.
                let mut offsets = Vec::new();
                wait_for(Duration::from_secs(30), "the ends of a topic", || {
                    self.admin.offsets(topic).map(|found| offsets = found).is_ok()
                });
                offsets.iter().map(|o| o.end).sum::<i64>()
            };
            topics.iter().map(end).sum::<i64>()
        };
        let base = ends();
        let mut process = Process::spawn(command).unwrap();
        let mut first = None;
        let (deadline, mut quiet) = (Instant::now() + Duration::from_secs(400), Instant::now());
        let mut grown = 0;
        // Markers of transactions take offsets too, so the end lies beyond the outputs: it is done once it has grown by
        // them and nothing more comes for a while.
        let mut done: Option<(f64, f64, f64)> = None;
        loop {
            let now = ends() - base;
            if now > 0 && first.is_none() {
                first = Some(Instant::now());
            }
            if now != grown {
                (grown, quiet) = (now, Instant::now());
                let seconds = first.map_or(0.0, |from: Instant| from.elapsed().as_secs_f64());
                done = Some((seconds, process.cpu_seconds(), process.resident()));
            }
            if grown >= outputs as i64 && quiet.elapsed() > Duration::from_secs(1) {
                break;
            }
            assert!(Instant::now() < deadline, "{command:?} is not done after 400 s, at {grown} of {outputs}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (seconds, cpu, megabytes) = done.unwrap();
        process.terminate(Duration::from_secs(30));
        Watched { seconds, cpu, megabytes }
    }
}

struct Watched {
    seconds: f64,
    cpu: f64,
    megabytes: f64,
}

impl Watched {
    fn told(&self, records: u64) -> String {
        let (rate, cpu) = (records as f64 / self.seconds, self.cpu / records as f64 * 1e6);
        format!("{rate:.0} records/s, {cpu:.2} us CPU a record, {:.0} MB", self.megabytes)
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn schema(name: &str) -> String {
    std::fs::read_to_string(root().join("benches/peers/streams/schemas").join(name)).unwrap()
}

fn register(port: u16, topic: &str, schema: &str) -> u32 {
    let body = json!({ "schema": schema }).to_string();
    let (code, answer) = http(port, "POST", &format!("/subjects/{topic}-value/versions"), &body).unwrap();
    assert_eq!(code, 200, "{answer}");
    serde_json::from_str::<Value>(&answer).unwrap()["id"].as_u64().unwrap() as u32
}

/// A program of the release build, which lies beside this one.
fn program(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{name} is not built; run make bench");
    path
}
