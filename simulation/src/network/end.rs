//! One connection and its two ends.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::lock;
use crate::chance::Chance;
use crate::system;
use crate::trace::Trace;

/// Bytes that are under way at most in one direction, as in the buffer of a socket.
const ROOM: usize = 32 * 1024;

/// How much is remembered of what was sent first, in bytes; more than an answer at the door has.
const FIRST_BYTES: usize = 64;

/// What is under way in one direction.
#[derive(Debug, Default)]
struct Lane {
    /// What was sent first.
    first: Vec<u8>,
    /// Pieces, and when each arrives.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// Their bytes.
    bytes: usize,
    /// After so many more bytes the connection is cut.
    cut_after: Option<u64>,
    /// Nothing will follow.
    is_ended: bool,
    /// Nobody reads any more.
    is_deaf: bool,
    /// Waits for bytes.
    reader: Option<Waker>,
    /// Waits for room.
    writer: Option<Waker>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    number: usize,
    chance: Chance,
    trace: Trace,
    /// What the first end sends, and what the second one does.
    lanes: [Lane; 2],
    pub(crate) slowness: Duration,
    /// Nothing arrives before.
    frozen_until: Option<Instant>,
    is_cut: bool,
}

impl Link {
    pub(crate) fn new(number: usize, chance: Chance, trace: Trace, slowness: Duration) -> Self {
        Self {
            number,
            chance,
            trace,
            lanes: Default::default(),
            slowness,
            frozen_until: None,
            is_cut: false,
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(crate) fn cut_after(&mut self, lane: usize, bytes: u64) {
        self.lanes[lane].cut_after = Some(bytes);
        if bytes == 0 {
            self.cut();
        }
    }

    /// Ends it both ways. Of what is under way some arrives, or nothing.
    pub(crate) fn cut(&mut self) {
        if std::mem::replace(&mut self.is_cut, true) {
            return;
        }
        let number = self.number;
        self.trace.tell(format_args!("link {number}: cut"));
        for lane in &mut self.lanes {
            let left = self.chance.between(0, lane.pieces.len() as u64 * 2 + 1);
            lane.pieces.truncate(usize::try_from(left).unwrap_or(0));
            lane.wake();
        }
    }

    pub(crate) fn freeze(&mut self, until: Instant) {
        self.frozen_until = Some(until);
        self.lanes.iter_mut().for_each(Lane::wake);
    }

    pub(crate) fn calm(&mut self) {
        self.frozen_until = None;
        for lane in &mut self.lanes {
            lane.cut_after = None;
            lane.wake();
        }
    }

    /// Takes bytes into one lane; how many, or nothing if there is no room.
    fn send(&mut self, to: usize, bytes: &[u8]) -> io::Result<Option<usize>> {
        let slowness = u64::try_from(self.slowness.as_micros()).unwrap_or(u64::MAX);
        let lane = &mut self.lanes[to];
        if self.is_cut || lane.is_deaf || lane.is_ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = ROOM - lane.bytes;
        if room == 0 {
            return Ok(None);
        }
        let mut taken = bytes.len().min(room);
        if self.chance.once_in(4) {
            let some = self.chance.any_size(taken as u64).max(1);
            taken = usize::try_from(some).unwrap_or(taken).min(taken);
        }
        let first = FIRST_BYTES.saturating_sub(lane.first.len()).min(taken);
        lane.first.extend_from_slice(&bytes[..first]);
        let mut arrives = taken;
        if let Some(left) = &mut lane.cut_after {
            arrives = taken.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= arrives as u64;
        }
        let time = Duration::from_micros(self.chance.any_size(slowness));
        let after = lane.pieces.back().map(|(at, _)| *at);
        let at = (Instant::now() + time).max(after.unwrap_or_else(Instant::now));
        lane.bytes += arrives;
        lane.pieces.push_back((at, bytes[..arrives].to_vec()));
        lane.wake();
        if lane.cut_after == Some(0) {
            self.cut();
        }
        Ok(Some(taken))
    }

    /// Gives out bytes of one lane: some, or none at its end, or when to ask again.
    fn receive(&mut self, from: usize, buf: &mut ReadBuf<'_>) -> Received {
        let now = Instant::now();
        let lane = &mut self.lanes[from];
        let frozen = self
            .frozen_until
            .filter(|until| now < *until && !self.is_cut);
        let Some((at, piece)) = lane.pieces.front_mut() else {
            return match (self.is_cut, lane.is_ended) {
                (true, _) if self.chance.once_in(2) => Received::Broken,
                (false, false) => Received::Nothing,
                _ if frozen.is_some() => Received::Later(frozen.unwrap_or(now)),
                _ => Received::End,
            };
        };
        let at = (*at).max(frozen.unwrap_or(now));
        if now < at {
            return Received::Later(at);
        }
        let taken = piece.len().min(buf.remaining());
        let rest = piece.split_off(taken);
        buf.put_slice(piece);
        self.trace.bytes(piece);
        self.trace.tell(format_args!(
            "link {}: {taken} bytes of {from}",
            self.number
        ));
        lane.bytes -= taken.min(lane.bytes);
        if rest.is_empty() {
            lane.pieces.pop_front();
        } else {
            *piece = rest;
        }
        if let Some(writer) = lane.writer.take() {
            writer.wake();
        }
        Received::Some
    }
}

/// What a look at a lane finds.
enum Received {
    Some,
    End,
    Broken,
    Nothing,
    Later(Instant),
}

impl Lane {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

/// One end of a connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct End {
    link: Arc<Mutex<Link>>,
    /// The lane into which it sends.
    side: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl End {
    pub(crate) fn new(link: Arc<Mutex<Link>>, side: usize) -> Self {
        Self {
            link,
            side,
            timer: None,
        }
    }

    /// Tells later whether what was sent into this end begins with these few bytes.
    pub(crate) fn begins_with(&self, bytes: Vec<u8>) -> impl FnOnce() -> bool + Send + use<> {
        let (link, side) = (Arc::clone(&self.link), self.side);
        move || lock(&link).lanes[side].first.starts_with(&bytes)
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let from = 1 - this.side;
        system::look();
        loop {
            let mut link = lock(&this.link);
            let received = link.receive(from, buf);
            link.lanes[from].reader = Some(cx.waker().clone());
            drop(link);
            match received {
                Received::Some | Received::End => return Poll::Ready(Ok(())),
                Received::Broken => return Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
                Received::Nothing => return Poll::Pending,
                Received::Later(at) => {
                    let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                    if timer.deadline() != at {
                        timer.as_mut().reset(at);
                    }
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut link = lock(&self.link);
        match link.send(self.side, bytes) {
            Ok(Some(taken)) => Poll::Ready(Ok(taken)),
            Ok(None) => {
                link.lanes[self.side].writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = lock(&self.link);
        let lane = &mut link.lanes[self.side];
        lane.is_ended = true;
        lane.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut link = lock(&self.link);
        let number = link.number;
        link.trace
            .tell(format_args!("link {number}: end {} closed", self.side));
        link.lanes[self.side].is_ended = true;
        link.lanes[1 - self.side].is_deaf = true;
        link.lanes.iter_mut().for_each(Lane::wake);
    }
}
