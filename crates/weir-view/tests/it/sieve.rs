//! One look at a record says of many views whom it concerns; whom it does not, it would have told nothing.

use proptest::prelude::*;
use weir_view::{Emit, Fault, Memory, Output, Record, Sieve};

use super::oracle::{datum, history, planned, relation, said, text};

const CONDITIONS: [&str; 12] = [
    "v >= 1",
    "v = 2",
    "v <> 2",
    "n < 2 AND v > -2",
    "v IS NULL",
    "NOT (v > 0)",
    "v > 0 OR n = 1",
    "2 > v",
    "k = 'k1'",
    "k <> 'k1' AND v IS NOT NULL",
    "10 / n > 3",
    "v + n > 1",
];

#[derive(Default)]
struct Count(usize);

impl Emit for Count {
    fn emit(&mut self, _: Output<'_>) {
        self.0 += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whom_a_record_does_not_concern_it_tells_nothing(history in history(1)) {
        let source = relation("a", false);
        let all = std::slice::from_ref(&source);
        let plan = |c: &&str| planned(&format!("SELECT k, v FROM a WHERE {c}"), all);
        let mut plans: Vec<_> = CONDITIONS.iter().map(plan).collect();
        plans.push(planned("SELECT k, v FROM a", all));
        let mut tasks: Vec<_> = plans.iter().map(|plan| plan.task().unwrap()).collect();
        let mut sieve = Sieve::new(&source, &tasks.iter().map(weir_view::Task::condition).collect::<Vec<_>>()).unwrap();
        for (i, event) in history.iter().enumerate() {
            let (key, value) = (text(event), datum(&source, event));
            let record = Record {
                key: key.as_deref().map(str::as_bytes),
                value: value.as_deref(),
                time: event.time,
                partition: 0,
                offset: i as i64,
                headers: &[],
            };
            let looked = sieve.look(&record);
            prop_assert_eq!(looked.time, None);
            for (n, task) in tasks.iter_mut().enumerate() {
                let mut told = Count::default();
                let done = task.process(0, &record, &mut Memory::default(), &mut told);
                let says = told.0 > 0 || matches!(done, Err(Fault::Record(_)));
                prop_assert_eq!(looked.concerns & (1 << n) != 0, says || n == CONDITIONS.len(), "{} {:?}", n, event);
            }
        }
    }

    /// A condition that is decided from the slots holds where its value is true, and fails where it has none.
    #[test]
    fn a_condition_holds_where_its_value_is_true(history in history(1)) {
        let source = [relation("a", false)];
        for condition in CONDITIONS {
            let shown = said(&planned(&format!("SELECT {condition} AS c FROM a"), &source), &history);
            let kept = said(&planned(&format!("SELECT k FROM a WHERE {condition}"), &source), &history);
            let holds = |told: &Option<Vec<(Option<String>, serde_json::Value)>>| {
                told.as_ref().map(|told| told.iter().any(|(_, row)| row["c"] == true))
            };
            let shown: Vec<_> = shown.iter().map(holds).collect();
            let kept: Vec<_> = kept.iter().map(|told| told.as_ref().map(|told| !told.is_empty())).collect();
            prop_assert_eq!(shown, kept, "{}", condition);
        }
    }
}
