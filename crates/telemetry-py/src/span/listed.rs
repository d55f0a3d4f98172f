//! A span's place in the table of open spans, given back when it is dropped.

use std::mem;
use std::sync::Arc;

use telemetry_client::thread_id;
use telemetry_core::{
    SpanContext,
    emit::{OpenSlot, Recorder},
};

use crate::fork;
use crate::incarnation::SpanSites;

/// The place of a span that is under way.
#[derive(Debug)]
pub(super) struct Listed {
    /// Whose table it is.
    recorder: Arc<Recorder>,
    /// Where in it.
    slot: OpenSlot,
    /// [`fork::generation`] of the process that listed it: in a child another span may be there.
    generation: u64,
}

impl Listed {
    /// Lists a span that began at `started`.
    pub(super) fn new(
        recorder: &Arc<Recorder>,
        sites: &SpanSites,
        identity: &SpanContext,
        started: u64,
    ) -> Self {
        let start = sites.start.name().as_str();
        let operation = start.strip_suffix(".start").unwrap_or(start);
        let spans = recorder.open_spans();
        Self {
            slot: spans.open(operation, thread_id(), identity.span_id.get(), started),
            recorder: Arc::clone(recorder),
            generation: fork::generation(),
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let slot = mem::replace(&mut self.slot, OpenSlot::NONE);
        if self.generation != fork::generation() {
            return;
        }
        self.recorder.open_spans().close(slot);
    }
}
