//! Workers that somebody else starts: every `{worker_id}.sock` that appears in a directory is
//! dialled, and dropped when it vanishes. So is the address in every `{worker_id}.ready`.
//!
//! The directory is watched and not looked at again and again. A socket is registered as a worker once
//! somebody listens behind it: one that refuses is a file that a worker left behind. It is no worker and
//! nobody's turn, is knocked at ever more rarely, and at once when the file changes; a registered one
//! whose worker is gone becomes one of those. No file here is ever removed.
//!
//! A worker that binds its socket anew within [`VANISHED_AFTER`] keeps its registration. A socket with
//! the name of a worker that somebody else registered is left alone. Uses the manager's public handle
//! only.

mod knock;
mod look;
mod ready;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::dir_events::{DirEvent, DirWatch, Interest};
use crate::identity::{WorkerContext, WorkerId};
use crate::manager::Manager;
use crate::socket_dir::{self, SocketDirError};
use crate::targets::Targets;
use knock::Pauses;
use look::{Found, Wanted};
use ready::ReadyFiles;
use telemetry_core::Address;

/// How long a socket has to be away before its worker is taken for gone.
pub const VANISHED_AFTER: Duration = Duration::from_millis(250);

/// Most workers of one directory that have sockets, and most that have ready files; further ones are left alone and
/// logged. Sockets that refuse do not count.
pub const MAX_WATCHED: usize = 1_024;

/// Time between two looks at the manager's table for workers that do not listen any more.
const ROLL_CALL: Duration = Duration::from_secs(1);

/// Time after which a socket that cannot be registered is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How the name of a worker's socket ends.
const SUFFIX: &str = ".sock";

/// Watches one directory until it is dropped or stopped. Its workers stay registered when it is
/// dropped.
#[derive(Debug)]
pub struct WatchDir {
    stop: watch::Sender<bool>,
    /// Follows sockets.
    task: JoinHandle<()>,
    /// Follows ready files.
    ready: JoinHandle<()>,
}

impl WatchDir {
    /// Starts to watch `directory`, which is created 0700 when absent. Its workers belong to
    /// `pool`. Needs a tokio runtime with IO and time.
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
        let events = manager.dir_events().watch(&directory, Interest::Names);
        let list = format!("ready files of {}", directory.display());
        let ready = ReadyFiles {
            directory: directory.clone(),
            pool: pool.clone(),
            targets: Targets::new(manager, list, VANISHED_AFTER, MAX_WATCHED),
        };
        let writes = manager.dir_events().watch(&directory, Interest::Writes);
        let ready = tokio::spawn(ready.run(writes, stopped.clone()));
        let watcher = Watcher {
            manager: manager.clone(),
            directory,
            pool,
            sockets: HashMap::new(),
            workers: 0,
            due: BTreeSet::new(),
            departures: JoinSet::new(),
            fault: None,
        };
        Ok(Self {
            stop,
            task: tokio::spawn(watcher.run(events, stopped)),
            ready,
        })
    }

    /// Stops watching, and unregisters the workers that were found.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It can only have been aborted together with the runtime.
        let _ended = self.task.await;
        let _ended = self.ready.await;
    }
}

/// One socket of the directory.
#[derive(Debug)]
enum Socket {
    /// Somebody listened behind it; registered under this name.
    Worker(WorkerId),
    /// Its file was removed a moment ago, and may be there again at once; given up at this time.
    Vanishing(WorkerId, Instant),
    /// Nobody listens, or it cannot be registered; tried again at this time.
    Idle(Pauses, Instant),
}

/// The task behind a [`WatchDir`].
struct Watcher {
    manager: Manager,
    directory: PathBuf,
    pool: Option<String>,
    /// By name of the file.
    sockets: HashMap<OsString, Socket>,
    /// How many of them are workers.
    workers: usize,
    /// When which of them is to be looked after.
    due: BTreeSet<(Instant, OsString)>,
    /// Workers that are being read empty.
    departures: JoinSet<bool>,
    /// What was logged last, so that one fault is logged once.
    fault: Option<String>,
}

impl Watcher {
    async fn run(mut self, mut events: DirWatch, mut stopped: watch::Receiver<bool>) {
        let mut roll_call = Instant::now() + ROLL_CALL;
        loop {
            let next = self.due.first().map(|(due, _)| *due);
            let mut wanted = Wanted::default();
            tokio::select! {
                event = events.next() => self.take_in(event, &mut wanted),
                () = sleep_until(next.unwrap_or(roll_call)), if next.is_some() => {}
                () = sleep_until(roll_call), if self.workers > 0 => {
                    roll_call = Instant::now() + ROLL_CALL;
                    self.call_the_roll();
                }
                Some(_departed) = self.departures.join_next() => {}
                stop = stopped.changed() => match stop {
                    Ok(()) => break,
                    Err(_dropped) => return,
                },
            }
            while let Some(event) = events.try_next() {
                self.take_in(event, &mut wanted);
            }
            if !wanted.is_nothing() {
                match look::look(&self.directory, wanted).await {
                    Some(Ok(found)) => self.follow(found),
                    Some(Err(fault)) => self.report(&fault.to_string()),
                    None => return,
                }
            }
            self.attend().await;
        }
        let workers: Vec<OsString> = self.sockets.keys().cloned().collect();
        for name in workers {
            self.drop_socket(&name);
        }
        while self.departures.join_next().await.is_some() {}
    }

    /// Notes what has to be looked at after an event.
    fn take_in(&mut self, event: DirEvent, wanted: &mut Wanted) {
        match event {
            DirEvent::Appeared(name) | DirEvent::Touched(name) | DirEvent::Vanished(name) => {
                if is_named_socket(&name) {
                    wanted.name(name);
                }
            }
            DirEvent::LookAgain => wanted.everything(),
            DirEvent::Gone => {
                self.report("the directory is gone");
                let names: Vec<OsString> = self.sockets.keys().cloned().collect();
                for name in names {
                    self.vanished(name);
                }
            }
            DirEvent::Written(_) => {}
        }
    }

    /// Takes in what is there.
    fn follow(&mut self, found: Found) {
        for name in found.there {
            self.there(name);
        }
        for name in found.missing {
            self.vanished(name);
        }
        if let Some(there) = found.all {
            let missing = self.sockets.keys().filter(|name| !there.contains(*name));
            let missing: Vec<OsString> = missing.cloned().collect();
            for name in missing {
                self.vanished(name);
            }
            for name in there {
                self.there(name);
            }
        }
    }

    /// There is a socket of this name, perhaps another one than before.
    fn there(&mut self, name: OsString) {
        match self.sockets.remove(&name) {
            // The session follows the file by itself.
            Some(Socket::Worker(worker) | Socket::Vanishing(worker, _)) => {
                self.sockets.insert(name, Socket::Worker(worker));
            }
            Some(Socket::Idle(..)) | None => self.idle(name, Pauses::default(), Duration::ZERO),
        }
    }

    /// Has a socket that is no worker tried after a pause.
    fn idle(&mut self, name: OsString, pauses: Pauses, pause: Duration) {
        let due = Instant::now() + pause;
        self.due.insert((due, name.clone()));
        self.sockets.insert(name, Socket::Idle(pauses, due));
    }

    /// There is no socket of this name any more.
    fn vanished(&mut self, name: OsString) {
        match self.sockets.remove(&name) {
            Some(Socket::Worker(worker)) => {
                let due = Instant::now() + VANISHED_AFTER;
                self.due.insert((due, name.clone()));
                self.sockets.insert(name, Socket::Vanishing(worker, due));
            }
            Some(waiting @ Socket::Vanishing(..)) => {
                self.sockets.insert(name, waiting);
            }
            Some(Socket::Idle(..)) | None => {}
        }
    }

    /// Looks after every socket whose time has come.
    async fn attend(&mut self) {
        let now = Instant::now();
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((due, name)) = self.due.pop_first() else {
                return;
            };
            match self.sockets.get(&name) {
                Some(Socket::Vanishing(worker, at)) if *at == due => {
                    tracing::info!(%worker, "socket vanished");
                    self.drop_socket(&name);
                }
                Some(Socket::Idle(_, at)) if *at == due => {
                    self.try_idle(name).await;
                    // To be refused never waits, and there may be a thousand of them.
                    tokio::task::consume_budget().await;
                }
                // It was seen again since.
                _ => {}
            }
        }
    }

    /// Knocks at a socket that is no worker, and registers it if somebody listens.
    async fn try_idle(&mut self, name: OsString) {
        let Some(Socket::Idle(mut pauses, _)) = self.sockets.remove(&name) else {
            return;
        };
        let path = self.directory.join(&name);
        let problem = match self.candidate(&path) {
            Ok(context) => {
                if !knock::is_answering(&path).await {
                    let pause = pauses.next();
                    self.idle(name, pauses, pause);
                    return;
                }
                let registered = self
                    .manager
                    .register_worker(Address::Unix(path.clone()), context);
                match registered {
                    Ok(worker) => {
                        tracing::info!(%worker, "socket appeared");
                        self.sockets.insert(name, Socket::Worker(worker));
                        self.workers += 1;
                        self.fault = None;
                        return;
                    }
                    Err(problem) => problem.to_string(),
                }
            }
            Err(problem) => problem,
        };
        self.idle(name, pauses, AGAIN_AFTER);
        self.report(&problem);
    }

    /// The worker that a socket would be.
    fn candidate(&self, path: &Path) -> Result<WorkerContext, String> {
        if self.workers >= MAX_WATCHED {
            return Err(format!(
                "more than {MAX_WATCHED} workers; the others are not dialled"
            ));
        }
        let name = path.file_stem().and_then(OsStr::to_str);
        let name = name.ok_or_else(|| format!("{} has no name in UTF-8", path.display()))?;
        let mut context = WorkerContext::new(name);
        if self.manager.stream_state(&context.worker_id).is_some() {
            return Err(format!(
                "{} is not dialled: a worker {name:?} is registered already; rename the socket",
                path.display()
            ));
        }
        context.pool_name.clone_from(&self.pool);
        Ok(context)
    }

    /// Forgets a socket; its worker is read empty while others are looked after.
    fn drop_socket(&mut self, name: &OsStr) {
        let Some(Socket::Worker(worker) | Socket::Vanishing(worker, _)) = self.sockets.remove(name)
        else {
            return;
        };
        self.workers -= 1;
        if let Some(departure) = self.manager.begin_departure(&worker) {
            self.departures
                .spawn(async move { departure.await.is_ok() });
        }
    }

    /// Those behind whose socket nobody listens any more are workers no longer.
    fn call_the_roll(&mut self) {
        let is_left = |socket: &Socket| match socket {
            Socket::Worker(worker) => self.manager.is_refused_by(worker),
            Socket::Vanishing(..) | Socket::Idle(..) => false,
        };
        let left: Vec<OsString> = self
            .sockets
            .iter()
            .filter(|(_, socket)| is_left(socket))
            .map(|(name, _)| name.clone())
            .collect();
        for name in left {
            tracing::info!(socket = ?name, "nobody listens any more");
            self.drop_socket(&name);
            let mut pauses = Pauses::default();
            let pause = pauses.next();
            self.idle(name, pauses, pause);
        }
    }

    fn report(&mut self, fault: &str) {
        if self.fault.as_deref() != Some(fault) {
            tracing::warn!(directory = %self.directory.display(), %fault, "watched directory");
            self.fault = Some(fault.to_owned());
        }
    }
}

/// Whether this is how a worker's socket is named.
fn is_named_socket(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.len() > SUFFIX.len() && name.ends_with(SUFFIX))
}

#[cfg(test)]
mod tests;
