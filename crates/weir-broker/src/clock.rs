//! The time: the world's for what is stored, and one that never jumps for what is waited for.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_ms: i64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now(), start_ms: now_ms() }
    }

    /// A time that only goes forward and at the pace of time-outs: a laptop that slept, or whose clock was set, expires nobody.
    pub(crate) fn steady_ms(&self) -> i64 {
        self.start_ms.saturating_add(i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// The time of the world, as records are stamped with it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
