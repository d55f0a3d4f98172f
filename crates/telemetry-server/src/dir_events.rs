//! What happens in directories: names that appear, vanish or change, told at once and without looking
//! again and again.
//!
//! One [`DirEvents`] serves a whole manager: one inotify instance, one task, any number of directories
//! and subscribers; a directory that several watch is watched once. A subscriber of one file is woken for
//! that file alone. All calls that may wait for a disk run on the blocking threads.
//!
//! A directory that is not there yet is waited for: the nearest one above it that is there is watched
//! meanwhile. Where the system has no inotify, or no more of it, a look every [`LOOK_INTERVAL`] has to
//! do, which is said once in the log. What inotify never tells (a link whose target is replaced, a
//! directory above that is renamed) is found by a look every [`SLOW_LOOK`].
//!
//! It knows files and no sockets, and never writes to a directory.

mod notify;
mod outbox;
mod table;

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use outbox::Outbox;
use table::{Command, Target};

/// Time between two looks where the system does not tell.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Time between two looks at followed files where it does.
pub(crate) const SLOW_LOOK: Duration = Duration::from_secs(5);

/// Which events of a directory a subscriber wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Names that appear, vanish, or whose file is touched (mode, owner, links).
    Names,
    /// Those, and writes to the directory's files.
    Writes,
}

/// Something happened in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DirEvent {
    /// A file of this name was made, or moved here; perhaps over another one.
    Appeared(OsString),
    /// The file of this name was removed, or moved away.
    Vanished(OsString),
    /// The file's mode, owner or number of links changed.
    Touched(OsString),
    /// Something was written to the file. Told once for all writes that were not yet asked for.
    Written(OsString),
    /// The whole directory has to be looked at: it has just become watched, events were lost, or the
    /// system does not tell. Comes first on every subscription.
    LookAgain,
    /// The directory is not there any more. [`LookAgain`](Self::LookAgain) follows when it is again.
    Gone,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nobody has looked yet.
    Unknown,
    /// Nothing.
    Missing,
    /// This file.
    There(FileId),
}

/// Which file it is: another one at the same path is another one here, as is one that was touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl FileId {
    /// Device and number.
    pub(crate) fn number(self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

impl Seen {
    /// Looks. May wait for the disk.
    pub(crate) fn at(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::There(FileId {
                device: metadata.dev(),
                inode: metadata.ino(),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            }),
            Err(_) => Self::Missing,
        }
    }

    /// The file, if there is one.
    pub(crate) fn file(self) -> Option<FileId> {
        match self {
            Self::There(file) => Some(file),
            Self::Unknown | Self::Missing => None,
        }
    }
}

/// Watches directories; see the module. Clones share everything. The watch over a directory ends with
/// its last subscription.
#[derive(Debug, Clone)]
pub(crate) struct DirEvents {
    core: Arc<Core>,
}

/// Held by every handle and subscription; the task ends with the last of them.
#[derive(Debug)]
struct Core {
    inbox: Arc<Inbox>,
    runtime: Handle,
}

/// What the task is asked for.
#[derive(Debug, Default)]
struct Inbox {
    asked: Mutex<Asked>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Asked {
    commands: Vec<Command>,
    /// The number of the next subscription.
    next: u64,
    /// Whether the task was started, which the first subscription does.
    started: bool,
    /// Nobody is left.
    closed: bool,
}

impl DirEvents {
    /// Nothing is watched yet and nothing runs.
    pub(crate) fn new(runtime: Handle) -> Self {
        let inbox = Arc::default();
        Self {
            core: Arc::new(Core { inbox, runtime }),
        }
    }

    /// Watches a directory, which need not be there yet. Returns at once.
    pub(crate) fn watch(&self, directory: &Path, interest: Interest) -> DirWatch {
        let outbox = Arc::new(Outbox::default());
        let target = Target::Directory {
            interest,
            outbox: Arc::clone(&outbox),
        };
        let subscription = self.subscribe(directory, target);
        DirWatch {
            outbox,
            _subscription: subscription,
        }
    }

    /// Follows what is at a path, which need not be there yet, nor its directory. Returns at once, with
    /// [`Seen::Unknown`].
    pub(crate) fn follow(&self, path: &Path) -> FileWatch {
        let (seen, watch) = watch::channel(Seen::Unknown);
        let directory = path.parent().unwrap_or(path);
        let target = Target::File {
            name: path.file_name().unwrap_or_default().to_owned(),
            path: path.to_owned(),
            seen,
        };
        let subscription = self.subscribe(directory, target);
        FileWatch {
            seen: watch,
            _subscription: subscription,
        }
    }

    fn subscribe(&self, directory: &Path, target: Target) -> Subscription {
        let inbox = &self.core.inbox;
        let mut asked = inbox.lock();
        let number = asked.next;
        asked.next += 1;
        let directory = match directory.as_os_str().is_empty() {
            true => Path::new(".").to_owned(),
            false => directory.to_owned(),
        };
        asked.commands.push(Command::Add {
            number,
            directory,
            target,
        });
        if !std::mem::replace(&mut asked.started, true) {
            let _with_io = self.core.runtime.enter();
            let task = table::run(Arc::clone(inbox), notify::Notify::open());
            self.core.runtime.spawn(task);
        }
        drop(asked);
        inbox.wake.notify_one();
        Subscription {
            number,
            core: Arc::clone(&self.core),
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.inbox.lock().closed = true;
        self.inbox.wake.notify_one();
    }
}

/// Ends the watch when dropped.
#[derive(Debug)]
struct Subscription {
    number: u64,
    core: Arc<Core>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let number = self.number;
        let inbox = &self.core.inbox;
        inbox.lock().commands.push(Command::Remove { number });
        inbox.wake.notify_one();
    }
}

/// The events of one directory.
#[derive(Debug)]
pub(crate) struct DirWatch {
    outbox: Arc<Outbox>,
    _subscription: Subscription,
}

impl DirWatch {
    /// The next event. Whoever stops waiting loses none. Pends for ever once the runtime is gone.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "one task asks, as there is one call to wake it"
    )]
    pub(crate) async fn next(&mut self) -> DirEvent {
        self.outbox.next().await
    }

    /// The next event, if one has come.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "one task asks, as there is one call to wake it"
    )]
    pub(crate) fn try_next(&mut self) -> Option<DirEvent> {
        self.outbox.try_next()
    }
}

/// What is at one path.
#[derive(Debug)]
pub(crate) struct FileWatch {
    seen: watch::Receiver<Seen>,
    _subscription: Subscription,
}

impl FileWatch {
    /// What was there at the last look; looks follow changes within milliseconds.
    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits until what is there is as wanted; returns it. Pends for ever once the runtime is gone.
    pub(crate) async fn wait_for(&mut self, mut wanted: impl FnMut(Seen) -> bool) -> Seen {
        loop {
            let seen = *self.seen.borrow_and_update();
            if wanted(seen) {
                return seen;
            }
            if self.seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
