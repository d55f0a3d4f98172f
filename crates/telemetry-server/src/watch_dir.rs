//! Workers that somebody else starts: every `{worker_id}.sock` that appears in a directory is
//! dialled, and dropped when it vanishes.
//!
//! Looks at the directory four times a second; a worker that restarts on the same path keeps its
//! registration. A socket with the name of a worker that somebody else registered is left alone.
//! Uses the manager's public handle only.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::endpoint::Endpoint;
use crate::identity::{WorkerContext, WorkerId};
use crate::manager::Manager;
use crate::socket_dir::{self, SocketDirError};

/// Time between two looks at the directory.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Most sockets of one directory that are dialled; further ones are left alone and logged.
pub const MAX_WATCHED: usize = 1_024;

/// How the name of a worker's socket ends.
const SUFFIX: &str = ".sock";

/// Watches one directory until it is dropped or stopped. Its workers stay registered when it is
/// dropped.
#[derive(Debug)]
pub struct WatchDir {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl WatchDir {
    /// Starts to watch `directory`, which is created 0700 when absent. Its workers belong to
    /// `pool`. Needs a tokio runtime with time.
    ///
    /// # Errors
    /// [`SocketDirError`]: the directory is a link, is not ours, or others may write to it.
    pub fn start(
        manager: &Manager,
        directory: impl Into<PathBuf>,
        pool: Option<String>,
    ) -> Result<Self, SocketDirError> {
        let directory = directory.into();
        socket_dir::ensure_private(&directory)?;
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let (stop, stopped) = watch::channel(false);
        let watcher = Watcher {
            manager: manager.clone(),
            directory,
            pool,
            known: HashMap::new(),
            fault: None,
        };
        Ok(Self {
            stop,
            task: tokio::spawn(watcher.run(stopped)),
        })
    }

    /// Stops watching, and unregisters the workers that were found.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It can only have been aborted together with the runtime.
        let _ended = self.task.await;
    }
}

/// The task behind a [`WatchDir`].
struct Watcher {
    manager: Manager,
    directory: PathBuf,
    pool: Option<String>,
    /// Registered workers by the path of their socket.
    known: HashMap<PathBuf, WorkerId>,
    /// What was logged last, so that one fault is logged once and not four times a second.
    fault: Option<String>,
}

impl Watcher {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                stop = stopped.changed() => match stop {
                    Ok(()) => break,
                    Err(_dropped) => return,
                },
            }
            let directory = self.directory.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || scan(&directory)).await else {
                return;
            };
            match found {
                Ok(sockets) => self.follow(&sockets).await,
                Err(fault) => self.report(fault.to_string()),
            }
        }
        for worker in self.known.into_values() {
            self.manager.unregister_worker(&worker).await;
        }
    }

    /// Registers what appeared, unregisters what vanished.
    async fn follow(&mut self, sockets: &[PathBuf]) {
        let vanished: Vec<PathBuf> = self
            .known
            .keys()
            .filter(|path| !sockets.contains(path))
            .cloned()
            .collect();
        for path in vanished {
            if let Some(worker) = self.known.remove(&path) {
                tracing::info!(%worker, "socket vanished");
                self.manager.unregister_worker(&worker).await;
            }
        }
        let mut fault = None;
        for path in sockets {
            if self.known.contains_key(path) {
                continue;
            }
            if self.known.len() >= MAX_WATCHED {
                fault = Some(format!(
                    "more than {MAX_WATCHED} sockets; the others are not dialled"
                ));
                break;
            }
            match self.register(path) {
                Ok(worker) => {
                    tracing::info!(%worker, "socket appeared");
                    self.known.insert(path.clone(), worker);
                }
                Err(problem) => fault = Some(problem),
            }
        }
        match fault {
            Some(fault) => self.report(fault),
            None => self.fault = None,
        }
    }

    fn register(&self, path: &Path) -> Result<WorkerId, String> {
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let name = name.ok_or_else(|| format!("{} has no name in UTF-8", path.display()))?;
        let mut context = WorkerContext::new(name);
        if self.manager.stream_state(&context.worker_id).is_some() {
            return Err(format!(
                "{} is not dialled: a worker {name:?} is registered already; rename the socket",
                path.display()
            ));
        }
        context.pool_name.clone_from(&self.pool);
        self.manager
            .register_worker(Endpoint::Unix(path.to_owned()), context)
            .map_err(|problem| problem.to_string())
    }

    fn report(&mut self, fault: String) {
        if self.fault.as_ref() != Some(&fault) {
            tracing::warn!(directory = %self.directory.display(), %fault, "watched directory");
            self.fault = Some(fault);
        }
    }
}

/// The sockets in the directory, by name; refused when the directory is no longer ours alone.
fn scan(directory: &Path) -> Result<Vec<PathBuf>, SocketDirError> {
    socket_dir::check_private(directory)?;
    let failed = |source| SocketDirError::Io {
        action: "read",
        path: directory.to_owned(),
        source,
    };
    let mut sockets = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let named = name
            .to_str()
            .is_some_and(|name| name.len() > SUFFIX.len() && name.ends_with(SUFFIX));
        // The type of the entry itself: a link to a socket elsewhere is not followed.
        if named && entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            sockets.push(entry.path());
        }
    }
    sockets.sort_unstable();
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::manager::ManagerConfig;

    /// Waits until the manager knows the worker, or no longer does.
    async fn registered(manager: &Manager, worker: &str, wanted: bool) {
        let mut changes = manager.subscribe();
        let change = async {
            while manager.stream_state(&WorkerId::from(worker)).is_some() != wanted {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), change)
            .await
            .expect("it never changed");
    }

    #[tokio::test]
    async fn worker_comes_and_goes_with_its_socket() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("watched");
        let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
        let watch = WatchDir::start(&manager, &dir, Some("p".into())).unwrap();
        let path = dir.join("w.sock");
        let first = UnixListener::bind(&path).unwrap();
        registered(&manager, "w", true).await;
        let info = manager.stream(&WorkerId::from("w")).unwrap();
        assert_eq!(info.pool_name.as_deref(), Some("p"));
        assert_eq!(info.endpoint, Some(Endpoint::Unix(path.clone())));
        fs::remove_file(&path).unwrap();
        drop(first);
        registered(&manager, "w", false).await;
        let _second = UnixListener::bind(&path).unwrap();
        registered(&manager, "w", true).await;
        watch.stop().await;
        assert!(manager.list_streams().is_empty());
    }

    #[tokio::test]
    async fn socket_named_like_another_worker_takes_nothing_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
        let elsewhere = Endpoint::Unix(dir.path().join("elsewhere"));
        manager
            .register_worker(elsewhere.clone(), WorkerContext::new("taken"))
            .unwrap();
        let watched = dir.path().join("watched");
        let watch = WatchDir::start(&manager, &watched, Some("p".into())).unwrap();
        let _taken = UnixListener::bind(watched.join("taken.sock")).unwrap();
        let _free = UnixListener::bind(watched.join("untaken.sock")).unwrap();
        // Sockets are taken in the order of their names: once this one is there, both were seen.
        registered(&manager, "untaken", true).await;
        watch.stop().await;
        let info = manager.stream(&WorkerId::from("taken")).unwrap();
        assert_eq!((info.endpoint, info.pool_name), (Some(elsewhere), None));
    }

    #[test]
    fn only_sockets_with_a_name_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let _b = UnixListener::bind(path("b.sock")).unwrap();
        let _a = UnixListener::bind(path("a.sock")).unwrap();
        let _other = UnixListener::bind(path("c.socket")).unwrap();
        let _nameless = UnixListener::bind(path(".sock")).unwrap();
        fs::write(path("file.sock"), "").unwrap();
        std::os::unix::fs::symlink(path("a.sock"), path("link.sock")).unwrap();
        assert_eq!(scan(dir.path()).unwrap(), [path("a.sock"), path("b.sock")]);
    }

    #[test]
    fn directory_that_others_opened_is_no_longer_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(
            scan(dir.path()),
            Err(SocketDirError::WritableByOthers { .. })
        ));
    }
}
