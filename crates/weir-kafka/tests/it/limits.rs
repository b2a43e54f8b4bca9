//! Records an output topic does not take: too large for it, or of a kind it refuses.

use std::collections::BTreeMap;

use weir_kafka::PumpConfig;
use weir_pump::RECORD_OVERHEAD;
use weir_testkit::wait_for;

use crate::lab::{self, LONG, Lab, Sent};

fn create(lab: &Lab, accepted: &str, quarantine: &str) -> weir_pump::Route {
    let route = lab.route();
    lab.create_topic(&route.source, 1, &[("max.message.bytes", "5000000")]);
    lab.create_topic(&route.accepted, 1, &[("max.message.bytes", accepted)]);
    lab.create_topic(&route.quarantine, 1, &[("max.message.bytes", quarantine)]);
    route
}

fn sized(verdict: &str, size: usize) -> Sent {
    let value = format!("{verdict}:{}", "x".repeat(size - RECORD_OVERHEAD - verdict.len() - 1));
    Sent::new(0, None, Some(value.as_bytes()))
}

#[test]
fn a_record_at_the_limit_passes_and_one_above_never_wedges_the_partition() {
    let Some(lab) = lab::shared() else { return };
    let route = create(&lab, "20000", "10000");
    let sent = vec![
        sized("ok", 20_000),
        sized("ok", 20_001),
        sized("warn", 20_000),
        sized("bad", 9_000),
        sized("bad", 9_999),
        sized("ok", 4_000_000),
        Sent::new(0, Some(&[7; 50_000]), Some(b"ok:a key that fits nowhere")),
        sized("ok", 500),
    ];
    lab.send(&route.source, sent.clone(), &[]);
    let pump = lab.pump(lab.config("a"), &route);
    lab.wait_until_done(&[&pump], &route);
    pump.stop(LONG).unwrap();
    let accepted = lab.drain(&route.accepted).remove(&0).unwrap();
    assert_eq!(accepted, [sent[0].clone(), sent[7].clone()]);
    let quarantined = lab.drain(&route.quarantine).remove(&0).unwrap();
    let mut whole = sent[3].clone();
    whole.headers.push(("weir.test".to_owned(), Some(b"quarantined".to_vec())));
    let claims: Vec<&Sent> = quarantined.iter().filter(|record| **record != whole).collect();
    assert_eq!(quarantined.len(), 6);
    assert_eq!(claims.len(), 5);
    for (claim, (offset, why)) in claims.iter().zip([
        (1, "too large: true"),
        (2, "too large: true"),
        (4, "quarantined"),
        (5, "too large: true"),
        (6, "too large: true"),
    ]) {
        let original = &sent[offset];
        let value = original.value.as_ref().unwrap();
        assert_eq!((&claim.key, &claim.value), (&None, &None), "{offset}");
        assert_eq!(claim.timestamp, original.timestamp);
        let header = |name: &str| claim.header(name).unwrap();
        assert_eq!(header("weir.test"), why);
        assert_eq!(header("weir.claim.topic"), route.source);
        assert_eq!((header("weir.claim.partition"), header("weir.claim.offset")), ("0".to_owned(), offset.to_string()));
        assert_eq!(header("weir.claim.size"), value.len().to_string());
    }
    // printf 'ok:a key that fits nowhere' | sha256sum
    assert_eq!(claims[4].header("weir.claim.sha256").unwrap().len(), 64);
}

#[test]
fn a_limit_lowered_while_records_flow_is_learned_from_the_refusal() {
    let Some(lab) = lab::shared() else { return };
    let route = create(&lab, "1000000", "1000000");
    let mut sent = lab.fill(&route.source, 1, 0..1_000);
    let pump = lab.pump(lab.config("a"), &route);
    lab.wait_until_done(&[&pump], &route);
    let lower = BTreeMap::from([("max.message.bytes".to_owned(), "5000".to_owned())]);
    lab.admin.alter_configs(&route.accepted, &lower).unwrap();
    let mut more: Vec<Sent> = (1_000..2_000).map(|seq| Sent::generate(0, seq)).collect();
    more.insert(500, sized("ok", 50_000));
    lab.send(&route.source, more.clone(), &[]);
    lab.wait_until_done(&[&pump], &route);
    pump.stop(LONG).unwrap();
    more.remove(500);
    sent.extend(more);
    lab.check_accepted(&route, &sent);
    let too_large: Vec<Sent> = lab
        .drain(&route.quarantine)
        .into_values()
        .flatten()
        .filter(|record| record.header("weir.test").unwrap() == "too large: true")
        .collect();
    assert_eq!(too_large.len(), 1);
    assert_eq!(too_large[0].value.as_ref().unwrap().len(), 50_000 - RECORD_OVERHEAD);
}

#[test]
fn a_record_the_broker_refuses_holds_up_its_partition_only() {
    let Some(lab) = lab::shared() else { return };
    let route = lab.route();
    lab.create_topic(&route.source, 2, &[]);
    lab.create_topic(&route.accepted, 2, &[("cleanup.policy", "compact")]);
    lab.create_topic(&route.quarantine, 2, &[]);
    let keyless = Sent::new(0, None, Some(b"ok:no key, in a compacted topic"));
    let mut sent = lab.fill(&route.source, 2, 0..100);
    sent.extend(lab.send(&route.source, vec![keyless], &[]));
    sent.extend(lab.fill(&route.source, 2, 100..200));
    let pump = lab.pump(PumpConfig { transaction_records: 50, ..lab.config("a") }, &route);
    wait_for(LONG, "partition 1 to pass by", || {
        let lag = lab.admin.lag(&format!("{}.group", lab.name), &route.source).unwrap();
        let refused = pump.status().reasons().iter().any(|reason| reason.contains("a record is refused"));
        lag[&1] == 0 && lag[&0] > 0 && refused
    });
    assert_eq!(pump.failure(), None);
    let keep = BTreeMap::from([("cleanup.policy".to_owned(), "delete".to_owned())]);
    lab.admin.alter_configs(&route.accepted, &keep).unwrap();
    lab.wait_until_done(&[&pump], &route);
    pump.stop(LONG).unwrap();
    lab.check(&route, &sent);
}
