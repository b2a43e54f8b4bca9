//! Rules about the crates as a whole: where they live, what they may know, and that ARCHITECTURE.md says the same.

use super::{none, read, root};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which crates of ours a crate may depend on. A new crate needs two users, a one-line purpose, a row here and a row in ARCHITECTURE.md.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("weir-avro", &[]),
    ("weir-expr", &["weir-avro"]),
    ("weir-contract", &["weir-avro", "weir-expr"]),
    ("weir-view", &["weir-avro", "weir-expr", "weir-contract"]),
    ("weir-state", &[]),
    ("weir-telemetry", &[]),
    ("weir-pump", &["weir-wire"]),
    ("weir-kafka", &["weir-pump"]),
    ("weir-registry", &["weir-avro"]),
    ("weir-wire", &[]),
    ("weir-broker", &["weir-wire"]),
    ("weir-testkit", &[]),
];
/// The one crate that may know services.
const JOINS: &str = "weir";
const TESTKIT: &str = "weir-testkit";
/// Libraries that only one crate may declare; its manifest is where a version or a feature is chosen for all.
const OWNED: &[(&str, &str)] = &[("rdkafka", "weir-kafka"), ("schema_registry_converter", "weir-registry")];

struct Room {
    name: String,
    /// `crates/weir-avro`
    folder: String,
    purpose: String,
    /// All normal dependencies, by name.
    needs: BTreeSet<String>,
}

impl Room {
    fn is_service(&self) -> bool {
        self.folder.starts_with("services/")
    }
}

fn rooms() -> Vec<Room> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let prefix = format!("{}/", root().display());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let rooms = metadata["packages"].as_array().unwrap().iter().map(|package| Room {
        name: text(&package["name"]),
        folder: text(&package["manifest_path"]).trim_start_matches(&prefix).trim_end_matches("/Cargo.toml").to_owned(),
        purpose: text(&package["description"]),
        needs: package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    });
    rooms.collect()
}

/// The crates of ours among the dependencies.
fn ours(room: &Room, rooms: &[Room]) -> BTreeSet<String> {
    room.needs.iter().filter(|name| rooms.iter().any(|other| other.name == **name)).cloned().collect()
}

fn edges(rooms: &[Room]) -> Vec<String> {
    let mut faults = Vec::new();
    let may_know: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    for room in rooms {
        let name = &room.name;
        if ![format!("crates/{name}"), format!("services/{name}")].contains(&room.folder) {
            faults.push(format!("{}: the folder is not named like its package {name}", room.folder));
        }
        if room.purpose.is_empty() {
            faults.push(format!("{}: the manifest has no description", room.folder));
        }
        if !room.is_service() && name != JOINS && !may_know.contains_key(name.as_str()) {
            faults.push(format!("{}: a new crate needs a row in the tidy test", room.folder));
        }
        for other in ours(room, rooms) {
            let service = rooms.iter().any(|room| room.name == other && room.is_service());
            let allowed = match may_know.get(name.as_str()) {
                Some(known) => known.contains(&other.as_str()),
                None => (name == JOINS || !service) && other != TESTKIT,
            };
            if !allowed {
                faults.push(format!("{name} may not depend on {other}"));
            }
        }
        for (library, owner) in OWNED.iter().filter(|(library, owner)| name != owner && room.needs.contains(*library)) {
            faults.push(format!("{name} may not depend on {library}, only {owner} may"));
        }
    }
    faults
}

#[test]
fn each_room_knows_only_what_it_may() {
    none(edges(&rooms()));
}

#[test]
fn each_manifest_takes_the_lints_of_the_workspace() {
    let without = rooms().into_iter().map(|room| format!("{}/Cargo.toml", room.folder));
    none(without.filter(|manifest| !read(manifest).contains("[lints]\nworkspace = true")).collect());
}

/// `ARCHITECTURE.md` has one row per crate between two marks: `| crate | depends on | purpose |`.
#[test]
fn the_map_shows_the_rooms_as_they_are() {
    let page = read("ARCHITECTURE.md");
    let (_, rest) = page.split_once("<!-- rooms -->").expect("ARCHITECTURE.md has no <!-- rooms -->");
    let (table, _) = rest.split_once("<!-- /rooms -->").expect("ARCHITECTURE.md has no <!-- /rooms -->");
    let shown: BTreeSet<String> =
        table.lines().map(str::trim).filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let rooms = rooms();
    let real: BTreeSet<String> = rooms
        .iter()
        .map(|room| {
            let needs: Vec<String> = ours(room, &rooms).into_iter().collect();
            let needs = if needs.is_empty() { "–".to_owned() } else { needs.join(", ").replace("weir-", "") };
            format!("| `{}` | {needs} | {} |", room.folder, room.purpose)
        })
        .collect();
    let missing = real.difference(&shown).map(|row| format!("ARCHITECTURE.md should have the row\n  {row}"));
    let wrong = shown.difference(&real).map(|row| format!("ARCHITECTURE.md has the wrong row\n  {row}"));
    none(missing.chain(wrong).collect());
}

#[test]
fn the_rules_bite() {
    let room = |folder: &str, needs: &[&str]| Room {
        name: folder.split('/').next_back().unwrap().to_owned(),
        folder: folder.to_owned(),
        purpose: "To be tested.".to_owned(),
        needs: needs.iter().map(|&name| name.to_owned()).collect(),
    };
    let others = ["crates/weir-avro", "crates/weir-expr", "crates/weir-testkit", "services/left"];
    let check = |folder: &str, needs: &[&str], expect: &[&str]| {
        let mut all: Vec<Room> =
            others.iter().filter(|other| **other != folder).map(|other| room(other, &[])).collect();
        all.push(room(folder, needs));
        let found = edges(&all);
        let same =
            found.len() == expect.len() && found.iter().zip(expect).all(|(found, expect)| found.contains(expect));
        assert!(same, "{folder} {needs:?}: {found:?}, expected {expect:?}");
    };
    check("crates/weir-expr", &["weir-avro", "regex"], &[]);
    check("crates/weir-avro", &["weir-expr"], &["weir-avro may not depend on weir-expr"]);
    check("crates/weir-contract", &["left"], &["may not depend on left"]);
    check("services/right", &["weir-avro", "weir-expr"], &[]);
    check("services/right", &["left"], &["right may not depend on left"]);
    check("services/right", &["weir-testkit"], &["may not depend on weir-testkit"]);
    check("services/right", &["rdkafka"], &["only weir-kafka may"]);
    check("crates/weir", &["left", "weir-avro"], &[]);
    check("crates/weir-new", &[], &["needs a row"]);
    check("tools/weir-pump", &[], &["not named like"]);
}
