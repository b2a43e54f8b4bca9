//! A real Apache Kafka for one test binary or one test: a single KRaft node from the jars that `compose/kafka/fetch` puts in place.
//!
//! It holds no client. Tests bring their own: librdkafka, Java, Python.

use crate::{Process, absent, free_port, wait_for};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// The settings every broker of ours has; ports and folders are added.
const PROPERTIES: &str = include_str!("../../../compose/kafka/server.properties");
const CLUSTER_ID: &str = "WeirTestkitCluster000A";
/// A broker is up in two to four seconds on an idle machine; a build beside it takes its time.
const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(30);

/// One Apache Kafka broker on free ports of 127.0.0.1 with its data in a temporary folder.
///
/// Dropping it kills the broker and removes the data.
#[derive(Debug)]
pub struct Cluster {
    broker: Option<Process>,
    folder: TempDir,
    libs: PathBuf,
    port: u16,
}

/// Whether a broker can be started here. The error says what is missing and how to get it.
pub fn available() -> Result<(), String> {
    libs().map(|_| ())
}

impl Cluster {
    /// Starts a broker and waits until it answers.
    ///
    /// `None`, after saying so on stderr, where Kafka or Java is absent: the test is skipped. With `WEIR_REQUIRE_KAFKA=1` in the environment absence is
    /// a failure, so that a test run that must have Kafka cannot pass without it.
    ///
    /// # Panics
    /// When the broker does not come up; the message holds its last words.
    #[track_caller]
    pub fn start() -> Option<Cluster> {
        Cluster::start_with(&[])
    }

    /// As [`Cluster::start`], with properties of `server.properties` on top of ours, such as `("transaction.max.timeout.ms", "10000")`.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[track_caller]
    pub fn start_with(properties: &[(&str, &str)]) -> Option<Cluster> {
        match libs() {
            Ok(libs) => {
                Some(Cluster::launch(libs, properties).unwrap_or_else(|error| panic!("Kafka did not start: {error}")))
            }
            Err(reason) => {
                absent(&reason);
                None
            }
        }
    }

    /// One broker for all tests of this test binary; each test uses topics of its own. `None` as for [`Cluster::start`].
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[track_caller]
    pub fn shared() -> Option<&'static Cluster> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(Cluster::start).as_ref()
    }

    fn launch(libs: PathBuf, properties: &[(&str, &str)]) -> io::Result<Cluster> {
        let folder = tempfile::Builder::new().prefix("weir-kafka-").tempdir()?;
        let (port, controller) = (free_port(), free_port());
        let mut text = format!(
            "{PROPERTIES}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={}\n",
            folder.path().join("log").display()
        );
        for (name, value) in properties {
            text += &format!("{name}={value}\n");
        }
        fs::write(folder.path().join("server.properties"), text)?;
        let mut cluster = Cluster { broker: None, folder, libs, port };
        let formatted = cluster.java(&["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])?.status()?;
        if !formatted.success() {
            return Err(io::Error::other(cluster.last_words()));
        }
        cluster.restart();
        Ok(cluster)
    }

    /// `host:port`, what clients call `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where the partitions lie as `<topic>-<partition>`. Only a stopped broker lets one write there.
    pub fn log_dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the broker wrote to stdout and stderr, over all its starts.
    pub fn output(&self) -> PathBuf {
        self.folder.path().join("broker.log")
    }

    /// SIGTERM: a controlled shutdown. Nothing happens where it is already down.
    ///
    /// # Panics
    /// When the broker is still there after 30 s.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.terminate(STOP);
        }
    }

    /// SIGKILL: a crash of the process. The page cache survives it, so this is not a loss of power.
    pub fn kill(&mut self) {
        self.broker = None;
    }

    /// The broker's process, to send it a signal. `None` where it is down.
    pub fn broker(&mut self) -> Option<&mut Process> {
        self.broker.as_mut()
    }

    /// Starts the broker again on the same ports and data, after a [`Cluster::stop`] if it runs, and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up; the message holds its last words.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        let started = self
            .java(&["-Xmx384m", "kafka.Kafka"])
            .and_then(|mut command| Process::spawn_with_folder(&mut command, self.folder.path()));
        let mut broker = match started {
            Ok(broker) => broker,
            Err(error) => panic!("java could not be started: {error}"),
        };
        wait_for(START, "Kafka to answer", || {
            assert!(broker.exited().is_none(), "Kafka ended while it started: {}", self.last_words());
            answers(self.port).is_ok()
        });
        self.broker = Some(broker);
    }

    /// `java <arguments> server.properties` with the broker's class path. Compiling less eagerly halves the CPU time of a short life.
    fn java(&self, arguments: &[&str]) -> io::Result<Command> {
        let output: File = OpenOptions::new().create(true).append(true).open(self.output())?;
        let mut command = Command::new("java");
        command
            .arg("-cp")
            .arg(self.libs.join("*"))
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"])
            .args(arguments)
            .arg(self.folder.path().join("server.properties"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(command)
    }

    fn last_words(&self) -> String {
        let text = fs::read(self.output()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// The folder of jars, if there is one and Java runs.
fn libs() -> Result<PathBuf, String> {
    static LIBS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    LIBS.get_or_init(|| {
        let libs = std::env::var_os("WEIR_KAFKA_LIBS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.weir/kafka/libs"), PathBuf::from);
        if !libs.is_dir() {
            return Err(format!("no Kafka in {}; run compose/kafka/fetch", libs.display()));
        }
        let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !java.is_ok_and(|status| status.success()) {
            return Err("no java; run compose/setup".to_owned());
        }
        Ok(libs)
    })
    .clone()
}

/// Sends ApiVersions, version 0, the request every broker answers whoever asks. A broker answers it once it takes part in the cluster.
fn answers(port: u16) -> io::Result<()> {
    const REQUEST: &[u8] =
        &[0, 0, 0, 10, /* key */ 0, 18, /* version */ 0, 0, 0, 0, 0, 1, /* no client id */ 0xff, 0xff];
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(REQUEST)?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer)?;
    if answer[8..] == [0, 0] { Ok(()) } else { Err(io::Error::other("ApiVersions failed")) }
}
