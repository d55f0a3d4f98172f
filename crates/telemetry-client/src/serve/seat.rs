//! What a connection has its place for: the streams on it, and which of two has the better right.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::session::{Session, lock};

/// What a connection is used for. Ordered: who is of less use gives way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// Nothing that is open.
    Nothing,
    /// A stream that gets no events: another one took over, or has not been taken over from.
    Waiting,
    /// The stream of the worker.
    Stream,
}

/// The place of one connection. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The streams that were opened on it, as long as they are there.
    streams: Mutex<Vec<Weak<Session>>>,
    /// Whether there ever was one.
    had_stream: AtomicBool,
    /// Calls of any kind so far.
    calls: AtomicU64,
}

impl Seat {
    /// Takes note of a call.
    pub(super) fn count_call(&self) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// Takes note of a stream that was opened.
    pub(super) fn open(&self, session: &Arc<Session>) {
        let mut streams = lock(&self.0.streams);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(session));
        self.0.had_stream.store(true, Ordering::Relaxed);
    }

    /// Whether a stream was ever opened on it.
    pub(super) fn had_stream(&self) -> bool {
        self.0.had_stream.load(Ordering::Relaxed)
    }

    /// What it is used for now.
    pub(super) fn is_for(&self) -> Use {
        let streams = lock(&self.0.streams);
        let open = streams.iter().filter_map(Weak::upgrade);
        let uses = open.map(|stream| match stream.is_replaced() || stream.is_asking() {
            true => Use::Waiting,
            false => Use::Stream,
        });
        uses.max().unwrap_or(Use::Nothing)
    }
}
