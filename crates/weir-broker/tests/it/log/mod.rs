//! The log of a partition through its interface: what goes in comes out, whatever happens in between.

mod append;
mod compact;
mod faults;
mod producers;
mod recover;
mod retention;
mod times;

use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use weir_broker::log::{AppendError, Appended, Files, Isolation, Log, LogConfig, Marker, Origin, Slice, Verified};
use weir_wire::batch::Batch;
use weir_wire::build::{BatchBuilder, Producer};
use weir_wire::codec::Codec;
use weir_wire::records::Records;

/// The clock of the tests.
pub const NOW: i64 = 1_700_000_000_000;
pub const CLIENT: Origin = Origin::Client { transaction: Verified::No };

/// A log in a folder of its own, which can be closed, lost and opened again.
pub struct Lab {
    pub folder: TempDir,
    pub files: Arc<Files>,
    pub config: LogConfig,
    pub log: Log,
}

impl Lab {
    pub fn new(config: LogConfig) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(32);
        let log = Log::open(folder.path(), config.clone(), &files, NOW).unwrap();
        Lab { folder, files, config, log }
    }

    /// Opens the log once more from its files as they are: the process was killed.
    pub fn kill(&mut self) {
        self.log = self.open(self.folder.path());
    }

    pub fn open(&self, folder: &Path) -> Log {
        Log::open(folder, self.config.clone(), &self.files, NOW).unwrap()
    }

    pub fn append(&self, batch: Bytes) -> Result<Appended, AppendError> {
        self.log.append(batch, CLIENT, NOW)
    }

    /// One batch of records with these values, keyed by their place.
    pub fn put(&self, values: &[&str]) -> i64 {
        self.append(plain(values)).unwrap().base_offset
    }

    pub fn marker(&self, producer_id: i64, producer_epoch: i16, commit: bool) -> Result<Appended, AppendError> {
        let marker = Marker { producer_id, producer_epoch, coordinator_epoch: 0, commit, transaction_version: 0 };
        self.log.append_marker(marker, NOW)
    }

    /// A transactional batch of a transaction that the coordinator knows.
    pub fn transactional(&self, id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Result<Appended, AppendError> {
        let transaction = self.log.begin_verification(id, epoch, sequence, false, NOW)?;
        let builder = BatchBuilder::new(Codec::None).transactional();
        let batch = batch(builder, Producer { id, epoch, base_sequence: sequence }, values);
        self.log.append(batch, Origin::Client { transaction }, NOW)
    }

    /// All that can be read, as `offset: value`.
    pub fn all(&self) -> Vec<(i64, String)> {
        read_all(&self.log)
    }

    /// All that a reader of committed records sees.
    pub fn committed(&self) -> Vec<(i64, String)> {
        read_committed(&self.log)
    }
}

pub fn plain(values: &[&str]) -> Bytes {
    batch(BatchBuilder::new(Codec::None), Producer::NONE, values)
}

pub fn idempotent(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    batch(BatchBuilder::new(Codec::None), Producer { id, epoch, base_sequence }, values)
}

pub fn batch(builder: BatchBuilder, producer: Producer, values: &[&str]) -> Bytes {
    let mut builder = builder.producer(producer);
    for (at, value) in values.iter().enumerate() {
        builder.push(NOW + at as i64, Some(at.to_string().as_bytes()), Some(value.as_bytes()), &[]).unwrap();
    }
    builder.finish(0).unwrap()
}

/// Reads a log as a consumer does, a little at a time.
pub fn read_all(log: &Log) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    let mut from = log.start();
    while from < log.end() {
        let slice = log.read(from, 200, Isolation::ReadUncommitted, true).unwrap();
        let next = records(&slice, from, &mut all);
        assert!(next > from, "the read at {from} goes on at {next}");
        from = next;
    }
    all
}

/// Reads as a consumer of committed records does: it leaves out the aborted transactions that the log names.
pub fn read_committed(log: &Log) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    let mut from = log.start();
    while from < log.last_stable() {
        let slice = log.read(from, 300, Isolation::ReadCommitted, true).unwrap();
        let mut aborted = slice.aborted.clone();
        aborted.sort_by_key(|aborted| -aborted.first_offset);
        let mut open: Vec<i64> = Vec::new();
        let mut bytes = slice.records.clone();
        let mut next = from;
        while let Some(batch) = Batch::split(&mut bytes).unwrap() {
            while let Some(first) = aborted.pop_if(|first| first.first_offset <= batch.last_offset()) {
                open.push(first.producer_id);
            }
            next = batch.last_offset() + 1;
            if batch.is_control() {
                open.retain(|id| *id != batch.producer_id());
            } else if !(batch.is_transactional() && open.contains(&batch.producer_id())) {
                values(&batch, from, &mut all);
            }
        }
        assert!(next > from, "the read at {from} goes on at {next}");
        from = next;
    }
    all
}

/// Adds the records of a slice and gives the offset to go on at.
pub fn records(slice: &Slice, from: i64, all: &mut Vec<(i64, String)>) -> i64 {
    let (mut bytes, mut next) = (slice.records.clone(), from);
    while let Some(batch) = Batch::split(&mut bytes).unwrap() {
        next = batch.last_offset() + 1;
        if !batch.is_control() {
            values(&batch, from, all);
        }
    }
    next
}

fn values(batch: &Batch, from: i64, all: &mut Vec<(i64, String)>) {
    batch.verify_crc().unwrap();
    for record in &Records::read(batch, 1 << 20).unwrap() {
        let record = record.unwrap();
        if record.offset >= from {
            all.push((record.offset, record.value.map_or("-".to_owned(), |v| String::from_utf8(v.to_vec()).unwrap())));
        }
    }
}

/// `(0, "a"), (1, "b")` …
pub fn from(base: i64, values: &[&str]) -> Vec<(i64, String)> {
    values.iter().enumerate().map(|(at, value)| (base + at as i64, (*value).to_owned())).collect()
}
