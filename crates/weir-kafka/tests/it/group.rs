//! Several members: partitions move, a member is declared dead, two processes take each other for themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use weir_kafka::{ClusterConfig, GroupProtocol, Lane, Pump, PumpConfig};
use weir_testkit::kafka::Kind;
use weir_testkit::wait_for;

use crate::lab::{self, Gate, Judge, LONG, Lab};

fn partitions(pump: &Pump) -> BTreeSet<i32> {
    pump.status().partitions.iter().map(|partition| partition.partition).collect()
}

fn rebalance(protocol: GroupProtocol) {
    let Some(lab) = lab::shared() else { return };
    let route = lab.create(4);
    let mut sent = lab.fill(&route.source, 4, 0..30_000);
    // Small transactions, so that there is always one open when a partition moves.
    let config =
        |instance: &str, workers| PumpConfig { protocol, workers, transaction_records: 200, ..lab.config(instance) };
    let first = lab.pump(config("a", 2), &route);
    wait_for(LONG, "records to flow", || first.ledger().topic(&route.source).accepted > 1_000);
    let second = lab.pump(config("b", 2), &route);
    wait_for(LONG, "both to have partitions", || {
        let (first, second) = (partitions(&first), partitions(&second));
        !first.is_empty() && !second.is_empty() && first.is_disjoint(&second)
    });
    let had = second.ledger().topic(&route.source).received;
    sent.extend(lab.fill(&route.source, 4, 30_000..40_000));
    wait_for(LONG, "the second to work", || second.ledger().topic(&route.source).received > had);
    first.stop(LONG).unwrap();
    lab.wait_until_done(&[&second], &route);
    second.stop(LONG).unwrap();
    let (first, second) = (first.ledger().topic(&route.source), second.ledger().topic(&route.source));
    assert!(first.balanced() && second.balanced());
    let done = |counts: weir_pump::Counts| counts.accepted + counts.quarantined;
    assert_eq!(done(first) + done(second), 160_000, "{first:?} {second:?}");
    lab.check(&route, &sent);
}

#[test]
fn partitions_move_between_members_cooperative() {
    rebalance(GroupProtocol::Cooperative);
}

#[test]
fn partitions_move_between_members_eager() {
    rebalance(GroupProtocol::Eager);
}

#[test]
fn partitions_move_between_members_kip_848() {
    if Kind::chosen() == Kind::Embedded {
        return weir_testkit::skipped("the embedded broker does not offer the consumer protocol of KIP-848");
    }
    if lab::lane() == Lane::Native {
        return weir_testkit::skipped("the native lane does not speak the consumer protocol of KIP-848");
    }
    rebalance(GroupProtocol::Consumer);
}

/// Members that come and go all the time, under load: once for each protocol, and many times with `WEIR_TEST_LONG=1`.
#[test]
fn a_storm_of_rebalances_costs_no_record_and_does_not_stop_the_flow() {
    let rounds = if lab::is_long() { 10 } else { 1 };
    for protocol in [GroupProtocol::Cooperative, GroupProtocol::Eager] {
        let Some(lab) = lab::shared() else { return };
        let route = lab.create(4);
        let config = |instance: &str| PumpConfig { protocol, transaction_records: 200, ..lab.config(instance) };
        let stop = AtomicBool::new(false);
        let (stays, sent) = thread::scope(|scope| {
            let filling = scope.spawn(|| {
                let mut sent = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let seq = sent.len() as u64 / 4;
                    sent.extend(lab.fill(&route.source, 4, seq..seq + 100));
                }
                sent
            });
            // A fault that panics must not leave the filling behind.
            let stopping = Stopping(&stop);
            let stays = lab.pump(config("stays"), &route);
            for _ in 0..rounds {
                let moves = lab.pump(config("moves"), &route);
                let done = || {
                    let of = |pump: &Pump| pump.ledger().topic(&route.source);
                    of(&stays).accepted + of(&moves).accepted
                };
                wait_for(LONG, "the second to work", || moves.ledger().topic(&route.source).accepted > 0);
                let before = done();
                wait_for(Duration::from_secs(10), "the flow to go on", || done() > before + 100);
                moves.stop(LONG).unwrap();
                let before = done();
                wait_for(Duration::from_secs(10), "the flow to go on", || done() > before + 100);
                assert_eq!((stays.failure(), moves.failure()), (None, None));
            }
            drop(stopping);
            (stays, filling.join().unwrap())
        });
        lab.wait_until_done(&[&stays], &route);
        stays.stop(LONG).unwrap();
        lab.check(&route, &sent);
    }
}

struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_zombie_writes_nothing_and_finds_its_way_back() {
    let Some(lab) = lab::shared() else { return };
    let route = lab.create(1);
    let mut sent = lab.fill(&route.source, 1, 0..40_000);
    let gate = Gate::default();
    // A member that does not poll for six seconds is thrown out of the group.
    let hasty = ClusterConfig::new(&lab.bootstrap, [("max.poll.interval.ms", "6000")]).unwrap().with_lane(lab::lane());
    let config = Gate::config(lab.config("zombie"));
    let zombie = Pump::start(&hasty, config, vec![route.clone()], Arc::new(gate.stages())).unwrap();
    gate.wait_in_transaction(&lab, &route);
    let living = lab.pump(lab.config("living"), &route);
    lab.wait_until_done(&[&living], &route);
    // Awake again, with records in its hands that another has processed by now, and a transaction undone long ago.
    gate.open();
    wait_for(LONG, "the zombie to give up its records", || {
        let counts = zombie.ledger().topic(&route.source);
        counts.released > 0 && counts.in_flight == 0
    });
    sent.extend(lab.fill(&route.source, 1, 40_000..41_000));
    living.stop(LONG).unwrap();
    sent.extend(lab.fill(&route.source, 1, 41_000..42_000));
    lab.wait_until_done(&[&zombie], &route);
    zombie.stop(LONG).unwrap();
    assert!(zombie.ledger().topic(&route.source).accepted > 0, "the zombie came back to life");
    lab.check(&route, &sent);
}

#[test]
fn of_two_processes_with_one_name_one_ends_and_says_why() {
    let Some(lab) = lab::shared() else { return };
    let route = lab.create(2);
    let mut sent = lab.fill(&route.source, 2, 0..2_000);
    let pumps = [lab.pump(lab.config("same"), &route), lab.pump(lab.config("same"), &route)];
    let mut seq = 2_000;
    wait_for(LONG, "one to be fenced", || {
        sent.extend(lab.fill(&route.source, 2, seq..seq + 10));
        seq += 10;
        pumps.iter().any(|pump| pump.failure().is_some())
    });
    let (dead, alive): (Vec<&Pump>, Vec<&Pump>) = pumps.iter().partition(|pump| pump.failure().is_some());
    assert_eq!(alive.len(), 1, "exactly one lives on");
    let why = dead[0].failure().unwrap();
    assert!(why.contains("fenced") && why.contains("instance"), "{why}");
    dead[0].stop(LONG).unwrap();
    lab.wait_until_done(&alive, &route);
    alive[0].stop(LONG).unwrap();
    lab.check(&route, &sent);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let lab = Lab::new("127.0.0.1:1".to_owned());
    let check = |config: PumpConfig, expect: &str| {
        let error = Pump::start(&lab.cluster, config, vec![], Arc::new(|_| Box::new(Judge))).err().unwrap().to_string();
        assert!(error.contains(expect), "{error}");
    };
    let good = PumpConfig::new("group", "instance");
    check(PumpConfig { group: String::new(), ..good.clone() }, "must not be empty");
    check(PumpConfig { workers: 0, ..good.clone() }, "at least 1");
    check(PumpConfig { transaction_timeout: good.session_timeout, ..good.clone() }, "shorter than the session timeout");
    check(PumpConfig { commit_interval: good.transaction_timeout, ..good.clone() }, "commit interval");
    check(PumpConfig { transaction_records: 0, ..good }, "at least 1");
}
