//! Processes die, partitions move, the registry and the broker go away, all under load; an independent
//! read_committed reader then finds every record once, in order, unchanged, in the right topic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use weir_kafka::{Admin, Read, ReadOptions, Reader, Until};
use weir_testkit::ledger::{Acked, Generator, Id, Ledger, Record, Verdict};
use weir_testkit::proxy::{Act, Api, Proxy};
use weir_testkit::{Signal, wait_for};

use crate::verdicts::order;
use crate::world::{Encoder, Enforcer, LANDING, PARTITIONS, QUARANTINE, SECONDS, TOPIC, World, produce};

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

fn generator() -> Generator {
    Generator {
        run: 1,
        seed: 42,
        partitions: PARTITIONS,
        records: 1_000_000,
        keys: 500,
        broken: 50,
        codes: CODES.iter().map(|c| (*c).to_owned()).collect(),
    }
}

fn maker<'m>(encoder: &'m Encoder, generator: &'m Generator) -> impl Fn(Id, Verdict<'_>) -> Record + 'm {
    |id, verdict| order(encoder, id, &generator.key(id), verdict)
}

/// Produces while `faults` happen, and then holds what came out against what went in.
fn under_load(world: &mut World, faults: impl FnOnce(&mut World) -> Enforcer) {
    let twice = written_twice(world, faults);
    assert_eq!(twice, 0, "the producer wrote {twice} records twice, so the run shows nothing");
}

/// As [`under_load`], with the number of records that the producer wrote twice: if there are any, nothing was compared.
fn written_twice(world: &mut World, faults: impl FnOnce(&mut World) -> Enforcer) -> usize {
    let (generator, encoder, kafka) = (generator(), world.encoder.clone(), world.kafka.clone());
    let make = maker(&encoder, &generator);
    let ledger = Ledger::new(&generator, LANDING, &make);
    let stop = AtomicBool::new(false);
    let (acked, enforcer): (Vec<Acked>, Enforcer) = std::thread::scope(|scope| {
        let producing = scope.spawn(|| {
            let make = maker(&encoder, &generator);
            produce(&kafka, &Ledger::new(&generator, LANDING, &make), generator.ids(), &stop)
        });
        // A fault that panics must not leave the producer running.
        let stopping = Stop(&stop);
        let enforcer = faults(world);
        drop(stopping);
        (producing.join().unwrap(), enforcer)
    });
    world.drained(SECONDS(90));
    let mut ids = std::collections::HashSet::new();
    let twice = world.read(LANDING).iter().filter(|r| !ids.insert(r.record.headers.last().cloned())).count();
    if twice > 0 {
        return twice;
    }
    let summary =
        ledger.compare(acked, world.read(TOPIC), world.read(QUARANTINE)).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!((summary.duplicates, summary.out_of_order, summary.unacked), (0, 0, 0), "{summary}");
    assert!(summary.accepted > 0 && summary.quarantined > 0, "{summary}");
    eprintln!("{summary}");
    let page = enforcer.metrics();
    let count = |name: &str| crate::world::sum(&page, name);
    assert_eq!(
        count("weir_enforcer_received_total"),
        count("weir_enforcer_accepted_total")
            + count("weir_enforcer_quarantined_total")
            + count("weir_enforcer_released_total")
            + count("weir_enforcer_in_flight"),
        "{page}"
    );
    0
}

struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn done(enforcer: &Enforcer) -> u64 {
    enforcer.metric("weir_enforcer_accepted_total") + enforcer.metric("weir_enforcer_quarantined_total")
}

fn behind(world: &World) -> u64 {
    let lag = || Admin::new(&world.kafka).ok()?.lag("contract-enforcer", LANDING).ok();
    weir_testkit::wait_for_some(SECONDS(60), "the lag of the group", lag).values().sum()
}

/// Reads a topic while the faults happen, as a consumer would.
fn follow(kafka: &weir_kafka::ClusterConfig, topic: &str, stop: &AtomicBool) -> Vec<(i32, i64)> {
    let options = ReadOptions { until: Until::Live, ..ReadOptions::default() };
    let mut reader = Reader::open(kafka, topic, options).unwrap();
    let mut seen = Vec::new();
    loop {
        match reader.next(SECONDS(1)).unwrap() {
            Read::Record(r) => seen.push((r.partition, r.offset)),
            Read::Idle if stop.load(Ordering::Relaxed) => return seen,
            _ => {}
        }
    }
}

/// `WEIR_KILLS` says how often, 20 times where it is not set.
#[test]
fn kills_under_load_lose_and_double_nothing() {
    let rounds: u64 = std::env::var("WEIR_KILLS").map_or(20, |rounds| rounds.parse().unwrap());
    let Some(mut world) = World::start() else { return };
    let (kafka, stop) = (world.kafka.clone(), AtomicBool::new(false));
    let watched = std::thread::scope(|scope| {
        let watching = scope.spawn(|| follow(&kafka, TOPIC, &stop));
        let stopping = Stop(&stop);
        under_load(&mut world, |world| {
            let (draws, mut interrupted) = (generator(), 0);
            for round in 0..rounds {
                let mut enforcer = world.enforcer("a");
                let target = 1 + draws.draw(Id { run: 1, partition: 0, seq: round }, 9) % 8_000;
                wait_for(SECONDS(60), "the enforcer to be in the middle of its work", || done(&enforcer) >= target);
                enforcer.process.kill();
                interrupted += u64::from(behind(world) > 0);
            }
            assert!(interrupted >= rounds / 2, "only {interrupted} of {rounds} kills fell into work: nothing is shown");
            eprintln!("{rounds} kills, {interrupted} of them into work");
            world.enforcer("a")
        });
        drop(stopping);
        watching.join().unwrap()
    });
    let mut watched = watched;
    watched.sort_unstable();
    let last: Vec<_> = world.read(TOPIC).iter().map(|r| (r.partition, r.offset)).collect();
    assert!(watched == last, "a reader during the faults saw other records than one after them");
}

/// The enforcer dies where it matters: what it last asked has not arrived, or has been carried out and not been answered. All six
/// points with `WEIR_TEST_LONG=1`, else three.
#[test]
fn kills_at_chosen_points_of_a_transaction_lose_and_double_nothing() {
    let Some(mut world) = World::start() else { return };
    let proxy = Proxy::start(&[world.cluster.port()]);
    under_load(&mut world, |world| {
        let start = || {
            let enforcer = world.enforcer_by("a", &proxy.bootstrap());
            enforcer.wait_ready();
            wait_for(SECONDS(60), "the enforcer to be in the middle of its work", || done(&enforcer) > 500);
            enforcer
        };
        let mut enforcer = start();
        let points = [
            (Api::EndTxn, Act::Hold),
            (Api::EndTxn, Act::HoldAnswer),
            (Api::TxnOffsetCommit, Act::HoldAnswer),
            (Api::TxnOffsetCommit, Act::Hold),
            (Api::Produce, Act::HoldAnswer),
            (Api::Fetch, Act::HoldAnswer),
        ];
        let long = std::env::var_os("WEIR_TEST_LONG").is_some_and(|value| value == "1");
        for (api, act) in if long { &points[..] } else { &points[..3] } {
            let fault = proxy.inject(*api, *act, |n| n == 1);
            wait_for(SECONDS(60), &format!("{fault:?} to strike"), || fault.struck() > 0);
            enforcer.process.kill();
            // What was under way arrives when the next one is at work already.
            enforcer = start();
            fault.release();
            wait_for(SECONDS(60), "what was held to be answered", || !fault.answers().is_empty());
            let before = done(&enforcer);
            wait_for(SECONDS(60), "the next one to go on", || done(&enforcer) > before + 500);
        }
        enforcer
    });
}

/// A process that is stopped while another takes over, and goes on as if nothing had happened.
#[test]
fn a_zombie_of_an_enforcer_loses_and_doubles_nothing() {
    let Some(mut world) = World::start() else { return };
    under_load(&mut world, |world| {
        let mut zombie = world.enforcer("zombie");
        wait_for(SECONDS(60), "it to be in the middle of its work", || done(&zombie) > 2_000);
        zombie.process.signal(Signal::Stop);
        let living = world.enforcer("living");
        wait_for(SECONDS(60), "another to be in the middle of its work", || done(&living) > 4_000);
        zombie.process.signal(Signal::Continue);
        let before = done(&zombie);
        // It comes back as a member like any other.
        wait_for(SECONDS(60), "the zombie to work again", || {
            assert_eq!(zombie.process.exited(), None, "a zombie of another name is fenced by the group alone");
            done(&zombie) > before + 500
        });
        assert!(zombie.process.terminate(SECONDS(30)).success());
        living
    });
}

/// The first signal asks it to drain, which takes as long as the cluster lets it; the second ends it at once.
#[test]
fn a_second_signal_ends_a_drain_that_hangs_and_loses_and_doubles_nothing() {
    let Some(mut world) = World::start() else { return };
    let proxy = Proxy::start(&[world.cluster.port()]);
    under_load(&mut world, |world| {
        let mut enforcer = world.enforcer_by("a", &proxy.bootstrap());
        enforcer.wait_ready();
        wait_for(SECONDS(60), "the enforcer to be in the middle of its work", || done(&enforcer) > 500);
        let fault = proxy.inject(Api::EndTxn, Act::Hold, |_| true);
        wait_for(SECONDS(60), "the end of a transaction to be held", || fault.struck() > 0);
        enforcer.process.signal(Signal::Terminate);
        wait_for(SECONDS(10), "readiness to go", || enforcer.ready().0 == 503);
        assert_eq!(enforcer.process.exited(), None, "it waits for the end of the transaction");
        enforcer.process.signal(Signal::Terminate);
        assert_eq!(enforcer.process.wait(SECONDS(5)).code(), Some(130));
        drop(fault);
        world.enforcer("a")
    });
}

#[test]
fn two_enforcers_and_the_rebalances_between_them_lose_and_double_nothing() {
    let Some(mut world) = World::start() else { return };
    under_load(&mut world, |world| {
        let stays = world.enforcer("stays");
        for round in 0..6 {
            let mut other = world.enforcer("moves");
            wait_for(SECONDS(60), "the second enforcer to take part", || done(&other) > 0);
            if round % 2 == 0 {
                other.process.kill();
            } else {
                let status = other.process.terminate(SECONDS(30));
                assert!(status.success(), "SIGTERM drains and ends with {status}");
            }
        }
        stays
    });
}

#[test]
fn a_registry_away_for_thirty_seconds_fills_no_quarantine() {
    let Some(mut world) = World::start() else { return };
    // Away before anything is cached: nothing that needs a schema may be decided.
    world.stop_registry();
    under_load(&mut world, |world| {
        let enforcer = world.enforcer_unready("a");
        let away = Instant::now();
        wait_for(SECONDS(60), "the enforcer to say that it waits for the registry", || {
            enforcer.metric("weir_enforcer_stalled_partitions") == PARTITIONS as u64
        });
        wait_for(SECONDS(10), "readiness to say so too", || {
            let (code, reasons) = enforcer.ready();
            code == 503 && reasons.contains("registry")
        });
        wait_for(SECONDS(60), "thirty seconds without a registry", || {
            assert!(done(&enforcer) <= leading(), "an outage is no verdict");
            away.elapsed() >= SECONDS(30)
        });
        world.start_registry();
        enforcer.wait_ready();
        // The schema is known, its subjects are asked for next: only what flows shows that both are in the cache.
        let before = done(&enforcer);
        wait_for(SECONDS(60), "what has waited to flow", || done(&enforcer) > before + 100);
        // Away once more: what is known keeps flowing.
        world.stop_registry();
        let before = done(&enforcer);
        wait_for(SECONDS(30), "known schemas to keep flowing", || done(&enforcer) > before + 1_000);
        world.start_registry();
        enforcer
    });
}

/// Records at the head of the partitions that are turned away without a schema: those without a schema id.
fn leading() -> u64 {
    let generator = generator();
    let verdict = |partition, seq| generator.verdict(Id { run: 1, partition, seq });
    let leading =
        |partition| (0..).take_while(|seq| verdict(partition, *seq) == Verdict::Quarantined("FRAME_MISSING")).count();
    (0..PARTITIONS).map(leading).sum::<usize>() as u64
}

#[test]
fn a_broker_that_restarts_in_the_middle_loses_and_doubles_nothing() {
    // On a busy machine the test's own idempotent producer may write a batch once more after a restart. Such a run shows nothing of the
    // enforcer.
    for _ in 0..3 {
        let Some(mut world) = World::start() else { return };
        let twice = written_twice(&mut world, |world| {
            let enforcer = world.enforcer("a");
            for _ in 0..3 {
                let before = done(&enforcer);
                let more = || done(&enforcer) > before + 2_000;
                wait_for(SECONDS(60), "the enforcer to be in the middle of its work", more);
                world.cluster.stop();
                world.cluster.restart();
            }
            enforcer
        });
        if twice == 0 {
            return;
        }
        eprintln!("the producer wrote {twice} records twice, once more");
    }
    panic!("the producer wrote records twice in each of three runs");
}

#[test]
fn of_two_enforcers_of_the_same_name_one_is_fenced_and_says_so() {
    let Some(mut world) = World::start() else { return };
    under_load(&mut world, |world| {
        let mut first = world.enforcer("same");
        wait_for(SECONDS(30), "the first to work", || done(&first) > 0);
        let mut second = world.enforcer("same");
        // The first, unless the machine is so slow that its transaction may have timed out: then it comes back, and fences
        // the second.
        let mut ended = || [first.process.exited(), second.process.exited()];
        wait_for(SECONDS(60), "one of the two to end", || ended().iter().any(Option::is_some));
        let [of_first, of_second] = ended();
        let code = of_first.or(of_second).and_then(|status| status.code());
        assert_eq!(code, Some(70), "a fenced enforcer ends with an error");
        if of_first.is_some() { second } else { first }
    });
}
