//! What a report adds to an incarnation: judged, based, and taken in as a difference.

use std::time::Instant;

use telemetry_core::ledger::{Counts, Notes, StreamSnapshot, WorkerSnapshot};

use super::super::plausible::{Implausible, allowance, is_consistent, is_plausible};
use super::{Base, Incarnation, News, Parting};

impl Incarnation {
    /// Whether a report can be true, before anything of it is taken in.
    pub(in super::super) fn judge(
        &self,
        report: &WorkerSnapshot,
        position: Option<u64>,
        now: Instant,
    ) -> Result<(), Implausible> {
        is_consistent(report, position)?;
        match (&self.first, &self.last) {
            (Some(first), Some(last)) => {
                let known_for = now.saturating_duration_since(self.seen);
                is_plausible(first, last, report, known_for)
            }
            _ => Ok(()),
        }
    }

    /// Whether a first report has more behind it than can be in a life that began with us. What it
    /// announces is not to be believed either.
    pub(in super::super) fn is_doubtful(
        &self,
        report: &WorkerSnapshot,
        origin: u64,
        now: Instant,
    ) -> bool {
        let began_here = self.first_origin.unwrap_or(origin) == 0;
        let most = allowance(now.saturating_duration_since(self.seen));
        let believable = report.emitted <= most && report.notes.total() <= most;
        self.last.is_none() && began_here && !believable
    }

    /// Takes in a report that was judged. `counted` is what the stream has counted behind `origin`,
    /// after what the report announced. Returns what it adds to the sums; of a doubtful one that is
    /// nothing that it claims, and the next reports count from there.
    pub(in super::super) fn report(
        &mut self,
        report: WorkerSnapshot,
        counted: &StreamSnapshot,
        origin: u64,
        (now, now_ns): (Instant, i64),
    ) -> News {
        let doubtful = self.is_doubtful(&report, origin, now);
        let began_here = *self.first_origin.get_or_insert(origin) == 0;
        let mut news = News::default();
        let was_elsewhere = match self.parting {
            _ if self.was_elsewhere => true,
            Parting::Cut => false,
            // Nobody got anything meanwhile.
            Parting::Left => origin > self.position,
            Parting::Replaced => true,
        };
        self.was_elsewhere = false;
        if was_elsewhere || (self.last.is_none() && (!began_here || doubtful)) {
            self.rebase(&report, counted, origin);
        }
        self.parting = Parting::Cut;
        self.said_ns = now_ns;
        let base = self.base.clone().unwrap_or_default();
        for (reason, count) in minus(&report.dropped, &base.dropped).iter() {
            let more = count.saturating_sub(self.dropped.get(reason));
            news.reported.dropped.add(reason, more);
        }
        self.dropped.merge(&news.reported.dropped);
        for (note, count) in minus_notes(&report.notes, &base.notes).iter() {
            let more = count.saturating_sub(self.notes.get(note));
            news.reported.notes.add(note, more);
        }
        self.notes.merge(&news.reported.notes);
        self.said_emitted = report.emitted.saturating_sub(base.emitted);
        self.said_sent = report.sent.saturating_sub(base.sent);
        self.book(counted, &mut news.reported);
        self.first.get_or_insert_with(|| report.clone());
        self.last = Some(report);
        news
    }

    /// Sets what its counters had reached before they counted for us. What still waits in its queue
    /// arrives here and is ours.
    fn rebase(&mut self, report: &WorkerSnapshot, counted: &StreamSnapshot, origin: u64) {
        if self.parting != Parting::Cut {
            let passed = origin.saturating_sub(self.position);
            self.elsewhere = self.elsewhere.saturating_add(passed);
        }
        self.position = self.position.max(origin);
        // Of what it sent behind the origin some may have gone with a stream that said nothing.
        let reached = origin.saturating_add(counted.highest_sequence);
        let missing = report.sent.saturating_sub(reached);
        let sent = self.settled_sent(counted).saturating_add(missing);
        let ours = self
            .settled(counted)
            .saturating_add(missing)
            .saturating_add(report.queued);
        self.base = Some(Base {
            emitted: report.emitted.saturating_sub(ours),
            sent: report.sent.saturating_sub(sent),
            dropped: minus(&report.dropped, &self.dropped),
            notes: minus_notes(&report.notes, &self.notes),
        });
    }
}

fn minus(counts: &Counts, base: &Counts) -> Counts {
    let mut rest = Counts::default();
    for (reason, count) in counts.iter() {
        rest.set(reason, count.saturating_sub(base.get(reason)));
    }
    rest
}

fn minus_notes(notes: &Notes, base: &Notes) -> Notes {
    let mut rest = Notes::default();
    for (note, count) in notes.iter() {
        rest.set(note, count.saturating_sub(base.get(note)));
    }
    rest
}
