//! What a peer may do to a connection before any of it is understood: how many frames that carry nothing, for
//! how long it may leave what it is sent unread, and how much at once while others wait.
//!
//! HTTP/2 has limits of its own for streams, resets and headers. For frames that cost the sender nothing, as
//! PING, SETTINGS, PRIORITY, WINDOW_UPDATE and empty DATA, it has none, nor for a peer that never reads.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::deadline::LONGEST;

/// Frames without content that a peer may send each second, beside those that answer what it was sent.
const FRAMES_PER_SECOND: f64 = 1_000.0;
/// How many of them at once.
const FRAMES_AT_ONCE: f64 = 4_096.0;
/// Bytes sent to a peer that allow it one frame more, as the window that it opens again.
const BYTES_PER_FRAME: f64 = 64.0;
/// How often a peer that has always more to say is read before others get their turn.
const READS_PER_TURN: u32 = 16;
/// Bytes of the preface of a client.
const PREFACE_BYTES: usize = 24;
/// Bytes of the header of a frame.
const HEADER_BYTES: usize = 9;
/// Types of frames.
const DATA: u8 = 0;
/// Begins a call, which has limits of its own.
const HEADERS: u8 = 1;
/// The flag of the last frame of a call.
const END_STREAM: u8 = 1;

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
    /// Bytes of the frame under way that are to come, or of the preface.
    left: usize,
    /// The header of the next one, as far as it is there.
    header: Vec<u8>,
    /// Frames without content that it may send now.
    credit: f64,
    /// When that was reckoned.
    at: Instant,
}

impl<T> Paced<T> {
    /// A fresh connection.
    pub(super) fn new(io: T, patience: Duration) -> Self {
        Self {
            io,
            patience: patience.min(LONGEST),
            late: None,
            reads: 0,
            left: PREFACE_BYTES,
            header: Vec::with_capacity(HEADER_BYTES),
            credit: FRAMES_AT_ONCE,
            at: Instant::now(),
        }
    }

    /// Goes over what came, and refuses a frame too many.
    fn count(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = bytes.len().min(self.left);
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let (header, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.header.len()));
            self.header.extend_from_slice(header);
            bytes = rest;
            if let [a, b, c, kind, flags, ..] = self.header[..]
                && self.header.len() == HEADER_BYTES
            {
                self.header.clear();
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let says_something = match kind {
                    DATA => self.left > 0 || flags & END_STREAM != 0,
                    HEADERS => true,
                    _ => false,
                };
                if !says_something {
                    self.spend()?;
                }
            }
        }
        Ok(())
    }

    /// One more frame without content.
    fn spend(&mut self) -> io::Result<()> {
        if self.credit < 1.0 {
            let now = Instant::now();
            let earned = (now - self.at).as_secs_f64() * FRAMES_PER_SECOND;
            self.at = now;
            self.credit = (self.credit + earned).min(FRAMES_AT_ONCE);
        }
        if self.credit < 1.0 {
            tracing::debug!("a connection was closed: too many frames that carry nothing");
            return Err(io::Error::other("too many frames that carry nothing"));
        }
        self.credit -= 1.0;
        Ok(())
    }

    /// Looks how a write went.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        sent: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &sent {
            Poll::Ready(Ok(bytes)) => {
                // No write is so large that this is not exact.
                let bytes = u32::try_from(*bytes).unwrap_or(u32::MAX);
                let earned = f64::from(bytes) / BYTES_PER_FRAME;
                self.credit = (self.credit + earned).min(FRAMES_AT_ONCE);
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
        let counted = this.count(&buf.filled()[before..]);
        if counted.is_err() {
            // Whoever gets an error gets nothing else.
            buf.set_filled(before);
        }
        Poll::Ready(counted)
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

    /// What of so many frames is read before the connection ends.
    async fn read_of(frame: &[u8], count: usize) -> io::Result<usize> {
        let (ours, mut peer) = duplex(1 << 20);
        let mut paced = Paced::new(ours, Duration::from_secs(10));
        let frame = frame.to_vec();
        let sender = tokio::spawn(async move {
            peer.write_all(&[b'-'; PREFACE_BYTES]).await?;
            for _ in 0..count {
                peer.write_all(&frame).await?;
            }
            io::Result::Ok(())
        });
        let mut bytes = Vec::new();
        let read = paced.read_to_end(&mut bytes).await;
        drop(paced);
        let _cut = sender.await;
        read
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_carry_nothing_end_the_connection_and_others_do_not() {
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let empty = [0, 0, 0, DATA, 0, 0, 0, 0, 1];
        let priority = [0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for flood in [&ping[..], &settings, &empty, &priority, &window] {
            assert!(read_of(flood, 3_000).await.is_ok(), "{flood:?}");
            assert!(read_of(flood, 5_000).await.is_err(), "{flood:?}");
        }
        let data = [0, 0, 1, DATA, 0, 0, 0, 0, 1, 7];
        assert!(read_of(&data, 20_000).await.is_ok());
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
