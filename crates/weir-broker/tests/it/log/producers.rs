//! Idempotent producers and transactions, by the rules of Kafka.

use super::*;
use weir_broker::log::Aborted;
use weir_wire::ErrorCode;

fn code(result: Result<Appended, AppendError>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn a_repeated_batch_is_answered_with_where_it_is() {
    let mut lab = Lab::new(LogConfig::default());
    let send = |lab: &Lab, sequence| lab.append(idempotent(7, 0, sequence, &["a", "b"]));
    for n in 0..6 {
        assert_eq!(send(&lab, 2 * n).unwrap().base_offset, i64::from(2 * n));
    }
    for _ in 0..2 {
        for n in 1..6 {
            let appended = send(&lab, 2 * n).unwrap();
            assert!(appended.duplicate);
            assert_eq!((appended.base_offset, appended.last_offset), (i64::from(2 * n), i64::from(2 * n) + 1));
        }
        // Only the last five are remembered.
        assert_eq!(code(send(&lab, 0)), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(lab.log.end(), 12);
        lab.kill();
    }
    lab.log.close().unwrap();
    lab.kill();
    assert!(send(&lab, 10).unwrap().duplicate);
}

#[test]
fn a_sequence_must_follow() {
    let lab = Lab::new(LogConfig::default());
    let send = |epoch, sequence| lab.append(idempotent(7, epoch, sequence, &["a"]));
    // Of a producer that is not known any sequence is taken.
    send(3, 40).unwrap();
    assert_eq!(code(send(3, 42)), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(code(send(3, 39)), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    send(3, 41).unwrap();
    assert_eq!(code(send(2, 42)), ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(code(send(4, 42)), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    send(4, 0).unwrap();
    assert_eq!(code(send(3, 42)), ErrorCode::INVALID_PRODUCER_EPOCH);
    send(4, 1).unwrap();
    assert_eq!(lab.log.end(), 4);
}

#[test]
fn sequences_wrap_around() {
    let lab = Lab::new(LogConfig::default());
    let send = |sequence, values: &[&str]| lab.append(idempotent(7, 0, sequence, values));
    send(i32::MAX - 1, &["a", "b"]).unwrap();
    send(0, &["c"]).unwrap();
    let over = Lab::new(LogConfig::default());
    over.append(idempotent(7, 0, i32::MAX, &["a", "b", "c"])).unwrap();
    assert!(over.append(idempotent(7, 0, i32::MAX, &["a", "b", "c"])).unwrap().duplicate);
    assert_eq!(code(over.append(idempotent(7, 0, 0, &["d"]))), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    over.append(idempotent(7, 0, 2, &["d"])).unwrap();
}

#[test]
fn an_idle_producer_is_forgotten_and_one_in_a_transaction_is_not() {
    let lab = Lab::new(LogConfig { producer_id_expiration_ms: 100, ..LogConfig::default() });
    lab.append(idempotent(7, 0, 0, &["a"])).unwrap();
    lab.transactional(8, 0, 0, &["b"]).unwrap();
    lab.log.maintain(NOW + 99).unwrap();
    assert_eq!(lab.log.producers().len(), 2);
    lab.log.maintain(NOW + 100).unwrap();
    let left = lab.log.producers();
    assert_eq!((left.len(), left[0].producer_id, left[0].transaction_start), (1, 8, 1));
    lab.append(idempotent(7, 0, 99, &["c"])).unwrap();
}

#[test]
fn committed_readers_stop_at_the_oldest_open_transaction() {
    let mut lab = Lab::new(LogConfig::default());
    lab.put(&["a"]);
    lab.transactional(1, 0, 0, &["b"]).unwrap();
    lab.transactional(2, 0, 0, &["c"]).unwrap();
    lab.put(&["d"]);
    for _ in 0..2 {
        assert_eq!((lab.log.last_stable(), lab.log.end()), (1, 4));
        assert_eq!(lab.committed(), from(0, &["a"]));
        lab.kill();
    }
    lab.marker(1, 0, true).unwrap();
    assert_eq!(lab.log.last_stable(), 2);
    lab.transactional(1, 0, 1, &["e"]).unwrap();
    lab.marker(2, 0, false).unwrap();
    assert_eq!(lab.log.last_stable(), 5);
    let slice = lab.log.read(2, 1_000, Isolation::ReadCommitted, true).unwrap();
    assert_eq!(slice.aborted, [Aborted { producer_id: 2, first_offset: 2 }]);
    assert_eq!((slice.last_stable, slice.high_watermark), (5, 7));
    let expect = [(0, "a"), (1, "b"), (3, "d")].map(|(offset, value)| (offset, value.to_owned()));
    for _ in 0..2 {
        assert_eq!(lab.committed(), expect);
        lab.kill();
    }
    lab.marker(1, 0, false).unwrap();
    assert_eq!(lab.log.last_stable(), lab.log.end());
    assert_eq!(lab.committed(), expect);
    assert_eq!(lab.all().len(), 5);
    // Uncommitted readers are told of no aborted transactions.
    assert_eq!(lab.log.read(0, 1_000, Isolation::ReadUncommitted, true).unwrap().aborted, []);
}

#[test]
fn aborted_transactions_are_found_across_segments() {
    let mut lab = Lab::new(LogConfig { segment_bytes: 300, ..LogConfig::default() });
    let mut expect = Vec::new();
    let mut sequence = [0; 3];
    for n in 0..60i64 {
        let id = n % 3;
        let value = format!("{n}");
        let at = lab.transactional(id, 0, sequence[id as usize], &[&value]).unwrap().base_offset;
        sequence[id as usize] += 1;
        if n % 4 == 3 {
            let next = (n + 1) % 3;
            let commit = n % 8 == 3;
            lab.marker(next, 0, commit).unwrap();
        }
        expect.push((at, id, value));
    }
    for id in 0..3 {
        lab.marker(id, 0, id != 1).unwrap();
    }
    // What the markers say, read by a walk over all batches.
    let (mut open, mut committed) = (Vec::new(), Vec::new());
    let mut from = 0;
    while from < lab.log.end() {
        let slice = lab.log.read(from, 10_000, Isolation::ReadUncommitted, true).unwrap();
        let mut bytes = slice.records;
        while let Some(batch) = Batch::split(&mut bytes).unwrap() {
            from = batch.last_offset() + 1;
            if !batch.is_control() {
                open.push((batch.producer_id(), batch.base_offset()));
                continue;
            }
            let records = Records::read(&batch, 1_000).unwrap();
            let record = records.iter().next().unwrap().unwrap();
            let marker = weir_wire::control::Marker::read(&record).unwrap().unwrap();
            if marker.commit {
                committed.extend(open.iter().filter(|(id, _)| *id == batch.producer_id()).map(|(_, at)| *at));
            }
            open.retain(|(id, _)| *id != batch.producer_id());
        }
    }
    committed.sort_unstable();
    let expect: Vec<(i64, String)> =
        expect.into_iter().filter(|(at, ..)| committed.contains(at)).map(|(at, _, value)| (at, value)).collect();
    assert!(expect.len() > 10 && expect.len() < 50);
    assert_eq!(lab.committed(), expect);
    lab.kill();
    assert_eq!(lab.committed(), expect);
    // Snapshots are lost: everything is made anew.
    for entry in std::fs::read_dir(lab.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "snapshot") {
            std::fs::remove_file(path).unwrap();
        }
    }
    lab.kill();
    assert_eq!(lab.committed(), expect);
}

#[test]
fn transactional_records_need_a_transaction_that_the_coordinator_knows() {
    let lab = Lab::new(LogConfig::default());
    let batch = |sequence| {
        let builder = BatchBuilder::new(Codec::None).transactional();
        batch(builder, Producer { id: 1, epoch: 0, base_sequence: sequence }, &["a"])
    };
    assert_eq!(code(lab.append(batch(0))), ErrorCode::INVALID_TXN_STATE);
    let proof = lab.log.begin_verification(1, 0, 0, false, NOW).unwrap();
    assert_eq!(lab.log.begin_verification(1, 0, 0, false, NOW).unwrap(), proof);
    // The transaction is ended meanwhile: the proof is worth nothing.
    lab.marker(1, 0, false).unwrap();
    let late = lab.log.append(batch(0), Origin::Client { transaction: proof }, NOW);
    assert_eq!(code(late), ErrorCode::INVALID_TXN_STATE);
    let proof = lab.log.begin_verification(1, 0, 0, false, NOW).unwrap();
    lab.log.append(batch(0), Origin::Client { transaction: proof }, NOW).unwrap();
    // Now it is open in the log.
    assert_eq!(lab.log.begin_verification(1, 0, 1, false, NOW).unwrap(), Verified::Ongoing);
    lab.append(batch(1)).unwrap();
    assert_eq!(code(lab.append(idempotent(1, 0, 2, &["a"]))), ErrorCode::INVALID_TXN_STATE);
    // A coordinator writes into transactions of others without sequences.
    let offsets = BatchBuilder::new(Codec::None).transactional();
    let offsets = super::batch(offsets, Producer { id: 9, epoch: 0, base_sequence: -1 }, &["o"]);
    let at = lab.log.append(offsets.clone(), Origin::Coordinator, NOW).unwrap().base_offset;
    lab.log.append(offsets, Origin::Coordinator, NOW).unwrap();
    lab.marker(1, 0, true).unwrap();
    assert_eq!(lab.log.last_stable(), at);
    assert_eq!(code(lab.transactional(9, -1, 0, &[])), ErrorCode::INVALID_PRODUCER_EPOCH);
}

#[test]
fn markers_are_fenced() {
    let lab = Lab::new(LogConfig::default());
    let mark = |epoch, coordinator_epoch, transaction_version| {
        let marker =
            Marker { producer_id: 1, producer_epoch: epoch, coordinator_epoch, commit: true, transaction_version };
        lab.log.append_marker(marker, NOW)
    };
    // Of a transaction without records a marker is taken.
    mark(5, 3, 0).unwrap();
    assert_eq!(code(mark(4, 3, 0)), ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(code(mark(5, 2, 0)), ErrorCode::TRANSACTION_COORDINATOR_FENCED);
    mark(5, 3, 0).unwrap();
    lab.transactional(1, 5, 0, &["a"]).unwrap();
    // Version 2: the epoch of the marker is above that of the records, and the next ones begin at 0.
    assert_eq!(code(mark(5, 3, 2)), ErrorCode::INVALID_PRODUCER_EPOCH);
    mark(6, 3, 2).unwrap();
    assert_eq!(lab.log.last_stable(), lab.log.end());
    mark(6, 3, 2).unwrap();
    assert_eq!(code(lab.transactional(1, 5, 1, &["b"])), ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(code(lab.transactional(1, 6, 1, &["b"])), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    lab.transactional(1, 6, 0, &["b"]).unwrap();
    let state = lab.log.producers()[0];
    assert_eq!((state.epoch, state.coordinator_epoch, state.last_sequence), (6, 3, 0));
    assert_eq!(state.transaction_start, lab.log.end() - 1);
}

#[test]
fn a_transaction_of_version_2_begins_with_sequence_0() {
    let lab = Lab::new(LogConfig::default());
    let send = |sequence| {
        let transaction = lab.log.begin_verification(1, 0, sequence, true, NOW).unwrap();
        let builder = BatchBuilder::new(Codec::None).transactional();
        let batch = batch(builder, Producer { id: 1, epoch: 0, base_sequence: sequence }, &["a"]);
        lab.log.append(batch, Origin::Client { transaction }, NOW)
    };
    assert_eq!(code(send(3)), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    send(0).unwrap();
}
