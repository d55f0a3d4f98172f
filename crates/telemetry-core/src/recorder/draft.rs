//! One event while it is encoded field by field, into scratch that its thread keeps.

use super::scratch::Scratch;
use super::{Recorder, Ties};
use crate::callsite::Callsite;
use crate::gate::Outcome;
use crate::ledger::{Note, Reason};
use crate::policy::Threshold;
use crate::value::ValueRef;

/// An event being encoded. Dropped without [`commit`](Self::commit) or [`abandon`](Self::abandon) it
/// counts as `internal_error`.
#[must_use = "an event that is not committed is counted as lost"]
#[derive(Debug)]
pub struct Draft<'a> {
    /// Where it goes.
    recorder: &'a Recorder,
    /// Its name.
    site: &'a Callsite,
    /// Its bytes so far.
    scratch: Scratch,
    /// What it belongs to.
    ties: Ties<'a>,
    /// The threshold that kept it.
    threshold: Threshold,
    /// Measurements so far.
    measurements: usize,
    /// Metadata entries so far.
    metadata: usize,
    /// Wall clock.
    timestamp_ns: i64,
    /// What was wrong with it; nothing is looked at after that.
    failed: Option<Reason>,
    /// Whether it was counted.
    done: bool,
}

impl<'a> Draft<'a> {
    /// Starts an event with the thread's scratch.
    #[inline(always)]
    pub(super) fn start(
        recorder: &'a Recorder,
        site: &'a Callsite,
        threshold: Threshold,
        ties: Ties<'a>,
        timestamp_ns: Option<i64>,
    ) -> Self {
        let timestamp_ns = recorder.timestamp(timestamp_ns);
        let mut scratch = Scratch::take();
        scratch.start(site.event_parts());
        Self {
            recorder,
            site,
            scratch,
            ties,
            threshold,
            measurements: 0,
            metadata: 0,
            timestamp_ns,
            failed: None,
            done: false,
        }
    }

    /// Adds a measurement. A number that is not finite fails the event as `invalid_value`; a text
    /// under a secret key is replaced.
    #[inline]
    pub fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        if self.failed.is_some() {
            return;
        }
        self.measurements += 1;
        if self.measurements > self.recorder.limits.measurements {
            return self.fail(Reason::TooManyFields);
        }
        let put = self
            .recorder
            .put_measurement(&mut self.scratch, key, &value);
        if let Err(reason) = put {
            self.fail(reason);
        }
    }

    /// Adds a metadata entry; a secret value is replaced.
    #[inline]
    pub fn metadata(&mut self, key: &str, value: &str) {
        if self.failed.is_some() {
            return;
        }
        self.metadata += 1;
        if self.metadata > self.recorder.limits.metadata {
            return self.fail(Reason::TooManyFields);
        }
        self.recorder.put_metadata(&mut self.scratch, key, value);
    }

    /// Notes something that happened to the event while it was read from its source.
    pub fn note(&mut self, note: Note) {
        self.recorder.gate.note(note);
    }

    /// Queues the event and counts what became of it.
    #[inline]
    pub fn commit(mut self) -> Outcome {
        self.done = true;
        if let Some(reason) = self.failed {
            return self.recorder.gate.count_dropped(self.site, reason);
        }
        self.recorder.end_event(
            self.site,
            &mut self.scratch,
            self.threshold,
            self.timestamp_ns,
            &self.ties,
        )
    }

    /// Drops the event under `reason`: what it was to carry cannot be had.
    #[cold]
    pub fn abandon(mut self, reason: Reason) -> Outcome {
        self.done = true;
        self.recorder.gate.count_dropped(self.site, reason)
    }

    /// Remembers what was wrong.
    #[cold]
    fn fail(&mut self, reason: Reason) {
        self.failed = Some(reason);
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.recorder
                .gate
                .count_dropped(self.site, Reason::InternalError);
        }
    }
}
