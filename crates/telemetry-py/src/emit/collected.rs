//! An event on its way to a backend that is a Python object, alone or beside the queue.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use telemetry_core::{
    SpanContext, ValueRef,
    catalog::{Limits, REDACTED, Redactor, truncate},
    emit::{Draft, Recorder},
    ledger::{Note, Reason},
};

use crate::fields::Entries;
use crate::state::State;

/// The contents of an event as fresh dicts for a Python backend, limited and redacted as on the wire.
pub(super) struct Collected<'py, 'r> {
    /// Numbers and texts.
    pub(super) measurements: Bound<'py, PyDict>,
    /// Texts.
    pub(super) metadata: Bound<'py, PyDict>,
    /// The span it belongs to.
    pub(super) span: Option<SpanContext>,
    /// Where notes are counted.
    recorder: &'r Recorder,
    /// How long texts may be.
    pub(super) limits: Limits,
    /// Which values are hidden.
    redactor: &'r Redactor,
    /// What is wrong with the event as a whole.
    pub(super) failed: Option<Reason>,
    /// Whether the queue gets the same, where all that is to be noted is noted.
    pub(super) is_copy: bool,
}

impl<'py, 'r> Collected<'py, 'r> {
    /// Two empty dicts.
    pub(super) fn new(py: Python<'py>, state: &'r State, span: Option<SpanContext>) -> Self {
        Self {
            measurements: PyDict::new(py),
            metadata: PyDict::new(py),
            span,
            recorder: &state.incarnation.recorder,
            limits: Limits::default(),
            redactor: &state.incarnation.redactor,
            failed: None,
            is_copy: false,
        }
    }

    /// Cuts a text to its limit and notes it.
    pub(super) fn cut<'t>(&self, text: &'t str, max_bytes: usize) -> &'t str {
        if text.len() <= max_bytes {
            return text;
        }
        self.count(Note::Truncated);
        truncate(text, max_bytes)
    }

    /// Counts what happened to a value.
    fn count(&self, note: Note) {
        if !self.is_copy {
            self.recorder.gate().note(note);
        }
    }

    /// Stores an entry. It can fail for want of memory only, and then the entry is missing.
    fn store<'v>(dict: &Bound<'py, PyDict>, key: &str, value: impl IntoPyObject<'py> + 'v) {
        let _stored = dict.set_item(key, value);
    }
}

impl Entries for Collected<'_, '_> {
    fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        if self.measurements.len() >= self.limits.measurements {
            self.failed = Some(Reason::TooManyFields);
            return;
        }
        let key = self.cut(key, self.limits.key_bytes);
        match value {
            ValueRef::Int(int) => Self::store(&self.measurements, key, int),
            ValueRef::Float(float) => Self::store(&self.measurements, key, float),
            ValueRef::Str(text) => {
                Self::store(
                    &self.measurements,
                    key,
                    self.cut(text, self.limits.value_bytes),
                );
            }
        }
    }

    fn metadata(&mut self, key: &str, value: &str) {
        if self.metadata.len() >= self.limits.metadata {
            self.failed = Some(Reason::TooManyFields);
            return;
        }
        let key = self.cut(key, self.limits.key_bytes);
        let value = if self.redactor.is_secret(key) {
            self.count(Note::Redacted);
            REDACTED
        } else {
            self.cut(value, self.limits.value_bytes)
        };
        Self::store(&self.metadata, key, value);
    }

    fn note(&mut self, note: Note) {
        self.count(note);
    }
}

/// An event that goes into the queue and to an object: its values are read once.
pub(super) struct Both<'a, 'd, 'py, 'r>(
    pub(super) &'a mut Draft<'d>,
    pub(super) &'a mut Collected<'py, 'r>,
);

impl Entries for Both<'_, '_, '_, '_> {
    fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        self.0.measurement(key, value);
        self.1.measurement(key, value);
    }

    fn metadata(&mut self, key: &str, value: &str) {
        self.0.metadata(key, value);
        self.1.metadata(key, value);
    }

    fn note(&mut self, note: Note) {
        self.0.note(note);
    }
}
