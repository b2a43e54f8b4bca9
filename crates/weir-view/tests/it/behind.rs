//! Groups over what joins of streams make: each row of the join is a record of the group, in the order in which it is said.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use weir_view::Of;

use super::oracle::{Event, Told, history, newest, planned, relation, said, said_and_put_aside, text};
use super::sessions::{Session, Sessions};
use super::streams::{Meeting, Met};
use super::windows::{HAVING, Windows, sum};

/// A group, a value that is summed up, and a time.
type Row = (Option<Json>, Option<i64>, i64);

/// Groups without windows: a row more, and what is said of its group.
#[derive(Default)]
struct Groups(BTreeMap<String, Vec<Option<i64>>>);

impl Groups {
    fn take(&mut self, group: Json, value: Option<i64>) -> (Option<String>, Json) {
        let key = group.as_str().map_or_else(|| group.to_string(), str::to_owned);
        let values = self.0.entry(key.clone()).or_default();
        values.push(value);
        (Some(key), json!({"g": group, "c": values.len(), "s": sum(values)}))
    }
}

/// What is said of the groups of rows that each record makes, without windows and in some.
#[allow(clippy::type_complexity, reason = "for each record the rows that it makes, or that it is not taken")]
fn check(
    history: &[Event],
    tables: [bool; 2],
    group: &str,
    from: &str,
    having: usize,
    rows: &[Option<Vec<Row>>],
) -> Result<(), TestCaseError> {
    let relations = [relation("a", tables[0]), relation("b", tables[1])];
    let of = |row: &Row, take: &mut dyn FnMut(Json, Option<i64>, i64) -> Told| {
        row.0.clone().map_or(vec![], |group| take(group, row.1, row.2))
    };
    let told = |take: &mut dyn FnMut(Json, Option<i64>, i64) -> Told| -> Vec<Option<Told>> {
        rows.iter().map(|rows| Some(rows.as_ref()?.iter().flat_map(|row| of(row, take)).collect())).collect()
    };
    let sql = format!("SELECT {group} AS g, COUNT(*) AS c, SUM(b.v) AS s FROM {from} GROUP BY {group}");
    let mut groups = Groups::default();
    let expect = told(&mut |group, value, _| vec![groups.take(group, value)]);
    prop_assert_eq!(said(&planned(&sql, &relations), history), expect, "{}", sql);
    for (window, size, step, grace, last) in [
        ("TUMBLE(INTERVAL '10' MILLISECOND, GRACE => INTERVAL '20' MILLISECOND)", 10, 10, 20, false),
        ("HOP(INTERVAL '10' MILLISECOND, INTERVAL '5' MILLISECOND)", 10, 5, 0, true),
    ] {
        let mut windows = Windows::hop(size, step, grace, last, HAVING[having]);
        let sql = windows.sql(group, from, "b.v", window);
        let expect = told(&mut |group, value, time| windows.take(group, value, time));
        prop_assert_eq!(said(&planned(&sql, &relations), history), expect, "{}", sql);
    }
    for (gap, grace, last) in [(3, 10, false), (5, 0, true)] {
        let (having, mut offset) = (HAVING[having], 0);
        let mut sessions = Sessions { gap, grace, last, having, row: Session::row, now: i64::MIN, open: vec![] };
        let window = format!("SESSION(INTERVAL '{gap}' MILLISECOND, GRACE => INTERVAL '{grace}' MILLISECOND)");
        let sql = Windows::new(vec![], 0, last, having).sql(group, from, "b.v", &window);
        let expect = told(&mut |group, value, time| {
            offset += 1;
            sessions.take(offset, group, value, time)
        });
        prop_assert_eq!(said(&planned(&sql, &relations), history), expect, "{}", sql);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_stream_that_meets_a_table_is_summed_up(history in history(2), having in 0usize..3) {
        for (join, group) in [("JOIN", "a.k"), ("LEFT JOIN", "a.k"), ("LEFT JOIN", "a.n"), ("LEFT JOIN", "b.n"), ("JOIN", "b.n")] {
            let rows = |(i, e): (usize, &Event)| {
                if e.input == 1 {
                    return e.key.map(|_| vec![]);
                }
                let (_, n) = e.value?;
                let found = e.key.and_then(|key| newest(&history[..i], 1, key));
                let group = match group {
                    "a.k" => text(e).map(Json::from),
                    "a.n" => Some(json!(n)),
                    _ => found.map(|(_, n)| json!(n)),
                };
                let row = (group, found.and_then(|(v, _)| v), e.time);
                Some(if found.is_none() && join == "JOIN" { vec![] } else { vec![row] })
            };
            let rows: Vec<Option<Vec<Row>>> = history.iter().enumerate().map(rows).collect();
            check(&history, [false, true], group, &format!("a {join} b ON a.k = b.k"), having, &rows)?;
        }
    }

    #[test]
    fn two_streams_that_meet_are_summed_up(history in history(2), having in 0usize..3) {
        for (join, grace, group) in [
            ("JOIN", 0, "a.k"), ("LEFT JOIN", 3, "a.k"), ("LEFT JOIN", 20, "a.n"),
            ("FULL JOIN", 0, "COALESCE(a.k, b.k)"), ("FULL JOIN", 5, "b.n"), ("JOIN", 20, "b.n"),
        ] {
            let mut meeting = Meeting::new(join, 5, grace);
            let from = format!("{} ON a.k = b.k", meeting.sql());
            let rows = |(i, e): (usize, &Event)| {
                let row = |Met { key, sides: [a, b], time, .. }: Met| {
                    let group = match group {
                        "a.k" => key.map(Json::from),
                        "a.n" => a.map(|(_, n)| json!(n)),
                        "b.n" => b.map(|(_, n)| json!(n)),
                        // The field of a record without a key is an empty text.
                        _ => Some(json!(key.unwrap_or_default())),
                    };
                    (group, b.and_then(|(v, _)| v), time)
                };
                Some(meeting.take(i, e.input, text(e), e.time, e.value?).into_iter().map(row).collect())
            };
            let rows: Vec<Option<Vec<Row>>> = history.iter().enumerate().map(rows).collect();
            check(&history, [false, false], group, &from, having, &rows)?;
        }
    }
}

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
