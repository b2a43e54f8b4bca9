//! What an expression may cost: the bound at compile time, the budget at run time, the allocations of the common path.

use std::sync::Arc;

use proptest::prelude::*;
use weir_avro::{JsonForm, Schema, Slot, Walker, from_json};
use weir_expr::{Env, EvalErrorKind, Input, KeyType, Limits, Program, Wanted, compile};

const ORDER: &str = include_str!("../cases/order.avsc");

fn order() -> Arc<Schema> {
    Arc::new(Schema::parse(ORDER).unwrap())
}

fn program(schema: &Schema, source: &str, limits: Limits) -> (Program, Wanted) {
    let mut wanted = Wanted::new();
    let env = Env { limits, ..Env::new(schema) };
    (compile(source, &env, &mut wanted).unwrap_or_else(|e| panic!("{source}: {e:?}")), wanted)
}

fn refusal(schema: &Schema, source: &str) -> String {
    let mut wanted = Wanted::new();
    let errors = compile(source, &Env::new(schema), &mut wanted).expect_err(source);
    assert_eq!(wanted.paths().len(), 0, "a program that does not compile wants nothing");
    errors[0].to_string()
}

#[test]
fn loops_inside_each_other_multiply_and_are_refused() {
    let schema = order();
    let cost = |source: &str| program(&schema, source, Limits::default()).0.cost().0;
    assert!(cost("this.quantity > 0") < 10);
    assert!(cost("this.lines.all(l, l.qty > 0)") < 20_000);
    assert!(cost("[1, 2, 3].all(x, x > 0)") < 60, "a literal is as long as it is");
    assert!(cost("this.grid.all(g, g.all(x, x > 0))") > 100_000);
    let error = refusal(&schema, "this.tags.all(a, this.tags.all(b, this.tags.all(c, a == b || b == c)))");
    assert!(error.starts_with("1:1: expression may cost") && error.contains("the limit is 10000000"), "{error}");
    assert!(refusal(&schema, &format!("'{}' == this.id", "x".repeat(20_000))).contains("longer than 16384 bytes"));
    assert!(refusal(&schema, &"!".repeat(5_000)).contains("more than 96 levels"));
}

#[test]
fn the_deepest_expressions_fit_a_small_stack() {
    let run = || {
        let schema = Schema::parse("\"null\"").unwrap();
        let deep = |open: &str, close: &str, n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
        let sum = format!("1{} > 0", " + int(key)".repeat(90));
        for source in [
            deep("!", "", 94),
            deep("(", ")", 94),
            deep("[", "][0]", 47),
            deep("(true ? ", " : false)", 47),
            deep("dyn({'a': ", "}).a", 30),
            deep("[key].all(x, ", ")", 90),
            deep("size([", "]) == 1", 30),
            sum,
        ] {
            let mut wanted = Wanted::new();
            let Ok(program) = compile(&source, &Env::new(&schema), &mut wanted) else { panic!("{source}") };
            let input = Input { key: Slot::Str("1".into()), ..Input::new(&schema, &[]) };
            assert_eq!(program.test(&input), Ok(true), "{source}");
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn more_work_than_the_limit_is_an_error_that_nothing_hides() {
    let schema = order();
    let limits = Limits { items: 10, cost: 20_000, ..Limits::default() };
    let source = "this.grid.all(a, this.grid.all(b, size(a) <= size(b)))";
    for source in [source.to_owned(), format!("{source} || true"), format!("!({source}) && false")] {
        let (program, wanted) = program(&schema, &source, limits);
        let row: Vec<i64> = vec![1];
        let json = serde_json::json!({"id": "a", "grid": vec![row; 1_000]});
        let bytes = from_json(&schema, &json, JsonForm::Plain).unwrap();
        let walker = Walker::new(schema.clone(), wanted.paths(), weir_avro::Limits::default()).unwrap();
        let mut slots = Vec::new();
        walker.walk(&bytes, &mut slots).unwrap();
        let error = program.test(&Input::new(&schema, &slots)).unwrap_err();
        assert_eq!(error.kind, EvalErrorKind::Budget, "{source}");
    }
}

#[test]
fn an_input_of_another_program_is_an_error() {
    let schema = order();
    let (program, _) = program(&schema, "this.quantity > 0", Limits::default());
    assert_eq!(program.test(&Input::new(&schema, &[])).unwrap_err().kind, EvalErrorKind::Input);
}

#[test]
fn the_common_shapes_do_not_allocate() {
    let schema = order();
    let json = serde_json::json!({
        "id": "ord-1", "quantity": 3, "total": 5, "price": 2.5, "status": "PAID", "amount": "12.30", "tags": ["a", "b"],
        "at": "2024-01-01T00:00:00Z", "lines": [{"sku": "x", "qty": 2}, {"sku": "y", "qty": 1}],
        "counts": {"a": 1}, "ship": {"city": "Ulm"}, "grid": [[1], [2, 3]], "any": 4
    });
    let bytes = from_json(&schema, &json, JsonForm::Plain).unwrap();
    for source in [
        "this.quantity > 0",
        "this.quantity <= this.total",
        "this.price > 0 && this.price < 10.5 && this.price * 2.0 == 5.0",
        "size(this.id) <= 10",
        "this.status in ['PAID', 'SENT'] && this.status != 'NEW'",
        "this.quantity in [1, 2, 3]",
        "this.id.startsWith('ord') && this.id.endsWith('1') && this.id.contains('-') && this.id.matches('^ord-[0-9]+$')",
        "this.amount >= 0.01 && this.amount * this.quantity == 36.90",
        "this.at < now && now - this.at < duration('1000h') && this.at.getFullYear() == 2024",
        "this.note == null || size(this.note) > 0",
        "this.discount > 0 || this.quantity > 0",
        "has(this.ship.city) && this.ship.city == 'Ulm' && this.ship.geo == null",
        "this.lines.all(l, l.qty > 0 && l.sku != '')",
        "'a' in this.tags && size(this.tags) == 2 && this.tags[1] == 'b'",
        "this.counts['a'] == 1 && 'a' in this.counts && this.counts.all(k, this.counts[k] > 0)",
        "this.grid.exists(g, g.exists(x, x == 3))",
        "this.any > 3 && type(this.any) == int",
        "headers['trace'] == 't' && key == 'k' && key.substring(0, 1) == 'k'",
    ] {
        let (program, wanted) = program(&schema, source, Limits::default());
        let walker = Walker::new(schema.clone(), wanted.paths(), weir_avro::Limits::default()).unwrap();
        let mut slots = Vec::new();
        walker.walk(&bytes, &mut slots).unwrap();
        let headers: [(&str, Option<&[u8]>); 1] = [("trace", Some(b"t"))];
        let input = Input {
            key: Slot::Str("k".into()),
            headers: &headers,
            now_ms: 1_705_000_000_000,
            ..Input::new(&schema, &slots)
        };
        // The first run fills what the pattern matcher keeps for itself.
        assert_eq!(program.test(&input), Ok(true), "{source}");
        let counted = allocation_counter::measure(|| assert_eq!(program.test(&input), Ok(true)));
        assert_eq!(counted.count_total, 0, "{source}");
    }
}

#[test]
fn this_can_be_a_part_of_the_datum_and_the_key_can_be_avro() {
    let schema = order();
    let key = Schema::parse(
        r#"{"type":"record","name":"Key","fields":[{"name":"a","type":"string"},{"name":"b","type":["null","int"]}]}"#,
    )
    .unwrap();
    let mut wanted = Wanted::new();
    let at = Env::at(&schema, weir_avro::FieldPath::parse("ship.geo")).unwrap();
    let env = Env { key: KeyType::Avro(&key), ..at };
    let ranges = compile("this.lat <= 90.0 && key.a == 'x' && key.b == null", &env, &mut wanted).unwrap();
    let whole = compile("this == null || this.seen == null", &env, &mut wanted).unwrap();
    assert!(compile("key.c == 1", &env, &mut wanted).is_err());
    assert_eq!(
        wanted.paths().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["ship.geo.lat", "ship.geo", "ship.geo.seen"]
    );

    let key_bytes = from_json(&key, &serde_json::json!({"a": "x", "b": null}), JsonForm::Plain).unwrap();
    let key = Arc::new(key);
    let key_walker = Walker::new(key.clone(), &[weir_avro::FieldPath::root()], weir_avro::Limits::default()).unwrap();
    let mut key_slots = Vec::new();
    key_walker.walk(&key_bytes, &mut key_slots).unwrap();
    let walker = Walker::new(schema.clone(), wanted.paths(), weir_avro::Limits::default()).unwrap();
    for (geo, expected) in [
        (serde_json::json!({"lat": 1, "lon": 2, "seen": null}), [Ok(true), Ok(true)]),
        (serde_json::json!(null), [Err(EvalErrorKind::ParentNull), Ok(true)]),
    ] {
        let bytes = from_json(&schema, &serde_json::json!({"id": "a", "ship": {"geo": geo}}), JsonForm::Plain).unwrap();
        let mut slots = Vec::new();
        walker.walk(&bytes, &mut slots).unwrap();
        let input = Input { key: key_slots[0], key_schema: Some(&key), ..Input::new(&schema, &slots) };
        let found = [&ranges, &whole].map(|p| p.test(&input).map_err(|e| e.kind));
        assert_eq!(found, expected);
    }
}

#[test]
fn an_error_shows_no_value() {
    let schema = order();
    for source in ["int(this.id)", "timestamp(this.id)", "this.counts[this.id]", "dyn(this.id) > 1", "bool(this.id)"] {
        let (program, wanted) = program(&schema, source, Limits::default());
        let bytes = from_json(&schema, &serde_json::json!({"id": "S3CRET"}), JsonForm::Plain).unwrap();
        let walker = Walker::new(schema.clone(), wanted.paths(), weir_avro::Limits::default()).unwrap();
        let mut slots = Vec::new();
        walker.walk(&bytes, &mut slots).unwrap();
        let error = program.eval(&Input::new(&schema, &slots)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("S3CRET"), "{error}");
    }
}

/// Expressions that are mostly well formed and often well typed.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1"),
        Just("0"),
        Just("2u"),
        Just("1.5"),
        Just("'a'"),
        Just("b'x'"),
        Just("true"),
        Just("null"),
        Just("[]"),
        Just("this"),
        Just("this.quantity"),
        Just("this.total"),
        Just("this.price"),
        Just("this.amount"),
        Just("this.fee"),
        Just("this.note"),
        Just("this.tags"),
        Just("this.counts"),
        Just("this.lines"),
        Just("this.any"),
        Just("this.at"),
        Just("this.opens"),
        Just("this.ship.geo.lat"),
        Just("this.pair"),
        Just("headers"),
        Just("key"),
        Just("now"),
        Just("x"),
        Just("dyn(this.any)"),
        Just("duration('1h')"),
        Just("9223372036854775807"),
        Just("-9223372036854775808"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">="),
            Just("&&"),
            Just("||"),
            Just("in"),
        ];
        let call = prop_oneof![
            Just("size"),
            Just("int"),
            Just("string"),
            Just("double"),
            Just("timestamp"),
            Just("type"),
            Just("dyn"),
            Just("decimal"),
            Just("has"),
            Just("!"),
            Just("-"),
        ];
        let method = prop_oneof![
            Just("contains"),
            Just("split"),
            Just("indexOf"),
            Just("join"),
            Just("substring"),
            Just("charAt"),
            Just("getHours"),
            Just("replace"),
            Just("matches"),
            Just("trim"),
        ];
        let each = prop_oneof![Just("all"), Just("exists"), Just("exists_one"), Just("map"), Just("filter")];
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (call, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), method, inner.clone()).prop_map(|(a, m, b)| format!("{a}.{m}({b})")),
            (inner.clone(), each, inner.clone()).prop_map(|(a, m, b)| format!("{a}.{m}(x, {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{'k': {a}, 'a': {b}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_expressions_never_panic_and_keep_their_types(source in expression()) {
        let schema = order();
        let mut wanted = Wanted::new();
        let Ok(program) = compile(&source, &Env::new(&schema), &mut wanted) else { return Ok(()) };
        let json = serde_json::json!({
            "id": "a", "quantity": 2, "price": 0.5, "amount": "1.10", "tags": ["a", "b"], "counts": {"a": 1},
            "lines": [{"sku": "a"}], "any": [1, 2],
        });
        let bytes = from_json(&schema, &json, JsonForm::Plain).unwrap();
        let walker = Walker::new(schema.clone(), wanted.paths(), weir_avro::Limits::default()).unwrap();
        let mut slots = Vec::new();
        walker.walk(&bytes, &mut slots).unwrap();
        let input = Input { key: Slot::Str("a".into()), ..Input::new(&schema, &slots) };
        let value = program.eval(&input);
        let test = program.test(&input);
        if let Ok(value) = value {
            prop_assert_eq!(test.ok(), value.as_bool());
            let (found, said) = (value.type_name(), program.result().to_string());
            let said = said.trim_start_matches("nullable ").split('(').next().unwrap_or_default().to_owned();
            let fits = match said.as_str() {
                "dyn" | "union" => true,
                "timestamp" => found == "google.protobuf.Timestamp",
                "duration" => found == "google.protobuf.Duration",
                "null" => found == "null_type",
                name if name.starts_with("sales.") => found == "record",
                name => found == name,
            };
            let null = found == "null_type" && program.result().to_string().starts_with("nullable");
            prop_assert!(fits || null, "{source} is {found}, said {said}");
        } else {
            // What a program checks to be a boolean is never refused for its type.
            prop_assert!(test.is_err());
        }
    }
}
