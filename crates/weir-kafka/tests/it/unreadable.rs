//! Damaged batches: each ends as one entry in quarantine, and the partition goes on behind it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use weir_testkit::kafka::Cluster;

use weir_pump::Route;

use crate::lab::{self, LONG, Lab, Sent};
use crate::segment::{Batch, batches, file, patch};

#[test]
fn damage_becomes_one_entry_and_costs_no_other_record() {
    let Some(mut cluster) = lab::fragile() else { return };
    let lab = Lab::new(cluster.bootstrap());
    // One way to be damaged per partition; partition 0 stays whole.
    let codecs = ["none", "none", "gzip", "lz4", "zstd", "snappy", "none"];
    let partitions = i32::try_from(codecs.len()).unwrap();
    let route = lab.create(partitions);
    let mut sent: BTreeMap<i32, Vec<Sent>> = BTreeMap::new();
    for (partition, codec) in (0..).zip(codecs) {
        let batches: Vec<Vec<Sent>> = (0..5)
            .map(|batch| (batch * 100..batch * 100 + 100).map(|seq| Sent::generate(partition, seq)).collect())
            .collect();
        // Slow to send, so that what is flushed together is one batch.
        lab.send_batches(&route.source, &batches, &[("compression.type", codec), ("linger.ms", "50")]);
        sent.insert(partition, batches.concat());
    }
    let strange = strange::prepare(&Lab::new(cluster.bootstrap()));
    cluster.stop();
    strange.change(&cluster);
    let path = |partition| -> PathBuf { file(&cluster, &route.source, partition) };
    let flip = |bytes: &mut [u8]| bytes[..16].iter_mut().for_each(|byte| *byte ^= 0xff);
    let damage: Vec<(i32, Vec<Batch>)> = vec![
        (1, vec![patch(&path(1), 2, false, flip)]),
        (2, vec![patch(&path(2), 0, true, flip)]),
        // Two in a row, and a good one between two.
        (3, vec![patch(&path(3), 1, true, flip), patch(&path(3), 2, true, flip)]),
        (4, vec![patch(&path(4), 1, true, flip), patch(&path(4), 3, true, flip)]),
        // The last one: nothing behind it tells that something is missing.
        (5, vec![patch(&path(5), 4, true, flip)]),
        (6, vec![patch(&path(6), 3, false, flip), patch(&path(6), 4, false, flip)]),
    ];
    cluster.restart();
    strange.check(&cluster);
    let pump = lab.pump(weir_kafka::PumpConfig { workers: 2, ..lab.config("a") }, &route);
    lab.wait_until_done(&[&pump], &route);
    pump.stop(LONG).unwrap();

    let mut readable = sent.clone();
    let mut entries: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for (partition, batches) in &damage {
        for batch in batches.iter().rev() {
            readable
                .get_mut(partition)
                .unwrap()
                .drain(usize::try_from(batch.first).unwrap()..=usize::try_from(batch.last).unwrap());
        }
        for batch in batches {
            let entry = format!("unreadable {} {partition} {}..{}", route.source, batch.first, batch.last);
            entries.entry(*partition).or_default().push(entry);
        }
    }
    let mut found: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for record in lab.drain(&route.quarantine).into_values().flatten() {
        let what = record.header("weir.test").unwrap();
        if what.starts_with("unreadable") {
            assert_eq!((record.key, record.value), (None, None));
            found.entry(record.partition).or_default().push(what);
        }
    }
    assert_eq!(found, entries);
    let readable: Vec<Sent> = readable.into_values().flatten().collect();
    let quarantined: Vec<Sent> =
        readable.iter().filter(|record| record.value.as_ref().unwrap().starts_with(b"bad")).cloned().collect();
    let accepted: usize = lab.drain(&route.accepted).values().map(Vec::len).sum();
    assert_eq!(accepted, readable.len() - quarantined.len());
    let offsets: i64 = damage.iter().flat_map(|(_, batches)| batches).map(|batch| batch.last - batch.first + 1).sum();
    let counts = pump.ledger().topic(&route.source);
    assert!(counts.balanced());
    assert_eq!(counts.unreadable, offsets.unsigned_abs());
    assert_eq!(counts.quarantined, (quarantined.len() + found.values().map(Vec::len).sum::<usize>()) as u64);
    lab.check_accepted(&route, &readable);
}

/// A header name that is no text, which only a hand can write: forwarded byte for byte. Shares the stop of the broker.
mod strange {
    use super::*;

    const MARK: &[u8] = b"trace";
    const STRANGE: &[u8] = b"\xff\xfe\x80\xc0\xff";

    pub struct Strange {
        lab: Lab,
        route: Route,
    }

    pub fn prepare(cluster: &Lab) -> Strange {
        let lab = Lab::new(cluster.bootstrap.clone());
        let route = lab.create(1);
        lab.fill(&route.source, 1, 0..10);
        Strange { lab, route }
    }

    impl Strange {
        pub fn change(&self, cluster: &Cluster) {
            let source = file(cluster, &self.route.source, 0);
            for index in 0..batches(&fs::read(&source).unwrap()).len() {
                patch(&source, index, true, |bytes| {
                    while let Some(at) = bytes.windows(5).position(|window| window == MARK) {
                        bytes[at..at + 5].copy_from_slice(STRANGE);
                    }
                });
            }
        }

        pub fn check(&self, cluster: &Cluster) {
            let pump = self.lab.pump(self.lab.config("a"), &self.route);
            self.lab.wait_until_done(&[&pump], &self.route);
            pump.stop(LONG).unwrap();
            let count = |topic: &str| {
                let bytes = fs::read(file(cluster, topic, 0)).unwrap();
                bytes.windows(5).filter(|window| *window == STRANGE).count()
            };
            assert_eq!((count(&self.route.source), count(&self.route.accepted)), (2, 2));
        }
    }
}
