//! What the enforcer counts. Every metric is a constant with one sentence; no label holds a value of an event.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use weir_pump::{Counts, Ledger};
use weir_telemetry::{Metric, Metrics as Page};

use crate::contracts::{Contracts, Standing};

const RECEIVED: Metric = Metric::new(
    "weir_enforcer_received",
    "Events read from a landing topic; equals accepted + quarantined + in flight + released.",
);
const ACCEPTED: Metric = Metric::new("weir_enforcer_accepted", "Events committed to the product topic.");
const WARNED: Metric = Metric::new("weir_enforcer_warned", "Accepted events that were marked with a warning.");
const QUARANTINED: Metric = Metric::new("weir_enforcer_quarantined", "Events committed to the quarantine topic.");
const IN_FLIGHT: Metric = Metric::new("weir_enforcer_in_flight", "Events received and not yet committed.");
const RELEASED: Metric = Metric::new(
    "weir_enforcer_released",
    "Events received and handed back because their partition moved to another instance.",
);
const UNREADABLE: Metric = Metric::new(
    "weir_enforcer_unreadable",
    "Offsets in damaged batches, each range of which is one quarantined entry.",
);
const LAG: Metric = Metric::new(
    "weir_enforcer_lag",
    "Events of the landing topic that are not yet received, on partitions of this instance.",
);
const VIOLATIONS: Metric = Metric::new(
    "weir_enforcer_violations",
    "Broken promises by code, rule and mode; an event judged again after an aborted transaction counts again.",
);
const IN_FORCE: Metric = Metric::new("weir_contract_in_force", "1 for the contract version that judges now.");
const REFUSED: Metric = Metric::new(
    "weir_contract_refused",
    "1 while the newest version of a contract is refused and an older one, if any, judges on.",
);
const STALLED: Metric = Metric::new(
    "weir_enforcer_stalled_partitions",
    "Partitions that wait for something outside, such as the schema registry.",
);

const LANE: Metric = Metric::new(
    "weir_enforcer_lane",
    "1 for the lane that moves the records: native (whole batches), or the other one.",
);

/// A kind of broken promise on a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Reason {
    /// The landing topic.
    pub topic: String,
    /// The violation code.
    pub code: String,
    /// The rule, or the field it is about.
    pub rule: String,
    /// What the rule's mode did with it: shadow, warn or enforce.
    pub mode: &'static str,
}

/// The counts that the stage keeps besides the pump's ledger.
#[derive(Debug, Default)]
pub struct Metrics {
    reasons: Mutex<BTreeMap<Reason, u64>>,
    waiting: Mutex<(BTreeMap<String, u64>, u64)>,
}

/// The most different reasons that are counted, so that rules and topics cannot fill the memory.
const MAX_REASONS: usize = 20_000;

impl Metrics {
    /// Counts broken promises; once per run of records, so that the lock is rarely taken.
    pub fn add(&self, counts: impl IntoIterator<Item = (Reason, u64)>) {
        let mut counts = counts.into_iter().peekable();
        if counts.peek().is_none() {
            return;
        }
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in counts {
            if reasons.len() < MAX_REASONS || reasons.contains_key(&reason) {
                *reasons.entry(reason).or_default() += count;
            }
        }
    }

    /// All reasons with their counts.
    pub fn reasons(&self) -> BTreeMap<Reason, u64> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes lag per landing topic and the number of stalled partitions.
    pub fn set_waiting(&self, lag: BTreeMap<String, u64>, stalled: u64) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = (lag, stalled);
    }

    /// Lag per landing topic, in events, and the number of stalled partitions.
    pub fn waiting(&self) -> (BTreeMap<String, u64>, u64) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The page that `/metrics` shows. One scrape takes one snapshot of the ledger, so that its counts always add up.
pub fn page(ledger: Arc<Ledger>, metrics: Arc<Metrics>, contracts: Arc<Contracts>, lane: &'static str) -> Page {
    let mut page = Page::new();
    page.collect(move |samples| {
        let counts = ledger.snapshot();
        let of = |pick: fn(&Counts) -> u64| counts.iter().map(move |(topic, c)| ([("topic", topic.as_str())], pick(c)));
        samples.counter(RECEIVED, of(|c| c.received));
        samples.counter(ACCEPTED, of(|c| c.accepted));
        samples.counter(WARNED, of(|c| c.warned));
        samples.counter(QUARANTINED, of(|c| c.quarantined));
        samples.counter(RELEASED, of(|c| c.released));
        samples.counter(UNREADABLE, of(|c| c.unreadable));
        samples.gauge(IN_FLIGHT, of(|c| c.in_flight).map(|(labels, n)| (labels, n as f64)));

        let (lag, stalled) = metrics.waiting();
        samples.gauge(LAG, lag.iter().map(|(topic, n)| ([("topic", topic.as_str())], *n as f64)));
        samples.gauge(LANE, [([("lane", lane)], 1.0)]);
        samples.gauge(STALLED, [([], stalled as f64)]);
        let reasons = metrics.reasons();
        let labels = |r: &'_ Reason| -> [(&'static str, String); 4] {
            [
                ("topic", r.topic.clone()),
                ("code", r.code.clone()),
                ("rule", r.rule.clone()),
                ("mode", r.mode.to_owned()),
            ]
        };
        let rows: Vec<_> = reasons.iter().map(|(r, n)| (labels(r), *n)).collect();
        samples.counter(VIOLATIONS, rows.iter().map(|(l, n)| (l.each_ref().map(|(k, v)| (*k, v.as_str())), *n)));

        let standings = contracts.standings();
        let in_force = |s: &'_ Standing| s.version.clone().map(|version| (s.id.clone(), version));
        let in_force: Vec<_> = standings.iter().filter_map(in_force).collect();
        samples.gauge(IN_FORCE, in_force.iter().map(|(id, v)| ([("contract", id.as_str()), ("version", v)], 1.0)));
        let refused = standings.iter().filter(|s| s.refused.is_some());
        samples.gauge(REFUSED, refused.map(|s| ([("contract", s.id.as_str())], 1.0)));
    });
    page
}
