use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_wire::batch::{Batch, HEADER_SIZE, restamp};
use weir_wire::build::{BatchBuilder, Producer, marker_batch};
use weir_wire::codec::Codec;
use weir_wire::control::Marker;
use weir_wire::messages::AbortedTransaction;
use weir_wire::records::Records;

use crate::native::judge::{Deed, Judge, Judged};
use crate::native::out::{Out, Rebuilt, SMALL, why_rebuilt};
use crate::native::producer::Place;
use crate::native::source::{Next, Source};
use crate::{Action, Board, Compression, Headers, Ledger, Progress, PumpConfig, Route, Run, Stage, Stall, TopicLimit};

const LIMIT: TopicLimit = TopicLimit { bytes: 1_000_000, compression: None, partitions: 1 };

fn route() -> Arc<Route> {
    let name = |suffix: &str| format!("orders{suffix}");
    Arc::new(Route { source: name(".landing"), accepted: name(""), quarantine: name(".quarantine") })
}

fn source(at: i64) -> Source {
    let progress = Progress::new("orders.landing".into(), Arc::new(Ledger::default()));
    let mut source = Source::new(&route(), 0, progress, 1, Instant::now());
    source.seek(at, 1);
    source
}

/// A batch as it lies in the log: values `from..to`, padded to `size` bytes each.
fn stored(codec: Codec, base: i64, values: &[&str], size: usize) -> Batch {
    let mut builder = BatchBuilder::new(codec).leader_epoch(4);
    for (n, value) in (0..).zip(values) {
        let value = format!("{value}{}", ".".repeat(size));
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"own", Some(b"x"))];
        builder.push(1_000 + n, Some(b"key"), Some(value.as_bytes()), headers).unwrap();
    }
    split(builder.finish(base).unwrap())
}

fn split(mut bytes: Bytes) -> Batch {
    Batch::split(&mut bytes).unwrap().unwrap()
}

fn joined(batches: &[&Batch]) -> Bytes {
    Bytes::from(batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect::<Vec<u8>>())
}

fn transactional(base: i64, id: i64, count: usize) -> Batch {
    let mut builder =
        BatchBuilder::new(Codec::None).transactional().producer(Producer { id, epoch: 0, base_sequence: 0 });
    (0..count).for_each(|_| builder.push(1, None, Some(b"ok"), &[]).unwrap());
    split(builder.finish(base).unwrap())
}

fn marker(base: i64, id: i64, commit: bool) -> Batch {
    let marker = Marker { commit, coordinator_epoch: 0 };
    split(marker_batch(marker, id, 0, base, 0, 1).unwrap())
}

fn bases(source: &mut Source) -> Vec<i64> {
    let mut found = Vec::new();
    while let Next::Batch(work) = source.next(&mut Vec::new()) {
        found.push(work.batch.base_offset());
    }
    found
}

#[test]
fn aborted_transactions_and_markers_are_passed_over() {
    let (aborted, committed) = (transactional(0, 7, 3), transactional(3, 8, 2));
    let (first_end, later) = (marker(5, 7, false), transactional(6, 7, 2));
    let (second_end, plain) = (marker(8, 8, true), stored(Codec::None, 9, &["ok"], 0));
    let all = joined(&[&aborted, &committed, &first_end, &later, &second_end, &plain]);
    let mut source = source(0);
    source.fetched(all, vec![AbortedTransaction { producer_id: 7, first_offset: 0 }], 10);
    assert_eq!(source.fetch_at, Some(10));
    assert_eq!(bases(&mut source), [3, 6, 9], "of producer 7 only what lies behind the end of its aborted transaction");
}

#[test]
fn a_batch_that_is_cut_off_is_fetched_again_and_what_was_judged_is_not() {
    let (first, second) = (stored(Codec::None, 10, &["ok", "ok"], 9), stored(Codec::None, 12, &["ok"], 9));
    let all = joined(&[&first, &second]);
    let mut source = source(11);
    source.fetched(all.slice(..all.len() - 1), Vec::new(), 13);
    assert_eq!(source.fetch_at, Some(12));
    assert_eq!(bases(&mut source), [10], "it holds an offset that is due");
    source.judged(12);
    source.fetched(all, Vec::new(), 13);
    assert_eq!((bases(&mut source), source.queued), (vec![12], 0));
}

#[test]
fn damage_is_believed_when_it_is_there_twice() {
    let good = [stored(Codec::None, 0, &["ok"], 9), stored(Codec::Zstd, 5, &["ok"], 9)];
    let damaged = |codec: Codec| {
        let mut bytes = stored(codec, 1, &["ok"; 4], 200).bytes().to_vec();
        bytes[HEADER_SIZE + 3] ^= 0xff;
        split(Bytes::from(bytes))
    };
    for codec in Codec::ALL {
        let all = joined(&[&good[0], &damaged(codec), &good[1]]);
        let mut source = source(0);
        source.fetched(all.clone(), Vec::new(), 6);
        assert_eq!(bases(&mut source), [0]);
        source.judged(1);
        source.fetch_again(2);
        // On the way, after all.
        source.fetched(joined(&[&stored(codec, 1, &["ok"; 4], 9)]), Vec::new(), 6);
        assert_eq!(bases(&mut source), [1]);
        source.fetch_again(3);
        source.fetched(all.clone(), Vec::new(), 6);
        assert!(matches!(source.next(&mut Vec::new()), Next::Suspect(_)));
        source.fetch_again(4);
        source.fetched(all, Vec::new(), 6);
        match source.next(&mut Vec::new()) {
            Next::Damaged { first: 1, last: 4, why } => assert!(why.contains("offset 1"), "{why}"),
            _ => panic!("{codec:?} is not found to be damaged"),
        }
        source.judged(5);
        assert_eq!(bases(&mut source), [5]);
    }
}

#[test]
fn batches_of_old_formats_are_refused_with_a_reason() {
    let mut bytes = stored(Codec::None, 0, &["ok"], 9).bytes().to_vec();
    bytes[16] = 1;
    let mut source = source(0);
    source.fetched(Bytes::from(bytes), Vec::new(), 1);
    assert!(matches!(source.next(&mut Vec::new()), Next::Foreign(why) if why.contains("format 1")));
}

#[test]
fn what_cannot_go_on_as_it_is_has_a_reason() {
    let check = |batch: &Batch, limit: TopicLimit, expect: Option<Rebuilt>| {
        assert_eq!(why_rebuilt(batch, batch.codec().unwrap(), limit), expect);
    };
    let lz4 = stored(Codec::Lz4, 0, &["ok"; 3], 100);
    check(&lz4, LIMIT, None);
    check(&lz4, TopicLimit { bytes: lz4.size(), ..LIMIT }, None);
    check(&lz4, TopicLimit { bytes: lz4.size() - 1, ..LIMIT }, Some(Rebuilt::TooLarge));
    check(&lz4, TopicLimit { compression: Some(Compression::Lz4), ..LIMIT }, None);
    check(&lz4, TopicLimit { compression: Some(Compression::Zstd), ..LIMIT }, Some(Rebuilt::Codec));
    check(&lz4, TopicLimit { compression: Some(Compression::None), ..LIMIT }, Some(Rebuilt::Codec));
    let mut linked = lz4.bytes().to_vec();
    linked[HEADER_SIZE + 4] &= !0x20;
    check(&split(Bytes::from(linked)), LIMIT, Some(Rebuilt::Linked));
    let appended = restamp(&lz4, 0, 4, Some(9_999));
    check(&split(Bytes::from([&appended[..], &lz4.payload()[..]].concat())), LIMIT, Some(Rebuilt::AppendTime));
    // Compaction takes the middle record.
    let records = Records::read(&lz4, 1 << 20).unwrap();
    let compacted = |horizon: Option<i64>, keep: &dyn Fn(i32) -> bool| {
        let mut builder = BatchBuilder::retaining(lz4.header(), Codec::Lz4, horizon);
        for record in records.iter().map(Result::unwrap).filter(|record| keep(record.offset_delta)) {
            builder.retain(&record).unwrap();
        }
        split(builder.finish(0).unwrap())
    };
    check(&compacted(None, &|delta| delta != 1), LIMIT, Some(Rebuilt::Compacted));
    check(&compacted(None, &|delta| delta != 2), LIMIT, Some(Rebuilt::Compacted));
    check(&compacted(Some(77), &|_| true), LIMIT, Some(Rebuilt::DeleteHorizon));
}

/// Accepts `ok`, marks `warn`, quarantines `bad`, and cannot judge `stall`.
pub(super) struct Words;

impl Stage for Words {
    fn process(&mut self, run: &Run<'_>, actions: &mut Vec<Action>) -> Result<(), Stall> {
        for record in run.records {
            let value = record.value.unwrap_or_default();
            actions.push(match value {
                [b'b', ..] => Action::Quarantine(vec![("why".into(), b"bad".to_vec())]),
                [b'w', ..] => Action::ForwardWith(vec![("why".into(), b"warned".to_vec())]),
                [b's', ..] => return Err(Stall { reason: "away".to_owned() }),
                _ => Action::Forward,
            });
        }
        Ok(())
    }

    fn too_large(&mut self, _: &Run<'_>, _: usize, _: usize, _: usize) -> Headers {
        vec![("why".into(), b"large".to_vec())]
    }

    fn unreadable(&mut self, _: &Route, _: i32, first: i64, last: i64, _: &str) -> Headers {
        vec![("why".into(), format!("{first}..{last}").into_bytes())]
    }
}

struct World {
    board: Board,
    out: Out,
    deeds: Vec<Deed>,
}

impl World {
    fn new(accepted: TopicLimit) -> World {
        let board = Board::new(PumpConfig::new("g", "i"), vec![route().as_ref().clone()]);
        let limits = [("orders".to_owned(), Ok(accepted)), ("orders.quarantine".to_owned(), Ok(LIMIT))];
        board.set_limits(BTreeMap::from(limits));
        World { board, out: Out::default(), deeds: Vec::new() }
    }

    /// Judges all that was fetched; the reason where it stalls.
    fn judge(&mut self, source: &mut Source) -> Option<String> {
        let (mut stage, mut actions) = (Words, Vec::new());
        let mut judge = Judge {
            stage: &mut stage,
            board: &self.board,
            out: &mut self.out,
            actions: &mut actions,
            now: Instant::now(),
        };
        loop {
            let mut work = match source.next(&mut Vec::new()) {
                Next::Batch(work) => work,
                Next::Empty => return None,
                _ => panic!("not to be read"),
            };
            match judge.run(source, &mut work).unwrap() {
                Judged::More(deed) => {
                    self.deeds.extend(deed);
                    source.work = Some(work);
                }
                Judged::Done(deed) => self.deeds.extend(deed),
                Judged::Stalled { deed, reason } => {
                    self.deeds.extend(deed);
                    source.work = Some(work);
                    return Some(reason);
                }
                Judged::Broken { deed, from, why } => {
                    self.deeds.extend(deed);
                    let last = work.batch.last_offset();
                    self.deeds.push(judge.unreadable(source, (from, last), &why, 5).unwrap().unwrap());
                }
            }
        }
    }

    /// The batches that come out, by topic.
    fn release(&mut self) -> BTreeMap<String, Vec<Batch>> {
        let mut found: BTreeMap<String, Vec<Batch>> = BTreeMap::new();
        let release = |place: &Place, batch: Batch| found.entry(place.topic.to_string()).or_default().push(batch);
        self.out.release(true, release).unwrap();
        assert_eq!((self.out.records(), self.out.bytes()), (0, 0));
        found
    }
}

/// First word of the value, timestamp, headers.
fn read(batches: &[Batch]) -> Vec<(String, i64, Vec<String>)> {
    let mut found = Vec::new();
    for batch in batches {
        batch.verify_crc().unwrap();
        assert_eq!(batch.count(), batch.last_offset_delta() + 1, "a producer's batch has no gaps");
        for record in &Records::read(batch, 1 << 24).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            let headers = record.headers.into_iter().map(|h| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                format!("{}={}", text(h.key), text(h.value.unwrap_or_default()))
            });
            found.push((value.trim_end_matches('.').to_owned(), record.timestamp, headers.collect()));
        }
    }
    found
}

fn words(found: &[(String, i64, Vec<String>)]) -> Vec<&str> {
    found.iter().map(|(word, ..)| word.as_str()).collect()
}

#[test]
fn a_large_batch_without_a_fault_keeps_its_bytes_and_small_ones_are_put_together() {
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        let mut world = World::new(LIMIT);
        let mut source = source(0);
        let mut noise = String::new();
        let mut state = 1u64;
        while noise.len() < 2 * SMALL {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push_str(&format!("{state:x}"));
        }
        let value = format!("ok{noise}");
        let large = stored(codec, 0, &[&value], 0);
        let small = [stored(codec, 1, &["ok-1", "ok-2"], 9), stored(codec, 3, &["ok-3"], 9)];
        source.fetched(joined(&[&large, &small[0], &small[1]]), Vec::new(), 4);
        assert_eq!(world.judge(&mut source), None);
        let batches = world.release().remove("orders").unwrap();
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[0].bytes(), large.bytes());
        assert_eq!((batches[1].count(), batches[1].codec().unwrap()), (3, codec));
        assert_eq!(words(&read(&batches[1..])), ["ok-1", "ok-2", "ok-3"]);
        let deed =
            |first, next| Deed::Judged { first, next, accepted: (next - first) as u64, warned: 0, quarantined: 0 };
        assert_eq!(world.deeds, [deed(0, 1), deed(1, 3), deed(3, 4)]);
    }
}

#[test]
fn a_batch_with_faults_is_built_anew_in_its_order() {
    let mut world = World::new(LIMIT);
    let mut source = source(0);
    let batch = stored(Codec::Lz4, 0, &["ok-0", "bad-1", "warn-2", "ok-3", "bad-4"], 30_000);
    source.fetched(joined(&[&batch]), Vec::new(), 5);
    assert_eq!(world.judge(&mut source), None);
    let mut found = world.release();
    let (accepted, quarantined) = (found.remove("orders").unwrap(), found.remove("orders.quarantine").unwrap());
    assert_eq!(accepted[0].codec(), Ok(Codec::Lz4));
    let line = |word: &str, time: i64, why: Option<&str>| {
        let why = why.map(|why| format!("why={why}"));
        (word.to_owned(), time, ["own=x".to_owned()].into_iter().chain(why).collect::<Vec<_>>())
    };
    let expect = [line("ok-0", 1_000, None), line("warn-2", 1_002, Some("warned")), line("ok-3", 1_003, None)];
    assert_eq!(read(&accepted), expect);
    assert_eq!(read(&quarantined), [line("bad-1", 1_001, Some("bad")), line("bad-4", 1_004, Some("bad"))]);
    assert_eq!(world.deeds, [Deed::Judged { first: 0, next: 5, accepted: 3, warned: 1, quarantined: 2 }]);
}

/// A transaction that ends between two runs of a batch must not hold records of it without their offsets.
#[test]
fn what_is_put_out_of_a_batch_that_is_judged_in_runs_is_booked_run_by_run() {
    let check = |values: &[&str], expect: &[(i64, i64)]| {
        let mut world = World::new(LIMIT);
        world.board.config.transaction_records = 2;
        let mut source = source(0);
        source.fetched(joined(&[&stored(Codec::None, 0, values, 30_000)]), Vec::new(), 5);
        assert_eq!(world.judge(&mut source), None);
        let bounds = |deed: &Deed| match *deed {
            Deed::Judged { first, next, .. } | Deed::Unreadable { first, last: next } => (first, next),
        };
        assert_eq!(world.deeds.iter().map(bounds).collect::<Vec<_>>(), expect, "{values:?}");
        assert_eq!(words(&read(&world.release()["orders"])).len(), values.iter().filter(|v| **v == "ok").count());
    };
    check(&["ok", "ok", "ok", "ok", "ok"], &[(0, 5)]);
    check(&["bad", "ok", "ok", "ok", "ok"], &[(0, 2), (2, 4), (4, 5)]);
    check(&["ok", "ok", "ok", "bad", "ok"], &[(0, 4), (4, 5)]);
    check(&["ok", "ok", "ok", "ok", "bad"], &[(0, 5)]);
}

#[test]
fn reading_begins_and_stalls_inside_of_a_batch() {
    let mut world = World::new(LIMIT);
    let mut source = source(101);
    let batch = stored(Codec::None, 100, &["ok-0", "ok-1", "ok-2", "stall-3", "ok-4"], 30_000);
    source.fetched(joined(&[&batch]), Vec::new(), 105);
    assert_eq!(world.judge(&mut source).as_deref(), Some("away"));
    assert_eq!(words(&read(&world.release()["orders"])), ["ok-1", "ok-2"]);
    assert_eq!(world.deeds, [Deed::Judged { first: 101, next: 103, accepted: 2, warned: 0, quarantined: 0 }]);
    assert_eq!(world.judge(&mut source).as_deref(), Some("away"), "shown again from where it stalled");
    assert!(world.release().is_empty() && world.deeds.len() == 1);
}

#[test]
fn batches_of_compacted_topics_and_of_append_time_lose_their_gaps_and_keep_their_times() {
    let whole = stored(Codec::Zstd, 0, &["ok-0", "ok-1", "ok-2"], 40_000);
    let mut builder = BatchBuilder::retaining(whole.header(), Codec::Zstd, Some(5));
    for record in Records::read(&whole, 1 << 20).unwrap().iter().map(Result::unwrap).filter(|r| r.offset != 1) {
        builder.retain(&record).unwrap();
    }
    let compacted = split(builder.finish(0).unwrap());
    let next = stored(Codec::None, 3, &["ok-3", "ok-4"], 40_000);
    let header = restamp(&next, 3, 4, Some(9_999));
    let appended = split(Bytes::from([&header[..], &next.payload()[..]].concat()));
    let mut world = World::new(LIMIT);
    let mut source = source(0);
    source.fetched(joined(&[&compacted, &appended]), Vec::new(), 5);
    assert_eq!(world.judge(&mut source), None);
    let found = read(&world.release()["orders"]);
    assert_eq!(words(&found), ["ok-0", "ok-2", "ok-3", "ok-4"]);
    assert_eq!(found.iter().map(|(_, time, _)| *time).collect::<Vec<_>>(), [1_000, 1_002, 9_999, 9_999]);
}

#[test]
fn a_smaller_limit_and_another_compression_hold_for_what_is_built() {
    let limit = TopicLimit { bytes: 70_000, compression: Some(Compression::Gzip), partitions: 1 };
    let mut world = World::new(limit);
    let mut source = source(0);
    let batch = stored(Codec::None, 0, &["ok-0", "ok-1", "ok-2", "ok-3"], 30_000);
    let large = stored(Codec::None, 4, &["ok-4"], 80_000);
    source.fetched(joined(&[&batch, &large]), Vec::new(), 5);
    assert_eq!(world.judge(&mut source), None);
    let mut found = world.release();
    let accepted = found.remove("orders").unwrap();
    assert!(accepted.iter().all(|batch| batch.size() <= limit.bytes && batch.codec() == Ok(Codec::Gzip)));
    assert_eq!((accepted.len(), words(&read(&accepted))), (2, vec!["ok-0", "ok-1", "ok-2", "ok-3"]));
    assert_eq!(read(&found["orders.quarantine"])[0].2, ["own=x", "why=large"]);
}

#[test]
fn a_record_that_is_broken_costs_only_what_lies_behind_it_in_its_batch() {
    let mut bytes = stored(Codec::None, 0, &["ok-0", "ok-1", "ok-2"], 9).bytes().to_vec();
    // The length of the key of the second record.
    let record = (bytes.len() - HEADER_SIZE) / 3;
    bytes[HEADER_SIZE + record + 4] = 0x7f;
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let mut world = World::new(LIMIT);
    let mut source = source(0);
    source.fetched(Bytes::from(bytes), Vec::new(), 3);
    assert_eq!(world.judge(&mut source), None);
    let judged = Deed::Judged { first: 0, next: 1, accepted: 1, warned: 0, quarantined: 0 };
    assert_eq!(world.deeds, [judged, Deed::Unreadable { first: 1, last: 2 }]);
    let found = world.release();
    assert_eq!(words(&read(&found["orders"])), ["ok-0"]);
    assert_eq!(read(&found["orders.quarantine"])[0].2, ["why=1..2"]);
}

/// CRC-32C (Castagnoli), bit by bit: RFC 3720, appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_topic_that_is_not_there_holds_its_partition_up_and_nothing_is_lost() {
    let mut world = World::new(LIMIT);
    world.board.set_limits(BTreeMap::new());
    let mut source = source(0);
    source.fetched(joined(&[&stored(Codec::None, 0, &["ok-0"], 9)]), Vec::new(), 1);
    assert!(world.judge(&mut source).is_some_and(|why| why.contains("orders")));
    assert!(!source.stall("x".to_owned(), (Duration::ZERO, Duration::ZERO), Instant::now()));
    let limits = ["orders", "orders.quarantine"].map(|topic| (topic.to_owned(), Ok(LIMIT)));
    world.board.set_limits(BTreeMap::from(limits));
    assert_eq!(world.judge(&mut source), None);
    assert_eq!(words(&read(&world.release()["orders"])), ["ok-0"]);
}

#[test]
fn records_with_many_headers_are_shown_in_shorter_runs_and_one_with_too_many_is_not() {
    let headers = |count: usize| vec![(&b"h"[..], None); count];
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..300 {
        builder.push(1, None, Some(b"ok"), &headers(300)).unwrap();
    }
    builder.push(1, None, Some(b"ok"), &headers(65_537)).unwrap();
    builder.push(1, None, Some(b"ok"), &[]).unwrap();
    let all = builder.finish(0).unwrap();
    let mut source = source(0);
    source.fetched(all, Vec::new(), 302);
    let mut world = World::new(LIMIT);
    assert_eq!(world.judge(&mut source), None);
    let of = |deed: &Deed| match deed {
        Deed::Judged { accepted, .. } => *accepted,
        Deed::Unreadable { first, last } => {
            assert_eq!((*first, *last), (300, 301), "the rest of the batch");
            0
        }
    };
    assert_eq!(world.deeds.iter().map(of).sum::<u64>(), 300);
    assert!(matches!(world.deeds.last(), Some(Deed::Unreadable { .. })));
    let out = world.release();
    assert_eq!((read(&out["orders"]).len(), read(&out["orders.quarantine"]).len()), (300, 1));
}

/// A flipped bit of the header must not make records disappear in silence.
#[test]
fn damage_that_looks_like_nothing_to_be_judged_is_damage() {
    // Control batch, no records, and a member of an aborted transaction.
    for (at, value) in [(22, 0x20), (60, 0), (22, 0x10)] {
        let mut bytes = stored(Codec::None, 0, &["ok"; 4], 9).bytes().to_vec();
        bytes[at] = value;
        bytes[43..51].copy_from_slice(&7i64.to_be_bytes());
        let all = Bytes::from(bytes);
        let aborted = || vec![AbortedTransaction { producer_id: 7, first_offset: 0 }];
        let mut source = source(0);
        source.fetched(all.clone(), aborted(), 4);
        assert!(matches!(source.next(&mut Vec::new()), Next::Suspect(_)), "{at}");
        source.fetch_again(2);
        source.fetched(all, aborted(), 4);
        assert!(matches!(source.next(&mut Vec::new()), Next::Damaged { first: 0, last: 3, .. }), "{at}");
    }
}

#[test]
fn what_was_passed_over_is_not_part_of_the_damage_behind_it() {
    let mut source = source(0);
    let aborted = vec![AbortedTransaction { producer_id: 7, first_offset: 0 }];
    source.fetched(joined(&[&transactional(0, 7, 3), &marker(3, 7, false)]), aborted, 9);
    assert!(matches!(source.next(&mut Vec::new()), Next::Empty));
    let garbage = Bytes::from_static(&[0x02; 100]);
    source.fetched(garbage.clone(), Vec::new(), 9);
    assert!(matches!(source.next(&mut Vec::new()), Next::Suspect(_)));
    source.fetch_again(2);
    assert_eq!(source.fetch_at, Some(4));
    source.fetched(garbage, Vec::new(), 9);
    assert!(matches!(source.next(&mut Vec::new()), Next::Damaged { first: 4, last: 4, .. }));
}
