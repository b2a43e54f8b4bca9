//! Runs mutated inputs through every decoder; see `tests/it/fuzz`.
//!
//! `cargo run --release -p weir-wire --example fuzz -- --inputs 10000000 --seed 1`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test run by hand")]

use std::time::Instant;

#[path = "../tests/it/client_batches.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod client_batches;
#[path = "../tests/it/fuzz/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod fuzz;
#[path = "../tests/it/golden.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod golden;

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut inputs, mut seed) = (1_000_000, 1);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|value| value.parse().ok());
        match (name.as_str(), value) {
            ("--inputs", Some(value)) => inputs = value,
            ("--seed", Some(value)) => seed = value,
            _ => panic!("usage: fuzz [--inputs N] [--seed N]"),
        }
    }
    let start = Instant::now();
    let report = fuzz::run(inputs, seed);
    println!("{report} of seed {seed} in {:.1} s", start.elapsed().as_secs_f64());
}
