//! What the cluster remembers besides topics: configs set at run time, quotas, ACLs, and which producer ids may be in use.
//!
//! One small file, replaced whole with every change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::configs::Dynamic;
use crate::folder::{FolderError, io_error, write_json};

const FILE: &str = "cluster.json";
const VERSION: u32 = 1;

/// Whom a quota is for: types (`user`, `client-id`, `ip`) and names; no name is the default of that type.
pub(crate) type Entity = BTreeMap<String, Option<String>>;

/// A quota as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredQuota {
    pub(crate) entity: Entity,
    pub(crate) values: BTreeMap<String, f64>,
}

/// An ACL as it is kept, with Kafka's numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct StoredAcl {
    pub(crate) resource_type: i8,
    pub(crate) resource_name: String,
    pub(crate) pattern_type: i8,
    pub(crate) principal: String,
    pub(crate) host: String,
    pub(crate) operation: i8,
    pub(crate) permission_type: i8,
}

/// All that is remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    version: u32,
    /// All producer ids from here on are free.
    #[serde(default)]
    pub(crate) next_producer_id: i64,
    #[serde(default)]
    pub(crate) configs: Dynamic,
    #[serde(default)]
    pub(crate) quotas: Vec<StoredQuota>,
    #[serde(default)]
    pub(crate) acls: Vec<StoredAcl>,
}

/// The memory and its file.
#[derive(Debug)]
pub(crate) struct Cluster {
    path: PathBuf,
    /// Held while the file changes.
    changing: Mutex<()>,
    memory: RwLock<Arc<Memory>>,
}

impl Cluster {
    pub(crate) fn open(root: &Path) -> Result<Cluster, FolderError> {
        let path = root.join(FILE);
        let damaged = |reason| FolderError::Damaged { path: path.clone(), reason };
        let memory = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Memory { version: VERSION, ..Memory::default() },
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        if memory.version != VERSION {
            return Err(damaged(format!("version {} is not {VERSION}", memory.version)));
        }
        Ok(Cluster { path, changing: Mutex::new(()), memory: RwLock::new(Arc::new(memory)) })
    }

    /// What is remembered now.
    pub(crate) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it; it holds once it is on the disk, and not at all where it cannot be written.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Memory)) -> Result<(), FolderError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Memory::clone(&self.memory());
        change(&mut new);
        write_json(&self.path, &new)?;
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_there_after_a_start() {
        let root = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(root.path()).unwrap();
        cluster.change(|memory| memory.next_producer_id = 1000).unwrap();
        assert_eq!(Cluster::open(root.path()).unwrap().memory().next_producer_id, 1000);
        fs::write(root.path().join(FILE), "{\"version\":2}").unwrap();
        assert!(Cluster::open(root.path()).unwrap_err().to_string().contains("version 2"));
    }

    #[test]
    fn what_cannot_be_written_does_not_hold() {
        let root = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(root.path()).unwrap();
        fs::remove_dir(root.path()).unwrap();
        assert!(cluster.change(|memory| memory.next_producer_id = 1000).is_err());
        assert_eq!(cluster.memory().next_producer_id, 0);
    }
}
