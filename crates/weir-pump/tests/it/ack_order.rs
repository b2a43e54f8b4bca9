use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use weir_pump::{Ledger, Outcome, Progress, RecordView, Timestamp};

const TOPIC: &str = "orders.landing";

/// What may happen to a partition between two commits, in any order.
#[derive(Clone, Debug)]
enum Step {
    /// A run of this many log entries is read; the stage answers for this many of them and then stalls.
    Run {
        entries: usize,
        judged: usize,
    },
    /// A damaged batch of this many offsets is found at the position.
    Unreadable {
        offsets: i64,
    },
    Commit,
    Abort,
    /// The end of the transaction is in doubt, and the group's position says whether it was committed.
    Doubt {
        committed: bool,
    },
    /// The partition goes to another member, which does what is left up to here, and comes back.
    Moved,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..20usize, 0..20usize).prop_map(|(entries, judged)| Step::Run { entries, judged: judged.min(entries) }),
        1 => (1..6i64).prop_map(|offsets| Step::Unreadable { offsets }),
        3 => Just(Step::Commit),
        2 => Just(Step::Abort),
        1 => any::<bool>().prop_map(|committed| Step::Doubt { committed }),
        1 => Just(Step::Moved),
    ]
}

/// A log with holes (markers, compaction), a broker that keeps what was committed, and the pump's books beside them.
struct World {
    offsets: Vec<i64>,
    ledger: Arc<Ledger>,
    progress: Progress,
    /// Where the consumer reads next, as an index into `offsets`.
    reading: usize,
    /// The group's committed position.
    committed: i64,
    /// What the open transaction holds: offset and how often it was written.
    open: Vec<(i64, i64)>,
    /// Offsets that lie in an output topic, each with its count.
    written: BTreeMap<i64, u32>,
}

impl World {
    fn new(holes: &[bool]) -> World {
        let ledger = Arc::new(Ledger::default());
        World {
            offsets: (0..).zip(holes).filter(|(_, hole)| !**hole).map(|(offset, _)| offset).collect(),
            progress: Progress::new(TOPIC.into(), Arc::clone(&ledger)),
            ledger,
            reading: 0,
            committed: 0,
            open: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    fn seek(&mut self, offset: i64) {
        self.reading = self.offsets.partition_point(|&o| o < offset);
    }

    fn position(&self) -> i64 {
        self.progress.next().unwrap_or(self.committed)
    }

    fn commit(&mut self) {
        let Some(position) = self.progress.position() else { return assert!(self.open.is_empty()) };
        for (first, next) in self.open.drain(..) {
            (first..next).for_each(|offset| *self.written.entry(offset).or_default() += 1);
        }
        assert!(position >= self.committed, "the group never goes back");
        self.committed = position;
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Run { entries, judged } => {
                let views: Vec<RecordView<'_>> = self.offsets[self.reading..]
                    .iter()
                    .filter(|&&offset| self.progress.is_due(offset))
                    .take(entries)
                    .map(|&offset| RecordView {
                        offset,
                        timestamp: Timestamp::None,
                        key: None,
                        value: None,
                        headers: &[],
                    })
                    .collect();
                self.progress.receive(&views);
                for view in views.iter().take(judged) {
                    let outcome = match view.offset % 3 {
                        0 => Outcome::Accepted,
                        1 => Outcome::Warned,
                        _ => Outcome::Quarantined,
                    };
                    self.progress.act(view.offset, outcome);
                    self.open.push((view.offset, view.offset + 1));
                }
                // A stall seeks back to the first record without an action.
                let position = self.position();
                self.seek(position);
            }
            Step::Unreadable { offsets } => {
                let first = self.position();
                self.progress.act_unreadable(first, first + offsets - 1);
                self.open.push((first, first + offsets));
                self.seek(first + offsets);
            }
            Step::Commit => {
                self.commit();
                if self.progress.position().is_some() {
                    self.progress.commit();
                }
            }
            Step::Abort => {
                self.open.clear();
                if let Some(offset) = self.progress.abort() {
                    assert!(offset >= self.committed);
                    self.seek(offset);
                }
            }
            Step::Doubt { committed } => {
                if committed {
                    self.commit()
                } else {
                    self.open.clear()
                }
                if let Some(offset) = self.progress.settle(Some(self.committed)) {
                    self.seek(offset);
                }
            }
            Step::Moved => {
                self.open.clear();
                let (first, next) = (self.committed, self.position());
                self.progress = Progress::new(TOPIC.into(), Arc::clone(&self.ledger));
                (first..next).for_each(|offset| *self.written.entry(offset).or_default() += 1);
                self.committed = next;
                self.seek(next);
            }
        }
        let counts = self.ledger.topic(TOPIC);
        assert!(counts.balanced(), "{counts:?}");
        assert!(counts.warned <= counts.accepted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_offset_is_written_once_below_the_committed_position_and_never_above(
        holes in prop::collection::vec(prop::bool::weighted(0.2), 1..200),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(&holes);
        for step in &steps {
            world.apply(step);
            for &offset in &world.offsets {
                let expect = u32::from(offset < world.committed);
                prop_assert_eq!(world.written.get(&offset).copied().unwrap_or(0), expect, "offset {} after {:?}", offset, step);
            }
        }
        world.apply(&Step::Commit);
        let World { progress, ledger, .. } = world;
        drop(progress);
        let counts = ledger.topic(TOPIC);
        prop_assert_eq!(counts.in_flight, 0);
        prop_assert!(counts.balanced());
    }
}

fn views(offsets: std::ops::Range<i64>) -> Vec<RecordView<'static>> {
    offsets
        .map(|offset| RecordView { offset, timestamp: Timestamp::None, key: None, value: None, headers: &[] })
        .collect()
}

#[test]
fn an_offset_read_again_after_an_abort_counts_once() {
    let ledger = Arc::new(Ledger::default());
    let mut progress = Progress::new(TOPIC.into(), Arc::clone(&ledger));
    progress.receive(&views(5..15));
    (5..15).for_each(|offset| progress.act(offset, Outcome::Accepted));
    assert_eq!(progress.position(), Some(15));
    assert_eq!(progress.abort(), Some(5));
    assert_eq!(progress.position(), None);
    progress.receive(&views(5..20));
    assert_eq!(ledger.topic(TOPIC).received, 15);
    assert_eq!(ledger.topic(TOPIC).in_flight, 15);
    (5..20).for_each(|offset| progress.act(offset, Outcome::Quarantined));
    progress.commit();
    let counts = ledger.topic(TOPIC);
    assert_eq!((counts.received, counts.accepted, counts.quarantined, counts.in_flight), (15, 0, 15, 0));
}

#[test]
fn records_deleted_before_they_could_be_read_again_are_released() {
    let ledger = Arc::new(Ledger::default());
    let mut progress = Progress::new(TOPIC.into(), Arc::clone(&ledger));
    progress.receive(&views(0..10));
    progress.receive(&views(8..10));
    (8..10).for_each(|offset| progress.act(offset, Outcome::Accepted));
    progress.commit();
    let counts = ledger.topic(TOPIC);
    assert_eq!((counts.received, counts.accepted, counts.released, counts.in_flight), (10, 2, 8, 0));
}

#[test]
fn a_batch_that_can_be_read_after_all_counts_its_records() {
    let ledger = Arc::new(Ledger::default());
    let mut progress = Progress::new(TOPIC.into(), Arc::clone(&ledger));
    progress.act_unreadable(0, 9);
    assert_eq!(progress.abort(), Some(0));
    progress.receive(&views(0..10));
    (0..10).for_each(|offset| progress.act(offset, Outcome::Accepted));
    progress.commit();
    let counts = ledger.topic(TOPIC);
    assert!(counts.balanced());
    assert_eq!((counts.received, counts.accepted, counts.unreadable), (10, 10, 0));
}

#[test]
fn what_is_not_committed_is_released_when_the_partition_goes() {
    let ledger = Arc::new(Ledger::default());
    let mut progress = Progress::new(TOPIC.into(), Arc::clone(&ledger));
    progress.receive(&views(0..4));
    progress.act(0, Outcome::Accepted);
    drop(progress);
    let counts = ledger.topic(TOPIC);
    assert_eq!((counts.received, counts.released, counts.in_flight), (4, 4, 0));
}
