//! What all workers of a router share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_registry::Registry;
use weir_state::Folder;

use crate::board::Board;
use crate::config::Config;
use crate::ends::Ends;
use crate::owned::Owned;
use crate::views::Views;

/// What all workers of a router share.
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// The views.
    pub views: Arc<Views>,
    /// The registry.
    pub registry: Registry,
    /// The local state.
    pub folder: Folder,
    /// Where workers tell of themselves.
    pub board: Arc<Board>,
    /// The stores that workers have, which no copy may follow.
    pub owned: Owned,
    /// How transactions have ended that may hang.
    pub ends: Ends,
    /// Whether to end.
    pub stopping: AtomicBool,
}

impl Shared {
    /// Whether the router ends.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits, shorter where the router ends.
    pub fn pause(&self, length: Duration) {
        let until = Instant::now() + length;
        while Instant::now() < until && !self.is_stopping() {
            thread::sleep(Duration::from_millis(10).min(length));
        }
    }
}
