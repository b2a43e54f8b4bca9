//! Runs `tests/cases/*.case`: a query behind `=== sql`, what is said of it behind `=== plan` or `=== error`.

use std::path::Path;
use std::sync::Arc;

use weir_view::{Options, plan, plan_all, read};

#[test]
fn queries_get_their_plans_and_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let relations: Vec<_> = super::retail::products().into_iter().map(Arc::new).collect();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let (mut failed, mut count) = (Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for case in text.split("=== sql\n").skip(1) {
            count += 1;
            let (sql, rest) = case.split_once("=== ").unwrap();
            let (kind, expect) = rest.split_once('\n').unwrap();
            let allow = sql.lines().filter_map(|l| l.strip_prefix("-- allow ")).map(str::to_owned).collect();
            let options = Options { id: "test.case".into(), topic: "test.case".into(), allow, salt: String::new() };
            let found = match plan(sql, &options, &relations) {
                Ok(plan) => ("plan", plan.text()),
                Err(error) => ("error", error.to_string()),
            };
            if (kind, expect.trim()) != (found.0, found.1.trim()) {
                failed.push(format!("{}:\n{sql}found {}\n{}", file.display(), found.0, found.1));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} failed\n{}", failed.len(), failed.join("\n\n"));
    assert!(count >= 30, "{count} cases");
}

/// What is wrong with views beside each other, by file and code, and what the message names.
#[track_caller]
fn check(views: &[(&str, &str)], expect: &[&str]) {
    let file = |(id, sql): &(&str, &str)| {
        let allow = if sql.contains("sales.transactions") { "[sales.transactions.household_id]" } else { "[]" };
        let text = format!("id: {id}\nversion: 1.0.0\nteam: test\nallow: {allow}\nsql: |\n  {sql}\n");
        let (file, found) = read(&text, &format!("{id}.view.yaml"));
        file.unwrap_or_else(|| panic!("{found:?}"))
    };
    let mut products = super::retail::products();
    for product in &mut products {
        // Of those that lie together by their contracts, one that does not.
        let other = product.name == "customer.households";
        product.partitions = Some(if other { 7 } else { 4 });
    }
    let (_, found) = plan_all(products, &views.iter().map(file).collect::<Vec<_>>());
    assert_eq!(found.iter().map(|d| format!("{} {}: {}", d.file, d.code, d.message)).collect::<Vec<_>>(), expect);
}

#[test]
fn views_beside_each_other() {
    let store = "SELECT store_id FROM sales.transactions";
    check(&[("a.one", store), ("a.two", "SELECT store_id FROM a.one")], &[]);
    check(
        &[("a.one", "SELECT store_id FROM a.two"), ("a.two", "SELECT store_id FROM a.one"), ("a.three", store)],
        &[
            "a.one.view.yaml view-cycle: these views read each other in a circle or something that does: a.one, a.two; break it",
            "a.two.view.yaml view-cycle: these views read each other in a circle or something that does: a.one, a.two; break it",
        ],
    );
    check(
        &[("sales.transactions", store)],
        &[
            "sales.transactions.view.yaml view-taken: the id `sales.transactions` or its topic belongs to another product or view; give this one another",
        ],
    );
    check(
        &[(
            "a.one",
            "SELECT t.store_id FROM sales.transactions t JOIN customer.households h ON h.household_id = t.household_id",
        )],
        &["a.one.view.yaml view-sql: the inputs have 4 and 7 partitions; give them the same number in their contracts"],
    );
    let sum = |key: &str| format!("SELECT {key} AS id, COUNT(*) AS n FROM sales.transactions GROUP BY {key}");
    let (number, text) = (sum("household_id"), sum("CAST(household_id AS TEXT)"));
    check(
        &[
            ("a.one", &number),
            ("a.two", &text),
            ("a.three", "SELECT a.id, a.n FROM a.one a JOIN a.two b ON a.id = b.id"),
        ],
        &[
            "a.three.view.yaml view-sql: INT and TEXT have different texts as keys; CAST one of them in a view of its own",
        ],
    );
}

/// An entry of `allow` that allows nothing now would allow what the view reads one day.
#[test]
fn what_is_allowed_is_read() {
    let found = |sql: &str, allow: &str| {
        let text = format!("id: a.b\nversion: 1.0.0\nteam: t\nallow:\n  - {allow}\nsql: |\n  {sql}\n");
        let (file, found) = read(&text, "a.view.yaml");
        let file = file.unwrap_or_else(|| panic!("{found:?}"));
        let (plans, found) = plan_all(super::retail::products(), &[file]);
        assert_eq!(plans[0].is_some(), found.is_empty());
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let store = "SELECT store_id FROM sales.transactions PARTITION BY store_id";
    let join = "SELECT t.store_id, MASK(h.age) AS age FROM sales.transactions t JOIN customer.households h ON t.household_id = h.household_id";
    let cases = [
        ("SELECT store_id FROM sales.transactions", "sales.transactions.household_id", ""),
        (join, "sales.transactions.household_id\n  - customer.households.household_id", ""),
        (
            store,
            "sales.transactions.houshold_id",
            "a.view.yaml:5:5: error[view-allow]: `allow` names sales.transactions.houshold_id, which the view does not read; did you mean sales.transactions.household_id?",
        ),
        (
            store,
            "sales.transactions.store_id\n  - customer.households.age",
            "a.view.yaml:6:5: error[view-allow]: `allow` names customer.households.age, which the view does not read; take it out; the view reads sales.transactions.household_id, sales.transactions.store_id",
        ),
    ];
    let all = cases.map(|(sql, allow, _)| found(sql, allow));
    assert_eq!(all, cases.map(|(.., expect)| expect.to_owned()));
}

/// What is wrong with a file, behind its first four lines.
#[test]
fn files_that_are_no_views() {
    let found = |more: &str| {
        let text = format!("id: a.b\nversion: 1.0.0\nteam: t\nsql: SELECT x FROM y\n{more}\n");
        let (_, found) = read(&text, "a.view.yaml");
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let cases = [
        ("", ""),
        ("allow: x", "a.view.yaml:5:8: error[view-type]: `allow` is a list, found a text"),
        ("allow: [[x]]", "a.view.yaml:5:9: error[view-type]: `allow` names fields, found a list"),
        ("tests: {}", "a.view.yaml:5:8: error[view-type]: `tests` is a list, found a mapping"),
        (
            "kind: View",
            "a.view.yaml:5:1: error[view-unknown-key]: a view has no `kind` here; known are id, version, team, description, sql, output, onSchemaChange, delivery, late, masks, allow, tests",
        ),
        (
            "tests:\n  - { name: n, given: 1, expect: [], faults: many }",
            "a.view.yaml:6:23: error[view-type]: `given` is a list, found an integer; a.view.yaml:6:46: error[view-type]: `faults` is a number of records",
        ),
        ("delivery: twice", "a.view.yaml:5:11: error[view-value]: `delivery` is one of exactly_once, at_least_once"),
    ];
    let all = cases.map(|(more, _)| found(more));
    assert_eq!(all, cases.map(|(_, expect)| expect.to_owned()));
}
