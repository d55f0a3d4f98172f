//! Messages and gRPC stubs of the worker telemetry stream.
//!
//! This crate is the wire and nothing else: what `proto/snakepit_bridge.proto` (package
//! `snakepit.bridge`) describes, as Rust. It depends on no other crate of the project and holds no
//! logic; the meaning of the fields is in their documentation, the rules of the stream in
//! `docs/wire.md`.
//!
//! # What is here
//!
//! * **Messages**, always: [`TelemetryEvent`] travels up from a worker, [`TelemetryControl`] down
//!   from its manager. Both carry a `oneof`, whose Rust enums are in [`telemetry_value`] and
//!   [`telemetry_control`].
//! * **Stubs**, behind features: `grpc-client` adds `bridge_service_client`, `grpc-server` adds
//!   `bridge_service_server`. They are generic over the transport and bring none of their own.
//! * **Names**: [`SERVICE_NAME`], [`STREAM_TELEMETRY_PATH`], [`PING_PATH`] and [`HEARTBEAT_PATH`], for
//!   code that speaks HTTP/2 without the stubs.
//! * **Description**: [`FILE_DESCRIPTOR_SET`], the compiled proto file, for reflection and for
//!   tools that compare versions of the wire.
//!
//! # Numbers
//!
//! Fields below 1001 are those of Snakepit and fixed for ever. Extensions have numbers of 1001 and
//! up, so a peer that does not know them skips them. `released/descriptor.bin` is the wire of the
//! last release, and an early state of it before the first; a test refuses a field, message or method
//! that was removed, renumbered or retyped since.
//!
//! # Example
//!
//! ```
//! use prost::Message;
//! use telemetry_proto::{TelemetryEvent, TelemetryValue, telemetry_value::Value};
//!
//! let event = TelemetryEvent {
//!     event_parts: vec!["tool".into(), "execution".into(), "stop".into()],
//!     measurements: [("duration".into(), TelemetryValue { value: Some(Value::IntValue(1_500)) })]
//!         .into(),
//!     ..TelemetryEvent::default()
//! };
//! let bytes = event.encode_to_vec();
//! assert_eq!(TelemetryEvent::decode(&bytes[..])?, event);
//! # Ok::<(), prost::DecodeError>(())
//! ```
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `descriptor`, `generated`

#![cfg_attr(docsrs, feature(doc_cfg))]

mod descriptor;
#[cfg_attr(
    any(feature = "grpc-client", feature = "grpc-server"),
    expect(
        unused_qualifications,
        clippy::allow_attributes_without_reason,
        reason = "the stub generator writes full paths and its own lint attributes"
    )
)]
mod generated;

pub use descriptor::{
    FILE_DESCRIPTOR_SET, HEARTBEAT_PATH, PING_PATH, SERVICE_NAME, STREAM_TELEMETRY_PATH,
};
#[cfg(feature = "grpc-client")]
pub use generated::bridge_service_client;
#[cfg(feature = "grpc-server")]
pub use generated::bridge_service_server;
pub use generated::{
    HeartbeatRequest, HeartbeatResponse, ManagerHello, NameCount, PingRequest, PingResponse,
    ReasonCount, RejectedName, RuleBudget, RuleCount, RuleProblem, RuleShare, SpanContext,
    SpanPhase, TelemetryAck, TelemetryControl, TelemetryDrain, TelemetryEvent,
    TelemetryEventFilter, TelemetryGoodbye, TelemetryPolicy, TelemetryRejected, TelemetryRule,
    TelemetryRules, TelemetrySamplingUpdate, TelemetryShares, TelemetryToggle, TelemetryValue,
    WorkerHello, WorkerReport, telemetry_control, telemetry_rule, telemetry_value,
};

#[cfg(any(feature = "grpc-client", feature = "grpc-server"))]
#[doc(no_inline)]
pub use tonic;
#[doc(no_inline)]
pub use {prost, prost_types};

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
