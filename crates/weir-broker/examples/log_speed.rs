//! How fast the log of a partition is on this machine: `cargo run --release -p weir-broker --example log_speed -- [folder]`.
//!
//! Appends, follows and recovers 1 GB over four partitions, with 160-byte and 1-KiB records, uncompressed and lz4, and prints MB of
//! batches per second. It measures the log alone; the page cache is part of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot be taken ends with a message")]

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use weir_broker::log::{Files, Isolation, Log, LogConfig, Origin, Verified};
use weir_wire::build::BatchBuilder;
use weir_wire::codec::Codec;

const PARTITIONS: usize = 4;
const TOTAL: usize = 1 << 30;
const FETCH: usize = 1 << 20;

fn main() {
    let folder = std::env::args().nth(1).map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder.unwrap_or_else(|| temporary.path().to_owned());
    println!("| record | batch | codec | append MB/s | read MB/s | recovery ms |");
    println!("|---:|---:|---|---:|---:|---:|");
    for (record, batch, codec) in [
        (160, 16 << 10, Codec::None),
        (160, 256 << 10, Codec::None),
        (1024, 16 << 10, Codec::None),
        (1024, 256 << 10, Codec::None),
        (160, 16 << 10, Codec::Lz4),
        (1024, 256 << 10, Codec::Lz4),
    ] {
        measure(&folder.join("log_speed"), record, batch, codec);
    }
}

fn measure(folder: &std::path::Path, record: usize, size: usize, codec: Codec) {
    let _ = std::fs::remove_dir_all(folder);
    let files = Files::new(100);
    let open = || -> Vec<Log> {
        let log = |n: usize| Log::open(&folder.join(n.to_string()), LogConfig::default(), &files, now()).unwrap();
        (0..PARTITIONS).map(log).collect()
    };
    let logs = open();
    let batch = batch(record, size, codec);
    let origin = Origin::Client { transaction: Verified::No };
    let rounds = TOTAL / batch.len();
    let started = Instant::now();
    for round in 0..rounds {
        logs[round % PARTITIONS].append(batch.clone(), origin, now()).unwrap();
    }
    let append = rate(rounds * batch.len(), started);
    let started = Instant::now();
    let mut read = 0;
    for log in &logs {
        let mut from = 0;
        while from < log.end() {
            let slice = log.read(from, FETCH, Isolation::ReadCommitted, true).unwrap();
            read += slice.records.len();
            from += (slice.records.len() / batch.len()) as i64 * records(&batch);
        }
    }
    let read = rate(read, started);
    // Nothing was closed: this is what follows a kill.
    let started = Instant::now();
    let again = open();
    let recovery = started.elapsed().as_millis();
    assert_eq!(again[0].end(), logs[0].end());
    println!("| {record} B | {} KiB | {codec:?} | {append:.0} | {read:.0} | {recovery} |", batch.len() >> 10);
    let _ = std::fs::remove_dir_all(folder);
}

fn batch(record: usize, size: usize, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    let mut seed = 1u64;
    while builder.size() + record < size {
        // Half of the bytes repeat, as in real records.
        let value: Vec<u8> = (0..record)
            .map(|at| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if at % 2 == 0 { b'a' } else { (seed >> 56) as u8 }
            })
            .collect();
        builder.push(now(), Some(&seed.to_be_bytes()), Some(&value), &[]).unwrap();
    }
    builder.finish(0).unwrap()
}

fn records(batch: &Bytes) -> i64 {
    let header = weir_wire::batch::Header::read(batch).unwrap();
    i64::from(header.count())
}

fn rate(bytes: usize, started: Instant) -> f64 {
    bytes as f64 / 1e6 / started.elapsed().as_secs_f64()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}
