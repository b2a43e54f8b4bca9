//! Sessions over random histories, against an oracle that keeps the values of every session.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::oracle::{Told, history, planned, relation, said};

/// A session: its key, its first and last time, and the offset and value of each record.
#[derive(Clone)]
struct Session {
    key: u8,
    start: i64,
    end: i64,
    rows: Vec<(usize, Option<i64>)>,
}

impl Session {
    fn told(&self) -> (Option<String>, Json) {
        let all: Vec<(usize, i64)> = self.rows.iter().filter_map(|(i, v)| Some((*i, (*v)?))).collect();
        let v: Vec<i64> = all.iter().map(|(_, v)| *v).collect();
        let mut best = v.clone();
        best.sort_by(|a, b| b.cmp(a));
        let top: Vec<i64> = best.iter().take(2).copied().collect();
        best.dedup();
        let at = |t: i64| format!("1970-01-01T00:00:00{}Z", if t == 0 { String::new() } else { format!(".{t:03}") });
        let row = json!({
            "k": format!("k{}", self.key), "window_start": at(self.start), "window_end": at(self.end),
            "c": self.rows.len(), "s": (!v.is_empty()).then(|| v.iter().sum::<i64>()), "lo": v.iter().min(), "hi": v.iter().max(),
            "u": best.len(), "t": top, "l": v, "last": all.iter().max().map(|r| r.1), "first": all.iter().min().map(|r| r.1),
            "m": (!v.is_empty()).then(|| v.iter().sum::<i64>() as f64 / v.len() as f64),
        });
        (Some(format!("k{}|{}", self.key, self.start)), row)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sessions_grow_and_merge_until_they_close(history in history(1)) {
        for (gap, grace, last) in [(3, 0, false), (3, 10, false), (2, 40, false), (4, 5, true), (1, 0, true)] {
            let emit = if last { "FINAL" } else { "CHANGES" };
            let sql = format!(
                "SELECT k, window_start, window_end, COUNT(*) AS c, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, COUNT(DISTINCT v) AS u, TOPK(v, 2) AS t,
                 COLLECT_LIST(v) AS l, LATEST_BY_OFFSET(v) AS last, EARLIEST_BY_OFFSET(v) AS first, AVG(v) AS m
                 FROM a GROUP BY k, SESSION(INTERVAL '{gap}' MILLISECOND, GRACE => INTERVAL '{grace}' MILLISECOND) EMIT {emit}"
            );
            let plan = planned(&sql, &[relation("a", false)]);
            let (mut now, mut open): (i64, Vec<Session>) = (i64::MIN, vec![]);
            let mut expect: Vec<Option<Told>> = Vec::new();
            for (i, event) in history.iter().enumerate() {
                let Some((v, _)) = event.value else {
                    expect.push(None);
                    continue;
                };
                let Some(key) = event.key else {
                    expect.push(Some(vec![]));
                    continue;
                };
                now = now.max(event.time);
                let mut told: Told = Vec::new();
                let near = |s: &Session| s.key == key && s.start <= event.time + gap && s.end >= event.time - gap;
                let mut old: Vec<Session> = open.iter().filter(|s| near(s)).cloned().collect();
                old.sort_by_key(|s| s.start);
                let mut new = Session { key, start: event.time, end: event.time, rows: vec![] };
                for session in &old {
                    (new.start, new.end) = (new.start.min(session.start), new.end.max(session.end));
                    new.rows.extend(&session.rows);
                }
                new.rows.push((i, v));
                if new.end + gap + grace >= now {
                    open.retain(|s| !near(s));
                    if !last {
                        told.extend(old.iter().filter(|s| s.start != new.start).map(|s| (s.told().0, Json::Null)));
                        told.push(new.told());
                    }
                    open.push(new);
                }
                let mut closed: Vec<Session> = open.iter().filter(|s| s.end + gap + grace < now).cloned().collect();
                open.retain(|s| s.end + gap + grace >= now);
                closed.sort_by_key(|s| (s.end, s.key, s.start));
                if last {
                    told.extend(closed.iter().map(Session::told));
                }
                expect.push(Some(told));
            }
            prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
        }
    }
}
