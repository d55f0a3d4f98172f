//! What a worker reports of itself, and how its account takes that in.

use std::sync::Arc;
use std::time::Instant;

use telemetry_core::{
    Mistake, is_planted,
    ledger::{Note, WorkerSnapshot},
};

use super::super::book::{Shared, lock};
use super::super::incarnation::News;
use super::super::ledger::LedgerWriter;
use super::super::plausible::Implausible;
use super::{Account, Origin, Standing};

/// A report, as an account takes it in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// The counters.
    pub(crate) snapshot: WorkerSnapshot,
    /// The last sequence sent on this stream before it; `None` from workers of revision 1.
    pub(crate) position: Option<u64>,
    /// Whether the counters were read at rest.
    pub(crate) settled: bool,
    /// Whether it is the last word before an orderly end.
    pub(crate) is_final: bool,
    /// Whether it promises that nothing stays behind.
    pub(crate) written_through: bool,
    /// How many events were read from what it left; of counters that were found there.
    pub(crate) recovered: Option<u64>,
}

impl Account {
    /// Takes in a report.
    ///
    /// # Errors
    ///
    /// [`Implausible`]: nothing that it claims was taken in.
    pub(crate) fn report(
        &mut self,
        said: Said,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) -> Result<(), Implausible> {
        self.assign_by_report(said.snapshot.sent, writer, origin, now_ns);
        let present = match (&self.stream, &self.present) {
            (Some(stream), Some(present)) if stream.standing == Standing::Assigned => {
                Arc::clone(present)
            }
            // Whose it is has to be known first.
            _ => return Ok(()),
        };
        let is_recovered = said.recovered.is_some();
        let taken = self.take_report(said, &present, writer, now_ns);
        match &taken {
            Ok(news) => {
                self.add(news);
                let is_last = is_recovered && is_planted(Mistake::RecoveredTwice);
                if is_last || is_planted(Mistake::ReportTwice) {
                    self.add(news);
                }
            }
            Err(_implausible) => self.notes.add(Note::ImplausibleReport, 1),
        }
        taken.map(drop)
    }

    fn take_report(
        &mut self,
        said: Said,
        present: &Shared,
        writer: &mut LedgerWriter,
        now_ns: i64,
    ) -> Result<News, Implausible> {
        let now = Instant::now();
        let mut incarnation = lock(present);
        incarnation.judge(&said.snapshot, said.position, now)?;
        if !writer.knows_origin() {
            writer.begin_after(said.snapshot.sent);
        }
        let origin = writer.reader().origin();
        if incarnation.is_doubtful(&said.snapshot, origin, now) {
            let claimed = said.snapshot.emitted;
            let counted = writer.snapshot();
            let news = incarnation.report(said.snapshot, &counted, origin, (now, now_ns));
            drop(incarnation);
            self.add(&news);
            return Err(Implausible::of_beginning(claimed));
        }
        let announced = said.position.unwrap_or(said.snapshot.sent);
        if announced > 0 && !writer.announce(announced) {
            return Err(Implausible::of_position(writer.position(), announced));
        }
        let own = if said.settled {
            said.snapshot.difference()
        } else {
            0
        };
        // What is ahead of what it says it sent was never sent.
        let ahead = match announced {
            0 => 0,
            announced => writer.position().saturating_sub(announced),
        };
        self.difference = own.saturating_add(ahead);
        let (counted, origin) = (writer.snapshot(), writer.reader().origin());
        let news = incarnation.report(said.snapshot, &counted, origin, (now, now_ns));
        match said.recovered {
            None => {
                incarnation.is_final = said.is_final;
                incarnation.written_through = said.written_through;
            }
            // It is nobody's word.
            recovered => incarnation.recovered = recovered,
        }
        Ok(news)
    }

    /// Counts that entries of a report were left out.
    pub(crate) fn refuse_entries(&mut self) {
        self.notes.add(Note::ImplausibleReport, 1);
    }
}
