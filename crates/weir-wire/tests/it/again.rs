//! Batches that are built of the records of compressed ones: what is used again of the old compression changes nothing that
//! is read, and costs little of what the codec would have found.

use std::io::Write;

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;
use weir_wire::batch::{Batch, HEADER_SIZE};
use weir_wire::build::BatchBuilder;
use weir_wire::codec::Codec;
use weir_wire::records::Records;

const LIMIT: usize = 16 << 20;
const WORDS: [&str; 8] = ["leave", "it", "with", "the", "neighbours", "on", "second", "floor"];

/// A value of so many words, with a number here and there.
fn value(seed: u64, words: usize) -> Vec<u8> {
    let hash = |n: u64| (seed * 1_000 + n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let word = |n: u64| format!("{} {} ", WORDS[(hash(n) % 8) as usize], hash(n) % 977);
    (0..words as u64).flat_map(|n| word(n).into_bytes()).collect()
}

fn one(mut bytes: Bytes) -> Batch {
    Batch::split(&mut bytes).unwrap().unwrap()
}

/// A batch of these values as a client compresses it.
fn batch(values: &[Vec<u8>], base: i64, mode: BlockMode, size: BlockSize) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    for (n, value) in values.iter().enumerate() {
        builder.push(base + n as i64 / 7, Some(b"c-1"), Some(value), &[]).unwrap();
    }
    let plain = builder.finish(100).unwrap();
    let info = FrameInfo::new().block_mode(mode).block_size(size);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&plain[HEADER_SIZE..]).unwrap();
    let mut bytes = [&plain[..HEADER_SIZE], &encoder.finish().unwrap()].concat();
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = Codec::Lz4.id();
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    one(Bytes::from(bytes))
}

/// Takes the records that `stays` names out of the batches, with one that is new after every so many.
fn rebuilt(batches: &[Batch], stays: impl Fn(usize) -> bool, own: usize) -> (Batch, Vec<Vec<u8>>) {
    let (mut builder, mut expect, mut at) = (BatchBuilder::new(Codec::Lz4), Vec::new(), 0);
    for batch in batches {
        let records = Records::read(batch, LIMIT).unwrap();
        let values: Vec<Vec<u8>> = records.iter().map(|record| record.unwrap().value.unwrap().to_vec()).collect();
        builder.continue_with(batch);
        let mut iter = records.iter();
        for value in values {
            let record = iter.skim().unwrap().unwrap();
            if stays(at) {
                builder.append_skimmed(&record).unwrap();
                expect.push(value);
            }
            at += 1;
            if own > 0 && at.is_multiple_of(own) {
                let value = format!("of our own: {at}").into_bytes();
                builder.push(0, None, Some(&value), &[]).unwrap();
                expect.push(value);
            }
        }
    }
    (one(builder.finish(0).unwrap()), expect)
}

fn values(batch: &Batch) -> Vec<Vec<u8>> {
    let records = Records::read(batch, LIMIT).unwrap();
    records.iter().map(|record| record.unwrap().value.unwrap().to_vec()).collect()
}

/// How many bytes the records of a batch take when they are compressed as if they had never been before.
fn afresh(batch: &Batch) -> usize {
    let mut out = Vec::new();
    Codec::Lz4.compress(Records::read(batch, LIMIT).unwrap().body(), &mut out).unwrap();
    out.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_compressed_again_is_read_as_it_was(
        sizes in prop::collection::vec((0..1_500usize, 1..40usize, any::<bool>(), 0..4usize), 1..4),
        one_in in 1..200usize,
        runs in any::<bool>(),
        own in prop_oneof![Just(0usize), 1..300usize],
    ) {
        let batches: Vec<Batch> = sizes.iter().enumerate().map(|(n, (count, words, linked, size))| {
            let values: Vec<_> = (0..*count).map(|at| value((n * 31 + at % 611) as u64, words + at % 3)).collect();
            let mode = if *linked { BlockMode::Linked } else { BlockMode::Independent };
            let sizes = [BlockSize::Max64KB, BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB];
            batch(&values, n as i64 * 1_000, mode, sizes[*size])
        }).collect();
        // One in so many is taken out, or so many in a row.
        let stays = |at: usize| if runs { (at / one_in).is_multiple_of(2) } else { !(at + 1).is_multiple_of(one_in) };
        let (built, expect) = rebuilt(&batches, stays, own);
        built.verify_crc().unwrap();
        prop_assert!(values(&built) == expect);
        if !expect.is_empty() {
            // The decoder of the library takes it too, and Java needs blocks that stand alone.
            let mut out = Vec::new();
            std::io::copy(&mut lz4_flex::frame::FrameDecoder::new(&built.payload()[..]), &mut out).unwrap();
            prop_assert!(out == *Records::read(&built, LIMIT).unwrap().body());
            prop_assert!(Codec::Lz4.is_portable(&built.payload()));
        }
        let (again, afresh) = (built.payload().len(), afresh(&built));
        prop_assert!(again <= afresh + afresh / 4 + 200, "{again} bytes, where {afresh} would do");
    }
}

/// With one record in a hundred taken out, next to nothing is lost.
#[test]
fn a_batch_that_lost_a_few_records_is_as_small_as_before() {
    let values: Vec<_> = (0..6_000).map(|at| value(at % 997, 12)).collect();
    let whole = batch(&values, 0, BlockMode::Independent, BlockSize::Max64KB);
    let (built, _) = rebuilt(&[whole], |at| at % 100 != 7, 0);
    let (again, afresh) = (built.payload().len(), afresh(&built));
    assert!(again <= afresh + afresh / 20, "{again} bytes, where {afresh} would do");
}
