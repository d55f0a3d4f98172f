//! A cable that can be cut: passes bytes between unix sockets until it is told not to.
//!
//! It knows no HTTP/2. A cut closes both ends at once, with whatever bytes are under way, as a broken
//! connection does; the next dial gets a new connection. Nothing passes a cable once its cut returned.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;

/// Bytes passed on at a time. Small, so that a cut often falls inside a message.
const CHUNK: usize = 4 * 1_024;

/// A listening socket whose connections lead to another one. Dropping it cuts everything.
#[derive(Debug)]
pub struct Proxy {
    path: PathBuf,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    upstream: PathBuf,
    connections: Mutex<Vec<(Arc<Line>, AbortHandle)>>,
    accepted: AtomicU64,
    cuts: AtomicU64,
    /// Bytes from upstream after which the connection that passed them is cut, and no other.
    allowance: Mutex<Option<usize>>,
    /// Whether new connections are closed at once.
    refusing: AtomicBool,
}

/// Both ends of one connection, for whoever cuts it.
#[derive(Debug)]
struct Line {
    /// `None` once it is cut.
    ends: Mutex<Option<Vec<OwnedFd>>>,
}

impl Line {
    fn new() -> Self {
        Self {
            ends: Mutex::new(Some(Vec::new())),
        }
    }

    /// Has a later cut close this end too; false if the line is cut already.
    fn hold(&self, end: &UnixStream) -> bool {
        let mut ends = lock(&self.ends);
        let (Some(ends), Ok(end)) = (ends.as_mut(), end.as_fd().try_clone_to_owned()) else {
            return false;
        };
        ends.push(end);
        true
    }

    /// Closes both ends before it returns. The task that passes bytes could go on for a moment after
    /// it was told to end.
    fn cut(&self) {
        for end in lock(&self.ends).take().into_iter().flatten() {
            // Fails when the peer was quicker.
            let _closed_before = rustix::net::shutdown(end, Shutdown::Both);
        }
    }
}

impl Proxy {
    /// Listens at `path`; each connection is led to the socket at `upstream`, which need not be there
    /// yet. Runs on the calling runtime.
    ///
    /// # Errors
    ///
    /// What the system says about `path`.
    pub fn start(path: impl Into<PathBuf>, upstream: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let listener = UnixListener::bind(&path)?;
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            allowance: Mutex::new(None),
            refusing: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            path,
            shared,
            accepting,
        })
    }

    /// Where to dial.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Cuts every open connection; says how many there were. What was sent from either end since then
    /// does not arrive at the other.
    pub fn cut(&self) -> usize {
        let mut connections = lock(&self.shared.connections);
        connections.retain(|(_, passing)| !passing.is_finished());
        let open = connections.len();
        for (line, passing) in connections.drain(..) {
            line.cut();
            passing.abort();
        }
        self.shared.cuts.fetch_add(open as u64, Ordering::SeqCst);
        open
    }

    /// The next connection to pass so many bytes from upstream is cut then; those after it are not.
    pub fn cut_after(&self, bytes: usize) {
        *lock(&self.shared.allowance) = Some(bytes);
    }

    /// From now on, whether new connections are closed at once; those that are open stay.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Connections that were cut while they were open.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Connections that were ever accepted, not counting refused ones.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    while let Ok((downstream, _)) = listener.accept().await {
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let line = Arc::new(Line::new());
        if !line.hold(&downstream) {
            continue;
        }
        let connection = connect(downstream, Arc::clone(&line), Arc::clone(&shared));
        let mut connections = lock(&shared.connections);
        connections.retain(|(_, passing)| !passing.is_finished());
        connections.push((line, tokio::spawn(connection).abort_handle()));
    }
}

/// Passes bytes both ways until either side ends or the allowance is used up.
async fn connect(downstream: UnixStream, line: Arc<Line>, shared: Arc<Shared>) {
    // Nobody there: the dialler sees its connection closed, as with a worker that died.
    let Ok(upstream) = UnixStream::connect(&shared.upstream).await else {
        return line.cut();
    };
    if !line.hold(&upstream) {
        return;
    }
    let allowance = *lock(&shared.allowance);
    let (from_down, to_down) = downstream.into_split();
    let (from_up, to_up) = upstream.into_split();
    let is_used_up = tokio::select! {
        _ = pass(from_down, to_up, None) => false,
        is_used_up = pass(from_up, to_down, allowance) => is_used_up,
    };
    line.cut();
    if is_used_up {
        *lock(&shared.allowance) = None;
        shared.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

/// Passes bytes one way until the end, an error, or the allowance is used up; true in that case.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, allowance: Option<usize>) -> bool {
    let mut left = allowance.unwrap_or(usize::MAX);
    let mut buffer = [0; CHUNK];
    while left > 0 {
        let room = left.min(CHUNK);
        let Ok(read @ 1..) = from.read(&mut buffer[..room]).await else {
            return false;
        };
        if to.write_all(&buffer[..read]).await.is_err() {
            return false;
        }
        left -= read;
    }
    true
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
