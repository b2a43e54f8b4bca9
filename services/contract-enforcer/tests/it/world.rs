//! A small mesh of processes for one test, and what is needed to look at it from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use weir_avro::{JsonForm, Schema};
use weir_kafka::{Admin, ClusterConfig, NewTopic, Outgoing, Read, ReadOptions, Reader, Writer};
use weir_testkit::kafka::Cluster;
use weir_testkit::ledger::{Acked, Id, Ledger, Received, Record};
use weir_testkit::{Process, free_port, http, wait_for};

pub const TOPIC: &str = "shop.orders";
pub const LANDING: &str = "shop.orders.landing";
pub const QUARANTINE: &str = "shop.orders.quarantine";
pub const PARTITIONS: i32 = 2;
pub const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// Kafka, the registry and the topics of one contract.
pub struct World {
    pub cluster: Cluster,
    pub kafka: ClusterConfig,
    pub registry_port: u16,
    pub registry: Option<Process>,
    pub encoder: Encoder,
}

/// Makes payloads of the registered schema.
#[derive(Clone)]
pub struct Encoder {
    schema: Arc<Schema>,
    id: u32,
}

impl Encoder {
    /// A payload with its schema id in front.
    pub fn encode(&self, order: &Value) -> Vec<u8> {
        let mut value = vec![0];
        value.extend(self.id.to_be_bytes());
        value.extend(weir_avro::from_json(&self.schema, order, JsonForm::Plain).unwrap());
        value
    }
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A binary of the workspace, which `cargo test --workspace` builds beside the tests.
fn binary(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{name} is not built; run cargo build --bins first");
    path
}

impl World {
    /// Starts it all; `None`, after saying so, where Kafka cannot run.
    pub fn start() -> Option<World> {
        // Members that were killed are given up after two seconds instead of six.
        let cluster = Cluster::start_with(&[("group.min.session.timeout.ms", "1000")])?;
        let kafka = ClusterConfig::new::<&str, &str>(&cluster.bootstrap(), []).unwrap();
        let admin = Admin::new(&kafka).unwrap();
        for topic in [LANDING, TOPIC, QUARANTINE] {
            // The records carry old timestamps, which retention by time would take for a reason to delete them.
            let topic = NewTopic::new(topic, PARTITIONS).set("retention.ms", "-1");
            admin.create_topic(&topic.set("max.message.bytes", "2000000")).unwrap();
        }
        admin.create_topic(&NewTopic::new("weir.contracts", 1).set("cleanup.policy", "compact")).unwrap();
        let text = fixture("Order.avsc");
        let mut world = World {
            cluster,
            kafka,
            registry_port: free_port(),
            registry: None,
            encoder: Encoder { schema: Arc::new(Schema::parse(&text).unwrap()), id: 0 },
        };
        world.start_registry();
        world.encoder.id = world.register("shop.orders-value", &text);
        world.publish(&fixture("orders.odcs.yaml"));
        Some(world)
    }

    pub fn start_registry(&mut self) {
        let mut command = Command::new(binary("schema-registry"));
        command.args(["--kafka", &self.cluster.bootstrap(), "--listen", &format!("127.0.0.1:{}", self.registry_port)]);
        self.registry = Some(Process::spawn(&mut command).unwrap());
        let port = self.registry_port;
        wait_for(SECONDS(30), "the registry to answer", || get(port, "/subjects").is_some_and(|(code, _)| code == 200));
    }

    pub fn stop_registry(&mut self) {
        self.registry.take().unwrap().kill();
    }

    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        let body = json!({ "schema": schema }).to_string();
        let (code, answer) = http(self.registry_port, "POST", &format!("/subjects/{subject}/versions"), &body).unwrap();
        assert_eq!(code, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["id"].as_u64().unwrap() as u32
    }

    /// Puts a contract into the contracts topic, as `weir apply` does.
    pub fn publish(&self, contract: &str) {
        let version = contract.lines().find_map(|l| l.strip_prefix("version: ")).unwrap_or("0");
        let record = json!({ "form": 1, "id": "shop.orders", "version": version, "contract": contract,
            "schemas": { "Order.avsc": fixture("Order.avsc") } });
        let value = record.to_string();
        let mut writer = Writer::open(&self.kafka, 10).unwrap();
        let out = Outgoing {
            topic: "weir.contracts",
            key: Some(b"shop.orders"),
            value: Some(value.as_bytes()),
            ..Outgoing::default()
        };
        writer.write(&out).unwrap();
    }

    pub fn contract(&self) -> String {
        fixture("orders.odcs.yaml")
    }

    /// Starts an enforcer and waits until it is ready.
    pub fn enforcer(&self, instance: &str) -> Enforcer {
        let enforcer = self.enforcer_unready(instance);
        enforcer.wait_ready();
        enforcer
    }

    /// Starts an enforcer and waits until it answers, ready or not. It has as many workers as there are partitions for
    /// it when two of them share the work.
    pub fn enforcer_unready(&self, instance: &str) -> Enforcer {
        self.enforcer_by(instance, &self.cluster.bootstrap())
    }

    /// As [`World::enforcer_unready`], with another way to Kafka.
    pub fn enforcer_by(&self, instance: &str, kafka: &str) -> Enforcer {
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_contract-enforcer"));
        command.args(["--kafka", kafka]);
        command.args(["--registry", &format!("http://127.0.0.1:{}", self.registry_port)]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--instance", instance]);
        command.args(["--session-timeout-ms", "2000", "--log", "warn", "--workers", "1"]);
        // The suite is the same for both lanes.
        command.args(["--lane", &std::env::var("WEIR_TEST_LANE").unwrap_or_else(|_| "auto".to_owned())]);
        let process = Process::spawn(&mut command).unwrap();
        wait_for(SECONDS(30), "the enforcer to answer", || get(port, "/health/live").is_some());
        Enforcer { process, port }
    }

    /// Everything committed in a topic, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Received> {
        let mut reader = Reader::open(&self.kafka, topic, ReadOptions::default()).unwrap();
        let mut partitions: BTreeMap<i32, Vec<Received>> = BTreeMap::new();
        loop {
            match reader.next(SECONDS(10)).unwrap() {
                Read::Record(r) => partitions.entry(r.partition).or_default().push(Received {
                    partition: r.partition,
                    offset: r.offset,
                    record: Record {
                        timestamp: r.timestamp.millis().unwrap(),
                        key: r.key,
                        value: r.value,
                        headers: r.headers,
                    },
                }),
                Read::CaughtUp => return partitions.into_values().flatten().collect(),
                Read::Idle => panic!("the reader of {topic} does not get to the end: {:?}", reader.positions()),
            }
        }
    }

    /// Records committed in both outputs together.
    pub fn outcome(&self) -> (usize, usize) {
        (self.read(TOPIC).len(), self.read(QUARANTINE).len())
    }

    /// Waits until the group has committed everything there is in the landing topic.
    pub fn drained(&self, limit: Duration) {
        let admin = Admin::new(&self.kafka).unwrap();
        wait_for(limit, "the enforcer to drain the landing topic", || {
            admin
                .lag("contract-enforcer", LANDING)
                .is_ok_and(|lag| lag.len() == PARTITIONS as usize && lag.values().all(|behind| *behind == 0))
        });
    }
}

/// Writes the ledger's records round after round, each to its own partition, until they or the reason for them are
/// gone; returns what was acknowledged. Paced, so that there is always something to be done when a fault strikes.
pub fn produce(
    kafka: &ClusterConfig,
    ledger: &Ledger<'_>,
    ids: impl Iterator<Item = Id>,
    stop: &AtomicBool,
) -> Vec<Acked> {
    const STEP: usize = 100;
    let mut writer = Writer::open(kafka, 20_000).unwrap();
    let (mut sent, mut acked) = (Vec::new(), Vec::new());
    let note = |sent: &[Id], deliveries: Vec<weir_kafka::Delivery>, acked: &mut Vec<Acked>| {
        for delivery in deliveries {
            acked.push(Acked { id: sent[delivery.token], offset: delivery.result.unwrap().1 });
        }
    };
    for id in ids {
        let record = ledger.record(id);
        writer.send(&outgoing(LANDING, id.partition, &record, &headers(&record)), sent.len()).unwrap();
        sent.push(id);
        if sent.len() % STEP == 0 {
            note(&sent, writer.deliveries(), &mut acked);
            if stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    note(&sent, writer.flush(), &mut acked);
    acked
}

pub fn headers(record: &Record) -> Vec<(&str, Option<&[u8]>)> {
    record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
}

pub fn outgoing<'a>(
    topic: &'a str,
    partition: i32,
    record: &'a Record,
    headers: &'a [(&'a str, Option<&'a [u8]>)],
) -> Outgoing<'a> {
    Outgoing {
        topic,
        partition: Some(partition),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers,
        timestamp: Some(record.timestamp),
    }
}

/// A running enforcer process.
pub struct Enforcer {
    pub process: Process,
    pub port: u16,
}

impl Enforcer {
    pub fn wait_ready(&self) {
        wait_for(SECONDS(60), "the enforcer to be ready", || {
            get(self.port, "/health/ready").is_some_and(|(code, _)| code == 200)
        });
    }

    pub fn ready(&self) -> (u16, String) {
        get(self.port, "/health/ready").unwrap()
    }

    pub fn contracts(&self) -> Value {
        serde_json::from_str(&get(self.port, "/contracts").unwrap().1).unwrap()
    }

    /// The sum of a metric over its samples.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, page) = get(self.port, "/metrics").unwrap();
        sum(&page, name)
    }

    pub fn metrics(&self) -> String {
        get(self.port, "/metrics").unwrap().1
    }
}

pub fn sum(page: &str, name: &str) -> u64 {
    page.lines()
        .filter(|l| !l.starts_with('#') && (l.starts_with(&format!("{name}{{")) || l.starts_with(&format!("{name} "))))
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    http(port, "GET", path, "")
}
