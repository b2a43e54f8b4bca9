//! A condition that the slots decide says what its evaluation says, errors included.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value as Json, json};
use weir_avro::{JsonForm, Limits, Schema, Walker, from_json};
use weir_expr::{Env, Input, Wanted, compile};

/// Comparisons of every kind of field with the constants around its ends, and of fields with each other.
fn condition() -> impl Strategy<Value = String> {
    let op = || select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let whole = || select(vec!["-9223372036854775808", "-1", "0", "1", "3", "9223372036854775807"]);
    let real = || select(vec!["-1.0", "0.0", "-0.0", "0.5", "1.0", "1e308 * 10.0", "-1e308 * 10.0", "0.0 / 0.0"]);
    let wholes = || select(vec!["this.quantity", "this.total", "this.discount", "size(this.id)", "size(this.note)"]);
    let reals = || select(vec!["this.price", "this.rate", "this.ratio"]);
    let worked = || {
        let number = || {
            select(vec![
                "this.price",
                "this.rate",
                "double(this.quantity)",
                "double(this.discount)",
                "0.5",
                "double(this.price)",
            ])
        };
        let sign = || select(vec!["+", "-", "*", "/"]);
        (number(), sign(), number(), sign(), number()).prop_map(|(a, x, b, y, c)| format!("({a} {x} {b} {y} {c})"))
    };
    let texts = || select(vec!["this.id", "this.note", "this.status"]);
    let text = || select(vec!["''", "'NEW'", "'é'", "'aaa'"]);
    let leaf = prop_oneof![
        (wholes(), op(), whole()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (whole(), op(), wholes()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (wholes(), op(), wholes()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (reals(), op(), real()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (real(), op(), reals()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (reals(), op(), reals()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (worked(), op(), reals()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (real(), op(), worked()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (worked(), op(), worked()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (texts(), select(vec!["==", "!="]), text()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (texts(), text(), text()).prop_map(|(a, b, c)| format!("{a} in [{b}, {c}]")),
        (wholes(), whole(), whole()).prop_map(|(a, b, c)| format!("{a} in [{b}, {c}]")),
        (texts(), select(vec!["==", "!="])).prop_map(|(a, op)| format!("{a} {op} null")),
        select(vec!["this.note", "this.discount", "this.bill.zip", "this.ship.geo.seen"])
            .prop_map(|field| format!("has({field})")),
        select(vec!["this.bill.zip == null", "this.ship.geo.lat > 0.0", "this.paid", "this.flag", "1 / 0 > 0"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" && "))),
            proptest::collection::vec(inner, 2..4).prop_map(|any| format!("({})", any.join(" || "))),
        ]
    })
}

fn order() -> impl Strategy<Value = Json> {
    let whole = || select(vec![json!(-1), json!(0), json!(1), json!(3), json!(2_147_483_647)]);
    let long = select(vec![json!(i64::MIN), json!(0), json!(1), json!(i64::MAX)]);
    let real = || select(vec![json!(-1.0), json!(-0.0), json!(0.5), json!("NaN"), json!("Infinity")]);
    let text = || select(vec![json!(""), json!("é"), json!("NEW"), json!("a".repeat(3)), json!("é".repeat(300))]);
    let null = |of: BoxedStrategy<Json>| prop_oneof![Just(Json::Null), of];
    let values = (whole(), long, real(), text(), null(text().boxed()), null(whole().boxed()), null(real().boxed()));
    let places = (select(vec![json!(null), json!({}), json!({"zip": "1"})]), any::<bool>(), any::<Option<bool>>());
    (values, places).prop_map(|((quantity, total, price, id, note, discount, rate), (bill, paid, flag))| {
        json!({"id": id, "quantity": quantity, "total": total, "price": price, "note": note, "discount": discount,
            "rate": rate, "bill": bill, "paid": paid, "flag": flag})
    })
}

#[test]
fn the_slots_decide_as_the_evaluation_does() {
    let schema = Arc::new(Schema::parse(include_str!("../cases/order.avsc")).unwrap());
    let (decided, left) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(source in condition(), orders in proptest::collection::vec(order(), 4))| {
        let mut wanted = Wanted::new();
        let Ok(program) = compile(&source, &Env::new(&schema), &mut wanted) else { return Ok(()) };
        let walker = Walker::new(schema.clone(), wanted.paths(), Limits::default()).unwrap();
        for order in orders {
            let bytes = from_json(&schema, &order, JsonForm::Plain).unwrap();
            let mut slots = Vec::new();
            walker.walk(&bytes, &mut slots).unwrap();
            let evaluated = program.eval(&Input::new(&schema, &slots)).map(|value| value.as_bool());
            match program.decide(&slots) {
                Some(holds) => {
                    prop_assert_eq!(Ok(Some(holds)), evaluated, "{} of {}", source, order);
                    decided.set(decided.get() + 1);
                }
                None => left.set(left.get() + 1),
            }
        }
    });
    assert!(decided.get() > 4000 && left.get() > 500, "{decided:?} were decided, {left:?} were left");
}
