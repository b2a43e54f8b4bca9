//! Ends what hangs: transactions whose coordinator has forgotten to write their markers.
//!
//! A broker that stops or dies while it is at the markers, and has partitions without another copy, can leave some unwritten for ever
//! ([`weir_kafka::Hanging`]). The records behind them are seen by nobody, and the next transaction of their producer would end them either
//! way. So they get the marker that they lack before anything is read, as their coordinator had decided: it tells that until the next
//! owner of the transactional id comes, so every worker asks before it becomes that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_kafka::{Admin, Ended, Hanging, Unanswered};

use crate::task::Trouble;

/// How many epochs of a producer are remembered.
const KNOWN: usize = 8;

/// How the last transactions have ended of producers whose transactional ids workers of this process have taken.
#[derive(Default)]
pub struct Ends(Mutex<HashMap<i64, VecDeque<Ended>>>);

impl Ends {
    /// Asks how the last transaction of a transactional id has ended, before its next owner makes the coordinator forget it.
    ///
    /// # Errors
    /// [`Trouble::State`] while the coordinator does not answer: then nobody must become the next owner yet.
    pub fn ask(&self, admin: &Admin, transactional_id: &str) -> Result<(), Trouble> {
        // Where the connections of the native lane cannot reach the cluster, or the cluster does not tell, nothing is known of what hangs.
        let Ok(mut transactions) = admin.transactions() else { return Ok(()) };
        match transactions.ended(transactional_id) {
            Ok(ended) => {
                if let Some(ended) = ended {
                    let mut all = self.lock();
                    let known = all.entry(ended.producer_id).or_default();
                    known.retain(|one| one.producer_epoch != ended.producer_epoch);
                    known.push_front(ended);
                    known.truncate(KNOWN);
                }
                Ok(())
            }
            Err(error @ Unanswered::Away(_)) => {
                Err(Trouble::State(format!("how the last transaction of {transactional_id} has ended: {error}")))
            }
            Err(error) => {
                tracing::warn!(transactional_id, %error, "how its last transaction has ended is not known");
                Ok(())
            }
        }
    }

    /// Ends what hangs in these partitions. What is not known to have been committed or aborted is left as it is.
    pub fn mend(&self, admin: &Admin, places: &BTreeSet<(String, i32)>) {
        let Ok(mut transactions) = admin.transactions() else { return };
        let found = transactions.hanging(places).unwrap_or_else(|error| {
            tracing::warn!(%error, "whether a transaction hangs is not known");
            Vec::new()
        });
        for hanging in found {
            let Hanging { topic, partition, first, producer_id, .. } = &hanging;
            let Some(commit) = self.verdict(&hanging) else {
                tracing::warn!(
                    topic,
                    partition,
                    first,
                    producer_id,
                    "a transaction hangs, and how it ended nobody knows"
                );
                continue;
            };
            match transactions.end(&hanging, commit) {
                Ok(()) => {
                    tracing::warn!(
                        topic,
                        partition,
                        first,
                        producer_id,
                        commit,
                        "a transaction hung and has its marker now"
                    );
                }
                Err(error) => {
                    tracing::warn!(topic, partition, first, producer_id, commit, %error, "a transaction hangs and cannot be ended");
                }
            }
        }
    }

    /// Whether a transaction was committed. What is known of its epoch is of the last transaction of it; those before were committed, for a
    /// writer that aborts one is given up, and with it its epoch.
    fn verdict(&self, hanging: &Hanging) -> Option<bool> {
        let all = self.lock();
        let known = all.get(&hanging.producer_id).into_iter().flatten();
        let exact = known.clone().find(|one| one.producer_epoch == hanging.producer_epoch);
        let one = exact.or_else(|| known.clone().find(|one| one.is_of(hanging.producer_epoch)));
        let place = (hanging.topic.clone(), hanging.partition);
        one.map(|one| one.committed || !(one.open.is_empty() || one.open.contains(&place))).or(hanging.committed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, VecDeque<Ended>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
