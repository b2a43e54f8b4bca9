//! Rules that one file can break by itself.

const MAX_LINES: usize = 600;
const MAX_MAIN_LINES: usize = 60;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helpers", "helper", "manager", "misc", "types"];
const EMPTY_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils"];
/// Rooms that neither wait, talk nor look at a clock: everything comes in as an argument.
const PURE: &[&str] = &["crates/weir-avro/", "crates/weir-expr/", "crates/weir-contract/", "crates/weir-view/src/"];
const IMPURE: &[&str] = &[
    "tokio",
    "rdkafka",
    "reqwest",
    "axum",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::fs",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
];
/// Library and the one room whose code may name it.
const OWNED: &[(&str, &str)] =
    &[("rdkafka", "crates/weir-kafka/"), ("schema_registry_converter", "crates/weir-registry/")];
/// Split, so that this file does not hold what it looks for.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("todo", "!("),
    concat!("unimpl", "emented!("),
    concat!("not impl", "emented"),
    concat!("not yet impl", "emented"),
    concat!("place", "holder"),
    concat!("#[ign", "ore"),
];
const FOREIGN: &[(&str, &str)] = &[
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/tm", "p/"), "a path that another user may own; use a temporary folder"),
    (concat!("repo1.", "maven"), "the host of a package registry"),
    (concat!("repo.", "maven"), "the host of a package registry"),
    (concat!("py", "pi.org"), "the host of a package registry"),
    (concat!("python", "hosted"), "the host of a package registry"),
    (concat!("registry.", "npm"), "the host of a package registry"),
    (concat!("proxy.", "golang"), "the host of a package registry"),
    (concat!("static.cra", "tes"), "the host of a package registry"),
    (concat!("index.cra", "tes"), "the host of a package registry"),
    (concat!("deb.", "debian"), "the host of a package registry"),
];
/// How the codes of DESIGN's list begin; other words in capitals are no violation codes.
const CODE_BEGINNINGS: &[&str] = &[
    "FRAME_",
    "SCHEMA_",
    "PAYLOAD_",
    "KEY_",
    "FIELD_",
    "RULE_",
    "DUPLICATE",
    "OUT_OF_ORDER",
    "REFERENCE_",
    "EVENT_",
    "RECORD_",
    "TOMBSTONE_",
    "BATCH_",
    "HEADER_",
    "VIEW_",
];

/// All that is wrong with a file, each as `path:line: fault`.
pub fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |line: usize, what: String| faults.push(format!("{path}:{line}: {what}"));
    let lock = path.ends_with(".lock");
    let source = [".rs", ".py", ".sh", ".java"].iter().any(|ending| path.ends_with(ending)) || text.starts_with("#!");
    let lines = text.lines().count();
    if source && lines > MAX_LINES {
        fault(lines, format!("{lines} lines, {MAX_LINES} are allowed; which two things live in it?"));
    }
    if path.starts_with("services/") && path.ends_with("/src/main.rs") && lines > MAX_MAIN_LINES {
        fault(lines, format!("{lines} lines, a service's main has at most {MAX_MAIN_LINES}"));
    }
    for name in
        path.split('/').map(|part| part.split('.').next().unwrap_or_default()).filter(|name| EMPTY_NAMES.contains(name))
    {
        fault(1, format!("`{name}` names nothing"));
    }
    for (number, line) in text.lines().enumerate().filter(|_| !lock) {
        for (word, what) in FOREIGN.iter().filter(|(word, _)| line.contains(word)) {
            fault(number + 1, format!("`{word}` is {what}"));
        }
        for word in LEFTOVERS.iter().filter(|word| names(line, word)) {
            fault(number + 1, format!("`{word}`: finish it or leave it out"));
        }
    }
    if path.ends_with(".rs") {
        for (number, line) in code(text) {
            for what in code_faults(path, line) {
                fault(number, what);
            }
        }
    }
    faults
}

fn code_faults(path: &str, line: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for pair in words.windows(2) {
        let nothing = match pair[0] {
            "mod" => EMPTY_NAMES.contains(&pair[1]),
            "struct" | "enum" | "trait" | "type" => EMPTY_ENDINGS.iter().any(|ending| pair[1].ends_with(ending)),
            _ => false,
        };
        if nothing {
            faults.push(format!("`{}` names nothing", pair[1]));
        }
    }
    // Tests and benches may use what they like.
    if !path.contains("/src/") || path.ends_with("/tests.rs") || path.contains("/tests/") {
        return faults;
    }
    if PURE.iter().any(|room| path.starts_with(room)) {
        faults.extend(
            IMPURE
                .iter()
                .filter(|word| names(line, word))
                .map(|word| format!("`{word}` in a room that must stay pure")),
        );
    }
    let foreign = OWNED.iter().filter(|(library, owner)| !path.starts_with(owner) && names(line, library));
    faults.extend(foreign.map(|(library, owner)| format!("only {owner} may name `{library}`")));
    // The testkit is no part of a service.
    if !path.ends_with("/main.rs")
        && !path.starts_with("crates/weir-testkit/")
        && ["env::var", "env::var_os", "env::vars"].iter().any(|word| names(line, word))
    {
        faults.push("only main.rs reads the environment".to_owned());
    }
    faults
}

/// The lines that are code: no whole-line comments, no inline test module.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether `line` has `word` on its own, not as a part of a longer word.
fn names(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        !(part(word.chars().next()) && part(before) || part(word.chars().next_back()) && part(after))
    })
}

/// The code that a help page explains, if `path` is one.
pub fn page(path: &str) -> Option<&str> {
    path.strip_prefix("crates/weir-contract/src/codes/")?.strip_suffix(".md")
}

/// The violation codes that stand in a source file as strings.
pub fn codes(text: &str) -> Vec<&str> {
    let capitals = |word: &&str| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let strings = code(text).flat_map(|(_, line)| line.split('"').skip(1).step_by(2));
    strings
        .filter(capitals)
        .filter(|word| CODE_BEGINNINGS.iter().any(|beginning| word.starts_with(beginning)))
        .collect()
}

/// Each rule sees its breach and lets the innocent pass.
#[test]
fn the_rules_bite() {
    let check = |path: &str, text: &str, expect: &[&str]| {
        let found = faults(path, text);
        let same =
            found.len() == expect.len() && found.iter().zip(expect).all(|(found, expect)| found.contains(expect));
        assert!(same, "{path}: {found:?}, expected {expect:?}");
    };
    check("crates/weir-avro/src/a.rs", "use tokio::time;\n", &["a.rs:1: `tokio` in a room"]);
    check("crates/weir-expr/src/a.rs", "\nlet now = SystemTime::now();", &["a.rs:2: `SystemTime::now`"]);
    check(
        "crates/weir-avro/src/a.rs",
        "// tokio is not used\nlet tokios = 1;\n#[cfg(test)]\nmod tests {\nuse tokio;",
        &[],
    );
    check("crates/weir-avro/tests/it/a.rs", "use std::fs;", &[]);
    check("crates/weir-contract/src/b.rs", "use rdkafka::error;", &["must stay pure", "only crates/weir-kafka/"]);
    check("crates/weir-kafka/src/b.rs", "use rdkafka::error;", &[]);
    check("services/x/src/b.rs", "schema_registry_converter::x()", &["only crates/weir-registry/"]);
    check("services/x/src/config.rs", "std::env::var(\"A\")", &["only main.rs"]);
    check("services/x/src/main.rs", "std::env::var(\"A\")", &[]);
    check("crates/x/benches/a.rs", "std::env::var(\"A\")", &[]);
    check("services/x/src/main.rs", &"\n".repeat(61), &["61 lines, a service's main"]);
    check("a.py", &"\n".repeat(601), &["601 lines, 600"]);
    check("compose/a", &format!("#!/bin/sh{}", "\n".repeat(601)), &["601 lines, 600"]);
    check("schemas/a.json", &"\n".repeat(601), &[]);
    check("crates/x/src/utils/mod.rs", "", &["`utils` names nothing"]);
    check("crates/x/src/types.rs", "", &["`types` names nothing"]);
    check("crates/x/src/a.rs", "pub(crate) mod comm\x6fn;", &["`common` names nothing"]);
    check("crates/x/src/a.rs", "pub struct TopicMan\x61ger<T>;\nlet manager = 1;", &["`TopicManager` names nothing"]);
    for leftover in LEFTOVERS {
        check("a.yaml", &format!("x: {leftover})"), &[leftover]);
    }
    check("a.sh", &format!("mktemp a.{}", "X".repeat(6)), &[]);
    for (word, _) in FOREIGN {
        check("docs/a.md", &format!("see {word}"), &[word]);
        check("Cargo.lock", &format!("see {word}"), &[]);
    }
    assert_eq!(
        codes("f(\"FIELD_RANGE\"); // \"KEY_\"\n//! \"KEY_MISSING\"\ng(\"FIELD_x\", \"GET\", \"DUPLICATE\")"),
        ["FIELD_RANGE", "KEY_", "DUPLICATE"]
    );
    assert_eq!(page("crates/weir-contract/src/codes/KEY_MISSING.md"), Some("KEY_MISSING"));
}
