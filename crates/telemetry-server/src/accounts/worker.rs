//! The sums of one registered worker, and whose its present stream is.
//!
//! The session gives the stream's writer in whenever it learns something: hello, report, end.

mod attribution;
mod ending;
mod report;
mod sums;

use std::sync::Arc;

use telemetry_core::ledger::{Notes, StreamSnapshot, WorkerSnapshot};

use super::book::{Book, Key, Place, Shared, lock};
use super::incarnation::{News, Parting};
use super::info::LostSpan;
use super::ledger::{LedgerReader, LedgerWriter};
use crate::identity::WorkerId;
use sums::evident;

pub(crate) use ending::Gone;
pub(crate) use report::Said;

/// Since when all that a new incarnation sends is meant for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its first event: it was asked for a stream, or its predecessor was, before it was there.
    Birth,
    /// Its first event that we see: others may have read it before.
    FirstSight,
    /// As it says itself.
    Told {
        /// Sequence of the last event before this stream.
        sent: u64,
        /// How many of those were sent on streams of ours.
        given: u64,
    },
    /// As it says itself: what it sent and nobody acknowledged comes again.
    Resumed {
        /// The stream goes on behind this sequence.
        at: u64,
        /// How many events before that were meant for us and are lost.
        missed: u64,
    },
}

/// The account of one registered worker.
#[derive(Debug)]
pub(crate) struct Account {
    book: Arc<Book>,
    /// Its number as an owner.
    owner: u64,
    worker_id: WorkerId,
    pool_name: Option<String>,
    /// Over ended streams.
    folded: StreamSnapshot,
    /// Over ended streams of the present incarnation.
    incarnation_folded: StreamSnapshot,
    /// Where the first of those began.
    joined_at: u64,
    /// What incarnations added to the sums; `queued` and `accepted` are left open.
    reported: WorkerSnapshot,
    /// What is counted about the worker itself and not its events.
    notes: Notes,
    lost: u64,
    unaccounted: u64,
    unknown_since_ns: Option<i64>,
    difference: u64,
    /// The incarnation that was seen last.
    present: Option<Shared>,
    /// The key of the present one; none of a nameless one.
    key: Option<Key>,
    stream: Option<Open>,
    /// The process behind it is known to have ended; told when its stream is read to the end.
    gone: Option<Gone>,
}

/// The stream that is open.
#[derive(Debug)]
struct Open {
    reader: LedgerReader,
    /// Whose it is.
    standing: Standing,
    /// What its hello said of the streams before it.
    told: Option<Origin>,
    /// The process behind it, if it shows.
    pid: Option<u32>,
    /// Whether it is what a dead process left, and no process is behind it.
    is_left: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Nobody said.
    Nameless,
    /// There was a hello, and it is not clear whether this one was here without a name before.
    Named(Key),
    /// Another stream of the same incarnation is still being read.
    Waiting(Key),
    /// The present incarnation's.
    Assigned,
}

impl Account {
    pub(crate) fn new(book: Arc<Book>, worker_id: WorkerId, pool_name: Option<String>) -> Self {
        Self {
            owner: book.owner(),
            book,
            worker_id,
            pool_name,
            folded: StreamSnapshot::default(),
            incarnation_folded: StreamSnapshot::default(),
            joined_at: 0,
            reported: WorkerSnapshot::default(),
            notes: Notes::default(),
            lost: 0,
            unaccounted: 0,
            unknown_since_ns: None,
            difference: 0,
            present: None,
            key: None,
            stream: None,
            gone: None,
        }
    }

    /// A stream begins.
    pub(crate) fn open(&mut self, writer: &LedgerWriter) {
        self.begin(writer, false);
    }

    /// What a dead process left is read as if it were one more stream.
    pub(crate) fn open_remains(&mut self, writer: &LedgerWriter) {
        self.begin(writer, true);
    }

    fn begin(&mut self, writer: &LedgerWriter, is_left: bool) {
        // Of a session that was torn away.
        self.abandon_stream();
        self.stream = Some(Open {
            reader: writer.reader(),
            standing: Standing::Nameless,
            told: None,
            pid: None,
            is_left,
        });
    }

    /// Whether the open stream is of an incarnation from which another stream is still read, so that it is not
    /// known yet where it goes on.
    pub(crate) fn is_waiting(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| matches!(stream.standing, Standing::Waiting(_)))
    }

    /// Asks again whether the other stream is read to its end.
    pub(crate) fn claim_again(&mut self, writer: &mut LedgerWriter, origin: Origin, now_ns: i64) {
        let origin = self.told().unwrap_or(origin);
        let waiting = self.stream.as_ref().map(|stream| &stream.standing);
        if let Some(Standing::Waiting(key)) = waiting {
            let key = key.clone();
            self.claim(key, writer, origin, now_ns);
        }
    }

    /// Where we stand with an incarnation, so that it can go on from there: the one that introduced itself,
    /// or else the present one. `None` if we have not met it, or still read from it.
    pub(crate) fn position(&self, introduced: Option<(&str, u32)>) -> Option<(String, u64)> {
        let known = match introduced {
            Some((id, pid)) => self.met(id, Place::Process(pid)),
            None => self.present.clone(),
        };
        let known = known?;
        let incarnation = lock(&known);
        let is_read = !incarnation.claimed && !incarnation.id.is_empty();
        let position = incarnation.resume_at().filter(|_| is_read)?.0;
        Some((incarnation.id.clone(), position))
    }

    /// Up to where the events of an incarnation are accounted for; `None` if nothing is known of it.
    pub(crate) fn position_of(&self, id: &str, place: Place) -> Option<u64> {
        let known = self.met(id, place)?;
        let position = lock(&known).resume_at();
        position.map(|(position, _)| position)
    }

    fn met(&self, id: &str, place: Place) -> Option<Shared> {
        let id = id.to_owned();
        self.book.find(&Key { id, place }, &self.worker_id)
    }

    /// What the present incarnation was doing when it died.
    pub(crate) fn lose_spans(&self, spans: Vec<LostSpan>) {
        if let Some(present) = &self.present {
            lock(present).lost_spans = spans;
        }
    }

    /// The open stream is over.
    pub(crate) fn close(
        &mut self,
        mut writer: LedgerWriter,
        how: Parting,
        origin: Origin,
        now_ns: i64,
    ) {
        if self.stream.is_none() {
            return;
        }
        let origin = self.told().unwrap_or(origin);
        if writer.snapshot().received > 0 {
            self.assign_by_order(None, &mut writer, origin, now_ns);
        }
        let waiting = match self.stream.as_ref().map(|open| &open.standing) {
            Some(Standing::Waiting(key)) => Some(key.clone()),
            _ => None,
        };
        if let Some(key) = waiting {
            self.claim(key, &mut writer, origin, now_ns);
        }
        let Some(stream) = self.stream.take() else {
            return;
        };
        if stream.standing == Standing::Assigned
            && let Some(present) = self.present.clone()
        {
            let mut incarnation = lock(&present);
            let comes_again = matches!(stream.told, Some(Origin::Resumed { .. }));
            let is_over = how != Parting::Cut && !comes_again;
            if let Some(last) = incarnation.last().filter(|_| is_over) {
                // What it had sent before it turned to somebody else was for us.
                writer.announce(last.sent);
            }
            let news = incarnation.close(&writer, how);
            drop(incarnation);
            self.add(&news);
        }
        let counted = writer.snapshot();
        if stream.standing == Standing::Assigned {
            if self.incarnation_folded == StreamSnapshot::default() {
                self.joined_at = stream.reader.origin();
            }
            self.incarnation_folded.merge(&counted);
        } else {
            if let Some(present) = self.present.as_ref().filter(|_| how == Parting::Cut) {
                lock(present).distrust();
            }
            match &stream.standing {
                // Whom it belongs to is still read elsewhere.
                Standing::Waiting(key) => self.add_to(key, &writer),
                // It showed no sequence.
                _ => self.add_evident(&counted),
            }
        }
        self.folded.merge(&counted);
    }

    /// Adds a stream to an incarnation that another one is still counted for.
    fn add_to(&mut self, key: &Key, writer: &LedgerWriter) {
        let counted = writer.snapshot();
        match self.book.find(key, &self.worker_id) {
            Some(it) => {
                let news = lock(&it).add_stream(&counted, writer.position());
                self.add(&news);
            }
            None => self.add_evident(&counted),
        }
    }

    /// What the hello of the open stream said of those before it.
    pub(super) fn told(&self) -> Option<Origin> {
        self.stream.as_ref().and_then(|open| open.told)
    }

    /// What a stream counted whose writer is gone.
    pub(crate) fn abandon_stream(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let counted = stream.reader.snapshot();
        match &self.present {
            Some(present) if stream.standing == Standing::Assigned => {
                let news = lock(present).abandon();
                self.add(&news);
            }
            _ => self.add_evident(&counted),
        }
        self.folded.merge(&counted);
    }

    /// The worker is taken away: its present incarnation goes on without an owner.
    pub(crate) fn depart(&mut self) {
        // Its writer went with a task that was cancelled.
        self.abandon_stream();
        if let Some(present) = self.present.take() {
            let mut present = lock(&present);
            if present.owner == Some(self.owner) {
                present.owner = None;
                let number = present.number;
                drop(present);
                self.book.depart(&self.worker_id, number);
            }
        }
        self.key = None;
        self.incarnation_folded = StreamSnapshot::default();
        self.difference = 0;
    }

    fn add_evident(&mut self, counted: &StreamSnapshot) {
        self.reported.merge(&evident(counted));
    }

    fn add(&mut self, news: &News) {
        self.reported.merge(&news.reported);
        self.lost = self.lost.saturating_add(news.lost);
        if news.unknown_since_ns.is_some() {
            self.unaccounted += 1;
            self.unknown_since_ns = news.unknown_since_ns;
        }
    }
}

#[cfg(test)]
mod rough;
#[cfg(test)]
mod tests;
