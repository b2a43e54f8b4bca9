//! What comes in of one partition, held until every task that reads it has used it, and read once for all of them.

use std::collections::VecDeque;
use std::ops::Range;

use std::sync::Arc;

use weir_kafka::{Incoming, Standing};
use weir_pump::Header;
use weir_registry::Registry;
use weir_view::{Condition, OnSchemaChange, Record, Relation, Sieve, StageInput};

use crate::decode::{Decoded, Decoder};

/// A partition of a topic as it comes in, shared by all tasks that read it.
pub struct Incomings<'m> {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What has come and is not yet used by every task.
    pub buffer: VecDeque<Incoming<'m>>,
    /// The number of the first one in the buffer; they are numbered as they come.
    pub first: u64,
    /// Bytes of values in the buffer.
    pub bytes: usize,
    /// The offset behind the last that was handed out.
    pub next: i64,
    /// Whether the client was told to stop.
    pub paused: bool,
    /// Up to where the client says that there is nothing more.
    pub empty_to: i64,
    /// Records that wait at the broker, as of the last report.
    pub lag: i64,
    /// Each way to read its values; nearly always there is one.
    pub readings: Vec<Reading>,
    /// Where the last report saw nothing more; -1 if it saw something.
    seen: i64,
}

/// A way to read the values of a partition: all inputs that were planned with the same schema and event time share it.
pub struct Reading {
    relation: Arc<Relation>,
    on_schema_change: OnSchemaChange,
    /// What reads the values; those of a stage before are bare datums.
    decoder: Option<Decoder>,
    sieve: Option<Sieve>,
    /// What was found of the records in the buffer, from the first one on.
    ready: VecDeque<Ready>,
    /// The number of the first of them.
    first: u64,
    /// The numbers of those that are the first of a schema.
    changes: VecDeque<u64>,
    /// The numbers of the records that concern each of the tasks that ask something of a record, so that a task goes from one to
    /// the next and does not look at those between.
    concerned: Vec<VecDeque<u64>>,
}

/// What a record is to all that read it alike.
#[derive(Debug)]
pub struct Ready {
    /// Its event time.
    pub time: i64,
    /// Its value.
    pub value: Value,
    /// Whether it has headers.
    pub headers: bool,
    /// Whether it is the first of a schema that its source has not had before.
    pub changed: bool,
}

/// A value as a datum of the planned schema.
#[derive(Debug)]
pub enum Value {
    /// A tombstone.
    Null,
    /// The bytes from here on.
    From(usize),
    /// What had to be made of it.
    Made(Vec<u8>),
    /// The record's own fault.
    Fault(String),
}

impl Reading {
    /// The way an input reads.
    pub fn new(input: &StageInput, on_schema_change: OnSchemaChange, registry: &Registry) -> Reading {
        let schema = Arc::clone(&input.relation.schema);
        let decoder = input.from.is_none().then(|| Decoder::new(schema, on_schema_change, registry.clone()));
        Reading {
            relation: Arc::clone(&input.relation),
            on_schema_change,
            decoder,
            sieve: None,
            ready: VecDeque::new(),
            first: 0,
            changes: VecDeque::new(),
            concerned: Vec::new(),
        }
    }

    /// Whether it reads as that input would.
    pub fn is_of(&self, input: &StageInput, on_schema_change: OnSchemaChange) -> bool {
        let (one, other) = (&self.relation, &input.relation);
        self.decoder.is_some() == input.from.is_none()
            && self.on_schema_change == on_schema_change
            && one.event_time == other.event_time
            && one.schema.canonical_form() == other.schema.canonical_form()
    }

    /// Sets what its tasks ask of a record, the n-th of which has the n-th bit.
    pub fn ask(&mut self, conditions: &[Option<&Condition>]) {
        self.sieve = Sieve::new(&self.relation, conditions);
        self.concerned = vec![VecDeque::new(); conditions.len()];
    }

    /// Whether one of these records is the first of a schema that its source has not had before.
    pub fn changes(&self, numbers: Range<u64>) -> bool {
        self.changes.iter().any(|number| numbers.contains(number))
    }

    /// The number of the first record from `number` on, of those that were read, that concerns a task; the number behind the last one
    /// that was read if none does.
    pub fn concerns(&mut self, task: usize, number: u64) -> u64 {
        let end = self.first + self.ready.len() as u64;
        let Some(numbers) = self.concerned.get_mut(task) else { return number };
        while numbers.pop_front_if(|known| *known < number).is_some() {}
        numbers.front().copied().unwrap_or(end)
    }

    /// What was found of the record of that number, if it was read.
    pub fn get(&self, number: u64) -> Option<&Ready> {
        self.ready.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn read(&mut self, record: &Incoming<'_>, number: u64) -> Result<Ready, String> {
        let mut headers: Vec<Header<'_>> = Vec::new();
        record.visit_headers(|header| headers.push(header));
        let own = record.timestamp().millis().unwrap_or(0);
        let value = match (record.value(), &mut self.decoder) {
            (None, _) => Value::Null,
            (Some(_), None) => Value::From(0),
            (Some(value), Some(decoder)) => match decoder.decode(value, &headers) {
                Decoded::Datum(datum) => Value::From(value.len() - datum.len()),
                Decoded::Made(datum) => Value::Made(datum),
                Decoded::Fault(reason) => Value::Fault(reason),
                Decoded::Wait(reason) => return Err(reason),
            },
        };
        let changed = self.decoder.as_mut().and_then(Decoder::take_changed);
        if let Some(schema) = changed {
            self.changes.push_back(number);
            let (topic, partition, offset) = (&*self.relation.topic, record.partition(), record.offset());
            tracing::info!(topic, partition, offset, %schema, "records come in another schema than before");
        }
        let mut ready = Ready { time: own, value, headers: !headers.is_empty(), changed: changed.is_some() };
        let mut concerns = u64::MAX;
        if let Some(sieve) = &mut self.sieve {
            let shown = Record {
                key: record.key(),
                value: ready.value.datum(record.value()),
                time: own,
                partition: record.partition(),
                offset: record.offset(),
                headers: &headers,
            };
            let looked = sieve.look(&shown);
            (ready.time, concerns) = (looked.time.unwrap_or(own), looked.concerns);
        }
        concerns &= u64::MAX >> (Sieve::MOST - self.concerned.len().clamp(1, Sieve::MOST));
        while let Some(numbers) = self.concerned.get_mut(concerns.trailing_zeros() as usize) {
            numbers.push_back(number);
            concerns &= concerns - 1;
        }
        Ok(ready)
    }
}

impl Value {
    /// The datum, of the bytes that came; `None` for a tombstone, and for one that cannot be read.
    pub fn datum<'v>(&'v self, came: Option<&'v [u8]>) -> Option<&'v [u8]> {
        match self {
            Value::From(at) => came?.get(*at..),
            Value::Made(made) => Some(made),
            Value::Null | Value::Fault(_) => None,
        }
    }
}

impl Incomings<'_> {
    /// The record of that number, if it is there.
    pub fn get(&self, number: u64) -> Option<&Incoming<'_>> {
        self.buffer.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Reads on in one of the ways up to the record of that number. Whether that record is there.
    ///
    /// # Errors
    /// What is missing outside to say what a record is.
    pub fn read_to(&mut self, reading: usize, number: u64) -> Result<bool, String> {
        let Some(reading) = self.readings.get_mut(reading) else { return Ok(false) };
        if reading.ready.is_empty() {
            reading.first = reading.first.max(self.first);
        }
        loop {
            let next = reading.first + reading.ready.len() as u64;
            if next > number {
                return Ok(true);
            }
            let at = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
            let Some(record) = self.buffer.get(at) else { return Ok(false) };
            let ready = reading.read(record, next)?;
            reading.ready.push_back(ready);
        }
    }
}

impl<'m> Incomings<'m> {
    /// A partition of which nothing has come yet.
    pub fn new(topic: &str, partition: i32) -> Incomings<'m> {
        Incomings {
            topic: topic.to_owned(),
            partition,
            buffer: Default::default(),
            first: 0,
            bytes: 0,
            next: 0,
            paused: false,
            empty_to: -1,
            lag: 0,
            readings: Vec::new(),
            seen: -1,
        }
    }

    /// Takes a record in.
    pub fn push(&mut self, record: Incoming<'m>) {
        // What was fetched before the positions were set may still come.
        if record.offset() < self.next {
            return;
        }
        self.next = record.offset() + 1;
        self.bytes += record.value().map_or(0, <[u8]>::len);
        self.buffer.push_back(record);
    }

    /// Takes the client's word for how far the partition was read. A report is put together while records come in, and
    /// may count those as fetched that it did not see waiting yet: it is believed where the last record that was handed
    /// out says the same, or the next report does.
    pub fn stands(&mut self, standing: &Standing) {
        let nothing = standing.taken && standing.fetched >= standing.end && standing.fetched >= 0;
        if nothing && (standing.fetched <= self.next || standing.fetched == self.seen) {
            self.empty_to = standing.fetched;
        }
        self.seen = if nothing { standing.fetched } else { -1 };
    }

    /// Lets go of all records before that number.
    pub fn let_go(&mut self, used: u64) {
        while self.first < used {
            let Some(record) = self.buffer.pop_front() else { break };
            self.bytes -= record.value().map_or(0, <[u8]>::len);
            self.first += 1;
        }
        for reading in &mut self.readings {
            while reading.first < self.first && reading.ready.pop_front().is_some() {
                reading.first += 1;
            }
            while reading.changes.pop_front_if(|number| *number < reading.first).is_some() {}
        }
    }
}
