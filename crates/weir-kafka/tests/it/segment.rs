//! Damages record batches in the log of a stopped broker.

use std::fs;
use std::path::{Path, PathBuf};

use weir_testkit::kafka::Cluster;

/// The length of a version 2 batch header (Kafka protocol guide, "Record Batch").
const HEADER: usize = 61;
/// Where the bytes begin that the checksum is taken over, and where it stands.
const CRC_FROM: usize = 21;
const CRC_AT: usize = 17;

/// One batch of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub first: i64,
    pub last: i64,
    start: usize,
    end: usize,
}

pub fn file(cluster: &Cluster, topic: &str, partition: i32) -> PathBuf {
    cluster.partition_dir(topic, partition).join("00000000000000000000.log")
}

pub fn batches(bytes: &[u8]) -> Vec<Batch> {
    let mut found = Vec::new();
    let mut start = 0;
    while start + HEADER <= bytes.len() {
        let word = |at: usize| i32::from_be_bytes(bytes[start + at..start + at + 4].try_into().unwrap());
        let first = i64::from_be_bytes(bytes[start..start + 8].try_into().unwrap());
        let end = start + 12 + usize::try_from(word(8)).unwrap();
        found.push(Batch { first, last: first + i64::from(word(23)), start, end });
        start = end;
    }
    found
}

/// Changes the records of the batch with number `index`; with `repair` its checksum is made right again.
pub fn patch(path: &Path, index: usize, repair: bool, change: impl FnOnce(&mut [u8])) -> Batch {
    let mut bytes = fs::read(path).unwrap();
    let batch = batches(&bytes)[index];
    change(&mut bytes[batch.start + HEADER..batch.end]);
    if repair {
        let crc = crc32c(&bytes[batch.start + CRC_FROM..batch.end]);
        bytes[batch.start + CRC_AT..batch.start + CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }
    fs::write(path, bytes).unwrap();
    batch
}

/// Leaves the first `keep` batches.
pub fn cut(path: &Path, keep: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..batches(&bytes)[keep].start]).unwrap();
}

/// CRC-32C (Castagnoli), bit by bit: RFC 3720, appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn the_checksum_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
