//! Topics, streams, stages and the independent reader.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header as NativeHeader, Headers as _, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tracing_subscriber::EnvFilter;
use weir_kafka::{Admin, ClusterConfig, Lane, NewTopic, Pump, PumpConfig, StageMaker};
use weir_pump::{Action, Headers, Route, Run, Stage, Stall};
use weir_testkit::kafka::Cluster;
use weir_testkit::wait_for;

pub const LONG: Duration = Duration::from_secs(90);

/// A coordinator looks for transactions that took too long every ten seconds as shipped.
const IMPATIENT: &[(&str, &str)] = &[("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500")];

/// The broker of the tests that leave it alone.
pub fn shared() -> Option<Lab> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start_with(IMPATIENT)).as_ref().map(|cluster| Lab::new(cluster.bootstrap()))
}

/// The broker of the tests that stop, kill and damage it: one test at a time. As patient as shipped: see `faults`.
pub fn fragile() -> Option<MutexGuard<'static, Cluster>> {
    static CLUSTER: OnceLock<Option<Mutex<Cluster>>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Cluster::start().map(Mutex::new)).as_ref()?;
    Some(cluster.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The lane that this test run is to have: `WEIR_TEST_LANE`, rdkafka where it is not set. The suite is the same for both.
pub fn lane() -> Lane {
    std::env::var("WEIR_TEST_LANE").map_or(Lane::Rdkafka, |lane| lane.parse().unwrap())
}

/// Whether the run is to take its time: `WEIR_TEST_LONG=1`. Without it a suite shows a part of the cases.
pub fn is_long() -> bool {
    std::env::var_os("WEIR_TEST_LONG").is_some_and(|value| value == "1")
}

/// One test's corner of a cluster: topics and a group nobody else uses.
pub struct Lab {
    pub bootstrap: String,
    pub cluster: ClusterConfig,
    pub admin: Admin,
    pub name: String,
}

impl Lab {
    pub fn new(bootstrap: String) -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // What the pump logs belongs to the output of the test that fails. RUST_LOG asks for more or less.
        drop(tracing_subscriber::fmt().with_test_writer().with_env_filter(EnvFilter::from_default_env()).try_init());
        let cluster = ClusterConfig::new(&bootstrap, [] as [(&str, &str); 0]).unwrap().with_lane(lane());
        let name = format!("lab{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Lab { admin: Admin::new(&cluster).unwrap().with_timeout(Duration::from_secs(30)), cluster, bootstrap, name }
    }

    pub fn route(&self) -> Route {
        self.route_named("orders")
    }

    pub fn route_named(&self, topic: &str) -> Route {
        let name = &self.name;
        Route {
            source: format!("{name}.{topic}.landing"),
            accepted: format!("{name}.{topic}"),
            quarantine: format!("{name}.{topic}.quarantine"),
        }
    }

    pub fn create(&self, partitions: i32) -> Route {
        let route = self.route();
        for topic in [&route.source, &route.accepted, &route.quarantine] {
            self.create_topic(topic, partitions, &[]);
        }
        route
    }

    /// A topic that keeps everything: the tests write records with all kinds of times.
    pub fn create_topic(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions).set("retention.ms", "-1");
        let new = configs.iter().fold(new, |new, (name, value)| new.set(*name, *value));
        assert!(self.admin.create_topic(&new).unwrap());
    }

    pub fn config(&self, instance: &str) -> PumpConfig {
        PumpConfig {
            session_timeout: Duration::from_secs(6),
            transaction_timeout: Duration::from_secs(4),
            ..PumpConfig::new(format!("{}.group", self.name), instance)
        }
    }

    pub fn pump(&self, config: PumpConfig, route: &Route) -> Pump {
        self.pump_with(config, route, |_| Box::new(Judge))
    }

    pub fn pump_with(
        &self,
        config: PumpConfig,
        route: &Route,
        stage: impl Fn(usize) -> Box<dyn Stage + Send> + Send + Sync + 'static,
    ) -> Pump {
        let stages: Arc<StageMaker> = Arc::new(stage);
        Pump::start(&self.cluster, config, vec![route.clone()], stages).unwrap()
    }

    pub fn lag(&self, topic: &str) -> u64 {
        self.admin.lag(&format!("{}.group", self.name), topic).unwrap().values().sum()
    }

    /// Waits until the group has committed everything in the source.
    #[track_caller]
    pub fn wait_until_done(&self, pumps: &[&Pump], route: &Route) {
        wait_for(LONG, "the pump to catch up", || {
            for pump in pumps {
                assert_eq!(pump.failure(), None);
            }
            matches!(self.admin.lag(&format!("{}.group", self.name), &route.source), Ok(lag) if lag.values().sum::<u64>() == 0)
        });
    }

    /// The invariants I1 (each record once), I3 (in order), I4 (byte for byte) and I6 (no transaction left open).
    #[track_caller]
    pub fn check(&self, route: &Route, sent: &[Sent]) {
        let (accepted, quarantined) = (self.drain(&route.accepted), self.drain(&route.quarantine));
        let expect = |verdict: fn(&[u8]) -> Option<Verdict>, wanted: &[Verdict]| {
            let mut partitions: BTreeMap<i32, Vec<Sent>> = BTreeMap::new();
            for record in sent {
                let verdict = verdict(record.value.as_deref().unwrap_or_default()).unwrap_or(Verdict::Ok);
                if wanted.contains(&verdict) {
                    let mut record = record.clone();
                    match verdict {
                        Verdict::Ok => {}
                        Verdict::Warn => record.headers.push(("weir.test".to_owned(), Some(b"warned".to_vec()))),
                        Verdict::Bad => record.headers.push(("weir.test".to_owned(), Some(b"quarantined".to_vec()))),
                    }
                    partitions.entry(record.partition).or_default().push(record);
                }
            }
            partitions
        };
        same(&route.accepted, &accepted, &expect(verdict, &[Verdict::Ok, Verdict::Warn]));
        same(&route.quarantine, &quarantined, &expect(verdict, &[Verdict::Bad]));
        for topic in [&route.accepted, &route.quarantine] {
            self.check_no_open_transaction(topic);
        }
    }

    /// The accepted records alone.
    #[track_caller]
    pub fn check_accepted(&self, route: &Route, sent: &[Sent]) {
        let mut expect: BTreeMap<i32, Vec<Sent>> = BTreeMap::new();
        for record in sent {
            let mut record = record.clone();
            match verdict(record.value.as_deref().unwrap_or_default()) {
                Some(Verdict::Bad) => continue,
                Some(Verdict::Warn) => record.headers.push(("weir.test".to_owned(), Some(b"warned".to_vec()))),
                Some(Verdict::Ok) | None => {}
            }
            expect.entry(record.partition).or_default().push(record);
        }
        same(&route.accepted, &self.drain(&route.accepted), &expect);
    }

    #[track_caller]
    pub fn check_no_open_transaction(&self, topic: &str) {
        let partitions = self.admin.partitions(topic).unwrap().unwrap();
        let (stable, all) = (self.reader("read_committed"), self.reader("read_uncommitted"));
        for partition in 0..partitions {
            let end = |reader: &BaseConsumer| reader.fetch_watermarks(topic, partition, LONG).unwrap().1;
            assert_eq!(end(&stable), end(&all), "{topic} {partition} has an open transaction");
        }
    }

    fn reader(&self, isolation: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", "independent")
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "20")
            .create()
            .unwrap()
    }

    /// Everything a read_committed reader sees of a topic, by partition.
    pub fn drain(&self, topic: &str) -> BTreeMap<i32, Vec<Sent>> {
        self.drain_as(topic, "read_committed")
    }

    pub fn drain_as(&self, topic: &str, isolation: &str) -> BTreeMap<i32, Vec<Sent>> {
        let reader = self.reader(isolation);
        let partitions = self.admin.partitions(topic).unwrap().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        reader.assign(&list).unwrap();
        let mut found: BTreeMap<i32, Vec<Sent>> = BTreeMap::new();
        let (mut ended, deadline) = (0, Instant::now() + LONG);
        while ended < partitions {
            assert!(Instant::now() < deadline, "{topic} has no end");
            match reader.poll(Duration::from_secs(1)) {
                Some(Ok(message)) => found.entry(message.partition()).or_default().push(Sent::of(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{topic}: {error}"),
                None => {}
            }
        }
        found
    }

    /// Writes `count` records to every partition of `topic`, valid and broken ones mixed, and returns them as they lie.
    pub fn fill(&self, topic: &str, partitions: i32, range: std::ops::Range<u64>) -> Vec<Sent> {
        let records = range.flat_map(|seq| (0..partitions).map(move |partition| Sent::generate(partition, seq)));
        self.send(topic, records.collect(), &[])
    }

    /// Writes records and returns them with nothing changed, having made sure that all of them lie in the log.
    pub fn send(&self, topic: &str, records: Vec<Sent>, config: &[(&str, &str)]) -> Vec<Sent> {
        self.send_batches(topic, std::slice::from_ref(&records), config);
        records
    }

    /// Writes batches, each delivered before the next is begun.
    pub fn send_batches(&self, topic: &str, batches: &[Vec<Sent>], config: &[(&str, &str)]) {
        let mut native = ClientConfig::new();
        native
            .set("bootstrap.servers", &self.bootstrap)
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "100000000")
            .set("linger.ms", "5");
        for (name, value) in config {
            native.set(*name, *value);
        }
        let producer: BaseProducer<Acks> = native.create_with_context(Acks::default()).unwrap();
        let mut last = 0;
        for (batch, record) in batches.iter().enumerate().flat_map(|(n, records)| records.iter().map(move |r| (n, r))) {
            if batch != last {
                last = batch;
                producer.flush(LONG).unwrap();
            }
            let mut native: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(record.partition);
            native.key = record.key.as_deref();
            native.payload = record.value.as_deref();
            native.timestamp = Some(record.timestamp);
            if !record.headers.is_empty() {
                native.headers = Some(record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(NativeHeader { key, value: value.as_deref() })
                }));
            }
            while let Err((error, back)) = producer.send(native) {
                assert!(error.to_string().contains("Queue full"), "{error}");
                producer.poll(Duration::from_millis(10));
                native = back;
            }
        }
        producer.flush(LONG).unwrap();
        assert!(!producer.context().failed.load(Ordering::Relaxed), "a record was not delivered");
    }
}

#[derive(Default)]
struct Acks {
    failed: AtomicBool,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

/// Milliseconds since 1970, the same for the whole run: a broker deletes what is older than a week.
pub fn today() -> i64 {
    static NOW: OnceLock<i64> = OnceLock::new();
    *NOW.get_or_init(|| i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap())
}

/// A record, as it was sent or as it arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    pub partition: i32,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map(|b| String::from_utf8_lossy(&b[..b.len().min(60)]).into_owned())
        };
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name, text(value))).collect();
        write!(f, "[{} @{} {:?} {:?} {headers:?}]", self.partition, self.timestamp, text(&self.key), text(&self.value))
    }
}

impl Sent {
    pub fn new(partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Sent {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Sent { partition, timestamp: today(), key: owned(key), value: owned(value), headers: Vec::new() }
    }

    pub fn generate(partition: i32, seq: u64) -> Sent {
        let verdict = match seq % 10 {
            3 => "bad",
            5 => "warn",
            _ => "ok",
        };
        let headers = if seq.is_multiple_of(7) {
            vec![("trace".to_owned(), Some(seq.to_be_bytes().to_vec()))]
        } else {
            Vec::new()
        };
        Sent {
            partition,
            timestamp: today() + i64::try_from(seq).unwrap(),
            key: Some(format!("key-{}", seq % 13).into_bytes()),
            value: Some(format!("{verdict}:{partition}:{seq}:{}", "x".repeat((seq % 97) as usize)).into_bytes()),
            headers,
        }
    }

    pub fn of(message: &impl Message) -> Sent {
        let mut headers = Vec::new();
        if let Some(native) = message.headers() {
            for header in native.iter() {
                headers.push((header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
            }
        }
        Sent {
            partition: message.partition(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let value = &self.headers.iter().find(|(n, _)| n == name)?.1;
        Some(String::from_utf8(value.clone()?).unwrap())
    }
}

#[track_caller]
pub fn same(topic: &str, found: &BTreeMap<i32, Vec<Sent>>, expect: &BTreeMap<i32, Vec<Sent>>) {
    for partition in found.keys().chain(expect.keys()) {
        let empty = Vec::new();
        let (found, expect) = (found.get(partition).unwrap_or(&empty), expect.get(partition).unwrap_or(&empty));
        if let Some(at) = (0..found.len().max(expect.len())).find(|at| found.get(*at) != expect.get(*at)) {
            panic!(
                "{topic} {partition}: {} records, expected {}; first difference at {at}: {:?}, expected {:?}",
                found.len(),
                expect.len(),
                found.get(at),
                expect.get(at)
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Warn,
    Bad,
}

pub fn verdict(value: &[u8]) -> Option<Verdict> {
    match value.split(|byte| *byte == b':').next()? {
        b"ok" => Some(Verdict::Ok),
        b"warn" => Some(Verdict::Warn),
        b"bad" => Some(Verdict::Bad),
        _ => None,
    }
}

/// Judges by the first word of the value; what has none is accepted.
pub struct Judge;

impl Stage for Judge {
    fn process(&mut self, run: &Run<'_>, actions: &mut Vec<Action>) -> Result<(), Stall> {
        let header = |text: &str| vec![("weir.test".into(), text.as_bytes().to_vec())];
        actions.extend(run.records.iter().map(|record| match verdict(record.value.unwrap_or_default()) {
            Some(Verdict::Ok) | None => Action::Forward,
            Some(Verdict::Warn) => Action::ForwardWith(header("warned")),
            Some(Verdict::Bad) => Action::Quarantine(header("quarantined")),
        }));
        Ok(())
    }

    fn too_large(&mut self, _: &Run<'_>, _: usize, size: usize, limit: usize) -> Headers {
        vec![("weir.test".into(), format!("too large: {}", size > limit).into_bytes())]
    }

    fn unreadable(&mut self, route: &Route, partition: i32, first: i64, last: i64, why: &str) -> Headers {
        assert!(!why.is_empty());
        vec![("weir.test".into(), format!("unreadable {} {partition} {first}..{last}", route.source).into_bytes())]
    }
}

/// Holds a stage back, as a process that is stopped is held. Closed at first.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    open: bool,
    /// Runs that may pass while it is closed.
    passes: u32,
    waiting: bool,
}

impl Gate {
    pub fn stages(&self) -> impl Fn(usize) -> Box<dyn Stage + Send> + Send + Sync + 'static {
        let gate = self.clone();
        move |_| Box::new(Gated(gate.clone()))
    }

    /// A transaction stays open long enough to be caught in the middle.
    pub fn config(config: PumpConfig) -> PumpConfig {
        PumpConfig { commit_interval: Duration::from_secs(2), ..config }
    }

    pub fn open(&self) {
        self.state().open = true;
        self.0.1.notify_all();
    }

    /// Lets one run after the other pass until the stage waits while a transaction is open and part of it lies in the
    /// accepted topic.
    #[track_caller]
    pub fn wait_in_transaction(&self, lab: &Lab, route: &Route) {
        let (stable, all) = (lab.reader("read_committed"), lab.reader("read_uncommitted"));
        let partitions = lab.admin.partitions(&route.accepted).unwrap().unwrap();
        let end =
            |reader: &BaseConsumer, partition| reader.fetch_watermarks(&route.accepted, partition, LONG).unwrap().1;
        let is_open = || (0..partitions).any(|partition| end(&all, partition) > end(&stable, partition));
        wait_for(LONG, "the stage to wait in a transaction", || {
            wait_for(LONG, "the stage to wait", || self.state().waiting);
            // Open for a while: a transaction whose end is decided has its markers within milliseconds.
            let (start, mut open_since) = (Instant::now(), None);
            while start.elapsed() < Duration::from_secs(1) {
                if !is_open() {
                    open_since = None;
                } else if open_since.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(500) {
                    return true;
                }
            }
            self.let_pass();
            false
        });
    }

    /// Lets the run that waits pass.
    pub fn let_pass(&self) {
        let mut state = self.state();
        state.passes += 1;
        state.waiting = false;
        self.0.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    fn pass(&self) {
        let mut state = self.state();
        while !state.open && state.passes == 0 {
            state.waiting = true;
            state = self.0.1.wait(state).unwrap();
        }
        state.passes = state.passes.saturating_sub(1);
        state.waiting = false;
    }
}

struct Gated(Gate);

impl Stage for Gated {
    fn process(&mut self, run: &Run<'_>, actions: &mut Vec<Action>) -> Result<(), Stall> {
        self.0.pass();
        Judge.process(run, actions)
    }

    fn too_large(&mut self, run: &Run<'_>, index: usize, size: usize, limit: usize) -> Headers {
        Judge.too_large(run, index, size, limit)
    }

    fn unreadable(&mut self, route: &Route, partition: i32, first: i64, last: i64, why: &str) -> Headers {
        Judge.unreadable(route, partition, first, last, why)
    }
}
