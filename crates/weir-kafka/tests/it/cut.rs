//! A log loses its end, as in an unclean election, and other records take its place (KIP-320).

use weir_kafka::{Lane, Pump};
use weir_pump::Route;
use weir_testkit::kafka::Cluster;
use weir_testkit::kafka::Kind;
use weir_testkit::wait_for;

use crate::lab::{self, LONG, Lab, Sent};
use crate::segment;

/// Sends records in batches of ten.
fn send(lab: &Lab, route: &Route, sent: &mut Vec<Sent>, count: u64) {
    let from = sent.len() as u64;
    let batches: Vec<Vec<Sent>> = (from..from + count)
        .step_by(10)
        .map(|first| (first..first + 10).map(|seq| Sent::generate(0, seq)).collect())
        .collect();
    lab.send_batches(&route.source, &batches, &[("linger.ms", "50")]);
    sent.extend(batches.concat());
}

/// The broker crashes and comes back with the first two batches.
fn cut(cluster: &mut Cluster, route: &Route) {
    cluster.kill();
    segment::cut(&segment::file(cluster, &route.source, 0), 2);
    cluster.restart();
}

#[test]
fn what_takes_the_place_of_a_lost_end_is_read() {
    if lab::lane() != Lane::Native || Kind::chosen() == Kind::Embedded {
        return weir_testkit::skipped("a cut is told by Apache Kafka, and found out on the native lane");
    }
    let Some(mut cluster) = lab::fragile() else { return };
    let lab = Lab::new(cluster.bootstrap());
    let route = lab.create(1);
    let mut sent = Vec::new();
    let judge = |pump: &Pump, count: u64| {
        wait_for(LONG, "the worker to find out and to go on", || {
            assert_eq!(pump.failure(), None);
            let counts = pump.ledger().topic(&route.source);
            counts.accepted + counts.quarantined >= count
        });
        lab.wait_until_done(&[pump], &route);
    };
    let pump = lab.pump(lab.config("a"), &route);
    send(&lab, &route, &mut sent, 40);
    judge(&pump, 40);
    // Each time more than there was comes after it, so that the end of the log tells nothing.
    cut(&mut cluster, &route);
    send(&lab, &route, &mut sent, 50);
    judge(&pump, 90);
    pump.stop(LONG).unwrap();
    assert!(pump.ledger().topic(&route.source).balanced());
    // A successor knows no more than the group's position.
    cut(&mut cluster, &route);
    send(&lab, &route, &mut sent, 70);
    let pump = lab.pump(lab.config("b"), &route);
    judge(&pump, 70);
    pump.stop(LONG).unwrap();
    lab.check(&route, &sent);
}
