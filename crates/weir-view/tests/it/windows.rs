//! Windows over random histories, against an oracle that keeps the values of every window: of a length, of the days of a
//! time zone, with a condition of what is shown, and with rows that have no value.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use weir_view::Of;

use super::oracle::{Event, Told, history, planned, relation, said, said_and_put_aside, text};

/// A condition of the values of a window.
pub(crate) type Having = (&'static str, fn(&[Option<i64>]) -> bool);

/// The first keeps everything; with the others a row that was shown may have to go again.
pub(crate) const HAVING: [Having; 3] =
    [("", |_| true), (" HAVING SUM(v) > 0", |v| sum(v) > Some(0)), (" HAVING COUNT(*) <> 2", |v| v.len() != 2)];

pub(crate) fn sum(values: &[Option<i64>]) -> Option<i64> {
    values.iter().flatten().copied().reduce(|a, b| a + b)
}

/// A time as the JSON of a row has it.
pub(crate) fn at(ms: i64) -> String {
    let whole = Timestamp::from_second(ms.div_euclid(1_000)).unwrap().to_string();
    match ms.rem_euclid(1_000) {
        0 => whole,
        part => whole.replace('Z', &format!(".{part:03}Z")),
    }
}

/// The windows of a group that are open: by their close, the length and text of the key, the start.
type Open = BTreeMap<(i64, usize, String, i64), Window>;

struct Window {
    group: Json,
    end: i64,
    values: Vec<Option<i64>>,
    shown: Option<Json>,
}

impl Window {
    fn row(&self, start: i64, having: Having) -> Option<Json> {
        let (values, from, to) = (&self.values, at(start), at(self.end));
        having.1(values).then(|| json!({"g": self.group, "f": from, "t": to, "c": values.len(), "s": sum(values)}))
    }
}

/// Windows that hold every value of their time until they close.
pub(crate) struct Windows {
    /// The start and end of all there are, in their order.
    spans: Vec<(i64, i64)>,
    grace: i64,
    last: bool,
    having: Having,
    now: i64,
    open: Open,
}

impl Windows {
    pub(crate) fn new(spans: Vec<(i64, i64)>, grace: i64, last: bool, having: Having) -> Windows {
        Windows { spans, grace, last, having, now: i64::MIN, open: BTreeMap::new() }
    }

    /// Those of a length, at every multiple of a step.
    pub(crate) fn hop(size: i64, step: i64, grace: i64, last: bool, having: Having) -> Windows {
        let starts = (-20..80).filter(|start| start % step == 0);
        Windows::new(starts.map(|start| (start, start + size)).collect(), grace, last, having)
    }

    /// The query around what makes the rows.
    pub(crate) fn sql(&self, group: &str, from: &str, v: &str, window: &str) -> String {
        let having = self.having.0.replace("(v)", &format!("({v})"));
        let emit = if self.last { "FINAL" } else { "CHANGES" };
        format!(
            "SELECT {group} AS g, window_start AS f, window_end AS t, COUNT(*) AS c, SUM({v}) AS s
             FROM {from} GROUP BY {group}, {window}{having} EMIT {emit}"
        )
    }

    /// Takes a row of a group, and says what comes of it.
    pub(crate) fn take(&mut self, group: Json, value: Option<i64>, time: i64) -> Told {
        let key = group.as_str().map_or_else(|| group.to_string(), str::to_owned);
        let mut told = Vec::new();
        self.now = self.now.max(time);
        for &(start, end) in self.spans.iter().filter(|(start, end)| *start <= time && time < *end) {
            let close = end + self.grace;
            if close <= self.now {
                continue;
            }
            let new = || Window { group: group.clone(), end, values: vec![], shown: None };
            let window = self.open.entry((close, key.len(), key.clone(), start)).or_insert_with(new);
            window.values.push(value);
            let row = window.row(start, self.having);
            if !self.last && row != window.shown {
                told.push((Some(format!("{key}|{start}")), row.clone().unwrap_or(Json::Null)));
                window.shown = row;
            }
        }
        told.extend(self.pass(time));
        told
    }

    /// Time goes on.
    pub(crate) fn pass(&mut self, time: i64) -> Told {
        self.now = self.now.max(time);
        let mut told = Vec::new();
        while let Some(first) = self.open.first_entry()
            && first.key().0 <= self.now
        {
            let ((.., key, start), window) = first.remove_entry();
            if let (true, Some(row)) = (self.last, window.row(start, self.having)) {
                told.push((Some(format!("{key}|{start}")), row));
            }
        }
        told
    }
}

const HOURS: i64 = 3_600_000;

/// When a day begins, by its number from 1970-01-01, around one after which the hours from UTC change.
fn begin(day: i64, (changes, before, after): (i64, i64, i64)) -> i64 {
    day * 24 * HOURS - if day <= changes { before } else { after } * HOURS
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn windows_hold_the_records_of_their_time_until_they_close(history in history(1), having in 0usize..3) {
        let having = HAVING[having];
        for (window, size, step, grace, last) in [
            ("TUMBLE(INTERVAL '10' MILLISECOND)", 10, 10, 0, false),
            ("TUMBLE(INTERVAL '10' MILLISECOND, GRACE => INTERVAL '5' MILLISECOND)", 10, 10, 5, true),
            ("HOP(INTERVAL '10' MILLISECOND, INTERVAL '4' MILLISECOND)", 10, 4, 0, true),
            ("HOP(INTERVAL '10' MILLISECOND, INTERVAL '5' MILLISECOND, GRACE => INTERVAL '20' MILLISECOND)", 10, 5, 20, false),
        ] {
            // By the key, by another field, and with a condition: what it rejects is still a time.
            for (group, filter) in [("k", ""), ("n", ""), ("k", " WHERE n < 2")] {
                let mut windows = Windows::hop(size, step, grace, last, having);
                let plan = planned(&windows.sql(group, &format!("a{filter}"), "v", window), &[relation("a", false)]);
                let expect: Vec<Option<Told>> = history.iter().map(|e| {
                    let (v, n) = e.value?;
                    Some(match (group, text(e)) {
                        ("n", _) => windows.take(json!(n), v, e.time),
                        (_, None) => vec![],
                        (_, Some(_)) if !filter.is_empty() && n >= 2 => windows.pass(e.time),
                        (_, Some(key)) => windows.take(json!(key), v, e.time),
                    })
                }).collect();
                prop_assert_eq!(said(&plan, &history), expect, "{} {}{}", group, window, filter);
            }
        }
    }

    /// Days of 23 and 25 hours, and a day without a midnight.
    #[test]
    fn windows_are_the_days_of_a_zone(history in history(1), having in 0usize..3) {
        let having = HAVING[having];
        for (zone, change) in [
            ("Europe/Berlin", (20_541, 1, 2)),
            ("Europe/Berlin", (20_751, 2, 1)),
            ("Africa/Cairo", (20_567, 2, 3)),
            ("Africa/Cairo", (20_755, 3, 2)),
        ] {
            let from = begin(change.0 - 1, change);
            let spread = |e: &Event| {
                let hours = e.time * 2 + e.value.map_or(0, |(_, n)| i64::from(n));
                Event { time: from + hours * HOURS - i64::from(e.time % 3 == 0), ..e.clone() }
            };
            let history: Vec<Event> = history.iter().map(spread).collect();
            for (window, size, step, grace, last) in [
                ("TUMBLE(INTERVAL '1' DAY, ", 1, 1, 0, false),
                ("TUMBLE(INTERVAL '1' DAY, GRACE => INTERVAL '5' HOUR, ", 1, 1, 5, true),
                ("TUMBLE(INTERVAL '2' DAY, ", 2, 2, 0, true),
                ("HOP(INTERVAL '3' DAY, INTERVAL '2' DAY, GRACE => INTERVAL '1' HOUR, ", 3, 2, 1, false),
            ] {
                let days = (change.0 - 8..change.0 + 8).filter(|day| day % step == 0);
                let spans = days.map(|day| (begin(day, change), begin(day + size, change))).collect();
                let mut windows = Windows::new(spans, grace * HOURS, last, having);
                let sql = windows.sql("k", "a", "v", &format!("{window}ZONE => '{zone}')"));
                let plan = planned(&sql, &[relation("a", false)]);
                let expect: Vec<Option<Told>> = history.iter().map(|e| {
                    let (v, _) = e.value?;
                    Some(text(e).map_or(vec![], |key| windows.take(json!(key), v, e.time)))
                }).collect();
                prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
            }
        }
    }

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
