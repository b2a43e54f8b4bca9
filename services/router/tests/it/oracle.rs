//! What the operators of a view make of whole logs, in one thread.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_avro::JsonForm;
use weir_view::order::{Head, Next, next};
use weir_view::{Clock, Done, Emit, Fault, Memory, Output, Record, Stage};

/// Key, datum and time of a record.
pub type Made = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// Says of what comes out of a view whether it breaks the view's contract.
pub type Breaks<'b> = &'b dyn Fn(&Value) -> bool;

/// What comes of one partition, each in the order in which it is written.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The output.
    pub made: Vec<Made>,
    /// What goes to the quarantine: records that the view cannot take, and outputs that break its contract.
    pub aside: Vec<Made>,
    /// Records whose windows had closed.
    pub late: Vec<Made>,
}

struct Collecting<'c> {
    into: Outcome,
    stage: &'c Stage,
    breaks: Breaks<'c>,
}

impl Emit for Collecting<'_> {
    fn emit(&mut self, output: Output<'_>) {
        let json = |value| weir_avro::to_json(&self.stage.output.schema, value, JsonForm::Plain).unwrap();
        let broken = output.value.is_some_and(|value| (self.breaks)(&json(value)));
        let into = if broken { &mut self.into.aside } else { &mut self.into.made };
        into.push((output.key.map(<[u8]>::to_vec), output.value.map(<[u8]>::to_vec), output.time));
    }
}

/// One thread over the whole logs of a partition, in the order of event time.
pub fn run(stage: &Stage, partition: i32, logs: &[&[Made]], breaks: Breaks<'_>) -> Outcome {
    let (mut state, mut task) = (Memory::default(), stage.task().unwrap());
    let mut out = Collecting { into: Outcome::default(), stage, breaks };
    let mut at = vec![0; logs.len()];
    let mut clocks: Vec<Option<Clock>> = stage.inputs.iter().map(|input| Clock::of(&input.relation)).collect();
    loop {
        let mut heads = Vec::new();
        for (i, log) in logs.iter().enumerate() {
            let time = log.get(at[i]).map(|(_, datum, own)| {
                let clock = clocks[i].as_mut().zip(datum.as_ref());
                clock.and_then(|(clock, datum)| clock.time_of(datum)).unwrap_or(*own)
            });
            heads.push(Head { time, lag: false });
        }
        let Next::Take(input) = next(&heads, true) else { return out.into };
        let record = &logs[input][at[input]];
        let (key, value, _) = record;
        let offset = at[input] as i64;
        at[input] += 1;
        let (key, value, time) = (key.as_deref(), value.as_deref(), heads[input].time.unwrap());
        let shown = Record { key, value, time, partition, offset, headers: &[] };
        match task.process(input, &shown, &mut state, &mut out) {
            Ok(Done::Late) => out.into.late.push(record.clone()),
            Ok(_) => {}
            Err(Fault::Record(_)) => out.into.aside.push(record.clone()),
            Err(Fault::State(fault)) => panic!("{fault}"),
        }
    }
}

/// Compares what was written with what is expected, partition by partition. Where records of several partitions meet in one they do so in
/// any order but that of each: there all of them are compared, whatever the order, and each key lies in one.
#[track_caller]
pub fn same(what: &str, mut expect: Vec<Vec<Made>>, mut found: Vec<Vec<Made>>, any_order: bool) {
    if any_order {
        let mut places = BTreeMap::new();
        for (partition, (key, ..)) in
            found.iter().enumerate().flat_map(|(p, all)| all.iter().map(move |made| (p, made)))
        {
            let known = *places.entry(key).or_insert(partition);
            assert!(key.is_none() || known == partition, "{what}: {key:?} lies in partitions {known} and {partition}");
        }
        for all in [&mut expect, &mut found] {
            let mut together = all.concat();
            together.sort();
            *all = vec![together];
        }
    }
    for (partition, (expect, found)) in expect.iter().zip(&found).enumerate() {
        let differs = expect.iter().zip(found).position(|(a, b)| a != b);
        assert!(
            differs.is_none() && expect.len() == found.len(),
            "{what}, partition {partition}: {} expected, {} found, the first that differs {differs:?}: {:?} {:?}",
            expect.len(),
            found.len(),
            differs.map(|i| &expect[i]),
            differs.map(|i| &found[i])
        );
    }
}

/// The newest datum of each key of a log, and its time.
pub fn newest(log: Vec<Made>) -> BTreeMap<Option<Vec<u8>>, (Vec<u8>, i64)> {
    let mut rows = BTreeMap::new();
    for (key, value, time) in log {
        match value {
            Some(value) => drop(rows.insert(key, (value, time))),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}
