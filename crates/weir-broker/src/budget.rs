//! Memory that connections share, so that clients that are slow or mean cannot take all of it.
//!
//! Who needs bytes takes a [`Grant`] first and waits while there are none. Many that each hold a part and wait for the rest would
//! wait forever; therefore one at a time may go beyond the budget. While anybody waits, the budget is [`Budget::is_pressed`], and
//! whoever holds memory for a client that is slow gives that client up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A bounded number of bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: usize,
    beyond: bool,
}

/// Bytes that were taken; they go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    budget: Arc<Budget>,
    size: usize,
    beyond: bool,
}

/// Counts one that waits, however the wait ends.
struct Waiting<'a>(&'a Budget);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Arc<Budget> {
        let state = Mutex::new(State { free: bytes, waiting: 0, beyond: false });
        Arc::new(Budget { state, freed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits for bytes, or goes beyond.
    pub(crate) fn is_pressed(&self) -> bool {
        let state = self.state();
        state.waiting > 0 || state.beyond
    }

    /// A grant of nothing, to be grown.
    pub(crate) fn grant(self: &Arc<Budget>) -> Grant {
        Grant { budget: Arc::clone(self), size: 0, beyond: false }
    }
}

impl Grant {
    /// The bytes that are held.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Takes bytes up to this size if that is possible at once; within the budget only.
    pub(crate) fn try_grow(&mut self, size: usize) -> bool {
        let Some(more) = size.checked_sub(self.size).filter(|more| *more > 0) else { return true };
        let mut state = self.budget.state();
        let fits = state.free >= more;
        if fits {
            state.free -= more;
        }
        drop(state);
        if fits || self.beyond {
            // What goes beyond is not counted against the budget.
            self.size = if fits { size } else { self.size };
            return true;
        }
        false
    }

    /// Takes bytes up to this size, and waits for them.
    pub(crate) async fn grow(&mut self, size: usize) {
        if self.try_grow(size) {
            return;
        }
        let budget = Arc::clone(&self.budget);
        budget.state().waiting += 1;
        let _waiting = Waiting(&budget);
        loop {
            // Registered before the look, so that what is freed in between wakes.
            let freed = budget.freed.notified();
            if self.try_grow(size) {
                return;
            }
            if self.go_beyond() {
                return;
            }
            freed.await;
        }
    }

    fn go_beyond(&mut self) -> bool {
        let mut state = self.budget.state();
        self.beyond = !std::mem::replace(&mut state.beyond, true);
        self.beyond
    }

    /// Gives bytes back, down to this size.
    pub(crate) fn shrink(&mut self, size: usize) {
        let less = self.size.saturating_sub(size);
        if less == 0 && !(self.beyond && size == 0) {
            return;
        }
        let mut state = self.budget.state();
        state.free += less;
        if self.beyond && size == 0 {
            state.beyond = false;
            self.beyond = false;
        }
        let waiting = state.waiting > 0;
        drop(state);
        self.size -= less;
        if waiting {
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_round_and_one_at_a_time_goes_beyond() {
        let budget = Budget::new(100);
        let mut first = budget.grant();
        first.grow(60).await;
        let mut second = budget.grant();
        assert!(!second.try_grow(60));
        assert!(second.try_grow(40));
        assert!(!budget.is_pressed());
        second.grow(1000).await;
        assert!(budget.is_pressed());
        let mut third = budget.grant();
        let waits = tokio::time::timeout(std::time::Duration::from_millis(10), third.grow(10)).await;
        assert!(waits.is_err());
        let waiting = tokio::spawn(async move {
            third.grow(10).await;
            third.size()
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), 10);
        drop(second);
        assert!(!budget.is_pressed());
        assert_eq!(budget.state().free, 100);
    }
}
