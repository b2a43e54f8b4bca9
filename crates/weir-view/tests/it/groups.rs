//! Groups by any field, of streams, tables and joins, against an oracle that keeps the rows of every group.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::oracle::{Event, Told, history, newest, numbered, planned, relation, said, said_and_put_aside};

/// What the aggregates of these tests say of the values of a group, in the order they came in.
fn row(group: &str, key: Json, values: &[Option<i64>]) -> Json {
    let v: Vec<i64> = values.iter().flatten().copied().collect();
    let mut best = v.clone();
    best.sort_by(|a, b| b.cmp(a));
    let top: Vec<i64> = best.iter().take(2).copied().collect();
    best.dedup();
    let mean = (!v.is_empty()).then(|| v.iter().sum::<i64>() as f64 / v.len() as f64);
    // To four digits: what was added and taken off again leaves the last ones.
    let deviation = mean.filter(|_| v.len() > 1).map(|mean| {
        let squares: f64 = v.iter().map(|v| (*v as f64 - mean).powi(2)).sum();
        ((squares / (v.len() - 1) as f64).sqrt() * 10_000.0).round() / 10_000.0
    });
    json!({
        group: key, "sd": deviation, "c": values.len(), "d": v.len(), "s": (!v.is_empty()).then(|| v.iter().sum::<i64>()), "m": mean,
        "lo": v.iter().min(), "hi": v.iter().max(), "u": best.len(), "t": top, "l": v,
    })
}

const AGGREGATES: &str = "COUNT(*) AS c, COUNT(v) AS d, SUM(v) AS s, AVG(v) AS m, MIN(v) AS lo, MAX(v) AS hi,
    ROUND(STDDEV(v), 4) AS sd, COUNT(DISTINCT v) AS u, TOPK(v, 2) AS t, COLLECT_LIST(v) AS l";

/// A field of each side of a join.
type Pair = (Option<i64>, Option<i64>);
/// The groups of a join by the text of their key.
type Pairs = BTreeMap<String, (Json, Vec<Pair>)>;

/// The groups of a table and what is said of them, as rows go out and come in.
struct Groups<'g> {
    group: &'g str,
    least: usize,
    all: BTreeMap<String, (Json, Vec<Option<i64>>)>,
}

impl Groups<'_> {
    fn shown(&self, key: &str) -> Json {
        match self.all.get(key) {
            Some((json, values)) if values.len() >= self.least => row(self.group, json.clone(), values),
            _ => Json::Null,
        }
    }

    /// What is said when a row goes from one group to another.
    fn change(&mut self, old: Option<(Json, Option<i64>)>, new: Option<(Json, Option<i64>)>) -> Told {
        let text = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
        let mut told = Vec::new();
        let keys: Vec<String> = [&old, &new].into_iter().flatten().map(|(key, _)| text(key)).collect();
        let together = keys.len() == 2 && keys[0] == keys[1];
        let was = keys.first().map(|key| self.shown(key));
        if old == new {
            return told;
        }
        if let Some((key, v)) = old {
            let values = &mut self.all.get_mut(&text(&key)).unwrap().1;
            let place = values.iter().position(|known| *known == v).unwrap();
            values.remove(place);
            if values.is_empty() {
                self.all.remove(&text(&key));
            }
            if !together && was != Some(self.shown(&text(&key))) {
                told.push((Some(text(&key)), self.shown(&text(&key))));
            }
        }
        if let Some((key, v)) = new {
            let before = if together { was.unwrap_or_default() } else { self.shown(&text(&key)) };
            self.all.entry(text(&key)).or_insert_with(|| (key.clone(), vec![])).1.push(v);
            if before != self.shown(&text(&key)) {
                told.push((Some(text(&key)), self.shown(&text(&key))));
            }
        }
        told
    }
}

/// The row of a key in a table that a condition holds for, before and after an event.
fn step<T>(history: &[Event], i: usize, key: u8, of: impl Fn(&[Event], u8) -> T) -> (T, T) {
    (of(&history[..i], key), of(&history[..=i], key))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_table_is_summed_up_by_its_key_and_by_others(history in history(1)) {
        for (group, least) in [("k", 1), ("n", 1), ("n", 2)] {
            let sql = format!("SELECT {group}, {AGGREGATES} FROM a WHERE n < 2 OR v > 0 GROUP BY {group} HAVING COUNT(*) >= {least}");
            let plan = planned(&sql, &[relation("a", true)]);
            assert_eq!(plan.stages().len(), if group == "k" { 1 } else { 2 });
            let mut groups = Groups { group, least, all: BTreeMap::new() };
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let key = e.key?;
                let of = |h: &[Event], key| {
                    let (v, n) = newest(h, 0, key).filter(|(v, n)| *n < 2 || v.is_some_and(|v| v > 0))?;
                    Some((if group == "k" { json!(format!("k{key}")) } else { json!(n) }, v))
                };
                let (old, new) = step(&history, i, key, of);
                Some(groups.change(old, new))
            }).collect();
            prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
        }
    }

    #[test]
    fn a_stream_is_summed_up_by_any_field(history in history(1)) {
        let sql = format!("SELECT n, {AGGREGATES} FROM a WHERE v > -2 OR v IS NULL GROUP BY n");
        let plan = planned(&sql, &[relation("a", false)]);
        let mut groups = Groups { group: "n", least: 1, all: BTreeMap::new() };
        let expect: Vec<Option<Told>> = history.iter().map(|e| {
            let (v, n) = e.value?;
            Some(if v.is_none_or(|v| v > -2) { groups.change(None, Some((json!(n), v))) } else { vec![] })
        }).collect();
        prop_assert_eq!(said(&plan, &history), expect);
    }

    #[test]
    fn an_argument_that_fails_is_a_fault_of_its_record(history in history(1)) {
        for table in [false, true] {
            let sql = "SELECT v, SUM(6 / n) AS s FROM a GROUP BY v";
            let plan = planned(sql, &[relation("a", table)]);
            let mut rows: BTreeMap<u8, (Option<i64>, i64)> = BTreeMap::new();
            let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
            let mut expect: Vec<Option<Told>> = Vec::new();
            for e in &history {
                let new = match e.value {
                    Some((_, 0)) => { expect.push(None); continue }
                    Some((v, n)) => Some((v, i64::from(6 / n))),
                    None => None,
                };
                if if table { e.key.is_none() } else { new.is_none() } {
                    expect.push(None);
                    continue;
                }
                let old = match (table, new) {
                    (false, _) => None,
                    (true, Some(new)) => rows.insert(e.key.unwrap(), new),
                    (true, None) => rows.remove(&e.key.unwrap()),
                };
                let mut told: Told = Vec::new();
                if old != new {
                    let was: Vec<Option<(i64, i64)>> = [old, new].iter().map(|r| sums.get(&(*r)?.0?).copied()).collect();
                    if let Some((Some(v), s)) = old {
                        let sum = sums.get_mut(&v).unwrap();
                        *sum = (sum.0 - 1, sum.1 - s);
                        if sum.0 == 0 {
                            sums.remove(&v);
                        }
                    }
                    let show = |sums: &BTreeMap<i64, (i64, i64)>, v: i64| sums.get(&v).map_or(Json::Null, |s| json!({"v": v, "s": s.1}));
                    let (from, to) = (old.and_then(|r| r.0), new.and_then(|r| r.0));
                    if let Some(v) = from.filter(|v| to != Some(*v))
                        && sums.get(&v).map(|s| s.1) != was[0].map(|s| s.1)
                    {
                        told.push((Some(v.to_string()), show(&sums, v)));
                    }
                    if let Some((Some(v), s)) = new {
                        let sum = sums.entry(v).or_default();
                        *sum = (sum.0 + 1, sum.1 + s);
                        if was[1].map(|w| w.1) != Some(sum.1) {
                            told.push((Some(v.to_string()), show(&sums, v)));
                        }
                    }
                }
                expect.push(Some(told));
            }
            prop_assert_eq!(said(&plan, &history), expect, "{}", table);
        }
    }

    /// What one stage has put in another takes out again, whether or not the row of the group can be said meanwhile.
    #[test]
    fn a_sum_out_of_range_is_not_shown_until_it_fits(history in history(1)) {
        let great = |v: i64| [i64::MIN, i64::MIN / 2, -1, 0, 1, i64::MAX / 2, i64::MAX][(v + 3) as usize];
        let history: Vec<Event> =
            history.iter().map(|e| Event { value: e.value.map(|(v, n)| (v.map(great), n)), ..e.clone() }).collect();
        let plan = planned("SELECT n, SUM(v) AS s FROM a GROUP BY n", &[relation("a", true)]);
        let shown = |h: &[Event], n: i32| {
            let rows: Vec<_> = (0..3).filter_map(|key| newest(h, 0, key)).filter(|row| row.1 == n).collect();
            let sum = rows.iter().filter_map(|row| row.0).map(i128::from).reduce(|a, b| a + b);
            let s = match sum {
                Some(sum) => Some(i64::try_from(sum).ok()?),
                None => None,
            };
            (!rows.is_empty()).then(|| json!({"n": n, "s": s}))
        };
        let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
            let (old, new) = step(&history, i, e.key?, |h, key| newest(h, 0, key).map(|row| row.1));
            let mut groups: Vec<i32> = old.into_iter().chain(new).collect();
            groups.dedup();
            let told = groups.into_iter().filter_map(|n| {
                let (was, now) = (shown(&history[..i], n), shown(&history[..=i], n));
                (was != now).then(|| (Some(n.to_string()), now.unwrap_or(Json::Null)))
            });
            Some(told.collect())
        }).collect();
        // It is put aside once, when the group begins to have no row, with the change that made it so.
        let out_of_range = |h: &[Event], n: i32| (0..3).any(|key| newest(h, 0, key).is_some_and(|row| row.1 == n)) && shown(h, n).is_none();
        let begins = (0..history.len()).filter(|i| history[*i].key.is_some());
        let begins = begins.flat_map(|i| {
            let begin = (0..3).filter(|n| !out_of_range(&history[..i], *n) && out_of_range(&history[..=i], *n));
            vec![i; begin.count()]
        });
        let (told, undefined) = said_and_put_aside(&plan, &history);
        prop_assert_eq!(told, expect);
        prop_assert_eq!(undefined.iter().map(|(i, _)| *i).collect::<Vec<_>>(), begins.collect::<Vec<_>>());
        prop_assert!(undefined.iter().all(|(_, row)| row.of == weir_view::Of::Group && row.reason.starts_with("the row of the group: ")));
    }

    #[test]
    fn joins_are_summed_up(history in history(2)) {
        for (join, group) in [("JOIN", "a.k"), ("JOIN", "b.n"), ("LEFT JOIN", "b.n"), ("FULL JOIN", "b.n"), ("FULL JOIN", "COALESCE(a.k, b.k)")] {
            let sql = format!("SELECT {group} AS g, COUNT(*) AS c, COUNT(a.v) AS d, SUM(b.v) AS s FROM a {join} b ON a.k = b.k GROUP BY {group}");
            let plan = planned(&sql, &[relation("a", true), relation("b", true)]);
            type Side = Option<(Option<i64>, i32)>;
            let mut groups: Pairs = BTreeMap::new();
            let of = |h: &[Event], key: u8| -> Option<(Json, Pair)> {
                let (a, b): (Side, Side) = (newest(h, 0, key), newest(h, 1, key));
                let there = match join {
                    "JOIN" => a.is_some() && b.is_some(),
                    "LEFT JOIN" => a.is_some(),
                    _ => a.is_some() || b.is_some(),
                };
                let group = if group == "b.n" { json!(b?.1) } else { json!(format!("k{key}")) };
                there.then(|| (group, (a.and_then(|a| a.0), b.and_then(|b| b.0))))
            };
            let shown = |groups: &Pairs, key: &str| groups.get(key).map_or(Json::Null, |(g, rows)| {
                let s: Vec<i64> = rows.iter().filter_map(|r| r.1).collect();
                json!({"g": g, "c": rows.len(), "d": rows.iter().filter(|r| r.0.is_some()).count(), "s": (!s.is_empty()).then(|| s.iter().sum::<i64>())})
            });
            let text = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let key = e.key?;
                let (old, new) = step(&history, i, key, of);
                let mut told: Told = Vec::new();
                let mut keys: Vec<String> = [&old, &new].into_iter().flatten().map(|(g, _)| text(g)).collect();
                keys.dedup();
                let was: Vec<Json> = keys.iter().map(|key| shown(&groups, key)).collect();
                if old != new {
                    if let Some((g, row)) = old {
                        let rows = &mut groups.get_mut(&text(&g)).unwrap().1;
                        let place = rows.iter().position(|r| *r == row).unwrap();
                        rows.remove(place);
                        if rows.is_empty() {
                            groups.remove(&text(&g));
                        }
                    }
                    if let Some((g, row)) = new {
                        groups.entry(text(&g)).or_insert_with(|| (g, vec![])).1.push(row);
                    }
                    for (key, was) in keys.into_iter().zip(was) {
                        let now = shown(&groups, &key);
                        if was != now {
                            told.push((Some(key), now));
                        }
                    }
                }
                Some(told)
            }).collect();
            prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
        }
    }

    #[test]
    fn a_stream_meets_tables_by_any_field(history in history(2)) {
        for (join, inner) in [("JOIN", true), ("LEFT JOIN", false)] {
            let sql = format!("SELECT a.k AS k, a.n AS n, b.v AS v FROM a {join} b ON a.n = b.n");
            let plan = planned(&sql, &[relation("a", false), numbered("b", true)]);
            prop_assert_eq!(plan.stages().len(), 2);
            prop_assert_eq!(&plan.output.key, &["n"]);
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                if e.input == 1 {
                    return e.key.map(|_| vec![]);
                }
                let (_, n) = e.value?;
                let found = newest(&history[..i], 1, n as u8);
                let k = e.key.map(|k| format!("k{k}")).unwrap_or_default();
                let row = json!({"k": k, "n": n, "v": found.and_then(|(v, _)| v)});
                Some(if found.is_none() && inner { vec![] } else { vec![(Some(n.to_string()), row)] })
            }).collect();
            prop_assert_eq!(said(&plan, &history), expect);
        }
    }

    #[test]
    fn a_stream_meets_each_table_by_its_own_field(history in history(3)) {
        for (first, second) in [("JOIN", "JOIN"), ("LEFT JOIN", "LEFT JOIN"), ("LEFT JOIN", "JOIN"), ("JOIN", "LEFT JOIN")] {
            for (sql, own) in [
                // By its own key, then by another; by another, then by a field of what it has met.
                (format!("SELECT a.v AS x, b.v AS y, c.v AS z FROM a {first} b ON a.k = b.k {second} c ON a.n = c.n"), true),
                (format!("SELECT a.v AS x, c.v AS z, b.v AS y FROM a {first} c ON a.n = c.n {second} b ON c.k = b.k"), false),
            ] {
                let plan = planned(&sql, &[relation("a", false), relation("b", true), numbered("c", true)]);
                let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                    if e.input != 0 {
                        return e.key.map(|_| vec![]);
                    }
                    let (v, n) = e.value?;
                    let (b, c) = if own { (1, 2) } else { (2, 1) };
                    let found = |input: usize, key: Option<u8>| key.and_then(|key| newest(&history[..i], input, key));
                    let c = found(c, Some(n as u8));
                    // A row of c says of itself what its key is: its field k is the text of the number.
                    let b = if own { found(b, e.key) } else { None };
                    let (one, two) = if own { (b, c) } else { (c, b) };
                    if (first == "JOIN" && one.is_none()) || (second == "JOIN" && two.is_none()) {
                        return Some(vec![]);
                    }
                    let key = if own { Some(n.to_string()) } else { c.map(|_| n.to_string()) };
                    Some(vec![(key, json!({"x": v, "y": b.and_then(|b| b.0), "z": c.and_then(|c| c.0)}))])
                }).collect();
                let said: Vec<Option<Told>> = said(&plan, &history);
                prop_assert_eq!(said, expect, "{}", sql);
            }
        }
    }
}

/// Past 1000 distinct values of a group the best are known, until the last of them has gone.
#[test]
fn what_is_held_of_a_table_is_bounded() {
    let sql = "SELECT n, MIN(v) AS lo, COUNT(DISTINCT v) AS u, COUNT(*) AS c FROM a GROUP BY n";
    let plan = planned(sql, &[relation("a", true)]);
    let rows = (0..1_005).map(|i| (i, Some(i))).chain((0..1_005).map(|i| (i, None)));
    let mut flow = weir_view::Flow::new(&plan).unwrap();
    let mut last = Vec::new();
    struct Seen<'s>(&'s mut Vec<Option<Vec<u8>>>);
    impl weir_view::Emit for Seen<'_> {
        fn emit(&mut self, output: weir_view::Output<'_>) {
            self.0.push(output.value.map(<[u8]>::to_vec));
        }
    }
    for (key, value) in rows {
        let schema = &plan.inputs[0].schema;
        let row = value.map(|v| {
            let row = json!({"k": "", "v": v, "n": 1, "l": null});
            weir_avro::from_json(schema, &row, weir_avro::JsonForm::Plain).unwrap()
        });
        let key = key.to_string();
        let record = weir_view::Record {
            key: Some(key.as_bytes()),
            value: row.as_deref(),
            time: 0,
            partition: 0,
            offset: 0,
            headers: &[],
        };
        flow.process("a", &record, &mut Seen(&mut last)).unwrap();
    }
    let json: Vec<Json> = last
        .iter()
        .map(|v| match v {
            Some(v) => weir_avro::to_json(&plan.output.schema, v, weir_avro::JsonForm::Plain).unwrap(),
            None => Json::Null,
        })
        .collect();
    assert_eq!(json[1_004], json!({"n": 1, "lo": 0, "u": 1_000, "c": 1_005}));
    // Five rows are left, and none of them was held; nothing better is known.
    let five = json.iter().skip(1_005).find(|row| row["c"] == 5).unwrap();
    assert_eq!(*five, json!({"n": 1, "lo": null, "u": 0, "c": 5}));
    assert_eq!(*json.last().unwrap(), Json::Null);
    assert!(plan.notes.iter().any(|note| note.contains("MIN holds the best 1000")), "{:?}", plan.notes);
}
