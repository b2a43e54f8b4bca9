//! Batches that real clients wrote say the same here as to Kafka's own classes; see `tests/batches`.

use std::fmt::Write;

use bytes::Bytes;
use weir_wire::batch::{Batch, TimestampType};
use weir_wire::build::{BatchBuilder, marker_batch};
use weir_wire::codec::Codec;
use weir_wire::control::Marker;
use weir_wire::records::Records;

const FILES: [(&str, &str); 3] = [
    ("java", include_str!("../batches/java.txt")),
    ("librdkafka", include_str!("../batches/librdkafka.txt")),
    ("franz-go", include_str!("../batches/franz-go.txt")),
];

/// A batch of a golden file.
pub struct Golden {
    pub name: String,
    /// The lines that describe it.
    pub text: String,
    pub bytes: Bytes,
}

/// All batches of all golden files.
pub fn all() -> Vec<Golden> {
    let mut all = Vec::new();
    for (file, content) in FILES {
        for section in content.split("\n[").map(|section| section.trim_start_matches('[')) {
            let (name, lines) = section.split_once("]\n").unwrap();
            let (text, hex): (Vec<_>, Vec<_>) = lines.lines().partition(|line| line.contains('='));
            let hex = hex.concat();
            let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            let (text, bytes) = (text.join("\n"), bytes.collect());
            all.push(Golden { name: format!("{file}: {name}"), text, bytes });
        }
    }
    all
}

/// The batch as `Batches.java` writes it.
fn describe(batch: &Batch) -> String {
    let horizon = batch.delete_horizon().map_or("none".to_owned(), |time| time.to_string());
    let mut text = format!(
        "batch offsets={}..{} count={} leader_epoch={} codec={} timestamps={} transactional={} control={} \
         max_timestamp={} delete_horizon={horizon} producer={},{} sequences={}..{}",
        batch.base_offset(),
        batch.last_offset(),
        batch.count(),
        batch.leader_epoch(),
        batch.codec().unwrap().name(),
        if batch.timestamp_type() == TimestampType::CreateTime { "create" } else { "append" },
        batch.is_transactional(),
        batch.is_control(),
        batch.max_timestamp(),
        batch.producer_id(),
        batch.producer_epoch(),
        batch.base_sequence(),
        batch.last_sequence(),
    );
    for record in &Records::read(batch, 1 << 20).unwrap() {
        let record = record.unwrap();
        let (key, value) = (part(record.key), part(record.value));
        write!(text, "\nrecord offset={} timestamp={} key={key} value={value}", record.offset, record.timestamp)
            .unwrap();
        for header in record.headers {
            write!(text, " {}:{}", part(Some(header.key)), part(header.value)).unwrap();
        }
    }
    text
}

fn part(part: Option<&[u8]>) -> String {
    match part {
        None => "null".to_owned(),
        Some(part) if part.len() > 40 => format!("{}/{:x}", part.len(), crc32c::crc32c(part)),
        Some(part) => format!("'{}'", part.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

#[test]
fn batches_of_real_clients_say_what_kafka_says() {
    let all = all();
    assert_eq!(all.len(), 42);
    for golden in all {
        let mut bytes = golden.bytes.clone();
        let batch = Batch::split(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty(), "{}", golden.name);
        batch.verify_crc().unwrap();
        assert_eq!(describe(&batch), golden.text, "{}", golden.name);
    }
}

#[test]
fn retaining_all_records_makes_the_same_batch() {
    for golden in all() {
        let batch = Batch::split(&mut golden.bytes.clone()).unwrap().unwrap();
        let mut builder = BatchBuilder::retaining(batch.header(), batch.codec().unwrap(), None);
        for record in &Records::read(&batch, 1 << 20).unwrap() {
            builder.retain(&record.unwrap()).unwrap();
        }
        let again = builder.finish(batch.base_offset()).unwrap();
        // Compressed bytes differ between libraries, the maximum timestamp of an emptied batch is gone, and the deltas
        // of a batch with append time are made from that.
        if batch.codec() == Ok(Codec::None) && batch.count() > 0 && !golden.name.contains("append") {
            assert_eq!(again, golden.bytes, "{}", golden.name);
        } else if batch.count() > 0 {
            assert_eq!(describe(&Batch::split(&mut again.clone()).unwrap().unwrap()), golden.text, "{}", golden.name);
        }
    }
}

#[test]
fn markers_are_kafkas() {
    let check = |name: &str, marker: Marker, offset, timestamp| {
        let golden = all().into_iter().find(|golden| golden.name == name).unwrap();
        assert_eq!(marker_batch(marker, 77, 2, offset, 4, timestamp).unwrap(), golden.bytes, "{name}");
    };
    check("java: marker of a commit", Marker { commit: true, coordinator_epoch: 9 }, 12, 1_700_000_000_000);
    check("java: marker of an abort", Marker { commit: false, coordinator_epoch: -1 }, 13, 1_700_000_000_001);
}
