//! Windows over random histories, against an oracle that keeps the values of every window: rows that have no value.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use weir_view::Of;

use super::oracle::{Told, history, planned, relation, said_and_put_aside, text};

/// A time as the JSON of a row has it.
fn at(ms: i64) -> String {
    let whole = Timestamp::from_second(ms.div_euclid(1_000)).unwrap().to_string();
    match ms.rem_euclid(1_000) {
        0 => whole,
        part => whole.replace('Z', &format!(".{part:03}Z")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    /// Nobody is at fault: the row lies in the quarantine as far as there is one, and the others are said.
    #[test]
    fn the_row_of_a_window_that_has_no_value_is_put_aside(history in history(1)) {
        for (columns, what) in [("10 / SUM(n) AS q FROM a", "q"), ("SUM(n) AS q FROM a", "WHERE")] {
            let having = if what == "q" { "" } else { " HAVING 10 / SUM(n) > 4" };
            let sql = format!("SELECT k, {columns} GROUP BY k, TUMBLE(INTERVAL '10' MILLISECOND){having} EMIT FINAL");
            let plan = planned(&sql, &[relation("a", false)]);
            let (mut now, mut open, mut lost) = (i64::MIN, BTreeMap::<(i64, String), i64>::new(), Vec::new());
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let (_, n) = e.value?;
                let Some(key) = text(e) else { return Some(vec![]) };
                now = now.max(e.time);
                let start = e.time.div_euclid(10) * 10;
                if start + 10 > now {
                    *open.entry((start, key)).or_default() += i64::from(n);
                }
                let mut told = Vec::new();
                while let Some(first) = open.first_entry() && first.key().0 + 10 <= now {
                    let ((start, key), sum) = first.remove_entry();
                    let shown = format!("{key}|{start}");
                    match 10_i64.checked_div(sum) {
                        None => {
                            let row = json!({"k0": key, "window_start": at(start), "window_end": at(start + 10), "a0": sum});
                            lost.push((i, shown, row, start));
                        }
                        Some(q) if what == "q" => told.push((Some(shown), json!({"k": key, "q": q}))),
                        Some(q) if q > 4 => told.push((Some(shown), json!({"k": key, "q": sum}))),
                        Some(_) => {}
                    }
                }
                Some(told)
            }).collect();
            let (told, undefined) = said_and_put_aside(&plan, &history);
            prop_assert_eq!(told, expect, "{}", sql);
            prop_assert_eq!(undefined.len(), lost.len());
            for ((i, row), (by, key, shown, start)) in undefined.into_iter().zip(lost) {
                prop_assert_eq!(i, by);
                let from = Timestamp::from_millisecond(start).unwrap();
                let reason = format!("the row of the window from {from}, which has closed: {what}: division by zero");
                prop_assert!(row.reason.starts_with(&reason), "{}", row.reason);
                let Of::Row { key: found, row, time } = row.of else { panic!("{:?}", row.of) };
                let row: Json = serde_json::from_str(&row.unwrap()).unwrap();
                prop_assert_eq!((found, row, time), (key.into_bytes(), shown, start + 9));
            }
        }
    }
}
