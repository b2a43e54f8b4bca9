//! A small shop: orders and customers, the views over them, and what is needed to look at it from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_avro::{FieldPath, JsonForm, Schema};
use weir_contract::ContractRecord;
use weir_kafka::{Admin, ClusterConfig, NewTopic, Outgoing, Read, ReadOptions, Reader, Record, Writer};
use weir_testkit::kafka::Cluster;
use weir_testkit::{Process, free_port, http, wait_for};
use weir_view::{Plan, Relation, Stage, ViewRecord, plan_all, read};

use crate::oracle::{Breaks, Made, Outcome, newest, run, same};

pub const PARTITIONS: i32 = 3;
pub const SECONDS: fn(u64) -> Duration = Duration::from_secs;
pub const ORDERS: &str = "shop.orders";
pub const CUSTOMERS: &str = "shop.customers";
/// Long enough for a machine that does other things as well.
pub const LONG: Duration = Duration::from_secs(90);

/// Kafka, the registry, the two products and the views over them.
pub struct World {
    pub cluster: Cluster,
    pub kafka: ClusterConfig,
    pub admin: Admin,
    pub registry_port: u16,
    pub registry: Option<Process>,
    pub products: Vec<Relation>,
    pub plans: BTreeMap<String, Plan>,
    pub ids: BTreeMap<String, u32>,
    pub state: TempDir,
    /// Whether routers delete what lies between stages at once.
    pub purge: bool,
    /// Whether routers keep copies of the state of others.
    pub standby: bool,
    /// How many workers a router has; 0 for as many as there are where nobody says it.
    pub workers: u32,
    /// How long a router waits for an input that has nothing, in milliseconds.
    pub max_idle_ms: u64,
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// A binary of the workspace, which `cargo test --workspace` builds beside the tests.
fn binary(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{name} is not built; run cargo build --bins first");
    path
}

/// Records on their way to the topics of products.
#[derive(Clone)]
pub struct Writing {
    kafka: ClusterConfig,
    /// The schema of each topic, and its id.
    schemas: BTreeMap<String, (Arc<Schema>, u32)>,
}

impl Writing {
    /// Writes records: topic, key, value as JSON or a tombstone, time. Keys choose their partitions.
    pub fn write<'r>(&self, records: impl IntoIterator<Item = (&'r str, &'r str, Option<Value>, i64)>) {
        let mut writer = Writer::open(&self.kafka, 50_000).unwrap();
        for (token, (topic, key, value, time)) in records.into_iter().enumerate() {
            let (schema, id) = &self.schemas[topic];
            let value = value.map(|value| encode(*id, schema, &value));
            let out = Outgoing {
                topic,
                key: Some(key.as_bytes()),
                value: value.as_deref(),
                timestamp: Some(time),
                ..Outgoing::default()
            };
            writer.send(&out, token).unwrap();
        }
        for delivery in writer.flush() {
            delivery.result.unwrap();
        }
    }
}

fn encode(id: u32, schema: &Schema, value: &Value) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    bytes.extend(weir_avro::from_json(schema, value, JsonForm::Plain).unwrap());
    bytes
}

impl World {
    /// Starts Kafka and the registry, with the two products; `None`, after saying so, where Kafka cannot run.
    pub fn start() -> Option<World> {
        let cluster = Cluster::start_with(&[
            ("group.min.session.timeout.ms", "1000"),
            // What a worker left open that nobody succeeds is aborted at its time and not up to ten seconds later.
            ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
        ])?;
        let kafka = ClusterConfig::new::<&str, &str>(&cluster.bootstrap(), []).unwrap();
        let admin = Admin::new(&kafka).unwrap();
        let mut world = World {
            cluster,
            kafka,
            admin,
            registry_port: free_port(),
            registry: None,
            products: Vec::new(),
            plans: BTreeMap::new(),
            ids: BTreeMap::new(),
            state: TempDir::new().unwrap(),
            purge: false,
            standby: false,
            workers: 1,
            max_idle_ms: 100,
        };
        world.admin.create_topic(&NewTopic::new("weir.views", 1).set("cleanup.policy", "compact")).unwrap();
        world.start_registry();
        world.add(ORDERS, "Order.avsc", false, "customer_id", "ordered_at");
        world.add(CUSTOMERS, "Customer.avsc", true, "customer_id", "changed_at");
        world.products[1].personal.insert("name".to_owned(), "personal".to_owned());
        Some(world)
    }

    /// Adds a product, a stream or a table, with its topic and its schema.
    pub fn add(&mut self, name: &str, schema: &str, table: bool, key: &str, time: &str) {
        let schema = fixture(schema);
        // Not compacted, though some are tables: what a join has seen must still be there when the same is done again.
        self.topic(name, "delete");
        self.register(name, &schema);
        self.products.push(Relation {
            name: name.to_owned(),
            topic: name.to_owned(),
            table,
            key: vec![key.to_owned()],
            key_schema: None,
            event_time: Some(FieldPath::parse(time)),
            partitions: Some(PARTITIONS as u32),
            schema: Arc::new(Schema::parse(&schema).unwrap()),
            personal: BTreeMap::new(),
            personal_key: false,
        });
    }

    fn topic(&self, name: &str, policy: &str) {
        let new = NewTopic::new(name, PARTITIONS).set("retention.ms", "-1").set("cleanup.policy", policy);
        self.admin.create_topic(&new).unwrap();
    }

    pub fn start_registry(&mut self) {
        let mut command = Command::new(binary("schema-registry"));
        command.args(["--kafka", &self.cluster.bootstrap(), "--listen", &format!("127.0.0.1:{}", self.registry_port)]);
        self.registry = Some(Process::spawn(&mut command).unwrap());
        let port = self.registry_port;
        wait_for(LONG, "the registry to answer", || get(port, "/subjects").is_some_and(|(code, _)| code == 200));
    }

    pub fn register(&mut self, topic: &str, schema: &str) -> u32 {
        let body = json!({ "schema": schema }).to_string();
        let path = format!("/subjects/{topic}-value/versions");
        let (code, answer) = http(self.registry_port, "POST", &path, &body).unwrap();
        assert_eq!(code, 200, "{answer}");
        let id = serde_json::from_str::<Value>(&answer).unwrap()["id"].as_u64().unwrap() as u32;
        self.ids.insert(topic.to_owned(), id);
        id
    }

    /// Applies views, as `weir apply` does: topics, schemas, records.
    pub fn apply(&mut self, texts: &[&str]) {
        let contracts: Vec<Option<&str>> = vec![None; texts.len()];
        self.apply_with(texts, &contracts);
    }

    /// The same, with the contracts of what they write.
    pub fn apply_with(&mut self, texts: &[&str], contracts: &[Option<&str>]) {
        let files: Vec<_> = texts
            .iter()
            .map(|text| {
                let (file, found) = read(text, "test.view.yaml");
                file.unwrap_or_else(|| panic!("{found:?}"))
            })
            .collect();
        let (plans, found) = plan_all(self.products.clone(), &files);
        assert_eq!(found, [], "{texts:?}");
        for (((file, plan), text), contract) in files.iter().zip(plans).zip(texts).zip(contracts) {
            let plan = plan.unwrap();
            let topic = plan.output.topic.clone();
            // Not compacted, though many are tables: every record that was ever written is to be looked at.
            self.topic(&topic, "delete");
            self.topic(&format!("{topic}.quarantine"), "delete");
            if file.late {
                self.topic(&format!("{topic}.late"), "delete");
            }
            for stage in plan.stages() {
                if stage.suffix.is_some() {
                    self.topic(&stage.output.topic, "delete");
                }
                self.topic(&format!("{}.changelog", stage.output.topic), "compact");
            }
            self.register(&topic, &plan.schema.to_string());
            let contract = contract.map(|text| ContractRecord {
                id: file.options.id.clone(),
                version: "1.0.0".to_owned(),
                contract: text.to_owned(),
                schemas: [("view.avsc".to_owned(), plan.schema.to_string())].into(),
            });
            let record = ViewRecord {
                id: file.options.id.clone(),
                version: file.version.clone(),
                generation: 1,
                text: (*text).to_owned(),
                inputs: plan.inputs.clone(),
                contract,
            };
            self.publish(&record.id, Some(record.to_json().as_bytes()));
            self.plans.insert(record.id, plan);
        }
    }

    /// Has a view made anew, by the command that people have for it, and knows it by its new topics from then on.
    pub fn reset(&mut self, view: &str) {
        let registry = format!("http://127.0.0.1:{}", self.registry_port);
        let mut command = Command::new(binary("weir"));
        command.args(["view", "reset", view, "--yes", "--kafka", &self.cluster.bootstrap(), "--registry", &registry]);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let records = self.read("weir.views").concat();
        let record = records.iter().rfind(|record| record.key.as_deref() == Some(view.as_bytes())).unwrap();
        let (_, plan) = ViewRecord::from_json(record.value.as_ref().unwrap()).unwrap().plan().unwrap();
        self.register(&plan.output.topic, &plan.schema.to_string());
        self.plans.insert(view.to_owned(), plan);
    }

    pub fn publish(&self, id: &str, value: Option<&[u8]>) {
        let mut writer = Writer::open(&self.kafka, 10).unwrap();
        let out = Outgoing { topic: "weir.views", key: Some(id.as_bytes()), value, ..Outgoing::default() };
        writer.write(&out).unwrap();
    }

    /// What writes to the products there are now.
    pub fn writing(&self) -> Writing {
        let schema = |product: &Relation| (Arc::clone(&product.schema), self.ids[&product.topic]);
        let schemas = self.products.iter().map(|product| (product.topic.clone(), schema(product))).collect();
        Writing { kafka: self.kafka.clone(), schemas }
    }

    /// Writes records to the topic of a product: key, value as JSON or a tombstone, time.
    pub fn write<'r>(&self, topic: &'r str, records: impl IntoIterator<Item = (&'r str, Option<Value>, i64)>) {
        self.writing().write(records.into_iter().map(|(key, value, time)| (topic, key, value, time)));
    }

    pub fn encode(&self, topic: &str, schema: &Schema, value: &Value) -> Vec<u8> {
        encode(self.ids[topic], schema, value)
    }

    /// Starts a router and waits until it is ready.
    pub fn router(&self, instance: &str) -> Router {
        let router = self.router_unready(instance, &self.state.path().join(instance));
        router.wait_ready();
        router
    }

    /// Starts a router and waits until it answers, ready or not.
    pub fn router_unready(&self, instance: &str, state: &Path) -> Router {
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_router"));
        command.args(["--kafka", &self.cluster.bootstrap()]);
        command.args(["--registry", &format!("http://127.0.0.1:{}", self.registry_port)]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--instance", instance]);
        command.arg("--state").arg(state);
        command.args(["--session-timeout-ms", "2000", "--log", "warn"]);
        command.args(["--workers", &self.workers.to_string(), "--max-idle-ms", &self.max_idle_ms.to_string()]);
        // What lies between stages is looked at, unless a test is about its going.
        if self.standby {
            command.arg("--standby");
        }
        command.args(["--purge-s", if self.purge { "1" } else { "3600" }]);
        let process = Process::spawn(&mut command).unwrap();
        wait_for(LONG, "the router to answer", || get(port, "/health/live").is_some());
        Router { process, port }
    }

    /// Everything committed in a topic, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Vec<Record>> {
        let mut reader = Reader::open(&self.kafka, topic, ReadOptions::default()).unwrap();
        let mut partitions: Vec<Vec<Record>> = vec![Vec::new(); PARTITIONS as usize];
        loop {
            match reader.next(SECONDS(10)).unwrap() {
                Read::Record(record) => partitions[record.partition as usize].push(record),
                Read::CaughtUp => return partitions,
                Read::Idle => panic!("the reader of {topic} does not get to the end: {:?}", reader.positions()),
            }
        }
    }

    /// What the operators of a stage make of the logs of its inputs, partition by partition.
    pub fn oracle(&self, stage: &Stage, breaks: Breaks<'_>) -> Vec<Outcome> {
        let inputs: Vec<Vec<Vec<Made>>> =
            (stage.inputs.iter()).map(|input| self.datums(&input.relation.topic, input.from.is_none())).collect();
        let of = |partition: usize| {
            let logs: Vec<&[Made]> = inputs.iter().map(|input| input[partition].as_slice()).collect();
            run(stage, partition as i32, &logs, breaks)
        };
        (0..PARTITIONS as usize).map(of).collect()
    }

    /// What is in a topic, partition by partition: key, datum, time.
    fn datums(&self, topic: &str, framed: bool) -> Vec<Vec<Made>> {
        let made = |record: Record| {
            let value = record.value.map(|value| match framed {
                true => {
                    assert_eq!(value[..5], [&[0][..], &self.ids[topic].to_be_bytes()].concat(), "the frame");
                    value[5..].to_vec()
                }
                false => value,
            });
            (record.key, value, record.timestamp.millis().unwrap())
        };
        self.read(topic).into_iter().map(|records| records.into_iter().map(made).collect()).collect()
    }

    /// What a view wrote, partition by partition: key, datum, time.
    pub fn written(&self, view: &str) -> Vec<Vec<Made>> {
        self.datums(&self.plans[view].output.topic, true)
    }

    /// Waits until every stage of a view has read what the one before has written.
    pub fn settled(&self, view: &str) {
        let stages = self.plans[view].stages();
        let between = || stages.iter().filter(|stage| stage.suffix.is_some());
        wait_for(LONG, "the stages to be done", || {
            between().all(|stage| {
                let topic = &stage.output.topic;
                let Ok(committed) = self.admin.committed("weir.router", topic) else { return false };
                self.last_offsets(topic).iter().all(|(partition, last)| committed.get(partition) > Some(last))
            })
        });
    }

    /// The offset of the last record of each partition that has one.
    fn last_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        self.read(topic).iter().flatten().map(|record| (record.partition, record.offset)).collect()
    }

    /// Waits until everything there is of the products has been read, whoever runs the views. What views read of each
    /// other is not looked at: it is written in transactions, whose last marker no position passes.
    pub fn caught_up(&self) {
        let inputs = self.plans.values().flat_map(|plan| plan.inputs.iter().map(|input| &*input.topic));
        let topics: std::collections::BTreeSet<&str> =
            inputs.filter(|topic| self.products.iter().any(|product| product.topic == **topic)).collect();
        wait_for(LONG, "the router to read everything", || {
            topics.iter().all(|topic| {
                let lag = self.admin.lag("weir.router", topic);
                lag.is_ok_and(|lag| lag.len() == PARTITIONS as usize && lag.values().all(|behind| *behind == 0))
            })
        });
    }

    /// What a view wrote is what its operators make of the same logs, in the same order, each once: its output, its quarantine, and what
    /// came too late where it is asked for.
    #[track_caller]
    pub fn check(&self, view: &str) -> usize {
        self.check_with(view, &|_| false)
    }

    /// The same of a view with a contract. How many records are in its topic.
    #[track_caller]
    pub fn check_with(&self, view: &str, breaks: Breaks<'_>) -> usize {
        let stages = self.plans[view].stages();
        if stages.len() > 1 {
            self.settled(view);
        }
        let (mut aside, mut late) = (vec![Vec::new(); PARTITIONS as usize], vec![Vec::new(); PARTITIONS as usize]);
        let mut made = 0;
        for stage in stages {
            let outcomes = self.check_stage(stage, breaks);
            made = outcomes.iter().map(|outcome| outcome.made.len()).sum();
            for (partition, outcome) in outcomes.into_iter().enumerate() {
                aside[partition].extend(outcome.aside);
                late[partition].extend(outcome.late);
            }
        }
        let topic = &self.plans[view].output.topic;
        for (topic, expect) in [(format!("{topic}.quarantine"), aside), (format!("{topic}.late"), late)] {
            if self.admin.partitions(&topic).unwrap().is_none() {
                continue;
            }
            self.decided(&topic);
            let mut found = self.datums(&topic, false);
            if stages.len() > 1 {
                // What stages put aside is framed or not, and lies there in any order.
                assert_eq!(found.concat().len(), expect.concat().len(), "{topic}");
                continue;
            }
            // The frame is that of the input, or that of the output where this breaks the contract.
            for (_, value, _) in found.iter_mut().flatten() {
                *value = value.take().map(|value| value[5..].to_vec());
            }
            same(&topic, expect, found, false);
        }
        made
    }

    /// The same of a table, of whose log the broker may have dropped what is not the newest of its key: the newest rows.
    #[track_caller]
    pub fn check_table(&self, view: &str) {
        let stages = self.plans[view].stages();
        if stages.len() > 1 {
            self.settled(view);
        }
        let stage = &stages[stages.len() - 1];
        self.decided(&stage.output.topic);
        let expect = self.oracle(stage, &|_| false).into_iter().map(|outcome| newest(outcome.made)).collect::<Vec<_>>();
        assert!(expect.iter().any(|rows| !rows.is_empty()), "{view}");
        let found = self.written(view).into_iter().map(newest).collect::<Vec<_>>();
        assert_eq!(found, expect, "{view}");
    }

    /// The same of the output of one stage.
    #[track_caller]
    pub fn check_stage(&self, stage: &Stage, breaks: Breaks<'_>) -> Vec<Outcome> {
        let (topic, last) = (&stage.output.topic, stage.suffix.is_none());
        self.decided(topic);
        self.decided(&format!("{topic}.changelog"));
        let outcomes = self.oracle(stage, if last { breaks } else { &|_| false });
        let expect = outcomes.iter().map(|outcome| outcome.made.clone()).collect();
        same(topic, expect, self.datums(topic, last), stage.rekeyed);
        outcomes
    }

    /// Waits until every transaction in a topic is decided. The answer to a commit comes before its markers are written, and that of the
    /// positions may be there first. A transaction that hangs would never let what is behind it be seen.
    #[track_caller]
    pub fn decided(&self, topic: &str) {
        wait_for(LONG, &format!("every transaction in {topic} to be decided"), || {
            let mut ends = (0..PARTITIONS).map(|partition| self.admin.stable_end(topic, partition));
            ends.all(|ends| ends.is_ok_and(|(stable, end)| stable == end))
        });
    }

    /// The `order_id` of everything a stream wrote.
    pub fn orders_in(&self, view: &str) -> Vec<String> {
        let schema = &self.plans[view].output.schema;
        let id = |value: &[u8]| {
            weir_avro::to_json(schema, value, JsonForm::Plain).unwrap()["order_id"].as_str().unwrap().to_owned()
        };
        self.written(view).into_iter().flatten().map(|(_, value, _)| id(&value.unwrap())).collect()
    }

    /// The newest row of each key of what a view wrote, as JSON.
    pub fn table(&self, view: &str) -> BTreeMap<String, Value> {
        let schema = &self.plans[view].output.schema;
        let mut table = BTreeMap::new();
        for (key, value, _) in self.written(view).into_iter().flatten() {
            let key = String::from_utf8(key.unwrap()).unwrap();
            match value {
                Some(value) => table.insert(key, weir_avro::to_json(schema, &value, JsonForm::Plain).unwrap()),
                None => table.remove(&key),
            };
        }
        table
    }
}

/// A running router process.
pub struct Router {
    pub process: Process,
    pub port: u16,
}

impl Router {
    pub fn wait_ready(&self) {
        wait_for(LONG, "the router to be ready", || self.is_ready());
    }

    pub fn is_ready(&self) -> bool {
        get(self.port, "/health/ready").is_some_and(|(code, _)| code == 200)
    }

    pub fn ready(&self) -> (u16, String) {
        get(self.port, "/health/ready").unwrap()
    }

    pub fn views(&self) -> Value {
        serde_json::from_str(&get(self.port, "/views").unwrap().1).unwrap()
    }

    pub fn view(&self, id: &str) -> Value {
        let views = self.views();
        views.as_array().unwrap().iter().find(|view| view["id"] == id).cloned().unwrap_or(Value::Null)
    }

    pub fn metrics(&self) -> String {
        get(self.port, "/metrics").unwrap().1
    }
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    http(port, "GET", path, "")
}
