//! The broker goes away in the middle of a transaction and comes back.
//!
//! Not at the very moment a transaction ends: a single node of Apache Kafka 4.3.1 that starts with a transaction to end,
//! because it was killed between the decision and the markers or because the transaction has timed out meanwhile, can
//! forget the markers (`__transaction_state` says CompleteCommit or CompleteAbort, no partition has one). The records
//! then hang for every reader, or fall to the next transaction of the same producer. That is the broker's to repair.

use std::time::Duration;

use weir_kafka::{Read, ReadOptions, Reader};
use weir_testkit::wait_for;

use crate::lab::{self, Gate, LONG, Lab};

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let Some(mut cluster) = lab::fragile() else { return };
    let lab = Lab::new(cluster.bootstrap());
    let route = lab.create(2);
    let mut sent = lab.fill(&route.source, 2, 0..40_000);

    cluster.stop();
    let gate = Gate::default();
    let pump = lab.pump_with(Gate::config(lab.config("a")), &route, gate.stages());
    wait_for(LONG, "the status to say that the cluster is away", || {
        let status = pump.status();
        matches!(status.cluster, Some(Err(_))) && !status.is_ready() && !status.reasons().is_empty()
    });
    assert_eq!(pump.failure(), None);
    cluster.restart();
    for round in 0..2 {
        gate.wait_in_transaction(&lab, &route);
        let done = pump.ledger().topic(&route.source);
        assert!(done.accepted + done.quarantined < 80_000, "the broker must go away under load");
        if round == 0 {
            cluster.kill()
        } else {
            cluster.stop()
        }
        gate.let_pass();
        cluster.restart();
    }
    gate.open();
    sent.extend(lab.fill(&route.source, 2, 40_000..40_100));
    lab.wait_until_done(&[&pump], &route);
    wait_for(LONG, "the status to be well", || pump.status().is_ready());
    let counts = pump.ledger().topic(&route.source);
    assert_eq!((counts.accepted, counts.quarantined, counts.in_flight), (72_180, 8_020, 0), "{counts:?}");
    // A member that the broker forgot hands its records back, and then receives them again.
    assert_eq!(counts.received - counts.released, 80_200, "{counts:?}");
    pump.stop(LONG).unwrap();
    lab.check(&route, &sent);
}

#[test]
fn stopping_while_the_broker_is_away_loses_nothing() {
    let Some(mut cluster) = lab::fragile() else { return };
    let lab = Lab::new(cluster.bootstrap());
    let route = lab.create(1);
    let sent = lab.fill(&route.source, 1, 0..40_000);
    let gate = Gate::default();
    let pump = lab.pump_with(Gate::config(lab.config("a")), &route, gate.stages());
    let mut reader = Reader::open(&lab.cluster, &route.accepted, ReadOptions::default()).unwrap();
    gate.wait_in_transaction(&lab, &route);
    cluster.kill();
    gate.open();
    // In time or not, the process can go on to its end.
    drop(pump.stop(Duration::from_secs(2)));
    // A reader takes a cluster that is away for silence.
    assert!(matches!(reader.next(Duration::from_millis(50)), Ok(Read::Idle | Read::Record(_) | Read::CaughtUp)));
    cluster.restart();
    let next = lab.pump(lab.config("a"), &route);
    lab.wait_until_done(&[&next], &route);
    next.stop(LONG).unwrap();
    lab.check(&route, &sent);
}
