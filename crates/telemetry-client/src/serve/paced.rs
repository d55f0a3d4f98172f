//! What a peer may do to a connection before any of it is understood: how many frames that carry nothing, for
//! how long it may leave what it is sent unread, and how much at once while others wait.
//!
//! Core counts the frames; here are the bytes and the clock.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use telemetry_core::wire::Pace;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::deadline::LONGEST;

/// How often a peer that has always more to say is read before others get their turn.
const READS_PER_TURN: u32 = 16;

/// A connection whose peer is held to that.
#[derive(Debug)]
pub(super) struct Paced<T> {
    /// The connection.
    io: T,
    /// For how long it may not take a byte that it is sent.
    patience: Duration,
    /// When that is over, while it takes none.
    late: Option<Pin<Box<Sleep>>>,
    /// Reads since there was nothing to read.
    reads: u32,
    /// What its frames cost.
    pace: Pace,
}

impl<T> Paced<T> {
    /// A fresh connection.
    pub(super) fn new(io: T, patience: Duration) -> Self {
        Self {
            io,
            patience: patience.min(LONGEST),
            late: None,
            reads: 0,
            pace: Pace::of_client(Instant::now().into_std()),
        }
    }

    /// Looks how a write went.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        sent: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &sent {
            Poll::Ready(Ok(bytes)) => {
                self.pace.sent(*bytes);
                self.late = None;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let patience = self.patience;
                let late = self.late.get_or_insert_with(|| Box::pin(sleep(patience)));
                ready!(late.as_mut().poll(cx));
                tracing::debug!("a connection was closed: its peer reads nothing");
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
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
        if this.reads >= READS_PER_TURN {
            this.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if read.is_pending() {
            this.reads = 0;
        }
        ready!(read)?;
        this.reads += 1;
        let arrived = &buf.filled()[before..];
        if let Err(error) = this.pace.arrived(arrived, Instant::now().into_std()) {
            tracing::debug!(%error, "a connection was closed");
            // Whoever gets an error gets nothing else.
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::other(error)));
        }
        Poll::Ready(Ok(()))
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
        this.written(cx, sent)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.written(cx, sent)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_frame_too_many_ends_the_connection() {
        let (ours, mut peer) = duplex(1 << 20);
        let mut paced = Paced::new(ours, Duration::from_secs(10));
        let sender = tokio::spawn(async move {
            peer.write_all(&[b'-'; 24]).await?;
            peer.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0].repeat(10_000))
                .await
        });
        let mut bytes = Vec::new();
        let read = paced.read_to_end(&mut bytes).await;
        assert!(read.is_err_and(|error| error.to_string().contains("carry nothing")));
        drop(paced);
        let _cut = sender.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_loses_its_place_in_time() {
        let (ours, peer) = duplex(64);
        let mut paced = Paced::new(ours, Duration::from_secs(10));
        let begun = Instant::now();
        let cut = paced
            .write_all(&[0; 1_000])
            .await
            .expect_err("nobody reads");
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 10);
        drop(peer);
    }
}
