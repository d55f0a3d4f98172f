//! How long a client may keep its place: who does not read what it asked for, or too slowly, loses it, and of those
//! that only hold one the place of the longest goes to whoever comes.
//!
//! Around the bytes of any connection; knows nothing of HTTP but when a request is under way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may not read before it loses its place.
pub const HTTP_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The slowest that an answer may be read at, in bytes a second: who has not taken all of it after
/// [`HTTP_WRITE_TIMEOUT`] and its size at this rate loses its place. A live view may be read at any rate.
pub const HTTP_SLOWEST_RATE: u64 = 16 * 1_024;

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
    /// Since when the client has not taken all that it was sent; of a live view, since when it takes nothing.
    blocked_since: Option<Instant>,
    /// Bytes that it has taken since then.
    taken: u64,
    /// Whether it looks at something that has no end.
    is_live: bool,
    /// Whether it has lost its place for that.
    is_slow: bool,
}

impl State {
    /// The client took something.
    fn take(&mut self, bytes: usize) {
        match self.blocked_since {
            Some(_) if !self.is_live => self.taken += bytes as u64,
            _ => self.take_all(),
        }
    }

    /// The client has taken everything.
    fn take_all(&mut self) {
        self.blocked_since = None;
        self.taken = 0;
    }

    /// The client takes nothing now. Says until when it may go on so.
    fn block(&mut self) -> Instant {
        let now = Instant::now();
        let since = *self.blocked_since.get_or_insert(now);
        let at_rate = Duration::from_millis(self.taken.saturating_mul(1_000) / HTTP_SLOWEST_RATE);
        (now + HTTP_WRITE_TIMEOUT).min(since + HTTP_WRITE_TIMEOUT + at_rate)
    }
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
            taken: 0,
            is_live: false,
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

impl UnderWay {
    /// What is answered has no end.
    pub(super) fn is_live(&self) {
        self.0.state().is_live = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_live = false;
        state.under_way -= 1;
        state.is_answered = true;
        state.idle_since = Instant::now();
    }
}

/// A connection whose client is waited for [`HTTP_WRITE_TIMEOUT`] at a time, and for an answer as a whole as long as
/// [`HTTP_SLOWEST_RATE`] says.
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

    /// Looks at how a write went.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.wait(context),
            Poll::Ready(written) => {
                self.patience = None;
                if let Ok(bytes) = written {
                    self.seat.state().take(bytes);
                }
                Poll::Ready(written)
            }
        }
    }

    /// Looks at how it went to write all that is left.
    fn watch_end(
        &mut self,
        context: &mut Context<'_>,
        flushed: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if flushed.is_pending() {
            return self.wait(context);
        }
        self.patience = None;
        self.seat.state().take_all();
        flushed
    }

    /// Waits for the client; who is waited for too long has failed.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let patience = self.patience.get_or_insert_with(|| {
            let until = self.seat.state().block();
            Box::pin(sleep_until(until))
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
        // It is asked for once nothing is left to write.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch_end(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch_end(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::sleep;

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

    /// Takes so many bytes again and again, until there are no more; says how many there were.
    async fn read_in_bits(mut stream: DuplexStream, bytes: usize, pause: Duration) -> usize {
        let (mut bits, mut all) = (vec![0; bytes], 0);
        loop {
            sleep(pause).await;
            match stream.read(&mut bits).await {
                Ok(0) | Err(_) => return all,
                Ok(count) => all += count,
            }
        }
    }

    /// How it ends to write this to one that reads so, and when.
    async fn write_to_one_that_reads(
        content: Vec<u8>,
        bytes: usize,
        pause: Duration,
        is_live: bool,
    ) -> (io::Result<()>, Duration) {
        let (theirs, ours) = tokio::io::duplex(bytes);
        let seat = Seat::new();
        let under_way = seat.begin();
        if is_live {
            under_way.is_live();
        }
        let reading = tokio::spawn(read_in_bits(theirs, bytes, pause));
        let mut ours = Patient::new(ours, seat.clone());
        let began = Instant::now();
        let written = async {
            ours.write_all(&content).await?;
            ours.flush().await
        };
        let (written, took) = (written.await, began.elapsed());
        drop(ours);
        let read = reading.await.unwrap();
        assert_eq!(written.is_ok(), read == content.len());
        assert_eq!(seat.is_slow(), written.is_err());
        assert!(written.is_err() || seat.state().blocked_since.is_none());
        (written, took)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_in_bits_ends_at_the_slowest_rate() {
        let (long, bit) = (vec![0; 1_000_000], Duration::from_millis(200));
        let (written, took) = write_to_one_that_reads(long.clone(), 5, bit, false).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let limit = HTTP_WRITE_TIMEOUT + Duration::from_secs(1);
        assert!((HTTP_WRITE_TIMEOUT..limit).contains(&took), "{took:?}");
        // Who reads a little faster gets all of it, however long that takes.
        let (written, took) = write_to_one_that_reads(long, 3_300, bit, false).await;
        written.unwrap();
        assert!(took > 5 * HTTP_WRITE_TIMEOUT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_view_may_be_read_as_slowly_as_it_is_read_at_all() {
        let slowest = HTTP_WRITE_TIMEOUT - Duration::from_millis(1);
        let (written, took) = write_to_one_that_reads(b"hello".into(), 1, slowest, true).await;
        written.unwrap();
        assert!(took > 3 * HTTP_WRITE_TIMEOUT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_reads_in_bits_may_be_asked_to_leave() {
        let (theirs, ours) = tokio::io::duplex(1);
        let seat = Seat::new();
        let began = Instant::now();
        let reading = tokio::spawn(read_in_bits(theirs, 1, Duration::from_millis(200)));
        let mut ours = Patient::new(ours, seat.clone());
        let short = tokio::time::timeout(Duration::from_secs(2), ours.write_all(&[0; 100])).await;
        assert!(short.is_err(), "it is not through");
        assert_eq!(seat.gives_way(), Some((GivesWay::Waits, began)));
        reading.abort();
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
