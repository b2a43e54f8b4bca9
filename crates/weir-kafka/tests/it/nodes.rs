//! Three real brokers, everything kept three times: brokers die and come back one at a time, leaders and coordinators move, all under
//! load. On Apache Kafka only; `WEIR_NODES_ROUNDS` says how often: where it is not set once on the native lane and not at all on the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use weir_kafka::{Lane, PumpConfig};
use weir_testkit::kafka::{Kind, Nodes};
use weir_testkit::wait_for;

use crate::lab::{LONG, Lab, lane};

const PARTITIONS: i32 = 6;

/// Leader and number of replicas in sync, of every partition of these topics.
fn replicas(client: &BaseConsumer, topics: &[&String]) -> Option<BTreeMap<(String, i32), (i32, usize)>> {
    let metadata = client.fetch_metadata(None, std::time::Duration::from_secs(5)).ok()?;
    let topics = metadata.topics().iter().filter(|topic| topics.iter().any(|name| *name == topic.name()));
    let partitions = topics.flat_map(|topic| topic.partitions().iter().map(move |p| (topic.name().to_owned(), p)));
    Some(partitions.map(|(topic, p)| ((topic, p.id()), (p.leader(), p.isr().len()))).collect())
}

struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn brokers_that_die_one_at_a_time_lose_and_double_nothing() {
    if Kind::chosen() == Kind::Embedded {
        return weir_testkit::skipped("the embedded broker is one node");
    }
    let default = usize::from(lane() == Lane::Native);
    let rounds = std::env::var("WEIR_NODES_ROUNDS").map_or(default, |rounds| rounds.parse().unwrap());
    if rounds == 0 {
        return weir_testkit::skipped("set WEIR_NODES_ROUNDS to have three brokers die on this lane");
    }
    let Some(mut nodes) = Nodes::start(&[]) else { return };
    let lab = Lab::new(nodes.bootstrap());
    let route = lab.create(PARTITIONS);
    let topics = [&route.source, &route.accepted, &route.quarantine];
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &lab.bootstrap).create().unwrap();
    let whole = || {
        replicas(&client, &topics)
            .filter(|all| all.len() == 3 * PARTITIONS as usize && all.values().all(|(_, in_sync)| *in_sync == 3))
    };
    let config = PumpConfig { workers: 2, transaction_records: 500, ..lab.config("a") };
    let pump = lab.pump(config, &route);
    let done = || {
        assert_eq!(pump.failure(), None);
        let counts = pump.ledger().topic(&route.source);
        counts.accepted + counts.quarantined
    };
    let stop = AtomicBool::new(false);
    let mut moves = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seq = 0;
            while !stop.load(Ordering::Relaxed) {
                lab.fill(&route.source, PARTITIONS, seq..seq + 100);
                seq += 100;
            }
        });
        // A fault that panics must not leave the producer running.
        let stopping = Stop(&stop);
        for round in 0..rounds {
            let index = round % nodes.count();
            let mut before = BTreeMap::new();
            wait_for(LONG, "all replicas to be in sync and all brokers to lead", || {
                before = whole().unwrap_or_default();
                (1..=nodes.count() as i32).all(|node| before.values().any(|(leader, _)| *leader == node))
            });
            let at = done();
            wait_for(LONG, "the pump to be in the middle of its work", || done() > at + 2_000);
            // Killed, and every other time round ended as an operator would, who moves the leaders first.
            if (round / nodes.count()).is_multiple_of(2) {
                nodes.node(index).kill();
            } else {
                nodes.node(index).stop();
            }
            let node = index as i32 + 1;
            wait_for(LONG, "others to lead what it led", || {
                replicas(&client, &topics)
                    .is_some_and(|now| now.values().all(|(leader, _)| *leader != node && *leader > 0))
            });
            moves += before.values().filter(|(leader, _)| *leader == node).count();
            let at = done();
            let (since, mut told) = (Instant::now(), false);
            wait_for(LONG, "the pump to go on without it", || {
                if !told && since.elapsed() > LONG / 2 {
                    told = true;
                    eprintln!("{:?} {:?}", pump.status(), lab.admin.offsets(&route.source));
                }
                done() > at + 2_000
            });
            nodes.node(index).restart();
        }
        wait_for(LONG, "all replicas to be in sync again", || whole().is_some());
        drop(stopping);
    });
    assert!(moves >= rounds, "{moves} leaders moved: nothing is shown");
    lab.wait_until_done(&[&pump], &route);
    pump.stop(LONG).unwrap();
    // What lies in the source is the truth: a producer whose broker dies may write a batch twice, or say so of one that it did write.
    let arrived: Vec<_> = lab.drain(&route.source).into_values().flatten().collect();
    let counts = pump.ledger().topic(&route.source);
    assert_eq!(counts.accepted + counts.quarantined, arrived.len() as u64, "{counts:?}");
    lab.check(&route, &arrived);
    eprintln!(
        "{} lane, {rounds} rounds, {moves} leaders moved: {} = {} + {}, {} handed back; lost, doubled, out of order: 0",
        pump.lane(),
        arrived.len(),
        counts.accepted,
        counts.quarantined,
        counts.released
    );
}
