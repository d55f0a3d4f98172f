//! A fresh backend of each kind, under a policy.

use std::sync::Arc;
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::{
    Backend, CompositeBackend, MemoryBackend, NoopBackend, StderrBackend, StreamBackend,
};
use telemetry_client::serve::StreamConfig;
use telemetry_core::{
    ManualClock, ValueRef,
    emit::{PolicySpec, Recorder, RecorderConfig},
    ledger::WorkerSnapshot,
};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Reports nothing as dropped for its value, whatever the backend makes of it.
pub(crate) const NOTHING: &[(&str, ValueRef<'_>)] = &[];

/// Makes a fresh backend under a policy.
pub(crate) type Make = fn(PolicySpec) -> Arc<dyn Backend>;

pub(crate) fn config(policy: PolicySpec) -> RecorderConfig {
    let mut config = RecorderConfig::default();
    config.policy = policy;
    config
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(1_700_000_000_000_000_000))
}

pub(crate) fn recorder(policy: PolicySpec) -> Arc<dyn Backend> {
    Arc::new(Recorder::new(config(policy), clock()).expect("a policy"))
}

pub(crate) fn stream(policy: PolicySpec) -> Arc<dyn Backend> {
    let recorder = Arc::new(Recorder::new(config(policy), clock()).expect("a policy"));
    Arc::new(StreamBackend::mounted(recorder, StreamConfig::default()).0)
}

pub(crate) fn memory(policy: PolicySpec) -> Arc<dyn Backend> {
    Arc::new(MemoryBackend::new(config(policy), clock()).expect("a policy"))
}

pub(crate) fn stderr(policy: PolicySpec) -> Arc<dyn Backend> {
    let output = Box::new(std::io::sink());
    Arc::new(StderrBackend::with_output(config(policy), clock(), output).expect("a policy"))
}

pub(crate) fn composite(policy: PolicySpec) -> Arc<dyn Backend> {
    Arc::new(CompositeBackend::new(vec![
        memory(policy.clone()),
        Arc::new(NoopBackend),
        stream(policy),
    ]))
}

/// The ledger, which is in balance.
pub(crate) fn balanced(telemetry: &Telemetry) -> WorkerSnapshot {
    let ledger = telemetry.ledger();
    ledger.check().expect("balance");
    ledger
}
