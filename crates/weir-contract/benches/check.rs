//! The check of one event against `apache_avro::from_avro_datum`, which decodes only, and against a decoder by hand with
//! the same rules in it.
//!
//! The kernels take turns in short rounds and each is told by its fastest round, so that the ratios mean the same on a
//! busy machine. One line per ratio: `bench <name> ratio=<x> goal=<=y` or `goal=>=y`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test or benchmark ends where its ground is missing")]
#![allow(clippy::print_stdout, reason = "the lines are what the benchmark is for")]

#[path = "order/mod.rs"]
mod order;

use std::hint::black_box;
use std::time::Instant;

use weir_avro::{Slot, recycle};
use weir_contract::Event;

const ROUNDS: usize = 400;

type Payloads = [(String, Vec<u8>)];

fn main() {
    let payloads: Vec<_> = (0..512).map(order::payload).collect();
    let bytes = payloads.iter().map(|(_, body)| body.len()).sum::<usize>() / payloads.len();
    let binding = order::binding();
    let by_hand = order::ByHand::default();
    let schema = apache_avro::Schema::parse_str(order::SCHEMA).expect("the schema is valid");
    let weir = |payloads: &Payloads| {
        let mut slots: Vec<Slot<'_>> = Vec::new();
        for (key, body) in payloads {
            let event = Event { key: Some(key.as_bytes()), body, headers: &[], timestamp_ms: None, now_ms: 0 };
            let report = binding.check(black_box(&event), &mut slots).expect("the payload is an order");
            assert!(report.violations().is_empty());
            slots = recycle(std::mem::take(&mut slots));
        }
    };
    let hand = |payloads: &Payloads| {
        for (_, body) in payloads {
            assert_eq!(by_hand.check(black_box(body)), Some(0));
        }
    };
    let apache = |payloads: &Payloads| {
        for (_, body) in payloads {
            // Deprecated in favour of a reader that does the same work; the budget names this one.
            #[expect(deprecated)]
            let value = apache_avro::from_avro_datum(&schema, &mut black_box(body).as_slice(), None);
            black_box(value.expect("the payload is an order"));
        }
    };
    let kernels: [&dyn Fn(&Payloads); 3] = [&weir, &hand, &apache];
    let mut best = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        for (kernel, best) in kernels.iter().zip(&mut best) {
            let start = Instant::now();
            kernel(&payloads);
            *best = best.min(start.elapsed().as_secs_f64() * 1e9 / payloads.len() as f64);
        }
    }
    let [weir, hand, apache] = best;
    println!(
        "# check of a {bytes}-byte order: weir {weir:.0} ns, by hand {hand:.0} ns, apache-avro decode {apache:.0} ns"
    );
    println!("bench check_by_hand ratio={:.2} goal=<=3", weir / hand);
    println!("bench check_apache_avro ratio={:.1} goal=>=10", apache / weir);
}
