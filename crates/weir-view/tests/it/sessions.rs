//! Sessions over random histories, against an oracle that keeps the values of every session.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::oracle::{Told, history, planned, relation, said, text};
use super::windows::{HAVING, Having, at, sum};

/// A session: its group, its first and last time, and the offset and value of each record.
#[derive(Clone)]
pub(crate) struct Session {
    group: Json,
    key: String,
    start: i64,
    end: i64,
    rows: Vec<(usize, Option<i64>)>,
    /// What was said of it last.
    shown: Option<Json>,
}

impl Session {
    fn values(&self) -> Vec<Option<i64>> {
        self.rows.iter().map(|(_, v)| *v).collect()
    }

    fn shown_key(&self) -> Option<String> {
        Some(format!("{}|{}", self.key, self.start))
    }

    /// Its row as [`Windows`](super::windows::Windows) have them.
    pub(crate) fn row(&self) -> Json {
        let values = self.values();
        json!({"g": self.group, "f": at(self.start), "t": at(self.end), "c": values.len(), "s": sum(&values)})
    }

    /// Its row with every aggregate.
    fn whole_row(&self) -> Json {
        let all: Vec<(usize, i64)> = self.rows.iter().filter_map(|(i, v)| Some((*i, (*v)?))).collect();
        let v: Vec<i64> = all.iter().map(|(_, v)| *v).collect();
        let mut best = v.clone();
        best.sort_by(|a, b| b.cmp(a));
        let top: Vec<i64> = best.iter().take(2).copied().collect();
        best.dedup();
        json!({
            "k": self.group, "window_start": at(self.start), "window_end": at(self.end),
            "c": self.rows.len(), "s": sum(&self.values()), "lo": v.iter().min(), "hi": v.iter().max(),
            "u": best.len(), "t": top, "l": v, "last": all.iter().max().map(|r| r.1), "first": all.iter().min().map(|r| r.1),
            "m": (!v.is_empty()).then(|| v.iter().sum::<i64>() as f64 / v.len() as f64),
        })
    }
}

/// Sessions that keep every record until they close.
pub(crate) struct Sessions {
    pub gap: i64,
    pub grace: i64,
    pub last: bool,
    pub having: Having,
    pub row: fn(&Session) -> Json,
    pub now: i64,
    pub open: Vec<Session>,
}

impl Sessions {
    /// Takes a row of a group at its offset, and says what comes of it.
    pub(crate) fn take(&mut self, offset: usize, group: Json, value: Option<i64>, time: i64) -> Told {
        let Sessions { gap, grace, last, having, row, .. } = *self;
        let key = group.as_str().map_or_else(|| group.to_string(), str::to_owned);
        let shown = |s: &Session| having.1(&s.values()).then(|| row(s));
        self.now = self.now.max(time);
        let mut told: Told = Vec::new();
        let near = |s: &Session| s.key == key && s.start <= time + gap && s.end >= time - gap;
        let mut old: Vec<Session> = self.open.iter().filter(|s| near(s)).cloned().collect();
        old.sort_by_key(|s| s.start);
        let mut new = Session { group, key: key.clone(), start: time, end: time, rows: vec![], shown: None };
        for session in &old {
            (new.start, new.end) = (new.start.min(session.start), new.end.max(session.end));
            new.rows.extend(&session.rows);
            if new.start == session.start {
                new.shown = session.shown.clone();
            }
        }
        new.rows.push((offset, value));
        if new.end + gap + grace >= self.now {
            self.open.retain(|s| !near(s));
            if !last {
                let gone = old.iter().filter(|s| s.start != new.start && s.shown.is_some());
                told.extend(gone.map(|s| (s.shown_key(), Json::Null)));
                let row = shown(&new);
                if row != new.shown {
                    told.push((new.shown_key(), row.clone().unwrap_or(Json::Null)));
                }
                new.shown = row;
            }
            self.open.push(new);
        }
        let mut closed: Vec<Session> = self.open.iter().filter(|s| s.end + gap + grace < self.now).cloned().collect();
        self.open.retain(|s| s.end + gap + grace >= self.now);
        closed.sort_by_key(|s| (s.end, s.key.len(), s.key.clone(), s.start));
        if last {
            told.extend(closed.iter().filter_map(|s| Some((s.shown_key(), shown(s)?))));
        }
        told
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sessions_grow_and_merge_until_they_close(history in history(1), having in 0usize..3) {
        let having = HAVING[having];
        for (gap, grace, last) in [(3, 0, false), (3, 10, false), (2, 40, false), (4, 5, true), (1, 0, true)] {
            let emit = if last { "FINAL" } else { "CHANGES" };
            let sql = format!(
                "SELECT k, window_start, window_end, COUNT(*) AS c, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, COUNT(DISTINCT v) AS u, TOPK(v, 2) AS t,
                 COLLECT_LIST(v) AS l, LATEST_BY_OFFSET(v) AS last, EARLIEST_BY_OFFSET(v) AS first, AVG(v) AS m
                 FROM a GROUP BY k, SESSION(INTERVAL '{gap}' MILLISECOND, GRACE => INTERVAL '{grace}' MILLISECOND){} EMIT {emit}", having.0
            );
            let plan = planned(&sql, &[relation("a", false)]);
            let mut sessions = Sessions { gap, grace, last, having, row: Session::whole_row, now: i64::MIN, open: vec![] };
            let expect: Vec<Option<Told>> = history.iter().enumerate().map(|(i, e)| {
                let (v, _) = e.value?;
                Some(text(e).map_or(vec![], |key| sessions.take(i, json!(key), v, e.time)))
            }).collect();
            prop_assert_eq!(said(&plan, &history), expect, "{}", sql);
        }
    }
}
