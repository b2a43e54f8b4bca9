//! Brings a local store up to the end of its changelog.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_kafka::{ClusterConfig, Error, Read, ReadOptions, Reader, Record, Start, Until};
use weir_state::{Folder, Position, Store};

use crate::task::Trouble;

/// Entries of a changelog written to the store at once.
const CHUNK: usize = 10_000;
/// How long the cluster may be silent in the middle.
const PATIENCE: Duration = Duration::from_secs(30);
/// How old a copy may be. `weir apply` has changelogs keep tombstones for 7 days; what was deleted longer ago than that
/// is no longer said, and an older copy would keep it for ever.
pub const TOMBSTONES: Duration = Duration::from_hours(6 * 24);

/// Follows the changelog from where the store stands to its end. Returns how many entries that took.
///
/// A store that stands behind the end belongs to another changelog, and one that is too old cannot be brought up to
/// date: both are filled from the beginning. `alive` is called all the while.
///
/// # Errors
/// [`Trouble::Kafka`] while the cluster is away, [`Trouble::State`].
pub fn restore(
    cluster: &ClusterConfig,
    folder: &Folder,
    store: &mut Store,
    changelog: &str,
    partition: i32,
    alive: &dyn Fn(),
) -> Result<u64, Trouble> {
    store.discard();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    if store.position().is_some_and(|at| now - at.at_ms > TOMBSTONES.as_millis() as i64) {
        tracing::warn!(
            store = store.name(),
            "the local state is too old to be brought up to date, it is restored whole"
        );
        store.clear()?;
    }
    let open = |from: i64| {
        let options = ReadOptions {
            start: Start::Offsets([(partition, from)].into()),
            until: Until::End,
            partitions: Some(vec![partition]),
            uncommitted: false,
        };
        Reader::open(cluster, changelog, options)
    };
    let from = store.position().map_or(0, |at| at.next);
    let mut reader = open(from)?;
    let end = reader.ends().get(&partition).copied().unwrap_or(0);
    if from > end {
        tracing::warn!(
            store = store.name(),
            from,
            end,
            "the local state is of another changelog, it is restored whole"
        );
        store.clear()?;
        reader = open(0)?;
    }
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
                    action: format!("restore from topic {changelog}"),
                    reason: "it fell silent before its end".to_owned(),
                }));
            }
            Read::Idle => {}
        }
        if chunk.is_empty() || chunk.len() >= CHUNK {
            alive();
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
            return Ok(restored);
        }
    }
}
