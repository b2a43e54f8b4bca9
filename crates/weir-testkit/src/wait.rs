//! Waiting for a condition with a deadline, in the place of a sleep that is too short on a busy machine and too long on an idle one.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Waits until `condition` holds, looking about every 20 ms.
///
/// # Panics
/// After `deadline`, naming `what` was waited for and the caller's line.
#[track_caller]
pub fn wait_for(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for_some(deadline, what, || condition().then_some(()));
}

/// Waits until `attempt` gives a value and returns it, trying about every 20 ms.
///
/// # Panics
/// After `deadline`, naming `what` was waited for and the caller's line.
#[track_caller]
pub fn wait_for_some<T>(deadline: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        sleep(Duration::from_millis(20));
    }
}
