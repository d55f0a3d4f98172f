//! What the program around the manager tells about itself, in typed form.
//!
//! The catalog has events that only the host program can know of: its sessions, its queue, its
//! circuit breakers. Each has a method here, so that a host emits it with the right keys and units
//! and without a string to misspell. This room knows the catalog's host events and the dispatcher;
//! it keeps no state but what a guard needs to end.

mod call;
mod grpc_service;
mod machine;
mod resilience;
mod session;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{Source, ValueRef, catalog::Sanitizer};

use crate::dispatch::Dispatcher;

pub use call::{GrpcCall, PythonException, PythonExceptionEvents};
pub use grpc_service::{ObservedBody, ObservedGrpc};
pub use machine::{Buffer, HardwareEvents, HardwareStep, ScriptShutdown, ZeroCopyEvents};
pub use resilience::{CircuitBreakerEvents, HeartbeatEvents, RetryEvents};
pub use session::{QueueContext, QueueEvents, SessionEvents, SessionStoreEvents};

#[doc(no_inline)]
pub use {::http, http_body, tower_service};

/// Most metadata entries that a helper gives.
const MAX_METADATA: usize = 4;

/// Emits the events of the host program into a dispatcher.
///
/// Cheap to clone; a clone may be narrowed to one pool or worker, which its events then name. Every
/// method calls the attached handlers on the calling thread, as any dispatch does, and none can
/// fail.
///
/// ```no_run
/// # fn show(host: &telemetry_server::host::Host) {
/// host.session().created("s-1");
/// let call = host.in_pool("gpu").for_worker("gpu-3").grpc_call("Execute", "c-42");
/// // … the call …
/// call.finish("OK", None);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    /// Where the events go, and the clocks they are measured with.
    dispatcher: Dispatcher,
    /// Our node, and the pool and worker the events are about.
    source: Source,
    /// For what comes from a worker through the host, such as the message of an error.
    sanitizer: Arc<Sanitizer>,
}

impl Host {
    /// A host that emits into `dispatcher` and measures with its clock.
    #[must_use]
    pub fn new(dispatcher: &Dispatcher) -> Self {
        Self {
            dispatcher: dispatcher.clone(),
            source: dispatcher.own_source().clone(),
            sanitizer: Arc::default(),
        }
    }

    /// The same host, speaking of one pool: events carry `pool_name`.
    #[must_use]
    pub fn in_pool(&self, pool_name: &str) -> Self {
        let mut narrowed = self.clone();
        narrowed.source.pool_name = Some(pool_name.into());
        narrowed
    }

    /// The same host, speaking of one worker: events carry `worker_id`.
    #[must_use]
    pub fn for_worker(&self, worker_id: &str) -> Self {
        let mut narrowed = self.clone();
        narrowed.source.worker_id = Some(worker_id.into());
        narrowed
    }

    /// Commands that wait for a free worker.
    pub fn queue(&self) -> QueueEvents<'_> {
        QueueEvents(self)
    }

    /// Sessions and the workers they are bound to.
    pub fn session(&self) -> SessionEvents<'_> {
        SessionEvents(self)
    }

    /// The store of sessions and their programs.
    pub fn session_store(&self) -> SessionStoreEvents<'_> {
        SessionStoreEvents(self)
    }

    /// Python exceptions translated into errors of the host.
    pub fn python_exception(&self) -> PythonExceptionEvents<'_> {
        PythonExceptionEvents(self)
    }

    /// Begins a call to a worker: emits `grpc.call.start`; the guard emits how it ended.
    ///
    /// `rpc_method` is the method's name, such as `ExecuteTool`. An empty `correlation_id` means
    /// none.
    pub fn grpc_call(&self, rpc_method: &str, correlation_id: &str) -> GrpcCall {
        GrpcCall::begin(self.clone(), rpc_method, correlation_id)
    }

    /// A gRPC client service whose calls emit `grpc.call.*`; goes where the HTTP client of a tonic
    /// stub goes, also as a tower layer: `layer_fn(move |inner| host.observe_grpc(inner))`.
    pub fn observe_grpc<S>(&self, service: S) -> ObservedGrpc<S> {
        ObservedGrpc::new(self.clone(), service)
    }

    /// Heartbeats of workers.
    pub fn heartbeat(&self) -> HeartbeatEvents<'_> {
        HeartbeatEvents(self)
    }

    /// A circuit breaker and the calls behind it.
    pub fn circuit_breaker(&self) -> CircuitBreakerEvents<'_> {
        CircuitBreakerEvents(self)
    }

    /// Retries of `operation`.
    pub fn retry<'h>(&'h self, operation: &'h str) -> RetryEvents<'h> {
        RetryEvents {
            host: self,
            operation,
        }
    }

    /// Begins the shutdown of a script: emits `script.shutdown.start`; the guard emits the rest.
    pub fn script_shutdown(&self, reason: &str) -> ScriptShutdown {
        ScriptShutdown::begin(self.clone(), reason)
    }

    /// Buffers shared with workers.
    pub fn zero_copy(&self) -> ZeroCopyEvents<'_> {
        ZeroCopyEvents(self)
    }

    /// Accelerators: finding and choosing them.
    pub fn hardware(&self) -> HardwareEvents<'_> {
        HardwareEvents(self)
    }

    /// Emits one event. Metadata without a value, or with an empty one, is left out.
    fn emit(
        &self,
        name: &str,
        measurements: &[(&str, ValueRef<'_>)],
        metadata: &[(&str, Option<&str>)],
    ) {
        debug_assert!(
            metadata.len() <= MAX_METADATA,
            "{name} has too much metadata"
        );
        let mut texts = [const { Cow::Borrowed("") }; MAX_METADATA];
        for (text, (key, value)) in texts.iter_mut().zip(metadata) {
            *text = self.sanitizer.value(key, value.unwrap_or_default()).text;
        }
        let mut given = [("", ""); MAX_METADATA];
        let mut count = 0;
        for ((key, _), text) in metadata
            .iter()
            .zip(&texts)
            .filter(|(_, text)| !text.is_empty())
        {
            given[count] = (key, text);
            count += 1;
        }
        let emitted = self
            .dispatcher
            .emit_for(&self.source, name, measurements, &given[..count]);
        if let Err(error) = emitted {
            // Only a catalog without the built-in events can refuse.
            tracing::debug!(%error, "event of the host was not dispatched");
        }
    }

    /// The measurement `system_time`: now, in Unix nanoseconds.
    fn system_time(&self) -> (&'static str, ValueRef<'static>) {
        (
            "system_time",
            ValueRef::Int(self.dispatcher.clock().unix_nanos()),
        )
    }

    /// A point on the monotonic clock, for [`since`](Self::since).
    fn now(&self) -> u64 {
        self.dispatcher.clock().monotonic_nanos()
    }

    /// The measurement `duration` from `start` until now, in nanoseconds.
    fn since(&self, start: u64) -> (&'static str, ValueRef<'static>) {
        ("duration", self.now().saturating_sub(start).into())
    }
}

/// One occurrence: the measurement `count` of events that are only counted.
const ONCE: (&str, ValueRef<'static>) = ("count", ValueRef::Int(1));

/// A span of time as the measurement `key`.
fn nanos(key: &'static str, span: Duration) -> (&'static str, ValueRef<'static>) {
    (key, ValueRef::nanos(span))
}

#[cfg(test)]
mod tests;
