//! Batches: what the builder writes is what the reader reads, whatever the codec, and damage has a name.

use bytes::Bytes;
use proptest::prelude::*;
use weir_wire::batch::{Batch, BatchError, HEADER_SIZE, TimestampType};
use weir_wire::build::{BatchBuilder, BuildError, Producer, marker_batch};
use weir_wire::codec::Codec;
use weir_wire::control::Marker;
use weir_wire::records::{Fault, Records, RecordsError};

const LIMIT: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn batch_of(records: &[Plain], builder: BatchBuilder) -> Batch {
    let mut builder = builder;
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers).unwrap();
    }
    one(builder.finish(100).unwrap())
}

fn one(mut bytes: Bytes) -> Batch {
    let batch = Batch::split(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    batch.verify_crc().unwrap();
    batch
}

fn plain(records: &Records) -> Vec<Plain> {
    let plain = |record: Result<weir_wire::records::Record<'_>, _>| {
        let record = record.unwrap();
        let headers = record.headers.into_iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec)));
        Plain {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    };
    records.iter().map(plain).collect()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        (any::<u8>(), 0..5_000usize).prop_map(|(byte, n)| vec![byte; n]),
    ]
}

fn record() -> impl Strategy<Value = Plain> {
    let header = (bytes(), proptest::option::of(bytes()));
    (
        prop_oneof![any::<i64>(), 1_700_000_000_000..1_700_000_100_000i64],
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        proptest::collection::vec(header, 0..3),
    )
        .prop_map(|(timestamp, key, value, headers)| Plain { timestamp, key, value, headers })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_read(
        records in proptest::collection::vec(record(), 0..20),
        codec in proptest::sample::select(&Codec::ALL[..]),
    ) {
        let batch = batch_of(&records, BatchBuilder::new(codec));
        prop_assert_eq!((batch.codec().unwrap(), batch.base_offset()), (codec, 100));
        prop_assert_eq!(batch.count() as usize, records.len());
        prop_assert_eq!(batch.max_timestamp(), records.iter().map(|r| r.timestamp).max().unwrap_or(-1).max(-1));
        let read = Records::read(&batch, LIMIT).unwrap();
        prop_assert_eq!(plain(&read), records);
    }

    #[test]
    fn compression_is_undone_within_the_limit(
        parts in proptest::collection::vec(bytes(), 0..40),
        codec in proptest::sample::select(&Codec::ALL[1..]),
    ) {
        let input = parts.concat();
        let mut compressed = Vec::new();
        codec.compress(&input, &mut compressed).unwrap();
        prop_assert_eq!(&codec.decompress(&compressed, input.len()).unwrap()[..], &input[..]);
        if !input.is_empty() {
            prop_assert!(codec.decompress(&compressed, input.len() - 1).is_err());
        }
    }

    #[test]
    fn no_byte_can_change_unnoticed(records in proptest::collection::vec(record(), 1..4), at: prop::sample::Index, bit in 0..8) {
        let batch = batch_of(&records, BatchBuilder::new(Codec::None));
        let mut bytes = batch.bytes().to_vec();
        let at = at.index(bytes.len() - 16) + 16; // Offset, length and leader epoch are not covered.
        bytes[at] ^= 1u8 << bit;
        let changed = Batch::split(&mut Bytes::from(bytes));
        prop_assert!(changed.is_err() || changed.unwrap().unwrap().verify_crc().is_err());
    }
}

#[test]
fn records_of_an_uncompressed_batch_are_slices_of_the_frame() {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(5, Some(b"key"), Some(b"value"), &[(b"name", Some(b"header")), (b"name", None)]).unwrap();
    let batch = one(builder.finish(7).unwrap());
    let records = Records::read(&batch, 0).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!((record.offset, record.timestamp, record.headers.len()), (7, 5, 2));
    assert_eq!(record.headers.last(b"name").unwrap().value, None);
    assert_eq!(record.headers.last(b"other"), None);
    let value = records.share(record.value.unwrap());
    let range = batch.bytes().as_ptr_range();
    assert!(range.contains(&value.as_ptr()));
    assert_eq!(&value[..], b"value");
    assert_eq!(&records.share(b"elsewhere")[..], b"elsewhere");
}

#[test]
fn attributes_and_producer_are_kept() {
    let mut builder = BatchBuilder::new(Codec::Lz4)
        .producer(Producer { id: 1 << 40, epoch: 5, base_sequence: 17 })
        .transactional()
        .leader_epoch(3)
        .append_time(9_000);
    builder.push(10, None, Some(b"a"), &[]).unwrap();
    builder.push(8, None, None, &[]).unwrap();
    assert_eq!(builder.count(), 2);
    let batch = one(builder.finish(0).unwrap());
    assert!(batch.is_transactional() && !batch.is_control());
    assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (1 << 40, 5, 17));
    assert_eq!((batch.leader_epoch(), batch.last_sequence()), (3, 18));
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (10, 9_000));
    let records = Records::read(&batch, LIMIT).unwrap();
    assert_eq!(records.iter().map(|record| record.unwrap().timestamp).collect::<Vec<_>>(), [9_000; 2]);
}

#[test]
fn compaction_keeps_offsets_producer_and_timestamps() {
    let mut builder =
        BatchBuilder::new(Codec::Zstd).producer(Producer { id: 4, epoch: 0, base_sequence: 60 }).leader_epoch(2);
    for (i, key) in [b"a", b"b", b"c"].into_iter().enumerate() {
        builder.push(1_000 + i as i64, Some(key), None, &[(b"h", Some(b"1"))]).unwrap();
    }
    let batch = one(builder.finish(50).unwrap());
    let retain = |keep: &[u8], horizon| {
        let records = Records::read(&batch, LIMIT).unwrap();
        let mut builder = BatchBuilder::retaining(batch.header(), Codec::Zstd, horizon);
        for record in records.iter().map(Result::unwrap).filter(|record| record.key == Some(keep)) {
            builder.retain(&record).unwrap();
        }
        one(builder.finish(batch.base_offset()).unwrap())
    };
    for horizon in [None, Some(77_000)] {
        let kept = retain(b"b", horizon);
        assert_eq!((kept.base_offset(), kept.last_offset(), kept.count()), (50, 52, 1));
        assert_eq!((kept.producer_id(), kept.base_sequence(), kept.last_sequence()), (4, 60, 62));
        assert_eq!((kept.leader_epoch(), kept.max_timestamp(), kept.delete_horizon()), (2, 1_001, horizon));
        let records = Records::read(&kept, LIMIT).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        assert_eq!((record.offset, record.timestamp, record.key), (51, 1_001, Some(&b"b"[..])));
        assert_eq!(record.headers.last(b"h").unwrap().value, Some(&b"1"[..]));
    }
    let empty = retain(b"none", None);
    assert_eq!((empty.last_offset(), empty.count(), empty.size()), (52, 0, HEADER_SIZE));
    assert_eq!(Records::read(&empty, LIMIT).unwrap().check(), Ok(()));
}

#[test]
fn markers_are_written_and_read() {
    for commit in [true, false] {
        let marker = Marker { commit, coordinator_epoch: 12 };
        let batch = one(marker_batch(marker, 9, 1, 40, 6, 5_000).unwrap());
        assert!(batch.is_control() && batch.is_transactional());
        assert_eq!((batch.producer_id(), batch.base_sequence(), batch.last_offset()), (9, -1, 40));
        let records = Records::read(&batch, LIMIT).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        assert_eq!(Marker::read(&record), Ok(Some(marker)));
    }
    let check = |key: &[u8], value: Option<&[u8]>, expect: Result<Option<bool>, &str>| {
        let mut builder = BatchBuilder::new(Codec::None).control();
        builder.push(0, Some(key), value, &[]).unwrap();
        let batch = one(builder.finish(3).unwrap());
        let records = Records::read(&batch, LIMIT).unwrap();
        let read = Marker::read(&records.iter().next().unwrap().unwrap());
        let read = read.map(|marker| marker.map(|m| m.commit)).map_err(|error| (error.offset, error.part));
        assert_eq!(read, expect.map_err(|part| (3, part)));
    };
    check(b"\0\0\0\x01", Some(b"\0\0\0\0\0\x01"), Ok(Some(true)));
    check(b"\0\x01\0\0", Some(b"\0\x01\0\0\0\x01new"), Ok(Some(false)));
    check(b"\0\0\0\x02", None, Ok(None));
    check(b"\0\0\0", None, Err("key"));
    check(b"\xff\xff\0\0", None, Err("key"));
    check(b"\0\0\0\x01", None, Err("value"));
    check(b"\0\0\0\x01", Some(b"\0\0\0\0\0"), Err("value"));
}

/// A batch of `count` records whose bytes are `records`, with a valid checksum.
fn raw(codec: Codec, count: i32, last_offset_delta: i32, records: &[u8]) -> Batch {
    let mut bytes = BatchBuilder::new(codec).finish(0).unwrap().to_vec();
    bytes.extend_from_slice(records);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    one(Bytes::from(bytes))
}

#[test]
fn malformed_records_say_where() {
    let read = |count, last, records: &[u8]| {
        Records::read(&raw(Codec::None, count, last, records), LIMIT).and_then(|records| records.check())
    };
    let check = |records: &[u8], at: usize, fault: Fault| {
        assert_eq!(read(1, 0, records), Err(RecordsError::Record { index: 0, at, fault }), "{records:x?}");
    };
    // length 6, attributes, timestamp delta 0, offset delta 0, key null, value null, no headers
    let good = [12, 0, 0, 0, 1, 1, 0];
    assert_eq!(read(1, 0, &good), Ok(()));
    assert_eq!(read(0, 0, &[]), Ok(()));
    check(&[16, 0, 0, 0, 1, 1, 0], 0, Fault::Length { field: "length", length: 8, left: 6 });
    check(&[1, 0, 0, 0, 1, 1, 0], 0, Fault::Length { field: "length", length: -1, left: 6 });
    check(&[0, 0, 0, 0, 1, 1, 0], 1, Fault::Cut { field: "attributes" });
    check(&[10, 0, 0, 0, 1, 1, 0], 6, Fault::Cut { field: "headersCount" });
    check(&[14, 0, 0, 0, 1, 1, 0, 9], 7, Fault::Surplus { bytes: 1 });
    check(&[12, 0, 0, 2, 1, 1, 0], 3, Fault::Offset { delta: 1, low: 0, high: 0 });
    check(&[12, 0, 0, 1, 1, 1, 0], 3, Fault::Offset { delta: -1, low: 0, high: 0 });
    check(&[12, 0, 0, 0, 3, 1, 0], 4, Fault::Length { field: "keyLength", length: -2, left: 2 });
    check(&[12, 0, 0, 0, 6, 1, 0], 4, Fault::Length { field: "keyLength", length: 3, left: 2 });
    check(&[12, 0, 0, 0, 1, 4, 0], 5, Fault::Length { field: "valueLength", length: 2, left: 1 });
    check(&[12, 0, 0, 0, 1, 1, 1], 6, Fault::Length { field: "headersCount", length: -1, left: 0 });
    check(&[12, 0, 0, 0, 1, 1, 2], 6, Fault::Length { field: "headersCount", length: 1, left: 0 });
    check(&[16, 0, 0, 0, 1, 1, 2, 1, 1], 7, Fault::Length { field: "headerKeyLength", length: -1, left: 1 });
    check(&[16, 0, 0, 0, 1, 1, 2, 0, 3], 8, Fault::Length { field: "headerValueLength", length: -2, left: 0 });
    check(&[22, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 1, 0, 0], 3, Fault::Varint { field: "offsetDelta" });
    check(&[24, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 1, 0, 0], 3, Fault::Varint { field: "offsetDelta" });
    let mut long = vec![32, 0];
    long.extend_from_slice(&[0xFF; 9]);
    long.extend_from_slice(&[2, 0, 1, 1, 0, 0]);
    check(&long, 2, Fault::Varint { field: "timestampDelta" });
    check(&[12, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 2, Fault::Cut { field: "timestampDelta" });

    let two = [&good[..], &good[..]].concat();
    let low = Fault::Offset { delta: 0, low: 1, high: 1 };
    assert_eq!(read(2, 1, &two), Err(RecordsError::Record { index: 1, at: 10, fault: low }));
    assert_eq!(read(1, 0, &two), Err(RecordsError::Trailing { count: 1, bytes: 7 }));
    assert_eq!(read(2, 1, &good), Err(RecordsError::Count { count: 2, bytes: 7 }));
    assert_eq!(read(i32::MAX, 1, &good), Err(RecordsError::Count { count: i32::MAX, bytes: 7 }));
    let codec = Records::read(&raw(Codec::Zstd, 1, 0, b"no zstd"), LIMIT).unwrap_err();
    assert!(matches!(codec, RecordsError::Codec(_)), "{codec}");
}

#[test]
fn the_reader_stops_after_an_error() {
    let batch = raw(Codec::None, 2, 1, &[12, 0, 0, 4, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0]);
    let records = Records::read(&batch, LIMIT).unwrap();
    let mut iter = records.iter();
    assert!(iter.next().unwrap().is_err());
    assert!(iter.next().is_none());
}

#[test]
fn the_builder_refuses_offsets_that_do_not_ascend() {
    let mut source = BatchBuilder::new(Codec::None);
    source.push(0, None, None, &[]).unwrap();
    let source = one(source.finish(0).unwrap());
    let records = Records::read(&source, LIMIT).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    let mut builder = BatchBuilder::retaining(source.header(), Codec::None, None);
    builder.retain(&record).unwrap();
    assert_eq!(builder.retain(&record), Err(BuildError::Offset { delta: 0, last: 0 }));
    assert_eq!(builder.finish(0).unwrap(), *source.bytes());
}

#[test]
fn errors_read_as_sentences() {
    let error = BatchError::Crc { base_offset: 3, stored: 1, computed: 0xABC };
    assert_eq!(error.to_string(), "record batch at offset 3 has CRC-32C 0x00000001, its bytes have 0x00000abc");
    let fault = Fault::Length { field: "keyLength", length: 9, left: 2 };
    let error = RecordsError::Record { index: 4, at: 70, fault };
    let expect = "record 4 is malformed at byte 70 of the batch's records: keyLength is 9, 2 bytes are left";
    assert_eq!(error.to_string(), expect);
}

#[test]
fn records_are_appended_to_another_batch_with_more_headers_and_read_on_from_a_place() {
    let plain_record = |n: u8| Plain {
        timestamp: 1_000 + i64::from(n),
        key: (n != 1).then(|| vec![n]),
        value: Some(vec![n; 300]),
        headers: vec![(b"own".to_vec(), Some(vec![n]))],
    };
    let all: Vec<Plain> = (0..5).map(plain_record).collect();
    let batch = batch_of(&all, BatchBuilder::new(Codec::Lz4));
    let records = Records::read(&batch, LIMIT).unwrap();
    let mut iter = records.iter();
    iter.next().unwrap().unwrap();
    let place = iter.place();
    assert_eq!((place.index(), iter.count()), (1, 4));
    let mut builder = BatchBuilder::new(Codec::Zstd);
    let mut iter = records.iter_from(place);
    for at in 1..5 {
        if at == 3 {
            let more: [(&[u8], Option<&[u8]>); 2] = [(b"more", Some(b"x")), (b"null", None)];
            builder.append(&iter.next().unwrap().unwrap(), &more).unwrap();
        } else {
            builder.append_skimmed(&iter.skim().unwrap().unwrap()).unwrap();
        }
    }
    assert!(iter.skim().is_none());
    let mut expect = all[1..].to_vec();
    expect[2].headers.extend([(b"more".to_vec(), Some(b"x".to_vec())), (b"null".to_vec(), None)]);
    let appended = one(builder.finish(0).unwrap());
    assert_eq!((appended.count(), appended.last_offset_delta(), appended.max_timestamp()), (4, 3, 1_004));
    assert_eq!(plain(&Records::read(&appended, LIMIT).unwrap()), expect);
    assert_eq!(records.iter_from(Default::default()).count(), 5);
}

#[test]
fn linked_lz4_blocks_are_told_apart() {
    let frame = |flags: u8| [0x04, 0x22, 0x4D, 0x18, flags, 0x40, 0, 0, 0, 0, 0];
    assert!(Codec::Lz4.is_portable(&frame(0x60)) && !Codec::Lz4.is_portable(&frame(0x40)));
    assert!(Codec::Lz4.is_portable(&[]) && Codec::Zstd.is_portable(&frame(0x40)));
}
