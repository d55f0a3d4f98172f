//! One life of one worker process: what it reported, what of that arrived, what is in the sums.
//!
//! Everything here is counted once for the whole incarnation, over all its streams and registrations.
//! Whoever asks for news gets the *difference* to what was given out before, and adds it to a sum; so
//! nothing is ever in a sum twice, and no sum ever falls.
//!
//! In the sums is what has come to its end: `settled = received + gaps + dropped + lost`. What the worker
//! claims beyond that is outstanding: queued, on its way, or gone with a stream that was cut. It is shown
//! as such and enters the sums with its end, wherever the worker is registered by then.

mod report;

use std::time::Instant;

use telemetry_core::ledger::{Counts, Notes, StreamSnapshot, WorkerSnapshot};

use super::info::LostSpan;
use super::ledger::{LedgerReader, LedgerWriter};
use super::process::Process;
use crate::identity::WorkerId;

/// How an incarnation came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nobody asked for it, or it was killed because it did not end in time.
    Unasked,
    /// It had been drained before it was told to end.
    Drained,
}

/// How a stream ended, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It was cut: what the next one misses was for us.
    Cut,
    /// We left in order, having read everything. Somebody else may have it meanwhile.
    Left,
    /// In order, for another manager that has it now.
    Replaced,
}

/// What was not in the sums before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// What has come to its end, and what was dropped and noted.
    pub(super) reported: WorkerSnapshot,
    /// Events that are lost for certain.
    pub(super) lost: u64,
    /// Wall clock of its last word, if it has ended and may have emitted more after that.
    pub(super) unknown_since_ns: Option<i64>,
}

/// The number from which a counter of the worker counts for us: `claimed - before` is ours.
#[derive(Debug, Clone, Default)]
struct Base {
    emitted: u64,
    sent: u64,
    dropped: Counts,
    notes: Notes,
}

/// A process that counts although it never said anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Silent {
    /// What it introduced itself as; empty if it did not.
    pub(crate) incarnation: String,
    /// Wall clock of its beginning, or of its arrival.
    pub(crate) since_ns: i64,
    /// The process, if it is known.
    pub(crate) pid: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Incarnation {
    /// Its number in the book.
    pub(super) number: u64,
    /// 32 hexadecimal digits; empty for a process that never said who it is.
    pub(super) id: String,
    pub(super) worker_id: WorkerId,
    pub(super) pool_name: Option<String>,
    pub(super) pid: Option<u32>,
    /// The process behind its socket, where the system tells.
    process: Option<Process>,
    /// Whoever shows it; none once that was taken away.
    pub(super) owner: Option<u64>,
    /// A stream of it is open.
    pub(super) claimed: bool,
    /// The counters of that stream.
    pub(super) live: Option<LedgerReader>,
    /// How its last stream ended.
    parting: Parting,
    /// Highest sequence that is accounted for.
    position: u64,
    /// Messages without a readable sequence behind that position.
    undecoded: u64,
    /// From its ended streams.
    pub(super) received: u64,
    pub(super) gaps: u64,
    sequenced: u64,
    /// What is in the sums.
    emitted: u64,
    sent: u64,
    dropped: Counts,
    notes: Notes,
    lost: u64,
    /// What it says it has emitted and sent since we count.
    said_emitted: u64,
    said_sent: u64,
    /// Sequences that another manager has to account for.
    pub(super) elsewhere: u64,
    /// Where its first stream began; 0 is the beginning of its life.
    first_origin: Option<u64>,
    /// Another manager was given what lies before the present stream.
    was_elsewhere: bool,
    /// `None` before the first report.
    base: Option<Base>,
    /// The first and the last report that were taken in.
    first: Option<WorkerSnapshot>,
    last: Option<WorkerSnapshot>,
    /// When it was first seen.
    seen: Instant,
    /// Wall clock of its last word.
    said_ns: i64,
    /// Its last report was its last word before an orderly end.
    pub(super) is_final: bool,
    /// Its last report promised that nothing stays behind.
    pub(super) written_through: bool,
    /// How many events were read from what it left, if that was read.
    pub(super) recovered: Option<u64>,
    /// What it was doing when it died.
    pub(super) lost_spans: Vec<LostSpan>,
    pub(super) ended: bool,
    pub(super) complete: bool,
    pub(super) unknown_since_ns: Option<i64>,
}

impl Incarnation {
    /// One that nobody has heard of before.
    pub(super) fn new(
        id: String,
        worker_id: WorkerId,
        pool_name: Option<String>,
        seen: Instant,
        now_ns: i64,
    ) -> Self {
        Self {
            number: 0,
            id,
            worker_id,
            pool_name,
            pid: None,
            process: None,
            owner: None,
            claimed: false,
            live: None,
            parting: Parting::Cut,
            position: 0,
            undecoded: 0,
            received: 0,
            gaps: 0,
            sequenced: 0,
            emitted: 0,
            sent: 0,
            dropped: Counts::default(),
            notes: Notes::default(),
            lost: 0,
            said_emitted: 0,
            said_sent: 0,
            elsewhere: 0,
            first_origin: None,
            was_elsewhere: false,
            base: None,
            first: None,
            last: None,
            seen,
            said_ns: now_ns,
            is_final: false,
            written_through: false,
            recovered: None,
            lost_spans: Vec::new(),
            ended: false,
            complete: false,
            unknown_since_ns: None,
        }
    }

    /// Where its next stream goes on: the position and the unreadable messages behind it; `None` if
    /// that is for the stream to say, because another manager had it meanwhile, or because no stream
    /// has said yet where it begins.
    pub(super) fn resume_at(&self) -> Option<(u64, u64)> {
        let known = self.first_origin.is_some() && self.parting == Parting::Cut;
        known.then_some((self.position, self.undecoded))
    }

    /// The worker says itself who was given what; nothing need be concluded from how a stream ended.
    pub(super) fn was_told(&mut self) {
        self.parting = Parting::Cut;
    }

    /// How many of the events sent to us are accounted for.
    pub(super) fn sequenced(&self) -> u64 {
        self.sequenced
    }

    /// So many sequences went to other managers since its last stream.
    pub(super) fn pass(&mut self, sequences: u64) {
        if self.first_origin.is_some() && sequences > 0 {
            self.was_elsewhere = true;
            self.elsewhere = self.elsewhere.saturating_add(sequences);
        }
    }

    /// Whether no stream has said yet where it begins.
    pub(super) fn is_unread(&self) -> bool {
        self.first_origin.is_none() && self.parting == Parting::Cut
    }

    /// The process behind its socket was seen.
    pub(super) fn seen_behind(&mut self, pid: u32) {
        self.pid = Some(pid);
        if self.process.is_none_or(|known| known.is_over()) {
            self.process = Process::of(pid);
        }
    }

    /// Whether its process is gone, while nobody has said so.
    pub(super) fn is_silently_over(&self) -> bool {
        self.is_silent() && self.process.is_some_and(Process::is_over)
    }

    /// Whether that is worth asking: it has no stream, and its process is known and not its end.
    pub(super) fn is_silent(&self) -> bool {
        !self.claimed && !self.ended && self.process.is_some()
    }

    /// Highest sequence that is accounted for.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The last plausible report.
    pub(super) fn last(&self) -> Option<&WorkerSnapshot> {
        self.last.as_ref()
    }

    /// The counters of the open stream.
    fn counted(&self) -> StreamSnapshot {
        self.live
            .as_ref()
            .map_or_else(StreamSnapshot::default, LedgerReader::snapshot)
    }

    /// Takes what has come to its end into the sums.
    fn book(&mut self, counted: &StreamSnapshot, difference: &mut WorkerSnapshot) {
        let news = self.news(counted);
        self.emitted = self.emitted.saturating_add(news.emitted);
        self.sent = self.sent.saturating_add(news.sent);
        difference.emitted = news.emitted;
        difference.sent = news.sent;
    }

    /// What has come to its end: arrived, missing, dropped or lost.
    fn settled(&self, counted: &StreamSnapshot) -> u64 {
        [
            self.received,
            self.gaps,
            counted.received,
            counted.gaps,
            self.dropped.total(),
            self.lost,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// The part of it that was sent, or died in a queue.
    fn settled_sent(&self, counted: &StreamSnapshot) -> u64 {
        self.sequenced
            .saturating_add(counted.sequenced)
            .saturating_add(counted.gaps)
            .saturating_add(self.lost)
    }

    /// What it claims and what has not come to its end.
    pub(super) fn outstanding(&self, counted: &StreamSnapshot) -> u64 {
        self.said_emitted.saturating_sub(self.settled(counted))
    }

    /// The part of it that it says it sent.
    pub(super) fn away(&self, counted: &StreamSnapshot) -> u64 {
        let sent = self.said_sent.saturating_sub(self.settled_sent(counted));
        sent.min(self.outstanding(counted))
    }

    /// What has come to its end and is not in the sums yet.
    pub(super) fn news(&self, counted: &StreamSnapshot) -> WorkerSnapshot {
        let mut snapshot = WorkerSnapshot::default();
        snapshot.emitted = self.settled(counted).saturating_sub(self.emitted);
        snapshot.sent = self.settled_sent(counted).saturating_sub(self.sent);
        snapshot
    }

    /// Its open stream is over; the writer's last words. Returns what that adds to the sums.
    pub(super) fn close(&mut self, stream: &LedgerWriter, how: Parting) -> News {
        let counted = stream.snapshot();
        if stream.knows_origin() {
            self.first_origin.get_or_insert(stream.reader().origin());
        }
        self.claimed = false;
        self.live = None;
        self.undecoded = stream.undecoded();
        self.parting = how;
        self.add_stream(&counted, stream.position())
    }

    /// Adds what a stream has counted that is over, or whose end nobody heard of.
    pub(super) fn add_stream(&mut self, counted: &StreamSnapshot, position: u64) -> News {
        self.received = self.received.saturating_add(counted.received);
        self.gaps = self.gaps.saturating_add(counted.gaps);
        let sequenced = counted.sequenced.saturating_add(counted.gaps);
        self.sequenced = self.sequenced.saturating_add(sequenced);
        self.position = self.position.max(position);
        let mut news = News::default();
        self.book(&StreamSnapshot::default(), &mut news.reported);
        news
    }

    /// A stream of it was asked for and is gone before it said anything: what is missing from now on may
    /// have been on it.
    pub(super) fn distrust(&mut self) {
        self.parting = Parting::Cut;
    }

    /// Its open stream is gone, and with it the writer's last words. Returns what that adds to the sums.
    pub(super) fn abandon(&mut self) -> News {
        let counted = self.counted();
        let origin = self.live.as_ref().map_or(0, LedgerReader::origin);
        self.claimed = false;
        self.live = None;
        self.add_stream(&counted, origin.saturating_add(counted.highest_sequence))
    }

    /// It is there, whatever was thought of it.
    pub(super) fn revive(&mut self) {
        self.ended = false;
        self.complete = false;
        self.unknown_since_ns = None;
    }

    /// Whether its process still runs, as far as the system tells, and is not the one that is `here`.
    pub(super) fn outlives(&self, here: Option<Process>) -> bool {
        let is_there = |it: Process| Some(it) != here && !it.is_over();
        self.process.is_some_and(is_there)
    }

    /// It has ended, and its stream is read to the end: what did not arrive never will. Says so once.
    pub(super) fn end(&mut self, how: End) -> News {
        if self.ended {
            return News::default();
        }
        let outstanding = self.outstanding(&StreamSnapshot::default());
        self.ended = true;
        self.claimed = false;
        let was_drained = how == End::Drained && self.written_through;
        self.complete = self.is_final || was_drained || self.recovered.is_some();
        let mut news = News::default();
        match self.parting {
            Parting::Cut => {
                self.lost = self.lost.saturating_add(outstanding);
                news.lost = outstanding;
            }
            // What was queued when we left in order was for whoever came next.
            Parting::Left | Parting::Replaced => self.said_emitted = 0,
        }
        // Of a worker that never says who it is nothing can be known at all.
        let is_known = self.complete || self.parting == Parting::Replaced || self.id.is_empty();
        if !is_known {
            self.unknown_since_ns = Some(self.said_ns);
            news.unknown_since_ns = self.unknown_since_ns;
        }
        self.book(&StreamSnapshot::default(), &mut news.reported);
        news
    }

    /// One that has ended, and of which nothing was ever heard.
    pub(super) fn silent(silent: Silent, worker_id: WorkerId, pool_name: Option<String>) -> Self {
        let (seen, since_ns) = (Instant::now(), silent.since_ns);
        Self {
            pid: silent.pid,
            ended: true,
            unknown_since_ns: Some(since_ns),
            ..Self::new(silent.incarnation, worker_id, pool_name, seen, since_ns)
        }
    }

    /// Since when nobody looks at it: it was taken away without a last word and may still emit.
    fn unseen_since_ns(&self) -> Option<i64> {
        let is_seen = self.owner.is_some() || self.claimed || self.ended;
        let is_told = is_seen || self.is_final || self.id.is_empty();
        (!is_told).then_some(self.said_ns)
    }

    /// A copy for operators and tests.
    pub(super) fn info(&self) -> super::IncarnationInfo {
        let counted = self.counted();
        let outstanding = self.outstanding(&counted);
        let away = self.away(&counted);
        super::IncarnationInfo {
            incarnation: self.id.clone(),
            worker_id: self.worker_id.clone(),
            pool_name: self.pool_name.clone(),
            pid: self.pid,
            emitted: self.settled(&counted).saturating_add(outstanding),
            emitted_before: self.base.as_ref().map_or(0, |base| base.emitted),
            received: self.received.saturating_add(counted.received),
            gaps: self.gaps.saturating_add(counted.gaps),
            dropped: self.dropped.clone(),
            lost_at_crash: self.lost,
            away,
            queued: outstanding - away,
            elsewhere: self.elsewhere,
            streaming: self.claimed,
            ended: self.ended,
            complete: self.complete,
            unknown_since_ns: self.unknown_since_ns.or(self.unseen_since_ns()),
            recovered: self.recovered,
            lost_spans: self.lost_spans.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
