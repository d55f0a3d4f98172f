//! How long a client may keep its place: who does not read what it asked for loses it, and of those that
//! only hold one the place of the longest goes to whoever comes.
//!
//! Around the bytes of any connection; knows nothing of HTTP but when a request is under way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may not read before it loses its place.
pub const HTTP_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection waits for.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Since when it has a place.
    seated_at: Instant,
    /// Whether it has had an answer.
    is_answered: bool,
    /// Requests that are being answered.
    under_way: usize,
    /// Since when there is none.
    idle_since: Instant,
    /// Since when the client takes no byte more.
    blocked_since: Option<Instant>,
    /// Whether it has lost its place for that.
    is_slow: bool,
}

impl Seat {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let state = State {
            seated_at: now,
            is_answered: false,
            under_way: 0,
            idle_since: now,
            blocked_since: None,
            is_slow: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Since when nothing is missing but something that the client does; none while it is our turn.
    fn waits_since(&self) -> Option<Instant> {
        let state = self.state();
        let idle = (state.under_way == 0).then_some(state.idle_since);
        state.blocked_since.or(idle)
    }

    /// Why it may be asked to leave its place for somebody else, and since when; the least leaves first.
    pub(super) fn gives_way(&self) -> Option<(GivesWay, Instant)> {
        if let Some(since) = self.waits_since() {
            return Some((GivesWay::Waits, since));
        }
        let state = self.state();
        let asks_on = state.is_answered.then_some(state.seated_at);
        asks_on.map(|since| (GivesWay::AsksOn, since))
    }

    /// Whether its client did not read for too long.
    pub(super) fn is_slow(&self) -> bool {
        self.state().is_slow
    }

    /// A request is under way as long as this lives.
    pub(super) fn begin(&self) -> UnderWay {
        self.state().under_way += 1;
        UnderWay(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a place may be given to somebody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum GivesWay {
    /// Nothing is missing but something that its client does.
    Waits,
    /// It was answered, and has asked again.
    AsksOn,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct UnderWay(Seat);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.is_answered = true;
        state.idle_since = Instant::now();
    }
}

/// A connection whose client is waited for [`HTTP_WRITE_TIMEOUT`] at a time.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    seat: Seat,
    /// Runs while the client does not read.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, seat: Seat) -> Self {
        Self {
            stream,
            seat,
            patience: None,
        }
    }

    /// Looks at how a write went: one that waits too long has failed.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.patience.take().is_some() {
                self.seat.state().blocked_since = None;
            }
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| {
            self.seat.state().blocked_since = Some(Instant::now());
            Box::pin(sleep(HTTP_WRITE_TIMEOUT))
        });
        if patience.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.seat.state().is_slow = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // Bytes that were written are what counts: there may be nothing to flush.
        match flushed {
            Poll::Ready(_) => flushed,
            Poll::Pending => self.watch(context, flushed),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_fails_after_its_time() {
        let (theirs, ours) = tokio::io::duplex(4);
        let seat = Seat::new();
        let mut ours = Patient::new(ours, seat.clone());
        let began = Instant::now();
        let error = ours.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), HTTP_WRITE_TIMEOUT);
        assert!(seat.is_slow());
        drop(theirs);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_keeps_its_place() {
        let (mut theirs, ours) = tokio::io::duplex(1);
        let seat = Seat::new();
        let mut ours = Patient::new(ours, seat.clone());
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            while all.len() < 5 {
                sleep(HTTP_WRITE_TIMEOUT - Duration::from_millis(1)).await;
                all.push(theirs.read_u8().await.unwrap());
            }
            all
        });
        ours.write_all(b"hello").await.unwrap();
        assert_eq!(reading.await.unwrap(), b"hello");
        assert!(!seat.is_slow());
        assert_eq!(seat.state().blocked_since, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_waited_for_between_requests_and_while_it_does_not_read() {
        let seat = Seat::new();
        let began = Instant::now();
        assert_eq!(seat.waits_since(), Some(began));
        sleep(Duration::from_secs(1)).await;
        let under_way = seat.begin();
        assert_eq!(seat.waits_since(), None, "it is our turn");
        let (_theirs, ours) = tokio::io::duplex(1);
        let mut ours = Patient::new(ours, seat.clone());
        let blocked = Instant::now();
        let short = Duration::from_secs(2);
        let written = tokio::time::timeout(short, ours.write_all(b"abc")).await;
        assert!(written.is_err(), "nobody reads");
        assert_eq!(seat.waits_since(), Some(blocked));
        seat.state().blocked_since = None;
        assert_eq!(seat.gives_way(), None, "it has had no answer yet");
        drop(under_way);
        assert_eq!(seat.waits_since(), Some(Instant::now()));
        let _asks_again = seat.begin();
        assert_eq!(seat.gives_way(), Some((GivesWay::AsksOn, began)));
    }
}
