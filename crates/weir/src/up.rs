//! `weir up`: the mesh in one process. Registry and enforcer run as they do alone and meet in Kafka only; this module
//! starts them in order, has the retail company emit events, shows what becomes of them, and stops them in order.

mod emit;
mod table;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use contract_enforcer::Enforcer;
use contract_enforcer::config::{Config, Raw};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use schema_registry::Service;
use tokio::runtime::Runtime;

use crate::apply::apply;
use crate::args::Up;
use crate::contracts::{ContractFile, load_all};
use crate::interrupt::Interrupt;
use crate::kafka::Kafka;
use crate::output::{Out, count, say};
use crate::registry::Registry;
use crate::{Exit, Failure};
use emit::Emitter;
use table::{Product, render};

/// How long a service may take until it is ready.
const START: Duration = Duration::from_secs(60);
/// How long the enforcer may take to judge what is left when the company has stopped.
const DRAIN: Duration = Duration::from_secs(20);
/// Time between two tables on a terminal.
const REPAINT: Duration = Duration::from_secs(1);
/// Time between two tables that are not painted over each other.
const BLOCK: Duration = Duration::from_secs(5);
/// Time between two looks at signals.
const TICK: Duration = Duration::from_millis(50);

/// Runs the mesh until it is interrupted or its time is over.
///
/// # Errors
/// [`Failure`] when a service cannot start or ends by itself. What was received is then still committed or undone.
pub fn run(arguments: &Up) -> Result<Exit, Failure> {
    let files = load_all(std::slice::from_ref(&arguments.contracts))?;
    let interrupt = Interrupt::listen()?;
    let kafka = Kafka::connect(&arguments.kafka)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no runtime")?;
    let outcome = Mesh::start(arguments, &files, &kafka, &runtime, &interrupt).and_then(|mesh| {
        let shown = mesh.as_ref().map(|mesh| mesh.watch(arguments, &interrupt));
        let stopped = mesh.map(|mesh| mesh.stop(&runtime));
        // A service that ended by itself says more than the stopping of the others.
        shown.transpose().and(stopped.transpose())
    });
    // A client thread that hangs must not keep the process: all that matters is committed by now.
    runtime.shutdown_background();
    outcome.map(|_| Exit::Done)
}

/// Everything that runs.
struct Mesh {
    service: Service,
    enforcer: Enforcer,
    emitter: Option<Emitter>,
    /// The product topic of each landing topic.
    products: BTreeMap<String, String>,
    out: std::cell::RefCell<Out>,
}

impl Mesh {
    /// Starts registry, contracts, enforcer and company, each when the one before is ready. `None` when it was
    /// interrupted meanwhile.
    fn start(
        arguments: &Up,
        files: &[ContractFile],
        kafka: &Kafka,
        runtime: &Runtime,
        interrupt: &Interrupt,
    ) -> Result<Option<Mesh>, Failure> {
        let mut settings = schema_registry::Config::new(kafka.config().clone());
        settings.listen = arguments.registry_listen;
        let service = runtime
            .block_on(Service::start(settings))
            .with_context(|| format!("the schema registry cannot start at {}", arguments.registry_listen))?;
        if !ready("the schema registry", interrupt, || service.is_ready(), String::new)? {
            return Ok(None);
        }
        let address = format!("http://{}", service.address());
        let registry = Registry::new(&address)?;
        let steps = apply(files, kafka, &registry)?;
        say(format_args!("{} applied in {}", count(files.len() as u64, "contract"), count(steps as u64, "step")));
        let enforcer = runtime
            .block_on(Enforcer::start(enforcer_config(arguments, &address)?))
            .with_context(|| format!("the contract-enforcer cannot start at {}", arguments.enforcer_listen))?;
        if !ready("the contract-enforcer", interrupt, || enforcer.health.is_ready(), || reasons(&enforcer))? {
            return Ok(None);
        }
        let emitter = match arguments.rate {
            0 => None,
            _ => Some(Emitter::start(arguments, files, kafka, &registry)?),
        };
        let objects = files.iter().filter_map(|file| file.compiled.as_ref()).flat_map(|contract| &contract.objects);
        let products = objects.filter_map(|object| Some((object.landing()?.to_owned(), object.topic().to_owned())));
        say(format_args!("kafka     {}", kafka.config().bootstrap()));
        say(format_args!("registry  {address}"));
        say(format_args!("enforcer  http://{}/metrics", enforcer.address()));
        Ok(Some(Mesh { service, emitter, products: products.collect(), enforcer, out: Out::new().into() }))
    }

    /// Shows what happens until the end is asked for.
    fn watch(&self, arguments: &Up, interrupt: &Interrupt) -> Result<(), Failure> {
        let started = Instant::now();
        let ends = arguments.seconds.map(|seconds| started + Duration::from_secs(seconds));
        let screen = Screen::open(arguments.headless);
        if arguments.headless {
            let mut out = self.out.borrow_mut();
            out.line("ready")?;
            out.flush()?;
        }
        let (mut before, mut shown) = (Vec::new(), started);
        while !interrupt.asked() && ends.is_none_or(|end| Instant::now() < end) {
            if let Some(reason) = self.enforcer.failure() {
                return Err(Failure::other(format!("the contract-enforcer ended: {reason}")));
            }
            if let Some(failure) = self.emitter.as_ref().and_then(Emitter::failure) {
                return Err(failure);
            }
            if screen.period().is_some_and(|period| shown.elapsed() >= period) {
                let products = self.products();
                let mut table = render(&products, &before, shown.elapsed().as_secs_f64());
                let waits = reasons(&self.enforcer);
                if !waits.is_empty() {
                    table.push_str(&format!("\nwaits for {waits}"));
                }
                (before, shown) = (products, Instant::now());
                screen.show(&table, &mut self.out.borrow_mut())?;
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Stops company, enforcer and registry, in this order, and prints what became of everything.
    fn stop(mut self, runtime: &Runtime) -> Result<(), Failure> {
        say("draining; Ctrl-C again ends at once");
        let emitted = self.emitter.take().map(Emitter::stop);
        let deadline = Instant::now() + DRAIN;
        let sent: u64 = emitted.as_ref().map_or(0, |emitted| emitted.sent);
        while Instant::now() < deadline && self.enforcer.failure().is_none() {
            let products = self.products();
            let received: u64 = products.iter().map(|product| product.received).sum();
            let settled: u64 = products.iter().map(|product| product.accepted + product.quarantined).sum();
            if received >= sent && settled == received && products.iter().all(|product| product.lag == Some(0)) {
                break;
            }
            std::thread::sleep(TICK);
        }
        let products = self.products();
        let Mesh { service, enforcer, out, .. } = self;
        let ledger = enforcer.ledger().clone();
        let stopped = runtime.block_on(enforcer.stop());
        runtime.block_on(service.stop());
        let mut out = out.into_inner();
        out.line(render(&products, &products, 1.0))?;
        let counts = ledger.snapshot();
        let sum = |pick: fn(&weir_pump::Counts) -> u64| counts.values().map(pick).sum::<u64>();
        let (received, accepted, warned) = (sum(|c| c.received), sum(|c| c.accepted), sum(|c| c.warned));
        let (quarantined, unsettled) = (sum(|c| c.quarantined), sum(|c| c.in_flight + c.released));
        out.line(format_args!(
            "sent={sent} received={received} accepted={accepted} warned={warned} quarantined={quarantined} unsettled={unsettled}"
        ))?;
        out.flush()?;
        stopped.context("the contract-enforcer did not drain; nothing is lost, it goes on with the next start")?;
        match emitted.and_then(|emitted| emitted.failure) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// What is known of every product now.
    fn products(&self) -> Vec<Product> {
        let counts = self.enforcer.ledger().snapshot();
        let (lag, _) = self.enforcer.metrics.waiting();
        let mut reasons: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (reason, times) in self.enforcer.metrics.reasons().into_iter().filter(|(reason, _)| reason.mode != "shadow")
        {
            let name = format!("{} {}", reason.code, reason.rule);
            *reasons.entry(reason.topic).or_default().entry(name.trim_end().to_owned()).or_default() += times;
        }
        let product = |(landing, topic): (&String, &String)| {
            let counts = counts.get(landing).copied().unwrap_or_default();
            let mut reasons: Vec<_> = reasons.remove(landing).unwrap_or_default().into_iter().collect();
            reasons.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
            Product {
                topic: topic.clone(),
                received: counts.received,
                accepted: counts.accepted,
                warned: counts.warned,
                quarantined: counts.quarantined,
                lag: lag.get(landing).copied(),
                reasons,
            }
        };
        self.products.iter().map(product).collect()
    }
}

/// The enforcer's own settings, as its own command line would make them.
fn enforcer_config(arguments: &Up, registry: &str) -> Result<Config, Failure> {
    let listen = arguments.enforcer_listen.to_string();
    let mut line =
        vec!["contract-enforcer", "--kafka", &arguments.kafka.kafka, "--registry", registry, "--listen", &listen];
    for property in arguments.kafka.kafka_properties.iter().filter(|property| !property.trim().is_empty()) {
        line.extend(["--kafka-property", property]);
    }
    let raw = Raw::try_parse_from(line).map_err(|error| Failure::Usage(error.to_string()))?;
    Config::new(raw).map_err(|error| Failure::Usage(error.to_string()))
}

/// Waits until a service is ready; false when it was interrupted.
fn ready(
    what: &str,
    interrupt: &Interrupt,
    ready: impl Fn() -> bool,
    why: impl Fn() -> String,
) -> Result<bool, Failure> {
    let deadline = Instant::now() + START;
    while !ready() {
        if interrupt.asked() {
            return Ok(false);
        }
        if Instant::now() >= deadline {
            let why = why();
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            return Err(Failure::Unreachable(format!("{what} is not ready after {} s{why}", START.as_secs())));
        }
        std::thread::sleep(TICK);
    }
    Ok(true)
}

fn reasons(enforcer: &Enforcer) -> String {
    let reasons: Vec<String> = enforcer.health.reasons().iter().map(|(what, why)| format!("{what}: {why}")).collect();
    reasons.join("; ")
}

/// Where the live table goes.
enum Screen {
    /// Painted over itself.
    Terminal(ProgressBar),
    /// One below the other.
    Blocks,
    /// Nowhere.
    Headless,
}

impl Screen {
    fn open(headless: bool) -> Screen {
        if headless {
            return Screen::Headless;
        }
        if !std::io::stdout().is_terminal() {
            return Screen::Blocks;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Screen::Terminal(bar)
    }

    fn period(&self) -> Option<Duration> {
        match self {
            Screen::Terminal(_) => Some(REPAINT),
            Screen::Blocks => Some(BLOCK),
            Screen::Headless => None,
        }
    }

    fn show(&self, table: &str, out: &mut Out) -> Result<(), Failure> {
        match self {
            Screen::Terminal(bar) => {
                bar.set_message(table.to_owned());
                bar.tick();
            }
            Screen::Blocks => {
                out.line(format_args!("{table}\n"))?;
                out.flush()?;
            }
            Screen::Headless => {}
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Screen::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// The contract file of a product topic.
fn contract_of<'f>(files: &'f [ContractFile], topic: &str) -> Option<&'f ContractFile> {
    let governs = |file: &&ContractFile| {
        file.compiled.iter().flat_map(|contract| &contract.objects).any(|object| object.topic() == topic)
    };
    files.iter().find(governs)
}
