//! `weir view`, and `weir apply` of views: first on files, then on a real Kafka with a router.

use std::path::Path;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_testkit::{free_port, wait_for};

use crate::world::{PATIENCE, World};
use crate::{Ran, weir};

const CONTRACT: &str = "mesh/orders.odcs.yaml";
const TOTALS: &str = "views/totals.view.yaml";
const BUSY: &str = "views/busy.view.yaml";

fn root() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").to_str().unwrap().to_owned()
}

fn objects(ran: &Ran) -> Vec<Value> {
    ran.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn plan_shows_what_becomes_of_a_query() {
    let contracts = format!("{}/contracts", root());
    let view = format!("{contracts}/sales/weekly_visits.view.yaml");
    let plan = |more: &[&str]| weir(&[&["view", "plan", &view, "--contracts", &contracts], more].concat()).code(0);
    let text = plan(&[]);
    let (schema, lines) = text.lines().split_last().map(|(last, lines)| (last.to_string(), lines.to_vec())).unwrap();
    assert_eq!(
        lines,
        [
            "view          sales.weekly_visits (table) -> sales.weekly_visits",
            "reads         sales.transactions (stream, key household_id)",
            "operator      2 aggregates for each key and window of 604800000 ms every 604800000 ms, 86400000 ms of grace, emitted when the window closes",
            "key           household_id, window_start",
            "copartitioned one input",
            "repartition   none",
            "state         one row of aggregates for each key and open window, the stream time",
            "field         household_id INT NOT NULL <- sales.transactions.household_id",
            "field         window_start TIMESTAMP(3) NOT NULL <- no field",
            "field         visits BIGINT NOT NULL <- sales.transactions.basket_id",
            "field         spent DOUBLE <- sales.transactions.sales_value",
            "note          COUNT DISTINCT is exact to 1000 values of a group; beyond it is an estimate by HyperLogLog, with a standard error of 1.6 %",
        ]
    );
    let schema: Value = serde_json::from_str(schema.strip_prefix("schema ").unwrap()).unwrap();
    let machine = objects(&plan(&["--json"])).remove(0);
    assert_eq!(machine["schema"], schema);
    assert_eq!(
        machine["view"],
        json!({
            "name": "sales.weekly_visits", "topic": "sales.weekly_visits", "kind": "table",
            "key": ["household_id", "window_start"], "partitions": 4,
        })
    );
    assert_eq!(machine["lineage"][2]["from"], json!(["sales.transactions.basket_id"]));
}

#[test]
fn plan_and_test_end_with_the_answer() {
    let check = |command: &str, view: &str, code: i32, expect: &[&str], summary: &str| {
        let ran = weir(&["view", command, view, "--contracts", CONTRACT, "--contracts", "views"]).code(code);
        assert_eq!(ran.lines(), expect, "{view}");
        assert_eq!(ran.stderr.trim_end(), summary, "{view}");
    };
    check("test", TOTALS, 0, &["passed: orders of one id add up"], "1 test, 0 failed");
    check("test", BUSY, 0, &["passed: one order is not enough"], "1 test, 0 failed");
    check(
        "test",
        "wrong/failing.view.yaml",
        1,
        &[
            "passed: one piece is not enough",
            "failed: two pieces are said to be three (wrong/failing.view.yaml:10)",
            "came out:",
            r#"  {"key":"a","value":{"id":"a","quantity":2}}"#,
            "expected:",
            r#"  {"key":"a","value":{"id":"a","quantity":3}}"#,
        ],
        "2 tests, 1 failed",
    );
    let broken = "wrong/broken.view.yaml:4:6: error[view-sql]: 1:12: there is no field `quantty`; there are id, quantity, note, at (of the query)";
    check("plan", "wrong/broken.view.yaml", 1, &[broken], "");
    check("test", "wrong/broken.view.yaml", 1, &[broken], "");
    let unknown =
        "views/totals.view.yaml:6:8: error[view-sql]: there is no product or view `shop.orders`; none is known";
    assert_eq!(weir(&["view", "plan", TOTALS, "--contracts", "views"]).code(1).lines(), [unknown]);

    let test = |view| objects(&weir(&["view", "test", view, "--contracts", CONTRACT, "--json"]).code(1));
    let failed = &test("wrong/failing.view.yaml")[1];
    assert_eq!((&failed["line"], &failed["passed"]), (&10.into(), &false.into()));
    assert!(failed["why"].as_str().unwrap().contains(r#""quantity":3"#), "{failed}");
    let finding = &test("wrong/broken.view.yaml")[0];
    assert_eq!((&finding["code"], &finding["severity"]), (&"view-sql".into(), &"error".into()));
}

/// Those of `contracts/` are tested with the language.
#[test]
fn the_views_that_only_conformance_has_keep_their_tests() {
    let [contracts, views] = ["contracts", "conformance/retail/views.d"].map(|folder| format!("{}/{folder}", root()));
    for file in std::fs::read_dir(&views).unwrap() {
        let file = file.unwrap().path();
        let ran = weir(&["view", "test", file.to_str().unwrap(), "--contracts", &contracts, "--contracts", &views]);
        assert!(ran.code(0).stdout.starts_with("passed: "), "{}", file.display());
    }
}

#[test]
fn a_router_that_is_away_is_named() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let away = weir(&["view", "status", "--router", &url]).code(69);
    assert!(away.stderr.contains(&format!("no router answers at {url}/views")), "{}", away.stderr);
}

/// A world in which views run.
struct Views {
    world: World,
    router: String,
}

impl Views {
    fn ask(&self, command: &str, more: &[&str]) -> Ran {
        let at = if command == "status" { ["--router", &self.router] } else { ["--kafka", &self.world.bootstrap] };
        weir(&[&["view", command], more, &at].concat())
    }

    /// Waits until the status of the totals says so.
    fn wait(&self, expect: &str) {
        wait_for(PATIENCE, expect, || self.ask("status", &["shop.totals"]).stdout == expect);
    }

    /// Waits until the newest value of each key of a topic is as expected: a transaction that is committed is not at once one that can be
    /// read, and what is compacted may lack the values before.
    fn holds(&self, topic: &str, expect: &[(&str, &str)]) {
        let expect: Vec<(String, String)> = expect.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        wait_for(PATIENCE, topic, || {
            let records = objects(&self.world.weir(&["consume", topic, "--json"]).code(0));
            let newest: BTreeMap<String, String> =
                records.iter().map(|r| (r["key"].as_str().unwrap().to_owned(), r["value"].to_string())).collect();
            newest.into_iter().collect::<Vec<_>>() == expect
        });
    }

    /// Waits until a topic has as many records.
    fn counts(&self, topic: &str, count: usize) {
        wait_for(PATIENCE, topic, || objects(&self.world.weir(&["consume", topic, "--json"]).code(0)).len() == count);
    }
}

#[test]
fn views_are_applied_looked_after_and_made_anew() {
    let Some(mut world) = World::start() else { return };
    apply(&world);
    let router = world.route();
    let views = Views { world, router };
    let events = ["produce", "--contract", CONTRACT, "--file", "check/events.jsonl", "--topic", "shop.orders"];
    for _ in 0..2 {
        views.world.weir(&[&events[..], &["--keep-going"]].concat()).code(1);
    }
    views.wait(
        "shop.totals                        1.0.0     received=8 emitted=4 quarantined=4 late=0 lag=0  runs on 3 partitions\n",
    );
    look_after(&views);
    make_anew(&views);
}

/// What views read may be in the files or in force, and must be in one of them.
fn apply(world: &World) {
    let none = world.weir(&["apply", "views", "--yes"]).code(1);
    let lacking = "neither in the files nor in force in the cluster: shop.orders; name its contract or view too, or apply it first";
    assert!(none.stderr.contains(lacking), "{}", none.stderr);
    assert!(none.stderr.contains("views/totals.view.yaml:6:8: error[view-sql]"), "{}", none.stderr);
    assert!(!world.admin.topics().unwrap().contains_key("weir.views"));
    let list = |expect: &str| {
        assert_eq!(weir(&["view", "list", "--kafka", &world.bootstrap]).code(0).stdout, expect);
    };
    list("");
    world.weir(&["apply", CONTRACT, "--yes"]).code(0);
    let dry = world.weir(&["apply", TOTALS, "--dry-run"]).code(3);
    assert!(dry.stdout.ends_with("+ view shop.totals: version 1.0.0\n"), "{}", dry.stdout);
    let lacking = world.weir(&["apply", BUSY, "--yes"]).code(1);
    assert!(lacking.stderr.contains("in the cluster: shop.totals; name"), "{}", lacking.stderr);
    world.weir(&["apply", TOTALS, "--yes"]).code(0);
    // A view in force is as good as a product.
    world.weir(&["apply", BUSY, "--yes"]).code(0);
    list(
        "shop.busy                          1.0.0     shop.busy\nshop.totals                        1.0.0     shop.totals\n",
    );
    assert_eq!(world.weir(&["apply", "views"]).code(0).stderr, "nothing to do: the cluster is as 2 views ask\n");
}

fn look_after(views: &Views) {
    let listed = objects(&views.ask("list", &["--json"]).code(0)).remove(1);
    let expect =
        json!({"view": "shop.totals", "version": "1.0.0", "generation": 1, "topic": "shop.totals", "refused": null});
    assert_eq!(listed, expect);
    let status = objects(&views.ask("status", &["shop.totals", "--json"]).code(0)).remove(0);
    assert_eq!((&status["topic"], &status["total"]["emitted"]), (&"shop.totals".into(), &4.into()));
    assert_eq!(views.ask("status", &[]).code(0).lines().len(), 2);
    let explained = views.ask("explain", &["shop.totals"]).code(0).stdout;
    assert!(explained.starts_with("view          shop.totals version 1.0.0\n"), "{explained}");
    assert!(explained.ends_with("changelog     shop.totals.changelog\n"), "{explained}");
    let plan = objects(&views.ask("explain", &["shop.totals", "--json"]).code(0)).remove(0);
    assert_eq!(plan["reads"][0]["name"], "shop.orders");
    for command in ["explain", "status"] {
        let near = views.ask(command, &["shop.total"]).code(1).stderr;
        assert!(near.ends_with("; did you mean `shop.totals`?\n"), "{command}: {near}");
        let far = views.ask(command, &["nothing"]).code(1).stderr;
        assert!(far.ends_with("; there are shop.busy, shop.totals\n"), "{command}: {far}");
    }
    let missing = views.world.weir(&["view", "reset", "shop.total", "--yes"]).code(1).stderr;
    assert!(missing.ends_with("did you mean `shop.totals`?\n"), "{missing}");
}

fn make_anew(views: &Views) {
    let (world, reset) = (&views.world, ["view", "reset", "shop.totals"]);
    let asked = world.weir(&reset).code(64);
    assert!(asked.stderr.contains("add --yes"), "{}", asked.stderr);
    let shown: Vec<&str> = asked.stdout.lines().map(|line| line.split(':').next().unwrap()).collect();
    let expect = [
        "+ topic shop.totals.g2",
        "+ topic shop.totals.g2.changelog",
        "+ topic shop.totals.g2.quarantine",
        "+ subject shop.totals.g2-value",
        "~ view shop.totals",
    ];
    assert_eq!(shown, expect);
    assert!(!world.admin.topics().unwrap().contains_key("shop.totals.g2"), "it was shown and not done");

    let done = world.weir(&[&reset[..], &["--yes", "--json"]].concat()).code(0);
    assert_eq!(objects(&done).len(), expect.len());
    views.wait(
        "shop.totals                        1.0.0     received=16 emitted=8 quarantined=8 late=0 lag=0  runs on 3 partitions, topic shop.totals.g2\n",
    );
    for generation in ["shop.totals", "shop.totals.g2"] {
        views.holds(
            generation,
            &[("o-1", r#"{"id":"o-1","orders":2,"pieces":4}"#), ("o-5", r#"{"id":"o-5","orders":2,"pieces":6}"#)],
        );
        views.counts(&format!("{generation}.quarantine"), 4);
    }
    let listed = objects(&views.ask("list", &["--json"]).code(0)).remove(1);
    assert_eq!((&listed["generation"], &listed["topic"]), (&2.into(), &"shop.totals.g2".into()));
    assert!(views.ask("explain", &["shop.totals"]).code(0).stdout.contains("shop.totals (table) -> shop.totals.g2\n"));

    // Files know nothing of generations: the view stays where it is, and those that read it follow once they are applied.
    assert_eq!(world.weir(&["apply", TOTALS]).code(0).stderr, "nothing to do: the cluster is as 1 view ask\n");
    let follows = world.weir(&["apply", BUSY, "--dry-run"]).code(3).stdout;
    assert_eq!(follows, "~ view shop.busy: new text under the same version 1.0.0 (raise the version)\n");
}
