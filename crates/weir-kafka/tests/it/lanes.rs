//! Both lanes of the pump beside each other: they share a group. `differential` compares what they leave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};

use weir_kafka::{Lane, Pump, PumpConfig};
use weir_pump::{Action, Headers, Route, Run, Stage, Stall};
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

/// The CPUs that this thread may run on, as Linux lists them.
fn allowed() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

/// What a list such as `0-2,5` names.
fn listed(list: &str) -> Vec<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().unwrap()..=last.parse::<usize>().unwrap()
    };
    list.split(',').flat_map(range).collect()
}

/// A stage that tells where its worker's thread may run.
struct Where {
    worker: usize,
    told: Arc<Mutex<BTreeMap<usize, BTreeSet<String>>>>,
}

impl Stage for Where {
    fn process(&mut self, run: &Run<'_>, actions: &mut Vec<Action>) -> Result<(), Stall> {
        self.told.lock().unwrap().entry(self.worker).or_default().insert(allowed());
        Judge.process(run, actions)
    }

    fn too_large(&mut self, run: &Run<'_>, index: usize, size: usize, limit: usize) -> Headers {
        Judge.too_large(run, index, size, limit)
    }

    fn unreadable(&mut self, route: &Route, partition: i32, first: i64, last: i64, why: &str) -> Headers {
        Judge.unreadable(route, partition, first, last, why)
    }
}

#[test]
fn a_worker_stays_on_its_core_where_that_is_asked_for() {
    for pin_cores in [true, false] {
        let Some(lab) = lab::shared() else { return };
        let route = lab.create(3);
        let sent = lab.fill(&route.source, 3, 0..20);
        let told = Arc::new(Mutex::default());
        let tell = Arc::clone(&told);
        let config = PumpConfig { workers: 3, pin_cores, ..lab.config("a") };
        let pump = lab.pump_with(config, &route, move |worker| Box::new(Where { worker, told: Arc::clone(&tell) }));
        lab.wait_until_done(&[&pump], &route);
        pump.stop(LONG).unwrap();
        lab.check(&route, &sent);
        let (told, all) = (told.lock().unwrap(), allowed());
        let cores = listed(&all);
        assert!(!told.is_empty());
        for (worker, lists) in told.iter() {
            let expect = if pin_cores { cores[worker % cores.len()].to_string() } else { all.clone() };
            assert_eq!(*lists, BTreeSet::from([expect]), "worker {worker}");
        }
    }
}
