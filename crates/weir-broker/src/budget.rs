//! Memory that connections share, so that clients that are slow or mean cannot take all of it.
//!
//! Who needs bytes takes a [`Grant`] first and waits while there are none; of those who wait, the one that will want least in the end
//! comes first, so that large claims do not hold up small requests. Many that each hold a part and wait for the rest would wait
//! forever; therefore one at a time may go beyond the budget. While anybody waits, the budget is [`Budget::is_pressed`], and
//! whoever holds memory for a client that does not move gives that client up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A bounded number of bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Whether somebody has gone beyond.
    beyond: bool,
    /// Those who wait: what each will want in the end, and a number of its own.
    waiting: BTreeMap<(usize, u64), Arc<Notify>>,
    next: u64,
}

impl State {
    fn wake_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
            first.notify_one();
        }
    }

    fn is_first(&self, place: (usize, u64)) -> bool {
        self.waiting.first_key_value().is_none_or(|(first, _)| place <= *first)
    }
}

/// Bytes that were taken; they go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    budget: Arc<Budget>,
    size: usize,
    beyond: bool,
}

/// A place among those who wait; given up however the wait ends.
struct Place<'a> {
    budget: &'a Budget,
    place: (usize, u64),
    turn: Arc<Notify>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.waiting.remove(&self.place);
        // There may be enough for the next one as well.
        state.wake_first();
    }
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Arc<Budget> {
        let state = State { free: bytes, beyond: false, waiting: BTreeMap::new(), next: 0 };
        Arc::new(Budget { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits for bytes, or goes beyond.
    pub(crate) fn is_pressed(&self) -> bool {
        let state = self.state();
        state.beyond || !state.waiting.is_empty()
    }

    /// A grant of nothing, to be grown.
    pub(crate) fn grant(self: &Arc<Budget>) -> Grant {
        Grant { budget: Arc::clone(self), size: 0, beyond: false }
    }

    fn place(&self, claim: usize) -> Place<'_> {
        let mut state = self.state();
        state.next += 1;
        let (place, turn) = ((claim, state.next), Arc::new(Notify::new()));
        state.waiting.insert(place, Arc::clone(&turn));
        Place { budget: self, place, turn }
    }
}

impl Grant {
    /// The bytes that are held.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Takes bytes up to this size if that is possible at once, and nobody who will want less waits.
    pub(crate) fn try_grow(&mut self, size: usize) -> bool {
        self.take(size, (size, 0))
    }

    fn take(&mut self, size: usize, place: (usize, u64)) -> bool {
        let Some(more) = size.checked_sub(self.size).filter(|more| *more > 0) else { return true };
        if self.beyond {
            // What goes beyond is not counted.
            return true;
        }
        let mut state = self.budget.state();
        if state.free < more || !state.is_first(place) {
            return false;
        }
        state.free -= more;
        self.size = size;
        true
    }

    fn go_beyond(&mut self, place: (usize, u64)) -> bool {
        let mut state = self.budget.state();
        self.beyond = !state.beyond && state.is_first(place);
        state.beyond |= self.beyond;
        self.beyond
    }

    /// Takes bytes up to this size, and waits for them. `claim` is what will be wanted in the end.
    pub(crate) async fn grow(&mut self, size: usize, claim: usize) {
        if self.take(size, (claim, 0)) {
            return;
        }
        let budget = Arc::clone(&self.budget);
        let place = budget.place(claim);
        while !self.take(size, place.place) && !self.go_beyond(place.place) {
            place.turn.notified().await;
        }
    }

    /// Gives bytes back, down to this size.
    pub(crate) fn shrink(&mut self, size: usize) {
        let less = self.size.saturating_sub(size);
        let returns = self.beyond && size == 0;
        if less == 0 && !returns {
            return;
        }
        self.size -= less;
        let mut state = self.budget.state();
        state.free += less;
        if returns {
            state.beyond = false;
            self.beyond = false;
        }
        state.wake_first();
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
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn bytes_go_round_and_one_at_a_time_goes_beyond() {
        let budget = Budget::new(100);
        let mut first = budget.grant();
        first.grow(60, 60).await;
        let mut second = budget.grant();
        assert!(!second.try_grow(60));
        assert!(second.try_grow(40));
        assert!(!budget.is_pressed());
        second.grow(1000, 1000).await;
        assert!(budget.is_pressed());
        let mut third = budget.grant();
        assert!(timeout(Duration::from_millis(10), third.grow(10, 10)).await.is_err());
        let waiting = tokio::spawn(async move {
            third.grow(10, 10).await;
            third.size()
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), 10);
        drop(second);
        assert!(!budget.is_pressed());
        assert_eq!(budget.state().free, 100);
    }

    #[tokio::test]
    async fn who_will_want_least_comes_first() {
        let budget = Budget::new(100);
        let mut held = budget.grant();
        held.grow(100, 100).await;
        let mut beyond = budget.grant();
        beyond.grow(1, 1).await;
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        for claim in [3000, 20, 1000] {
            let (mut grant, done) = (budget.grant(), done.clone());
            tokio::spawn(async move {
                grant.grow(60, claim).await;
                done.send(claim).unwrap();
            });
            tokio::task::yield_now().await;
        }
        // Nobody pushes in before one that wants less.
        held.shrink(90);
        assert!(!budget.grant().try_grow(30));
        held.shrink(0);
        for expect in [20, 1000, 3000] {
            assert_eq!(order.recv().await, Some(expect));
        }
    }
}
