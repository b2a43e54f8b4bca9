//! Brings a local store up to the end of its changelog.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_kafka::{Admin, ClusterConfig, Error, Read, ReadOptions, Reader, Record, Start, Until};
use weir_state::{Folder, Position, Store};

use crate::task::Trouble;

/// Entries of a changelog written to the store at once.
const CHUNK: usize = 10_000;
/// How long the cluster may be silent in the middle.
const PATIENCE: Duration = Duration::from_secs(30);
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
    /// To its end, once every transaction in it is decided: for the owner, who goes on from there.
    Decided,
    /// To the first transaction that is not decided: for a copy, while another one writes.
    Stable,
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
        Upto::Decided => decided(changelog, alive)?,
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
    let mut restored = 0;
    let mut chunk: Vec<Record> = Vec::new();
    let mut heard = Instant::now();
    loop {
        let read = reader.next(Duration::from_millis(500))?;
        let done = read == Read::CaughtUp;
        match read {
            Read::Record(record) => {
                heard = Instant::now();
                chunk.push(record);
            }
            Read::CaughtUp => {}
            Read::Idle if heard.elapsed() > PATIENCE => {
                return Err(Trouble::Kafka(Error::Unavailable {
                    action: format!("restore from topic {topic}"),
                    reason: "it fell silent before its end".to_owned(),
                }));
            }
            Read::Idle => {}
        }
        if (chunk.is_empty() || chunk.len() >= CHUNK) && !alive() {
            return Err(Trouble::State("stopping".to_owned()));
        }
        if chunk.len() >= CHUNK || (done && !chunk.is_empty()) {
            let next = chunk.last().map_or(0, |record| record.offset + 1);
            let entries = chunk.iter().filter_map(|r| Some((r.key.as_deref()?, r.value.as_deref())));
            let mut commit = folder.commit();
            commit.load(store, entries, Position { next, at_ms: now })?;
            commit.write()?;
            restored += chunk.len() as u64;
            chunk.clear();
        }
        if done {
            // Behind the last entry there may be markers: the next time nothing needs to be read for them.
            if store.position().is_some_and(|at| at.next < end) {
                let mut commit = folder.commit();
                commit.load(store, std::iter::empty(), Position { next: end, at_ms: now })?;
                commit.write()?;
            }
            return Ok(restored);
        }
    }
}

/// The end of the changelog, once every transaction in it is decided. The answer to a commit comes before its markers are
/// written, so what the owner before has committed may not be visible yet; what it left open is aborted in time.
fn decided(changelog: &Changelog<'_>, alive: &dyn Fn() -> bool) -> Result<i64, Trouble> {
    loop {
        let (stable, end) = changelog.admin.stable_end(changelog.topic, changelog.partition)?;
        if stable == end {
            return Ok(end);
        }
        if !alive() {
            return Err(Trouble::State("stopping".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
