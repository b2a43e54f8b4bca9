//! A Kafka for one test binary or one test: the embedded broker as a process of its own, or a real Apache Kafka, a single KRaft node
//! from the jars that `compose/kafka/fetch` puts in place. A suite cannot tell which of the two it runs on; `WEIR_TEST_BROKER` in the
//! environment of the test run does, `embedded` where it is not set, `apache`.
//!
//! It holds no client. Tests bring their own: librdkafka, Java, Python.

mod nodes;

use crate::certificates::{Authority, Identity};
use crate::{Process, absent, free_port, wait_for};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

pub use nodes::Nodes;

/// The settings every broker of ours has; ports and folders are added.
const PROPERTIES: &str = include_str!("../../../compose/kafka/server.properties");
const CLUSTER_ID: &str = "WeirTestkitCluster000A";
/// A broker is up in two to four seconds on an idle machine; a build beside it takes its time.
const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(30);

/// The user of a [`Listeners`]' SASL, and the password.
pub const USER: (&str, &str) = ("alice", "alice's secret");

/// The ports of a broker that asks who comes.
///
/// All certificates are signed by `authority`, the broker's is for 127.0.0.1, except that of the port `misnamed`, for `other.example`.
#[derive(Debug)]
pub struct Listeners {
    /// SSL, a client certificate is asked for.
    pub ssl: u16,
    /// SASL_PLAINTEXT with PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER (unsecured tokens).
    pub sasl_plaintext: u16,
    /// SASL_SSL with the same.
    pub sasl_ssl: u16,
    /// SSL, with a certificate for another name.
    pub misnamed: u16,
    /// SSL, with a certificate that has expired.
    pub expired: u16,
    /// The authority's certificate, in PEM.
    pub authority: String,
    /// A client's certificate.
    pub client: Identity,
}

/// Which broker a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache Kafka.
    Apache,
    /// The embedded broker of weir-broker.
    Embedded,
}

/// One broker on free ports of 127.0.0.1 with its data in a temporary folder.
///
/// Dropping it kills the broker and removes the data.
#[derive(Debug)]
pub struct Cluster {
    broker: Option<Process>,
    folder: TempDir,
    program: Program,
    properties: Vec<(String, String)>,
    port: u16,
    /// What the virtual machine is told.
    machine: &'static [&'static str],
}

/// A broker of a test lives for seconds: to compile less eagerly halves the CPU time of a short life.
const BRIEF: &[&str] = &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx384m"];
/// A broker that is measured is run as Kafka's own scripts run it.
const LASTING: &[&str] = &["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Xms1g", "-Xmx1g"];

/// What is run.
#[derive(Clone, Debug)]
enum Program {
    /// The folder of jars.
    Apache(PathBuf),
    /// The example `broker` of weir-broker.
    Embedded(PathBuf),
}

impl Cluster {
    /// Starts a broker and waits until it answers: the one that `WEIR_TEST_BROKER` asks for.
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
        Cluster::start_kind(Kind::chosen(), properties)
    }

    /// As [`Cluster::start_with`], of the kind that is given.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[track_caller]
    pub fn start_kind(kind: Kind, properties: &[(&str, &str)]) -> Option<Cluster> {
        let program = match kind {
            Kind::Embedded => Program::Embedded(embedded()),
            Kind::Apache => match libs() {
                Ok(libs) => Program::Apache(libs),
                Err(reason) => {
                    absent(&reason);
                    return None;
                }
            },
        };
        let started = Cluster::launch(program, owned(properties), None);
        Some(started.unwrap_or_else(|error| panic!("the broker did not start: {error}")))
    }

    /// Apache Kafka for a measurement: with the heap, the collector and the compilers that Kafka's own scripts give it. `None` as for
    /// [`Cluster::start`].
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[track_caller]
    pub fn start_measured() -> Option<Cluster> {
        let mut cluster = Cluster::start_kind(Kind::Apache, &[])?;
        cluster.machine = LASTING;
        cluster.restart();
        Some(cluster)
    }

    /// Apache Kafka that asks who comes, on further ports beside the open one of [`Cluster::bootstrap`]. Whoever comes in may do all.
    /// `None` as for [`Cluster::start`].
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[track_caller]
    pub fn start_secure(properties: &[(&str, &str)]) -> Option<(Cluster, Listeners)> {
        let libs = match libs() {
            Ok(libs) => libs,
            Err(reason) => {
                absent(&reason);
                return None;
            }
        };
        let authority = Authority::new("weir-testkit");
        let listeners = Listeners {
            ssl: free_port(),
            sasl_plaintext: free_port(),
            sasl_ssl: free_port(),
            misnamed: free_port(),
            expired: free_port(),
            authority: authority.pem(),
            client: authority.issue("client.example"),
        };
        let secured = (&listeners, &authority);
        let started = Cluster::launch(Program::Apache(libs), owned(properties), Some(secured));
        Some((started.unwrap_or_else(|error| panic!("the broker did not start: {error}")), listeners))
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

    fn launch(
        program: Program,
        properties: Vec<(String, String)>,
        secured: Option<(&Listeners, &Authority)>,
    ) -> io::Result<Cluster> {
        let mut cluster = Cluster::prepare(program, properties, secured, &[free_port()], 0, &[])?;
        cluster.restart();
        Ok(cluster)
    }

    /// The broker with number `index` of those whose controllers listen on these ports, not started. `features` are what the cluster
    /// begins with where that is not the newest level.
    fn prepare(
        program: Program,
        properties: Vec<(String, String)>,
        secured: Option<(&Listeners, &Authority)>,
        controllers: &[u16],
        index: usize,
        features: &[(&str, u16)],
    ) -> io::Result<Cluster> {
        let folder = tempfile::Builder::new().prefix("weir-kafka-").tempdir()?;
        let cluster = Cluster { broker: None, folder, program, properties, port: free_port(), machine: BRIEF };
        if let Program::Apache(libs) = &cluster.program {
            let (port, controller) = (cluster.port, controllers[index]);
            let (more, security) = match secured {
                Some((listeners, authority)) => listeners.properties(authority, cluster.folder.path())?,
                None => Default::default(),
            };
            let voters = (1..).zip(controllers).map(|(node, port)| format!("{node}@127.0.0.1:{port}"));
            let mut text = format!(
                "{PROPERTIES}\n{security}\n\
                 node.id={}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{more}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more}\n\
                 controller.quorum.voters={}\n\
                 log.dirs={}\n",
                index + 1,
                voters.collect::<Vec<_>>().join(","),
                cluster.log_dir().display()
            );
            for (name, value) in &cluster.properties {
                text += &format!("{name}={value}\n");
            }
            fs::write(cluster.folder.path().join("server.properties"), text)?;
            let mut format = cluster.java(libs, &["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])?;
            if secured.is_some() {
                for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                    format.args(["--add-scram", &format!("{mechanism}=[name={},password=\"{}\"]", USER.0, USER.1)]);
                }
            }
            for (feature, level) in features {
                format.args(["--feature", &format!("{feature}={level}")]);
            }
            let formatted = format.status()?;
            if !formatted.success() {
                return Err(io::Error::other(cluster.last_words()));
            }
        }
        Ok(cluster)
    }

    /// Which broker it is.
    pub fn kind(&self) -> Kind {
        match self.program {
            Program::Apache(_) => Kind::Apache,
            Program::Embedded(_) => Kind::Embedded,
        }
    }

    /// The port of 127.0.0.1 on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, what clients call `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where the broker keeps its data. Only a stopped broker lets one write there.
    pub fn log_dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Where the segments of a partition lie.
    pub fn partition_dir(&self, topic: &str, partition: i32) -> PathBuf {
        match self.program {
            Program::Apache(_) => self.log_dir().join(format!("{topic}-{partition}")),
            Program::Embedded(_) => self.log_dir().join("topics").join(topic).join(partition.to_string()),
        }
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

    /// User and system time that the broker has taken since its start, in seconds; 0 where it is down.
    pub fn cpu_seconds(&self) -> f64 {
        self.broker.as_ref().map_or(0.0, Process::cpu_seconds)
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
        self.spawn();
        self.wait_until_it_answers();
    }

    #[track_caller]
    fn spawn(&mut self) {
        let command = match &self.program {
            Program::Apache(libs) => self.java(libs, &["kafka.Kafka"]),
            Program::Embedded(program) => self.embedded(program),
        };
        let started = command.and_then(|mut command| Process::spawn_with_folder(&mut command, self.folder.path()));
        match started {
            Ok(broker) => self.broker = Some(broker),
            Err(error) => panic!("the broker could not be started: {error}"),
        }
    }

    #[track_caller]
    fn wait_until_it_answers(&mut self) {
        wait_for(START, "the broker to answer", || {
            let ended = self.broker.as_mut().is_none_or(|broker| broker.exited().is_some());
            assert!(!ended, "the broker ended while it started: {}", self.last_words());
            answers(self.port).is_ok()
        });
    }

    /// `java <arguments> server.properties` with the broker's class path.
    fn java(&self, libs: &Path, arguments: &[&str]) -> io::Result<Command> {
        let output: File = OpenOptions::new().create(true).append(true).open(self.output())?;
        let mut command = Command::new("java");
        command
            .arg("-cp")
            .arg(libs.join("*"))
            .args(self.machine)
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .args(arguments)
            .arg(self.folder.path().join("server.properties"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(command)
    }

    fn embedded(&self, program: &Path) -> io::Result<Command> {
        let output: File = OpenOptions::new().create(true).append(true).open(self.output())?;
        let mut command = Command::new(program);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port), "--data"]).arg(self.log_dir());
        for (name, value) in &self.properties {
            command.args(["--set", &format!("{name}={value}")]);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(command)
    }

    fn last_words(&self) -> String {
        let text = fs::read(self.output()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Listeners {
    /// What `listeners` gains, and the properties that go with it; certificates are written to `folder`.
    fn properties(&self, authority: &Authority, folder: &Path) -> io::Result<(String, String)> {
        let all = [
            ("SSL", "SSL", self.ssl, Some(authority.issue("127.0.0.1"))),
            ("SASL_PLAINTEXT", "SASL_PLAINTEXT", self.sasl_plaintext, None),
            ("SASL_SSL", "SASL_SSL", self.sasl_ssl, Some(authority.issue("127.0.0.1"))),
            ("MISNAMED", "SSL", self.misnamed, Some(authority.issue("other.example"))),
            ("EXPIRED", "SSL", self.expired, Some(authority.issue_expired("127.0.0.1"))),
        ];
        let trusted = folder.join("authority.pem");
        fs::write(&trusted, authority.pem())?;
        let (mut more, mut protocols) = (String::new(), "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned());
        let mut text = String::from("sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n");
        for (name, protocol, port, identity) in all {
            more += &format!(",{name}://127.0.0.1:{port}");
            protocols += &format!(",{name}:{protocol}");
            let prefix = format!("listener.name.{}", name.to_lowercase());
            if let Some(identity) = identity {
                let store = folder.join(format!("{name}.pem"));
                fs::write(&store, identity.key + &identity.certificate)?;
                text += &format!(
                    "{prefix}.ssl.keystore.type=PEM\n{prefix}.ssl.keystore.location={}\n\
                     {prefix}.ssl.truststore.type=PEM\n{prefix}.ssl.truststore.location={}\n",
                    store.display(),
                    trusted.display()
                );
            }
            if name == "SSL" {
                text += &format!("{prefix}.ssl.client.auth=required\n");
            }
            if protocol.starts_with("SASL") {
                const MODULES: &str = "org.apache.kafka.common.security";
                let (user, password) = USER;
                text += &format!(
                    "{prefix}.plain.sasl.jaas.config={MODULES}.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
                     {prefix}.scram-sha-256.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;\n\
                     {prefix}.scram-sha-512.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;\n\
                     {prefix}.oauthbearer.sasl.jaas.config={MODULES}.oauthbearer.OAuthBearerLoginModule required;\n"
                );
            }
        }
        text += &format!("listener.security.protocol.map={protocols}\n");
        Ok((more, text))
    }
}

impl Kind {
    /// The broker that this test run is to have.
    ///
    /// # Panics
    /// When `WEIR_TEST_BROKER` is neither.
    pub fn chosen() -> Kind {
        match std::env::var("WEIR_TEST_BROKER").as_deref() {
            Ok("apache") => Kind::Apache,
            Ok("embedded") | Err(_) => Kind::Embedded,
            Ok(other) => panic!("WEIR_TEST_BROKER={other}: set it to embedded or apache"),
        }
    }
}

fn owned(properties: &[(&str, &str)]) -> Vec<(String, String)> {
    properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The embedded broker's program, built now: a run of one crate's tests would find none, or an old one.
fn embedded() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--locked", "--package", "weir-broker", "--example", "broker"])
                .args(profile)
                .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
                .stdin(Stdio::null())
                .status();
            assert!(built.is_ok_and(|status| status.success()), "the embedded broker could not be built");
            // A test binary lies in `deps` beside `examples`.
            let beside =
                std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("examples/broker")));
            let found = beside.filter(|path| path.is_file());
            found.unwrap_or_else(|| panic!("there is no examples/broker beside the folder of the test binary"))
        })
        .clone()
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
            return Err("no java; run compose/setup test".to_owned());
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
