//! A second opinion: Apicurio Registry judges the same schema changes at every compatibility level.

use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::{Client, Method};
use serde_json::json;
use weir_testkit::{Process, absent, free_port};

use crate::support::{DEADLINE, Registry, until};

const LEVELS: [&str; 7] =
    ["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];

/// Schema changes: a name, the versions there are, and the one that comes. `F(..)` is a record with these fields.
const CHANGES: [(&str, &[&str], &str); 30] = [
    ("same", &["F(a int)"], "F(a int)"),
    ("field with default added", &["F(a int)"], "F(a int, b int = 0)"),
    ("field without default added", &["F(a int)"], "F(a int, b int)"),
    ("field with default removed", &["F(a int, b int = 0)"], "F(a int)"),
    ("field without default removed", &["F(a int, b int)"], "F(a int)"),
    ("default added", &["F(a int)"], "F(a int = 1)"),
    ("default removed", &["F(a int = 1)"], "F(a int)"),
    ("field renamed", &["F(a int)"], "F(b int)"),
    ("fields swapped", &["F(a int, b long)"], "F(b long, a int)"),
    ("int to long", &["F(a int)"], "F(a long)"),
    ("long to int", &["F(a long)"], "F(a int)"),
    ("int to string", &["F(a int)"], "F(a string)"),
    ("string to bytes", &["F(a string)"], "F(a bytes)"),
    ("float to double", &["F(a float)"], "F(a double)"),
    ("made nullable", &["F(a int)"], r#"F(a ["null","int"])"#),
    ("no longer nullable", &[r#"F(a ["null","int"])"#], "F(a int)"),
    ("branch added", &[r#"F(a ["null","int"])"#], r#"F(a ["null","int","string"])"#),
    (
        "symbol added",
        &[r#"{"type":"enum","name":"E","symbols":["A"]}"#],
        r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
    ),
    (
        "symbol removed",
        &[r#"{"type":"enum","name":"E","symbols":["A","B"]}"#],
        r#"{"type":"enum","name":"E","symbols":["A"]}"#,
    ),
    (
        "symbol removed, with default",
        &[r#"{"type":"enum","name":"E","symbols":["A","B"]}"#],
        r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#,
    ),
    ("fixed grown", &[r#"{"type":"fixed","name":"X","size":2}"#], r#"{"type":"fixed","name":"X","size":3}"#),
    ("record renamed", &[r#"{"type":"record","name":"A","fields":[]}"#], r#"{"type":"record","name":"B","fields":[]}"#),
    (
        "record renamed, with alias",
        &[r#"{"type":"record","name":"A","fields":[]}"#],
        r#"{"type":"record","name":"B","aliases":["A"],"fields":[]}"#,
    ),
    (
        "namespace changed",
        &[r#"{"type":"record","name":"x.A","fields":[]}"#],
        r#"{"type":"record","name":"y.A","fields":[]}"#,
    ),
    ("items changed", &[r#"{"type":"array","items":"int"}"#], r#"{"type":"array","items":"long"}"#),
    ("values changed", &[r#"{"type":"map","values":"long"}"#], r#"{"type":"map","values":"int"}"#),
    ("record to map", &["F(a int)"], r#"{"type":"map","values":"int"}"#),
    ("recursive, grown", &[r#"F(next ["null","R"])"#], r#"F(next ["null","R"], b int)"#),
    ("good for the last, bad for the first", &["F(a int)", "F(a int, b int = 0)"], "F(a int, b int)"),
    ("good for both", &["F(a int)", "F(a int, b int = 0)"], "F(a int, b int = 0, c int = 0)"),
];

/// Where Apicurio 2.6.13 is known to differ: change, level. Asked beforehand, it compares with all versions whatever
/// the level; when registering it does as we do. Other differences do not concern verdicts: its global level is NONE,
/// a level can only be set for a subject that exists, and one that was not set cannot be set to NONE.
const DIFFERENCES: [(&str, &str); 2] =
    [("good for the last, bad for the first", "BACKWARD"), ("good for the last, bad for the first", "FULL")];

fn schema(short: &str) -> String {
    let Some(fields) = short.strip_prefix("F(").and_then(|s| s.strip_suffix(')')) else { return short.to_owned() };
    let fields = fields.split(", ").map(|field| {
        let (name, rest) = field.split_once(' ').unwrap();
        let (kind, default) = rest.split_once(" = ").map_or((rest, None), |(kind, default)| (kind, Some(default)));
        let kind = if kind.starts_with('[') { kind.to_owned() } else { format!("\"{kind}\"") };
        let default = default.map_or_else(String::new, |default| format!(r#","default":{default}"#));
        format!(r#"{{"name":"{name}","type":{kind}{default}}}"#)
    });
    format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.collect::<Vec<_>>().join(","))
}

/// Verdicts of a registry on a change at a level: asked before, and by registering.
async fn verdicts(http: &Client, base: &str, subject: &str, level: &str, earlier: &[&str], new: &str) -> (bool, u16) {
    let call = async |method: Method, path: String, body: serde_json::Value| {
        let request = http.request(method, format!("{base}{path}")).timeout(DEADLINE);
        let response = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    };
    // Apicurio takes a level only for a subject that exists, so earlier versions come in under a global NONE, which
    // it has from the start.
    let compatibility = async |path: &str, level: &str| {
        let (status, text) = call(Method::PUT, path.to_owned(), json!({ "compatibility": level })).await;
        assert_eq!(status, 200, "{base}: {text}");
    };
    let versions = format!("/subjects/{subject}/versions");
    for schema_before in earlier {
        let (status, text) = call(Method::POST, versions.clone(), json!({ "schema": schema(schema_before) })).await;
        assert_eq!(status, 200, "{base}: {text}");
    }
    // It cannot take back a level that a subject does not have.
    if level != "NONE" {
        compatibility(&format!("/config/{subject}"), level).await;
    }
    let body = json!({ "schema": schema(new) });
    let path = format!("/compatibility/subjects/{subject}/versions");
    let (status, text) = call(Method::POST, path, body.clone()).await;
    assert_eq!(status, 200, "{base}: {text}");
    let asked = serde_json::from_str::<serde_json::Value>(&text).unwrap()["is_compatible"].as_bool().unwrap();
    (asked, call(Method::POST, versions, body).await.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn agrees_about_compatibility() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.weir/apicurio/2.6.13.Final");
    if !home.is_dir() {
        return absent("no Apicurio Registry; run compose/apicurio/fetch");
    }
    let Some(registry) = Registry::start("apicurio").await else { return };
    let port = free_port();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("java");
    command
        .args(["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1"])
        .arg(format!("-Dquarkus.http.port={port}"))
        .args(["-jar", "apicurio-registry-app-2.6.13.Final-runner.jar"])
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(log.reopen().unwrap())
        .stderr(log.reopen().unwrap());
    let _apicurio = Process::spawn(&mut command).unwrap();
    let theirs = format!("http://127.0.0.1:{port}/apis/ccompat/v7");
    let ours_at = registry.url();
    let http = Client::new();
    until("Apicurio to answer", async || {
        http.get(format!("{theirs}/subjects")).send().await.is_ok_and(|response| response.status() == 200)
    })
    .await;
    registry.put("/config", &json!({ "compatibility": "NONE" })).await;
    let mut surprises = Vec::new();
    for (number, (name, earlier, new)) in CHANGES.iter().enumerate() {
        for level in LEVELS {
            let subject = format!("c{number}-{level}");
            let (ours, apicurio) = tokio::join!(
                verdicts(&http, &ours_at, &subject, level, earlier, new),
                verdicts(&http, &theirs, &subject, level, earlier, new),
            );
            assert_eq!(ours.0, ours.1 == 200, "{name}, {level}: what we say before and when registering");
            let known = DIFFERENCES.contains(&(*name, level)) && ours.1 == apicurio.1;
            if (ours != apicurio) != known {
                surprises.push(format!("{name}, {level}: we say {ours:?}, Apicurio {apicurio:?}"));
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    registry.stop().await;
}
