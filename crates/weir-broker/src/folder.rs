//! The data folder: whose it is, which form it has, and that only one broker works on it.
//!
//! `format.json` says what the folder is. A folder that has other things in it but no `format.json` belongs to somebody else and
//! is left alone. The lock is the operating system's and ends with the process, however that ends. What the rooms inside hold is not
//! known here.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_wire::Uuid;

use crate::config::Data;

const FORMAT: &str = "format.json";
const LOCK: &str = "lock";
const WHAT: &str = "weir-broker";
const VERSION: u32 = 1;
const EPHEMERAL: &str = "weir-broker-";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it.
    #[error("data folder {} is in use by another broker{}; stop that one or choose another folder", path.display(), holder(*pid))]
    Busy {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, where it said so.
        pid: Option<u32>,
    },
    /// It holds things that are not ours.
    #[error("{} holds {found:?} and no {FORMAT}, so it is not a broker's data folder; choose an empty or a new one", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// It was written by a broker of another kind or a newer one.
    #[error("{} says {found}, but this broker reads {WHAT} version {VERSION}; use the program that wrote it, or another folder", path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A file in it does not say what it must.
    #[error("{} cannot be understood: {reason}; restore it from a copy, or choose another folder", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused to read or write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FolderError {
    /// The start was cut short with the runtime.
    pub(crate) fn interrupted(reason: String) -> FolderError {
        FolderError::Io { action: "finish reading", path: PathBuf::new(), source: io::Error::other(reason) }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// An error of the system, with what was tried on which path.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { action, path, source }
}

#[derive(Serialize, Deserialize)]
struct Format {
    what: String,
    version: u32,
    cluster_id: String,
}

/// A data folder that is ours alone until this is dropped.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    cluster_id: String,
    fresh: bool,
    ephemeral: bool,
    /// Held open: the lock ends when it is closed.
    _lock: File,
}

impl Folder {
    /// Takes the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// When it is in use, not a broker's, of a form that is not known, or not readable and writable.
    pub fn open(data: &Data) -> Result<Folder, FolderError> {
        match data {
            Data::Folder(root) => Folder::take(root.clone(), false),
            Data::Ephemeral(parent) => {
                fs::create_dir_all(parent).map_err(io_error("make", parent))?;
                sweep(parent);
                Folder::take(parent.join(format!("{EPHEMERAL}{}", uuid::Uuid::new_v4())), true)
            }
        }
    }

    fn take(root: PathBuf, ephemeral: bool) -> Result<Folder, FolderError> {
        fs::create_dir_all(&root).map_err(io_error("make", &root))?;
        refuse_foreign(&root)?;
        let lock = lock(&root)?;
        let path = root.join(FORMAT);
        let (cluster_id, fresh) = match fs::read(&path) {
            Ok(bytes) => (read_format(&path, &bytes)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody else may have put things here since the first look.
                refuse_foreign(&root)?;
                let cluster_id = random_id().to_string();
                let format = Format { what: WHAT.to_owned(), version: VERSION, cluster_id: cluster_id.clone() };
                write_json(&path, &format)?;
                (cluster_id, true)
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        Ok(Folder { root, cluster_id, fresh, ephemeral, _lock: lock })
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The id that the cluster got when the folder was made.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Whether it was made just now.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Removes an ephemeral folder; the lock of any other ends when this is dropped.
    pub fn close(&self) {
        if self.ephemeral
            && let Err(error) = fs::remove_dir_all(&self.root)
        {
            tracing::warn!(folder = %self.root.display(), %error, "cannot remove the ephemeral data folder");
        }
    }
}

/// Removes what brokers that were killed have left of their ephemeral folders.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(EPHEMERAL) || !path.join(FORMAT).is_file() {
            continue;
        }
        if lock(&path).is_ok() {
            // Whoever may be removing it too does the same; the next start looks again.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn refuse_foreign(root: &Path) -> Result<(), FolderError> {
    let mut found = None;
    for entry in fs::read_dir(root).map_err(io_error("read", root))? {
        let name = entry.map_err(io_error("read", root))?.file_name();
        if name == FORMAT {
            return Ok(());
        }
        // A start that was cut short leaves the lock and a half-written format file.
        if name != LOCK && name != temporary(Path::new(FORMAT)).as_os_str() {
            found = Some(name);
        }
    }
    match found {
        None => Ok(()),
        Some(name) => Err(FolderError::Foreign { path: root.to_owned(), found: name.to_string_lossy().into_owned() }),
    }
}

fn lock(root: &Path) -> Result<File, FolderError> {
    let path = root.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.take(16).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(FolderError::Busy { path: root.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
    }
    // The process id is a courtesy to whoever finds the folder in use.
    let told = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    told.map_err(io_error("write", &path))?;
    Ok(file)
}

fn read_format(path: &Path, bytes: &[u8]) -> Result<String, FolderError> {
    let format: Format = serde_json::from_slice(bytes)
        .map_err(|error| FolderError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    if format.what != WHAT || format.version != VERSION {
        let found = format!("{} version {}", format.what, format.version);
        return Err(FolderError::Format { path: path.to_owned(), found });
    }
    Ok(format.cluster_id)
}

/// A new random id that, as Kafka's, does not begin with a dash in its text form: tools take that for an option.
pub(crate) fn random_id() -> Uuid {
    loop {
        let id = Uuid(uuid::Uuid::new_v4().into_bytes());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

/// Writes a file so that, whatever happens, either the old content is there or the new.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FolderError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| FolderError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    bytes.push(b'\n');
    let new = temporary(path);
    let mut file = File::create(&new).map_err(io_error("write", &new))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &new))?;
    fs::rename(&new, path).map_err(io_error("replace", path))?;
    if let Some(parent) = path.parent() {
        sync_folder(parent)?;
    }
    Ok(())
}

/// Makes sure that names made, changed or removed in a folder are still so after a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), FolderError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(io_error("flush", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path) -> Result<Folder, FolderError> {
        Folder::open(&Data::Folder(root.to_owned()))
    }

    #[test]
    fn a_new_folder_gets_an_id_and_keeps_it() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("a/b");
        let first = open(&root).unwrap();
        assert!(first.is_fresh());
        let id = first.cluster_id().to_owned();
        drop(first);
        let second = open(&root).unwrap();
        assert!(!second.is_fresh());
        assert_eq!(second.cluster_id(), id);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        let check = |prepare: &dyn Fn(&Path), expect: &str| {
            let root = tempfile::tempdir().unwrap();
            prepare(root.path());
            let error = open(root.path()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error} does not say {expect}");
        };
        check(&|root| fs::write(root.join("thesis.doc"), "x").unwrap(), "\"thesis.doc\" and no format.json");
        check(&|root| fs::write(root.join(FORMAT), "{").unwrap(), "cannot be understood");
        check(&|root| fs::create_dir(root.join(FORMAT)).unwrap(), "cannot read");
        let format = |what: &'static str| {
            move |root: &Path| {
                fs::write(root.join(FORMAT), format!("{{\"what\":{what},\"cluster_id\":\"x\"}}")).unwrap();
            }
        };
        check(&format("\"weir-broker\",\"version\":2"), "weir-broker version 2");
        check(&format("\"else\",\"version\":1"), "else version 1");
        check(&|root| fs::create_dir(root.join(LOCK)).unwrap(), "cannot open");
    }

    #[test]
    fn a_file_is_no_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(matches!(open(&path), Err(FolderError::Io { .. })));
    }

    #[test]
    fn a_folder_serves_one_broker_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = open(root.path()).unwrap();
        let error = open(root.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, FolderError::Busy { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        drop(first);
        open(root.path()).unwrap();
    }

    #[test]
    fn a_start_that_was_cut_short_is_no_foreign_folder() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(LOCK), "").unwrap();
        fs::write(root.path().join("format.json.new"), "{").unwrap();
        assert!(open(root.path()).unwrap().is_fresh());
    }

    #[test]
    fn an_ephemeral_folder_goes_with_its_broker_and_the_next_sweeps() {
        let parent = tempfile::tempdir().unwrap();
        let data = Data::Ephemeral(parent.path().to_owned());
        let killed = Folder::open(&data).unwrap();
        let living = Folder::open(&data).unwrap();
        let (left, kept) = (killed.root().to_owned(), living.root().to_owned());
        drop(killed);
        let next = Folder::open(&data).unwrap();
        assert!(!left.exists() && kept.exists());
        next.close();
        living.close();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
