//! Brings a local store up to the end of its changelog.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_kafka::{Admin, ClusterConfig, Error, Read, ReadOptions, Reader, Record, Start, Until};
use weir_state::{Entry, Folder, Position, Store};

use crate::task::Trouble;

/// Entries of a changelog written to the store at once, and bytes of them.
const CHUNK: usize = 250_000;
const CHUNK_BYTES: usize = 16 << 20;
/// Changelogs that are followed at a time.
const HANDS: usize = 4;
/// How often somebody is told that this goes on.
const BEAT: Duration = Duration::from_millis(50);
/// How long a changelog is waited for, and how often in a row the cluster may be silent in the middle of it.
const SILENCE: Duration = Duration::from_millis(500);
const PATIENCE: u32 = 60;
/// How long a transaction in a changelog may be undecided before somebody is told.
const HANGING: Duration = Duration::from_secs(10);
/// How old a copy may be. `weir apply` has changelogs keep tombstones for 7 days; what was deleted longer ago than that
/// is no longer said, and an older copy would keep it for ever.
pub const TOMBSTONES: Duration = Duration::from_hours(6 * 24);

/// The changelog of one task.
pub struct Changelog<'c> {
    /// Asked for its ends.
    pub admin: &'c Admin,
    /// The cluster it is in.
    pub cluster: &'c ClusterConfig,
    /// The topic.
    pub topic: &'c str,
    /// The partition.
    pub partition: i32,
}

/// How far a changelog is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// To this end, before which every transaction is decided: for the owner, who goes on from there.
    Decided(i64),
    /// To the first transaction that is not decided: for a copy, while another one writes.
    Stable,
}

/// A store of a task with the changelog that it is brought up to date with.
pub struct Behind {
    /// The store.
    pub store: Store,
    /// The topic of its changelog.
    pub topic: String,
    /// The partition of it.
    pub partition: i32,
    /// How many entries that took.
    pub restored: u64,
}

/// The ends of the changelogs of stores, once every transaction in them is decided. The answer to a commit comes before its markers are
/// written, so what the owner before has committed may not be visible yet; what it left open is aborted in time. What hangs is told of, so that
/// somebody ends it, and waited for: it may have been committed, and to abort it would take away what its positions say is done.
fn decided(
    admin: &Admin,
    stores: &[Behind],
    alive: &dyn Fn() -> bool,
    tell: &dyn Fn(String),
) -> Result<Vec<i64>, Trouble> {
    let mut told = Instant::now();
    let mut end_of = |Behind { topic, partition, .. }: &Behind| {
        loop {
            let (stable, end) = admin.stable_end(topic, *partition)?;
            if stable == end {
                return Ok(end);
            }
            if !alive() {
                return Err(Trouble::State("stopping".to_owned()));
            }
            if told.elapsed() >= HANGING {
                told = Instant::now();
                let reason = format!(
                    "a transaction hangs in topic {topic}, partition {partition}, at offset {stable}; docs/router.md says what to do"
                );
                tracing::warn!(end, "{reason}");
                tell(reason);
            }
            thread::sleep(Duration::from_millis(10));
        }
    };
    stores.iter().map(&mut end_of).collect()
}

/// Brings the stores of tasks to the ends of their changelogs, several at a time. `alive` is called all the while, and ends it
/// with `false`; `tell` is told what hangs.
///
/// # Errors
/// As of [`restore`], the first there is.
pub fn restore_all(
    admin: &Admin,
    cluster: &ClusterConfig,
    folder: &Folder,
    stores: &mut [Behind],
    alive: &dyn Fn() -> bool,
    tell: &dyn Fn(String),
) -> Result<(), Trouble> {
    let ends = decided(admin, stores, alive, tell)?;
    let hands = stores.len().min(HANDS);
    let (left, going) = (Mutex::new(stores.iter_mut().zip(ends)), AtomicBool::new(true));
    let (done, doing) = channel();
    let hand = || {
        let goes = || going.load(Ordering::Relaxed);
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((Behind { store, topic, partition, restored }, end)) = next else { return Ok(()) };
            let changelog = Changelog { admin, cluster, topic, partition: *partition };
            *restored = restore(&changelog, folder, store, Upto::Decided(end), &goes)?;
        }
    };
    thread::scope(|scope| {
        for _ in 0..hands {
            let done = done.clone();
            // Whoever waits for this has gone when it cannot be sent.
            scope.spawn(move || drop(done.send(hand())));
        }
        drop(done);
        let mut outcome = Ok(());
        loop {
            match doing.recv_timeout(BEAT) {
                Ok(result) => {
                    going.fetch_and(result.is_ok(), Ordering::Relaxed);
                    outcome = outcome.and(result);
                }
                Err(RecvTimeoutError::Timeout) if !alive() => going.store(false, Ordering::Relaxed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return outcome,
            }
        }
    })
}

/// Follows the changelog from where the store stands to its end. Returns how many entries that took.
///
/// A store that stands behind the end belongs to another changelog, and one that is too old cannot be brought up to
/// date: both are filled from the beginning. `alive` is called all the while, and ends it with `false`.
///
/// # Errors
/// [`Trouble::Kafka`] while the cluster is away, [`Trouble::State`].
pub fn restore(
    changelog: &Changelog<'_>,
    folder: &Folder,
    store: &mut Store,
    upto: Upto,
    alive: &dyn Fn() -> bool,
) -> Result<u64, Trouble> {
    let Changelog { topic, partition, .. } = *changelog;
    store.discard();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    if store.position().is_some_and(|at| now - at.at_ms > TOMBSTONES.as_millis() as i64) {
        tracing::warn!(
            store = store.name(),
            "the local state is too old to be brought up to date, it is restored whole"
        );
        folder.clear(store)?;
    }
    let end = match upto {
        Upto::Decided(end) => end,
        Upto::Stable => changelog.admin.stable_end(topic, partition)?.0,
    };
    // The end may still lie before what was just committed here; what is left of it comes in another round.
    if upto == Upto::Stable && store.position().is_some_and(|at| at.next > end) {
        return Ok(0);
    }
    if store.position().is_some_and(|at| at.next > end) {
        tracing::warn!(store = store.name(), end, "the local state is of another changelog, it is restored whole");
        folder.clear(store)?;
    }
    let from = store.position().map_or(0, |at| at.next);
    if from == end {
        return Ok(0);
    }
    let options = ReadOptions {
        start: Start::Offsets([(partition, from)].into()),
        until: Until::End,
        partitions: Some(vec![partition]),
        uncommitted: false,
    };
    let mut reader = Reader::open(changelog.cluster, topic, options)?;
    if reader.ends().get(&partition).is_some_and(|now| *now < end) {
        return Err(Trouble::Kafka(Error::Unavailable {
            action: format!("restore from topic {topic}"),
            reason: "its end lies before what it was".to_owned(),
        }));
    }
    let mut restored = 0;
    let mut chunk: Vec<Record> = Vec::new();
    let mut bytes = 0;
    let mut silent = 0;
    loop {
        let read = reader.next(SILENCE)?;
        let done = read == Read::CaughtUp;
        match read {
            Read::Record(record) => {
                silent = 0;
                bytes += record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len);
                chunk.push(record);
            }
            Read::CaughtUp => {}
            Read::Idle if silent >= PATIENCE => {
                return Err(Trouble::Kafka(Error::Unavailable {
                    action: format!("restore from topic {topic}"),
                    reason: "it fell silent before its end".to_owned(),
                }));
            }
            Read::Idle => silent += 1,
        }
        let full = chunk.len() >= CHUNK || bytes >= CHUNK_BYTES;
        if (chunk.is_empty() || full) && !alive() {
            return Err(Trouble::State("stopping".to_owned()));
        }
        if full || (done && !chunk.is_empty()) {
            let next = chunk.last().map_or(0, |record| record.offset + 1);
            let entries: Vec<Entry<'_>> =
                chunk.iter().filter_map(|record| Some((record.key.as_deref()?, record.value.as_deref()))).collect();
            folder.load(store, &entries, Position { next, at_ms: now })?;
            restored += chunk.len() as u64;
            chunk.clear();
            bytes = 0;
        }
        if done {
            // Behind the last entry there may be markers: the next time nothing needs to be read for them.
            if store.position().is_some_and(|at| at.next < end) {
                folder.load(store, &[], Position { next: end, at_ms: now })?;
            }
            return Ok(restored);
        }
    }
}
