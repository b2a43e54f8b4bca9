//! Metrics: each a constant with one sentence, counted as events happen or read from a snapshot when somebody looks.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::{
    MetricType, TypedMetric, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use prometheus_client::registry::Registry;
use std::fmt::{self, Debug};
use std::hash::Hash;

/// Name and meaning of a metric. A service keeps all of its metrics as constants in `metrics.rs`.
///
/// The name follows Prometheus: `weir_` first, the base unit last (`_seconds`, `_bytes`); `_total` is added to a counter when it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    name: &'static str,
    help: &'static str,
}

impl Metric {
    /// `help` is one sentence with its period.
    pub const fn new(name: &'static str, help: &'static str) -> Metric {
        Metric { name, help }
    }

    /// The name, without the `_total` of a counter.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

const RESIDENT_MEMORY: Metric = Metric::new("process_resident_memory_bytes", "Resident memory of this process.");

/// The metrics of a service.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics(Registry::default());
        metrics.collect(|samples| samples.gauge(RESIDENT_MEMORY, resident_memory().map(|bytes| ([], bytes))));
        metrics
    }
}

impl Metrics {
    /// The metrics every process has: `process_resident_memory_bytes`.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// A counter per set of labels, such as `[(&'static str, String); 2]`. Labels must be few: topics and codes, never keys or values.
    pub fn counter<L: Labels>(&mut self, metric: Metric) -> Family<L, Counter> {
        self.register(metric, Family::default())
    }

    /// A gauge per set of labels.
    pub fn gauge<L: Labels>(&mut self, metric: Metric) -> Family<L, Gauge> {
        self.register(metric, Family::default())
    }

    /// A histogram per set of labels; `buckets` are the upper bounds, ascending, in the metric's unit.
    pub fn histogram<L: Labels>(
        &mut self,
        metric: Metric,
        buckets: &'static [f64],
    ) -> Family<L, Histogram, impl Fn() -> Histogram + Clone + Send + Sync + 'static> {
        self.register(metric, Family::new_with_constructor(|| Histogram::new(buckets.iter().copied())))
    }

    /// Calls `collect` for every scrape, to show figures that are kept elsewhere. Those taken from one snapshot agree with each other.
    pub fn collect(&mut self, collect: impl Fn(&mut Samples<'_>) + Send + Sync + 'static) {
        self.0.register_collector(Box::new(Snapshot(collect)));
    }

    /// All metrics in the OpenMetrics 1.0 text format.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.0)?;
        Ok(page)
    }

    fn register<M: prometheus_client::registry::Metric + Clone>(&mut self, metric: Metric, family: M) -> M {
        // The registry adds the period itself.
        self.0.register(metric.name, metric.help.trim_end_matches('.'), family.clone());
        family
    }
}

/// What can be the labels of a counter, gauge or histogram.
pub trait Labels: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static {}

impl<L: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static> Labels for L {}

/// Takes the figures of a snapshot. Each metric is given once, with all its samples.
pub struct Samples<'a> {
    encoder: DescriptorEncoder<'a>,
    result: fmt::Result,
}

impl Samples<'_> {
    /// Figures that only grow while the process lives, with their labels: `([("topic", "orders")], 3)`.
    pub fn counter<'l, const N: usize>(
        &mut self,
        metric: Metric,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) {
        self.add(metric, Counter::<u64>::TYPE, samples, |mut encoder, value| {
            encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None)
        });
    }

    /// Figures that grow and shrink, with their labels.
    pub fn gauge<'l, const N: usize>(
        &mut self,
        metric: Metric,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) {
        self.add(metric, Gauge::<i64>::TYPE, samples, |mut encoder, value| encoder.encode_gauge(&value));
    }

    fn add<'l, const N: usize, V>(
        &mut self,
        metric: Metric,
        kind: MetricType,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], V)>,
        encode: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) {
        self.result = self.result.and_then(|()| {
            let mut encoder = self.encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            samples.into_iter().try_for_each(|(labels, value)| encode(encoder.encode_family(&labels)?, value))
        });
    }
}

struct Snapshot<F>(F);

impl<F> Debug for Snapshot<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl<F: Fn(&mut Samples<'_>) + Send + Sync + 'static> Collector for Snapshot<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = Samples { encoder, result: Ok(()) };
        (self.0)(&mut samples);
        samples.result
    }
}

/// Linux tells it in kilobytes; other systems show no such metric.
fn resident_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}
