//! Holds a worker to what its frames may cost, before any of them is understood.
//!
//! Core counts the frames; here are the bytes and the clock. What is in a frame is limited where it is read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use telemetry_core::wire::Pace;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A connection on which a worker serves, whoever opened it.
#[derive(Debug)]
pub(super) struct Paced<T> {
    /// The connection.
    io: T,
    /// What the worker's frames cost.
    pace: Pace,
}

impl<T> Paced<T> {
    /// A fresh connection.
    pub(super) fn new(io: T) -> Self {
        let pace = Pace::of_server(Instant::now().into_std());
        Self { io, pace }
    }

    /// Looks how a write went.
    fn written(&mut self, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &sent {
            self.pace.sent(*bytes);
        }
        sent
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let arrived = &buf.filled()[before..];
        let counted = this.pace.arrived(arrived, Instant::now().into_std());
        if counted.is_err() {
            // Whoever gets an error gets nothing else.
            buf.set_filled(before);
        }
        Poll::Ready(counted.map_err(io::Error::other))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.io).poll_write(cx, buf);
        this.written(sent)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.written(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
