//! A view at work on one partition of its inputs: records in, records out, state in between. Pure and deterministic:
//! the same records in the same order give the same output and the same state, on every machine.
//!
//! One call of [`Task::process`] is all or nothing. A record that a view cannot take is an error before anything was
//! written, so the caller can put it aside and go on.

mod windows;
mod within;

use twox_hash::XxHash3_128;
use weir_avro::{put_blob, put_long};
use weir_expr::Value;

use crate::aggregate::Aggregate;
use crate::bytes::Bytes;
use crate::projection::{Projection, RowError};
use crate::sql::{How, Window, Within};
use crate::state::{State, StateError};

/// The form of all values in the state.
const FORM: u8 = 1;
/// What the keys of the state begin with.
const ROWS: u8 = 1;
const CLOSES: u8 = 2;
const TIME: u8 = 3;

/// A record of an input, its value without the framing of its schema.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The Avro datum of the schema the view was planned with; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The event time, in milliseconds since the epoch.
    pub time: i64,
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// A record of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The Avro datum of the output schema; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its time, in milliseconds since the epoch.
    pub time: i64,
    /// Whether the headers of the input record go with it.
    pub headers: bool,
}

/// Where output goes. It is called only for what is certain to be part of the transaction.
pub trait Emit {
    /// Takes a record.
    fn emit(&mut self, output: Output<'_>);
}

/// Why a record was not processed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The record's own fault: it goes to quarantine and the view goes on.
    #[error(transparent)]
    Record(#[from] RowError),
    /// The store's fault: the view waits or stops.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What became of a record that was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was taken.
    Taken,
    /// It has no key to be grouped or joined by; counted and passed over.
    NoKey,
    /// Every window it belongs to is closed.
    Late,
    /// It was taken, but a row that it makes due is not in the output: the row of a window that it closes, or of a group
    /// of several records, for which an expression has no value. Counted.
    Undefined,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a task has one")]
pub(crate) enum Operator {
    /// A stream, row by row; with a new key where there is one. `rest` takes the further inputs of a union.
    Stream { rekey: Option<Projection>, rest: Vec<Task> },
    /// A table, row by row.
    Table,
    /// A stream (input 0) that looks rows up in tables.
    Lookup { sides: Vec<How> },
    /// Two streams whose records meet within a time.
    Within { how: How, within: Within },
    /// Tables on one key.
    Merge { sides: Vec<How>, nullable: Vec<bool> },
    Aggregate {
        keys: Projection,
        /// The fields of a text key of several fields, as texts.
        texts: Option<Projection>,
        args: Projection,
        all: Vec<Aggregate>,
        window: Option<Window>,
        last: bool,
    },
}

/// A view at work.
#[derive(Debug)]
pub struct Task {
    pub(crate) operator: Operator,
    pub(crate) select: Projection,
    /// Whether each input is a table.
    pub(crate) tables: Vec<bool>,
    pub(crate) pending: Pending,
    /// When the next window closes, once it is known.
    pub(crate) next_close: Option<i64>,
    pub(crate) row: Vec<u8>,
    pub(crate) entry: Vec<u8>,
}

/// What a record will do, until it is certain.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    bytes: Vec<u8>,
    /// Key, value and time of each output; the bytes of both lie one after the other.
    outputs: Vec<Pend>,
}

#[derive(Debug)]
struct Pend {
    key: Option<usize>,
    value: Option<usize>,
    time: i64,
    headers: bool,
}

impl Pending {
    fn clear(&mut self) {
        self.writes.clear();
        self.bytes.clear();
        self.outputs.clear();
    }

    fn output(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, time: i64, headers: bool) {
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.outputs.push(Pend { key: key.map(<[u8]>::len), value: value.map(<[u8]>::len), time, headers });
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        match self.writes.iter_mut().find(|(known, _)| *known == key) {
            Some(write) => write.1 = value,
            None => self.writes.push((key, value)),
        }
    }

    /// What the state holds once the writes are done.
    fn get(&self, state: &dyn State, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        match self.writes.iter().find(|(known, _)| known == key) {
            Some((_, None)) => Ok(false),
            Some((_, Some(known))) => {
                value.extend_from_slice(known);
                Ok(true)
            }
            None => state.get(key, value),
        }
    }

    fn commit(&mut self, state: &mut dyn State, emit: &mut dyn Emit) -> Result<(), StateError> {
        for (key, value) in self.writes.drain(..) {
            match value {
                Some(value) => state.put(&key, &value)?,
                None => state.delete(&key)?,
            }
        }
        let mut at = 0;
        let mut take = |length: Option<usize>| {
            let from = at;
            at += length.unwrap_or(0);
            length.map(|_| &self.bytes[from..at])
        };
        for Pend { key, value, time, headers } in self.outputs.drain(..) {
            let (key, value) = (take(key), take(value));
            emit.emit(Output { key, value, time, headers });
        }
        Ok(())
    }
}

fn hash(bytes: &[u8]) -> [u8; 16] {
    XxHash3_128::oneshot(bytes).to_le_bytes()
}

fn keyed(kind: u8, key: &[u8], more: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(5 + key.len() + more.len());
    made.push(kind);
    made.extend((key.len() as u32).to_be_bytes());
    made.extend_from_slice(key);
    made.extend_from_slice(more);
    made
}

/// An entry of the state that no version has written.
const BROKEN: Broken = Broken;
struct Broken;

impl From<Broken> for Fault {
    fn from(_: Broken) -> Fault {
        Fault::State(StateError("an entry has another form; restore it from the changelog".to_owned()))
    }
}

impl Task {
    /// Takes one record of an input, in the order of the merged inputs. Where it fails, nothing has been written and
    /// nothing emitted.
    ///
    /// # Errors
    /// [`Fault::Record`] for a record the view cannot take, [`Fault::State`] where the store fails.
    pub fn process(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &mut dyn State,
        emit: &mut dyn Emit,
    ) -> Result<Done, Fault> {
        if let (Operator::Stream { rest, .. }, Some(other)) = (&mut self.operator, input.checked_sub(1))
            && let Some(task) = rest.get_mut(other)
        {
            return task.process(0, record, state, emit);
        }
        self.pending.clear();
        let close = self.next_close;
        let done = self.take(input, record, state);
        match done {
            Ok(done) => {
                self.pending.commit(state, emit)?;
                Ok(done)
            }
            Err(fault) => {
                self.next_close = close;
                Err(fault)
            }
        }
    }

    /// Drops what the task remembers of its state between records, for a caller whose transaction was aborted and whose
    /// state went back.
    pub fn forget(&mut self) {
        self.next_close = None;
        if let Operator::Stream { rest, .. } = &mut self.operator {
            rest.iter_mut().for_each(Task::forget);
        }
    }

    fn take(&mut self, input: usize, record: &Record<'_>, state: &dyn State) -> Result<Done, Fault> {
        let table = self.tables.get(input).copied().unwrap_or(false);
        if table && record.key.is_none() {
            return Err(RowError::Record("a row of a table has no key").into());
        }
        if !table && record.value.is_none() {
            return Err(RowError::Record("a record of a stream has no value").into());
        }
        let mut row = std::mem::take(&mut self.row);
        let mut entry = std::mem::take(&mut self.entry);
        row.clear();
        entry.clear();
        let done = match &self.operator {
            Operator::Stream { .. } => self.stream(record, &mut row),
            Operator::Table => self.table(record, state, &mut row, &mut entry),
            Operator::Lookup { .. } => self.lookup(input, record, state, &mut row),
            Operator::Within { .. } => self.within(input, record, state, &mut row),
            Operator::Merge { .. } => self.merge(input, record, state, &mut row, &mut entry),
            Operator::Aggregate { .. } => self.aggregate(record, state, &mut row),
        };
        (self.row, self.entry) = (row, entry);
        done
    }

    fn stream(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<Done, Fault> {
        let value = record.value.unwrap_or_default();
        let ends = self.select.rows(value, record, out)?;
        if ends.is_empty() {
            return Ok(Done::Taken);
        }
        let mut made = None;
        let key = match &mut self.operator {
            Operator::Stream { rekey: Some(rekey), .. } => {
                rekey.values(value, record, |_, value| {
                    made = match value {
                        Value::Null => None,
                        Value::String(text) => Some(text.as_bytes().to_vec()),
                        _ => return Err(RowError::Record("a key is text")),
                    };
                    Ok(())
                })?;
                made.as_deref()
            }
            _ => record.key,
        };
        let mut from = 0;
        for end in ends {
            self.pending.output(key, out.get(from..*end), record.time, true);
            from = *end;
        }
        Ok(Done::Taken)
    }

    /// Puts the newest output of a key out where it differs from the one before, whose hash begins the entry.
    fn settle(
        pending: &mut Pending,
        key: &[u8],
        was: Option<[u8; 16]>,
        now: Option<&[u8]>,
        time: i64,
    ) -> Option<[u8; 16]> {
        let new = now.map(hash);
        if new != was {
            pending.output(Some(key), now, time, false);
        }
        new
    }

    fn table(
        &mut self,
        record: &Record<'_>,
        state: &dyn State,
        out: &mut Vec<u8>,
        entry: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let key = record.key.unwrap_or_default();
        let place = keyed(ROWS, key, &[]);
        let was = match self.pending.get(state, &place, entry)? {
            true => Some(Bytes(entry.get(1..).unwrap_or_default()).array::<16>().ok_or(BROKEN)?),
            false => None,
        };
        let there = match record.value {
            Some(value) => self.select.run(value, record, out)?,
            None => false,
        };
        let now = Self::settle(&mut self.pending, key, was, there.then_some(&**out), record.time);
        if now != was {
            self.pending.put(place, now.map(|hash| [&[FORM][..], &hash].concat()));
        }
        Ok(Done::Taken)
    }

    fn lookup(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        if input > 0 {
            let place = keyed(ROWS, record.key.unwrap_or_default(), &[input as u8]);
            self.pending.put(place, record.value.map(|value| [&[FORM][..], value].concat()));
            return Ok(Done::Taken);
        }
        let Operator::Lookup { sides } = &self.operator else { return Ok(Done::Taken) };
        row.extend_from_slice(record.value.unwrap_or_default());
        let mut found = Vec::new();
        for (i, how) in sides.iter().enumerate() {
            found.clear();
            let there = match record.key {
                Some(key) => self.pending.get(state, &keyed(ROWS, key, &[i as u8 + 1]), &mut found)?,
                None => false,
            };
            match (how, there) {
                (How::Inner, false) => return Ok(if record.key.is_none() { Done::NoKey } else { Done::Taken }),
                (How::Inner, true) => row.extend_from_slice(found.get(1..).unwrap_or_default()),
                (_, true) => {
                    put_long(row, 1);
                    row.extend_from_slice(found.get(1..).unwrap_or_default());
                }
                (_, false) => put_long(row, 0),
            }
        }
        let mut out = Vec::new();
        if self.select.run(row, record, &mut out)? {
            self.pending.output(record.key, Some(&out), record.time, true);
        }
        Ok(Done::Taken)
    }

    /// One entry for a key: the hash of its output, then time and row of each side. Every change of a side makes at most
    /// one output.
    fn merge(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
        entry: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let Operator::Merge { sides, nullable } = &self.operator else { return Ok(Done::Taken) };
        let key = record.key.unwrap_or_default();
        let place = keyed(ROWS, key, &[]);
        let found = self.pending.get(state, &place, entry)?;
        let mut bytes = Bytes(entry.get(1..).unwrap_or_default());
        let mut was = None;
        let mut rows: Vec<Option<(i64, &[u8])>> = vec![None; nullable.len()];
        if found {
            if bytes.array::<1>().ok_or(BROKEN)? == [1] {
                was = Some(bytes.array::<16>().ok_or(BROKEN)?);
            }
            for side in &mut rows {
                if bytes.array::<1>().ok_or(BROKEN)? == [1] {
                    *side = Some((bytes.long().ok_or(BROKEN)?, bytes.blob().ok_or(BROKEN)?));
                }
            }
        }
        if let Some(side) = rows.get_mut(input) {
            *side = record.value.map(|value| (record.time, value));
        }
        // From left to right, as the joins stand: what is there of the row so far.
        let mut seen: Vec<bool> = vec![rows.first().is_some_and(Option::is_some)];
        let mut there = seen[0];
        for (how, side) in sides.iter().zip(rows.iter().skip(1)) {
            let own = side.is_some();
            match how {
                How::Inner => {
                    there &= own;
                    seen.push(there);
                }
                How::Left => seen.push(there && own),
                How::Full => {
                    if !there {
                        // What an inner join has dropped is not there for a full one either.
                        seen.iter_mut().for_each(|seen| *seen = false);
                    }
                    seen.push(own);
                    there |= own;
                }
            }
        }
        let time = rows.iter().flatten().map(|(time, _)| *time).fold(record.time, i64::max);
        let mut out = Vec::new();
        let mut shown = false;
        if there {
            for ((side, seen), nullable) in rows.iter().zip(&seen).zip(nullable) {
                match side.filter(|_| *seen) {
                    Some((_, value)) => {
                        if *nullable {
                            put_long(row, 1);
                        }
                        row.extend_from_slice(value);
                    }
                    None => put_long(row, 0),
                }
            }
            shown = self.select.run(row, &Record { time, headers: &[], ..*record }, &mut out)?;
        }
        let now = Self::settle(&mut self.pending, key, was, shown.then_some(&*out), time);
        let new = rows.iter().any(Option::is_some).then(|| {
            let mut new = vec![FORM, u8::from(now.is_some())];
            new.extend_from_slice(now.as_ref().map_or(&[], |hash| hash));
            for side in &rows {
                new.push(u8::from(side.is_some()));
                if let Some((time, value)) = side {
                    put_long(&mut new, *time);
                    put_blob(&mut new, value);
                }
            }
            new
        });
        self.pending.put(place, new);
        Ok(Done::Taken)
    }
}
