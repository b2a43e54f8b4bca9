//! Compaction: what a reader ends up with stays the same, and only what is superseded goes.

use super::recover::{copy, files};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use weir_broker::log::Cleanup;

fn config() -> LogConfig {
    LogConfig {
        cleanup: Cleanup { delete: false, compact: true },
        segment_bytes: 400,
        index_interval_bytes: 100,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: 1_000,
        ..LogConfig::default()
    }
}

fn builder(records: &[(&str, Option<&str>)], mut builder: BatchBuilder) -> Bytes {
    for (key, value) in records {
        builder.push(NOW, Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
    }
    builder.finish(0).unwrap()
}

fn keyed(lab: &Lab, records: &[(&str, Option<&str>)]) -> i64 {
    lab.append(builder(records, BatchBuilder::new(Codec::None))).unwrap().base_offset
}

/// Closes the active segment, so that all can be compacted.
fn close_segment(lab: &Lab) {
    let config = (*lab.log.config()).clone();
    lab.log.set_config(LogConfig { segment_ms: 0, ..config.clone() });
    lab.log.maintain(NOW + 1).unwrap();
    lab.log.set_config(config);
}

fn offsets(lab: &Lab) -> Vec<i64> {
    lab.all().into_iter().map(|(offset, _)| offset).collect()
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    let mut lab = Lab::new(config());
    for n in 0..50 {
        keyed(&lab, &[("a", Some(&format!("a{n}"))), (&format!("k{}", n % 7), Some(&format!("k{n}")))]);
    }
    let all = lab.all();
    close_segment(&lab);
    let done = lab.log.compact(NOW).unwrap();
    assert_eq!(done.passes, 1);
    assert!(done.written < done.read / 4);
    let mut expect: Vec<_> = all.into_iter().filter(|(at, _)| *at >= 86 && at % 2 == 1 || *at == 98).collect();
    expect.sort();
    for _ in 0..2 {
        assert_eq!(lab.all(), expect);
        assert_eq!((lab.log.start(), lab.log.end()), (0, 100));
        // Every offset can be asked for, also those that are gone.
        for offset in 0..100 {
            let slice = lab.log.read(offset, 1_000, Isolation::ReadUncommitted, true).unwrap();
            let mut found = Vec::new();
            records(&slice, offset, &mut found);
            assert_eq!(found.first(), expect.iter().find(|(at, _)| *at >= offset), "at {offset}");
        }
        lab.kill();
    }
    // Nothing new: nothing to do.
    assert_eq!(lab.log.compact(NOW).unwrap().passes, 0);
    assert_eq!(keyed(&lab, &[("a", Some("new"))]), 100);
    // The small segments that are left become one.
    let segments = files(lab.folder.path(), ".log").len();
    close_segment(&lab);
    lab.log.compact(NOW).unwrap();
    assert!(files(lab.folder.path(), ".log").len() < segments / 2);
}

#[test]
fn the_ratio_and_the_lags_decide_when() {
    let due = |config: LogConfig, now: i64| {
        let lab = Lab::new(config);
        for n in 0..20 {
            keyed(&lab, &[("a", Some(&format!("{n}")))]);
        }
        close_segment(&lab);
        lab.log.compact(now).unwrap().passes > 0
    };
    assert!(due(config(), NOW));
    assert!(due(LogConfig { min_cleanable_dirty_ratio: 0.9, ..config() }, NOW));
    assert!(!due(LogConfig { min_cleanable_dirty_ratio: 1.0, ..config() }, NOW));
    let overdue = LogConfig { min_cleanable_dirty_ratio: 1.0, max_compaction_lag_ms: 5_000, ..config() };
    assert!(!due(overdue.clone(), NOW + 5_000));
    assert!(due(overdue, NOW + 5_001));
    let lagging = LogConfig { min_compaction_lag_ms: 5_000, ..config() };
    assert!(!due(lagging.clone(), NOW + 4_999));
    assert!(due(lagging, NOW + 5_000));
    assert!(!due(LogConfig { cleanup: Cleanup { delete: true, compact: false }, ..config() }, NOW));
}

#[test]
fn the_active_segment_and_open_transactions_are_not_touched() {
    let lab = Lab::new(LogConfig { segment_bytes: 10_000, ..config() });
    for n in 0..5 {
        keyed(&lab, &[("a", Some(&format!("{n}")))]);
    }
    assert_eq!(lab.log.compact(NOW).unwrap().passes, 0);
    lab.transactional(1, 0, 0, &["open"]).unwrap();
    keyed(&lab, &[("a", Some("after"))]);
    close_segment(&lab);
    lab.log.compact(NOW).unwrap();
    // The record after the open transaction does not count yet.
    assert_eq!(offsets(&lab), [4, 5, 6]);
    lab.marker(1, 0, true).unwrap();
    close_segment(&lab);
    lab.log.compact(NOW).unwrap();
    assert_eq!(offsets(&lab), [5, 6]);
}

#[test]
fn a_tombstone_stays_for_its_time_and_takes_the_record_with_it() {
    for codec in Codec::ALL {
        let mut lab = Lab::new(config());
        keyed(&lab, &[("a", Some("1")), ("b", Some("2"))]);
        lab.append(builder(&[("a", None), ("c", Some("3")), ("d", None)], BatchBuilder::new(codec))).unwrap();
        close_segment(&lab);
        lab.log.compact(NOW).unwrap();
        assert_eq!(offsets(&lab), [1, 2, 3, 4]);
        let slice = lab.log.read(2, 1_000, Isolation::ReadUncommitted, true).unwrap();
        let batch = Batch::split(&mut slice.records.clone()).unwrap().unwrap();
        assert_eq!(batch.delete_horizon().is_some(), batch.base_offset() == 2);
        // The next compaction before the horizon keeps it, the one after it does not.
        for (now, expect) in [(NOW + 999, vec![1, 2, 3, 4, 5]), (NOW + 1_000, vec![1, 3, 6])] {
            keyed(&lab, &[("e", Some("4"))]);
            close_segment(&lab);
            lab.log.compact(now).unwrap();
            assert_eq!(offsets(&lab), expect, "{codec:?}");
            let times: Vec<i64> = lab.times();
            assert!(times.iter().all(|time| *time == NOW), "{times:?}");
            lab.kill();
        }
    }
}

impl Lab {
    /// All batches that are left, empty ones too.
    fn batches(&self) -> Vec<Batch> {
        let (mut batches, mut next) = (Vec::new(), 0);
        loop {
            let mut bytes = self.log.read(next, 10_000, Isolation::ReadUncommitted, true).unwrap().records;
            if bytes.is_empty() {
                return batches;
            }
            while let Some(batch) = Batch::split(&mut bytes).unwrap() {
                next = batch.last_offset() + 1;
                batches.push(batch);
            }
        }
    }

    /// Timestamps of all records.
    fn times(&self) -> Vec<i64> {
        let records = |batch: &Batch| Records::read(batch, 1 << 20).unwrap();
        let times = |records: Records| records.iter().map(|record| record.unwrap().timestamp).collect::<Vec<_>>();
        self.batches().iter().map(records).flat_map(times).collect()
    }

    /// Offsets of all markers.
    fn markers(&self) -> Vec<i64> {
        let batches = self.batches().into_iter().filter(|batch| batch.is_control() && batch.count() > 0);
        batches.map(|batch| batch.base_offset()).collect()
    }
}

#[test]
fn aborted_records_go_and_then_their_marker() {
    let mut lab = Lab::new(config());
    let send = |lab: &Lab, id: i64, key: &str, sequence: i32| {
        let transaction = lab.log.begin_verification(id, 0, sequence, false, NOW).unwrap();
        let batch = BatchBuilder::new(Codec::None).transactional();
        let batch = builder(&[(key, Some(key))], batch.producer(Producer { id, epoch: 0, base_sequence: sequence }));
        lab.log.append(batch, Origin::Client { transaction }, NOW).unwrap();
    };
    keyed(&lab, &[("a", Some("0"))]);
    send(&lab, 1, "a", 0);
    send(&lab, 2, "b", 0);
    lab.marker(1, 0, false).unwrap();
    lab.marker(2, 0, true).unwrap();
    send(&lab, 1, "c", 1);
    lab.marker(1, 0, true).unwrap();
    close_segment(&lab);
    let seen = lab.committed();
    assert_eq!(seen.len(), 3);
    lab.log.compact(NOW).unwrap();
    assert_eq!(offsets(&lab), [0, 2, 5]);
    assert_eq!(lab.markers(), [3, 4, 6]);
    // The second pass sees no record of the aborted transaction, and the third, after the horizon, drops the marker.
    for (now, markers) in [(NOW, vec![3, 4, 6]), (NOW + 999, vec![3, 4, 6]), (NOW + 1_000, vec![4, 6])] {
        keyed(&lab, &[("z", Some("z"))]);
        close_segment(&lab);
        lab.log.compact(now).unwrap();
        assert_eq!(lab.markers(), markers);
        assert_eq!(lab.committed()[..3], seen);
        lab.kill();
        assert_eq!(lab.committed()[..3], seen);
    }
}

#[test]
fn a_producer_whose_records_are_gone_goes_on_with_its_sequence() {
    let mut lab = Lab::new(config());
    for n in 0..3 {
        lab.append(idempotent(7, 2, n, &["v"])).unwrap();
    }
    for n in 0..3 {
        keyed(&lab, &[("0", Some(&format!("{n}")))]);
    }
    close_segment(&lab);
    lab.log.compact(NOW).unwrap();
    assert_eq!(offsets(&lab), [5]);
    for path in files(lab.folder.path(), ".snapshot") {
        fs::remove_file(path).unwrap();
    }
    lab.kill();
    assert!(lab.append(idempotent(7, 2, 2, &["v"])).unwrap().duplicate);
    lab.append(idempotent(7, 2, 3, &["v"])).unwrap();
    // Once it has newer batches, or is forgotten, the empty one goes.
    let batches = |lab: &Lab| lab.batches().iter().map(|batch| batch.base_offset()).collect::<Vec<_>>();
    assert_eq!(batches(&lab)[..2], [2, 5]);
    close_segment(&lab);
    lab.log.compact(NOW).unwrap();
    assert_eq!(batches(&lab), [6]);
}

#[test]
fn a_compaction_that_was_interrupted_counts_or_not() {
    let lab = Lab::new(config());
    for n in 0..40 {
        keyed(&lab, &[(&format!("k{}", n % 5), Some(&format!("{n}")))]);
        if n % 10 == 3 {
            lab.transactional(1, 0, n / 10, &["aborted"]).unwrap();
            lab.marker(1, 0, false).unwrap();
        }
    }
    close_segment(&lab);
    let before = copy(lab.folder.path());
    let (all, committed) = (lab.all(), lab.committed());
    lab.log.set_config(LogConfig { segment_bytes: 1 << 20, ..config() });
    lab.log.compact(NOW).unwrap();
    let (compacted, compacted_committed) = (lab.all(), lab.committed());
    assert!(compacted.len() < all.len() / 3);
    let logs = files(before.path(), ".log");
    let end = logs.last().unwrap().file_stem().unwrap().to_str().unwrap().to_owned();
    let first = format!("{:020}", 0);
    let new = |name: &str| fs::read(lab.folder.path().join(format!("{first}.{name}"))).unwrap();
    let check = |image: &Path, all: &[(i64, String)], committed: &[(i64, String)]| {
        let log = Log::open(image, config(), &lab.files, NOW).unwrap();
        assert_eq!((&read_all(&log)[..], &read_committed(&log)[..]), (all, committed));
        assert_eq!(files(image, ".cleaned").len() + files(image, ".swap").len(), 0);
        log.append(builder(&[("k0", Some("next"))], BatchBuilder::new(Codec::None)), CLIENT, NOW).unwrap();
    };
    // Before the new segment counts.
    for part in [0, 1, new("log").len()] {
        let image = copy(before.path());
        fs::write(image.path().join(format!("{first}.log.cleaned")), &new("log")[..part]).unwrap();
        fs::write(image.path().join(format!("{first}.index.cleaned")), b"1").unwrap();
        check(image.path(), &all, &committed);
    }
    // After it counts, whatever was done of the rest.
    let replaced: Vec<_> = logs[1..logs.len() - 1].to_vec();
    for done in 0..=replaced.len() + 2 {
        let image = copy(before.path());
        for path in files(image.path(), ".snapshot") {
            let offset = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if offset > first && offset < end {
                fs::remove_file(path).unwrap();
            }
        }
        fs::write(image.path().join(format!("{first}.{end}.log.swap")), new("log")).unwrap();
        fs::write(image.path().join(format!("{first}.index.cleaned")), new("index")).unwrap();
        fs::write(image.path().join(format!("{first}.txnindex.cleaned")), new("txnindex")).unwrap();
        for path in replaced.iter().take(done) {
            for ending in ["log", "index", "txnindex"] {
                let name = path.with_extension(ending).file_name().unwrap().to_owned();
                let _ = fs::remove_file(image.path().join(name));
            }
        }
        for (ending, after) in [("index", replaced.len()), ("txnindex", replaced.len() + 1)] {
            if done > after {
                let name = format!("{first}.{ending}");
                fs::rename(image.path().join(format!("{name}.cleaned")), image.path().join(name)).unwrap();
            }
        }
        check(image.path(), &compacted, &compacted_committed);
    }
}

/// What a reader that keeps the last value of each key ends up with.
fn table(log: &Log) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    let mut open: BTreeSet<i64> = BTreeSet::new();
    let mut next = log.start();
    while next < log.last_stable() {
        let slice = log.read(next, 10_000, Isolation::ReadCommitted, true).unwrap();
        let mut aborted: Vec<_> = slice.aborted.clone();
        aborted.sort_by_key(|aborted| -aborted.first_offset);
        let mut bytes = slice.records;
        if bytes.is_empty() {
            break;
        }
        while let Some(batch) = Batch::split(&mut bytes).unwrap() {
            next = batch.last_offset() + 1;
            while let Some(first) = aborted.pop_if(|first| first.first_offset <= batch.last_offset()) {
                open.insert(first.producer_id);
            }
            if batch.is_control() {
                open.remove(&batch.producer_id());
                continue;
            }
            if batch.is_transactional() && open.contains(&batch.producer_id()) {
                continue;
            }
            for record in &Records::read(&batch, 1 << 20).unwrap() {
                let record = record.unwrap();
                let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                match record.value {
                    Some(value) => table.insert(key, String::from_utf8(value.to_vec()).unwrap()),
                    None => table.remove(&key),
                };
            }
        }
    }
    table
}

#[derive(Debug, Clone)]
enum Step {
    Put { codec: usize, keys: Vec<(u8, bool)> },
    Transaction { id: i64, keys: Vec<(u8, bool)>, end: Option<bool> },
    Compact { later: i64 },
    Kill { snapshots: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::vec((0..12u8, prop::bool::weighted(0.8)), 1..5);
    prop_oneof![
        4 => (0..5usize, keys()).prop_map(|(codec, keys)| Step::Put { codec, keys }),
        4 => (1..4i64, keys(), prop::option::of(any::<bool>()))
            .prop_map(|(id, keys, end)| Step::Transaction { id, keys, end }),
        2 => (0..900i64).prop_map(|later| Step::Compact { later }),
        1 => any::<bool>().prop_map(|snapshots| Step::Kill { snapshots }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_table_of_a_reader_survives_every_compaction(
        steps in prop::collection::vec(step(), 1..60),
        slots in 3..40usize,
    ) {
        let mut lab = Lab::new(LogConfig { compaction_bytes: 24 * slots, ..config() });
        // The same records in a log that is never compacted.
        let other = Lab::new(LogConfig { cleanup: Cleanup { delete: false, compact: false }, ..config() });
        let mut sequences = [0i32; 4];
        let mut now = NOW;
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Put { codec, keys } => {
                    let mut batch = BatchBuilder::new(Codec::ALL[*codec]);
                    fill(&mut batch, keys, number);
                    let batch = batch.finish(0).unwrap();
                    lab.append(batch.clone()).unwrap();
                    other.append(batch).unwrap();
                }
                Step::Transaction { id, keys, end } => {
                    let sequence = &mut sequences[*id as usize];
                    let producer = Producer { id: *id, epoch: 0, base_sequence: *sequence };
                    let mut batch = BatchBuilder::new(Codec::None).transactional().producer(producer);
                    fill(&mut batch, keys, number);
                    let batch = batch.finish(0).unwrap();
                    for lab in [&lab, &other] {
                        let transaction = lab.log.begin_verification(*id, 0, *sequence, false, now).unwrap();
                        lab.log.append(batch.clone(), Origin::Client { transaction }, now).unwrap();
                        if let Some(commit) = end {
                            lab.marker(*id, 0, *commit).unwrap();
                        }
                    }
                    *sequence += i32::try_from(keys.len()).unwrap();
                }
                Step::Compact { later } => {
                    now += later;
                    close_segment(&lab);
                    lab.log.compact(now).unwrap();
                }
                Step::Kill { snapshots } => {
                    if !snapshots {
                        files(lab.folder.path(), ".snapshot").iter().for_each(|path| fs::remove_file(path).unwrap());
                    }
                    lab.kill();
                }
            }
            prop_assert_eq!(lab.log.last_stable(), other.log.last_stable(), "after {:?}", step);
            prop_assert_eq!(lab.log.end(), other.log.end());
            prop_assert_eq!(table(&lab.log), table(&other.log), "after {:?}", step);
            let all: BTreeMap<i64, String> = other.all().into_iter().collect();
            for (offset, value) in lab.all() {
                prop_assert_eq!(all.get(&offset), Some(&value));
            }
            for id in 1..4i64 {
                let last = |lab: &Lab| lab.log.producers().iter().find(|state| state.producer_id == id).map(|state| state.last_sequence);
                prop_assert_eq!(last(&lab), last(&other));
            }
        }
        // After all is said and done at most one record of a key is left.
        for id in 1..4 {
            lab.marker(id, 0, true).unwrap();
            other.marker(id, 0, true).unwrap();
        }
        close_segment(&lab);
        lab.log.compact(now).unwrap();
        prop_assert_eq!(table(&lab.log), table(&other.log));
        prop_assert!(lab.all().len() <= 12, "{:?}", lab.all());
    }
}

fn fill(batch: &mut BatchBuilder, keys: &[(u8, bool)], number: usize) {
    for (key, value) in keys {
        let (key, text) = (format!("key {key}"), format!("value {number}"));
        batch.push(NOW, Some(key.as_bytes()), value.then_some(text.as_bytes()), &[]).unwrap();
    }
}

#[test]
fn a_snapshot_of_a_segment_that_was_rewritten_is_not_used() {
    let mut lab = Lab::new(LogConfig { segment_bytes: 10_000, ..config() });
    keyed(&lab, &[("a", Some(&"x".repeat(200)))]);
    // A snapshot in the middle of the segment.
    lab.log.close().unwrap();
    lab.kill();
    for n in 0..20 {
        keyed(&lab, &[("a", Some("y")), (&format!("key {n}"), Some("z"))]);
    }
    close_segment(&lab);
    lab.log.compact(NOW).unwrap();
    let expect = lab.all();
    assert_eq!(expect.len(), 21);
    let newest = files(lab.folder.path(), ".snapshot").pop().unwrap();
    fs::write(newest, b"broken").unwrap();
    lab.kill();
    assert_eq!(lab.all(), expect);
}
