//! What goes by age and size, and what never does.

use super::*;
use weir_broker::log::Cleanup;
use weir_wire::ErrorCode;

/// One batch of a record with this timestamp.
fn at(timestamp: i64, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(timestamp, Some(b"k"), Some(value.as_bytes()), &[]).unwrap();
    builder.finish(0).unwrap()
}

fn segments(lab: &Lab) -> usize {
    recover::files(lab.folder.path(), ".log").len()
}

#[test]
fn segments_go_by_age_and_the_offsets_go_on() {
    let size = at(NOW, "0").len() as u64;
    let config = LogConfig { segment_bytes: 2 * size, retention_ms: Some(1_000), ..LogConfig::default() };
    let mut lab = Lab::new(config);
    for n in 0..7 {
        lab.append(at(NOW + 100 * n, &n.to_string())).unwrap();
    }
    assert_eq!(segments(&lab), 4);
    lab.log.maintain(NOW + 1_100).unwrap();
    assert_eq!((lab.log.start(), segments(&lab)), (0, 4));
    // The youngest record of a segment counts.
    lab.log.maintain(NOW + 1_101).unwrap();
    assert_eq!((lab.log.start(), segments(&lab)), (2, 3));
    for _ in 0..2 {
        assert_eq!(lab.all().first().unwrap().0, 2);
        let error = lab.log.read(1, 1, Isolation::ReadUncommitted, true).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OFFSET_OUT_OF_RANGE);
        lab.kill();
    }
    // The active one goes too when all of it is old.
    lab.log.maintain(NOW + 10_000).unwrap();
    assert_eq!((lab.log.start(), lab.log.end(), lab.log.size()), (7, 7, 0));
    lab.kill();
    assert_eq!((lab.log.start(), lab.log.end()), (7, 7));
    assert_eq!(lab.put(&["next"]), 7);
    assert_eq!(lab.all(), from(7, &["next"]));
}

#[test]
fn segments_go_by_size_but_never_the_active_one() {
    let size = at(NOW, "0").len() as u64;
    let config = LogConfig { segment_bytes: 2 * size, retention_bytes: Some(3 * size), ..LogConfig::default() };
    let lab = Lab::new(config.clone());
    for n in 0..7 {
        lab.append(at(NOW, &n.to_string())).unwrap();
    }
    lab.log.maintain(NOW).unwrap();
    // Seven batches: two segments of two go, then three are left.
    assert_eq!((lab.log.start(), lab.log.size()), (4, 3 * size));
    lab.log.set_config(LogConfig { retention_bytes: Some(0), ..config });
    lab.log.maintain(NOW).unwrap();
    assert_eq!((lab.log.start(), lab.log.size()), (6, size));
}

#[test]
fn a_compacted_log_keeps_old_segments() {
    let size = at(NOW, "0").len() as u64;
    let lab = Lab::new(LogConfig {
        segment_bytes: size,
        retention_ms: Some(1),
        retention_bytes: Some(1),
        cleanup: Cleanup { delete: false, compact: true },
        ..LogConfig::default()
    });
    for n in 0..3 {
        lab.append(at(NOW, &n.to_string())).unwrap();
    }
    lab.log.maintain(NOW + 1_000_000).unwrap();
    assert_eq!((lab.log.start(), lab.all().len()), (0, 3));
    lab.log.delete_records(2).unwrap();
    lab.log.maintain(NOW + 1_000_000).unwrap();
    assert_eq!((lab.log.start(), segments(&lab)), (2, 1));
}

#[test]
fn deleted_records_stay_deleted() {
    let mut lab = Lab::new(LogConfig { segment_bytes: 300, ..LogConfig::default() });
    for n in 0..10 {
        lab.put(&[&n.to_string(), "second"]);
    }
    lab.log.delete_records(5).unwrap();
    for _ in 0..2 {
        assert_eq!((lab.log.start(), lab.log.end()), (5, 20));
        assert_eq!(lab.all().first().unwrap(), &(5, "second".to_owned()));
        lab.kill();
    }
    assert_eq!(lab.log.delete_records(3).unwrap(), 5);
    for offset in [21, -2] {
        assert_eq!(lab.log.delete_records(offset).unwrap_err().code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    lab.log.maintain(NOW).unwrap();
    assert!(segments(&lab) < 10);
    assert_eq!(lab.log.delete_records(-1).unwrap(), 20);
    lab.log.maintain(NOW).unwrap();
    lab.kill();
    assert_eq!((lab.log.start(), lab.log.end(), lab.all().len()), (20, 20, 0));
    // The machine lost what had been deleted already: the offsets go on all the same.
    for path in recover::files(lab.folder.path(), ".log") {
        std::fs::write(path, b"").unwrap();
    }
    for path in recover::files(lab.folder.path(), ".snapshot") {
        std::fs::remove_file(path).unwrap();
    }
    lab.kill();
    assert_eq!((lab.log.start(), lab.log.end()), (20, 20));
    assert_eq!(lab.put(&["next"]), 20);
}

#[test]
fn a_segment_ends_with_its_time_and_its_index() {
    let lab = Lab::new(LogConfig { segment_ms: 1_000, retention_ms: None, ..LogConfig::default() });
    lab.append(at(NOW, "a")).unwrap();
    lab.append(at(NOW + 1_000, "b")).unwrap();
    assert_eq!(segments(&lab), 1);
    lab.append(at(NOW + 1_001, "c")).unwrap();
    assert_eq!(segments(&lab), 2);
    lab.log.maintain(NOW + 2_001).unwrap();
    assert_eq!(segments(&lab), 2);
    lab.log.maintain(NOW + 2_002).unwrap();
    assert_eq!(segments(&lab), 3);
    lab.log.maintain(NOW + 20_000).unwrap();
    assert_eq!(segments(&lab), 3);
    let lab = Lab::new(LogConfig { segment_index_bytes: 160, index_interval_bytes: 1, ..LogConfig::default() });
    for _ in 0..30 {
        lab.put(&["a"]);
    }
    assert!(segments(&lab) >= 3, "{}", segments(&lab));
    assert_eq!(lab.all().len(), 30);
}
