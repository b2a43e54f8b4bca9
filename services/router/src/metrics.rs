//! What the router counts. Every metric is a constant with one sentence; no label holds a value of a record.

use std::sync::Arc;

use weir_telemetry::{Metric, Metrics as Page};

use crate::board::{Board, Total};
use crate::views::Views;

const RECEIVED: Metric =
    Metric::new("weir_router_received", "Records a view has read and committed, of all its inputs.");
const EMITTED: Metric =
    Metric::new("weir_router_emitted", "Records a view has committed to its topic, tombstones too.");
const QUARANTINED: Metric = Metric::new(
    "weir_router_quarantined",
    "Entries a view has committed to its quarantine: records it could not take, rows without a value, outputs that broke its contract.",
);
const LATE: Metric = Metric::new("weir_router_late", "Records that came when all their windows had closed.");
const NO_KEY: Metric = Metric::new("weir_router_no_key", "Records without the key they would be joined or grouped by.");
const UNDEFINED: Metric = Metric::new(
    "weir_router_undefined",
    "Rows in the quarantine (of a window that closed, of a group) for which an expression has no value.",
);
const RESTORED: Metric = Metric::new("weir_router_restored", "Entries of the state that came from the changelog.");
const COPIED: Metric =
    Metric::new("weir_router_copied", "Entries of the state of others that were copied from the changelog.");
const LAG: Metric =
    Metric::new("weir_router_lag", "Records of a view's inputs that wait, on partitions of this instance.");
const TASKS: Metric = Metric::new("weir_router_tasks", "Partitions of a view that run in this instance.");
const RUNS: Metric = Metric::new("weir_view_in_force", "1 for the version of a view that runs.");
const REFUSED: Metric = Metric::new("weir_view_refused", "1 while the newest version of a view is refused.");
const BLOCKED: Metric = Metric::new("weir_view_blocked", "1 while a view cannot run for want of something outside.");
const DISK: Metric = Metric::new("weir_router_state_bytes", "Bytes that the local state takes on the disk.");

/// The page that `/metrics` shows.
pub fn page(board: Arc<Board>, views: Arc<Views>, disk: impl Fn() -> u64 + Send + Sync + 'static) -> Page {
    let mut page = Page::new();
    page.collect(move |samples| {
        let totals = board.totals();
        let of = |pick: fn(&Total) -> u64| totals.iter().map(move |(view, t)| ([("view", view.as_str())], pick(t)));
        samples.counter(RECEIVED, of(|t| t.received));
        samples.counter(EMITTED, of(|t| t.emitted));
        samples.counter(QUARANTINED, of(|t| t.quarantined));
        samples.counter(LATE, of(|t| t.late));
        samples.counter(NO_KEY, of(|t| t.no_key));
        samples.counter(UNDEFINED, of(|t| t.undefined));
        samples.counter(RESTORED, of(|t| t.restored));
        samples.counter(COPIED, of(|t| t.copied));
        let running = views.current().views;
        let tasks: Vec<_> = running.iter().map(|view| (view, board.tasks(&view.id))).collect();
        let label = |id: &'_ str| [("view", id.to_owned())];
        let lag: Vec<_> =
            tasks.iter().map(|(v, t)| (label(&v.id), t.iter().map(|t| t.lag).sum::<i64>() as f64)).collect();
        samples.gauge(LAG, lag.iter().map(|(l, n)| (l.each_ref().map(|(k, v)| (*k, v.as_str())), *n)));
        samples.gauge(TASKS, tasks.iter().map(|(v, t)| ([("view", v.id.as_str())], t.len() as f64)));
        samples.gauge(RUNS, running.iter().map(|v| ([("view", v.id.as_str()), ("version", v.version.as_str())], 1.0)));
        let refused = views.refused();
        samples.gauge(REFUSED, refused.keys().map(|id| ([("view", id.as_str())], 1.0)));
        let blocked = running.iter().filter(|view| board.blocked(&view.id).is_some());
        samples.gauge(BLOCKED, blocked.map(|view| ([("view", view.id.as_str())], 1.0)));
        samples.gauge(DISK, [([], disk() as f64)]);
    });
    page
}
