//! What was judged and waits for its transaction: whole batches as they came, and batches that are built anew.
//!
//! A batch whose records all go on unchanged keeps its bytes, and only gets another header when it is sent. What keeps a
//! batch from that is told by [`why_rebuilt`]. Small batches are put together, for a broker takes one batch per partition
//! and request, and pays for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weir_wire::batch::{Batch, TimestampType};
use weir_wire::build::{BatchBuilder, BuildError};
use weir_wire::codec::Codec;
use weir_wire::records::{Iter, Record, Records, RecordsError, Skimmed};

use super::producer::Place;
use crate::{Compression, TopicLimit};

/// From how many bytes of records on, decompressed, a batch goes on by itself.
pub(super) const SMALL: usize = 64 << 10;
/// How large a batch is built, before compression, where the topic takes it.
const TARGET: usize = 512 << 10;
/// What a batch may still grow by: the fields of one more record.
const SLACK: usize = 128;
/// How many pieces of memory are kept to build batches in.
const KEPT: usize = 16;

/// Why a batch of accepted records cannot go on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuilt {
    /// Compaction took records out: the deltas have gaps, which a producer's must not have.
    Compacted,
    /// Its records' time is the broker's, of the append to the source.
    AppendTime,
    /// Its base time is when compaction may drop its tombstones.
    DeleteHorizon,
    /// LZ4 frames of linked blocks, which not every client reads.
    Linked,
    /// The topic takes no batch as large.
    TooLarge,
    /// The topic compresses in another way, and the broker would have to.
    Codec,
}

/// What keeps a batch from going on as it is, if all its records do.
pub(super) fn why_rebuilt(batch: &Batch, codec: Codec, limit: TopicLimit) -> Option<Rebuilt> {
    if i64::from(batch.count()) != i64::from(batch.last_offset_delta()) + 1 {
        return Some(Rebuilt::Compacted);
    }
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        return Some(Rebuilt::AppendTime);
    }
    if batch.delete_horizon().is_some() {
        return Some(Rebuilt::DeleteHorizon);
    }
    if batch.size() > limit.bytes {
        return Some(Rebuilt::TooLarge);
    }
    if limit.compression.is_some_and(|wanted| codec_of(wanted) != codec) {
        return Some(Rebuilt::Codec);
    }
    (!codec.is_portable(&batch.payload())).then_some(Rebuilt::Linked)
}

/// A batch could not be built: lack of memory, or a record of 2 GiB.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unbuilt {
    /// See there.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Records that had been read before could not be read again.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

#[derive(Debug, Default)]
struct Pile {
    ready: Vec<Batch>,
    building: Option<BatchBuilder>,
}

/// What waits for its transaction, by output partition.
#[derive(Debug, Default)]
pub(super) struct Out {
    piles: BTreeMap<Place, Pile>,
    bytes: usize,
    records: usize,
    /// When the oldest record that is still being put together came.
    since: Option<Instant>,
    spares: Spares,
}

/// Memory that batches were built in. It is free when nothing refers to the batch any more.
#[derive(Debug, Default)]
struct Spares(Vec<Bytes>);

impl Spares {
    fn take(&mut self) -> Vec<u8> {
        let Some(at) = self.0.iter().position(Bytes::is_unique) else { return Vec::with_capacity(TARGET + SLACK) };
        let mut free = self.0.swap_remove(at);
        // What is in it need not come along.
        free.truncate(0);
        Vec::from(free)
    }

    /// What a record of unusual size has taken is given back.
    fn keep(&mut self, bytes: Bytes) {
        if self.0.len() < KEPT && bytes.len() <= 2 * TARGET {
            self.0.push(bytes);
        }
    }
}

impl Out {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that wait.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// When the oldest record that is still being put together came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Out { spares: std::mem::take(&mut self.spares), ..Out::default() };
    }

    /// Adds a batch as it is, or its records to the others where it is small.
    pub(super) fn whole(
        &mut self,
        place: &Place,
        batch: &Batch,
        records: &Records,
        codec: Codec,
        limit: TopicLimit,
        now: Instant,
    ) -> Result<(), Unbuilt> {
        if records.body().len() < SMALL {
            let count = usize::try_from(records.count()).unwrap_or(0);
            return self.append_all(place, &mut records.iter(), count, codec, limit, now);
        }
        let pile = pile(&mut self.piles, place);
        pile.close(&mut self.spares)?;
        self.records += usize::try_from(batch.count()).unwrap_or(0);
        self.bytes += batch.size();
        pile.ready.push(batch.clone());
        Ok(())
    }

    /// Adds so many records as they are.
    pub(super) fn append_all(
        &mut self,
        place: &Place,
        records: &mut Iter<'_>,
        count: usize,
        codec: Codec,
        limit: TopicLimit,
        now: Instant,
    ) -> Result<(), Unbuilt> {
        self.bytes += pile(&mut self.piles, place).add_all(&mut self.spares, records, count, codec, limit)?;
        self.records += count;
        self.since.get_or_insert(now);
        Ok(())
    }

    /// Adds one record with more headers behind its own.
    pub(super) fn append(
        &mut self,
        place: &Place,
        record: &Record<'_>,
        more: &[(&[u8], Option<&[u8]>)],
        codec: Codec,
        limit: TopicLimit,
        now: Instant,
    ) -> Result<(), Unbuilt> {
        let more_size: usize = more.iter().map(|(name, value)| 10 + name.len() + value.map_or(0, <[u8]>::len)).sum();
        self.build(place, record.parts_size() + more_size, codec, limit, now, |builder| builder.append(record, more))
    }

    /// Adds a record of our own making.
    #[allow(clippy::too_many_arguments, reason = "the parts of a record, and where it goes")]
    pub(super) fn push(
        &mut self,
        place: &Place,
        timestamp: i64,
        key: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
        limit: TopicLimit,
        now: Instant,
    ) -> Result<(), Unbuilt> {
        let own: usize = headers.iter().map(|(name, value)| 10 + name.len() + value.map_or(0, <[u8]>::len)).sum();
        let size = key.map_or(0, <[u8]>::len) + own;
        self.build(place, size, Codec::None, limit, now, |builder| builder.push(timestamp, key, None, headers))
    }

    fn build(
        &mut self,
        place: &Place,
        size: usize,
        codec: Codec,
        limit: TopicLimit,
        now: Instant,
        add: impl FnOnce(&mut BatchBuilder) -> Result<(), BuildError>,
    ) -> Result<(), Unbuilt> {
        self.bytes += pile(&mut self.piles, place).add(&mut self.spares, size, codec, limit, add)?;
        self.records += 1;
        self.since.get_or_insert(now);
        Ok(())
    }

    /// Hands all over, batch by batch in the order of their partition; with `all` also what is still being put together.
    pub(super) fn release(&mut self, all: bool, mut take: impl FnMut(&Place, Batch)) -> Result<(), Unbuilt> {
        let (mut bytes, mut records) = (0, 0);
        for (place, pile) in &mut self.piles {
            if all {
                pile.close(&mut self.spares)?;
            }
            pile.ready.drain(..).for_each(|batch| take(place, batch));
            if let Some(builder) = &pile.building {
                bytes += builder.size();
                records += usize::try_from(builder.count()).unwrap_or(0);
            }
        }
        (self.bytes, self.records) = (bytes, records);
        if all {
            self.since = None;
        }
        Ok(())
    }
}

/// A place's pile. The name is only copied for the first batch.
fn pile<'p>(piles: &'p mut BTreeMap<Place, Pile>, place: &Place) -> &'p mut Pile {
    if !piles.contains_key(place) {
        piles.insert(Place { topic: Arc::clone(&place.topic), partition: place.partition }, Pile::default());
    }
    piles.entry(place.clone()).or_default()
}

impl Pile {
    /// Adds one record of so many bytes; how many the batch has grown by.
    fn add(
        &mut self,
        spares: &mut Spares,
        size: usize,
        codec: Codec,
        limit: TopicLimit,
        add: impl FnOnce(&mut BatchBuilder) -> Result<(), BuildError>,
    ) -> Result<usize, Unbuilt> {
        let (codec, target) = (limit.compression.map_or(codec, codec_of), TARGET.min(limit.bytes));
        let builder = self.builder(spares, size, codec, target)?;
        let before = builder.size();
        add(builder)?;
        Ok(builder.size() - before)
    }

    /// Adds so many records as they are; how many the batches have grown by.
    fn add_all(
        &mut self,
        spares: &mut Spares,
        records: &mut Iter<'_>,
        count: usize,
        codec: Codec,
        limit: TopicLimit,
    ) -> Result<usize, Unbuilt> {
        let (codec, target) = (limit.compression.map_or(codec, codec_of), TARGET.min(limit.bytes));
        let (mut left, mut grown) = (count, 0);
        let mut next = skim(records, left)?;
        while let Some(mut record) = next {
            let builder = self.builder(spares, record.parts_size(), codec, target)?;
            let before = builder.size();
            next = loop {
                builder.append_skimmed(&record)?;
                left -= 1;
                match skim(records, left)? {
                    Some(more) if fits(builder, more.parts_size(), target) => record = more,
                    other => break other,
                }
            };
            grown += builder.size() - before;
        }
        Ok(grown)
    }

    /// What the next record of so many bytes is put into.
    fn builder(
        &mut self,
        spares: &mut Spares,
        size: usize,
        codec: Codec,
        target: usize,
    ) -> Result<&mut BatchBuilder, Unbuilt> {
        if self.building.as_ref().is_some_and(|builder| builder.codec() != codec || !fits(builder, size, target)) {
            self.close(spares)?;
        }
        Ok(self.building.get_or_insert_with(|| BatchBuilder::in_buffer(codec, spares.take())))
    }

    fn close(&mut self, spares: &mut Spares) -> Result<(), Unbuilt> {
        if let Some(builder) = self.building.take().filter(|builder| builder.count() > 0) {
            let (mut bytes, free) = builder.finish_in_buffer(0)?;
            spares.keep(if free.capacity() > 0 { Bytes::from(free) } else { bytes.clone() });
            // What was just built is a batch.
            if let Ok(Some(batch)) = Batch::split(&mut bytes) {
                self.ready.push(batch);
            }
        }
        Ok(())
    }
}

/// Whether a record of so many bytes still goes into a batch.
fn fits(builder: &BatchBuilder, size: usize, target: usize) -> bool {
    builder.size() + size + SLACK <= target
}

/// The next record, if so many are left to be added.
fn skim<'r>(records: &mut Iter<'r>, left: usize) -> Result<Option<Skimmed<'r>>, RecordsError> {
    if left == 0 { Ok(None) } else { records.skim().transpose() }
}

pub(super) fn codec_of(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::Gzip => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory is used again, and only once nothing refers to the batch that was built in it.
    #[test]
    fn memory_of_a_batch_is_used_again_when_the_batch_is_gone() {
        let check = |codec: Codec| {
            let mut spares = Spares::default();
            let build = |spares: &mut Spares| {
                let mut pile =
                    Pile { building: Some(BatchBuilder::in_buffer(codec, spares.take())), ..Pile::default() };
                let add = |builder: &mut BatchBuilder| builder.push(7, Some(b"key"), Some(&[1; 100]), &[]);
                let limit = TopicLimit { bytes: 1 << 20, compression: None, partitions: 1 };
                pile.add(spares, 120, codec, limit, add).unwrap();
                pile.close(spares).unwrap();
                pile.ready.remove(0)
            };
            let first = build(&mut spares);
            assert_eq!(spares.0.len(), 1);
            let at = spares.0[0].as_ptr();
            let second = build(&mut spares);
            let records = Records::read(&first, 1 << 20).unwrap();
            let values: Vec<_> = records.iter().map(|record| record.unwrap().value.unwrap()).collect();
            assert_eq!(values, [[1; 100]]);
            drop(records);
            drop((first, second));
            let (third, fourth) = (spares.take(), spares.take());
            assert!(third.as_ptr() == at || fourth.as_ptr() == at);
            assert!(third.is_empty() && third.capacity() >= TARGET);
        };
        check(Codec::None);
        check(Codec::Lz4);
    }
}
