//! One event whose fields are all at hand, and what of any field may be sent.

use super::Recorder;
use super::scratch::Scratch;
use crate::callsite::Callsite;
use crate::codec::{EventEncoder, MAX_SEQUENCE_BYTES};
use crate::correlation::SpanContext;
use crate::gate::Outcome;
use crate::ledger::{Note, Reason};
use crate::policy::Threshold;
use crate::sanitize::{REDACTED, truncate};
use crate::value::ValueRef;

/// What one event carries beside its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// Measurements by key.
    pub measurements: &'a [(&'a str, ValueRef<'a>)],
    /// Metadata by key.
    pub metadata: &'a [(&'a str, &'a str)],
    /// Ties events together; may be empty.
    pub correlation_id: &'a str,
    /// The span it begins, ends or happened in.
    pub span: Option<SpanContext>,
    /// Wall clock in Unix nanoseconds; `None` is now.
    pub timestamp_ns: Option<i64>,
}

/// What an event belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ties<'a> {
    /// Ties events together; may be empty.
    pub correlation_id: &'a str,
    /// The span it begins, ends or happened in.
    pub span: Option<SpanContext>,
}

impl<'a> Ties<'a> {
    /// Of an event outside of spans.
    #[must_use]
    pub const fn of_id(correlation_id: &'a str) -> Self {
        Self {
            correlation_id,
            span: None,
        }
    }
}

impl Recorder {
    /// Encodes and queues an event that passed the gate, or counts what was wrong with it.
    #[inline(always)]
    pub(super) fn record_kept(
        &self,
        site: &Callsite,
        threshold: Threshold,
        fields: &Fields<'_>,
    ) -> Outcome {
        let timestamp_ns = self.timestamp(fields.timestamp_ns);
        if fields.measurements.len() > self.limits.measurements
            || fields.metadata.len() > self.limits.metadata
        {
            return self.gate.count_dropped(site, Reason::TooManyFields);
        }
        let mut event = Scratch::take();
        event.start(site.event_parts());
        for (key, value) in fields.measurements {
            if let Err(reason) = self.put_measurement(&mut event, key, value) {
                return self.gate.count_dropped(site, reason);
            }
        }
        for (key, value) in fields.metadata {
            self.put_metadata(&mut event, key, value);
        }
        let ties = Ties {
            correlation_id: fields.correlation_id,
            span: fields.span,
        };
        self.end_event(site, &mut event, threshold, timestamp_ns, &ties)
    }

    /// The wall clock of an event.
    ///
    /// To be read before anything is written: after the last field it costs twice as much.
    #[inline(always)]
    pub(super) fn timestamp(&self, given: Option<i64>) -> i64 {
        given.unwrap_or_else(|| self.clock.unix_nanos())
    }

    /// Writes what every event has and queues it, unless it is too long.
    #[inline(always)]
    pub(super) fn end_event(
        &self,
        site: &Callsite,
        event: &mut EventEncoder,
        threshold: Threshold,
        timestamp_ns: i64,
        ties: &Ties<'_>,
    ) -> Outcome {
        let correlation_id = self.cut(ties.correlation_id, self.limits.correlation_id_bytes);
        event.finish(timestamp_ns, correlation_id, threshold.rate());
        if let Some(span) = &ties.span {
            event.span(span);
        }
        // The sequence follows when the event is sent, and counts as well.
        if event.bytes().len() + MAX_SEQUENCE_BYTES > self.limits.event_bytes {
            return self.gate.count_dropped(site, Reason::Oversize);
        }
        self.push(site, event.bytes())
    }

    /// Writes a measurement within the limits; a text under a key that is named like a secret is
    /// replaced. The value is looked at where it lies: it was often just put there in pieces, for
    /// which a copy of the whole would wait.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidValue`] for a number that is not finite.
    #[inline(always)]
    pub(super) fn put_measurement(
        &self,
        event: &mut EventEncoder,
        key: &str,
        value: &ValueRef<'_>,
    ) -> Result<(), Reason> {
        match value {
            ValueRef::Int(number) => event.int(self.fit_key(key), *number),
            ValueRef::Float(number) if number.is_finite() => {
                event.float(self.fit_key(key), *number);
            }
            ValueRef::Float(_) => return Err(Reason::InvalidValue),
            ValueRef::Str(text) => event.text(self.fit_key(key), self.fit_text(key, text)),
        }
        Ok(())
    }

    /// Writes a metadata entry within the limits, its value replaced if the key is named like a
    /// secret.
    #[inline(always)]
    pub(super) fn put_metadata(&self, event: &mut EventEncoder, key: &str, value: &str) {
        event.metadata(self.fit_key(key), self.fit_text(key, value));
    }

    /// A key within the limits.
    #[inline(always)]
    fn fit_key<'t>(&self, key: &'t str) -> &'t str {
        self.cut(key, self.limits.key_bytes)
    }

    /// The text to send under `key`, which is judged whole: what makes it secret may be what is
    /// cut off.
    #[inline(always)]
    fn fit_text<'t>(&self, key: &str, text: &'t str) -> &'t str {
        let max_bytes = self.limits.value_bytes;
        if self.redactor.is_secret(key) {
            self.gate.note(Note::Redacted);
            return truncate(REDACTED, max_bytes);
        }
        self.cut(text, max_bytes)
    }

    /// A text within its limit.
    #[inline(always)]
    fn cut<'t>(&self, text: &'t str, max_bytes: usize) -> &'t str {
        if text.len() <= max_bytes {
            return text;
        }
        self.cut_off(text, max_bytes)
    }

    /// Cuts a text to its limit and notes it.
    #[cold]
    fn cut_off<'t>(&self, text: &'t str, max_bytes: usize) -> &'t str {
        self.gate.note(Note::Truncated);
        truncate(text, max_bytes)
    }
}
