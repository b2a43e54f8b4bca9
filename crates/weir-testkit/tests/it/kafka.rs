//! The broker starts, crashes, comes back with its data and leaves nothing behind.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use weir_testkit::kafka::Cluster;

#[test]
fn a_broker_survives_crash_and_restart() {
    let Some(mut cluster) = Cluster::start_with(&[("num.io.threads", "3")]) else { return };
    let address = cluster.bootstrap();
    let meta = cluster.log_dir().join("meta.properties");
    let before = fs::read_to_string(&meta).unwrap();
    assert!(
        fs::read_to_string(cluster.log_dir().join("../server.properties")).unwrap().ends_with("num.io.threads=3\n")
    );

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
