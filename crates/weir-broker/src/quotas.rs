//! Byte rates of clients: what somebody may produce and consume per second, and how long one that had more has to wait.
//!
//! A client that goes over its rate is answered, and told to wait until it is back at it (KIP-219); nothing is refused. Whom a quota is
//! for is found as in Kafka: the most exact one holds. All clients are the same user, as nobody is authenticated.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::{Entity, StoredQuota};

/// Type of a quota for a user.
pub(crate) const USER: &str = "user";
/// Type of a quota for a client id.
pub(crate) const CLIENT: &str = "client-id";
/// Type of a quota for an address.
pub(crate) const IP: &str = "ip";
/// The name of the user that all clients are.
pub(crate) const ANONYMOUS: &str = "ANONYMOUS";
/// The quota on what is produced, in bytes per second.
pub(crate) const PRODUCE: &str = "producer_byte_rate";
/// The quota on what is consumed, in bytes per second.
pub(crate) const CONSUME: &str = "consumer_byte_rate";

/// So much of a second's bytes may come at once.
const BURST: f64 = 1.0;
/// The longest a client is told to wait.
const LONGEST: Duration = Duration::from_secs(30);
/// Buckets kept at most; beyond, those that are empty are dropped.
const BUCKETS: usize = 1024;

/// All quotas that are enforced.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stored: Vec<StoredQuota>,
    buckets: HashMap<(&'static str, Entity), Bucket>,
}

/// Bytes beyond the rate, as of then.
#[derive(Debug)]
struct Bucket {
    bytes: f64,
    since: Instant,
}

impl Quotas {
    /// Heeds these quotas from now on.
    pub(crate) fn set(&self, stored: &[StoredQuota]) {
        self.state().stored = stored.to_vec();
    }

    /// Counts what a client produced; says how long it has to wait.
    pub(crate) fn produced(&self, client: Option<&str>, bytes: usize) -> Duration {
        self.count(PRODUCE, client, bytes, Instant::now())
    }

    /// Counts what a client consumed; says how long it has to wait.
    pub(crate) fn consumed(&self, client: Option<&str>, bytes: usize) -> Duration {
        self.count(CONSUME, client, bytes, Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, quota: &'static str, client: Option<&str>, bytes: usize, now: Instant) -> Duration {
        let mut state = self.state();
        if state.stored.is_empty() {
            return Duration::ZERO;
        }
        let Some((bucket, rate)) = find(&state.stored, quota, client.unwrap_or("")) else { return Duration::ZERO };
        if state.buckets.len() >= BUCKETS {
            state.buckets.retain(|_, bucket| now.duration_since(bucket.since) < LONGEST);
        }
        let bucket = state.buckets.entry((quota, bucket)).or_insert(Bucket { bytes: 0.0, since: now });
        let drained = rate * now.duration_since(bucket.since).as_secs_f64();
        bucket.bytes = (bucket.bytes - drained).max(0.0) + bytes as f64;
        bucket.since = now;
        let over = (bucket.bytes - rate * BURST).max(0.0) / rate;
        Duration::try_from_secs_f64(over).unwrap_or(LONGEST).min(LONGEST)
    }
}

/// The quota that holds for a client, and whose bytes are counted together.
fn find(stored: &[StoredQuota], quota: &str, client: &str) -> Option<(Entity, f64)> {
    let user = [Some(Some(ANONYMOUS)), Some(None), None];
    let clients = [Some(Some(client)), Some(None), None];
    for user in user {
        for client_of in clients {
            let entity: Entity = [(USER, user), (CLIENT, client_of)]
                .into_iter()
                .filter_map(|(kind, name)| Some((kind.to_owned(), name?.map(str::to_owned))))
                .collect();
            let found = stored.iter().find(|stored| stored.entity == entity && !entity.is_empty());
            if let Some(rate) = found.and_then(|found| found.values.get(quota)) {
                let own = |kind: &str, name: &str| (kind.to_owned(), Some(name.to_owned()));
                let counted = [user.map(|_| own(USER, ANONYMOUS)), client_of.map(|_| own(CLIENT, client))];
                return Some((counted.into_iter().flatten().collect(), rate.max(1.0)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(entity: &[(&str, Option<&str>)], rate: f64) -> StoredQuota {
        let entity = entity.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned))).collect();
        StoredQuota { entity, values: [(PRODUCE.to_owned(), rate)].into() }
    }

    #[test]
    fn the_most_exact_quota_holds() {
        let all = [
            quota(&[(USER, Some(ANONYMOUS)), (CLIENT, Some("a"))], 1.0),
            quota(&[(USER, None)], 2.0),
            quota(&[(CLIENT, Some("a"))], 3.0),
            quota(&[(CLIENT, None)], 4.0),
        ];
        let check = |stored: &[StoredQuota], client: &str, expect: Option<f64>| {
            assert_eq!(find(stored, PRODUCE, client).map(|(_, rate)| rate), expect);
        };
        check(&all, "a", Some(1.0));
        check(&all, "b", Some(2.0));
        check(&all[2..], "a", Some(3.0));
        check(&all[2..], "b", Some(4.0));
        check(&[], "b", None);
        assert_eq!(find(&all, CONSUME, "a"), None);
    }

    #[test]
    fn who_is_over_the_rate_waits_until_it_is_not() {
        let quotas = Quotas::default();
        let start = Instant::now();
        let count = |client, bytes, after| {
            quotas.count(PRODUCE, Some(client), bytes, start + Duration::from_millis(after)).as_millis()
        };
        assert_eq!(count("a", 5000, 0), 0);
        quotas.set(&[quota(&[(CLIENT, None)], 1000.0)]);
        assert_eq!(count("a", 1000, 0), 0);
        assert_eq!(count("a", 500, 0), 500);
        assert_eq!(count("b", 500, 0), 0);
        assert_eq!(count("a", 0, 600), 0);
        assert_eq!(count("a", 1_000_000, 600), LONGEST.as_millis());
    }
}
