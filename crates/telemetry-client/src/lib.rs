//! The worker role: emit events and serve them to a manager over one gRPC stream.
//!
//! A worker *serves*: on the wire it is the gRPC server. It connects to its manager and serves on that
//! connection, or listens at a unix socket or loopback port until a manager dials. Emitting never blocks,
//! raises or panics; every event that is not delivered is counted under one reason.
//!
//! # From top to bottom
//!
//! * [`start()`] does what the environment says, in one line; [`connect`] and [`serve()`] are for programs
//!   that know better.
//! * [`Config`] reads the `TELEMETRY_*` environment that a pool gives its workers and starts a
//!   [`Worker`].
//! * [`Telemetry`] is the handle a program emits through; [`EventHandle`] is a name resolved once,
//!   [`Span`] an operation that begins and ends once, [`Operation`] the names of a span resolved
//!   once, for those that are begun often.
//! * [`ResourceSampler`] emits what the process uses; a [`Heartbeat`] tells when a program that beats
//!   cannot run.
//! * `Telemetry::flush_on_signal` (feature `signals`) ends telemetry before a signal ends the process.
//! * `telemetry_tls` (feature `tls`): what TLS is made of, for managers of other machines.
//! * [`backend`] holds the places events can go to: the stream, stderr, memory for tests, several at
//!   once, nowhere.
//! * [`mod@serve`] holds the telemetry stream itself: [`serve::Connection`] to a manager and
//!   [`serve::Server`] for one, each with a thread of its own, or
//!   [`serve::TelemetryService`] to mount in a gRPC server the program has already.
//!
//! # What runs where
//!
//! `emit` encodes on the calling thread and puts bytes into a bounded queue. It waits for nothing, with
//! one exception: when a manager has said that it is about to end the process, an emit returns once its
//! outcome is in the socket, or after 20 ms. Each [`serve::Connection`] or [`serve::Server`] has two threads, `telemetry` and
//! `telemetry-poll`, which waits for the sockets of the first; [`backend::StderrBackend`] starts one, `telemetry-stderr`, with its first
//! event; [`ResourceSampler`] has one, `telemetry-resource`; `Telemetry::flush_on_signal` starts one,
//! `telemetry-signal`. Nothing else starts a thread. Threads inherit the signal mask of the thread that
//! starts them.
//!
//! # What is not promised
//!
//! Events handed to a stream that is cut are lost; the jump in their sequence tells the manager how
//! many. Nothing here survives `fork`: a child must not use what its parent started, and dropping it
//! there touches neither the parent's threads nor its socket file.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `context`, `deadline`, `own_fd`, `stall`
//! 2. `region`
//! 3. `serve`
//! 4. `backend`
//! 5. `telemetry`
//! 6. `resource`, `signals`, `span`
//! 7. `config`
//! 8. `start`

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
pub mod region;
pub mod serve;

mod config;
mod context;
mod deadline;
mod own_fd;
mod resource;
#[cfg(feature = "signals")]
mod signals;
mod span;
mod stall;
mod start;
mod telemetry;

pub use config::{
    BackendKind, Config, ConfigError, DEFAULT_EXIT_TIMEOUT, MAX_QUEUE_EVENTS, Worker,
};
pub use context::{CORRELATION_HEADER, Entered, TRACEPARENT, current_span, extract, inject};
pub use resource::{
    DEFAULT_RESOURCE_INTERVAL, MIN_RESOURCE_INTERVAL, ResourceError, ResourceSampler, Sampling,
};
#[cfg(feature = "signals")]
pub use signals::{Signal, SignalError};
pub use span::{
    ERROR_TYPE_CANCELLED, ERROR_TYPE_PANIC, Instrumented, Operation, Span, SpanBuilder,
};
pub use stall::{BEAT_INTERVAL, DEFAULT_STALL_LIMIT, Heartbeat, MIN_STALL_LIMIT, thread_id};
pub use start::{connect, serve, start};
pub use telemetry::{EventHandle, Telemetry, TelemetryBuilder};
#[doc(no_inline)]
pub use telemetry_core;
pub use telemetry_core::{
    Address, AddressError, Outcome, SpanContext, SpanPhase, TraceContext, Value, ValueRef,
};
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use telemetry_tls;

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
