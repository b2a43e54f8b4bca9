//! Random histories of two streams that meet within a time, against an oracle that keeps every record.

use proptest::prelude::*;
use serde_json::json;

use super::oracle::{Event, Told, history, planned, relation, said, said_and};

/// A record that is held: its close, key, side, time, value and whether it has met another.
#[derive(Clone)]
struct Held {
    close: i64,
    key: u8,
    side: usize,
    time: i64,
    value: (Option<i64>, i32),
    met: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn records_of_two_streams_meet_within_a_time(history in history(2)) {
        for (join, distance, grace) in [("JOIN", 5, 0), ("LEFT JOIN", 5, 3), ("FULL JOIN", 10, 0), ("FULL JOIN", 0, 20), ("LEFT JOIN", 3, 0)] {
            let sql = format!(
                "SELECT a.v AS x, b.n AS y, COALESCE(a.k, b.k) AS k FROM a {join} b WITHIN INTERVAL '{distance}' MILLISECOND GRACE INTERVAL '{grace}' MILLISECOND ON a.k = b.k"
            );
            let plan = planned(&sql, &[relation("a", false), relation("b", false)]);
            let outer = |side| join == "FULL JOIN" || (join == "LEFT JOIN" && side == 0);
            let (mut now, mut held, mut expect): (_, Vec<Held>, Vec<Option<Told>>) = (i64::MIN, vec![], vec![]);
            for event in &history {
                let Some(value) = event.value else {
                    expect.push(None);
                    continue;
                };
                now = now.max(event.time);
                let mut told: Told = Vec::new();
                let mut row = |key: Option<u8>, a: Option<(Option<i64>, i32)>, b: Option<(Option<i64>, i32)>| {
                    let text = key.map(|k| format!("k{k}"));
                    let k = text.clone().unwrap_or_default();
                    told.push((text, json!({"x": a.and_then(|a| a.0), "y": b.map(|b| b.1), "k": k})));
                };
                let mut alone = |key, side, value| if side == 0 { row(key, Some(value), None) } else { row(key, None, Some(value)) };
                let mut closed: Vec<Held> = held.iter().filter(|h| h.close <= now).cloned().collect();
                held.retain(|h| h.close > now);
                closed.sort_by_key(|h| (h.close, h.key, h.side, h.time));
                for old in closed.into_iter().filter(|h| outer(h.side) && !h.met) {
                    alone(Some(old.key), old.side, old.value);
                }
                let close = event.time + distance + grace + 1;
                if close > now {
                    match event.key {
                        None if outer(event.input) => alone(None, event.input, value),
                        None => {}
                        Some(key) => {
                            let mut met = false;
                            let mut others: Vec<&mut Held> = held.iter_mut()
                                .filter(|h| h.side != event.input && h.key == key && (h.time - event.time).abs() <= distance)
                                .collect();
                            others.sort_by_key(|h| h.time);
                            for other in others {
                                (met, other.met) = (true, true);
                                let (a, b) = if event.input == 0 { (value, other.value) } else { (other.value, value) };
                                row(Some(key), Some(a), Some(b));
                            }
                            held.push(Held { close, key, side: event.input, time: event.time, value, met });
                        }
                    }
                }
                expect.push(Some(told));
            }
            prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
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
