//! The order of the benchmarks: 13 fields, 11 rules, 160 bytes; and the same work written by hand.

#![allow(dead_code, reason = "the benchmark and the tests each use a part")]

use std::sync::Arc;

use regex::Regex;
use weir_avro::{JsonForm, Schema, from_json};
use weir_contract::{Binding, compile, read};

/// The Avro schema.
pub const SCHEMA: &str = include_str!("order.avsc");
/// The contract.
pub const CONTRACT: &str = include_str!("order.odcs.yaml");

/// The contract bound to its own schema.
pub fn binding() -> Binding {
    let (contract, findings) = read(CONTRACT, "order.odcs.yaml");
    let (compiled, more) = compile(&contract.unwrap_or_else(|| panic!("{findings:?}")), &|_| Some(SCHEMA.to_owned()));
    let object = compiled.unwrap_or_else(|| panic!("{more:?}")).objects.remove(0);
    object.bind(Arc::new(Schema::parse(SCHEMA).unwrap())).unwrap()
}

/// One order that keeps every rule, and its key.
pub fn payload(n: u64) -> (String, Vec<u8>) {
    let id = format!("ORD-{:010}", 1_000_000 + n);
    let status = ["NEW", "PAID", "SHIPPED"][(n % 3) as usize];
    let coupon = n.is_multiple_of(2).then_some("SPRING-2026-SALE");
    let order = serde_json::json!({
        "order_id": id, "customer_id": 4_000_000 + n, "store_id": 12 + n % 400, "placed_at": "2026-03-01T10:15:30Z",
        "status": status, "currency": "EUR", "quantity": 1 + n % 20,
        "unit_price": 19.99, "discount": 1.5, "total": 38.48, "email": format!("customer{n:08}@example.org"),
        "coupon": coupon, "note": "please leave the parcel at the back door by the barn, thank you",
    });
    let schema = Schema::parse(SCHEMA).unwrap();
    (id, from_json(&schema, &order, JsonForm::Plain).unwrap())
}

/// A decoder for exactly this schema with exactly these rules in it, as a careful engineer would write it.
pub struct ByHand {
    order_id: Regex,
}

impl Default for ByHand {
    fn default() -> Self {
        Self { order_id: Regex::new("^ORD-[0-9]{10}$").unwrap() }
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn long(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for (i, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.long()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn double(&mut self) -> Option<f64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(f64::from_le_bytes(*bytes))
    }
}

impl ByHand {
    /// How many rules an order breaks; nothing where it is no order.
    pub fn check(&self, body: &[u8]) -> Option<u32> {
        let mut bytes = Bytes(body);
        let mut broken = 0;
        let mut must = |holds: bool| broken += u32::from(!holds);
        let order_id = bytes.text()?;
        must(self.order_id.is_match(order_id));
        let customer = bytes.long()?;
        must(customer >= 1);
        let store = i32::try_from(bytes.long()?).ok()?;
        must((1..=9999).contains(&store));
        let placed_at = bytes.long()?;
        must(placed_at >= 1_577_836_800_000);
        let status = usize::try_from(bytes.long()?).ok().filter(|i| *i < 4)?;
        must(status < 3);
        let currency = bytes.text()?;
        must(currency.chars().count() == 3);
        let quantity = i32::try_from(bytes.long()?).ok()?;
        must(quantity >= 1);
        must(quantity <= 1000);
        let unit_price = bytes.double()?;
        must(unit_price > 0.0);
        let discount = bytes.double()?;
        let total = bytes.double()?;
        must(total >= 0.0);
        let _email = bytes.text()?;
        for _ in 0..2 {
            match bytes.long()? {
                0 => {}
                1 => drop(bytes.text()?),
                _ => return None,
            }
        }
        must(discount <= total);
        bytes.0.is_empty().then_some(broken)
    }
}
