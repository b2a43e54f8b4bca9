//! The broker goes away and comes back.

use std::sync::Arc;
use std::time::Duration;

use weir_kafka::{PumpConfig, Read, ReadOptions, Reader};
use weir_testkit::wait_for;

use crate::lab::{self, LONG, Lab};

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let Some(mut cluster) = lab::fragile() else { return };
    let lab = Lab::new(cluster.bootstrap());
    let route = lab.create(2);
    let sent = lab.fill(&route.source, 2, 0..40_000);

    cluster.stop();
    let pump = lab.pump(PumpConfig { transaction_records: 300, ..lab.config("a") }, &route);
    wait_for(LONG, "the status to say that the cluster is away", || {
        let status = pump.status();
        matches!(status.cluster, Some(Err(_))) && !status.is_ready() && !status.reasons().is_empty()
    });
    assert_eq!(pump.failure(), None);

    cluster.restart();
    for round in 0..2 {
        let before = pump.ledger().topic(&route.source).accepted;
        wait_for(LONG, "records to flow", || pump.ledger().topic(&route.source).accepted > before + 500);
        let done = pump.ledger().topic(&route.source);
        assert!(done.accepted + done.quarantined < 80_000, "the broker must be killed under load");
        if round == 0 {
            cluster.kill()
        } else {
            cluster.stop()
        }
        cluster.restart();
    }
    lab.wait_until_done(&[&pump], &route);
    wait_for(LONG, "the status to be well", || pump.status().is_ready());
    let counts = pump.ledger().topic(&route.source);
    assert_eq!((counts.accepted, counts.quarantined, counts.in_flight), (72_000, 8_000, 0), "{counts:?}");
    // A member that the broker forgot hands its records back, and then receives them again.
    assert_eq!(counts.received - counts.released, 80_000, "{counts:?}");
    pump.stop(LONG).unwrap();
    lab.check(&route, &sent);
}

#[test]
fn stopping_while_the_broker_is_away_ends_in_time() {
    let Some(mut cluster) = lab::fragile() else { return };
    let lab = Lab::new(cluster.bootstrap());
    let route = lab.create(1);
    let sent = lab.fill(&route.source, 1, 0..60_000);
    let pump = lab.pump(PumpConfig { transaction_records: 300, ..lab.config("a") }, &route);
    let mut reader = Reader::open(&lab.cluster, &route.accepted, ReadOptions::default()).unwrap();
    wait_for(LONG, "records to flow", || pump.ledger().topic(&route.source).accepted > 500);
    cluster.kill();
    // In time or not, the process can go on to its end; either way nothing is lost.
    drop(pump.stop(Duration::from_secs(2)));
    // A reader takes a cluster that is away for silence.
    assert!(matches!(reader.next(Duration::from_millis(50)), Ok(Read::Idle | Read::Record(_) | Read::CaughtUp)));
    cluster.restart();
    let next = lab.pump_with(lab.config("a"), &route, |_| Box::new(lab::Judge));
    lab.wait_until_done(&[&next], &route);
    next.stop(LONG).unwrap();
    drop(Arc::new(pump));
    lab.check(&route, &sent);
}
