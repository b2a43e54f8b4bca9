//! The log is a matter of the whole process, so each case runs this test binary once more and reads its stderr.

use std::process::Command;
use weir_telemetry::{LogFormat, init_logs};

const CASE: &str = "WEIR_TELEMETRY_LOG_CASE";

/// The lines that `format` and `level` make of three events.
fn check(format: &str, level: &str) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logs::speaks_when_asked", "--nocapture"])
        .env(CASE, format!("{format} {level}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr)
        .unwrap()
        .lines()
        .filter(|line| line.contains("orders"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn speaks_when_asked() {
    let Ok(case) = std::env::var(CASE) else { return };
    let (format, level) = case.split_once(' ').unwrap();
    init_logs(format.parse().unwrap(), level).unwrap();
    assert_eq!(init_logs(LogFormat::Text, level).unwrap_err().to_string(), "logging is already set up");
    tracing::debug!(topic = "orders", "detail");
    tracing::info!(topic = "orders", partition = 3, "opened");
    tracing::error!(target: "quiet", topic = "orders", "failed");
}

#[test]
fn json_has_one_object_per_line() {
    let lines = check("json", "info,quiet=off");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(value["timestamp"].take().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        value,
        serde_json::json!({ "timestamp": null, "level": "INFO", "target": "it::logs", "message": "opened", "topic": "orders", "partition": 3 })
    );
}

#[test]
fn text_has_fields_and_no_colour_outside_a_terminal() {
    let lines = check("text", "debug");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].ends_with(r#" INFO it::logs: opened topic="orders" partition=3"#), "{lines:?}");
}

#[test]
fn a_wrong_level_or_format_says_what_is_right() {
    let error = init_logs(LogFormat::Json, "info,weir=loud").unwrap_err().to_string();
    assert!(error.starts_with("invalid log level `info,weir=loud`: ") && error.contains("use error, warn"), "{error}");
    assert_eq!("xml".parse::<LogFormat>().unwrap_err(), "unknown log format `xml`; use text or json");
}
