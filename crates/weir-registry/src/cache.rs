//! What is known about keys that are fetched in the background: a state machine without clock, thread or
//! network. Time comes in as an argument. Every map in it is bounded, so a flood of unknown keys costs no memory.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What can be said about a key right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<V> {
    /// The value is known.
    Ready(V),
    /// The registry said that there is no such id: a data fault.
    NoSuchId,
    /// The id exists, but what it names is no Avro schema that can be read: a data fault.
    Unusable(Arc<str>),
    /// It is being fetched, or waits for room to be: ask again after the next change.
    Pending,
    /// The registry could not be asked: a system fault. It is asked again in the background.
    Unavailable(Arc<str>),
}

impl<V> Answer<V> {
    /// Whether asking again later may bring another answer about the same record.
    pub fn is_transient(&self) -> bool {
        matches!(self, Answer::Pending | Answer::Unavailable(_))
    }

    pub(crate) fn map<W>(self, f: impl FnOnce(V) -> W) -> Answer<W> {
        match self {
            Answer::Ready(value) => Answer::Ready(f(value)),
            Answer::NoSuchId => Answer::NoSuchId,
            Answer::Unusable(reason) => Answer::Unusable(reason),
            Answer::Pending => Answer::Pending,
            Answer::Unavailable(reason) => Answer::Unavailable(reason),
        }
    }
}

/// Why a fetch brought no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    NoSuchId,
    Unusable(Arc<str>),
    Unavailable(Arc<str>),
}

pub(crate) struct Limits {
    pub capacity: usize,
    pub negative_capacity: usize,
    pub in_flight: usize,
    /// After this a value is fetched anew in the background; the old one is used until then.
    pub ttl: Option<Duration>,
    pub negative_ttl: Duration,
    pub cool_down: Duration,
}

pub(crate) struct Cache<K, V> {
    limits: Limits,
    ready: Bounded<K, (V, Instant)>,
    missed: Bounded<K, (Miss, Instant)>,
    /// Keys being fetched, with the failure of the attempt before, if there was one.
    in_flight: HashMap<K, Option<Arc<str>>>,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    pub(crate) fn new(limits: Limits) -> Self {
        Cache {
            ready: Bounded::new(limits.capacity),
            missed: Bounded::new(limits.negative_capacity),
            in_flight: HashMap::new(),
            limits,
        }
    }

    /// The answer if giving it needs no change of state; this is the path of every record but the first.
    pub(crate) fn peek(&self, key: K, now: Instant) -> Option<Answer<V>> {
        if let Some((value, at)) = self.ready.get(&key) {
            let fresh = self.limits.ttl.is_none_or(|ttl| now.saturating_duration_since(*at) < ttl);
            let cooling = || self.missed.get(&key).is_some_and(|(_, until)| now < *until);
            return (fresh || self.in_flight.contains_key(&key) || cooling()).then(|| Answer::Ready(value.clone()));
        }
        if let Some(failure) = self.in_flight.get(&key) {
            return Some(failure.clone().map_or(Answer::Pending, Answer::Unavailable));
        }
        let (miss, until) = self.missed.get(&key)?;
        (now < *until).then(|| match miss {
            Miss::NoSuchId => Answer::NoSuchId,
            Miss::Unusable(reason) => Answer::Unusable(reason.clone()),
            Miss::Unavailable(reason) => Answer::Unavailable(reason.clone()),
        })
    }

    /// The answer, and whether the caller must start a fetch for the key: true once per key and fetch.
    pub(crate) fn ask(&mut self, key: K, now: Instant) -> (Answer<V>, bool) {
        if let Some(answer) = self.peek(key, now) {
            return (answer, false);
        }
        let failure = match self.missed.get(&key) {
            Some((Miss::Unavailable(reason), _)) => Some(reason.clone()),
            _ => None,
        };
        let answer = match (self.ready.get(&key), &failure) {
            (Some((value, _)), _) => Answer::Ready(value.clone()),
            (None, Some(reason)) => Answer::Unavailable(reason.clone()),
            (None, None) => Answer::Pending,
        };
        let start = self.in_flight.len() < self.limits.in_flight;
        if start {
            self.in_flight.insert(key, failure);
        }
        (answer, start)
    }

    /// When the value was fetched.
    pub(crate) fn fetched_at(&self, key: K) -> Option<Instant> {
        self.ready.get(&key).map(|(_, at)| *at)
    }

    /// Whether the caller must fetch the key anew although its value is not old; the value stays in use meanwhile.
    pub(crate) fn refresh(&mut self, key: K) -> bool {
        let start = !self.in_flight.contains_key(&key) && self.in_flight.len() < self.limits.in_flight;
        if start {
            self.in_flight.insert(key, None);
        }
        start
    }

    /// One attempt failed; the fetch goes on.
    pub(crate) fn stumbled(&mut self, key: K, reason: Arc<str>) {
        if let Some(failure) = self.in_flight.get_mut(&key) {
            *failure = Some(reason);
        }
    }

    /// The fetch ended. A value that is known already outlives a failed refresh, but not a "no such id".
    pub(crate) fn settle(&mut self, key: K, outcome: Result<V, Miss>, now: Instant) {
        self.in_flight.remove(&key);
        match outcome {
            Ok(value) => {
                self.missed.remove(&key);
                self.ready.insert(key, (value, now));
            }
            Err(miss) => {
                let pause = match miss {
                    Miss::Unavailable(_) => self.limits.cool_down,
                    Miss::NoSuchId | Miss::Unusable(_) => {
                        self.ready.remove(&key);
                        self.limits.negative_ttl
                    }
                };
                self.missed.insert(key, (miss, now + pause));
            }
        }
    }
}

/// A map that forgets its oldest entries.
struct Bounded<K, V> {
    map: HashMap<K, (u64, V)>,
    order: VecDeque<(K, u64)>,
    capacity: usize,
    next: u64,
}

impl<K: Hash + Eq + Copy, V> Bounded<K, V> {
    fn new(capacity: usize) -> Self {
        Bounded { map: HashMap::new(), order: VecDeque::new(), capacity, next: 0 }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(_, value)| value)
    }

    fn remove(&mut self, key: &K) {
        self.map.remove(key);
    }

    fn insert(&mut self, key: K, value: V) {
        self.next += 1;
        self.map.insert(key, (self.next, value));
        self.order.push_back((key, self.next));
        while self.order.len() > self.capacity {
            let Some((oldest, at)) = self.order.pop_front() else { break };
            if self.map.get(&oldest).is_some_and(|(inserted, _)| *inserted == at) {
                self.map.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cache(ttl: Option<Duration>) -> Cache<u32, &'static str> {
        let negative_ttl = 10 * SECOND;
        Cache::new(Limits { capacity: 2, negative_capacity: 3, in_flight: 2, ttl, negative_ttl, cool_down: SECOND })
    }

    #[test]
    fn one_fetch_per_key() {
        let (mut cache, now) = (cache(None), Instant::now());
        assert_eq!(cache.ask(1, now), (Answer::Pending, true));
        assert_eq!(cache.ask(1, now), (Answer::Pending, false));
        cache.settle(1, Ok("one"), now);
        assert_eq!(cache.ask(1, now + 1000 * SECOND), (Answer::Ready("one"), false));
    }

    #[test]
    fn a_miss_is_believed_for_a_while() {
        let (mut cache, now) = (cache(None), Instant::now());
        assert!(cache.ask(1, now).1);
        cache.settle(1, Err(Miss::NoSuchId), now);
        assert_eq!(cache.ask(1, now + 9 * SECOND), (Answer::NoSuchId, false));
        assert_eq!(cache.ask(1, now + 10 * SECOND), (Answer::Pending, true));
    }

    #[test]
    fn failures_show_while_the_fetch_goes_on() {
        let (mut cache, now) = (cache(None), Instant::now());
        assert!(cache.ask(1, now).1);
        cache.stumbled(1, "refused".into());
        assert_eq!(cache.ask(1, now), (Answer::Unavailable("refused".into()), false));
        cache.settle(1, Err(Miss::Unavailable("refused".into())), now);
        assert_eq!(cache.ask(1, now), (Answer::Unavailable("refused".into()), false));
        assert_eq!(cache.ask(1, now + SECOND), (Answer::Unavailable("refused".into()), true));
    }

    #[test]
    fn old_values_serve_until_the_new_one_is_there() {
        let (mut cache, now) = (cache(Some(60 * SECOND)), Instant::now());
        assert!(cache.ask(1, now).1);
        cache.settle(1, Ok("old"), now);
        let later = now + 61 * SECOND;
        assert_eq!(cache.ask(1, later), (Answer::Ready("old"), true));
        assert_eq!(cache.ask(1, later), (Answer::Ready("old"), false));
        cache.settle(1, Err(Miss::Unavailable("away".into())), later);
        assert_eq!(cache.ask(1, later).0, Answer::Ready("old"));
        cache.settle(1, Err(Miss::NoSuchId), later);
        assert_eq!(cache.ask(1, later).0, Answer::NoSuchId);
    }

    #[test]
    fn a_flood_leaves_nothing_behind() {
        let (mut cache, now) = (cache(None), Instant::now());
        for key in 0..10_000 {
            let (_, start) = cache.ask(key, now);
            if start && key % 2 == 0 {
                cache.settle(key, Err(Miss::NoSuchId), now);
            }
        }
        assert!(cache.in_flight.len() <= 2 && cache.missed.map.len() <= 3 && cache.missed.order.len() <= 3);
        for _ in 0..10_000 {
            cache.settle(7, Ok("seven"), now);
        }
        assert!(cache.ready.map.len() == 1 && cache.ready.order.len() <= 2);
    }
}
