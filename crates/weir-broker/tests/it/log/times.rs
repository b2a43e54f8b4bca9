//! Offsets by time.

use super::*;
use proptest::prelude::*;
use weir_broker::log::Spec;

fn offset(log: &Log, spec: Spec) -> Option<(i64, i64)> {
    log.offset_for(spec).unwrap().map(|position| (position.offset, position.timestamp))
}

/// Batches of records with these timestamps, by all codecs in turn.
fn lab(batches: &[Vec<i64>], segment_bytes: u64) -> Lab {
    let lab = Lab::new(LogConfig {
        segment_bytes,
        index_interval_bytes: 100,
        timestamp_after_max_ms: i64::MAX,
        ..LogConfig::default()
    });
    for (at, batch) in batches.iter().enumerate() {
        let mut builder = BatchBuilder::new(Codec::ALL[at % 5]);
        for timestamp in batch {
            builder.push(*timestamp, None, Some(b"value"), &[]).unwrap();
        }
        lab.append(builder.finish(0).unwrap()).unwrap();
    }
    lab
}

#[test]
fn the_ends_and_the_youngest() {
    let mut lab = lab(&[vec![5, 9, 7], vec![9, 3]], 10_000);
    lab.transactional(1, 0, 0, &["x"]).unwrap();
    assert_eq!(offset(&lab.log, Spec::Earliest), Some((0, -1)));
    assert_eq!(offset(&lab.log, Spec::Latest), Some((6, -1)));
    assert_eq!(offset(&lab.log, Spec::LastStable), Some((5, -1)));
    assert_eq!(offset(&lab.log, Spec::MaxTimestamp), Some((5, NOW)));
    lab.log = lab.open(tempfile::tempdir().unwrap().path());
    assert_eq!(offset(&lab.log, Spec::MaxTimestamp), None);
    assert_eq!(offset(&lab.log, Spec::Time(0)), None);
    assert_eq!(offset(&lab.log, Spec::Latest), Some((0, -1)));
}

#[test]
fn the_youngest_of_what_is_left_is_found() {
    let lab = lab(&[vec![5, 90, 7], vec![20, 3], vec![4]], 10_000);
    assert_eq!(offset(&lab.log, Spec::MaxTimestamp), Some((1, 90)));
    for (start, expect) in [(1, (1, 90)), (2, (3, 20)), (4, (5, 4))] {
        lab.log.delete_records(start).unwrap();
        assert_eq!(offset(&lab.log, Spec::MaxTimestamp), Some(expect), "from {start}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_first_record_that_is_young_enough_is_found(
        batches in prop::collection::vec(prop::collection::vec(0..200i64, 1..4), 1..40),
        segment_bytes in 300..2_000u64,
        delete in 0..10i64,
        times in prop::collection::vec(-5..205i64, 1..10),
    ) {
        let mut lab = lab(&batches, segment_bytes);
        let delete = delete.min(lab.log.end());
        lab.log.delete_records(delete).unwrap();
        let all: Vec<(i64, i64)> = (0..).zip(batches.into_iter().flatten()).filter(|(at, _)| *at >= delete).collect();
        for _ in 0..2 {
            for time in &times {
                let expect = all.iter().find(|(_, timestamp)| timestamp >= time).copied();
                prop_assert_eq!(offset(&lab.log, Spec::Time(*time)), expect);
            }
            let latest = all.iter().map(|(_, timestamp)| *timestamp).max();
            let expect = all.iter().find(|(_, timestamp)| Some(*timestamp) == latest).copied();
            prop_assert_eq!(offset(&lab.log, Spec::MaxTimestamp), expect);
            lab.kill();
        }
    }
}
