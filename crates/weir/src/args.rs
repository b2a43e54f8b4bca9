//! The arguments of every command. Reading them is all this module does.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weir_kafka::Lane;

/// Contract-governed event streaming.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "Event streams under data contracts, and a whole mesh in one process",
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(after_help = "Exit codes: 0 done; 1 the answer is no (lint errors, broken events, failed records); \
3 the cluster is not as asked; 64 wrong usage; 69 a service cannot be reached; 70 anything else.")]
pub struct Weir {
    /// What is logged to stderr, as a tracing filter; warnings where it is not given.
    #[arg(long, env = "WEIR_LOG", global = true)]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read contracts strictly and report everything that is wrong or cannot be kept.
    Lint(Lint),
    /// Check events in a file against a contract, offline.
    Check(Check),
    /// Explain a violation code.
    Explain(Explain),
    /// Create topics, register schemas and publish contracts, after showing what will be done.
    Apply(Apply),
    /// Write JSON lines or CSV to a topic as Avro.
    Produce(Produce),
    /// Read a topic as readable JSON lines.
    Consume(Consume),
    /// Look at quarantined events and replay them.
    Quarantine(Quarantine),
    /// Plan, test and look after views.
    View(View),
    /// Run the mesh in one process and show it live.
    Up(Up),
    /// Print the completions of a shell.
    Completions(Completions),
}

/// Where Kafka is.
#[derive(Debug, Clone, Args)]
pub struct KafkaArgs {
    /// Kafka bootstrap servers, as host:port[,host:port].
    #[arg(long, env = "WEIR_KAFKA", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// A librdkafka property as name=value. Can be repeated.
    #[arg(long = "kafka-property", env = "WEIR_KAFKA_PROPERTIES", value_delimiter = ';')]
    pub kafka_properties: Vec<String>,
}

/// Where the schema registry is.
#[derive(Debug, Clone, Args)]
pub struct RegistryArgs {
    /// Base URL of the schema registry.
    #[arg(long, env = "WEIR_REGISTRY", default_value = "http://127.0.0.1:8081")]
    pub registry: String,
    /// File with one line of user:password, for a registry that asks for them.
    #[arg(long, env = "WEIR_REGISTRY_CREDENTIALS", value_name = "FILE")]
    pub registry_credentials: Option<PathBuf>,
}

/// `weir lint`.
#[derive(Debug, Args)]
pub struct Lint {
    /// Contract files, or folders that are searched for *.odcs.yaml.
    #[arg(default_value = "contracts")]
    pub paths: Vec<PathBuf>,
    /// One JSON object per line: diagnostics, then promises.
    #[arg(long)]
    pub json: bool,
    /// Also list every promise: what is enforced per event, what is only measured, what cannot be.
    #[arg(long)]
    pub promises: bool,
}

/// `weir check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The contract.
    pub contract: PathBuf,
    /// Events: JSON lines or CSV with a header line; - is stdin.
    pub events: PathBuf,
    /// The topic, where the contract has more than one.
    #[arg(long)]
    pub topic: Option<String>,
    /// How the file is written; by its ending where not given.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// One JSON object per broken event.
    #[arg(long)]
    pub json: bool,
}

/// How a file of events is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// Comma separated values with a header line.
    Csv,
}

/// `weir view`.
#[derive(Debug, Args)]
pub struct View {
    /// What to do with the view.
    #[command(subcommand)]
    pub command: ViewCommand,
}

/// The commands on views.
#[derive(Debug, Subcommand)]
pub enum ViewCommand {
    /// Show what a view makes of its query: schema, key, operator, state, lineage, masks.
    Plan(ViewArgs),
    /// Run the tests written in a view file.
    Test(ViewArgs),
    /// List the views of the cluster.
    List(ViewList),
    /// Show how the views stand in a router: what they read and wrote, how far behind they are, what they wait for.
    Status(ViewStatus),
    /// Show what a view of the cluster does: its query as it is planned, its inputs and topics.
    Explain(ViewOf),
    /// Make a view anew from the beginning of its inputs, under topics of its own beside the old ones.
    Reset(ViewReset),
}

/// `weir view list`.
#[derive(Debug, Args)]
pub struct ViewList {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// One JSON object per view.
    #[arg(long)]
    pub json: bool,
}

/// `weir view status`.
#[derive(Debug, Args)]
pub struct ViewStatus {
    /// The view; all where none is given.
    pub view: Option<String>,
    /// Base URL of the router.
    #[arg(long, env = "WEIR_ROUTER", default_value = "http://127.0.0.1:9465")]
    pub router: String,
    /// One JSON object per view.
    #[arg(long)]
    pub json: bool,
}

/// `weir view explain`.
#[derive(Debug, Args)]
pub struct ViewOf {
    /// The id of the view, domain.name.
    pub view: String,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `weir view reset`.
#[derive(Debug, Args)]
pub struct ViewReset {
    /// The id of the view, domain.name.
    pub view: String,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Do not ask.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// The steps as JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// A view and what it may read.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// The view file.
    pub view: PathBuf,
    /// Folders with the contracts and views it may read.
    #[arg(long, default_value = "contracts")]
    pub contracts: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `weir explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The code, such as FIELD_RANGE; all codes are listed where none is given.
    pub code: Option<String>,
}

/// `weir apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Contract and view files, or folders that are searched for *.odcs.yaml and *.view.yaml.
    #[arg(default_value = "contracts")]
    pub paths: Vec<PathBuf>,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only show what would be done; exit 3 if that is anything.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// The steps as JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// `weir produce`.
#[derive(Debug, Args)]
pub struct Produce {
    /// The contract the events are of: names topic, schema, subject and key.
    #[arg(long)]
    pub contract: PathBuf,
    /// The topic to write to, where it is not the contract's landing (or product) topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Events: JSON lines or CSV with a header line; - is stdin.
    #[arg(long, default_value = "-")]
    pub file: PathBuf,
    /// How the file is written; by its ending where not given.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Go on behind events that cannot be encoded; they are named on stderr and the exit code is 1.
    #[arg(long)]
    pub keep_going: bool,
    /// No progress bar.
    #[arg(long, short)]
    pub quiet: bool,
    /// The counts as one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `weir consume`.
#[derive(Debug, Args)]
pub struct Consume {
    /// The topic.
    pub topic: String,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Stop after as many events.
    #[arg(long, short = 'n')]
    pub max: Option<u64>,
    /// Go on when the end is reached, until interrupted.
    #[arg(long, short)]
    pub follow: bool,
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<i32>,
    /// The first offset of each partition.
    #[arg(long, default_value_t = 0)]
    pub offset: i64,
    /// Avro's JSON encoding (unions tagged) instead of plain JSON.
    #[arg(long)]
    pub avro_json: bool,
    /// Whole records: topic, partition, offset, timestamp, key, headers and value.
    #[arg(long)]
    pub json: bool,
}

/// `weir quarantine`.
#[derive(Debug, Args)]
pub struct Quarantine {
    /// What to do.
    #[command(subcommand)]
    pub command: QuarantineCommand,
}

/// The commands of `weir quarantine`.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List quarantined events, a line each, with their reasons.
    List(QuarantineList),
    /// Show one quarantined event whole.
    Show(QuarantineShow),
    /// Check quarantined events against the current contract and send those that pass now.
    Replay(QuarantineReplay),
}

/// Which events of a quarantine.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// The product topic (or its quarantine topic).
    pub topic: String,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Only events with this violation code.
    #[arg(long)]
    pub code: Option<String>,
    /// Only events that broke this rule.
    #[arg(long)]
    pub rule: Option<String>,
}

/// `weir quarantine list`.
#[derive(Debug, Args)]
pub struct QuarantineList {
    /// Which events.
    #[command(flatten)]
    pub selection: Selection,
    /// Stop after as many.
    #[arg(long, short = 'n')]
    pub max: Option<u64>,
    /// Only the counts per code and rule.
    #[arg(long)]
    pub summary: bool,
    /// Also those that were replayed since.
    #[arg(long)]
    pub all: bool,
    /// One JSON object per event.
    #[arg(long)]
    pub json: bool,
}

/// `weir quarantine show`.
#[derive(Debug, Args)]
pub struct QuarantineShow {
    /// The product topic (or its quarantine topic).
    pub topic: String,
    /// The event, as partition:offset in the quarantine topic.
    pub position: String,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `weir quarantine replay`.
#[derive(Debug, Args)]
pub struct QuarantineReplay {
    /// Which events.
    #[command(flatten)]
    pub selection: Selection,
    /// Only say how many would pass.
    #[arg(long)]
    pub dry_run: bool,
    /// Events that were tried this often are left alone.
    #[arg(long, default_value_t = 5)]
    pub max_attempts: u32,
    /// The counts as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `weir up`.
#[derive(Debug, Args)]
pub struct Up {
    /// A Kafka that runs already, as host:port[,host:port]; without it the embedded broker is started.
    #[arg(long, env = "WEIR_KAFKA")]
    pub kafka: Option<String>,
    /// A librdkafka property as name=value, for --kafka. Can be repeated.
    #[arg(long = "kafka-property", env = "WEIR_KAFKA_PROPERTIES", value_delimiter = ';')]
    pub kafka_properties: Vec<String>,
    /// Base URL of a schema registry that runs already; without it ours is started.
    #[arg(long, env = "WEIR_REGISTRY")]
    pub registry: Option<String>,
    /// File with one line of user:password, for a registry of --registry that asks for them.
    #[arg(long, env = "WEIR_REGISTRY_CREDENTIALS", value_name = "FILE")]
    pub registry_credentials: Option<PathBuf>,
    /// Address of the embedded broker.
    #[arg(long, env = "WEIR_BROKER_LISTEN", default_value = "127.0.0.1:9092")]
    pub broker_listen: SocketAddr,
    /// Address of our schema registry.
    #[arg(long, env = "WEIR_REGISTRY_LISTEN", default_value = "127.0.0.1:8081")]
    pub registry_listen: SocketAddr,
    /// Address of the enforcer's metrics and health.
    #[arg(long, env = "WEIR_ENFORCER_LISTEN", default_value = "127.0.0.1:9464")]
    pub enforcer_listen: SocketAddr,
    /// Address of the router's metrics, health and views.
    #[arg(long, env = "WEIR_ROUTER_LISTEN", default_value = "127.0.0.1:9465")]
    pub router_listen: SocketAddr,
    /// What moves the enforcer's records: auto, native (whole batches) or rdkafka (every cluster); see docs/native-lane.md.
    #[arg(long, env = "WEIR_LANE", default_value_t = Lane::Auto)]
    pub lane: Lane,
    /// Folder of everything that is kept.
    #[arg(long, default_value = ".weir")]
    pub data: PathBuf,
    /// Keep nothing: the data goes with the process.
    #[arg(long)]
    pub ephemeral: bool,
    /// Folder for what is not kept.
    #[arg(long, env = "TMPDIR", default_value = "/tmp", hide = true)]
    pub temporary: PathBuf,
    /// When the embedded broker acknowledges: once the system has the bytes, which outlasts a crash of the process, or once the disk has.
    #[arg(long, value_enum, default_value_t = Flush::Os)]
    pub flush: Flush,
    /// The contracts to apply.
    #[arg(long, default_value = "contracts")]
    pub contracts: PathBuf,
    /// Events per second that the retail company emits; 0 emits none.
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
    /// Share of the events that break their contract, 0 to 1.
    #[arg(long, default_value_t = 0.03)]
    pub broken: f64,
    /// Seed of the retail company.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Stop after as many seconds.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// No live table: print `ready` when all is running, then only what goes wrong.
    #[arg(long)]
    pub headless: bool,
}

/// When the embedded broker acknowledges a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flush {
    /// The operating system has the bytes.
    Os,
    /// The disk has the bytes.
    Fsync,
}

impl From<Flush> for weir_broker::Flush {
    fn from(flush: Flush) -> weir_broker::Flush {
        match flush {
            Flush::Os => weir_broker::Flush::Os,
            Flush::Fsync => weir_broker::Flush::Fsync,
        }
    }
}

/// `weir completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}
