//! Child processes end when they are told to, and with the test at the latest.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use weir_testkit::{Process, Signal, wait_for, wait_for_some};

const SOON: Duration = Duration::from_secs(20);
const DIES: &str = "WEIR_TESTKIT_DIES";

fn sleeper() -> Process {
    Process::spawn(Command::new("sleep").arg("1000")).unwrap()
}

/// The letter of /proc/<pid>/stat: R running, S sleeping, T stopped, Z zombie. `None` where there is no such process.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

#[test]
fn signals_arrive() {
    let mut process = sleeper();
    let pid = process.id();
    process.signal(Signal::Stop);
    wait_for(SOON, "the process to stop", || state(pid) == Some('T'));
    process.signal(Signal::Continue);
    wait_for(SOON, "the process to go on", || state(pid) != Some('T'));
    assert!(process.exited().is_none());
    assert!(!process.terminate(SOON).success());
    process.signal(Signal::Kill);
    assert_eq!(state(pid), None);
}

#[test]
fn a_dropped_process_is_gone() {
    let mut process = sleeper();
    process.signal(Signal::Stop);
    let pid = process.id();
    drop(process);
    assert_eq!(state(pid), None);
}

#[test]
fn a_test_that_dies_takes_its_processes_along() {
    if std::env::var_os(DIES).is_some() {
        println!("\npid {}", sleeper_for_ever());
        std::process::abort();
    }
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::a_test_that_dies_takes_its_processes_along", "--nocapture"])
        .env(DIES, "1")
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let pid = lines.find_map(|line| line.unwrap().strip_prefix("pid ")?.parse().ok()).unwrap();
    assert!(!test.wait().unwrap().success());
    // An orphan that nobody waits for may stay as a zombie.
    wait_for(SOON, "the orphan to end", || matches!(state(pid), None | Some('Z')));
}

fn sleeper_for_ever() -> u32 {
    let process = sleeper();
    let pid = process.id();
    std::mem::forget(process);
    pid
}

#[test]
#[should_panic(expected = "waited 50ms in vain for: the moon")]
fn a_wait_in_vain_says_what_for() {
    wait_for(Duration::from_millis(50), "the moon", || false);
}

#[test]
fn a_wait_gives_what_it_waited_for() {
    let mut tries = 0;
    let value = wait_for_some(SOON, "three tries", || {
        tries += 1;
        (tries == 3).then_some(tries)
    });
    assert_eq!(value, 3);
}
