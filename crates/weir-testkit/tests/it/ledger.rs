//! A ledger that finds nothing wrong must be able to find everything wrong.

use weir_testkit::ledger::{Acked, Break, Broken, Generator, Id, Ledger, Received, Record, Summary, Verdict};

const TOPIC: &str = "orders.landing";

fn generator() -> Generator {
    let codes = vec!["FIELD_RANGE".to_owned(), "PAYLOAD_MALFORMED".to_owned()];
    Generator { run: 7, seed: 1, partitions: 3, records: 400, keys: 20, broken: 100, codes }
}

/// A run through a stage without a fault: what was acknowledged, accepted, quarantined.
#[derive(Clone)]
struct Run {
    acked: Vec<Acked>,
    accepted: Vec<Received>,
    quarantined: Vec<Received>,
}

fn make(generator: &Generator, id: Id, verdict: Verdict<'_>) -> Record {
    let value = format!("{verdict:?} {}", generator.draw(id, 0)).into_bytes();
    Record {
        timestamp: id.seq.cast_signed(),
        key: Some(generator.key(id).into_bytes()),
        value: Some(value),
        headers: vec![("a".to_owned(), None)],
    }
}

fn run(generator: &Generator, ledger: &Ledger<'_>) -> Run {
    let mut run = Run { acked: Vec::new(), accepted: Vec::new(), quarantined: Vec::new() };
    for id in generator.ids() {
        let offset = id.seq.cast_signed() + 10;
        run.acked.push(Acked { id, offset });
        let mut record = ledger.record(id);
        let output = match generator.verdict(id) {
            Verdict::Accepted => &mut run.accepted,
            Verdict::Quarantined(code) => {
                let why = format!(
                    r#"{{"violations":[{{"code":"{code}","path":"a"}},{{"code":"{code}","path":"b"}}],"omitted":0}}"#
                );
                let (partition, offset) = (id.partition.to_string(), offset.to_string());
                record.headers.extend(
                    [
                        ("weir.contract", "orders@1.0.0"),
                        ("weir.violations", &why),
                        ("weir.source.topic", TOPIC),
                        ("weir.source.partition", &partition),
                        ("weir.source.offset", &offset),
                        ("__connect.errors.topic", TOPIC),
                        ("__connect.errors.partition", &partition),
                        ("__connect.errors.offset", &offset),
                    ]
                    .map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec()))),
                );
                &mut run.quarantined
            }
        };
        let offset = output.len() as i64;
        output.push(Received { partition: id.partition, offset, record });
    }
    run
}

/// Breaks a perfect run in one way and says what the ledger finds.
fn check(harm: impl FnOnce(&mut Run)) -> Result<Summary, Broken> {
    let generator = generator();
    let make = |id: Id, verdict: Verdict<'_>| make(&generator, id, verdict);
    let ledger = Ledger::new(&generator, TOPIC, &make);
    let mut run = run(&generator, &ledger);
    harm(&mut run);
    ledger.compare(run.acked, run.accepted, run.quarantined)
}

fn only(result: Result<Summary, Broken>) -> Break {
    let broken = result.unwrap_err();
    assert_eq!(broken.total, 1, "{broken}");
    broken.breaks[0].clone()
}

fn set(record: &mut Record, header: &str, value: &str) {
    record.headers.iter_mut().find(|(name, _)| name == header).unwrap().1 = Some(value.as_bytes().to_vec());
}

#[test]
fn a_perfect_run_passes() {
    let summary = check(|_| {}).unwrap();
    assert_eq!((summary.acked, summary.accepted + summary.quarantined, summary.unacked), (1200, 1200, 0));
    assert!((80..160).contains(&summary.quarantined), "{summary}");
}

#[test]
fn a_lost_acknowledgement_is_no_break() {
    let summary = check(|run| run.acked.truncate(1000)).unwrap();
    assert_eq!((summary.acked, summary.unacked), (1000, 200));
}

#[test]
fn a_lost_record() {
    assert!(matches!(only(check(|run| drop(run.accepted.remove(5)))), Break::Missing(_)));
    assert!(matches!(only(check(|run| drop(run.quarantined.remove(5)))), Break::Missing(_)));
}

#[test]
fn a_record_twice() {
    let again = |run: &mut Run| {
        let mut copy = run.accepted[0].clone();
        copy.offset = 1_000_000;
        run.accepted.push(copy);
    };
    let broken = check(again).unwrap_err();
    assert_eq!((broken.total, broken.summary.duplicates, broken.summary.out_of_order), (1, 1, 0));
    assert!(matches!(broken.breaks[0], Break::Duplicate(..)));

    let both = |run: &mut Run| run.quarantined.push(Received { offset: 1_000_000, ..run.accepted[0].clone() });
    assert!(matches!(only(check(both)), Break::Duplicate(..)));
    assert!(matches!(only(check(|run| run.acked.push(Acked { offset: 99, ..run.acked[0] }))), Break::AckedTwice(..)));
}

#[test]
fn a_record_nobody_sent() {
    for id in ["8/0/0", "7/3/0", "7/0/400", "7/0", "", "7/0/0/0"] {
        let stranger = |run: &mut Run| {
            let mut stranger = Received { offset: 1_000_000, ..run.accepted[0].clone() };
            set(&mut stranger.record, "test.id", id);
            run.accepted.push(stranger);
        };
        assert!(matches!(only(check(stranger)), Break::Unknown(_)), "{id}");
    }
}

#[test]
fn an_order_upset() {
    let swap = |run: &mut Run| {
        let (first, second) = (run.accepted[0].clone(), run.accepted[3].clone());
        assert_eq!(first.partition, second.partition);
        run.accepted[0].record = second.record;
        run.accepted[3].record = first.record;
    };
    let broken = check(swap).unwrap_err();
    assert_eq!(broken.summary.out_of_order, 1, "{broken}");
    assert!(matches!(only(check(|run| run.accepted[3].offset = 0)), Break::ReadTwice(..)));
}

#[test]
fn a_wrong_verdict() {
    let relabel = |run: &mut Run| {
        set(&mut run.quarantined[0].record, "weir.violations", r#"{"violations":[{"code":"FIELD_ENUM"}]}"#)
    };
    assert!(matches!(only(check(relabel)), Break::Verdict { .. }));
    let more = |run: &mut Run| {
        let code = r#"{"violations":[{"code":"FIELD_RANGE"},{"code":"PAYLOAD_MALFORMED"}]}"#;
        set(&mut run.quarantined[0].record, "weir.violations", code);
    };
    assert!(matches!(only(check(more)), Break::Verdict { .. }));
    let pass = |run: &mut Run| {
        let mut passed = run.quarantined.remove(0);
        passed.offset = -1;
        passed.record.headers.truncate(2);
        run.accepted.insert(0, passed);
    };
    assert!(matches!(check(pass).unwrap_err().breaks[0], Break::Verdict { .. }));
}

#[test]
fn a_changed_record() {
    let changed = |harm: fn(&mut Received)| {
        let accepted = only(check(|run| harm(&mut run.accepted[9])));
        assert_eq!(
            std::mem::discriminant(&accepted),
            std::mem::discriminant(&only(check(|run| harm(&mut run.quarantined[9]))))
        );
        match accepted {
            Break::Changed(_, _, what) => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(changed(|at| at.record.value = None), "value");
    assert_eq!(changed(|at| at.record.key = Some(vec![0])), "key");
    assert_eq!(changed(|at| at.record.timestamp += 1), "timestamp");
    assert_eq!(changed(|at| drop(at.record.headers.remove(0))), "set of headers");
    assert_eq!(changed(|at| at.record.headers.swap(0, 1)), "set of headers");
    let gained = |run: &mut Run| run.accepted[9].record.headers.push(("weir.attempt".to_owned(), None));
    assert!(matches!(only(check(gained)), Break::Changed(_, _, "set of headers")));
    let moved = |run: &mut Run| run.accepted.last_mut().unwrap().partition = 17;
    assert!(matches!(only(check(moved)), Break::Changed(_, _, "partition")));
}

#[test]
fn a_quarantine_that_does_not_say_where_from() {
    for header in ["weir.source.topic", "weir.source.partition", "weir.source.offset", "__connect.errors.offset"] {
        let wrong = only(check(|run| set(&mut run.quarantined[0].record, header, "12345")));
        assert!(matches!(&wrong, Break::Unexplained { header: found, .. } if *found == header), "{wrong}");
    }
    let bare = |run: &mut Run| run.quarantined[0].record.headers.retain(|(name, _)| name != "weir.contract");
    assert!(matches!(only(check(bare)), Break::Unexplained { header: "weir.contract", .. }));
}

#[test]
fn an_id_reads_as_it_is_written() {
    let id = Id { run: u32::MAX, partition: -3, seq: u64::MAX };
    assert_eq!(id.to_string().parse(), Ok(id));
}
