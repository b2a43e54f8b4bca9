//! Every metric of the service: a constant with one sentence.

use std::sync::{Arc, PoisonError, RwLock};

use weir_telemetry::{Counter, Family, Metric, Metrics};

use crate::store::Store;

const REQUESTS: Metric = Metric::new("weir_registry_requests", "Requests answered, by route and HTTP status.");
const RECORDS: Metric = Metric::new("weir_registry_log_records", "Records read from the log of schemas, by outcome.");
const FENCED: Metric =
    Metric::new("weir_registry_fenced", "Times another instance took over writing between two writes of this one.");
const SUBJECTS: Metric = Metric::new("weir_registry_subjects", "Subjects that have a version.");
const VERSIONS: Metric = Metric::new("weir_registry_versions", "Versions of all subjects, soft-deleted ones too.");
const SCHEMAS: Metric = Metric::new("weir_registry_schemas", "Schema ids that are registered somewhere.");

/// Labels of a request: route and status.
pub(crate) type RequestLabels = [(&'static str, String); 2];

/// Counters of the service.
#[derive(Clone)]
pub(crate) struct Counters {
    pub requests: Family<RequestLabels, Counter>,
    pub records: Family<[(&'static str, &'static str); 1], Counter>,
    pub fenced: Family<[(&'static str, &'static str); 0], Counter>,
}

impl Counters {
    pub(crate) fn new(metrics: &mut Metrics, store: Arc<RwLock<Store>>) -> Counters {
        metrics.collect(move |samples| {
            let (subjects, versions, schemas) = store.read().unwrap_or_else(PoisonError::into_inner).counts();
            for (metric, count) in [(SUBJECTS, subjects), (VERSIONS, versions), (SCHEMAS, schemas)] {
                samples.gauge(metric, [([], count as f64)]);
            }
        });
        Counters {
            requests: metrics.counter(REQUESTS),
            records: metrics.counter(RECORDS),
            fenced: metrics.counter(FENCED),
        }
    }
}
