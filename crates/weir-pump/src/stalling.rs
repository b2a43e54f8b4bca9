//! Stalls of one partition that follow each other. No I/O, and no clock of its own.

use std::time::{Duration, Instant};

/// How long a partition may stall before it is told of as trouble. When a service starts, the first record of each partition
/// waits for its schema, which comes in less.
const TROUBLE: Duration = Duration::from_secs(1);

/// How long a partition has stalled without success, and how long it waits before it is tried again.
#[derive(Debug, Default)]
pub struct Stalling {
    since: Option<Instant>,
    backoff: Duration,
    told: bool,
}

impl Stalling {
    /// Another stall: the time to wait, `least` at first and twice as long each time up to `most`; and whether to warn of it,
    /// which is so once, when it has lasted a second.
    pub fn again(&mut self, (least, most): (Duration, Duration), now: Instant) -> (Duration, bool) {
        let since = *self.since.get_or_insert(now);
        let wait = self.backoff.max(least);
        self.backoff = (wait * 2).min(most);
        let warn = !self.told && now.saturating_duration_since(since) >= TROUBLE;
        self.told |= warn;
        (wait, warn)
    }

    /// Something came of it: the next stall is a short one again.
    pub fn end(&mut self) {
        *self = Stalling::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_waits_longer_each_time_and_is_told_once_when_it_lasts() {
        let start = Instant::now();
        let mut stalling = Stalling::default();
        let mut at = Duration::ZERO;
        let mut next = |stalling: &mut Stalling| {
            let (wait, warn) = stalling.again((Duration::from_millis(100), Duration::from_secs(2)), start + at);
            at += wait;
            (wait.as_millis(), warn)
        };
        for expect in
            [(100, false), (200, false), (400, false), (800, false), (1600, true), (2000, false), (2000, false)]
        {
            assert_eq!(next(&mut stalling), expect);
        }
        stalling.end();
        assert_eq!(next(&mut stalling), (100, false));
    }
}
