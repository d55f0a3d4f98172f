//! What a stream says of its worker: hello, reports while it lasts, a last one at its end.

use telemetry_core::{ledger::fold_for_closed_reasons, wire::REVISION_WITH_CLOSED_REASONS};
use telemetry_proto::{TelemetryEvent, WorkerReport};
use tonic::Status;

use super::asked::Drain;
use super::{HANDOVER_WAIT, Pump, State, push_message};
use crate::deadline::LONGEST;
use crate::region::RegionKind;

impl Pump {
    /// Our hello and a first report.
    pub(super) fn greet(&mut self) -> Vec<u8> {
        self.greeted = true;
        // What was read when this stream began is old once it was given events.
        let at_begin = self.session.take_first_report();
        self.reported = match at_begin.filter(|_| self.session.position() == 0) {
            Some(report) => self.address(report, false),
            None => self.report(),
        };
        let config = self.sessions.config();
        let region = config.region.as_ref();
        let region = region.map_or(RegionKind::Heap, |region| region.handed());
        let mut hello = config.identity.to_hello(region);
        hello.sent_before = Some(self.session.sent_before());
        hello.given_before = Some(self.sessions.given_before(&self.session));
        if self.session.acknowledges()
            && let Some(resumed) = self.sessions.resume(&self.session)
        {
            let room = self.sessions.recorder().max_retained_bytes();
            hello.retained_from = resumed.retained_from;
            hello.replay_bytes = room as u64;
            hello.missed_before = resumed.missed;
        }
        let mut out = Vec::new();
        push_message(
            &mut out,
            &TelemetryEvent {
                hello: Some(hello),
                ..Default::default()
            },
        );
        push_report(&mut out, self.reported.clone());
        if matches!(self.state, State::Sending) {
            self.restart_timer();
        }
        out
    }

    /// A report, if one is due and says something new.
    pub(super) fn due_report(&mut self) -> Option<Vec<u8>> {
        if !self.greeted || self.now < self.timer {
            return None;
        }
        self.restart_timer();
        let mut out = Vec::new();
        self.report_news(&mut out);
        (!out.is_empty()).then_some(out)
    }

    /// Appends a report if it says something new.
    pub(super) fn report_news(&mut self, out: &mut Vec<u8>) {
        let report = self.report();
        if report != self.reported {
            push_report(out, report.clone());
            self.reported = report;
        }
    }

    /// What a report says now.
    fn report(&self) -> WorkerReport {
        let recorder = self.sessions.recorder();
        // Before and after: whoever gives up in between may not be in it.
        let is_kept = || self.drain == Drain::Promised && recorder.is_written_through();
        let was_kept = is_kept();
        let report = recorder.report();
        self.address(report, was_kept && is_kept())
    }

    /// A reading of the ledger as a report on this stream, in words that its manager knows.
    fn address(&self, mut report: WorkerReport, written_through: bool) -> WorkerReport {
        report.position = Some(self.session.position());
        report.written_through = written_through;
        if self.session.revision() <= REVISION_WITH_CLOSED_REASONS {
            fold_for_closed_reasons(&mut report);
        }
        report
    }

    /// Ends for a newer stream. The last report is the first one of that.
    pub(super) fn give_way(&mut self) -> Option<Vec<u8>> {
        self.end(Status::aborted("replaced by a newer stream"), HANDOVER_WAIT);
        let report = self.session.take_last_report().filter(|_| self.greeted)?;
        let mut out = Vec::new();
        push_report(&mut out, self.address(report, false));
        Some(out)
    }

    /// The report at an orderly end; final if the worker itself ends.
    pub(super) fn last_report(&self) -> Vec<u8> {
        let recorder = self.sessions.recorder();
        let is_final = recorder.is_closed();
        let report = WorkerReport {
            r#final: is_final,
            // Nothing follows it, so it cannot promise that what ends later will.
            ..self.address(recorder.report(), false)
        };
        let mut out = Vec::new();
        push_report(&mut out, report);
        out
    }

    /// Sets the timer to the next report.
    pub(super) fn restart_timer(&mut self) {
        self.timer = self.now + self.sessions.config().report_interval.min(LONGEST);
    }
}

/// Appends a report.
fn push_report(out: &mut Vec<u8>, report: WorkerReport) {
    let message = TelemetryEvent {
        report: Some(report),
        ..Default::default()
    };
    push_message(out, &message);
}
