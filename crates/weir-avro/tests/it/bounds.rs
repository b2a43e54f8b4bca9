//! Poison: payloads that claim more than they hold. Each ends in its exact fault, in time that follows from its own
//! bytes, and without memory by a number that it names.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_avro::{FaultKind, FieldPath, JsonForm, Limits, Schema, Slot, Walker, from_json, to_json};

use crate::generate::put_long;

/// What a fault with its path may cost. A walk that succeeds allocates nothing at all.
const FAULT_BYTES: u64 = 4096;

const LIST: &str = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
const TREE: &str = r#"{"type":"record","name":"T","fields":[{"name":"c","type":{"type":"array","items":"T"}}]}"#;
const ENDLESS: &str = r#"{"type":"record","name":"E","fields":[{"name":"e","type":"E"}]}"#;
const NULLS: &str = r#"{"type":"array","items":"null"}"#;
const LONGS: &str = r#"{"type":"array","items":"long"}"#;
const MAP: &str = r#"{"type":"map","values":"long"}"#;
const EMPTY: &str = r#"{"type":"array","items":{"type":"record","name":"N","fields":[
  {"name":"a","type":"null"},{"name":"b","type":{"type":"fixed","name":"Z","size":0}},{"name":"c","type":"null"}]}}"#;
const ENUM: &str = r#"{"type":"enum","name":"C","symbols":["A","B"]}"#;
const UNION: &str = r#"["null","long"]"#;
const ORDER: &str = r#"{"type":"record","name":"O","fields":[{"name":"id","type":"long"},
  {"name":"note","type":["null","string"]},{"name":"lines","type":{"type":"array","items":
  {"type":"record","name":"Line","fields":[{"name":"sku","type":"string"},{"name":"qty","type":"int"}]}}}]}"#;

/// Varints one after the other.
fn longs(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().fold(Vec::new(), |mut out, n| {
        put_long(&mut out, *n);
        out
    })
}

fn check(schema: &str, payload: &[u8], kind: FaultKind, offset: usize, path: &str) {
    let schema = Arc::new(Schema::parse(schema).unwrap());
    let walker = Walker::new(schema.clone(), &[FieldPath::root()], Limits::default()).unwrap();
    let mut slots = Vec::with_capacity(1);
    let mut result = Ok(());
    let cost = allocation_counter::measure(|| result = walker.walk(payload, &mut slots));
    let fault = result.unwrap_err();
    assert_eq!((fault.kind, fault.offset, fault.path.as_str()), (kind, offset, path));
    assert!(cost.bytes_total < FAULT_BYTES, "{kind:?} cost {cost:?}");
    for form in [JsonForm::Avro, JsonForm::Plain] {
        let mut result = Ok(Value::Null);
        let cost = allocation_counter::measure(|| result = to_json(&schema, payload, form));
        assert_eq!(result, Err(fault.clone()));
        assert!(cost.bytes_total < FAULT_BYTES, "{kind:?} as JSON cost {cost:?}");
    }
}

#[test]
fn counts_and_lengths_are_not_believed() {
    for claim in [i64::MAX, i64::MAX - 1, 1 << 40, i64::from(i32::MAX)] {
        check(LONGS, &longs(&[claim]), FaultKind::CountBeyondEnd, 0, "this");
        check(LONGS, &longs(&[-claim, 0]), FaultKind::CountBeyondEnd, 0, "this");
        check(LONGS, &longs(&[1, 7, claim]), FaultKind::CountBeyondEnd, 2, "this");
        check(MAP, &longs(&[claim]), FaultKind::CountBeyondEnd, 0, "this");
        check(NULLS, &longs(&[claim]), FaultKind::TooManyItems, 0, "this");
        check(EMPTY, &longs(&[claim]), FaultKind::TooManyItems, 0, "this");
        check(r#""string""#, &longs(&[claim]), FaultKind::LengthBeyondEnd, 0, "this");
        check(r#""bytes""#, &longs(&[-claim]), FaultKind::NegativeLength, 0, "this");
        check(MAP, &longs(&[1, claim]), FaultKind::LengthBeyondEnd, 1, "this[0]");
        check(ENUM, &longs(&[claim]), FaultKind::EnumOutOfRange, 0, "this");
        check(UNION, &longs(&[claim]), FaultKind::UnionOutOfRange, 0, "this");
        check(UNION, &longs(&[-claim]), FaultKind::UnionOutOfRange, 0, "this");
    }
    check(LONGS, &longs(&[i64::MIN, 0]), FaultKind::CountBeyondEnd, 0, "this");
    check(NULLS, &longs(&[i64::MIN, 0]), FaultKind::TooManyItems, 0, "this");
    check(LONGS, &longs(&[-1, i64::MIN, 0]), FaultKind::NegativeLength, 0, "this");
    check(LONGS, &longs(&[-1, i64::MAX, 0]), FaultKind::LengthBeyondEnd, 0, "this");
    // A million blocks that together say more than they may.
    let mut blocks = longs(&[100]).repeat(1_000_000);
    blocks.push(0);
    let at = 2 * (4_000_000 / 100);
    let schema = Arc::new(Schema::parse(NULLS).unwrap());
    let fault = Walker::new(schema, &[], Limits::default()).unwrap().walk(&blocks, &mut Vec::new()).unwrap_err();
    assert_eq!((fault.kind, fault.offset < at + 2), (FaultKind::TooManyItems, true));
}

#[test]
fn a_million_levels_end_at_the_limit() {
    let deep = |list: &str, level: &[u8], path: &str| {
        let payload = level.repeat(1_000_000);
        let schema = Arc::new(Schema::parse(list).unwrap());
        let walker = Walker::new(schema.clone(), &[], Limits::default()).unwrap();
        let mut result = Ok(());
        let cost = allocation_counter::measure(|| result = walker.walk(&payload, &mut Vec::new()));
        let fault = result.unwrap_err();
        assert_eq!(fault.kind, FaultKind::TooDeep);
        assert!(fault.path.starts_with(path) && fault.offset <= 200, "{fault}");
        assert!(cost.bytes_total < 4 * FAULT_BYTES, "{cost:?}");
        assert_eq!(to_json(&schema, &payload, JsonForm::Plain), Err(fault));
    };
    deep(LIST, &[2], "n.n.n.");
    deep(TREE, &[2], "c[0].c[0].c");
    deep(ENDLESS, &[2], "e.e.e.");
    let mut value = json!({"n": null});
    for _ in 0..100 {
        value = json!({"n": value});
    }
    let error = from_json(&Schema::parse(LIST).unwrap(), &value, JsonForm::Plain).unwrap_err();
    assert!(error.message.starts_with("values nest too deep"), "{error}");
}

#[test]
fn small_and_broken_payloads_name_their_fault() {
    check(ORDER, &[], FaultKind::Truncated, 0, "id");
    check(ORDER, &[0x80], FaultKind::Truncated, 0, "id");
    check(ORDER, &[2], FaultKind::Truncated, 1, "note");
    check(ORDER, &[2, 4], FaultKind::UnionOutOfRange, 1, "note");
    check(ORDER, &[2, 2, 4, 0xc3, 0x28, 0], FaultKind::BadUtf8, 2, "note");
    check(ORDER, &[2, 0, 2, 2, b'a'], FaultKind::Truncated, 5, "lines[0].qty");
    check(
        ORDER,
        &[2, 0, 4, 2, b'a', 2, 2, b'b', 0x80, 0x80, 0x80, 0x80, 0x20, 0],
        FaultKind::IntOutOfRange,
        8,
        "lines[1].qty",
    );
    check(ORDER, &[2, 0, 0, 0], FaultKind::TrailingBytes, 3, "this");
    check(ORDER, &[0xff; 32], FaultKind::VarintTooLong, 0, "id");
    check(r#""boolean""#, &[2], FaultKind::BadBoolean, 0, "this");
    check(r#""null""#, &[0], FaultKind::TrailingBytes, 0, "this");
    check(r#""double""#, &[0; 7], FaultKind::Truncated, 0, "this");
    check(LONGS, &[3, 2, 2, 2, 2, 0], FaultKind::BadBlockSize, 0, "this");
}

#[test]
fn a_whole_payload_costs_no_allocation() {
    let schema = Arc::new(Schema::parse(ORDER).unwrap());
    let wanted: Vec<FieldPath> = ["id", "note", "lines"].map(FieldPath::parse).to_vec();
    let walker = Walker::new(schema.clone(), &wanted, Limits::default()).unwrap();
    let payload = [2, 2, 4, b'h', b'i', 3, 12, 2, b'a', 2, 2, b'b', 4, 0];
    let mut slots = Vec::with_capacity(wanted.len());
    let cost = allocation_counter::measure(|| {
        walker.walk(&payload, &mut slots).unwrap();
        let Slot::Region(lines) = slots[2] else { panic!() };
        assert_eq!((lines.count(&schema), lines.items(&schema).count()), (2, 2));
    });
    assert_eq!(cost.count_total, 0);
}

/// Values without bytes are bounded on their own, for they cost memory as JSON and nothing in the payload.
#[test]
fn a_few_bytes_do_not_grow_into_a_large_json() {
    for (schema, most) in [(NULLS, 65_535), (EMPTY, 16_383)] {
        let schema = Schema::parse(schema).unwrap();
        let of = |count: i64| to_json(&schema, &longs(&[count, 0]), JsonForm::Plain);
        assert_eq!(of(most).unwrap().as_array().unwrap().len(), most as usize);
        assert_eq!(of(most + 2).unwrap_err().kind, FaultKind::TooManyItems);
    }
}

#[test]
fn siblings_are_no_levels() {
    let schema = Arc::new(Schema::parse(TREE).unwrap());
    let value = json!({"c": vec![json!({"c": [{"c": []}]}); 1000]});
    let payload = from_json(&schema, &value, JsonForm::Plain).unwrap();
    for wanted in [&[][..], &[FieldPath::parse("c")]] {
        let walker = Walker::new(schema.clone(), wanted, Limits::default()).unwrap();
        assert_eq!(walker.walk(&payload, &mut Vec::new()), Ok(()));
    }
    assert_eq!(to_json(&schema, &payload, JsonForm::Plain), Ok(value));
}

#[test]
fn a_wanted_field_exists_and_fills_its_first_slot() {
    let schema = Arc::new(Schema::parse(ORDER).unwrap());
    let walker = |wanted: &[&str]| {
        let wanted: Vec<_> = wanted.iter().map(|p| FieldPath::parse(p)).collect();
        Walker::new(schema.clone(), &wanted, Limits::default())
    };
    let error = walker(&["lines.sku"]).unwrap_err().to_string();
    assert_eq!(error, "the schema has no field lines.sku; use a field of the schema");
    let (walker, mut slots) = (walker(&["id", "note", "id"]).unwrap(), Vec::new());
    walker.walk(&[2, 0, 0], &mut slots).unwrap();
    assert_eq!(slots, [Slot::Long(1), Slot::Null, Slot::Absent]);
}
