//! Mutated inputs for every decoder. Of each input is asked: no panic, an end, no more memory than a bound that follows
//! from its length, and that what was accepted comes back the same when written and read again.
//!
//! All follows from a seed, so a failure names what brings it back. `cargo test` runs a bounded number of inputs,
//! `cargo run --release -p weir-wire --example fuzz -- --inputs N` as many as one likes.

mod mutate;
pub mod targets;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use weir_wire::batch::{Batch, HEADER_SIZE};
use weir_wire::build::BatchBuilder;
use weir_wire::codec::Codec;
use weir_wire::records::Records;
use weir_wire::{ApiKey, RequestHeader, Text, Writer};

use self::mutate::{Rng, mutate};
use self::targets::Target;
use crate::{client_batches, golden};

/// How many accepted mutants are mutated further.
const POOL: usize = 8 * 1024;

/// What a run saw, by target.
#[derive(Default)]
pub struct Report(BTreeMap<&'static str, Seen>);

#[derive(Default)]
struct Seen {
    inputs: u64,
    accepted: u64,
    most: u64,
    /// The share of its bound that an input came nearest to it with, in percent.
    nearest: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| decoder | inputs | accepted | most bytes held | of its bound |\n|---|---:|---:|---:|---:|")?;
        for (name, seen) in &self.0 {
            writeln!(f, "| {name} | {} | {} | {} | {} % |", seen.inputs, seen.accepted, seen.most, seen.nearest)?;
        }
        write!(f, "{} inputs", self.0.values().map(|seen| seen.inputs).sum::<u64>())
    }
}

/// Runs `inputs` inputs that follow from `seed`.
///
/// # Panics
/// At the first input for which something does not hold, with target and bytes.
pub fn run(inputs: u64, seed: u64) -> Report {
    let seeds = corpus();
    // One group after the other, so that the few batches are not lost among the many messages.
    let mut groups: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    for (index, (target, _)) in seeds.iter().enumerate() {
        groups.entry(target.name()).or_default().push(index);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let mut rng = Rng(seed);
    let mut pool: Vec<(Target, Bytes)> = Vec::new();
    let mut report = Report::default();
    for number in 0..inputs {
        let group = &groups[rng.below(groups.len())];
        let from_pool = rng.below(4) == 0 && !pool.is_empty();
        let (target, from) =
            if from_pool { &pool[rng.below(pool.len())] } else { &seeds[group[rng.below(group.len())]] };
        let (target, mut mutant) = (*target, from.to_vec());
        let other = &seeds[group[rng.below(group.len())]].1;
        mutate(&mut rng, &mut mutant, other);
        let input = target.prepare(mutant.clone(), rng.below(4) > 0);
        let context = || format!("input {number} of seed {seed}, {target:?}: {}", hex(&input));

        let mut accepted = Ok(false);
        let used = allocation_counter::measure(|| {
            accepted = catch_unwind(AssertUnwindSafe(|| target.decode(&input)));
        });
        let accepted = accepted.unwrap_or_else(|_| panic!("panic at {}", context()));
        let bound = target.bound(input.len());
        assert!(used.bytes_max <= bound, "{} of {bound} bytes held at {}", used.bytes_max, context());
        if accepted {
            let stable = catch_unwind(AssertUnwindSafe(|| target.check_stable(&input)));
            assert!(stable.is_ok(), "not stable: {}", context());
            let mutant = Bytes::from(mutant);
            if pool.len() < POOL {
                pool.push((target, mutant));
            } else {
                pool[rng.below(POOL)] = (target, mutant);
            }
        }
        let seen = report.0.entry(target.name()).or_default();
        seen.inputs += 1;
        seen.accepted += u64::from(accepted);
        seen.most = seen.most.max(used.bytes_max);
        seen.nearest = seen.nearest.max(100 * used.bytes_max / bound);
    }
    report
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Valid inputs: what Kafka's own classes, librdkafka and franz-go wrote, each alone and as part of what holds it.
fn corpus() -> Vec<(Target, Bytes)> {
    let mut corpus = Vec::new();
    let mut frames = Vec::new();
    for sample in golden::samples() {
        corpus.push((Target::Message(sample.name, sample.version), sample.bytes.clone()));
        let key = |suffix| {
            let name = sample.name.strip_suffix(suffix)?;
            ApiKey::ALL.iter().copied().find(|key| key.to_string() == name)
        };
        if let Some(key) = key("Request") {
            let client_id = Some(Text::from("client"));
            let (api_key, api_version) = (key.number(), sample.version);
            let header = RequestHeader { api_key, api_version, correlation_id: 7, client_id };
            let mut writer = Writer::new();
            weir_wire::header::write_request_header(&header, &mut writer).unwrap();
            writer.bytes(&sample.bytes);
            let request = writer.into_bytes().unwrap();
            frames.extend_from_slice(&(request.len() as u32).to_be_bytes());
            frames.extend_from_slice(&request);
            corpus.push((Target::Request, request));
            if frames.len() > 1_000 {
                corpus.push((Target::Frame, Bytes::from(std::mem::take(&mut frames))));
            }
        }
        if let Some(key) = key("Response") {
            let mut writer = Writer::new();
            weir_wire::header::write_response_header(7, &mut writer, key, sample.version);
            writer.bytes(&sample.bytes);
            corpus.push((Target::Response(key, sample.version), writer.into_bytes().unwrap()));
        }
    }
    let mut run = Vec::new();
    for golden in client_batches::all() {
        let batch = Batch::split(&mut golden.bytes.clone()).unwrap().unwrap();
        if batch.size() < 1_000 {
            run.extend_from_slice(batch.bytes());
            corpus.push((Target::Batches, Bytes::from(run.clone())));
            run.drain(..run.len().saturating_sub(2_000));
        }
        match batch.codec().unwrap() {
            Codec::None => {}
            codec => corpus.push((Target::Codec(codec), batch.bytes().slice(HEADER_SIZE..))),
        }
        // Uncompressed, mutations reach the records themselves.
        let mut builder = BatchBuilder::retaining(batch.header(), Codec::None, None);
        for record in &Records::read(&batch, 1 << 20).unwrap() {
            builder.retain(&record.unwrap()).unwrap();
        }
        if builder.size() < 1_000 {
            corpus.push((Target::Records, builder.finish(0).unwrap()));
        }
        corpus.push((Target::Records, golden.bytes));
    }
    corpus.push((Target::Marker, Bytes::from_static(b"\0\0\0\x01\0\0\0\0\0\x09")));
    corpus.push((Target::Marker, Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff")));
    corpus
}

#[test]
fn decoders_survive_mutated_inputs() {
    let report = run(200_000, 1);
    println!("{report}");
    assert!(report.0.values().all(|seen| seen.inputs > 1_000 && seen.accepted > 100), "{report}");
}
