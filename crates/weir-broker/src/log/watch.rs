//! Tells waiting fetches that a log has moved.

use std::sync::{Arc, Mutex, Weak};

use super::files::lock;

/// Somebody who waits for new records or for a last stable offset.
pub trait Waiter: Send + Sync {
    /// The end or the last stable offset of a watched log moved, or the log was closed. Called on the appending thread, so it
    /// must be quick, and possibly once when nothing moved.
    fn wake(&self);
}

impl<F: Fn() + Send + Sync> Waiter for F {
    fn wake(&self) {
        self();
    }
}

/// Waiters of one log. They are held weakly: dropping one is all it takes to stop waiting.
#[derive(Default)]
pub(super) struct Watchers(Mutex<List>);

#[derive(Default)]
struct List {
    waiters: Vec<Weak<dyn Waiter>>,
    /// Length at which those that are gone are looked for.
    tidy_at: usize,
}

impl Watchers {
    pub(super) fn add(&self, waiter: &Arc<dyn Waiter>) {
        let mut list = lock(&self.0);
        if list.waiters.len() >= list.tidy_at {
            list.waiters.retain(|waiter| waiter.strong_count() > 0);
            list.tidy_at = (2 * list.waiters.len()).max(8);
        }
        list.waiters.push(Arc::downgrade(waiter));
    }

    pub(super) fn wake(&self) {
        let live: Vec<Arc<dyn Waiter>> = {
            let mut list = lock(&self.0);
            if list.waiters.is_empty() {
                return;
            }
            list.waiters.retain(|waiter| waiter.strong_count() > 0);
            if list.waiters.is_empty() {
                list.waiters = Vec::new();
            }
            list.waiters.iter().filter_map(Weak::upgrade).collect()
        };
        live.iter().for_each(|waiter| waiter.wake());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_living_are_woken_and_the_dead_leave_nothing_behind() {
        let watchers = Watchers::default();
        let count = Arc::new(AtomicUsize::new(0));
        let waiter = || -> Arc<dyn Waiter> {
            let count = count.clone();
            Arc::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
        };
        let stays = waiter();
        watchers.add(&stays);
        for _ in 0..10_000 {
            watchers.add(&waiter());
            assert!(lock(&watchers.0).waiters.len() <= 9);
        }
        watchers.wake();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(lock(&watchers.0).waiters.len(), 1);
        drop(stays);
        watchers.wake();
        assert_eq!((count.load(Ordering::Relaxed), lock(&watchers.0).waiters.capacity()), (1, 0));
    }
}
