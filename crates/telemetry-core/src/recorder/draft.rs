//! One event while it is encoded field by field, into scratch that its thread keeps.

use super::scratch::Scratch;
use super::{Fields, Recorder};
use crate::callsite::Callsite;
use crate::gate::Outcome;
use crate::ledger::{Note, Reason};
use crate::policy::Threshold;
use crate::sanitize::{REDACTED, truncate};
use crate::value::ValueRef;
use crate::wire::MAX_SEQUENCE_BYTES;

/// An event being encoded. Dropped without [`commit`](Self::commit) it counts as `internal_error`.
#[must_use = "an event that is not committed is counted as lost"]
#[derive(Debug)]
pub struct Draft<'a> {
    /// Where it goes.
    recorder: &'a Recorder,
    /// Its name.
    site: &'a Callsite,
    /// Its bytes so far.
    scratch: Scratch,
    /// Its correlation id.
    correlation_id: &'a str,
    /// Probability with which it was kept.
    sampling_rate: f64,
    /// Measurements so far.
    measurements: usize,
    /// Metadata entries so far.
    metadata: usize,
    /// Wall clock, if not now.
    timestamp_ns: Option<i64>,
    /// The first thing that was wrong with it.
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
        correlation_id: &'a str,
    ) -> Self {
        let mut scratch = Scratch::take();
        scratch.start(site.event_parts());
        Self {
            recorder,
            site,
            scratch,
            correlation_id,
            sampling_rate: threshold.rate(),
            measurements: 0,
            metadata: 0,
            timestamp_ns: None,
            failed: None,
            done: false,
        }
    }

    /// Adds a measurement. A number that is not finite fails the event as `invalid_value`; a text
    /// under a secret key is replaced.
    #[inline]
    pub fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        self.measurements += 1;
        if self.measurements > self.recorder.limits.measurements {
            return self.fail(Reason::TooManyFields);
        }
        self.put_measurement(key, value);
    }

    #[inline]
    fn put_measurement(&mut self, key: &str, value: ValueRef<'_>) {
        let value = match value {
            ValueRef::Int(_) => value,
            ValueRef::Float(float) if !float.is_finite() => {
                return self.fail(Reason::InvalidValue);
            }
            ValueRef::Str(text) => ValueRef::Str(self.text(key, text)),
            ValueRef::Float(_) => value,
        };
        let key = self.cut(key, self.recorder.limits.key_bytes);
        self.scratch.measurement(key, value);
    }

    /// Adds a metadata entry; a secret value is replaced.
    #[inline]
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.metadata += 1;
        if self.metadata > self.recorder.limits.metadata {
            return self.fail(Reason::TooManyFields);
        }
        self.put_metadata(key, value);
    }

    #[inline]
    fn put_metadata(&mut self, key: &str, value: &str) {
        let value = self.text(key, value);
        let key = self.cut(key, self.recorder.limits.key_bytes);
        self.scratch.metadata(key, value);
    }

    /// Sets the wall clock, Unix nanoseconds, if it is not now.
    pub fn timestamp_ns(&mut self, timestamp_ns: i64) {
        self.timestamp_ns = Some(timestamp_ns);
    }

    /// Notes something that happened to the event while it was read from its source.
    pub fn note(&mut self, note: Note) {
        self.recorder.gate.note(note);
    }

    /// Queues the event and counts what became of it.
    #[inline]
    pub fn commit(mut self) -> Outcome {
        self.end()
    }

    /// [`commit`](Self::commit) without moving the draft, which was just written and would have to
    /// be read back first.
    #[inline]
    fn end(&mut self) -> Outcome {
        self.done = true;
        if let Some(reason) = self.failed {
            return self.recorder.gate.count_dropped(self.site, reason);
        }
        let timestamp_ns = self
            .timestamp_ns
            .unwrap_or_else(|| self.recorder.clock.unix_nanos());
        let limits = &self.recorder.limits;
        let correlation_id = self.cut(self.correlation_id, limits.correlation_id_bytes);
        self.scratch
            .finish(timestamp_ns, correlation_id, self.sampling_rate);
        // The sequence follows when the event is sent, and counts as well.
        if self.scratch.bytes().len() + MAX_SEQUENCE_BYTES > limits.event_bytes {
            return self
                .recorder
                .gate
                .count_dropped(self.site, Reason::Oversize);
        }
        self.recorder.push(self.site, self.scratch.bytes())
    }

    /// Adds everything and ends the event as [`commit`](Self::commit) does.
    #[inline]
    pub(super) fn fill(&mut self, fields: &Fields<'_>) -> Outcome {
        let limits = &self.recorder.limits;
        if fields.measurements.len() > limits.measurements
            || fields.metadata.len() > limits.metadata
        {
            self.fail(Reason::TooManyFields);
            return self.end();
        }
        for (key, value) in fields.measurements {
            self.put_measurement(key, *value);
        }
        for (key, value) in fields.metadata {
            self.put_metadata(key, value);
        }
        self.timestamp_ns = fields.timestamp_ns;
        self.end()
    }

    /// The text to send under `key`, which is judged whole: what makes it secret may be what is
    /// cut off.
    #[inline]
    fn text<'t>(&self, key: &str, text: &'t str) -> &'t str {
        let max_bytes = self.recorder.limits.value_bytes;
        if self.recorder.redactor.is_secret(key) {
            self.recorder.gate.note(Note::Redacted);
            return truncate(REDACTED, max_bytes);
        }
        self.cut(text, max_bytes)
    }

    /// Remembers the first thing that was wrong.
    #[cold]
    fn fail(&mut self, reason: Reason) {
        self.failed.get_or_insert(reason);
    }

    /// Cuts a text to its limit and notes it.
    #[cold]
    fn cut_off<'t>(&self, text: &'t str, max_bytes: usize) -> &'t str {
        self.recorder.gate.note(Note::Truncated);
        truncate(text, max_bytes)
    }

    /// A text within its limit.
    #[inline]
    fn cut<'t>(&self, text: &'t str, max_bytes: usize) -> &'t str {
        if text.len() <= max_bytes {
            return text;
        }
        self.cut_off(text, max_bytes)
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
