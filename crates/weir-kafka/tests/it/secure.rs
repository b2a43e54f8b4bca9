//! Clusters that ask who comes: both lanes with the same properties, on Apache Kafka.

use std::sync::Arc;

use weir_kafka::{ClusterConfig, Lane, Pump, PumpConfig};
use weir_testkit::kafka::{Cluster, Listeners, USER};
use weir_testkit::wait_for;

use crate::lab::{Judge, LONG, Lab};

/// Sessions of three seconds: everything of any length says again who it is.
const SHORT: (&str, &str) = ("connections.max.reauth.ms", "3000");

fn secured(properties: &[(&str, &str)]) -> Option<(Cluster, Listeners)> {
    Cluster::start_secure(properties)
}

fn cluster(port: u16, lane: Lane, properties: &[(&str, &str)]) -> ClusterConfig {
    ClusterConfig::new(&format!("127.0.0.1:{port}"), properties.iter().copied()).unwrap().with_lane(lane)
}

const BEARER: [(&str, &str); 2] =
    [("enable.sasl.oauthbearer.unsecure.jwt", "true"), ("sasl.oauthbearer.config", "principal=alice lifeSeconds=600")];

#[test]
fn both_lanes_come_in_by_every_mechanism() {
    let Some((broker, listeners)) = secured(&[]) else { return };
    let (ca, client) = (listeners.authority.as_str(), &listeners.client);
    let ssl = [("ssl.ca.pem", ca)];
    let certificate = [("ssl.certificate.pem", client.certificate.as_str()), ("ssl.key.pem", client.key.as_str())];
    let mut cases = vec![(listeners.ssl, [&[("security.protocol", "ssl")][..], &ssl, &certificate].concat())];
    for (port, protocol) in [(listeners.sasl_plaintext, "sasl_plaintext"), (listeners.sasl_ssl, "sasl_ssl")] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            let mut properties = vec![("security.protocol", protocol), ("sasl.mechanism", mechanism)];
            match mechanism {
                "OAUTHBEARER" => properties.extend(BEARER),
                _ => properties.extend([("sasl.username", USER.0), ("sasl.password", USER.1)]),
            }
            if protocol == "sasl_ssl" {
                properties.extend(ssl);
            }
            cases.push((port, properties));
        }
    }
    for (port, properties) in &cases {
        for lane in [Lane::Rdkafka, Lane::Native] {
            let lab = Lab::new(broker.bootstrap());
            let route = lab.create(2);
            let sent = lab.fill(&route.source, 2, 0..2_000);
            let what = format!("{lane}, {:?}", properties.iter().take(2).collect::<Vec<_>>());
            let cluster = cluster(*port, lane, properties);
            let pump = Pump::start(&cluster, lab.config("a"), vec![route.clone()], Arc::new(|_| Box::new(Judge)));
            let pump = pump.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(pump.lane(), lane);
            lab.wait_until_done(&[&pump], &route);
            pump.stop(LONG).unwrap();
            lab.check(&route, &sent);
        }
    }
}

#[test]
fn who_is_not_believed_is_told_why_and_waits() {
    let Some((broker, listeners)) = secured(&[]) else { return };
    let lab = Lab::new(broker.bootstrap());
    let route = lab.create(1);
    let sasl = |password| {
        vec![
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", USER.0),
            ("sasl.password", password),
        ]
    };
    let ssl = vec![("security.protocol", "ssl"), ("ssl.ca.pem", listeners.authority.as_str())];
    for (port, properties, expect) in [
        (listeners.sasl_plaintext, sasl("not the password"), "authentication failed"),
        (listeners.misnamed, ssl.clone(), "not valid for name"),
        (listeners.expired, ssl.clone(), "expired"),
        (listeners.ssl, ssl, "fatal alert"),
    ] {
        let cluster = cluster(port, Lane::Native, &properties);
        let pump = Pump::start(&cluster, lab.config("a"), vec![route.clone()], Arc::new(|_| Box::new(Judge))).unwrap();
        wait_for(LONG, &format!("the status to say: {expect}"), || {
            let status = pump.status();
            let reasons = status.reasons();
            assert!(!reasons.iter().any(|reason| reason.contains("not the password")), "{reasons:?}");
            !status.is_ready() && reasons.iter().any(|r| r.starts_with("worker 0") && r.contains(expect))
        });
        assert_eq!(pump.failure(), None);
        pump.stop(LONG).unwrap();
    }
}

/// A transaction is open whenever a session ends, and records flow all the while.
#[test]
fn sessions_end_under_load_and_nothing_is_lost() {
    let Some((broker, listeners)) = secured(&[SHORT]) else { return };
    for lane in [Lane::Native, Lane::Rdkafka] {
        let lab = Lab::new(broker.bootstrap());
        let route = lab.create(2);
        let mut sent = lab.fill(&route.source, 2, 0..20_000);
        let properties = [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.pem", listeners.authority.as_str()),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", USER.0),
            ("sasl.password", USER.1),
        ];
        let cluster = cluster(listeners.sasl_ssl, lane, &properties);
        let config = PumpConfig { transaction_records: 500, ..lab.config("a") };
        let pump = Pump::start(&cluster, config, vec![route.clone()], Arc::new(|_| Box::new(Judge))).unwrap();
        // Several sessions long, with records before, during and after.
        let begin = std::time::Instant::now();
        let mut next = 20_000;
        wait_for(LONG, "four sessions to pass", || {
            sent.extend(lab.fill(&route.source, 2, next..next + 200));
            next += 200;
            assert_eq!(pump.failure(), None);
            begin.elapsed().as_secs() >= 12
        });
        lab.wait_until_done(&[&pump], &route);
        pump.stop(LONG).unwrap();
        lab.check(&route, &sent);
    }
}
