//! Joins on a foreign key over random histories: in order, and with the stages running apart.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use weir_avro::{JsonForm, from_json, to_json};
use weir_view::{Emit, Memory, Output, Record};

use super::oracle::{Event, Told, history, newest, numbered, planned, relation, said};

/// What the join says of a left key after some records.
fn joined(history: &[Event], key: u8, inner: bool) -> Option<Json> {
    let (v, n) = newest(history, 0, key)?;
    let right = v.and_then(|v| u8::try_from(v).ok()).and_then(|fk| newest(history, 1, fk));
    if right.is_none() && inner {
        return None;
    }
    Some(json!({"k": format!("k{key}"), "v": v, "n": n, "w": right.and_then(|r| r.0), "there": right.is_some()}))
}

fn sql(inner: bool) -> String {
    let join = if inner { "JOIN" } else { "LEFT JOIN" };
    format!("SELECT a.k AS k, a.v AS v, a.n AS n, b.v AS w, b.n IS NOT NULL AS there FROM a {join} b ON a.v = b.n")
}

/// Key, value, time and offset.
type Queued = (Vec<u8>, Option<Vec<u8>>, i64, i64);

type Made = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

#[derive(Default)]
struct Out(Vec<Made>);

impl Emit for Out {
    fn emit(&mut self, output: Output<'_>) {
        self.0.push((output.key.map(<[u8]>::to_vec), output.value.map(<[u8]>::to_vec), output.time));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_change_of_either_side_is_said_once(history in history(2)) {
        for inner in [true, false] {
            let plan = planned(&sql(inner), &[relation("a", true), numbered("b", true)]);
            prop_assert_eq!(plan.stages().len(), 3);
            prop_assert_eq!(&plan.output.key, &["k"]);
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let key = e.key?;
                let keys = if e.input == 0 { key..key + 1 } else { 0..3 };
                let told = keys.filter_map(|key| {
                    let (was, now) = (joined(&history[..i], key, inner), joined(&history[..=i], key, inner));
                    (was != now).then(|| (Some(format!("k{key}")), now.unwrap_or(Json::Null)))
                });
                Some(told.collect())
            }).collect();
            prop_assert_eq!(said(&plan, &history), expect, "{}", inner);
        }
    }

    /// Stages and partitions run as they like; only what one of them has written to one topic keeps its order.
    #[test]
    fn stages_that_run_apart_end_at_the_same(history in history(2), turns in prop::collection::vec(0usize..64, 400), emptied in any::<bool>()) {
        let inner = turns[0] % 2 == 0;
        let plan = planned(&sql(inner), &[relation("a", true), numbered("b", true)]);
        let mut history: Vec<Event> = history.into_iter().filter(|e| e.key.is_some()).collect();
        if emptied {
            let gone = |input, key| Event { input, key: Some(key), value: None, list: None, time: 0 };
            history.extend((0..3).flat_map(|key| [gone(0, key), gone(1, key)]));
        }
        let mut tasks: Vec<_> = plan.stages().iter().map(|s| s.task().unwrap()).collect();
        let mut states = vec![Memory::default(); 3];
        // By stage, input and who has written it: for records between stages the key of the right side.
        let mut queues: BTreeMap<(usize, usize, Vec<u8>), VecDeque<Queued>> = BTreeMap::new();
        for (i, e) in history.iter().enumerate() {
            let relation = &plan.inputs[e.input];
            let digit = e.key.unwrap();
            let key = if e.input == 0 { format!("k{digit}") } else { digit.to_string() }.into_bytes();
            let value = e.value.map(|(v, n)| {
                let n = if e.input == 0 { n } else { digit.into() };
                let row = json!({"k": format!("k{digit}"), "v": v, "n": n, "l": e.list});
                from_json(&relation.schema, &row, JsonForm::Plain).unwrap()
            });
            for place in if e.input == 0 { vec![(0, 0), (2, 0)] } else { vec![(1, 0)] } {
                let queue = queues.entry((place.0, place.1, vec![])).or_default();
                queue.push_back((key.clone(), value.clone(), e.time, i as i64));
            }
        }
        let mut shown: BTreeMap<Vec<u8>, Json> = BTreeMap::new();
        let mut turns = turns.into_iter().cycle();
        loop {
            let ready: Vec<_> = queues.iter().filter(|(_, q)| !q.is_empty()).map(|(k, _)| k.clone()).collect();
            if ready.is_empty() {
                break;
            }
            let place = &ready[turns.next().unwrap() % ready.len()];
            let (key, value, time, offset) = queues.get_mut(place).unwrap().pop_front().unwrap();
            let record = Record { key: Some(&key), value: value.as_deref(), time, partition: 0, offset, headers: &[] };
            let (stage, input, _) = *place;
            let mut out = Out::default();
            tasks[stage].process(input, &record, &mut states[stage], &mut out).unwrap();
            for (made, value, time) in out.0 {
                let made = made.unwrap();
                match stage {
                    2 => match value {
                        Some(value) => { shown.insert(made, to_json(&plan.output.schema, &value, JsonForm::Plain).unwrap()); }
                        None => prop_assert!(shown.remove(&made).is_some(), "a tombstone for nothing"),
                    },
                    // What goes to one key of the right side keeps its order, and what comes from there.
                    0 => queues.entry((1, 1, made.clone())).or_default().push_back((made, value, time, 0)),
                    _ => queues.entry((2, 1, key.clone())).or_default().push_back((made, value, time, 0)),
                }
            }
        }
        let expect: BTreeMap<Vec<u8>, Json> = (0..3)
            .filter_map(|key| Some((format!("k{key}").into_bytes(), joined(&history, key, inner)?)))
            .collect();
        prop_assert_eq!(shown, expect);
        if emptied {
            prop_assert!(states.iter().all(|state| state.0.is_empty()), "{:?}", states);
        }
    }
}
