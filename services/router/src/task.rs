//! One stage of a view on one partition of its inputs: where it stands in each of them, its state, and the step from
//! one record to the next.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_kafka::{Outgoing, TransactionError, TransactionalWriter};
use weir_pump::Header;
use weir_state::Store;
use weir_view::order::{Head, Next, next};
use weir_view::{Condition, Done, Fault, Record, Stage, StageInput, State, StateError, Task};

use crate::emit::{Checker, Emitter, Input, Written};
use crate::incomings::{Incomings, Value};
use crate::views::View;

/// The key of the state under which the positions lie; those of operators begin with other bytes.
const POSITIONS: &[u8] = &[0];
/// The form of the positions.
const FORM: u8 = 1;
/// The most bytes of a key: what a store can hold less what an operator puts around it.
const MAX_KEY: usize = 50_000;

/// Where a task stands in one input.
pub struct Cursor {
    /// The index of the partition among those that come in.
    pub source: usize,
    /// The index of the way it is read there.
    pub reading: usize,
    /// The next offset.
    pub next: i64,
    /// The number of the next record in the buffer.
    pub at: u64,
    /// The event time of the next record, where it was looked at.
    time: Option<i64>,
    /// Since when nothing has been there.
    empty_since: Option<Instant>,
}

impl Cursor {
    /// Passes over what this task had already, because another one stands further back.
    fn pass(&mut self, source: &Incomings<'_>) {
        while source.get(self.at).is_some_and(|record| record.offset() < self.next) {
            self.at += 1;
        }
    }
}

/// Why all that is open has to be undone and taken up again from what is committed.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The transaction cannot go on.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The cluster is away, or refuses.
    #[error(transparent)]
    Kafka(#[from] weir_kafka::Error),
    /// The local state is not as it must be.
    #[error("{0}")]
    State(String),
    /// It would not help to try again.
    #[error("{0}")]
    Fatal(String),
}

impl From<weir_state::Error> for Trouble {
    fn from(error: weir_state::Error) -> Trouble {
        match error {
            // Nothing is accepted any more once a write has failed, also when there is room again, and to join the group over and over
            // would only take partitions from those that can work.
            weir_state::Error::Disk(..) => Trouble::Fatal(error.to_string()),
            other => Trouble::State(other.to_string()),
        }
    }
}

/// What became of one step.
pub enum Step {
    /// A record was processed.
    Took,
    /// There was nothing.
    Rests,
    /// Something is missing outside.
    Stalls(String),
    /// The transaction has to end first: the record is the first of a new schema of its source.
    Cut,
}

/// The topic that the state of a stage is restored from.
pub fn changelog(stage: &Stage) -> String {
    format!("{}.changelog", stage.output.topic)
}

/// What was counted since the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records of all inputs.
    pub received: u64,
    /// What was written.
    pub written: Written,
    /// Records whose windows are closed.
    pub late: u64,
    /// Records without the key they would be grouped or joined by.
    pub no_key: u64,
    /// Rows that were due and have no value.
    pub undefined: u64,
}

/// A stage of a view at work on one partition.
pub struct Working {
    /// The view.
    pub view: Arc<View>,
    /// The number of the stage.
    pub stage: usize,
    /// The partition.
    pub partition: i32,
    /// Where it stands in each input.
    pub cursors: Vec<Cursor>,
    /// Its state.
    pub store: Store,
    /// What was counted since the last commit.
    pub counts: Counts,
    /// Whether anything happened since the last commit.
    pub touched: bool,
    /// The topic of its changelog.
    pub changelog: String,
    /// Why it waits.
    pub stalled: Option<String>,
    quarantine: String,
    late: Option<String>,
    /// Whether each input counts as received: what comes from a stage before, or was read by one, does not.
    counted: Vec<bool>,
    /// Whether a stage before reads each input as well.
    again: Vec<bool>,
    task: Task,
    /// The input and the number of the record before which a transaction was ended last.
    cut: Option<(usize, u64)>,
    /// Whether a record of a new schema was passed over, so that the next one is of it as well.
    changed: bool,
    /// Its number among the tasks that ask something of a record, where it is one.
    pub number: Option<usize>,
    checker: Option<Checker>,
    heads: Vec<Head>,
    value: Vec<u8>,
}

/// The store as a task knows it.
struct Kept<'s>(&'s mut Store);

impl State for Kept<'_> {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        self.0.get(key, value).map_err(|e| StateError(e.to_string()))
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.0.put(key, value).map_err(|e| StateError(e.to_string()))
    }
    fn delete(&mut self, key: &[u8]) -> Result<(), StateError> {
        self.0.delete(key).map_err(|e| StateError(e.to_string()))
    }
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        self.0.scan(prefix, visit).map_err(|e| StateError(e.to_string()))
    }
}

impl Working {
    /// A task of a stage on a store that is up to date. `sources` are its inputs' indexes among the partitions that come in, and of how it
    /// reads each of them.
    ///
    /// # Errors
    /// Why the view cannot work, or not on this state.
    pub fn new(
        view: &Arc<View>,
        number: usize,
        partition: i32,
        store: Store,
        sources: &[(usize, usize)],
    ) -> Result<Working, String> {
        let stages = view.stages();
        let stage = stages.get(number).ok_or("the plan has no such stage")?;
        let mut found = Vec::new();
        let known = store.get(POSITIONS, &mut found).map_err(|e| e.to_string())?;
        let positions = if known { read_positions(&found, view, sources.len())? } else { vec![0; sources.len()] };
        let cursor = |((source, reading), next): (&(usize, usize), &i64)| Cursor {
            source: *source,
            reading: *reading,
            next: *next,
            at: 0,
            time: None,
            empty_since: Some(Instant::now()),
        };
        let read_before = |topic: &str, i: usize| {
            let before = stages[..number].iter().flat_map(|stage| &stage.inputs).chain(&stage.inputs[..i]);
            before.into_iter().any(|input| input.relation.topic == topic)
        };
        let again = |(i, input): (usize, &StageInput)| input.from.is_none() && read_before(&input.relation.topic, i);
        let again: Vec<bool> = stage.inputs.iter().enumerate().map(again).collect();
        let last = number + 1 == stages.len();
        Ok(Working {
            partition,
            cursors: sources.iter().zip(&positions).map(cursor).collect(),
            store,
            counts: Counts::default(),
            touched: false,
            changelog: changelog(stage),
            stalled: None,
            quarantine: view.quarantine(),
            late: view.late(),
            counted: stage.inputs.iter().zip(&again).map(|(input, again)| input.from.is_none() && !again).collect(),
            again,
            task: stage.task().map_err(|e| e.to_string())?,
            cut: None,
            changed: false,
            number: None,
            checker: view.contract.as_ref().filter(|_| last).map(|object| Checker::new(object, view)).transpose()?,
            heads: Vec::new(),
            value: Vec::new(),
            stage: number,
            view: Arc::clone(view),
        })
    }

    /// Whether any of its inputs has a record for it.
    pub fn has_something(&self, sources: &[Incomings<'_>]) -> bool {
        self.cursors.iter().any(|cursor| sources[cursor.source].get(cursor.at).is_some())
    }

    /// What a record must meet to concern this task, where that is all it asks of it.
    pub fn condition(&self) -> Option<&Condition> {
        self.task.condition().filter(|_| self.cursors.len() == 1)
    }

    /// Passes over the records that do not concern it, `most` of them at a time. How many there were.
    pub fn skip(&mut self, sources: &mut [Incomings<'_>], most: u64) -> u64 {
        let (Some(number), [cursor]) = (self.number, &mut self.cursors[..]) else { return 0 };
        let source = &mut sources[cursor.source];
        cursor.pass(source);
        // What is missing outside is for the step to say; what was read before it counts.
        drop(source.read_to(cursor.reading, cursor.at + most - 1));
        let to = source.readings[cursor.reading].concerns(number, cursor.at).min(cursor.at + most);
        let skipped = to.saturating_sub(cursor.at);
        self.changed |= source.readings[cursor.reading].changes(cursor.at..to);
        if let Some(last) = to.checked_sub(1).filter(|_| skipped > 0).and_then(|last| source.get(last)) {
            cursor.next = last.offset() + 1;
            cursor.at = to;
            cursor.time = None;
            self.counts.received += skipped * u64::from(self.counted[0]);
            self.touched = true;
        }
        skipped
    }

    /// Processes the next record of an input, which [`Working::choose`] has chosen.
    ///
    /// # Errors
    /// The transaction is to be undone.
    pub fn step(
        &mut self,
        input: usize,
        sources: &[Incomings<'_>],
        writer: &mut TransactionalWriter,
    ) -> Result<Step, Trouble> {
        let cursor = &self.cursors[input];
        let source = &sources[cursor.source];
        let ready = source.readings[cursor.reading].get(cursor.at);
        let (Some(record), Some(ready)) = (source.get(cursor.at), ready) else { return Ok(Step::Rests) };
        if (ready.changed || self.changed) && self.touched && self.cut != Some((input, cursor.at)) {
            self.cut = Some((input, cursor.at));
            return Ok(Step::Cut);
        }
        self.changed = false;
        let mut headers: Vec<Header<'_>> = Vec::new();
        if ready.headers {
            record.visit_headers(|header| headers.push(header));
        }
        let mut reason = match &ready.value {
            Value::Fault(reason) => Some(reason.clone()),
            _ => None,
        };
        if record.key().is_some_and(|key| key.len() > MAX_KEY) {
            reason = Some(format!("the key has more than {MAX_KEY} bytes"));
        }
        // What cannot be read at all was put aside by the stage that has read it before.
        let twice = reason.is_some() && self.again[input];
        let at = Input {
            topic: &source.topic,
            partition: source.partition,
            offset: record.offset(),
            key: record.key(),
            value: record.value(),
            timestamp: record.timestamp().millis(),
            headers: &headers,
        };
        let stages = self.view.stages();
        let Some(stage) = stages.get(self.stage) else { return Ok(Step::Rests) };
        let mut emitter = Emitter {
            writer,
            view: &self.view,
            topic: &stage.output.topic,
            schema_id: stage.suffix.is_none().then_some(self.view.schema_id),
            quarantine: &self.quarantine,
            partition: self.partition,
            rekeyed: stage.rekeyed,
            input: at,
            checker: self.checker.as_mut(),
            value: &mut self.value,
            written: &mut self.counts.written,
            failed: None,
        };
        if reason.is_none() {
            let shown = Record {
                key: record.key(),
                value: ready.value.datum(record.value()),
                time: ready.time,
                partition: at.partition,
                offset: at.offset,
                headers: &headers,
            };
            match self.task.process(input, &shown, &mut Kept(&mut self.store), &mut emitter) {
                Ok(done) => {
                    match done {
                        Done::Taken => {}
                        Done::Late => {
                            self.counts.late += 1;
                            if let Some(topic) = &self.late {
                                emitter.put_late(topic);
                            }
                        }
                        Done::NoKey => self.counts.no_key += 1,
                    }
                    for row in self.task.undefined() {
                        self.counts.undefined += 1;
                        emitter.put_undefined(row, &stage.inputs);
                    }
                }
                Err(Fault::Record(fault)) => reason = Some(fault.to_string()),
                Err(Fault::State(fault)) => return Err(Trouble::State(fault.to_string())),
            }
        }
        if let Some(reason) = reason.filter(|_| !twice) {
            emitter.put_aside(&reason);
        }
        let failed = emitter.failed;
        self.counts.received += u64::from(self.counted[input]);
        self.touched = true;
        let cursor = &mut self.cursors[input];
        cursor.next = record.offset() + 1;
        cursor.at += 1;
        cursor.time = None;
        failed.map_or(Ok(Step::Took), |error| Err(error.into()))
    }

    /// The input that goes next; none while nothing is there or an earlier record may still come.
    ///
    /// # Errors
    /// What is missing outside to say so.
    pub fn choose(&mut self, sources: &mut [Incomings<'_>], max_idle: Duration) -> Result<Option<usize>, String> {
        for cursor in &mut self.cursors {
            let source = &mut sources[cursor.source];
            cursor.pass(source);
            if cursor.time.is_some() {
                continue;
            }
            if source.read_to(cursor.reading, cursor.at)? {
                cursor.empty_since = None;
                cursor.time = source.readings[cursor.reading].get(cursor.at).map(|ready| ready.time);
            } else {
                cursor.empty_since.get_or_insert_with(Instant::now);
            }
        }
        if let [cursor] = &self.cursors[..] {
            return Ok(cursor.time.map(|_| 0));
        }
        self.heads.clear();
        self.heads.extend(self.cursors.iter().map(|cursor| {
            let source = &sources[cursor.source];
            Head { time: cursor.time, lag: source.empty_to < cursor.next.max(source.next) }
        }));
        let empty = self.cursors.iter().filter_map(|cursor| cursor.empty_since);
        let waited = empty.max().is_none_or(|since| since.elapsed() >= max_idle);
        Ok(match next(&self.heads, waited) {
            Next::Take(input) => Some(input),
            Next::Wait | Next::Idle => None,
        })
    }

    /// Writes what changed in the state to the changelog, in the open transaction, and last where it stands. How many records
    /// these were.
    ///
    /// # Errors
    /// The transaction is to be undone.
    pub fn log(&mut self, writer: &mut TransactionalWriter) -> Result<i64, Trouble> {
        self.task.settle_up(&mut Kept(&mut self.store)).map_err(|fault| Trouble::State(fault.to_string()))?;
        let positions = write_positions(&self.view, &self.cursors);
        let out = |key, value| Outgoing {
            topic: &self.changelog,
            partition: Some(self.partition),
            key: Some(key),
            value,
            ..Outgoing::default()
        };
        let mut count = 1;
        for (key, value) in self.store.changes() {
            writer.send(&out(key, value))?;
            count += 1;
        }
        writer.send(&out(POSITIONS, Some(&positions)))?;
        self.store.put(POSITIONS, &positions)?;
        Ok(count)
    }
}

/// What made the state, and where it stands: the hash of the view's definition, then the next offset of each input.
fn write_positions(view: &View, cursors: &[Cursor]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17 + 8 * cursors.len());
    bytes.push(FORM);
    bytes.extend(view.fingerprint());
    for cursor in cursors {
        bytes.extend(cursor.next.to_be_bytes());
    }
    bytes
}

fn read_positions(bytes: &[u8], view: &View, inputs: usize) -> Result<Vec<i64>, String> {
    let form = || "the positions in the state have another form; use the version of Weir that wrote them".to_owned();
    let rest = bytes.strip_prefix(&[FORM]).ok_or_else(form)?;
    let (made_by, rest) = rest.split_first_chunk::<16>().ok_or_else(form)?;
    if made_by != view.fingerprint() {
        return Err(format!(
            "its state was made by another query or over other schemas; start it anew with `weir view reset {}`",
            view.id
        ));
    }
    let (positions, rest) = rest.as_chunks::<8>();
    if positions.len() != inputs || !rest.is_empty() {
        return Err(form());
    }
    Ok(positions.iter().map(|next| i64::from_be_bytes(*next)).collect())
}

/// Now, in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
