//! Both lanes of the pump beside each other: they share a group. `differential` compares what they leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_kafka::{Lane, Pump, PumpConfig};
use weir_testkit::wait_for;

use crate::lab::{self, Judge, LONG};

fn members(pump: &Pump) -> BTreeSet<i32> {
    pump.status().partitions.iter().map(|partition| partition.partition).collect()
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
