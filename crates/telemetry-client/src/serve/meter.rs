//! Tells when bytes that were handed to HTTP/2 are in the socket.
//!
//! Between a stream and its socket lie HTTP/2's own buffers, which say nothing about themselves. Two
//! things can be seen from outside. A chunk is given back (dropped) once its last byte was written or
//! copied behind other frames; and the connection is flushed when everything that was copied is
//! written, and not before. So what was given back before a flush is in the socket.
//!
//! A stream that is reset gives its chunks back as well, unwritten. Whoever asks is polled by that
//! stream, and a stream that was reset polls nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use bytes::Bytes;

use super::watched::Watch;

/// What is known of the writes of one connection. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<Flushes>);

/// The flushes of one connection.
#[derive(Debug, Default)]
struct Flushes {
    /// How many there were.
    count: AtomicU64,
    /// Whether somebody waits for the next one.
    is_awaited: AtomicBool,
    /// Who.
    waiting: AtomicWaker,
}

impl Meter {
    /// Takes note that everything HTTP/2 had to write is written.
    fn count_flush(&self) {
        // Only the task of the connection counts.
        let count = self.0.count.load(Ordering::Relaxed);
        self.0.count.store(count + 1, Ordering::Release);
        if self.0.is_awaited.load(Ordering::Acquire) {
            self.0.is_awaited.store(false, Ordering::Relaxed);
            self.0.waiting.wake();
        }
    }

    /// Flushes so far.
    fn flushes(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Has `waker` woken by the next flush. The newest stream of a connection is the one to ask.
    fn wake_at_flush(&self, waker: &Waker) {
        self.0.waiting.register(waker);
        self.0.is_awaited.store(true, Ordering::Release);
    }
}

impl Watch for Meter {
    fn flushed(&mut self) {
        self.count_flush();
    }
}

/// The chunks that one stream handed to HTTP/2. Without a meter, as in a server of the program's own,
/// a chunk counts as written once it was handed over.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Chunks handed over.
    handed: u64,
    /// Those that came back; none if nobody can tell what is written.
    returned: Option<Arc<Returned>>,
}

/// The chunks of one stream that were given back. They come back in the order they went.
#[derive(Debug)]
struct Returned {
    /// How many.
    chunks: AtomicU64,
    /// The flushes of the connection when the last one came back.
    flushes_before: AtomicU64,
    /// The connection.
    meter: Meter,
}

/// A chunk on its way.
struct Chunk {
    /// Its bytes.
    bytes: Vec<u8>,
    /// Where it reports back.
    returned: Arc<Returned>,
}

impl Outbox {
    /// That of a new stream.
    pub(super) fn new(meter: Option<Meter>) -> Self {
        let returned = meter.map(|meter| {
            Arc::new(Returned {
                chunks: AtomicU64::new(0),
                flushes_before: AtomicU64::new(0),
                meter,
            })
        });
        Self {
            handed: 0,
            returned,
        }
    }

    /// Whether it can tell what is in the socket.
    pub(super) fn is_metered(&self) -> bool {
        self.returned.is_some()
    }

    /// Makes the next chunk.
    pub(super) fn hand(&mut self, bytes: Vec<u8>) -> Bytes {
        self.handed += 1;
        match &self.returned {
            Some(returned) => Bytes::from_owner(Chunk {
                bytes,
                returned: Arc::clone(returned),
            }),
            None => bytes.into(),
        }
    }

    /// Chunks handed over so far.
    pub(super) fn handed(&self) -> u64 {
        self.handed
    }

    /// Whether the first so many chunks are in the socket. To be asked while the stream is polled.
    pub(super) fn is_written(&self, chunks: u64) -> bool {
        self.returned
            .as_ref()
            .is_none_or(|returned| returned.are_written(chunks))
    }

    /// Whether all chunks so far are in the socket, to be asked when the stream has ended in order. Of
    /// a connection that broke off they never are, for it is not flushed any more.
    pub(super) fn all_written(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let (handed, returned) = (self.handed, self.returned.clone());
        move || {
            returned
                .as_ref()
                .is_none_or(|returned| returned.are_written(handed))
        }
    }

    /// Has `waker` woken when more is written.
    pub(super) fn wake_when_written(&self, waker: &Waker) {
        if let Some(returned) = &self.returned {
            returned.meter.wake_at_flush(waker);
        }
    }
}

impl Returned {
    /// Whether the first so many came back before a flush.
    fn are_written(&self, chunks: u64) -> bool {
        chunks == 0
            || (self.chunks.load(Ordering::Acquire) >= chunks
                && self.meter.flushes() > self.flushes_before.load(Ordering::Relaxed))
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let returned = &self.returned;
        let flushes = returned.meter.flushes();
        returned.flushes_before.store(flushes, Ordering::Relaxed);
        returned.chunks.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
