//! Random schemas, payloads of them and damage to payloads, all drawn from one list of choices.
//!
//! Where the list has run out every choice is 0, which is the simplest one, so proptest shrinks a failing case to a
//! small schema and a small payload by shrinking the list.

use serde_json::{Value, json};
use weir_avro::{Kind, Logical, NodeId, Schema};

pub struct Choices<'c>(&'c [u8]);

impl<'c> Choices<'c> {
    pub fn new(bytes: &'c [u8]) -> Choices<'c> {
        Choices(bytes)
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) * n / 256
    }

    fn long(&mut self) -> i64 {
        match self.below(4) {
            0 => i64::from(self.byte() as i8),
            1 => i64::from(i16::from_le_bytes([self.byte(), self.byte()])),
            2 => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            _ => [i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX)][self.below(4)],
        }
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }
}

/// Names of records that are open, and of all types that are finished.
#[derive(Default)]
struct Names {
    open: Vec<String>,
    done: Vec<String>,
    count: usize,
}

pub fn schema(c: &mut Choices) -> Value {
    ty(c, &mut Names::default(), 3)
}

fn ty(c: &mut Choices, names: &mut Names, depth: usize) -> Value {
    let logical = |base: &str, logical: &str| json!({"type": base, "logicalType": logical});
    let kinds = if depth == 0 { 10 } else { 15 };
    match c.below(kinds) {
        0 => json!("long"),
        1 => json!("null"),
        2 => json!("boolean"),
        3 => [json!("int"), logical("int", "date"), logical("int", "time-millis")][c.below(3)].clone(),
        4 => {
            let of = [
                "time-micros",
                "timestamp-millis",
                "timestamp-micros",
                "timestamp-nanos",
                "local-timestamp-millis",
                "local-timestamp-micros",
                "local-timestamp-nanos",
            ];
            logical("long", of[c.below(of.len())])
        }
        5 => json!(["float", "double"][c.below(2)]),
        6 => match c.below(4) {
            0 => json!("bytes"),
            1 => logical("bytes", "uuid"),
            2 => logical("bytes", "big-decimal"),
            _ => json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": c.below(4)}),
        },
        7 => [json!("string"), logical("string", "uuid")][c.below(2)].clone(),
        8 => {
            let name = name(c, names);
            let mut fixed = match c.below(4) {
                0 => json!({"size": c.below(5)}),
                1 => json!({"size": 16, "logicalType": "uuid"}),
                2 => json!({"size": 12, "logicalType": "duration"}),
                _ => json!({"size": 8, "logicalType": "decimal", "precision": 12, "scale": c.below(4)}),
            };
            fixed["type"] = "fixed".into();
            fixed["name"] = name.clone().into();
            names.done.push(name);
            fixed
        }
        9 => {
            let name = name(c, names);
            let symbols: Vec<String> = (0..=c.below(5)).map(|i| format!("S{i}")).collect();
            names.done.push(name.clone());
            json!({"type": "enum", "name": name, "symbols": symbols})
        }
        10 => json!({"type": "array", "items": ty(c, names, depth - 1)}),
        11 => json!({"type": "map", "values": ty(c, names, depth - 1)}),
        12 => union(c, names, depth),
        13 => {
            let name = name(c, names);
            names.open.push(name.clone());
            let fields: Vec<Value> =
                (0..c.below(5)).map(|i| json!({"name": format!("f{i}"), "type": ty(c, names, depth - 1)})).collect();
            names.open.pop();
            names.done.push(name.clone());
            json!({"type": "record", "name": name, "fields": fields})
        }
        _ if !names.open.is_empty() && c.below(2) == 0 => {
            let inner = names.open[c.below(names.open.len())].clone();
            [json!(["null", inner]), json!({"type": "array", "items": inner}), json!({"type": "map", "values": inner})]
                [c.below(3)]
            .clone()
        }
        _ if !names.done.is_empty() => names.done[c.below(names.done.len())].clone().into(),
        _ => json!("long"),
    }
}

fn name(c: &mut Choices, names: &mut Names) -> String {
    names.count += 1;
    format!("{}T{}", ["a.", "a.b.", "c."][c.below(3)], names.count)
}

/// Branches of one kind each, named types apart.
fn union(c: &mut Choices, names: &mut Names, depth: usize) -> Value {
    let mut branches: Vec<Value> = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..=c.below(5) {
        // What a branch defines must not be used elsewhere if the branch is dropped again.
        let done = names.done.len();
        let branch = ty(c, names, depth - 1);
        let kind = branch.get("name").or(branch.get("type")).unwrap_or(&branch).clone();
        if branch.is_array() || seen.contains(&kind) {
            names.done.truncate(done);
            continue;
        }
        seen.push(kind);
        branches.push(branch);
    }
    if branches.is_empty() { json!("long") } else { branches.into() }
}

pub fn put_long(out: &mut Vec<u8>, n: i64) {
    let mut rest = (n << 1 ^ n >> 63) as u64;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// A valid payload of the type at `id`. Past `depth` levels collections are empty and unions end recursion.
pub fn payload(c: &mut Choices, schema: &Schema, id: NodeId, depth: usize, out: &mut Vec<u8>) {
    let node = schema.node(id);
    match &node.kind {
        Kind::Null => {}
        Kind::Boolean => out.push(u8::from(c.byte() & 1 == 1)),
        Kind::Int => put_long(out, i64::from(c.long() as i32)),
        Kind::Long => put_long(out, c.long()),
        Kind::Float => out.extend(c.bytes(4)),
        Kind::Double => out.extend(c.bytes(8)),
        Kind::Bytes | Kind::Fixed { .. } => {
            let bytes = match node.logical {
                Some(Logical::Decimal { precision, .. }) => {
                    let wide = (c.long() % 10i64.pow(precision as u32)).to_be_bytes().to_vec();
                    let short = |w: &[u8]| (w[0] == 0 && w[1] < 0x80) || (w[0] == 0xff && w[1] >= 0x80);
                    let skip = (0..7).take_while(|i| short(&wide[*i..])).count();
                    wide[if matches!(node.kind, Kind::Bytes) { skip } else { 0 }..].to_vec()
                }
                Some(Logical::BigDecimal) => {
                    let mut inner = Vec::new();
                    let unscaled = [(1 + c.byte() / 2), c.byte()];
                    blob(&mut inner, &unscaled);
                    put_long(&mut inner, c.long());
                    inner
                }
                Some(Logical::Uuid) => c.bytes(16),
                Some(Logical::Duration) => c.bytes(12),
                None if matches!(node.kind, Kind::Bytes) => {
                    let n = c.below(5);
                    c.bytes(n)
                }
                _ => match node.kind {
                    Kind::Fixed { size } => c.bytes(size),
                    _ => Vec::new(),
                },
            };
            if matches!(node.kind, Kind::Bytes) { blob(out, &bytes) } else { out.extend(bytes) }
        }
        Kind::String if node.logical.is_some() => {
            let hex: String = c.bytes(16).iter().map(|b| format!("{b:02x}")).collect();
            let text = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
            blob(out, text.as_bytes());
        }
        Kind::String => {
            let words = ["", "a", "S0", "Zürich", "2024-02-29", "{\"x\":1}", "NaN", "\u{1F600}"];
            blob(out, words[c.below(words.len())].as_bytes());
        }
        Kind::Enum { symbols, .. } => put_long(out, c.below(symbols.len()) as i64),
        Kind::Array { items } => blocks(c, out, depth, |c, out, _| payload(c, schema, *items, depth - 1, out)),
        Kind::Map { values } => blocks(c, out, depth, |c, out, i| {
            blob(out, format!("k{i}").as_bytes());
            payload(c, schema, *values, depth - 1, out);
        }),
        Kind::Union { branches } => {
            let flat = |b: &NodeId| !matches!(schema.node(*b).kind, Kind::Record { .. });
            let index = if depth == 0 { branches.iter().position(flat).unwrap_or(0) } else { c.below(branches.len()) };
            put_long(out, index as i64);
            payload(c, schema, branches[index], depth.saturating_sub(1), out);
        }
        Kind::Record { fields } => {
            fields.iter().for_each(|f| payload(c, schema, f.node, depth.saturating_sub(1), out));
        }
    }
}

fn blocks(c: &mut Choices, out: &mut Vec<u8>, depth: usize, mut item: impl FnMut(&mut Choices, &mut Vec<u8>, usize)) {
    let mut index = 0;
    if depth > 0 {
        for _ in 0..c.below(3) {
            let count = 1 + c.below(3);
            let mut body = Vec::new();
            for _ in 0..count {
                item(c, &mut body, index);
                index += 1;
            }
            if c.below(2) == 1 {
                put_long(out, -(count as i64));
                put_long(out, body.len() as i64);
            } else {
                put_long(out, count as i64);
            }
            out.extend(body);
        }
    }
    out.push(0);
}

/// Damages a payload in one to three places.
pub fn mutate(c: &mut Choices, payload: &mut Vec<u8>) {
    for _ in 0..=c.below(3) {
        let at = c.below(payload.len() + 1);
        match c.below(6) {
            0 => payload.truncate(at),
            1 if at < payload.len() => payload[at] ^= 1 << c.below(8),
            2 => {
                let n = c.below(12);
                let extra = c.bytes(n);
                payload.extend(extra);
            }
            3 if at < payload.len() => _ = payload.remove(at),
            4 => {
                let end = payload.len().min(at + c.below(3));
                let mut varint = Vec::new();
                let counts = [-1, 1, 2, 200, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN, i64::MIN + 1, -3];
                put_long(&mut varint, counts[c.below(counts.len())]);
                payload.splice(at..end, varint);
            }
            _ => _ = payload.splice(at..at, vec![0xff; c.below(12)]),
        }
    }
}
