//! A manager's connection that stops reading when it is told to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Whether the connection reads, and a look into its socket.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Shared>);

struct Shared {
    closed: AtomicBool,
    waiting: Mutex<Option<Waker>>,
    socket: OwnedFd,
}

/// The connection.
pub(crate) struct Gated {
    io: UnixStream,
    gate: Gate,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.0.closed.store(false, Ordering::SeqCst);
        if let Some(waker) = self.0.waiting.lock().expect("no panic").take() {
            waker.wake();
        }
    }

    /// Bytes that are in the socket and were not read.
    pub(crate) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.0.socket).expect("a socket")
    }
}

impl Gated {
    pub(crate) async fn connect(socket: &Path) -> (Self, Gate) {
        let io = UnixStream::connect(socket)
            .await
            .expect("a listening socket");
        let socket = std::os::fd::AsFd::as_fd(&io)
            .try_clone_to_owned()
            .expect("a second handle");
        let gate = Gate(Arc::new(Shared {
            closed: AtomicBool::new(false),
            waiting: Mutex::new(None),
            socket,
        }));
        let gated = Self {
            io,
            gate: gate.clone(),
        };
        (gated, gate)
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *self.gate.0.waiting.lock().expect("no panic") = Some(cx.waker().clone());
        if self.gate.0.closed.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
