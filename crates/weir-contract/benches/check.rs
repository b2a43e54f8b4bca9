//! The check of one event against `apache_avro::from_avro_datum`, which decodes only, and a decoder by hand with the
//! same rules. Prints a ratio for each beside criterion's report.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test or benchmark ends where its ground is missing")]

#[path = "order/mod.rs"]
mod order;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use weir_avro::{Slot, recycle};
use weir_contract::Event;

fn bench(criterion: &mut Criterion) {
    let binding = order::binding();
    let payloads: Vec<_> = (0..1024).map(order::payload).collect();
    let by_hand = order::ByHand::default();
    let oracle = apache_avro::Schema::parse_str(order::SCHEMA).expect("the schema is valid");
    let bytes = payloads.iter().map(|(_, body)| body.len()).sum::<usize>() / payloads.len();
    let mut group = criterion.benchmark_group(format!("check/{bytes} bytes"));
    let mut next = 0;
    group.bench_function("weir", |b| {
        let mut slots: Vec<Slot<'_>> = Vec::new();
        b.iter(|| {
            next = (next + 1) % payloads.len();
            let (key, body) = &payloads[next];
            let event = Event { key: Some(key.as_bytes()), body, headers: &[], timestamp_ms: None, now_ms: 0 };
            let report = binding.check(black_box(&event), &mut slots).expect("the payload is an order");
            assert!(report.violations().is_empty());
            slots = recycle(std::mem::take(&mut slots));
        });
    });
    group.bench_function("by_hand", |b| {
        b.iter(|| {
            next = (next + 1) % payloads.len();
            assert_eq!(by_hand.check(black_box(&payloads[next].1)), Some(0));
        });
    });
    group.bench_function("apache_avro", |b| {
        b.iter(|| {
            next = (next + 1) % payloads.len();
            let mut body = payloads[next].1.as_slice();
            // Deprecated in favour of a reader that does the same work; the design's budget names this one.
            #[expect(deprecated)]
            let value = apache_avro::from_avro_datum(&oracle, &mut body, None);
            black_box(value.expect("the payload is an order"));
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
