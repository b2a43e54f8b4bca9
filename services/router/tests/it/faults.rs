//! Routers die, partitions move, the local state is lost or an old copy of it, the broker goes away, all under load; what
//! views write is then what one thread makes of the same logs, record for record.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use weir_testkit::wait_for;

use crate::stages::{BY_SIZE, TIERS};
use crate::views::{DAWN, ENRICHED, HOURLY, LARGE, SPEND, customers, fill, orders};
use crate::world::{CUSTOMERS, LONG, ORDERS, Router, World};

const VIEWS: [&str; 6] =
    ["shop.large_orders", "shop.spend", "shop.hourly", "shop.enriched", "shop.by_size", "shop.tiers"];

/// How often each fault strikes.
fn rounds() -> u32 {
    std::env::var("WEIR_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Orders come all the while that `faults` happen; then everything is read to its end and compared.
fn under_load(faults: impl FnOnce(&mut World) -> Vec<Router>) {
    let Some(mut world) = World::start() else { return };
    // All customers before all orders: which of them an order finds must not hang on when it comes.
    fill(&world, CUSTOMERS, &customers(0..300, DAWN - 1_000_000_000));
    world.apply(&[LARGE, SPEND, HOURLY, ENRICHED, BY_SIZE, TIERS]);
    let (stop, sent) = (AtomicBool::new(false), AtomicI64::new(0));
    let writing = Writing::new(&world);
    let routers = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let from = sent.load(Ordering::Relaxed);
                // No more than a slow machine reads to the end in the time that it is given.
                writing.write(from..from + 100);
                sent.store(from + 100, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let stopping = Stop(&stop);
        let routers = faults(&mut world);
        drop(stopping);
        routers
    });
    world.caught_up();
    let mut made = 0;
    for view in VIEWS {
        made += world.check(view);
    }
    eprintln!(
        "{} orders, {made} records of {} views, none lost, doubled or out of order",
        sent.into_inner(),
        VIEWS.len()
    );
    drop(routers);
}

/// Sets the flag even where a fault panics.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The writer of the load, apart from the world that the faults change.
struct Writing {
    kafka: weir_kafka::ClusterConfig,
    schema: std::sync::Arc<weir_avro::Schema>,
    id: u32,
}

impl Writing {
    fn new(world: &World) -> Writing {
        Writing { kafka: world.kafka.clone(), schema: world.products[0].schema.clone(), id: world.ids[ORDERS] }
    }

    fn write(&self, range: std::ops::Range<i64>) {
        let mut writer = weir_kafka::Writer::open(&self.kafka, 10_000).unwrap();
        for (token, (key, value, time)) in orders(range).into_iter().enumerate() {
            let mut bytes = vec![0];
            bytes.extend(self.id.to_be_bytes());
            bytes.extend(weir_avro::from_json(&self.schema, &value.unwrap(), weir_avro::JsonForm::Plain).unwrap());
            let out = weir_kafka::Outgoing {
                topic: ORDERS,
                key: Some(key.as_bytes()),
                value: Some(&bytes),
                timestamp: Some(time),
                ..Default::default()
            };
            writer.send(&out, token).unwrap();
        }
        for delivery in writer.flush() {
            delivery.result.unwrap();
        }
    }
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
        world.workers = 2;
        for round in 0..rounds() {
            let mut router = world.router("a");
            work(&router, round);
            router.process.kill();
        }
        vec![world.router("a")]
    });
}

#[test]
fn routers_come_and_go() {
    under_load(|world| {
        let first = world.router("a");
        for round in 0..rounds() {
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
        vec![world.router("a")]
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

/// Killed, and stopped more than once, only where it is asked for: a single node that ends beside a full load can leave a transaction that
/// nobody ends any more, which no router can mend.
#[test]
fn the_broker_stops_or_is_killed_and_starts() {
    let asked = std::env::var_os("WEIR_TEST_ROUNDS").is_some();
    under_load(|world| {
        let router = world.router("a");
        for round in 0..if asked { rounds().div_ceil(2) } else { 1 } {
            work(&router, round);
            match round % 2 {
                1 if asked => world.cluster.kill(),
                _ => world.cluster.stop(),
            }
            world.cluster.restart();
            router.wait_ready();
        }
        work(&router, 0);
        vec![router]
    });
}
