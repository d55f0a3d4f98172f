//! The manager's own events about connections and streams.
//!
//! They go through the dispatcher like any other event, with the worker's names in their metadata.

use std::time::Duration;

use telemetry_core::{Source, ValueRef, catalog::truncate};

use super::peer::Peer;
use crate::dispatch::Dispatcher;
use telemetry_core::Address;

/// Longest reason in an event, in bytes.
const MAX_REASON_BYTES: usize = 256;

/// Emits for one worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionEvents<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) source: &'a Source,
}

impl SessionEvents<'_> {
    /// The first connection, or one after a loss `downtime` ago. `retries`: failed attempts before.
    pub(super) fn connected(
        &self,
        peer: &Peer,
        dial_time: Duration,
        downtime: Option<Duration>,
        retries: u32,
    ) {
        let retries_text = retries.to_string();
        if let Some(downtime) = downtime {
            let measurements = [
                ("downtime", ValueRef::nanos(downtime)),
                ("retry_count", ValueRef::Int(retries.into())),
            ];
            self.emit("snakepit.grpc.connection.reconnected", &measurements, &[]);
            return;
        }
        let measurements = [("duration", ValueRef::nanos(dial_time)), self.system_time()];
        let mut metadata = vec![("retry_count", retries_text.as_str())];
        let port = match peer {
            Peer::Endpoint(Address::Tcp(address)) => address.port().to_string(),
            Peer::Endpoint(_) | Peer::Process { .. } | Peer::Remote { .. } => String::new(),
        };
        if !port.is_empty() {
            metadata.push(("python_port", &port));
        }
        self.emit(
            "snakepit.grpc.connection.established",
            &measurements,
            &metadata,
        );
    }

    pub(super) fn opened(&self, stream_id: &str) {
        let metadata = [("stream_id", stream_id)];
        self.emit(
            "snakepit.grpc.stream.opened",
            &[self.system_time()],
            &metadata,
        );
    }

    pub(super) fn message(&self, stream_id: &str, size: usize, number: u64) {
        let size = ValueRef::Int(i64::try_from(size).unwrap_or(i64::MAX));
        let number = ValueRef::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let measurements = [("message_size", size), ("sequence_number", number)];
        let metadata = [
            ("stream_id", stream_id),
            ("direction", "received"),
            ("is_final", "false"),
        ];
        self.emit("snakepit.grpc.stream.message", &measurements, &metadata);
    }

    /// The stream and with it the connection are gone.
    pub(super) fn closed(&self, stream_id: &str, lived: Duration, messages: u64, reason: &str) {
        let reason = truncate(reason, MAX_REASON_BYTES);
        let count = ValueRef::Int(i64::try_from(messages).unwrap_or(i64::MAX));
        let measurements = [
            ("duration", ValueRef::nanos(lived)),
            ("message_count", count),
        ];
        let metadata = [("stream_id", stream_id), ("reason", reason)];
        self.emit("snakepit.grpc.stream.closed", &measurements, &metadata);
        let measurements = [
            ("uptime", ValueRef::nanos(lived)),
            ("call_count", ValueRef::Int(1)),
        ];
        self.emit(
            "snakepit.grpc.connection.lost",
            &measurements,
            &[("reason", reason)],
        );
    }

    fn system_time(&self) -> (&'static str, ValueRef<'static>) {
        (
            "system_time",
            ValueRef::Int(self.dispatcher.clock().unix_nanos()),
        )
    }

    fn emit(&self, name: &str, measurements: &[(&str, ValueRef<'_>)], metadata: &[(&str, &str)]) {
        let emitted = self
            .dispatcher
            .emit_for(self.source, name, measurements, metadata);
        if let Err(error) = emitted {
            tracing::debug!(%error, "an event of the manager is not in its catalog");
        }
    }
}
