use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_wire::ErrorCode;

use crate::native::producer::Place;
use crate::native::session::{Session, Wanted};

fn place(partition: i32) -> Place {
    Place { topic: "t".into(), partition }
}

/// Partitions with their offsets, as they are wanted.
fn wanted(offsets: &[(i32, i64)]) -> Vec<(Place, Wanted)> {
    let of = |(partition, offset): &(i32, i64)| {
        (place(*partition), Wanted { offset: *offset, leader_epoch: 3, last_epoch: 2, serial: *offset as u64 })
    };
    offsets.iter().map(of).collect()
}

/// What a request says: id, epoch, partitions with offsets, and those that are forgotten.
type Said = (i32, i32, &'static [(i32, i64)], &'static [i32]);
/// What is wanted, what the request for it says, how the broker answers, and whether only the session was over.
type Step = (&'static [(i32, i64)], Said, Option<(ErrorCode, i32)>, bool);

fn check(steps: &[Step]) {
    let mut session = Session::default();
    for (at, (want, (id, epoch, named, forgotten), answer, again)) in steps.iter().enumerate() {
        assert!(!session.is_asked());
        let change = session.request(wanted(want));
        assert!(session.is_asked());
        let said: Vec<(i32, i64)> = change.named.iter().map(|(place, w)| (place.partition, w.offset)).collect();
        let gone: Vec<i32> = change.forgotten.iter().map(|place| place.partition).collect();
        assert_eq!((change.id, change.epoch, &said[..], &gone[..]), (*id, *epoch, *named, *forgotten), "step {at}");
        for (partition, offset) in *want {
            let found = session.wanted("t", *partition).map(|(place, wanted)| (place.clone(), wanted.serial));
            assert_eq!(found, Some((place(*partition), *offset as u64)), "step {at}");
        }
        assert_eq!((session.wanted("t", 77), session.wanted("s", 0), session.wanted("u", 0)), (None, None, None));
        let over = match answer {
            Some((code, id)) => session.answered(*code, *id),
            None => {
                session.gone();
                false
            }
        };
        assert_eq!(over, *again, "step {at}");
    }
}

#[test]
fn only_what_has_changed_is_said_and_a_doubt_ends_the_session() {
    const OK: ErrorCode = ErrorCode::NONE;
    check(&[
        (&[(0, 5), (1, 6), (2, 7)], (0, 0, &[(0, 5), (1, 6), (2, 7)], &[]), Some((OK, 9)), false),
        (&[(0, 5), (1, 6), (2, 7)], (9, 1, &[], &[]), Some((OK, 9)), false),
        // Read on, full, added.
        (&[(1, 8), (2, 7), (3, 0)], (9, 2, &[(1, 8), (3, 0)], &[0]), Some((OK, 9)), false),
        (&[(0, 5)], (9, 3, &[(0, 5)], &[1, 2, 3]), Some((OK, 9)), false),
        (&[(0, 5), (1, 8)], (9, 4, &[(1, 8)], &[]), None, false),
        // The next full one begins with another partition.
        (&[(0, 5), (1, 8)], (9, 0, &[(1, 8), (0, 5)], &[]), Some((OK, 10)), false),
        (&[(0, 5), (1, 8)], (10, 1, &[], &[]), Some((ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0)), true),
        (&[(0, 5)], (10, 0, &[(0, 5)], &[]), Some((OK, 11)), false),
        (&[(0, 5)], (11, 1, &[], &[]), Some((ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0)), true),
        (&[(0, 5)], (0, 0, &[(0, 5)], &[]), Some((OK, 12)), false),
        (&[(0, 5)], (12, 1, &[], &[]), Some((ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 0)), true),
        (&[(0, 5)], (12, 0, &[(0, 5)], &[]), Some((OK, 13)), false),
        (&[(0, 5)], (13, 1, &[], &[]), Some((ErrorCode::UNKNOWN_SERVER_ERROR, 13)), false),
        // What does not end with the session is no reason to ask at once.
        (&[(0, 5)], (13, 0, &[(0, 5)], &[]), Some((ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0)), false),
        // A broker that keeps none, and one that answers for another.
        (&[(0, 5)], (0, 0, &[(0, 5)], &[]), Some((OK, 0)), false),
        (&[(0, 5)], (0, 0, &[(0, 5)], &[]), Some((OK, 14)), false),
        (&[(0, 6)], (14, 1, &[(0, 6)], &[]), Some((OK, 15)), false),
        (&[(0, 6)], (0, 0, &[(0, 6)], &[]), Some((OK, -1)), false),
        (&[(0, 6)], (0, 0, &[(0, 6)], &[]), Some((OK, 16)), false),
        (&[(0, 6)], (16, 1, &[], &[]), Some((OK, 16)), false),
    ]);
}

/// Offset, leader epoch and last epoch of each partition.
type Held = BTreeMap<Place, (i64, i32, i32)>;

/// A broker's side, as Apache Kafka keeps it (`FetchSession.scala`).
#[derive(Default)]
struct Broker {
    sessions: BTreeMap<i32, (i32, Held)>,
    made: i32,
}

impl Broker {
    /// The answer, and what it answers for.
    fn answer(&mut self, change: &crate::native::session::Change, room: bool) -> (ErrorCode, i32, Option<Held>) {
        let named = change
            .named
            .iter()
            .map(|(place, wanted)| (place.clone(), (wanted.offset, wanted.leader_epoch, wanted.last_epoch)));
        if change.epoch == 0 {
            self.sessions.remove(&change.id);
            let all: BTreeMap<_, _> = named.collect();
            if !room {
                return (ErrorCode::NONE, 0, Some(all));
            }
            self.made += 1;
            self.sessions.insert(self.made, (1, all.clone()));
            return (ErrorCode::NONE, self.made, Some(all));
        }
        let Some((epoch, held)) = self.sessions.get_mut(&change.id) else {
            return (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0, None);
        };
        if *epoch != change.epoch {
            return (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0, None);
        }
        *epoch += 1;
        held.extend(named);
        held.retain(|place, _| !change.forgotten.contains(place));
        (ErrorCode::NONE, change.id, Some(held.clone()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is wanted, and whatever becomes of requests, answers and sessions: a broker answers for what the request
    /// wanted, and for nothing else.
    #[test]
    fn a_broker_answers_for_what_was_wanted_last(
        steps in prop::collection::vec((prop::collection::btree_map(0..5i32, (0..3i64, 0..2i32, 0..2i32), 1..5), 0..12u8), 1..40),
    ) {
        let (mut session, mut broker) = (Session::default(), Broker::default());
        let mut repeated = 0;
        for (want, fate) in steps {
            let list = want.iter().map(|(partition, (offset, leader_epoch, last_epoch))| {
                let (offset, leader_epoch, last_epoch) = (*offset, *leader_epoch, *last_epoch);
                (place(*partition), Wanted { offset, leader_epoch, last_epoch, serial: 0 })
            });
            let change = session.request(list.collect());
            let expect: Held = want.into_iter().map(|(p, wanted)| (place(p), wanted)).collect();
            match fate {
                0 => broker.sessions.clear(),
                1 => {
                    // Never arrives.
                    session.gone();
                    continue;
                }
                2 => {
                    // Arrives, and its answer does not.
                    broker.answer(&change, true);
                    session.gone();
                    continue;
                }
                // Arrives twice; the first answer counts.
                3 => {}
                _ => {}
            }
            let (code, id, answered) = broker.answer(&change, fate != 4);
            if fate == 3 {
                broker.answer(&change, true);
            }
            if let Some(answered) = &answered {
                prop_assert_eq!(answered, &expect);
            }
            let again = session.answered(code, id);
            prop_assert_eq!(again, answered.is_none(), "only a session that is over is refused");
            repeated = if again { repeated + 1 } else { 0 };
            prop_assert!(repeated < 2, "a session is begun anew by a full request, which no broker refuses");
        }
    }
}
