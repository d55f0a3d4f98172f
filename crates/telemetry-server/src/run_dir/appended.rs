//! Which files of a directory grew: one watch for all of them, and one waiter for each.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::dir_events::{DirEvent, DirEvents, Interest};

/// Those who wait, by file.
type Waiters = Mutex<HashMap<OsString, Weak<Notify>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Appended {
    waiters: Arc<Waiters>,
    task: AbortHandle,
}

impl Appended {
    /// Watches `directory` from now on.
    pub(super) fn start(directory: &Path) -> Self {
        let runtime = Handle::current();
        let mut watch = DirEvents::new(runtime.clone()).watch(directory, Interest::Writes);
        let waiters: Arc<Waiters> = Arc::default();
        let shared = Arc::clone(&waiters);
        let task = runtime.spawn(async move {
            loop {
                match watch.next().await {
                    DirEvent::Written(name) => {
                        if let Some(waiter) = lock(&shared).get(&name).and_then(Weak::upgrade) {
                            waiter.notify_one();
                        }
                    }
                    DirEvent::LookAgain => wake_all(&shared),
                    // A file that is not written to has nothing to be read.
                    DirEvent::Appeared(_)
                    | DirEvent::Vanished(_)
                    | DirEvent::Touched(_)
                    | DirEvent::Gone => {}
                }
            }
        });
        Self {
            waiters,
            task: task.abort_handle(),
        }
    }

    /// The waiter of a file; a former one is forgotten.
    pub(super) fn of(&self, file: &OsStr) -> Arc<Notify> {
        let waiter = Arc::new(Notify::new());
        let mut waiters = lock(&self.waiters);
        waiters.insert(file.to_owned(), Arc::downgrade(&waiter));
        waiter
    }
}

impl Drop for Appended {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn wake_all(waiters: &Waiters) {
    lock(waiters).retain(|_, waiter| {
        let waiting = waiter.upgrade();
        waiting.inspect(|waiter| waiter.notify_one()).is_some()
    });
}

fn lock(waiters: &Waiters) -> MutexGuard<'_, HashMap<OsString, Weak<Notify>>> {
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}
