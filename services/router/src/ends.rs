//! Ends what hangs: transactions whose coordinator has forgotten to write their markers.
//!
//! A broker that stops or dies while it is at the markers, and has partitions without another copy, can leave some unwritten for ever
//! ([`weir_kafka::Hanging`]). The records behind them are seen by nobody, and the next transaction of their producer would end them either
//! way. So they get the marker that they lack before anything is read, as their coordinator had decided: it tells that until the next
//! owner of the transactional id comes, so every worker asks before it becomes that.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use weir_kafka::{Admin, Ended, Hanging, Transactions, Unanswered};

use crate::task::Trouble;

/// How the last transactions have ended of producers whose transactional ids workers of this process have taken.
#[derive(Default)]
pub struct Ends(Mutex<HashMap<i64, bool>>);

impl Ends {
    /// Asks how the last transaction of a transactional id has ended, before its next owner makes the coordinator forget it.
    ///
    /// # Errors
    /// [`Trouble::State`] while the coordinator does not answer: then nobody must become the next owner yet.
    pub fn ask(&self, admin: &Admin, transactional_id: &str) -> Result<(), Trouble> {
        // Where the connections of the native lane cannot reach the cluster, or the cluster does not tell, nothing is known of what hangs.
        let Ok(mut transactions) = admin.transactions() else { return Ok(()) };
        match transactions.ended(transactional_id) {
            Ok(Some(Ended { producer_id, committed })) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(producer_id, committed);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error @ Unanswered::Away(_)) => {
                Err(Trouble::State(format!("how the last transaction of {transactional_id} has ended: {error}")))
            }
            Err(error) => {
                tracing::debug!(transactional_id, %error, "how its last transaction has ended is not known");
                Ok(())
            }
        }
    }

    /// Ends what hangs in these partitions. What is not known to have been committed or aborted is left as it is.
    pub fn mend(&self, admin: &Admin, places: &BTreeSet<(String, i32)>) {
        let Ok(mut transactions) = admin.transactions() else { return };
        if let Err(error) = self.mend_all(&mut transactions, places) {
            tracing::debug!(%error, "whether a transaction hangs is not known");
        }
    }

    fn mend_all(&self, transactions: &mut Transactions, places: &BTreeSet<(String, i32)>) -> Result<(), Unanswered> {
        for hanging in transactions.hanging(places)? {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&hanging.producer_id).copied();
            let Hanging { topic, partition, first, producer_id, committed, .. } = &hanging;
            let Some(commit) = committed.or(known) else {
                tracing::warn!(
                    topic,
                    partition,
                    first,
                    producer_id,
                    "a transaction hangs, and how it ended nobody knows"
                );
                continue;
            };
            transactions.end(&hanging, commit)?;
            tracing::warn!(topic, partition, first, producer_id, commit, "a transaction hung and has its marker now");
        }
        Ok(())
    }
}
