//! `weir up`: the retail mesh in one process on a real Kafka.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use weir_testkit::kafka::Cluster;
use weir_testkit::{Process, Signal, free_port, wait_for};

use crate::world::PATIENCE;
use crate::{command, weir};

/// Runs the mesh until `end`, which is told the addresses of registry and router, and returns what it wrote to stdout
/// behind `ready`.
fn run(bootstrap: &str, arguments: &[&str], end: impl FnOnce(&mut Process, &str, &str)) -> String {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let data = tempfile::tempdir().unwrap();
    let [registry, enforcer, router] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let fixed = [
        "up",
        "--headless",
        "--kafka",
        bootstrap,
        "--registry-listen",
        &registry,
        "--enforcer-listen",
        &enforcer,
        "--router-listen",
        &router,
        "--data",
        data.path().to_str().unwrap(),
        "--contracts",
        contracts.to_str().unwrap(),
    ];
    let mut up = Process::spawn(command(&[&fixed, arguments].concat()).stdout(Stdio::piped())).unwrap();
    let mut stdout = BufReader::new(up.child().stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    end(&mut up, &format!("http://{registry}"), &format!("http://{router}"));
    let status = up.wait(PATIENCE);
    assert_eq!(status.code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    rest
}

fn figure(text: &str, name: &str) -> u64 {
    let last = text.lines().last().unwrap();
    let found = last.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{name} in {last:?}")).parse().unwrap()
}

#[test]
fn the_mesh_runs_in_one_process_and_drains() {
    let Some(cluster) = Cluster::start() else { return };
    let bootstrap = cluster.bootstrap();
    let timed = run(&bootstrap, &["--rate", "300", "--broken", "0.2", "--seconds", "6"], |_, _, _| {});
    let [sent, received, accepted, quarantined] =
        ["sent", "received", "accepted", "quarantined"].map(|name| figure(&timed, name));
    assert!(sent > 300 && quarantined > 0, "{timed}");
    assert_eq!((received, figure(&timed, "unsettled")), (sent, 0), "{timed}");
    assert_eq!(accepted + quarantined, received, "{timed}");
    assert!(timed.contains("sales.transactions"), "{timed}");

    // A second start finds everything in place; Ctrl-C ends it as well as the clock does.
    let stopped = run(&bootstrap, &["--rate", "50", "--broken", "0", "--seed", "7"], |up, _, router| {
        let told = || weir(&["view", "status", "customer.customer_360", "--router", router]).stdout;
        wait_for(PATIENCE, "customer 360 to hear of purchases", || {
            told().split_once(" received=").is_some_and(|(_, rest)| !rest.starts_with("0 "))
        });
        up.signal(Signal::Interrupt);
    });
    // Its contract is kept by whatever the company does.
    let view: Vec<&str> =
        stopped.lines().find(|line| line.starts_with("customer.customer_360 ")).unwrap().split_whitespace().collect();
    assert_eq!((view[1] != "0", view[5]), (true, "0"), "received and quarantined of {view:?} in {stopped}");
    assert_eq!((figure(&stopped, "quarantined"), figure(&stopped, "unsettled")), (0, 0), "{stopped}");
    assert_eq!(figure(&stopped, "received"), figure(&stopped, "sent"), "{stopped}");

    // The lane that moves one record at a time takes the group over where the other one left it. Only one room may name the library.
    let lane = concat!("rd", "kafka");
    let other = run(&bootstrap, &["--rate", "300", "--broken", "0.2", "--seconds", "4", "--lane", lane], |_, _, _| {});
    let [sent, received, quarantined] = ["sent", "received", "quarantined"].map(|name| figure(&other, name));
    assert!(sent > 300 && quarantined > 0, "{other}");
    assert_eq!((received, figure(&other, "unsettled")), (sent, 0), "{other}");
}

/// What it reads and writes is new to the router of the mesh, which is a static member of its group.
#[test]
fn a_view_that_is_applied_to_a_running_mesh_runs_in_all_its_stages() {
    let Some(cluster) = Cluster::start() else { return };
    let bootstrap = cluster.bootstrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let view = root.join("conformance/retail/views.d/department_spend.view.yaml");
    run(&bootstrap, &["--rate", "0"], |up, registry, router| {
        let (contracts, view) = (root.join("contracts"), view.to_str().unwrap());
        let to = ["--yes", "--kafka", &bootstrap, "--registry", registry];
        let applied = weir(&[&["apply", contracts.to_str().unwrap(), view][..], &to].concat());
        assert_eq!(applied.code, 0, "{}", applied.stderr);
        wait_for(PATIENCE, "all stages to run", || {
            weir(&["view", "status", "merchandising.department_spend", "--router", router])
                .stdout
                .contains("runs on 4 partitions in 3 stages")
        });
        up.signal(Signal::Interrupt);
    });
}
