//! A cable that can be cut: passes bytes between unix sockets until it is told not to.
//!
//! It knows no HTTP/2. A cut drops both ends at once, with whatever bytes are under way, as a broken
//! connection does; the next dial gets a new connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

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
    connections: Mutex<JoinSet<()>>,
    accepted: AtomicU64,
    cuts: AtomicU64,
    /// Bytes from upstream that a new connection passes before it is cut.
    allowance: Mutex<Option<usize>>,
    /// Whether new connections are closed at once.
    refusing: AtomicBool,
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

    /// Cuts every open connection; says how many there were.
    pub fn cut(&self) -> usize {
        let mut connections = lock(&self.shared.connections);
        while connections.try_join_next().is_some() {}
        let open = connections.len();
        connections.abort_all();
        self.shared.cuts.fetch_add(open as u64, Ordering::SeqCst);
        open
    }

    /// From now on a new connection is cut after it passed `bytes` from upstream; `None` ends that.
    pub fn cut_after(&self, bytes: Option<usize>) {
        *lock(&self.shared.allowance) = bytes;
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
        let connection = connect(downstream, Arc::clone(&shared));
        let mut connections = lock(&shared.connections);
        while connections.try_join_next().is_some() {}
        connections.spawn(connection);
    }
}

/// Passes bytes both ways until either side ends or the allowance is used up.
async fn connect(downstream: UnixStream, shared: Arc<Shared>) {
    // Nobody there: the dialler sees its connection closed, as with a worker that died.
    let Ok(upstream) = UnixStream::connect(&shared.upstream).await else {
        return;
    };
    let allowance = *lock(&shared.allowance);
    let (from_down, to_down) = downstream.into_split();
    let (from_up, to_up) = upstream.into_split();
    tokio::select! {
        () = pass(from_down, to_up, None) => {}
        () = pass(from_up, to_down, allowance) => {
            if allowance.is_some() {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// Passes bytes one way until the end, an error, or the allowance is used up.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, allowance: Option<usize>) {
    let mut left = allowance.unwrap_or(usize::MAX);
    let mut buffer = [0; CHUNK];
    while left > 0 {
        let room = left.min(CHUNK);
        let Ok(read @ 1..) = from.read(&mut buffer[..room]).await else {
            return;
        };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        left -= read;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
