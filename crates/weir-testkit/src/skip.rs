//! Tests that need what a machine may lack: they say so and pass, unless the run must have everything.

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says on stderr that a test is skipped and why. The test then returns.
///
/// Rust shows the output of a test that passes to nobody; this goes past it, so that a skipped test is seen.
pub fn skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(stderr(), "{name} skipped: {reason}");
}

/// The interpreter of the environment with the unmodified Python clients (`confluent-kafka` with Avro), made by `compose/python/fetch`.
///
/// `None` as for [`Cluster::start`](crate::kafka::Cluster::start) where it is absent.
///
/// # Panics
/// Where it is absent and `WEIR_REQUIRE_KAFKA=1`.
#[track_caller]
pub fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.weir/python/bin/python");
    let found = Command::new(&python)
        .args(["-c", "import confluent_kafka"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    absent("no Python clients; run compose/python/fetch");
    None
}

/// What a test needs is not there: skipped, or failed where `WEIR_REQUIRE_KAFKA=1` says that this run must not pass without it.
///
/// # Panics
/// Where `WEIR_REQUIRE_KAFKA=1`.
#[track_caller]
pub fn absent(reason: &str) {
    assert!(
        std::env::var_os("WEIR_REQUIRE_KAFKA").is_none_or(|value| value != "1"),
        "WEIR_REQUIRE_KAFKA=1, but there is {reason}"
    );
    skipped(reason);
}
