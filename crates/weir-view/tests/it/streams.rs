//! Random histories of two streams that meet within a time, against an oracle that keeps every record.

use proptest::prelude::*;
use serde_json::json;
use weir_view::Of;

use super::oracle::{
    Event, Told, datum, history, numbered, planned, relation, said, said_and, said_and_put_aside, text,
};

/// A value of a record.
type Value = (Option<i64>, i32);

/// A record that is held: its close, key, side, time, value and whether it has met another.
#[derive(Clone)]
struct Held {
    close: i64,
    key: String,
    side: usize,
    time: i64,
    value: Value,
    met: bool,
    number: usize,
}

/// A row of a join of two streams; alone, it is of the record of this number.
#[derive(Clone)]
pub(crate) struct Met {
    pub key: Option<String>,
    pub sides: [Option<Value>; 2],
    pub time: i64,
    pub number: usize,
}

/// A join of two streams that keeps every record.
#[derive(Clone)]
pub(crate) struct Meeting {
    outer: [bool; 2],
    distance: i64,
    grace: i64,
    now: i64,
    held: Vec<Held>,
}

impl Meeting {
    pub(crate) fn new(join: &str, distance: i64, grace: i64) -> Meeting {
        let outer = [join != "JOIN", join == "FULL JOIN"];
        Meeting { outer, distance, grace, now: i64::MIN, held: vec![] }
    }

    /// How the query says it.
    pub(crate) fn sql(&self) -> String {
        let join = ["JOIN", "LEFT JOIN", "FULL JOIN"][self.outer.iter().filter(|o| **o).count()];
        let Meeting { distance, grace, .. } = self;
        format!("a {join} b WITHIN INTERVAL '{distance}' MILLISECOND GRACE INTERVAL '{grace}' MILLISECOND")
    }

    /// Whether a record of a side is said alone.
    pub(crate) fn is_outer(&self, side: usize) -> bool {
        self.outer[side]
    }

    /// Takes a record and its number, and gives the rows that it makes due.
    pub(crate) fn take(
        &mut self,
        number: usize,
        side: usize,
        key: Option<String>,
        time: i64,
        value: Value,
    ) -> Vec<Met> {
        self.now = self.now.max(time);
        let alone = |key, side: usize, value, time, number| {
            let sides = if side == 0 { [Some(value), None] } else { [None, Some(value)] };
            Met { key, sides, time, number }
        };
        let (mut closed, open): (Vec<Held>, Vec<Held>) = self.held.drain(..).partition(|h| h.close <= self.now);
        self.held = open;
        closed.sort_by_key(|h| (h.close, h.key.len(), h.key.clone(), h.side, h.time));
        let said = closed.into_iter().filter(|h| self.outer[h.side] && !h.met);
        let mut rows: Vec<Met> = said.map(|h| alone(Some(h.key), h.side, h.value, h.time, h.number)).collect();
        let close = time + self.distance + self.grace + 1;
        if close <= self.now {
            return rows;
        }
        let Some(key) = key else {
            rows.extend(self.outer[side].then(|| alone(None, side, value, time, number)));
            return rows;
        };
        let near = |h: &&mut Held| h.side != side && h.key == key && (h.time - time).abs() <= self.distance;
        let mut others: Vec<&mut Held> = self.held.iter_mut().filter(near).collect();
        others.sort_by_key(|h| h.time);
        let met = !others.is_empty();
        for other in others {
            other.met = true;
            let sides = if side == 0 { [value, other.value] } else { [other.value, value] };
            rows.push(Met { key: Some(key.clone()), sides: sides.map(Some), time: time.max(other.time), number });
        }
        self.held.push(Held { close, key, side, time, value, met, number });
        rows
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn records_of_two_streams_meet_within_a_time(history in history(2)) {
        for (join, distance, grace) in [("JOIN", 5, 0), ("LEFT JOIN", 5, 3), ("FULL JOIN", 10, 0), ("FULL JOIN", 0, 20), ("LEFT JOIN", 3, 0)] {
            let mut meeting = Meeting::new(join, distance, grace);
            let sql = format!("SELECT a.v AS x, b.n AS y, COALESCE(a.k, b.k) AS k FROM {} ON a.k = b.k", meeting.sql());
            let plan = planned(&sql, &[relation("a", false), relation("b", false)]);
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let rows = meeting.take(i, e.input, text(e), e.time, e.value?);
                let told = |Met { key, sides: [a, b], .. }: Met| {
                    let row = json!({"x": a.and_then(|a| a.0), "y": b.map(|b| b.1), "k": key.clone().unwrap_or_default()});
                    (key, row)
                };
                Some(rows.into_iter().map(told).collect())
            }).collect();
            prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
        }
    }

    /// One of them re-keyed, or both.
    #[test]
    fn streams_meet_by_any_field(history in history(2)) {
        for (join, grace) in [("JOIN", 1_000), ("LEFT JOIN", 0), ("FULL JOIN", 3), ("LEFT JOIN", 10), ("FULL JOIN", 0)] {
            for both in [true, false] {
                let mut meeting = Meeting::new(join, 5, grace);
                let on = if both { "a.v = b.v" } else { "a.v = b.n" };
                let sql = format!("SELECT a.v AS x, b.n AS y FROM {} ON {on}", meeting.sql());
                let plan = planned(&sql, &[relation("a", false), if both { relation("b", false) } else { numbered("b", false) }]);
                prop_assert_eq!(plan.stages().len(), if both { 3 } else { 2 });
                let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                    let (v, n) = e.value?;
                    let own = !both && e.input == 1;
                    let n = if own { i32::from(e.key.unwrap_or_default()) } else { n };
                    let key = if own { e.key.map(|k| k.to_string()) } else { v.map(|v| v.to_string()) };
                    if key.is_none() && !own && !meeting.is_outer(e.input) {
                        // It does not get as far as to be a time for the join.
                        return Some(vec![]);
                    }
                    let rows = meeting.take(i, e.input, key, e.time, (v, n));
                    let told = |Met { key, sides: [a, b], .. }: Met| (key, json!({"x": a.and_then(|a| a.0), "y": b.map(|b| b.1)}));
                    Some(rows.into_iter().map(told).collect())
                }).collect();
                prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
            }
        }
    }

    /// The record that was held lies in the quarantine, and not the one that came when its time was over.
    #[test]
    fn a_row_alone_that_has_no_value_is_put_aside(history in history(2)) {
        for join in ["LEFT JOIN", "FULL JOIN"] {
            let mut meeting = Meeting::new(join, 5, 2);
            let sql = format!("SELECT a.k AS k, CASE WHEN b.k IS NULL THEN 10 / a.n ELSE 1 END AS q FROM {} ON a.k = b.k", meeting.sql());
            let plan = planned(&sql, &[relation("a", false), relation("b", false)]);
            let mut lost = Vec::new();
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let (value, before, known) = (e.value?, meeting.clone(), lost.len());
                let mut told = Vec::new();
                for Met { key, sides: [a, b], time, number } in meeting.take(i, e.input, text(e), e.time, value) {
                    let q = match (a, b) {
                        (Some(a), None) => 10_i32.checked_div(a.1),
                        _ => Some(1),
                    };
                    match q {
                        Some(q) => {
                            let k = a.map(|_| key.clone().unwrap_or_default());
                            told.push((key, json!({"k": k, "q": q})));
                        }
                        None if number == i => {
                            // Its own fault: nothing has changed.
                            meeting = before;
                            lost.truncate(known);
                            return None;
                        }
                        None => lost.push((i, number, key, time)),
                    }
                }
                Some(told)
            }).collect();
            let (told, undefined) = said_and_put_aside(&plan, &history);
            prop_assert_eq!(told, expect, "{}", sql);
            let expect = lost.into_iter().map(|(i, number, key, time)| {
                let value = datum(&plan.inputs[0], &history[number]).unwrap();
                (i, Of::Held { input: 0, offset: number as i64, key: key.unwrap().into_bytes(), value, time })
            });
            let zero = "a record that has met no other in its time: q: division by zero";
            prop_assert!(undefined.iter().all(|(_, row)| row.reason.starts_with(zero)), "{:?}", undefined);
            prop_assert_eq!(undefined.into_iter().map(|(i, row)| (i, row.of)).collect::<Vec<_>>(), expect.collect::<Vec<_>>());
        }
    }
}

/// The state of a join of streams is bounded by its windows.
#[test]
fn closed_windows_leave_nothing() {
    let sql = "SELECT a.v AS x FROM a LEFT JOIN b WITHIN INTERVAL '5' MILLISECOND ON a.k = b.k";
    let plan = planned(sql, &[relation("a", false), relation("b", false)]);
    let event =
        |i: i64| Event { input: i as usize % 2, key: Some(i as u8 % 3), value: Some((None, 0)), list: None, time: i };
    let history: Vec<Event> = (0..200).map(event).collect();
    let mut most = 0;
    said_and(&plan, &history, &mut |state| most = most.max(state.0.len()));
    // Each record is an entry and one in the index of the windows, and there is the stream time.
    assert_eq!(most, 1 + 2 * 6);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_stream_sees_a_table_as_it_was(history in history(2)) {
        for (join, inner, kept) in [("JOIN", true, 1_000), ("LEFT JOIN", false, 1_000), ("LEFT JOIN", false, 5)] {
            let sql = format!(
                "SELECT a.n AS n, b.v AS v FROM a {join} b FOR SYSTEM_TIME AS OF a.rowtime HISTORY INTERVAL '{kept}' MILLISECOND ON a.k = b.k"
            );
            let plan = planned(&sql, &[relation("a", false), relation("b", true)]);
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let value = if e.input == 1 { e.key.map(|_| (None, 0)) } else { e.value };
                let (_, n) = value?;
                if e.input == 1 {
                    return Some(vec![]);
                }
                // The versions of the key, each at its time, the later of two at one time.
                let versions = history[..i].iter().enumerate().filter(|(_, o)| o.input == 1 && o.key.is_some() && o.key == e.key);
                let found = versions.filter(|(_, o)| o.time <= e.time).max_by_key(|(i, o)| (o.time, *i)).and_then(|(_, o)| o.value);
                let row = json!({"n": n, "v": found.and_then(|(v, _)| v)});
                Some(if found.is_none() && inner { vec![] } else { vec![(e.key.map(|k| format!("k{k}")), row)] })
            }).collect();
            // Behind the history it is not known which row there was, nor what was deleted before one that comes from there.
            let (mut latest, mut unknown) = (i64::MIN, [false; 3]);
            for (i, (said, expect)) in said(&plan, &history).into_iter().zip(expect).enumerate() {
                latest = latest.max(if said.is_some() { history[i].time } else { i64::MIN });
                let behind = latest.saturating_sub(history[i].time) > kept;
                if let (1, true, Some(key)) = (history[i].input, behind, history[i].key) {
                    unknown[usize::from(key)] = true;
                }
                if !behind && !history[i].key.is_some_and(|key| unknown[usize::from(key)]) {
                    prop_assert_eq!(said, expect, "{} at {}", sql, i);
                }
            }
        }
    }
}

/// Old rows of a table are dropped when their time is over.
#[test]
fn old_rows_are_dropped() {
    let sql =
        "SELECT b.v AS v FROM a JOIN b FOR SYSTEM_TIME AS OF a.rowtime HISTORY INTERVAL '5' MILLISECOND ON a.k = b.k";
    let plan = planned(sql, &[relation("a", false), relation("b", true)]);
    let event =
        |i: i64| Event { input: 1, key: Some(i as u8 % 2), value: (i < 100).then_some((None, 0)), list: None, time: i };
    let end = Event { input: 0, key: Some(0), value: Some((None, 0)), list: None, time: 1_000 };
    let history: Vec<Event> = (0..102).map(event).chain([end]).collect();
    let (mut most, mut last) = (0, 0);
    said_and(&plan, &history, &mut |state| {
        most = most.max(state.0.len());
        last = state.0.len();
    });
    assert!(most <= 1 + 2 * 10, "{most}");
    assert_eq!(last, 1, "both keys are deleted; the stream time is left");
}
