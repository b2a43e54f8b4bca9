//! The retail company's events on their way to the landing topics, at a steady rate, on a thread of their own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use weir_kafka::{Outgoing, Writer};

use crate::Failure;
use crate::check::pick;
use crate::contracts::ContractFile;
use crate::decode::now;
use crate::encode::{Encoded, Encoder};
use crate::kafka::Kafka;
use crate::mesh;
use crate::output::say;
use crate::produce::ids;
use crate::registry::Registry;
use crate::retail::{Event, Fault, Generator, Product, Shares};

/// Records that may wait for their delivery.
const IN_FLIGHT: usize = 20_000;
/// Time between two looks at the clock.
const STEP: Duration = Duration::from_millis(10);

/// What was emitted in the end.
#[derive(Debug)]
pub struct Emitted {
    /// Events that are on their landing topics.
    pub sent: u64,
    /// Why it ended early, if it did.
    pub failure: Option<Failure>,
}

/// The running company.
pub struct Emitter {
    stopping: Arc<AtomicBool>,
    failed: Arc<Mutex<Option<Failure>>>,
    thread: JoinHandle<u64>,
}

/// How the events of one product are written.
struct Line {
    topic: String,
    encoder: Encoder,
}

impl Emitter {
    /// Lets the company emit. Products without a contract among `files` are left out.
    ///
    /// # Errors
    /// [`Failure`] when a product's schema is not registered or the writer cannot be made.
    pub fn start(
        company: &mesh::Company,
        files: &[ContractFile],
        kafka: &Kafka,
        registry: &Registry,
    ) -> Result<Emitter, Failure> {
        let mut lines = BTreeMap::new();
        for product in Product::ALL {
            let Some(file) = contract_of(files, product.id()) else {
                say(format_args!("{product} has no contract here; its events are left out"));
                continue;
            };
            let object = pick(file.compiled.as_ref(), Some(product.id()))?;
            let (value_id, key_id) = ids(file, &object, registry)?;
            let topic = object.landing().unwrap_or(object.topic()).to_owned();
            lines.insert(product, Line { topic, encoder: Encoder::new(&object, value_id, key_id)? });
        }
        let writer = Writer::open(kafka.config(), IN_FLIGHT).map_err(|error| kafka.failure(error))?;
        let generator = Generator::new(company.seed, now()).with_shares(shares(company.broken));
        let stopping = Arc::new(AtomicBool::new(false));
        let failed = Arc::new(Mutex::new(None));
        let company = Company {
            generator,
            lines,
            writer,
            rate: f64::from(company.rate),
            stopping: stopping.clone(),
            failed: failed.clone(),
            encoded: Encoded::default(),
            bootstrap: kafka.config().bootstrap().to_owned(),
        };
        let thread = std::thread::Builder::new().name("retail".to_owned()).spawn(move || company.run());
        Ok(Emitter { stopping, failed, thread: thread.context("no thread for the retail company")? })
    }

    /// Why it ended, if it did by itself.
    pub fn failure(&self) -> Option<Failure> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets it finish what it has begun.
    pub fn stop(self) -> Emitted {
        self.stopping.store(true, Ordering::SeqCst);
        match self.thread.join() {
            Ok(sent) => Emitted { sent, failure: self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() },
            Err(_) => Emitted { sent: 0, failure: Some(Failure::other("the retail company ended in a panic")) },
        }
    }
}

/// The faults of a working day, so many of them that `share` of the receipt lines are broken.
fn shares(share: f64) -> Shares {
    let typical = Shares::typical();
    let sum: f64 = Fault::ALL
        .iter()
        .filter(|fault| fault.applies_to(Product::Transactions))
        .map(|fault| typical.get(*fault))
        .sum();
    let mut shares = Shares::none();
    if sum > 0.0 {
        for fault in Fault::ALL {
            shares.set(fault, typical.get(fault) * share / sum);
        }
    }
    shares
}

struct Company {
    generator: Generator,
    lines: BTreeMap<Product, Line>,
    writer: Writer,
    rate: f64,
    stopping: Arc<AtomicBool>,
    failed: Arc<Mutex<Option<Failure>>>,
    encoded: Encoded,
    bootstrap: String,
}

impl Company {
    /// Emits until it is stopped; how many events were delivered.
    fn run(mut self) -> u64 {
        let mut delivered = 0;
        let outcome = self.emit(&mut delivered);
        for delivery in self.writer.flush() {
            match delivery.result {
                Ok(_) => delivered += 1,
                Err(error) => tracing::warn!(%error, "an event of the retail company was not delivered"),
            }
        }
        if let Err(failure) = outcome {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
        delivered
    }

    fn emit(&mut self, delivered: &mut u64) -> Result<(), Failure> {
        // The tables come first and at once: what refers to them follows.
        while self.generator.snapshot_left() > 0 && !self.stopping.load(Ordering::SeqCst) {
            self.one()?;
        }
        let started = Instant::now();
        let mut emitted: u64 = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            self.generator.set_now(now());
            let due = (started.elapsed().as_secs_f64() * self.rate) as u64;
            while emitted < due && !self.stopping.load(Ordering::SeqCst) {
                self.one()?;
                emitted += 1;
            }
            for delivery in self.writer.deliveries() {
                match delivery.result {
                    Ok(_) => *delivered += 1,
                    Err(error) => tracing::warn!(%error, "an event of the retail company was not delivered"),
                }
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn one(&mut self) -> Result<(), Failure> {
        let Some(Event { product, key, value, time_ms, fault }) = self.generator.next() else { return Ok(()) };
        let Some(line) = self.lines.get_mut(&product) else { return Ok(()) };
        let value = match &value {
            None => None,
            Some(value) => {
                if let Err(error) = line.encoder.encode(value, &mut self.encoded) {
                    tracing::warn!(%product, error, "an event of the retail company cannot be encoded");
                    return Ok(());
                }
                if let Some(fault) = fault {
                    fault.on_bytes(&mut self.encoded.value);
                }
                Some(self.encoded.value.as_slice())
            }
        };
        let record = Outgoing {
            topic: &line.topic,
            partition: None,
            key: key.as_deref().map(str::as_bytes),
            value,
            headers: &[],
            timestamp: Some(time_ms),
        };
        match self.writer.send(&record, 0) {
            Ok(()) => Ok(()),
            Err(error) if error.is_unavailable() => {
                Err(Failure::Unreachable(format!("Kafka at {} does not answer any more: {error}", self.bootstrap)))
            }
            Err(error) => Err(Failure::other(error.to_string())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_broken_receipt_lines_is_the_one_asked_for() {
        let sum = |share| -> f64 {
            let shares = shares(share);
            Fault::ALL.iter().filter(|f| f.applies_to(Product::Transactions)).map(|f| shares.get(*f)).sum()
        };
        for share in [0.0, 0.03, 0.5] {
            assert!((sum(share) - share).abs() < 1e-9, "{share}");
        }
    }
}
