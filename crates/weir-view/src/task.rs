//! A view at work on one partition of its inputs: records in, records out, state in between. Pure and deterministic:
//! the same records in the same order give the same output and the same state, on every machine.
//!
//! One call of [`Task::process`] is all or nothing. A record that a view cannot take is an error before anything was
//! written, so the caller can put it aside and go on.

mod foreign;
mod pending;
mod regroup;
mod rekey;
mod sessions;
mod tables;
mod versions;
mod windows;
mod within;

use twox_hash::XxHash3_128;

pub(crate) use foreign::{ANSWER, SUBSCRIPTION};
pub(crate) use pending::Pending;
pub(crate) use rekey::{Changes, Rekey};

use crate::aggregate::Aggregate;
use crate::bytes::{Bytes, sorted, unsorted};
use crate::projection::{Projection, RowError};
use crate::sieve::Condition;
use crate::sql::{How, Window, Within};
use crate::state::{State, StateError};

/// The form of all values in the state.
const FORM: u8 = 1;
/// What is said of a record that was held.
const ALONE: &str = "a record that has met no other in its time";
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
}

/// A row that is due and is not in the output, because an expression has no value for it, where the record that makes it
/// due is not at fault and was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undefined {
    /// What the row is made of.
    pub of: Of,
    /// Why it has no value, for people and without any of its values.
    pub reason: String,
}

/// What a row is made of that has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// A group that the record was taken into which was processed.
    Group,
    /// A record that was held until its time was over, and has met no other.
    Held {
        /// The number of its input.
        input: usize,
        /// Its offset there.
        offset: i64,
        /// Its key.
        key: Vec<u8>,
        /// Its Avro datum.
        value: Vec<u8>,
        /// Its event time, in milliseconds since the epoch.
        time: i64,
    },
    /// Records that are no longer there.
    Row {
        /// The key that the output would have.
        key: Vec<u8>,
        /// What the expressions were asked of, as JSON, if there is as much.
        row: Option<String>,
        /// Its time, in milliseconds since the epoch.
        time: i64,
    },
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a task has one")]
pub(crate) enum Operator {
    /// A stream, row by row. `rest` takes the further inputs of a union.
    Stream { rest: Vec<Task> },
    /// A table, row by row.
    Table,
    /// A stream (input 0) that looks rows up in tables; in those with a history as they were at its time.
    Lookup { sides: Vec<How>, history: Vec<Option<i64>> },
    /// Two streams whose records meet within a time.
    Within { how: How, within: Within },
    /// Tables on one key.
    Merge { sides: Vec<How>, nullable: Vec<bool> },
    /// A table whose rows ask for the row of another whose key they name.
    Subscribe { by: Rekey },
    /// The other table (input 0), which answers to those who ask (input 1).
    Answer,
    /// The table (input 0) and the answers (input 1).
    Foreign { by: Rekey, how: How },
    Aggregate {
        /// Splits the changes of a table; the rows of a stream are taken as they are.
        changes: Option<Changes>,
        keys: Projection,
        /// The fields of a text key of several fields.
        texts: Option<Rekey>,
        args: Projection,
        all: Vec<Aggregate>,
        window: Option<Window>,
        last: bool,
    },
}

/// A view at work, or one stage of it.
#[derive(Debug)]
pub struct Task {
    pub(crate) operator: Operator,
    pub(crate) select: Projection,
    /// The key of what comes out, where it is not that of what comes in.
    pub(crate) rekey: Option<Rekey>,
    /// Whether a table gives its changes, the old row and the new, to be summed up.
    pub(crate) retracts: bool,
    /// What takes the output in turn, under the same key.
    pub(crate) next: Option<Box<Task>>,
    /// Put in front of what the keys of the state begin with, so that operators in a row keep apart.
    pub(crate) space: u8,
    /// Whether each input is a table.
    pub(crate) tables: Vec<bool>,
    pub(crate) pending: Pending,
    /// What it knows of time.
    pub(crate) clock: Clock,
    pub(crate) row: Vec<u8>,
    pub(crate) entry: Vec<u8>,
    pub(crate) group: windows::Group,
}

/// What a task knows of the time of its stream, beyond what lies in its state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// When the next window closes, once it is known.
    pub next_close: Option<i64>,
    /// The greatest event time seen, once it is known.
    pub greatest: Option<i64>,
    /// Whether that has grown since it was written.
    grown: bool,
}

impl Clock {
    /// The greatest event time seen, this record's with it.
    fn advance(&mut self, space: u8, time: i64, state: &dyn State) -> Result<i64, Fault> {
        let known = match self.greatest {
            Some(known) => Some(known),
            None => {
                let mut found = Vec::new();
                match state.get(&[space | TIME], &mut found)? {
                    true => Some(unsorted(Bytes(found.get(1..).unwrap_or_default()).array().ok_or(BROKEN)?)),
                    false => None,
                }
            }
        };
        self.grown |= known.is_none_or(|known| known < time);
        let greatest = known.map_or(time, |known| known.max(time));
        self.greatest = Some(greatest);
        Ok(greatest)
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
    /// A task that does one thing.
    pub(crate) fn new(operator: Operator, select: Projection, tables: Vec<bool>) -> Task {
        Task {
            operator,
            select,
            rekey: None,
            retracts: false,
            next: None,
            space: 0,
            tables,
            pending: Pending::default(),
            clock: Clock::default(),
            row: Vec::new(),
            entry: Vec::new(),
            group: windows::Group::default(),
        }
    }

    /// Whether what comes out lies elsewhere than what goes in. A key that is only written otherwise does not.
    pub(crate) fn rekeys(&self) -> bool {
        matches!(self.operator, Operator::Subscribe { .. } | Operator::Answer)
            || (self.rekey.is_some() && self.next.is_none())
            || self.windows()
    }

    /// Whether a window is a part of the key of what comes out.
    fn windows(&self) -> bool {
        matches!(self.operator, Operator::Aggregate { window: Some(_), .. })
            || self.next.as_ref().is_some_and(|next| next.windows())
    }

    /// The condition that a record must meet to leave any trace, where there is one: others need not be shown to it.
    pub fn condition(&self) -> Option<&Condition> {
        match &self.operator {
            Operator::Stream { rest } if rest.is_empty() => self.select.condition(),
            _ => None,
        }
    }

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
        if let (Operator::Stream { rest }, Some(other)) = (&mut self.operator, input.checked_sub(1))
            && let Some(task) = rest.get_mut(other)
        {
            return task.process(0, record, state, emit);
        }
        self.pending.clear();
        let clocks = (self.clock, self.next.as_ref().map(|next| next.clock));
        match self.whole(input, record, state) {
            Ok(done) => {
                self.pending.commit(state, emit)?;
                Ok(done)
            }
            Err(fault) => {
                self.pending.clear();
                self.clock = clocks.0;
                if let (Some(next), Some(clock)) = (&mut self.next, clocks.1) {
                    next.clock = clock;
                }
                Err(fault)
            }
        }
    }

    /// Takes a record, and what it makes through the operator behind this one.
    fn whole(&mut self, input: usize, record: &Record<'_>, state: &dyn State) -> Result<Done, Fault> {
        let mut done = self.take(input, record, state)?;
        let Some(mut next) = self.next.take() else { return Ok(done) };
        let (made, held) = (self.pending.taken(), self.pending.held);
        std::mem::swap(&mut self.pending, &mut next.pending);
        let taken = made.iter().enumerate().try_for_each(|(i, (key, value, time))| {
            let record = Record { key: key.as_deref(), value: value.as_deref(), time: *time, headers: &[], ..*record };
            let (mark, clock) = ((i < held).then(|| next.pending.mark()), next.clock);
            match (next.take(0, &record, state), mark) {
                (Ok(Done::Taken), _) => {}
                (Ok(other), _) => done = other,
                // The record at hand has only made it due.
                (Err(Fault::Record(fault)), Some(mark)) => {
                    next.pending.undo(mark);
                    next.clock = clock;
                    let row = match &next.operator {
                        Operator::Aggregate { keys, .. } => keys.json(record.value.unwrap_or_default()),
                        _ => None,
                    };
                    let of = Of::Row { key: record.key.unwrap_or_default().to_vec(), row, time: *time };
                    next.pending.undefined.push(Undefined { of, reason: format!("{ALONE}: {fault}") });
                }
                (Err(fault), _) => return Err(fault),
            }
            next.pending.settle();
            Ok(())
        });
        std::mem::swap(&mut self.pending, &mut next.pending);
        self.next = Some(next);
        taken.map(|()| done)
    }

    /// The rows that the last record made due and that have no value; the caller puts them aside.
    pub fn undefined(&self) -> &[Undefined] {
        &self.pending.undefined
    }

    /// Drops what the task remembers of its state between records, for a caller whose transaction was aborted and whose
    /// state went back.
    pub fn forget(&mut self) {
        self.clock = Clock::default();
        if let Operator::Stream { rest } = &mut self.operator {
            rest.iter_mut().for_each(Task::forget);
        }
        if let Some(next) = &mut self.next {
            next.forget();
        }
    }

    /// Writes to the state what was not worth a write at each record: to be called before a state is committed.
    ///
    /// # Errors
    /// [`StateError`] where the store cannot be written.
    pub fn settle_up(&mut self, state: &mut dyn State) -> Result<(), StateError> {
        if let (true, Some(greatest)) = (self.clock.grown, self.clock.greatest) {
            state.put(&[self.space | TIME], &[&[FORM][..], &sorted(greatest)].concat())?;
            self.clock.grown = false;
        }
        if let Operator::Stream { rest } = &mut self.operator {
            rest.iter_mut().try_for_each(|task| task.settle_up(state))?;
        }
        match &mut self.next {
            Some(next) => next.settle_up(state),
            None => Ok(()),
        }
    }

    fn take(&mut self, input: usize, record: &Record<'_>, state: &dyn State) -> Result<Done, Fault> {
        let table = self.tables.get(input).copied().unwrap_or(false);
        if table && record.key.is_none() {
            if let (Operator::Foreign { .. }, 0) = (&self.operator, input) {
                // The stage that asks reads it as well, and has said so.
                return Ok(Done::Taken);
            }
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
            Operator::Subscribe { .. } => self.subscribe(record, state),
            Operator::Answer => self.answer(input, record, state, &mut row, &mut entry),
            Operator::Foreign { .. } => self.foreign(input, record, state, &mut row, &mut entry),
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
        let made = match &mut self.rekey {
            Some(rekey) => match (rekey.key(value, record)?, rekey.needed) {
                (None, true) => return Ok(Done::NoKey),
                (made, _) => made,
            },
            None => None,
        };
        let key = if self.rekey.is_some() { made.as_deref() } else { record.key };
        let mut from = 0;
        for end in ends {
            self.pending.output(key, out.get(from..*end), record.time, true);
            from = *end;
        }
        Ok(Done::Taken)
    }
}
