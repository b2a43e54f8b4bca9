//! Processes die, partitions move, the registry and the broker go away, all under load; an independent
//! read_committed reader then finds every record once, in order, unchanged, in the right topic.

use std::sync::atomic::{AtomicBool, Ordering};

use weir_kafka::{Read, ReadOptions, Reader, Until};
use weir_testkit::ledger::{Acked, Generator, Id, Ledger, Received, Record};
use weir_testkit::wait_for;

use crate::verdicts::order;
use crate::world::{Enforcer, LANDING, PARTITIONS, QUARANTINE, SECONDS, TOPIC, World};

const CODES: [&str; 8] = [
    "FIELD_RANGE",
    "RULE_FAILED",
    "FIELD_PATTERN",
    "FIELD_ENUM",
    "KEY_MISMATCH",
    "PAYLOAD_MALFORMED",
    "PAYLOAD_TRAILING_BYTES",
    "FRAME_MISSING",
];

fn generator(records: u64) -> Generator {
    Generator {
        run: 1,
        seed: 42,
        partitions: PARTITIONS,
        records,
        keys: 500,
        broken: 50,
        codes: CODES.iter().map(|c| (*c).to_owned()).collect(),
    }
}

/// A slice of the generator's records, for producing round by round.
fn slice(generator: &Generator, from: u64, to: u64) -> impl Iterator<Item = Id> + use<> {
    generator.ids().filter(move |id| (from..to).contains(&id.seq))
}

fn audit(world: &World, ledger: &Ledger<'_>, acked: Vec<Acked>) {
    world.drained(SECONDS(90));
    let summary =
        ledger.compare(acked, world.read(TOPIC), world.read(QUARANTINE)).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!((summary.duplicates, summary.out_of_order, summary.unacked), (0, 0, 0), "{summary}");
    assert!(summary.accepted > 0 && summary.quarantined > 0, "{summary}");
    eprintln!("{summary}");
}

fn done(enforcer: &Enforcer) -> u64 {
    enforcer.metric("weir_enforcer_accepted_total") + enforcer.metric("weir_enforcer_quarantined_total")
}

/// Reads a topic while the faults happen, as a consumer would.
fn follow(world: &World, topic: &str, stop: &AtomicBool) -> Vec<(i32, i64)> {
    let options = ReadOptions { until: Until::Live, ..ReadOptions::default() };
    let mut reader = Reader::open(&world.kafka, topic, options).unwrap();
    let mut seen = Vec::new();
    loop {
        match reader.next(SECONDS(1)) {
            Ok(Read::Record(r)) => seen.push((r.partition, r.offset)),
            Ok(Read::Idle) if stop.load(Ordering::Relaxed) => return seen,
            Ok(_) => {}
            Err(e) if stop.load(Ordering::Relaxed) => panic!("{e}"),
            Err(_) => {}
        }
    }
}

#[test]
fn twenty_kills_under_load_lose_and_double_nothing() {
    const ROUNDS: u64 = 20;
    const EACH: u64 = 6_000;
    let Some(world) = World::start() else { return };
    let generator = generator(ROUNDS * EACH);
    let make = |id: Id, verdict: weir_testkit::ledger::Verdict<'_>| -> Record {
        order(&world, id, &generator.key(id), verdict)
    };
    let ledger = Ledger::new(&generator, LANDING, &make);
    let stop = AtomicBool::new(false);
    let mut acked = Vec::new();
    let mut interrupted = 0;
    let watched = std::thread::scope(|scope| {
        let watching = scope.spawn(|| follow(&world, TOPIC, &stop));
        for round in 0..ROUNDS {
            acked.extend(world.produce(&ledger, slice(&generator, round * EACH, (round + 1) * EACH)));
            let mut enforcer = world.enforcer("a");
            let target =
                generator.draw(Id { run: 1, partition: 0, seq: round }, 9) % (EACH * PARTITIONS as u64 * 3 / 4);
            wait_for(SECONDS(60), "the enforcer to be in the middle of its work", || done(&enforcer) >= target.max(1));
            if done(&enforcer) < EACH * PARTITIONS as u64 {
                interrupted += 1;
            }
            enforcer.process.kill();
        }
        let _last = world.enforcer("a");
        audit(&world, &ledger, std::mem::take(&mut acked));
        stop.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    assert!(interrupted >= ROUNDS / 2, "only {interrupted} of {ROUNDS} kills fell into work; the run shows nothing");
    let mut watched = watched;
    watched.sort_unstable();
    let last: Vec<_> = world.read(TOPIC).iter().map(|r: &Received| (r.partition, r.offset)).collect();
    assert!(watched == last, "a reader during the faults saw other records than one after them");
}

#[test]
fn two_enforcers_and_the_rebalances_between_them_lose_and_double_nothing() {
    const ROUNDS: u64 = 6;
    const EACH: u64 = 8_000;
    let Some(world) = World::start() else { return };
    let generator = generator(ROUNDS * EACH);
    let make = |id: Id, verdict: weir_testkit::ledger::Verdict<'_>| order(&world, id, &generator.key(id), verdict);
    let ledger = Ledger::new(&generator, LANDING, &make);
    let mut acked = Vec::new();
    let _stays = world.enforcer("stays");
    for round in 0..ROUNDS {
        let mut other = world.enforcer("moves");
        acked.extend(world.produce(&ledger, slice(&generator, round * EACH, (round + 1) * EACH)));
        // A partition moved: the newcomer has judged something itself.
        wait_for(SECONDS(60), "the second enforcer to take part", || done(&other) > 0);
        if round % 2 == 0 {
            other.process.kill();
        } else {
            let status = other.process.terminate(SECONDS(30));
            assert!(status.success(), "SIGTERM drains and ends with {status}");
        }
    }
    audit(&world, &ledger, acked);
}

#[test]
fn a_registry_away_for_thirty_seconds_fills_no_quarantine() {
    let Some(mut world) = World::start() else { return };
    let generator = generator(10_000);
    // The registry is away before anything is cached, and new ids keep coming: nothing may be decided.
    world.stop_registry();
    let schema_id = world.schema_id;
    let acked = {
        let make = |id: Id, verdict: weir_testkit::ledger::Verdict<'_>| order(&world, id, &generator.key(id), verdict);
        let ledger = Ledger::new(&generator, LANDING, &make);
        let acked = world.produce(&ledger, slice(&generator, 0, 5_000));
        let enforcer = world.enforcer_unready("a");
        let away = std::time::Instant::now();
        wait_for(SECONDS(30), "the enforcer to say that it waits for the registry", || {
            enforcer.metric("weir_enforcer_stalled_partitions") == PARTITIONS as u64
        });
        let (code, reasons) = enforcer.ready();
        assert!(code == 503 && reasons.contains("registry"), "{code} {reasons}");
        wait_for(SECONDS(40), "thirty seconds without a registry", || {
            assert_eq!(world.outcome().1, quarantined_without_schema(&generator, &world), "an outage is no verdict");
            away.elapsed() >= SECONDS(30)
        });
        (acked, enforcer)
    };
    world.start_registry();
    assert_eq!(world.schema_id, schema_id);
    let (mut acked, enforcer) = acked;
    let make = |id: Id, verdict: weir_testkit::ledger::Verdict<'_>| order(&world, id, &generator.key(id), verdict);
    let ledger = Ledger::new(&generator, LANDING, &make);
    enforcer.wait_ready();
    acked.extend(world.produce(&ledger, slice(&generator, 5_000, 10_000)));
    audit(&world, &ledger, acked);
}

/// Records that need no schema to be turned away may be, in front of the first one that does.
fn quarantined_without_schema(generator: &Generator, world: &World) -> usize {
    let verdict = |partition, seq| generator.verdict(Id { run: 1, partition, seq });
    let leading = |partition| {
        (0..)
            .take_while(|seq| verdict(partition, *seq) == weir_testkit::ledger::Verdict::Quarantined("FRAME_MISSING"))
            .count()
    };
    let most: usize = (0..PARTITIONS).map(leading).sum();
    most.min(world.read(QUARANTINE).len())
}

#[test]
fn a_broker_that_restarts_in_the_middle_loses_and_doubles_nothing() {
    const ROUNDS: u64 = 3;
    const EACH: u64 = 15_000;
    let Some(mut world) = World::start() else { return };
    let generator = generator(ROUNDS * EACH);
    let mut acked = Vec::new();
    let enforcer = world.enforcer("a");
    for round in 0..ROUNDS {
        let before = done(&enforcer);
        {
            let make =
                |id: Id, verdict: weir_testkit::ledger::Verdict<'_>| order(&world, id, &generator.key(id), verdict);
            let ledger = Ledger::new(&generator, LANDING, &make);
            acked.extend(world.produce(&ledger, slice(&generator, round * EACH, (round + 1) * EACH)));
        }
        wait_for(SECONDS(60), "the enforcer to be in the middle of its work", || done(&enforcer) > before);
        if round % 2 == 0 {
            world.cluster.kill();
        } else {
            world.cluster.stop();
        }
        world.cluster.restart();
    }
    let make = |id: Id, verdict: weir_testkit::ledger::Verdict<'_>| order(&world, id, &generator.key(id), verdict);
    let ledger = Ledger::new(&generator, LANDING, &make);
    audit(&world, &ledger, acked);
    assert_eq!(
        enforcer.metric("weir_enforcer_received_total"),
        done(&enforcer) + enforcer.metric("weir_enforcer_released_total")
    );
}

#[test]
fn a_second_enforcer_of_the_same_name_fences_the_first_which_says_so() {
    let Some(world) = World::start() else { return };
    let generator = generator(2_000);
    let make = |id: Id, verdict: weir_testkit::ledger::Verdict<'_>| order(&world, id, &generator.key(id), verdict);
    let ledger = Ledger::new(&generator, LANDING, &make);
    let mut first = world.enforcer("same");
    let mut acked = world.produce(&ledger, slice(&generator, 0, 500));
    world.drained(SECONDS(30));
    let _second = world.enforcer("same");
    acked.extend(world.produce(&ledger, slice(&generator, 500, 2_000)));
    let status = first.process.wait(SECONDS(60));
    assert_eq!(status.code(), Some(70), "a fenced enforcer ends with an error");
    audit(&world, &ledger, acked);
}
