//! The walker against `apache-avro`: the same verdict and the same values for whole and for damaged payloads, or one
//! of the differences that [`explained`] lists.

use std::sync::Arc;

use apache_avro::error::Details;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Theirs;
use proptest::prelude::*;
use weir_avro::{Fault, FaultKind, FieldPath, Kind, Limits, NodeId, Schema, Slot, Walker, can_read};

use crate::generate::{self, Choices};

/// Both verdicts on one payload, with what the table of differences looks at.
struct Case<'c> {
    text: &'c str,
    payload: &'c [u8],
    ours: Result<(), Fault>,
    theirs: Result<Theirs, apache_avro::Error>,
    /// How many bytes the oracle left unread.
    rest: usize,
}

/// The differences and why each is right. Everything else must agree.
fn explained(case: &Case) -> bool {
    let has = |what: &str| case.text.contains(what);
    let blocks = has("\"array\"") || has("\"map\"");
    match (&case.ours, &case.theirs) {
        (Ok(()), Ok(_)) => case.rest == 0,
        (Err(_), Err(_)) => true,
        // The oracle limits memory, we limit items: many items without bytes are too much for it alone.
        (Ok(()), Err(e)) => matches!(e.details(), Details::MemoryAllocation { .. }),
        (Err(fault), Ok(_)) => match fault.kind {
            // The oracle reads one datum and leaves what follows.
            FaultKind::TrailingBytes => case.rest == case.payload.len() - fault.offset,
            // The oracle takes a boolean, text or union that is missing at the end for null.
            FaultKind::Truncated => case.rest == 0,
            FaultKind::LengthBeyondEnd => case.rest == 0 || blocks,
            // The oracle does not compare the size of a block with its items, nor look at its sign.
            FaultKind::BadBlockSize | FaultKind::NegativeLength => blocks,
            // The oracle takes the braced, urn and bare spellings of a uuid too.
            FaultKind::BadUuid => has("\"uuid\""),
            // The oracle ignores bytes behind the scale.
            FaultKind::BadBigDecimal => has("\"big-decimal\""),
            // The oracle has no such limits.
            FaultKind::TooDeep | FaultKind::TooManyItems => true,
            _ => false,
        },
    }
}

/// Every path through records that the walker takes, down to four levels.
fn paths(schema: &Schema, id: NodeId, at: &FieldPath, out: &mut Vec<FieldPath>) {
    out.push(at.clone());
    if let Kind::Record { fields } = &schema.node(schema.non_null(id).0).kind
        && at.segments().len() < 4
    {
        fields.iter().for_each(|f| paths(schema, f.node, &at.join(&f.name), out));
    }
}

/// Is the slot what the oracle read? Unions are looked through on both sides.
fn same(schema: &Schema, id: NodeId, slot: Slot, theirs: &Theirs) -> bool {
    if let Kind::Union { branches } = &schema.node(id).kind {
        return match theirs {
            Theirs::Union(branch, value) => same(schema, branches[*branch as usize], slot, value),
            _ => false,
        };
    }
    match (slot, theirs) {
        (Slot::Null, Theirs::Null) => true,
        (Slot::Bool(a), Theirs::Boolean(b)) => a == *b,
        (Slot::Long(a), Theirs::Int(b) | Theirs::Date(b) | Theirs::TimeMillis(b)) => a == i64::from(*b),
        (
            Slot::Long(a),
            Theirs::Long(b)
            | Theirs::TimeMicros(b)
            | Theirs::TimestampMillis(b)
            | Theirs::TimestampMicros(b)
            | Theirs::TimestampNanos(b)
            | Theirs::LocalTimestampMillis(b)
            | Theirs::LocalTimestampMicros(b)
            | Theirs::LocalTimestampNanos(b),
        ) => a == *b,
        (Slot::Double(a), Theirs::Float(b)) => a == f64::from(*b) || (a.is_nan() && b.is_nan()),
        (Slot::Double(a), Theirs::Double(b)) => a.to_bits() == b.to_bits(),
        (Slot::Bytes(a), Theirs::Bytes(b) | Theirs::Fixed(_, b)) => a == b,
        (Slot::Bytes(a), Theirs::Decimal(b)) => apache_avro::Decimal::from(a) == *b,
        (Slot::Bytes(a), Theirs::Duration(b)) => a == <[u8; 12]>::from(*b),
        (Slot::Bytes(a), Theirs::Uuid(b)) => a == b.as_bytes(),
        (Slot::Bytes(_), Theirs::BigDecimal(_)) => true,
        (Slot::Str(a), Theirs::Uuid(b)) => a.as_str().to_lowercase() == b.to_string(),
        (Slot::Str(a), Theirs::String(b) | Theirs::Enum(_, b)) => a.as_str() == b,
        (Slot::Region(region), Theirs::Array(values)) => {
            let Kind::Array { items } = schema.node(id).kind else { return false };
            region.count(schema) == values.len()
                && region.items(schema).zip(values).all(|(s, v)| same(schema, items, s, v))
        }
        (Slot::Region(region), Theirs::Map(entries)) => {
            let Kind::Map { values } = schema.node(id).kind else { return false };
            // Of a repeated key the oracle keeps the last.
            let last: std::collections::HashMap<_, _> = region.entries(schema).collect();
            last.len() == entries.len() && last.iter().all(|(k, s)| same(schema, values, *s, &entries[*k]))
        }
        (Slot::Region(region), Theirs::Record(values)) => {
            let Kind::Record { fields } = &schema.node(id).kind else { return false };
            fields.len() == values.len()
                && (0..values.len()).all(|i| same(schema, fields[i].node, region.field(schema, i), &values[i].1))
        }
        _ => false,
    }
}

/// The oracle's value at `path`; `None` where a parent is null.
fn at<'v>(path: &FieldPath, mut value: &'v Theirs) -> Option<&'v Theirs> {
    for name in path.segments() {
        while let Theirs::Union(_, inner) = value {
            value = inner;
        }
        let Theirs::Record(fields) = value else { return None };
        value = &fields.iter().find(|(n, _)| n == name)?.1;
    }
    Some(value)
}

fn check(
    text: &str,
    parsed: &apache_avro::Schema,
    schema: &Arc<Schema>,
    payload: &[u8],
    whole: bool,
) -> Result<(), TestCaseError> {
    let mut wanted = Vec::new();
    paths(schema, schema.root(), &FieldPath::root(), &mut wanted);
    let walker = Walker::new(schema.clone(), &wanted, Limits::default()).unwrap();
    let mut slots = Vec::new();
    let ours = walker.walk(payload, &mut slots);
    // The verdict does not depend on what is wanted.
    let bare = Walker::new(schema.clone(), &[], Limits::default()).unwrap();
    prop_assert_eq!(&bare.walk(payload, &mut Vec::new()), &ours);
    // Neither does it depend on where the limits lie: the general reader, which JSON asks, spends them alike.
    for limits in [Limits { depth: 2, items: 1000 }, Limits { depth: 64, items: 7 }] {
        let [all, none] = [&wanted[..], &[]].map(|w| Walker::new(schema.clone(), w, limits).unwrap());
        prop_assert_eq!(all.walk(payload, &mut Vec::new()), none.walk(payload, &mut Vec::new()));
    }
    let mut rest = payload;
    let theirs = GenericDatumReader::builder(parsed).build().unwrap().read_value(&mut rest);
    let case = Case { text, payload, ours, theirs, rest: rest.len() };
    prop_assert!(
        explained(&case),
        "{text} {payload:?} ours {:?}, theirs {:?}, rest {}",
        case.ours,
        case.theirs,
        case.rest
    );
    prop_assert!(!whole || case.ours.is_ok(), "a valid payload is refused: {:?}", case.ours);
    if let (Ok(()), Ok(value)) = (&case.ours, &case.theirs) {
        for (path, slot) in wanted.iter().zip(&slots) {
            match at(path, value) {
                Some(value) => {
                    let node = schema.find(path).unwrap();
                    prop_assert!(same(schema, node, *slot, value), "{path}: {slot:?} is not {value:?}");
                }
                None => prop_assert_eq!(slot, &Slot::Absent, "{}", path),
            }
        }
    }
    Ok(())
}

/// The oracle recurses without a limit, so it needs room.
fn with_stack(test: impl FnOnce() + Send + 'static) {
    apache_avro::util::max_allocation_bytes(1 << 20);
    std::thread::Builder::new().stack_size(256 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn whole_and_damaged_payloads_get_the_oracles_verdict_and_values() {
    with_stack(|| {
        let choices = (proptest::collection::vec(any::<u8>(), 0..64), proptest::collection::vec(any::<u8>(), 0..96));
        let damage = proptest::collection::vec(any::<u8>(), 1..24);
        proptest!(ProptestConfig { cases: 10_000, failure_persistence: None, ..Default::default() },
            |((shape, content) in choices, damage in damage)| {
            let text = generate::schema(&mut Choices::new(&shape)).to_string();
            let parsed = apache_avro::Schema::parse_str(&text).unwrap();
            let schema = Arc::new(Schema::parse(&text).unwrap());
            let mut payload = Vec::new();
            generate::payload(&mut Choices::new(&content), &schema, schema.root(), 6, &mut payload);
            check(&text, &parsed, &schema, &payload, true)?;
            let mut damaged = payload.clone();
            generate::mutate(&mut Choices::new(&damage), &mut damaged);
            damaged.truncate(600);
            check(&text, &parsed, &schema, &damaged, false)?;
            // Noise that has nothing to do with the schema.
            check(&text, &parsed, &schema, &content, false)?;
            prop_assert_eq!(can_read(&schema, &schema), []);
        });
    });
}

/// One payload for every row of the table in [`explained`], so that a row that is no longer needed shows.
#[test]
fn every_difference_has_an_example() {
    fn differs(text: &str, payload: &[u8], kind: Option<FaultKind>) {
        let ours = Walker::new(Arc::new(Schema::parse(text).unwrap()), &[], Limits::default()).unwrap();
        assert_eq!(ours.walk(payload, &mut Vec::new()).map_err(|f| f.kind).err(), kind, "{text}");
        let parsed = apache_avro::Schema::parse_str(text).unwrap();
        let theirs = GenericDatumReader::builder(&parsed).build().unwrap().read_value(&mut &payload[..]);
        assert_eq!(theirs.is_err(), kind.is_none(), "{text}");
    }
    with_stack(|| {
        let longs = r#"{"type":"array","items":"long"}"#;
        let list = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
        let uuid = r#"{"type":"string","logicalType":"uuid"}"#;
        let big = r#"{"type":"bytes","logicalType":"big-decimal"}"#;
        let mut bare = vec![64];
        bare.extend(b"00112233445566778899aabbccddeeff");
        let mut deep = [2].repeat(100);
        deep.push(0);
        let mut many = Vec::new();
        generate::put_long(&mut many, 100_000);
        many.push(0);
        differs(r#""long""#, &[2, 2], Some(FaultKind::TrailingBytes));
        differs(r#""boolean""#, &[], Some(FaultKind::Truncated));
        differs(r#"["null","long"]"#, &[], Some(FaultKind::Truncated));
        differs(r#""string""#, &[6, b'a'], Some(FaultKind::LengthBeyondEnd));
        differs(longs, &[1, 20, 2, 0], Some(FaultKind::LengthBeyondEnd));
        differs(longs, &[1, 1, 2, 0], Some(FaultKind::NegativeLength));
        differs(longs, &[1, 0, 2, 0], Some(FaultKind::BadBlockSize));
        differs(uuid, &bare, Some(FaultKind::BadUuid));
        differs(big, &[8, 2, 1, 0, 9], Some(FaultKind::BadBigDecimal));
        differs(list, &deep, Some(FaultKind::TooDeep));
        differs(r#"{"type":"array","items":"null"}"#, &many, None);
    });
}
