//! Deletes what every reader of a topic between two stages has used, as the group's committed positions say. Nobody else
//! reads these topics, and time cannot say when a record is used up: records carry the time of their events.
//!
//! Whichever router does it, it comes to the same; one that cannot now tries again later.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_kafka::{Admin, Error};

use crate::shared::Shared;

/// By topic and partition, up to where records were deleted.
type Deleted = BTreeMap<String, BTreeMap<i32, i64>>;

/// Does so every now and then, until it is aborted.
pub async fn run(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(shared.config.purge);
    let mut deleted = Deleted::new();
    loop {
        tick.tick().await;
        let (shared, known) = (shared.clone(), deleted.clone());
        match tokio::task::spawn_blocking(move || purge(&shared, known)).await {
            Ok(Ok(now)) => deleted = now,
            Ok(Err(error)) => tracing::debug!(%error, "what lies between stages is deleted later"),
            Err(_) => return,
        }
    }
}

/// Deletes up to where the group stands in every topic between stages of the views, and says up to where that was.
fn purge(shared: &Shared, mut deleted: Deleted) -> Result<Deleted, Error> {
    let (cluster, group) = (&shared.config.cluster, &shared.config.group);
    let all = shared.views.current().views;
    let between: Vec<&str> = (all.iter().flat_map(|view| view.stages()))
        .filter(|stage| stage.suffix.is_some())
        .map(|stage| &*stage.output.topic)
        .collect();
    if between.is_empty() {
        return Ok(deleted);
    }
    let admin = Admin::new(cluster)?;
    for topic in between {
        let committed = match admin.committed(group, topic) {
            Ok(committed) => committed,
            // Not applied yet, or deleted by hand: the workers say so.
            Err(Error::NoSuchTopic { .. }) => continue,
            Err(error) => return Err(error),
        };
        if deleted.get(topic) != Some(&committed) && !committed.is_empty() {
            admin.delete_before(topic, &committed)?;
            deleted.insert(topic.to_owned(), committed);
        }
    }
    Ok(deleted)
}
