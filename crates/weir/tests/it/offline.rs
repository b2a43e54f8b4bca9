//! `lint` and `check` on case files.

use serde_json::Value;

use crate::weir;

#[test]
fn lint_reports_everything_at_once_by_place() {
    let check = |folder: &str, code: i32, expect: &[&str], summary: &str| {
        let ran = weir(&["lint", folder]).code(code);
        assert_eq!(ran.lines(), expect);
        assert_eq!(ran.stderr.trim_end(), summary);
    };
    check("lint/good", 0, &[], "1 contract: 0 errors, 0 warnings");
    check(
        "lint/broken",
        1,
        &[
            "lint/broken/orders.odcs.yaml:6:1: error[odcs-unknown-key]: a contract has no key `statsu`; did you mean `status`?",
            "lint/broken/orders.odcs.yaml:17:40: error[weir-setting]: the setting `partitions` must be an integer from 1 to 100000, not `many`",
            "lint/broken/orders.odcs.yaml:25:30: error[rule-cel]: shop.Order has no field `quantty`; did you mean `quantity`?",
        ],
        "1 contract: 3 errors, 0 warnings",
    );
    check(
        "lint/twice",
        1,
        &[
            "lint/twice/b.odcs.yaml:9:19: error[mesh-topic-taken]: the topic `shop.orders` is claimed at lint/twice/a.odcs.yaml:9:19 already; give it to one of them",
        ],
        "2 contracts: 1 error, 0 warnings",
    );
}

#[test]
fn lint_lists_promises_and_speaks_json() {
    let ran = weir(&["lint", "lint/good", "--promises"]).code(0);
    assert!(ran.stdout.contains("lint/good/orders.odcs.yaml:25:25: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("enforced: quantity is positive"), "{}", ran.stdout);
    let objects = |folder: &str, code: i32| -> Vec<Value> {
        let ran = weir(&["lint", folder, "--promises", "--json"]).code(code);
        ran.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let findings = objects("lint/broken", 1);
    assert_eq!((&findings[0]["code"], &findings[0]["line"]), (&"odcs-unknown-key".into(), &6.into()));
    let promises = objects("lint/good", 0);
    assert!(promises.iter().all(|promise| promise["how"] == "enforced" && promise["line"].is_u64()), "{promises:?}");
}

#[test]
fn check_names_every_broken_event_with_its_line() {
    let check = |events: &str, expect: &[&str], summary: &str| {
        let ran = weir(&["check", "mesh/orders.odcs.yaml", events]).code(1);
        assert_eq!(ran.lines(), expect);
        assert!(ran.stderr.starts_with(summary), "{}", ran.stderr);
    };
    let range = "expected a whole number from -2147483648 to 2147483647, found text";
    check(
        "check/events.jsonl",
        &[
            "check/events.jsonl:2: RULE_FAILED this must keep this.quantity > 0",
            "check/events.jsonl:3: FIELD_LENGTH id must have at most 12 characters, is \"an-id-that-is-too-long\"",
            "check/events.jsonl:3: RULE_FAILED this must keep this.quantity > 0",
            &format!("check/events.jsonl:5: cannot be encoded: quantity: {range}"),
            "check/events.jsonl:6: cannot be encoded: no JSON: EOF while parsing a value at column 25",
        ],
        "6 events: 2 accepted (0 with warnings), 2 quarantined, 2 cannot be encoded\n",
    );
    check(
        "check/events.csv",
        &[
            "check/events.csv:3: RULE_FAILED this must keep this.quantity > 0",
            &format!("check/events.csv:4: cannot be encoded: quantity: {range} that is none"),
            "check/events.csv:5: cannot be encoded: 2 cells where the header has 4",
        ],
        "5 events: 2 accepted (0 with warnings), 1 quarantined, 2 cannot be encoded\n",
    );
}

#[test]
fn check_speaks_json_and_takes_a_contract_with_errors_for_a_no() {
    let ran = weir(&["check", "mesh/orders.odcs.yaml", "check/events.jsonl", "--json"]).code(1);
    let lines: Vec<Value> = ran.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["line"], 3);
    assert_eq!(lines[1]["violations"][0]["code"], "FIELD_LENGTH");
    assert_eq!(lines[1]["violations"][1]["code"], "RULE_FAILED");
    assert_eq!(lines[2]["outcome"], "unencodable");
    let ran = weir(&["check", "lint/broken/orders.odcs.yaml", "check/events.jsonl"]).code(1);
    assert!(ran.stderr.contains("orders.odcs.yaml:25:30: error[rule-cel]"), "{}", ran.stderr);
    let ran = weir(&["check", "mesh/relaxed/orders.odcs.yaml", "check/events.csv", "--topic", "shop.orders.landing"]);
    assert!(ran.code(1).stderr.starts_with("5 events: 3 accepted"));
}
