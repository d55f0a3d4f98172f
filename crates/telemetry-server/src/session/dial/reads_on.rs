//! A connection that is read to its end although nobody reads what is written to it any more.
//!
//! A worker that has ended hears nothing, and what it wrote before is still in the socket. HTTP/2 takes the
//! first write that fails for the end of the connection, and would leave that there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
#[derive(Debug)]
pub(super) struct ReadsOn<S> {
    stream: S,
    /// Whether the other end has hung up: what is written goes nowhere.
    is_deaf: bool,
}

impl<S> ReadsOn<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            is_deaf: false,
        }
    }

    /// What came of writing; as if `all` had been written if nobody reads it.
    fn written<T>(&mut self, came: Poll<io::Result<T>>, all: T) -> Poll<io::Result<T>> {
        match came {
            Poll::Ready(Err(error)) if is_hung_up(&error) => {
                self.is_deaf = true;
                Poll::Ready(Ok(all))
            }
            came => came,
        }
    }
}

/// Whether an error says that the other end reads no more.
fn is_hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadsOn<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadsOn<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let came = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(came, bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let all = slices.iter().map(|slice| slice.len()).sum();
        if this.is_deaf {
            return Poll::Ready(Ok(all));
        }
        let came = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(came, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_deaf {
            return Poll::Ready(Ok(()));
        }
        let came = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(came, ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let came = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.written(came, ())
    }
}
