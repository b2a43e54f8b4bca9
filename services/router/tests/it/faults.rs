//! Routers die, partitions move, the local state is lost or an old copy of it, the broker goes away, all under load; what
//! views write is then what one thread makes of the same logs, record for record.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use weir_testkit::wait_for;

use crate::load;
use crate::views::{SPEND, fill, orders};
use crate::world::{LONG, ORDERS, Router, World};

/// How often each fault strikes.
fn rounds() -> u32 {
    std::env::var("WEIR_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

/// Records come all the while that `faults` happen; then a router reads everything to its end, and it is compared.
///
/// While they come a router waits for an input that has nothing longer than the load ever lets it wait, and the last one finds all there
/// is: so a task takes its inputs in the order of event time, however they come, and there is one right output.
fn under_load(faults: impl FnOnce(&mut World) -> Vec<Router>) {
    let Some(mut world) = World::start() else { return };
    load::prepare(&mut world);
    world.max_idle_ms = 60_000;
    let (stop, sent) = (AtomicBool::new(false), AtomicI64::new(0));
    let writing = world.writing();
    let routers = std::thread::scope(|scope| {
        scope.spawn(|| {
            // So many at least that each kind of fault of a record is among them.
            while !stop.load(Ordering::Relaxed) || sent.load(Ordering::Relaxed) < 3 * load::STEP {
                let from = sent.load(Ordering::Relaxed);
                let records = load::load(from..from + load::STEP);
                writing.write(records.iter().map(|(topic, key, value, time)| (*topic, &**key, value.clone(), *time)));
                sent.store(from + load::STEP, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let stopping = Stop(&stop);
        let routers = faults(&mut world);
        drop(stopping);
        routers
    });
    drop(routers);
    let sent = sent.into_inner();
    load::close(&world, sent);
    (world.max_idle_ms, world.workers) = (1_000, 0);
    let _last = world.router("a");
    world.caught_up();
    let made = load::check(&world, sent);
    eprintln!("{sent} orders, {made} records of the views, none lost, doubled or out of order");
}

/// Sets the flag even where a fault panics.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many workers the routers of a round have: one, two, and as many as there are where nobody says it. What a worker left open that
/// has no successor nobody but the broker ends.
fn workers(round: u32) -> u32 {
    [2, 0, 1][round as usize % 3]
}

fn received(router: &Router) -> u64 {
    let views = router.views();
    views.as_array().unwrap().iter().filter_map(|view| view["total"]["received"].as_u64()).sum()
}

/// Lets a router work until it has committed something, and then for a moment that differs from round to round.
fn work(router: &Router, round: u32) {
    let before = received(router);
    wait_for(LONG, "the router to commit something", || received(router) > before);
    let until = Instant::now() + Duration::from_millis(u64::from(round * 37 % 150));
    while Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_router_is_killed_again_and_again() {
    under_load(|world| {
        for round in 0..rounds() {
            world.workers = workers(round);
            let mut router = world.router("a");
            work(&router, round);
            router.process.kill();
        }
        vec![]
    });
}

#[test]
fn routers_come_and_go() {
    under_load(|world| {
        let first = world.router("a");
        for round in 0..rounds() {
            world.workers = workers(round);
            let mut second = world.router("b");
            work(&second, round);
            let mut third = world.router("c");
            work(&third, round + 1);
            if round % 2 == 0 {
                second.process.kill();
                third.process.terminate(LONG);
            } else {
                second.process.terminate(LONG);
                third.process.kill();
            }
        }
        vec![first]
    });
}

#[test]
fn the_local_state_is_lost_or_an_old_copy() {
    under_load(|world| {
        let folder = world.state.path().join("a");
        let old = world.state.path().join("old");
        for round in 0..rounds() {
            world.workers = workers(round + 1);
            let mut router = world.router("a");
            work(&router, round);
            router.process.kill();
            match round % 3 {
                0 => {
                    drop(std::fs::remove_dir_all(&old));
                    assert!(
                        std::process::Command::new("cp").arg("-r").args([&folder, &old]).status().unwrap().success()
                    );
                }
                1 => std::fs::remove_dir_all(&folder).unwrap(),
                _ => {
                    drop(std::fs::remove_dir_all(&folder));
                    assert!(
                        std::process::Command::new("cp").arg("-r").args([&old, &folder]).status().unwrap().success()
                    );
                }
            }
        }
        vec![]
    });
}

/// The state of the partitions that move is there already where they go.
#[test]
fn a_copy_takes_over() {
    let Some(mut world) = World::start() else { return };
    world.standby = true;
    fill(&world, ORDERS, &orders(0..2_000));
    world.apply(&[SPEND]);
    let mut first = world.router("a");
    world.caught_up();
    let second = world.router("b");
    wait_for(LONG, "the group to share", || {
        [&first, &second].iter().all(|r| r.view("shop.spend")["tasks"].as_array().is_some_and(|t| !t.is_empty()))
    });
    // Every key once, and the positions of each partition.
    let total = |router: &Router, name: &str| router.view("shop.spend")["total"][name].as_u64().unwrap();
    let own = total(&second, "restored");
    wait_for(LONG, "the copy to be whole", || own + total(&second, "copied") >= 50 + 3);
    first.process.kill();
    wait_for(LONG, "the partitions to move", || {
        second.view("shop.spend")["tasks"].as_array().is_some_and(|t| t.len() == 3)
    });
    assert_eq!(total(&second, "restored"), own, "nothing was left to restore");
    fill(&world, ORDERS, &orders(2_000..2_500));
    world.caught_up();
    world.check("shop.spend");
}

/// A single node that ends beside a full load may leave transactions without their markers, which the router then writes.
#[test]
fn the_broker_stops_or_is_killed_and_starts() {
    under_load(|world| {
        let router = world.router("a");
        for round in 0..rounds().div_ceil(2) {
            work(&router, round);
            match round % 2 {
                0 => world.cluster.stop(),
                _ => world.cluster.kill(),
            }
            world.cluster.restart();
            router.wait_ready();
        }
        work(&router, 0);
        vec![router]
    });
}
