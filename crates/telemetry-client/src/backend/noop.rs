//! The backend of a worker without telemetry: takes nothing, counts nothing, costs nothing.

use std::time::Duration;

use telemetry_core::{
    Outcome,
    catalog::NameError,
    emit::{Fields, Ties},
    ledger::WorkerSnapshot,
    wire::{Control, ControlError},
};

use super::{Backend, Draw, Site, SpanFate, SpanSites};

/// Emits nothing and counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopBackend;

impl Backend for NoopBackend {
    fn resolve(&self, _name: &str) -> Result<Site, NameError> {
        Ok(Site::Nowhere)
    }

    fn record(&self, _site: &Site, _draw: Draw<'_>, _fields: &Fields<'_>) -> Outcome {
        Outcome::Off
    }

    fn decide(&self, _sites: &SpanSites, _ties: &Ties<'_>) -> Option<SpanFate> {
        None
    }

    fn apply(&self, _control: &Control) -> Result<(), ControlError> {
        Ok(())
    }

    fn flush(&self, _timeout: Duration) -> bool {
        true
    }

    fn shutdown(&self, _timeout: Duration) -> WorkerSnapshot {
        WorkerSnapshot::default()
    }

    fn ledger(&self) -> WorkerSnapshot {
        WorkerSnapshot::default()
    }
}
