//! What falls due when. It knows no clock: whoever owns it says what time it is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a deadline is for. There is at most one deadline for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// The member of a group, or one that was only promised its id, was not heard of in time.
    Session(Arc<str>, Arc<str>),
    /// The group waits no longer for members to join.
    Join(Arc<str>),
    /// The group waits no longer for members to ask for their assignment.
    Sync(Arc<str>),
    /// Offsets and groups are looked through for those that expired.
    Expiry,
}

/// Deadlines in order of time, each to be moved or dropped by what it is for.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: HashMap<Timer, i64>,
    order: BTreeSet<(i64, Timer)>,
}

impl Timers {
    /// Sets the deadline, in place of an earlier one for the same.
    pub fn set(&mut self, timer: Timer, at: i64) {
        if let Some(old) = self.due.insert(timer.clone(), at) {
            if old == at {
                return;
            }
            self.order.remove(&(old, timer.clone()));
        }
        self.order.insert((at, timer));
    }

    /// Drops the deadline, where there is one.
    pub fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.due.remove_entry(timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<i64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline that is not later than `now`.
    pub fn pop(&mut self, now: i64) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.due.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
impl Timers {
    /// The deadline for something.
    pub fn get(&self, timer: &Timer) -> Option<i64> {
        self.due.get(timer).copied()
    }

    /// All deadlines.
    pub fn all(&self) -> impl Iterator<Item = (&Timer, i64)> {
        self.order.iter().map(|(at, timer)| (timer, *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_moves_is_dropped_and_falls_due_in_order() {
        let session = |member: &str| Timer::Session("g".into(), member.into());
        let mut timers = Timers::default();
        timers.set(session("a"), 10);
        timers.set(session("b"), 5);
        timers.set(Timer::Expiry, 7);
        timers.set(session("b"), 20);
        timers.set(session("a"), 10);
        timers.cancel(&Timer::Expiry);
        timers.cancel(&Timer::Expiry);
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.pop(9), None);
        assert_eq!(timers.pop(10), Some(session("a")));
        assert_eq!(timers.pop(30), Some(session("b")));
        assert_eq!((timers.pop(30), timers.next()), (None, None));
    }
}
