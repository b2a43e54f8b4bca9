//! Both lanes of the pump beside each other: what one leaves the other leaves too, and they share a group.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_kafka::{Lane, Pump, PumpConfig};
use weir_pump::Route;
use weir_testkit::wait_for;

use crate::lab::{self, Judge, LONG, Sent};

fn members(pump: &Pump) -> BTreeSet<i32> {
    pump.status().partitions.iter().map(|partition| partition.partition).collect()
}

/// Records of all kinds in batches of all sizes, one codec to a partition.
#[test]
fn both_lanes_leave_the_same_records() {
    let Some(lab) = lab::shared() else { return };
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let partitions = i32::try_from(codecs.len()).unwrap();
    let routes = ["one", "other"].map(|output| {
        let name = |topic: &str| format!("{}.{topic}", lab.name);
        Route {
            source: name("same.landing"),
            accepted: name(output),
            quarantine: format!("{}.quarantine", name(output)),
        }
    });
    lab.create_topic(&routes[0].source, partitions, &[]);
    for route in &routes {
        lab.create_topic(&route.accepted, partitions, &[]);
        lab.create_topic(&route.quarantine, partitions, &[]);
    }
    for (partition, codec) in (0..).zip(codecs) {
        let mut seq = 0;
        let mut batch = |count: u64, broken: bool| {
            let records = (seq..seq + count).map(|seq| {
                let mut record = Sent::generate(partition, seq);
                if !broken {
                    // Whole batches go on as they are.
                    record.value = Some(format!("ok:{seq}:{}", "y".repeat((seq % 300) as usize)).into_bytes());
                }
                if seq.is_multiple_of(11) {
                    record.key = None;
                }
                if seq.is_multiple_of(501) {
                    record.value = None;
                }
                record
            });
            let records: Vec<Sent> = records.collect();
            seq += count;
            records
        };
        let batches: Vec<Vec<Sent>> = (0..24).map(|n| batch([1, 7, 300, 2_500][n % 4], n % 3 == 0)).collect();
        lab.send_batches(&routes[0].source, &batches, &[("compression.type", codec), ("linger.ms", "50")]);
    }
    let mut counts = Vec::new();
    for (lane, route) in [Lane::Rdkafka, Lane::Native].into_iter().zip(&routes) {
        let cluster = lab.cluster.clone().with_lane(lane);
        let config = PumpConfig { group: format!("{}.{lane}", lab.name), ..lab.config("a") };
        let pump = Pump::start(&cluster, config, vec![route.clone()], Arc::new(|_| Box::new(Judge))).unwrap();
        wait_for(LONG, "the pump to catch up", || {
            let lag = lab.admin.lag(&format!("{}.{lane}", lab.name), &route.source);
            lag.is_ok_and(|lag| lag.values().sum::<u64>() == 0)
        });
        pump.stop(LONG).unwrap();
        counts.push(pump.ledger().topic(&route.source));
    }
    assert_eq!(counts[0], counts[1]);
    lab::same(&routes[1].accepted, &lab.drain(&routes[1].accepted), &lab.drain(&routes[0].accepted));
    lab::same(&routes[1].quarantine, &lab.drain(&routes[1].quarantine), &lab.drain(&routes[0].quarantine));
}

/// Whatever moves the records, the members of a group understand each other.
#[test]
fn partitions_move_between_members_of_both_lanes() {
    for (first, second) in [(Lane::Rdkafka, Lane::Native), (Lane::Native, Lane::Rdkafka)] {
        let Some(lab) = lab::shared() else { return };
        let route = lab.create(4);
        let mut sent = lab.fill(&route.source, 4, 0..5_000);
        let start = |lane: Lane, instance: &str| {
            let cluster = lab.cluster.clone().with_lane(lane);
            let config = PumpConfig { transaction_records: 200, ..lab.config(instance) };
            let pump = Pump::start(&cluster, config, vec![route.clone()], Arc::new(|_| Box::new(Judge))).unwrap();
            assert_eq!(pump.lane(), lane);
            pump
        };
        let first = start(first, "a");
        wait_for(LONG, "records to flow", || first.ledger().topic(&route.source).accepted > 500);
        let second = start(second, "b");
        wait_for(LONG, "both to have two partitions", || {
            let (first, second) = (members(&first), members(&second));
            first.len() == 2 && second.len() == 2 && first.is_disjoint(&second)
        });
        sent.extend(lab.fill(&route.source, 4, 5_000..6_000));
        lab.wait_until_done(&[&first, &second], &route);
        first.stop(LONG).unwrap();
        wait_for(LONG, "the second to have all", || members(&second).len() == 4);
        sent.extend(lab.fill(&route.source, 4, 6_000..7_000));
        lab.wait_until_done(&[&second], &route);
        second.stop(LONG).unwrap();
        lab.check(&route, &sent);
    }
}
