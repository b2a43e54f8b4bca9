//! Groups over what joins of streams make: each row of the join is a record of the group, in the order in which it is said.

use serde_json::json;

use super::oracle::{Event, Told, planned, relation, said};

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
