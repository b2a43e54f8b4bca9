//! Copies of the state of partitions that other routers have, so that one that moves here is there at once.
//!
//! With the setting, a router follows the changelogs of all partitions that are not its own, round after round. A copy is
//! a store like any other: what is missing when the partition comes is read by the same restore.

use std::time::Duration;

use weir_kafka::Admin;

use crate::restore::{Changelog, Upto, restore};
use crate::shared::Shared;
use crate::task::{Trouble, changelog};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(2);

/// Follows until the router ends.
pub fn run(shared: &Shared) {
    while !shared.is_stopping() {
        if let Err(trouble) = round(shared) {
            tracing::debug!(%trouble, "copies of state are followed later");
        }
        shared.pause(EVERY);
    }
}

fn round(shared: &Shared) -> Result<(), Trouble> {
    let views = shared.views.current().views;
    let admin = Admin::new(&shared.config.cluster)?;
    let (there, cluster) = (admin.topics()?, admin.cluster_id()?);
    for (view, stage) in views.iter().flat_map(|view| view.stages().iter().map(move |stage| (view, stage))) {
        let topic = changelog(stage);
        for partition in 0..there.get(&topic).copied().unwrap_or(0) {
            let name = format!("{cluster}.{topic}-{partition}");
            // Held while the copy is written, so that no worker has the store meanwhile.
            let owned = shared.owned.lock();
            if owned.contains(&name) {
                continue;
            }
            let alive = || !shared.is_stopping() && !shared.owned.is_waited_for();
            if !alive() {
                return Ok(());
            }
            let mut store = shared.folder.store(&name)?;
            let at = Changelog { admin: &admin, cluster: &shared.config.cluster, topic: &topic, partition };
            let followed = restore(&at, &shared.folder, &mut store, Upto::Stable, &alive)?;
            shared.board.add_copied(&view.id, followed);
        }
    }
    Ok(())
}
