//! Workers that stay on a core, so that what they work on stays in its cache.

/// Keeps this thread on the core of the worker with this number, of those it may use: again the first behind the last. Where the
/// system does not allow that, it says so and runs anywhere.
pub(super) fn pin(worker: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = cores.get(worker % cores.len().max(1));
    match core {
        Some(core) if core_affinity::set_for_current(*core) => {
            tracing::info!(worker, core = core.id, "worker stays on a core");
        }
        _ => tracing::warn!(worker, "the system keeps no thread on a core, this worker runs on any"),
    }
}
