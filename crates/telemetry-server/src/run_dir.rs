//! The directory in which a manager keeps what outlives it: who holds it, which processes it started,
//! and what those write to stderr.
//!
//! One manager holds a directory at a time ([`RunDir::lock`]); the lock goes with the process, however
//! that ends. The next one finds the records of processes that are still there. This room knows files
//! and processes by number; it starts and ends none.

mod appended;
mod lock;
#[cfg(feature = "config")]
mod place;
mod records;
mod unrecorded;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::socket_dir::{SocketDirError, ensure_private};

#[cfg(feature = "config")]
pub(crate) use place::{ALLOWED as RUN_DIR_ALLOWED, default_run_dir};
pub(crate) use records::WorkerRecord;
pub(crate) use unrecorded::now_ticks;

use appended::Appended;
use lock::Lock;

/// Less space than this is none.
const LITTLE_BYTES: u64 = 16 * 1024;

/// Why a directory cannot be a manager's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunDirError {
    /// It is not private.
    #[error("run_dir: {0}")]
    Directory(#[from] SocketDirError),
    /// Another manager holds it.
    #[error(
        "the run_dir {path:?} is held by {holder}; stop that manager, or give this one another \
         directory with [manager] run_dir"
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who holds it: process id, since when, and its configuration.
        holder: String,
    },
    /// The lock cannot be taken.
    #[error("cannot lock {path:?}: {source}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A directory that is held by this process. Clones share it; it is free again when the last one is
/// gone, or the process.
#[derive(Debug, Clone)]
pub struct RunDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Absolute.
    path: PathBuf,
    /// What the lock says of us.
    holder: String,
    /// Holds the directory.
    lock: Mutex<Lock>,
    boot_id: String,
    /// Workers of an earlier manager that nobody has asked for yet.
    left: Mutex<HashMap<String, WorkerRecord>>,
    /// Tells who reads a file that something was added to it.
    appended: OnceLock<Appended>,
}

impl RunDir {
    /// Makes the directory (0700) unless it is there, and holds it. `holder` says in the message of
    /// whoever comes second what holds it, such as the name of a configuration file.
    ///
    /// # Errors
    /// [`RunDirError`]; nothing in the directory has changed then.
    pub fn lock(path: &Path, holder: &str) -> Result<Self, RunDirError> {
        ensure_private(path)?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let lock = lock::take(&path, holder)?;
        let boot_id = records::boot_id();
        let left = records::load(&path, &boot_id);
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                holder: holder.to_owned(),
                lock: Mutex::new(lock),
                boot_id,
                left: Mutex::new(left),
                appended: OnceLock::new(),
            }),
        })
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Makes the directory again if somebody removed it, and holds that. What was in it is lost. Waits for
    /// the disk.
    #[expect(
        clippy::significant_drop_tightening,
        reason = "nobody else may make it meanwhile"
    )]
    pub(crate) fn ensure(&self) -> Result<(), RunDirError> {
        let lock = self.inner.lock.lock();
        let mut lock = lock.unwrap_or_else(PoisonError::into_inner);
        if !lock.is_of(self.path()) {
            ensure_private(self.path())?;
            *lock = lock::take(self.path(), &self.inner.holder)?;
            tracing::warn!(
                path = ?self.path(),
                "run_dir was removed and is made again; a manager after us would replace workers that run now"
            );
        }
        Ok(())
    }

    /// What an earlier manager recorded of a worker. Told once.
    pub(crate) fn take(&self, worker: &str) -> Option<WorkerRecord> {
        self.left().remove(worker)
    }

    /// What an earlier manager recorded of all workers that nobody has asked for.
    pub(crate) fn take_rest(&self) -> Vec<WorkerRecord> {
        self.left().drain().map(|(_, record)| record).collect()
    }

    /// This start of the machine; process numbers mean something within it only.
    pub(crate) fn boot_id(&self) -> &str {
        &self.inner.boot_id
    }

    /// Writes down a worker's process for the next manager. Waits for the disk.
    pub(crate) fn remember(&self, record: &WorkerRecord) -> io::Result<()> {
        records::write(self.path(), record)
    }

    /// The worker has no process any more. Waits for the disk.
    pub(crate) fn forget(&self, worker: &str) {
        records::remove(self.path(), worker);
    }

    /// The file to which a worker's stderr goes.
    pub(crate) fn stderr_path(&self, worker: &str) -> PathBuf {
        stderr_file(self.path(), worker)
    }

    /// Whether its file system has no space left to speak of. Waits for the disk.
    pub(crate) fn is_full(&self) -> bool {
        let room = rustix::fs::statvfs(self.path());
        room.is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) < LITTLE_BYTES)
    }

    /// Is notified when something was added to this file of the directory. For one waiter. Needs a
    /// runtime with IO.
    pub(crate) fn appended(&self, file: &OsStr) -> Arc<Notify> {
        let appended = self
            .inner
            .appended
            .get_or_init(|| Appended::start(self.path()));
        appended.of(file)
    }

    fn left(&self) -> std::sync::MutexGuard<'_, HashMap<String, WorkerRecord>> {
        self.inner
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn stderr_file(directory: &Path, worker: &str) -> PathBuf {
    directory.join(format!("{worker}.stderr"))
}
