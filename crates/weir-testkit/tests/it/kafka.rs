//! The broker starts, crashes, comes back with its data and leaves nothing behind.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use weir_testkit::kafka::{Cluster, Kind};

#[test]
fn apache_kafka_survives_crash_and_restart() {
    check(Kind::Apache, "meta.properties");
}

#[test]
fn the_embedded_broker_survives_crash_and_restart() {
    check(Kind::Embedded, "format.json");
}

/// `identity` is a file that stays as it is.
fn check(kind: Kind, identity: &str) {
    let Some(mut cluster) = Cluster::start_kind(kind, &[("group.min.session.timeout.ms", "1000")]) else { return };
    let address = cluster.bootstrap();
    let meta = cluster.log_dir().join(identity);
    let before = fs::read_to_string(&meta).unwrap();

    cluster.kill();
    assert!(TcpStream::connect(&address).is_err());
    cluster.restart();
    assert!(TcpStream::connect(&address).is_ok());
    cluster.stop();
    assert!(TcpStream::connect(&address).is_err());
    cluster.restart();

    assert_eq!(cluster.bootstrap(), address);
    assert_eq!(fs::read_to_string(&meta).unwrap(), before);
    let folder = cluster.log_dir().parent().unwrap().to_owned();
    let process = cluster.broker().unwrap().id();
    drop(cluster);
    assert!(!folder.exists());
    assert!(!Path::new(&format!("/proc/{process}")).exists());
}
