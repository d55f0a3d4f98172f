//! What a host does against failing workers: heartbeats, circuit breakers, retries.
//!
//! Thin: a method per event, nothing remembered. The policies themselves are the host's.

use std::time::Duration;

use telemetry_core::ValueRef;

use super::{Host, ONCE, nanos};

/// Events of heartbeats; from [`Host::heartbeat`], best narrowed by [`Host::for_worker`].
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct HeartbeatEvents<'h>(pub(super) &'h Host);

impl HeartbeatEvents<'_> {
    /// The worker's heartbeat is being watched.
    pub fn monitor_started(&self) {
        self.0
            .emit("snakepit.heartbeat.monitor_started", &[ONCE], &[]);
    }

    /// The worker's heartbeat is no longer watched.
    pub fn monitor_stopped(&self, reason: &str) {
        self.0.emit(
            "snakepit.heartbeat.monitor_stopped",
            &[ONCE],
            &[("reason", Some(reason))],
        );
    }

    /// Too many heartbeats in a row failed: `failures` of them.
    pub fn monitor_failure(&self, failures: u64, failure_reason: &str) {
        self.0.emit(
            "snakepit.heartbeat.monitor_failure",
            &[("count", failures.into())],
            &[("failure_reason", Some(failure_reason))],
        );
    }

    /// A ping went out.
    pub fn ping_sent(&self) {
        self.0.emit("snakepit.heartbeat.ping_sent", &[ONCE], &[]);
    }

    /// A ping was answered after `latency`.
    pub fn pong_received(&self, latency: Duration) {
        let latency_ms = ("latency_ms", ValueRef::Float(latency.as_secs_f64() * 1e3));
        self.0
            .emit("snakepit.heartbeat.pong_received", &[ONCE, latency_ms], &[]);
    }

    /// A ping was not answered in time; it is the `missed`-th in a row.
    pub fn timeout(&self, missed: u64) {
        self.0.emit(
            "snakepit.heartbeat.heartbeat_timeout",
            &[("count", missed.into())],
            &[("failure_reason", Some("timeout"))],
        );
    }
}

/// Events of a circuit breaker; from [`Host::circuit_breaker`].
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct CircuitBreakerEvents<'h>(pub(super) &'h Host);

impl CircuitBreakerEvents<'_> {
    /// The breaker opened: calls are refused.
    pub fn opened(&self, reason: &str) {
        self.0.emit(
            "snakepit.circuit_breaker.opened",
            &[ONCE],
            &[("reason", Some(reason))],
        );
    }

    /// The breaker closed after it was not closed for `lasted`.
    pub fn closed(&self, lasted: Duration) {
        let measurements = [ONCE, nanos("duration", lasted)];
        self.0
            .emit("snakepit.circuit_breaker.closed", &measurements, &[]);
    }

    /// The breaker was open for `lasted` and now lets a trial call pass.
    pub fn half_open(&self, lasted: Duration) {
        let measurements = [ONCE, nanos("duration", lasted)];
        self.0
            .emit("snakepit.circuit_breaker.half_open", &measurements, &[]);
    }

    /// A call may pass.
    pub fn call_allowed(&self) {
        self.0
            .emit("snakepit.circuit_breaker.call.allowed", &[ONCE], &[]);
    }

    /// A call was refused.
    pub fn call_rejected(&self, reason: &str) {
        let metadata = [("reason", Some(reason))];
        self.0
            .emit("snakepit.circuit_breaker.call.rejected", &[ONCE], &metadata);
    }

    /// A call succeeded after `took`.
    pub fn call_succeeded(&self, took: Duration) {
        let measurements = [ONCE, nanos("duration", took)];
        self.0
            .emit("snakepit.circuit_breaker.call.success", &measurements, &[]);
    }

    /// A call failed after `took`.
    pub fn call_failed(&self, took: Duration, reason: &str) {
        self.0.emit(
            "snakepit.circuit_breaker.call.failure",
            &[ONCE, nanos("duration", took)],
            &[("reason", Some(reason))],
        );
    }
}

/// Events of retries of one operation; from [`Host::retry`].
///
/// `retries` is the number of retries so far: 1 when the operation is tried the second time.
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct RetryEvents<'h> {
    pub(super) host: &'h Host,
    pub(super) operation: &'h str,
}

impl RetryEvents<'_> {
    /// The operation is being tried again because of `reason`.
    pub fn attempt(&self, retries: u64, reason: &str) {
        self.tell("snakepit.retry.attempt", retries, None, reason);
    }

    /// The operation succeeded; all tries together took `elapsed`.
    pub fn success(&self, retries: u64, elapsed: Duration) {
        self.tell("snakepit.retry.success", retries, Some(elapsed), "");
    }

    /// The operation was given up; all tries together took `elapsed`.
    pub fn exhausted(&self, retries: u64, elapsed: Duration, reason: &str) {
        self.tell("snakepit.retry.exhausted", retries, Some(elapsed), reason);
    }

    /// The operation waits for `delay` before its next try.
    pub fn backoff(&self, retries: u64, delay: Duration, reason: &str) {
        self.tell("snakepit.retry.backoff", retries, Some(delay), reason);
    }

    fn tell(&self, name: &str, retries: u64, span: Option<Duration>, reason: &str) {
        let all = [
            ONCE,
            ("retry_count", retries.into()),
            nanos("duration", span.unwrap_or_default()),
        ];
        let measurements = if span.is_some() { &all[..] } else { &all[..2] };
        let metadata = [
            ("operation", Some(self.operation)),
            ("reason", Some(reason)),
        ];
        self.host.emit(name, measurements, &metadata);
    }
}
