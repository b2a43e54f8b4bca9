//! Groups over what joins of streams make: each row of the join is a record of the group, in the order in which it is said.

use serde_json::json;
use weir_view::Of;

use super::oracle::{Event, Told, planned, relation, said, said_and_put_aside};

fn event(input: usize, key: u8, v: i64, time: i64) -> Event {
    Event { input, key: Some(key), value: Some((Some(v), 0)), list: None, time }
}

/// Of several rows that one record made, each saw the sessions as they were before that record: what the others had put in
/// was lost, and a session that had grown closed at its old end.
#[test]
fn a_session_behind_a_join_holds_all_rows_of_one_record() {
    let sql = "SELECT a.k AS k, COUNT(*) AS c FROM a JOIN b WITHIN INTERVAL '4' MILLISECOND ON a.k = b.k
               GROUP BY a.k, SESSION(INTERVAL '5' MILLISECOND) EMIT FINAL";
    let plan = planned(sql, &[relation("a", false), relation("b", false)]);
    // The first two meet at 0. The fifth meets those at 5 and 8, which are records of one session with it.
    let history = [(1, 0), (0, 0), (1, 5), (1, 8), (0, 4), (1, 100), (0, 100)].map(|(input, t)| event(input, 0, 1, t));
    let mut expect: Vec<Option<Told>> = vec![Some(vec![]); 7];
    expect[6] = Some(vec![(Some("k0|0".to_owned()), json!({"k": "k0", "c": 3}))]);
    assert_eq!(said(&plan, &history), expect);
}

/// The record that made it due was put aside instead, and so was each one after it: the view stood still.
#[test]
fn a_row_alone_that_cannot_be_summed_up_does_not_stop_the_view() {
    let sql =
        "SELECT a.k AS k, SUM(a.v) AS s FROM a LEFT JOIN b WITHIN INTERVAL '5' MILLISECOND ON a.k = b.k GROUP BY a.k";
    let plan = planned(sql, &[relation("a", false), relation("b", false)]);
    let history = [
        event(0, 0, i64::MAX, 0),
        event(0, 0, i64::MAX, 1),
        event(0, 0, -1, 2),
        event(0, 1, 0, 50),
        event(0, 2, 0, 99),
    ];
    let (told, undefined) = said_and_put_aside(&plan, &history);
    let row = |k: &str, s: i64| (Some(k.to_owned()), json!({"k": k, "s": s}));
    let closed = vec![row("k0", i64::MAX), row("k0", i64::MAX - 1)];
    let nothing = || Some(vec![]);
    assert_eq!(told, [nothing(), nothing(), nothing(), Some(closed), Some(vec![row("k1", 0)])]);
    let [(3, lost)] = &undefined[..] else { panic!("{undefined:?}") };
    let row = Some(json!({"k0": "k0", "x0": i64::MAX}).to_string());
    assert_eq!(lost.of, Of::Row { key: b"k0".to_vec(), row, time: 1 });
    assert!(
        lost.reason.starts_with("a record that has met no other in its time: the sum is beyond"),
        "{}",
        lost.reason
    );
}

/// A row that fits into one of its windows and not into another is in none of them.
#[test]
fn a_row_alone_is_put_aside_whole() {
    let sql = "SELECT a.k AS k, SUM(a.v) AS s FROM a LEFT JOIN b WITHIN INTERVAL '5' MILLISECOND GRACE INTERVAL '10' MILLISECOND ON a.k = b.k
               GROUP BY a.k, HOP(INTERVAL '10' MILLISECOND, INTERVAL '5' MILLISECOND, GRACE => INTERVAL '99' MILLISECOND)";
    let plan = planned(sql, &[relation("a", false), relation("b", false)]);
    // The first two meet at 13, in the windows from 5 and from 10; the third stands alone in those from 0 and from 5.
    let history = [event(0, 0, i64::MAX, 8), event(1, 0, 0, 13), event(0, 0, i64::MAX, 7), event(0, 1, 0, 30)];
    let (told, undefined) = said_and_put_aside(&plan, &history);
    let row = |start: i64| (Some(format!("k0|{start}")), json!({"k": "k0", "s": i64::MAX}));
    assert_eq!(told, [Some(vec![]), Some(vec![row(5), row(10)]), Some(vec![]), Some(vec![])]);
    assert_eq!(undefined.len(), 1, "{undefined:?}");
}
