//! Calls from the host to its workers, and the exceptions that come back.
//!
//! A call is a guard: whatever happens to the future that holds it, its end is told exactly once.

use std::thread;
use std::time::Duration;

use super::{Host, ONCE, nanos};

/// A call to a worker under way; from [`Host::grpc_call`].
///
/// Ends with [`finish`](Self::finish) or [`fail`](Self::fail). Dropped before, as when its future
/// is cancelled or panics, it ends as `grpc.call.exception` with the status `CANCELLED`.
#[derive(Debug)]
#[must_use = "dropping the guard tells that the call was abandoned"]
pub struct GrpcCall {
    host: Host,
    rpc_method: Box<str>,
    correlation_id: Box<str>,
    /// Monotonic clock when the call began.
    start: u64,
    /// Set once the end has been told.
    ended: bool,
}

impl GrpcCall {
    pub(super) fn begin(host: Host, rpc_method: &str, correlation_id: &str) -> Self {
        host.emit(
            "snakepit.grpc.call.start",
            &[host.system_time()],
            &[
                ("rpc_method", Some(rpc_method)),
                ("correlation_id", Some(correlation_id)),
            ],
        );
        let start = host.now();
        let (rpc_method, correlation_id) = (rpc_method.into(), correlation_id.into());
        Self {
            host,
            rpc_method,
            correlation_id,
            start,
            ended: false,
        }
    }

    /// The call was answered. `grpc_status` is the name of the status code, `OK` as a rule;
    /// `network_time` is what of the duration was spent outside the worker, where known.
    pub fn finish(mut self, grpc_status: &str, network_time: Option<Duration>) {
        self.ended = true;
        let duration = self.host.since(self.start);
        let both = [
            duration,
            nanos("network_time", network_time.unwrap_or_default()),
        ];
        let measurements = if network_time.is_some() {
            &both[..]
        } else {
            &both[..1]
        };
        self.tell("snakepit.grpc.call.stop", measurements, grpc_status, None);
    }

    /// The call failed. `grpc_status` is the name of the status code, such as `UNAVAILABLE`.
    pub fn fail(mut self, grpc_status: &str, error_message: &str) {
        self.end_with_exception(grpc_status, error_message);
    }

    fn end_with_exception(&mut self, grpc_status: &str, error_message: &str) {
        self.ended = true;
        let duration = [self.host.since(self.start)];
        self.tell(
            "snakepit.grpc.call.exception",
            &duration,
            grpc_status,
            Some(error_message),
        );
    }

    fn tell(
        &self,
        name: &str,
        measurements: &[(&str, telemetry_core::ValueRef<'_>)],
        grpc_status: &str,
        error_message: Option<&str>,
    ) {
        let metadata = [
            ("rpc_method", Some(&*self.rpc_method)),
            ("correlation_id", Some(&*self.correlation_id)),
            ("grpc_status", Some(grpc_status)),
            ("error_message", error_message),
        ];
        self.host.emit(name, measurements, &metadata);
    }
}

impl Drop for GrpcCall {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let why = if thread::panicking() {
            "the call was abandoned by a panic"
        } else {
            "the call was abandoned"
        };
        self.end_with_exception("CANCELLED", why);
    }
}

/// A Python exception as the host saw it. Empty text means not known.
#[derive(Clone, Copy, Default, Debug)]
pub struct PythonException<'a> {
    /// What the host calls the error.
    pub error_type: &'a str,
    /// The class in Python, such as `torch.cuda.OutOfMemoryError`.
    pub python_type: &'a str,
    /// The library it came from.
    pub library: &'a str,
    /// The function that raised it.
    pub function: &'a str,
}

/// Events of translated exceptions; from [`Host::python_exception`].
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct PythonExceptionEvents<'h>(pub(super) &'h Host);

impl PythonExceptionEvents<'_> {
    /// The exception became an error type of the host.
    pub fn mapped(&self, exception: &PythonException<'_>) {
        self.count("snakepit.python.exception.mapped", exception);
    }

    /// The host has no error type for the exception.
    pub fn unmapped(&self, exception: &PythonException<'_>) {
        self.count("snakepit.python.exception.unmapped", exception);
    }

    fn count(&self, name: &str, exception: &PythonException<'_>) {
        let metadata = [
            ("error_type", Some(exception.error_type)),
            ("python_type", Some(exception.python_type)),
            ("library", Some(exception.library)),
            ("function", Some(exception.function)),
        ];
        self.0.emit(name, &[ONCE], &metadata);
    }
}
