//! Random histories through the operators, against an oracle that looks at the whole history again for every record:
//! the same output, in the same order. It knows no SQL, no state and no bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use weir_avro::{JsonForm, Schema, from_json, to_json};
use weir_view::{Emit, Fault, Flow, Memory, Options, Output, Plan, Record, Relation, Undefined, plan};

pub(crate) fn relation(name: &str, table: bool) -> Arc<Relation> {
    let schema = format!(
        r#"{{"type":"record","name":"{name}","fields":[{{"name":"k","type":"string"}},{{"name":"v","type":["null","long"]}},{{"name":"n","type":"int"}},
        {{"name":"l","type":["null",{{"type":"array","items":["null","long"]}}]}}]}}"#
    );
    Arc::new(Relation {
        name: name.to_owned(),
        topic: name.to_owned(),
        table,
        key: vec!["k".to_owned()],
        key_schema: None,
        event_time: None,
        partitions: Some(1),
        schema: Arc::new(Schema::parse(&schema).unwrap()),
        personal: BTreeMap::new(),
        personal_key: false,
    })
}

/// As [`relation`], with the number `n` as its key.
pub(crate) fn numbered(name: &str, table: bool) -> Arc<Relation> {
    Arc::new(Relation { key: vec!["n".to_owned()], ..Relation::clone(&relation(name, table)) })
}

/// A record of input `input`: the key, the value, which may be null, and the time.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub input: usize,
    pub key: Option<u8>,
    pub value: Option<(Option<i64>, i32)>,
    pub list: Option<Vec<Option<i64>>>,
    pub time: i64,
}

pub(crate) fn history(inputs: usize) -> impl Strategy<Value = Vec<Event>> {
    let value = prop::option::weighted(0.8, (prop::option::weighted(0.8, -3i64..4), 0i32..3));
    let list = prop::option::weighted(0.8, prop::collection::vec(prop::option::weighted(0.8, -3i64..4), 0..4));
    let event = (0..inputs, prop::option::weighted(0.95, 0u8..3), value, list, 0i64..40);
    let event = event.prop_map(|(input, key, value, list, time)| Event { input, key, value, list, time });
    prop::collection::vec(event, 0..60)
}

pub(crate) fn planned(sql: &str, relations: &[Arc<Relation>]) -> Plan {
    let options = Options { id: "t.v".into(), topic: "t.v".into(), ..Options::default() };
    plan(sql, &options, relations).unwrap()
}

#[derive(Default)]
struct Out(Vec<(Option<String>, Option<Vec<u8>>)>);

impl Emit for Out {
    fn emit(&mut self, output: Output<'_>) {
        let key = output.key.map(|k| String::from_utf8(k.to_vec()).unwrap());
        self.0.push((key, output.value.map(<[u8]>::to_vec)));
    }
}

pub(crate) type Told = Vec<(Option<String>, Json)>;

/// What the view says to each record; nothing for one it does not take. The state goes through a copy half way, as it
/// does when a task moves.
pub(crate) fn said(plan: &Plan, history: &[Event]) -> Vec<Option<Told>> {
    said_and(plan, history, &mut |_| {})
}

/// As [`said`]; `look` sees the state after every record.
pub(crate) fn said_and(plan: &Plan, history: &[Event], look: &mut dyn FnMut(&Memory)) -> Vec<Option<Told>> {
    let (told, undefined) = run(plan, history, look);
    assert_eq!(undefined, []);
    told
}

/// As [`said`], with the rows that were due and have no value, each with the number of the record that made it due.
pub(crate) fn said_and_put_aside(plan: &Plan, history: &[Event]) -> (Vec<Option<Told>>, Vec<(usize, Undefined)>) {
    run(plan, history, &mut |_| {})
}

/// The value of a record of a relation.
pub(crate) fn datum(relation: &Relation, event: &Event) -> Option<Vec<u8>> {
    let (v, n) = event.value?;
    let numbered = relation.key == ["n"];
    let (k, n) = if numbered { (number(event), i32::from(event.key.unwrap_or_default())) } else { (text(event), n) };
    let row = json!({"k": k.unwrap_or_default(), "v": v, "n": n, "l": event.list});
    Some(from_json(&relation.schema, &row, JsonForm::Plain).unwrap())
}

/// The key of a record of a [`relation`].
pub(crate) fn text(event: &Event) -> Option<String> {
    event.key.map(|k| format!("k{k}"))
}

fn number(event: &Event) -> Option<String> {
    event.key.map(|k| k.to_string())
}

fn run(plan: &Plan, history: &[Event], look: &mut dyn FnMut(&Memory)) -> (Vec<Option<Told>>, Vec<(usize, Undefined)>) {
    let mut flow = Flow::new(plan).unwrap();
    let (mut all, mut undefined) = (Vec::new(), Vec::new());
    for (i, event) in history.iter().enumerate() {
        if i == history.len() / 2 {
            flow.moved(plan).unwrap();
        }
        let relation = &plan.inputs[event.input];
        let key = if relation.key == ["n"] { number(event) } else { text(event) };
        let value = datum(relation, event);
        let record = Record {
            key: key.as_deref().map(str::as_bytes),
            value: value.as_deref(),
            time: event.time,
            partition: 0,
            offset: i as i64,
            headers: &[],
        };
        let before = flow.states.clone();
        let mut out = Out::default();
        match flow.process(&relation.name, &record, &mut out) {
            Ok(_) => {
                let json = |v: &Vec<u8>| to_json(&plan.output.schema, v, JsonForm::Plain).unwrap();
                all.push(Some(out.0.iter().map(|(k, v)| (k.clone(), v.as_ref().map_or(Json::Null, json))).collect()));
            }
            Err(Fault::Record(_)) => {
                assert_eq!(before, flow.states, "a record that is not taken changes nothing");
                assert!(out.0.is_empty());
                all.push(None);
            }
            Err(fault) => panic!("{fault}"),
        }
        undefined.extend(flow.undefined.drain(..).map(|row| (i, row)));
        flow.states.iter().for_each(&mut *look);
    }
    assert!(flow.faults.is_empty(), "{:?}", flow.faults);
    (all, undefined)
}

/// The newest row of a key of a table after some records.
pub(crate) fn newest(history: &[Event], input: usize, key: u8) -> Option<(Option<i64>, i32)> {
    history.iter().rfind(|e| e.input == input && e.key == Some(key)).and_then(|e| e.value)
}

/// A table that shows, after every record, what a function of the whole history says of the record's key.
pub(crate) fn settled(history: &[Event], row: impl Fn(&[Event], u8) -> Option<Json>) -> Vec<Option<Told>> {
    let told = |i: usize| {
        let key = history[i].key?;
        let (was, now) = (row(&history[..i], key), row(&history[..=i], key));
        Some(if was == now { vec![] } else { vec![(Some(format!("k{key}")), now.unwrap_or(Json::Null))] })
    };
    (0..history.len()).map(told).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_stream_is_filtered_and_projected(history in history(1)) {
        let plan = planned("SELECT k, v + n AS s FROM a WHERE v > 0 OR n = 1", &[relation("a", false)]);
        let expect: Vec<Option<Told>> = history.iter().map(|e| {
            let (v, n) = e.value?;
            let kept = v.is_some_and(|v| v > 0) || n == 1;
            let key = e.key.map(|k| format!("k{k}"));
            let row = json!({"k": key.clone().unwrap_or_default(), "s": v.map(|v| v + i64::from(n))});
            Some(if kept { vec![(key, row)] } else { vec![] })
        }).collect();
        prop_assert_eq!(said(&plan, &history), expect);
    }

    #[test]
    fn a_union_says_what_each_stream_says_in_the_order_they_come(history in history(3)) {
        let sql = "SELECT k, v AS s FROM a WHERE v > 0 UNION ALL SELECT k, v + n AS s FROM b UNION ALL SELECT k, TRY(10 / n) AS s FROM c WHERE 10 / n > 5";
        let plan = planned(sql, &[relation("a", false), relation("b", false), relation("c", false)]);
        let expect: Vec<Option<Told>> = history.iter().map(|e| {
            let (v, n) = e.value?;
            let n = i64::from(n);
            let said = match e.input {
                0 => v.filter(|v| *v > 0).map(Some),
                1 => Some(v.map(|v| v + n)),
                _ => Some(10_i64.checked_div(n)?).filter(|q| *q > 5).map(Some),
            };
            let key = e.key.map(|k| format!("k{k}"));
            let row = |s| (key.clone(), json!({"k": key.clone().unwrap_or_default(), "s": s}));
            Some(said.into_iter().map(row).collect())
        }).collect();
        prop_assert_eq!(said(&plan, &history), expect);
    }

    #[test]
    fn an_array_is_a_record_for_each_element(history in history(1)) {
        let whole = ["SELECT n, EXPLODE(l) AS x, 10 / n AS q FROM a WHERE n < 2", "SELECT n, EXPLODE(ARRAY[v, n, v]) AS x, 10 / n AS q FROM a WHERE n < 2"];
        for (sql, own) in whole.into_iter().zip([true, false]) {
            for (more, keyed) in [("", false), (" PARTITION BY n", true)] {
                let plan = planned(&format!("{sql}{more}"), &[relation("a", false)]);
                let expect: Vec<Option<Told>> = history.iter().map(|e| {
                    let (v, n) = e.value?;
                    let items = if own { e.list.clone().unwrap_or_default() } else { vec![v, Some(n.into()), v] };
                    if n >= 2 || items.is_empty() {
                        return Some(vec![]);
                    }
                    let q = 10_i32.checked_div(n)?;
                    let key = if keyed { Some(n.to_string()) } else { e.key.map(|k| format!("k{k}")) };
                    Some(items.iter().map(|x| (key.clone(), json!({"n": n, "x": x, "q": q}))).collect())
                }).collect();
                prop_assert_eq!(said(&plan, &history), expect, "{}{}", sql, more);
            }
        }
    }

    #[test]
    fn a_sum_beyond_bigint_is_a_fault_of_its_record(history in history(1)) {
        let great = |v: i64| [i64::MIN, i64::MIN / 2, -1, 0, 1, i64::MAX / 2, i64::MAX][(v + 3) as usize];
        let grown = |e: &Event| Event { value: e.value.map(|(v, n)| (v.map(great), n)), ..e.clone() };
        let history: Vec<Event> = history.iter().map(grown).collect();
        let plan = planned("SELECT k, COUNT(v) AS c, SUM(v) AS s FROM a GROUP BY k", &[relation("a", false)]);
        let mut groups: BTreeMap<u8, (i64, Option<i64>)> = BTreeMap::new();
        let expect: Vec<Option<Told>> = history.iter().map(|e| {
            let (v, _) = e.value?;
            let Some(key) = e.key else { return Some(vec![]) };
            let was = groups.get(&key).copied();
            let (c, s) = was.unwrap_or_default();
            let now = match v {
                Some(v) => (c + 1, Some(s.unwrap_or(0).checked_add(v)?)),
                None => (c, s),
            };
            groups.insert(key, now);
            let row = (Some(format!("k{key}")), json!({"k": format!("k{key}"), "c": now.0, "s": now.1}));
            Some(if was == Some(now) { vec![] } else { vec![row] })
        }).collect();
        prop_assert_eq!(said(&plan, &history), expect.clone());

        // A window that speaks at its end must not have taken the record either: it would then be its last word that fails.
        let sql = "SELECT k, COUNT(v) AS c, SUM(v) AS s FROM a GROUP BY k, TUMBLE(INTERVAL '100' MILLISECOND) EMIT FINAL";
        let plan = planned(sql, &[relation("a", false)]);
        let close = Event { input: 0, key: Some(0), value: Some((None, 0)), list: None, time: 1_000 };
        let mut expect: Vec<Option<Told>> = expect.into_iter().map(|told| told.map(|_| vec![])).collect();
        let row = |(key, (c, s)): (&u8, &(i64, Option<i64>))| (Some(format!("k{key}|0")), json!({"k": format!("k{key}"), "c": c, "s": s}));
        expect.push(Some(groups.iter().map(row).collect()));
        let history: Vec<Event> = history.into_iter().chain([close]).collect();
        prop_assert_eq!(said(&plan, &history), expect);
    }

    #[test]
    fn a_table_shows_what_matches_and_each_change_once(history in history(1)) {
        let plan = planned("SELECT k, v FROM a WHERE v > 0", &[relation("a", true)]);
        let expect = settled(&history, |h, key| {
            let (v, _) = newest(h, 0, key)?;
            v.filter(|v| *v > 0).map(|v| json!({"k": format!("k{key}"), "v": v}))
        });
        prop_assert_eq!(said(&plan, &history), expect);
    }

    #[test]
    fn a_stream_looks_up_the_table_as_it_stands(history in history(2)) {
        for (join, inner) in [("JOIN", true), ("LEFT JOIN", false)] {
            let sql = format!("SELECT a.n AS n, b.v AS v FROM a {join} b ON a.k = b.k");
            let plan = planned(&sql, &[relation("a", false), relation("b", true)]);
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                if e.input == 1 {
                    return e.key.map(|_| vec![]);
                }
                let (_, n) = e.value?;
                let found = e.key.and_then(|k| newest(&history[..i], 1, k));
                let row = json!({"n": n, "v": found.and_then(|(v, _)| v)});
                Some(if found.is_none() && inner { vec![] } else { vec![(e.key.map(|k| format!("k{k}")), row)] })
            }).collect();
            prop_assert_eq!(said(&plan, &history), expect);
        }
    }

    #[test]
    fn tables_merge_on_their_key(history in history(3)) {
        for (first, second) in [("JOIN", "JOIN"), ("LEFT JOIN", "JOIN"), ("FULL JOIN", "LEFT JOIN"), ("LEFT JOIN", "FULL JOIN"), ("JOIN", "FULL JOIN"), ("FULL JOIN", "FULL JOIN"), ("FULL JOIN", "JOIN")] {
            let sql = format!("SELECT a.v AS x, b.n AS y, c.n AS z FROM a {first} b ON a.k = b.k {second} c ON c.k = a.k");
            let plan = planned(&sql, &[relation("a", true), relation("b", true), relation("c", true)]);
            // Two tables at a time, as SQL reads: a row is what each side shows, or nothing.
            type Row = Option<[Option<(Option<i64>, i32)>; 3]>;
            let join = |left: Row, right: Option<(Option<i64>, i32)>, at: usize, how: &str| -> Row {
                match (left, right, how) {
                    (Some(mut row), Some(right), _) => {
                        row[at] = Some(right);
                        Some(row)
                    }
                    (Some(row), None, "LEFT JOIN" | "FULL JOIN") => Some(row),
                    (None, Some(right), "FULL JOIN") => {
                        let mut row = [None; 3];
                        row[at] = Some(right);
                        Some(row)
                    }
                    _ => None,
                }
            };
            let expect = settled(&history, |h, key| {
                let a = newest(h, 0, key).map(|a| [Some(a), None, None]);
                let row = join(join(a, newest(h, 1, key), 1, first), newest(h, 2, key), 2, second)?;
                Some(json!({"x": row[0].and_then(|r| r.0), "y": row[1].map(|r| r.1), "z": row[2].map(|r| r.1)}))
            });
            prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
        }
    }

    #[test]
    fn aggregates_are_those_of_all_rows(history in history(1)) {
        let sql = "SELECT k, COUNT(*) AS c, COUNT(v) AS d, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, COUNT(DISTINCT v) AS u,
                   AVG(n) AS m, LATEST_BY_OFFSET(v) AS last, EARLIEST_BY_OFFSET(v) AS first, COLLECT_LIST(n) AS l, COLLECT_SET(v) AS e, TOPK(v, 2) AS t
                   FROM a WHERE n < 2 GROUP BY k HAVING COUNT(*) > 1";
        let plan = planned(sql, &[relation("a", false)]);
        let mut expect = settled(&history, |h, key| {
            let rows: Vec<_> = h.iter().filter(|e| e.key == Some(key)).filter_map(|e| e.value).filter(|(_, n)| *n < 2).collect();
            let v: Vec<i64> = rows.iter().filter_map(|(v, _)| *v).collect();
            let mut sorted = v.clone();
            sorted.sort_by(|a, b| b.cmp(a));
            let top: Vec<_> = sorted.iter().take(2).copied().collect();
            sorted.dedup();
            // A set is in the order of its values as Avro writes them: 0, -1, 1, -2, ...
            let mut each = sorted.clone();
            each.sort_by_key(|v| v << 1 ^ v >> 63);
            let n: Vec<i32> = rows.iter().map(|(_, n)| *n).collect();
            (rows.len() > 1).then(|| json!({
                "k": format!("k{key}"), "c": rows.len(), "d": v.len(), "s": (!v.is_empty()).then(|| v.iter().sum::<i64>()),
                "lo": v.iter().min(), "hi": v.iter().max(), "u": sorted.len(),
                "m": f64::from(n.iter().sum::<i32>()) / n.len() as f64,
                "last": v.last(), "first": v.first(), "l": n, "e": each, "t": top,
            }))
        });
        for (event, expect) in history.iter().zip(&mut expect) {
            // A stream has no tombstones; without a key there is no group.
            *expect = event.value.map(|_| expect.take().unwrap_or_default());
        }
        prop_assert_eq!(said(&plan, &history), expect);
    }
}
