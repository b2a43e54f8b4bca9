//! A log is cut while it is read, and goes on with other records (KIP-320).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_testkit::wait_for;
use weir_wire::ErrorCode;
use weir_wire::messages::{DivergingEpoch, FetchPartition, FetchPartitionData};

use super::batches::Words;
use super::hostile::{Broker, written};
use crate::native::security::Cluster;
use crate::native::source::Source;
use crate::{Board, Progress, PumpConfig, Route, TopicLimit};

const LONG: Duration = Duration::from_secs(30);
const ROUTE: &str = "t";

/// Batches of ten records, by epoch and first offset, up to the end.
#[derive(Clone, Copy)]
struct Log(&'static [(i32, i64)], i64);

const OLD: Log = Log(&[(2, 0), (3, 60)], 100);
/// The next leader had more of epoch 2, and nothing of epoch 3.
const NEW: Log = Log(&[(2, 0), (4, 80)], 90);
/// More of the same.
const GROWN: Log = Log(&[(2, 0), (3, 60)], 120);
/// A topic that was deleted and made anew.
const OTHER: Log = Log(&[(0, 0)], 30);

impl Log {
    /// The largest epoch up to this one, and its end, as `lastOffsetForLeaderEpoch` of Apache Kafka tells it.
    fn end_of(&self, epoch: i32) -> Option<(i32, i64)> {
        self.0.last().filter(|(last, _)| *last >= epoch)?;
        let after = self.0.iter().find(|(other, _)| *other > epoch).map_or(self.1, |(_, start)| *start);
        let known = self.0.iter().rev().find(|(other, _)| *other <= epoch).map_or(epoch, |(known, _)| *known);
        Some((known, after))
    }

    fn fetch(&self, asked: &FetchPartition) -> FetchPartitionData {
        let at = asked.fetch_offset;
        let failed = |error_code| FetchPartitionData { error_code, ..Default::default() };
        if asked.last_fetched_epoch >= 0 {
            match self.end_of(asked.last_fetched_epoch) {
                None => return failed(ErrorCode::OFFSET_OUT_OF_RANGE),
                Some((epoch, end_offset)) if epoch < asked.last_fetched_epoch || end_offset < at => {
                    let diverging_epoch = DivergingEpoch { epoch, end_offset };
                    return FetchPartitionData { diverging_epoch, last_stable_offset: self.1, ..Default::default() };
                }
                Some(_) => {}
            }
        }
        if at > self.1 {
            return failed(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if at == self.1 {
            thread::park_timeout(Duration::from_millis(20));
        }
        let batch = |base: i64| {
            let epoch = self.0.iter().rev().find(|(_, start)| *start <= base).unwrap().0;
            written(epoch, base, 10).to_vec()
        };
        let records: Vec<u8> = (at / 10 * 10..self.1).step_by(10).flat_map(batch).collect();
        FetchPartitionData {
            high_watermark: self.1,
            last_stable_offset: self.1,
            records: Some(Bytes::from(records)),
            ..Default::default()
        }
    }
}

/// What a worker made of two logs, one after the other.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    committed: (i64, i32),
    received: u64,
    accepted: u64,
    aborted: usize,
}

/// Reads a log from a position of the group on, with this version of Fetch; then, when as many records as given are received, and committed if that is to
/// be, the other.
#[track_caller]
fn check(version: i16, (first, at): (Log, u64), commits: bool, position: (i64, i32), second: Log, expect: Made) {
    let log = Arc::new(Mutex::new(first));
    let told = Arc::clone(&log);
    let broker = Broker::start(Broker {
        fetch: Some(version),
        log: Some(Box::new(move |asked| {
            let log = *told.lock().unwrap();
            log.fetch(asked)
        })),
        committed: Mutex::new(position.0),
        epoch: Mutex::new(position.1),
        ..Default::default()
    });
    let name = |suffix: &str| format!("{ROUTE}{suffix}");
    let route = Route { source: name(""), accepted: name(".ok"), quarantine: name(".quarantine") };
    let commit_interval = if commits { Duration::from_millis(20) } else { LONG };
    let config = PumpConfig { commit_interval, transaction_timeout: 2 * LONG, ..PumpConfig::new("g", "i") };
    let board = Arc::new(Board::new(config, vec![route]));
    let limit = TopicLimit { bytes: 1_000_000, compression: None, partitions: 1 };
    board.set_limits(BTreeMap::from([(name(".ok"), Ok(limit)), (name(".quarantine"), Ok(limit))]));
    let cluster = Cluster::new(&format!("127.0.0.1:{}", broker.port), []).unwrap();
    let running = Arc::clone(&board);
    let worker = thread::spawn(move || crate::native::run(&running, &cluster, 0, Box::new(Words)));
    let counts = || board.ledger.topic(ROUTE);
    wait_for(LONG, "the first log to be read", || {
        let sent = broker.produced.lock().unwrap().contains_key(&name(".ok"));
        sent && counts().received == at && (!commits || counts().in_flight == 0)
    });
    *log.lock().unwrap() = second;
    wait_for(LONG, "the second log to be read", || {
        assert!(!worker.is_finished(), "the worker ended");
        counts().received >= expect.received
    });
    board.stop(Instant::now() + LONG);
    assert_eq!(worker.join().unwrap(), Ok(()));
    let made = Made {
        committed: *broker.commits.lock().unwrap().last().unwrap(),
        received: counts().received,
        accepted: counts().accepted,
        aborted: broker.ends.lock().unwrap().iter().filter(|committed| !**committed).count(),
    };
    assert_eq!(made, expect);
    assert_eq!(counts().in_flight, 0);
    assert_eq!(counts().received, counts().accepted + counts().released, "{:?}", counts());
    let beyond = broker.commits.lock().unwrap().iter().filter(|(at, _)| *at > second.1).count();
    assert!(commits || beyond == 0, "nothing of what was cut is committed");
}

#[test]
fn reading_goes_on_where_the_log_was_cut() {
    let made = |committed, received, accepted, aborted| Made { committed, received, accepted, aborted };
    // Committed before it was known: what stands there now is read all the same.
    check(12, (OLD, 100), true, (0, -1), NEW, made((90, 4), 130, 130, 0));
    // In the open transaction: aborted, and read again.
    check(12, (OLD, 100), false, (0, -1), NEW, made((90, 4), 130, 90, 1));
    // Found out by a successor, which knows only of the group's position.
    check(12, (NEW, 10), true, (100, 3), NEW, made((90, 4), 10, 10, 0));
    // A broker that does not look.
    check(11, (OLD, 100), true, (0, -1), GROWN, made((120, 3), 120, 120, 0));
    check(12, (OLD, 100), true, (0, -1), GROWN, made((120, 3), 120, 120, 0));
    // A topic of the same name: from its first record on.
    check(12, (OLD, 100), true, (0, -1), OTHER, made((30, 0), 130, 130, 0));
}

/// What the group had committed before the cut lies beyond what came after it, and once was taken for a proof that this is committed.
#[test]
fn an_old_position_does_not_prove_what_was_written_after_a_cut() {
    let check = |go_back: fn(&mut Source), (to, committed): (i64, (i64, i32)), expect: i64| {
        let (topic, ledger): (Arc<str>, _) = (ROUTE.into(), Arc::default());
        let route = Arc::new(Route { source: ROUTE.into(), accepted: "a".into(), quarantine: "q".into() });
        let mut source = Source::new(&route, 0, Progress::new(topic, ledger), 1, Instant::now());
        source.begin(100, 3, 1);
        go_back(&mut source);
        source.epochs.read(4, 80);
        source.progress.act_run(80, to, 10, 0, 0);
        assert_eq!(source.settle(Some(committed)), Some(expect), "{to} {committed:?}");
        // Then it is as ever.
        source.progress.act_run(expect, 110, 1, 0, 0);
        source.committed();
        source.progress.act_run(110, 120, 1, 0, 0);
        assert_eq!(source.settle(Some((130, -1))), Some(130));
    };
    for go_back in [|source: &mut Source| source.cut(80, 2), |source: &mut Source| source.restart(80, 2)] {
        check(go_back, (90, (100, 3)), 80);
        check(go_back, (100, (100, 3)), 80);
        check(go_back, (100, (100, -1)), 80);
        check(go_back, (90, (90, 4)), 90);
    }
}
