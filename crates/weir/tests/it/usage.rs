//! Arguments, exit codes and ends that are quiet.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{command, weir};

#[test]
fn wrong_arguments_end_with_64_and_say_what_is_wrong() {
    let check = |arguments: &[&str], expect: &str| {
        let ran = weir(arguments).code(64);
        assert!(ran.stderr.contains(expect), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    };
    check(&[], "Usage: weir");
    check(&["fly"], "unrecognized subcommand 'fly'");
    check(&["lint", "no/such/folder"], "no/such/folder: No such file");
    check(&["lint", "check"], "check: holds no file that ends in .odcs.yaml");
    check(&["check", "mesh/orders.odcs.yaml", "no.jsonl"], "no.jsonl: No such file");
    check(&["check", "mesh/orders.odcs.yaml", "mesh/Order.avsc"], "add --format csv or --format jsonl");
    check(&["check", "mesh/orders.odcs.yaml", "check/events.csv", "--topic", "x"], "--topic: name one of");
    check(&["explain", "FIELD_RANG"], "did you mean");
    check(&["apply", "--yes", "--dry-run"], "cannot be used with");
    check(&["consume", "t", "--kafka-property", "acks"], "not name=value");
    check(&["consume", "t", "--kafka-property", "enable.idempotence=false"], "enable.idempotence: cannot be set");
    check(&["quarantine", "show", "t", "here"], "here: no position; give partition:offset");
    check(&["--log", "loud=very", "explain"], "--log");
    check(&["up", "--contracts", "nowhere"], "nowhere: No such file");
    check(&["view", "plan"], "<VIEW>");
    check(&["view", "plan", "views", "--contracts", "mesh/relaxed"], "views: Is a directory");
    check(&["view", "test", "no.view.yaml", "--contracts", "mesh/relaxed"], "no.view.yaml: No such file");
    check(&["view", "test", "views/totals.view.yaml", "--contracts", "nowhere"], "nowhere: No such file");
    check(&["view", "status", "--router", "nonsense"], "--router nonsense: relative URL");
}

#[test]
fn help_version_and_completions_are_answers() {
    assert!(weir(&["--help"]).code(0).stdout.contains("Exit codes: 0 done"));
    assert_eq!(weir(&["--version"]).code(0).stdout, format!("weir {}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        assert!(weir(&["completions", shell]).code(0).stdout.contains("quarantine"), "{shell}");
    }
}

#[test]
fn codes_are_listed_and_explained() {
    let all = weir(&["explain"]).code(0);
    for line in all.lines() {
        let code = line.split_whitespace().next().unwrap();
        let page = weir(&["explain", &code.to_lowercase()]).code(0).stdout;
        assert!(page.starts_with(&format!("# {code}\n")), "{code}");
    }
    assert!(all.lines().len() >= 20);
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let mut child = command(&["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn a_kafka_that_is_away_is_named_within_seconds() {
    let address = format!("127.0.0.1:{}", weir_testkit::free_port());
    let check = |arguments: &[&str]| {
        let started = Instant::now();
        let ran = weir(&[arguments, &["--kafka", &address]].concat()).code(69);
        assert!(ran.stderr.contains(&address), "{arguments:?}: {}", ran.stderr);
        assert!(started.elapsed() < Duration::from_secs(30), "{arguments:?} took {:?}", started.elapsed());
    };
    std::thread::scope(|all| {
        for arguments in [
            &["consume", "t"][..],
            &["apply", "mesh/orders.odcs.yaml", "--yes"],
            &["produce", "--contract", "mesh/orders.odcs.yaml", "--file", "check/events.jsonl"],
            &["quarantine", "list", "t"],
            &["view", "list"],
            &["view", "explain", "shop.totals"],
            &["view", "reset", "shop.totals", "--yes"],
            &["up", "--contracts", "mesh/relaxed", "--headless"],
        ] {
            let check = &check;
            all.spawn(move || check(arguments));
        }
    });
}
