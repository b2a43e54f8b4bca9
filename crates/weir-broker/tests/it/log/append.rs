//! Appending and reading back, and what is refused.

use super::*;
use weir_broker::log::{Cleanup, TimestampType};
use weir_wire::ErrorCode;
use weir_wire::batch::HEADER_SIZE;

#[test]
fn what_is_appended_is_read_in_whole_batches() {
    let mut lab = Lab::new(LogConfig { index_interval_bytes: 100, ..LogConfig::default() });
    let mut expect = Vec::new();
    for n in 0..200i64 {
        let values: Vec<String> = (0..=n % 7).map(|at| format!("{n}-{at}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let base = lab.put(&values);
        assert_eq!(base, expect.len() as i64);
        expect.extend(from(base, &values));
    }
    assert_eq!(lab.all(), expect);
    for start in 0..expect.len() {
        let slice = lab.log.read(start as i64, 1_000, Isolation::ReadUncommitted, true).unwrap();
        let mut all = Vec::new();
        let next = records(&slice, start as i64, &mut all) as usize;
        assert_eq!(all, expect[start..next]);
    }
    lab.kill();
    assert_eq!(lab.all(), expect);
    lab.log.close().unwrap();
    lab.kill();
    assert_eq!(lab.all(), expect);
    assert_eq!(lab.put(&["next"]), expect.len() as i64);
}

#[test]
fn a_read_keeps_its_bounds() {
    let lab = Lab::new(LogConfig::default());
    for n in 0..10 {
        lab.put(&[&format!("{n}"), "second"]);
    }
    let size = plain(&["0", "second"]).len();
    let read = |from, max, at_least_one| {
        let slice = lab.log.read(from, max, Isolation::ReadUncommitted, at_least_one).unwrap();
        let mut all = Vec::new();
        records(&slice, 0, &mut all);
        all.iter().map(|(offset, _)| *offset).collect::<Vec<i64>>()
    };
    assert_eq!(read(0, 2 * size, false), [0, 1, 2, 3]);
    assert_eq!(read(0, 2 * size + size - 1, false), [0, 1, 2, 3]);
    // The batch that holds the offset begins before it.
    assert_eq!(read(7, size, false), [6, 7]);
    assert_eq!(read(0, size - 1, false), Vec::<i64>::new());
    for max in [0, 1, HEADER_SIZE, size - 1] {
        assert_eq!(read(3, max, true), [2, 3], "at least one batch in {max} bytes");
    }
    assert_eq!(read(20, usize::MAX, true), Vec::<i64>::new());
    assert_eq!(read(0, usize::MAX, true).len(), 20);
    for offset in [-1, 21, i64::MAX] {
        let error = lab.log.read(offset, 1, Isolation::ReadUncommitted, true).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    }
}

#[test]
fn handles_stay_few_with_many_logs() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::new(16);
    let logs: Vec<Log> = (0..100)
        .map(|n| Log::open(&folder.path().join(n.to_string()), LogConfig::default(), &files, NOW).unwrap())
        .collect();
    for round in 0..3 {
        for log in &logs {
            assert_eq!(log.append(plain(&["x"]), CLIENT, NOW).unwrap().base_offset, round);
            assert!(files.open_handles() <= 16);
        }
    }
    for log in &logs {
        assert_eq!(read_all(log), from(0, &["x", "x", "x"]));
    }
    drop(logs);
    assert_eq!(files.open_handles(), 0);
}

#[test]
fn waiters_hear_of_every_append_and_marker() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let lab = Lab::new(LogConfig::default());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let waiter: Arc<dyn weir_broker::log::Waiter> = Arc::new(move || {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    lab.log.watch(&waiter);
    lab.put(&["a"]);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    lab.transactional(1, 0, 0, &["b"]).unwrap();
    lab.marker(1, 0, true).unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 3);
    drop(waiter);
    lab.put(&["c"]);
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

/// A batch with one field of its header changed, and a checksum that fits.
fn edit(batch: Bytes, at: usize, value: &[u8]) -> Bytes {
    let mut all = batch.to_vec();
    all[at..at + value.len()].copy_from_slice(value);
    let crc = crc32c::crc32c(&all[21..]);
    all[17..21].copy_from_slice(&crc.to_be_bytes());
    all.into()
}

#[test]
fn a_batch_that_is_none_is_refused_and_nothing_appended() {
    let config = LogConfig { max_message_bytes: 1_000, segment_bytes: 2_000, ..LogConfig::default() };
    let mut lab = Lab::new(config);
    let good = || plain(&["a", "b"]);
    let check = |batch: Bytes, code: ErrorCode, says: &str| {
        let error = lab.append(batch).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(says), "`{error}` does not say `{says}`");
        assert_eq!((lab.log.end(), lab.log.size()), (0, 0));
    };
    check(Bytes::new(), ErrorCode::INVALID_RECORD, "no record batch");
    check(good().slice(..60), ErrorCode::INVALID_RECORD, "cut off");
    check(good().slice(..good().len() - 1), ErrorCode::INVALID_RECORD, "cut off");
    check(edit(good(), 16, &[1]), ErrorCode::INVALID_RECORD, "magic 1");
    check(edit(good(), 16, &[9]), ErrorCode::CORRUPT_MESSAGE, "magic 9");
    check(edit(good(), 8, &[0, 0, 0, 3]), ErrorCode::CORRUPT_MESSAGE, "length");
    check(edit(good(), 0, &7i64.to_be_bytes()), ErrorCode::INVALID_RECORD, "base offset");
    check(edit(good(), 57, &3i32.to_be_bytes()), ErrorCode::INVALID_RECORD, "counts 3 records for 2");
    check(edit(good(), 23, &4i32.to_be_bytes()), ErrorCode::INVALID_RECORD, "counts 2 records for 5");
    check(edit(good(), 57, &[0; 4]), ErrorCode::INVALID_RECORD, "counts 0");
    check(edit(good(), 21, &[0, 0x20]), ErrorCode::INVALID_RECORD, "control");
    check(edit(good(), 21, &[0, 0x40]), ErrorCode::INVALID_RECORD, "delete horizon");
    check(edit(good(), 21, &[0, 0x10]), ErrorCode::INVALID_RECORD, "without a producer id");
    check(edit(good(), 21, &[0, 7]), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, "codec 7");
    check(edit(good(), 21, &[0, 4]), ErrorCode::CORRUPT_MESSAGE, "");
    check(edit(good(), 43, &5i64.to_be_bytes()), ErrorCode::INVALID_RECORD, "producer 5 sent epoch -1");
    check([good(), good()].concat().into(), ErrorCode::INVALID_RECORD, "more than one");
    check(plain(&[&"x".repeat(1_000)]), ErrorCode::MESSAGE_TOO_LARGE, "max.message.bytes");
    let mut wrong = good().to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    check(wrong.into(), ErrorCode::CORRUPT_MESSAGE, "CRC");
    lab.config.segment_bytes = 100;
    lab.config.max_message_bytes = 10_000;
    lab.log.set_config(lab.config.clone());
    let error = lab.append(plain(&[&"x".repeat(1_000)])).unwrap_err();
    assert_eq!(error.code, ErrorCode::RECORD_LIST_TOO_LARGE);
}

#[test]
fn records_that_break_a_rule_are_named() {
    let lab = Lab::new(LogConfig {
        cleanup: Cleanup { delete: false, compact: true },
        timestamp_before_max_ms: 1_000,
        timestamp_after_max_ms: 500,
        ..LogConfig::default()
    });
    let batch = |records: &[(i64, Option<&str>)]| {
        let mut builder = BatchBuilder::new(Codec::Lz4);
        for (timestamp, key) in records {
            builder.push(*timestamp, key.map(str::as_bytes), Some(b"v"), &[]).unwrap();
        }
        builder.finish(0).unwrap()
    };
    let check = |records: &[(i64, Option<&str>)], code: ErrorCode, expect: &[i32]| {
        let error = lab.append(batch(records)).unwrap_err();
        let indexes: Vec<i32> = error.records.iter().map(|record| record.batch_index).collect();
        assert_eq!((error.code, &indexes[..]), (code, expect), "{error}");
        assert_eq!(lab.log.end(), 0);
    };
    let fine = (NOW, Some("k"));
    check(&[fine, (NOW, None), fine, (NOW, None)], ErrorCode::INVALID_RECORD, &[1, 3]);
    check(&[fine, (NOW - 1_001, Some("k"))], ErrorCode::INVALID_TIMESTAMP, &[1]);
    check(&[(NOW + 501, Some("k")), (NOW, None)], ErrorCode::INVALID_TIMESTAMP, &[0, 1]);
    lab.append(batch(&[(NOW - 1_000, Some("k")), (NOW + 500, Some("k")), (-1, Some("k"))])).unwrap();
}

#[test]
fn offsets_within_a_batch_are_one_after_the_other() {
    // Offset deltas 0 and 2 where two records are counted and the last delta says 1, and 1 and 2 for three.
    let lab = Lab::new(LogConfig::default());
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..2 {
        builder.push(NOW, Some(b"k"), Some(b"v"), &[]).unwrap();
    }
    let bytes = builder.finish(0).unwrap();
    // Record: length, attributes, timestamp delta, offset delta …; the second begins after nine bytes.
    let size = 1 + usize::from(bytes[HEADER_SIZE] >> 1);
    let error = lab.append(edit(bytes.clone(), HEADER_SIZE + size + 3, &[4])).unwrap_err();
    assert_eq!((error.code, error.records[0].batch_index), (ErrorCode::INVALID_RECORD, 1));
    let error = lab.append(edit(bytes.clone(), HEADER_SIZE + 3, &[2])).unwrap_err();
    assert_eq!(error.code, ErrorCode::INVALID_RECORD);
    let mut longer = bytes.to_vec();
    longer.push(0);
    let length = i32::try_from(longer.len() - 12).unwrap();
    let error = lab.append(edit(longer.into(), 8, &length.to_be_bytes())).unwrap_err();
    assert_eq!(error.code, ErrorCode::INVALID_RECORD);
    lab.append(bytes).unwrap();
}

#[test]
fn a_batch_with_a_wrong_latest_timestamp_is_set_right() {
    let lab = Lab::new(LogConfig::default());
    lab.append(edit(plain(&["a", "b"]), 35, &(NOW + 1_000_000).to_be_bytes())).unwrap();
    let slice = lab.log.read(0, 1_000, Isolation::ReadUncommitted, true).unwrap();
    let batch = Batch::split(&mut slice.records.clone()).unwrap().unwrap();
    assert_eq!(batch.max_timestamp(), NOW + 1);
    assert_eq!(lab.all(), from(0, &["a", "b"]));
}

#[test]
fn timestamps_and_codec_are_the_topics() {
    for codec in Codec::ALL {
        let lab = Lab::new(LogConfig {
            timestamp_type: TimestampType::LogAppendTime,
            compression: Some(codec),
            ..LogConfig::default()
        });
        for sent in Codec::ALL {
            let producer = Producer { id: i64::from(sent.id()), epoch: 0, base_sequence: 0 };
            let batch = batch(BatchBuilder::new(sent), producer, &["a", "b"]);
            let appended = lab.log.append(batch, CLIENT, NOW + 99).unwrap();
            assert_eq!((appended.append_time, appended.duplicate), (NOW + 99, false));
            let slice = lab.log.read(appended.base_offset, 1_000, Isolation::ReadUncommitted, true).unwrap();
            let batch = Batch::split(&mut slice.records.clone()).unwrap().unwrap();
            assert_eq!((batch.codec().unwrap(), batch.timestamp_type()), (codec, TimestampType::LogAppendTime));
            assert_eq!((batch.max_timestamp(), batch.producer_id(), batch.base_sequence()), (NOW + 99, producer.id, 0));
            batch.verify_crc().unwrap();
        }
    }
}

#[test]
fn a_coordinator_appends_several_batches_at_once() {
    let lab = Lab::new(LogConfig::default());
    let both: Bytes = [plain(&["a", "b"]), plain(&["c"])].concat().into();
    let appended = lab.log.append(both, Origin::Coordinator, NOW).unwrap();
    assert_eq!((appended.base_offset, appended.last_offset), (0, 2));
    assert_eq!(lab.all(), from(0, &["a", "b", "c"]));
}

#[test]
fn an_append_is_durable_once_flushed_and_many_share_a_flush() {
    let lab = Lab::new(LogConfig { flush: weir_broker::log::Flush::Fsync, segment_bytes: 500, ..LogConfig::default() });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let appended = lab.append(plain(&["a"])).unwrap();
                    lab.log.durable(appended.last_offset + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(lab.all().len(), 40);
    lab.log.flush().unwrap();
    lab.log.close().unwrap();
    assert_eq!(lab.append(plain(&["a"])).unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
}
