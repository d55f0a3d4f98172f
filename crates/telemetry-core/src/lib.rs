//! Events, catalog, policy, queue, ledger and wire codec of worker telemetry.
//!
//! This crate has no runtime: it reaches neither tokio nor tonic, starts no thread and does no I/O.
//! `telemetry-client` (the worker role) and `telemetry-server` (the manager role) are built on it.
//!
//! The data's way through it, on the worker's side:
//!
//! ```
//! use std::sync::Arc;
//! use telemetry_core::{Budget, Fields, Outcome, Recorder, RecorderConfig, SystemClock};
//!
//! let recorder = Recorder::new(RecorderConfig::default(), Arc::new(SystemClock::new()))?;
//! let site = recorder.callsite("tool.execution.stop").expect("a valid name");
//! let outcome = recorder.record(
//!     &site,
//!     &Fields { measurements: &[("duration", 1_500_i64.into())], ..Fields::default() },
//! );
//! assert_eq!(outcome, Outcome::Accepted);
//!
//! let mut frames = Vec::new();
//! recorder.drain_frames(&mut frames, Budget { events: 1_000, bytes: 64 * 1024 });
//! assert_eq!(recorder.snapshot().check(), Ok(()));
//! # Ok::<(), telemetry_core::ControlError>(())
//! ```
//!
//! and on the manager's side: [`FrameSplitter`] → [`decode_event`] → [`Catalog`] → [`EventRef`].
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `correlation`, `mistake`, `name`, `pattern`, `protocol`, `settle`, `suggest`, `sync`, `time`, `value`
//! 2. `address`, `backoff`, `control`, `region`, `wire`
//! 3. `catalog`, `introduction`, `ledger`, `open_spans`, `policy`, `queue`
//! 4. `callsite`, `event`, `sanitize`
//! 5. `gate`, `recovery`
//! 6. `recorder`

#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod backoff;
mod callsite;
mod catalog;
mod control;
mod correlation;
mod event;
mod gate;
mod introduction;
mod ledger;
mod mistake;
mod name;
mod open_spans;
mod pattern;
mod policy;
mod protocol;
mod queue;
mod recorder;
mod recovery;
mod region;
mod sanitize;
mod settle;
mod suggest;
mod sync;
mod time;
mod value;
mod wire;

pub use address::{Address, AddressError};
pub use backoff::Backoff;
pub use callsite::{Callsite, DEFAULT_MAX_CALLSITES, MAX_CALLSITES, Switch};
pub use catalog::{
    Catalog, CatalogBuilder, CatalogError, EventId, EventSpec, KeyId, KeyRole, KeySpec, Label,
    MAX_USER_EVENTS, MAX_USER_KEYS, MetricKind, Origin, Rate, Unit, UnknownUnit,
};
pub use control::{
    Control, ControlError, Greeting, MAX_SAMPLING_RULES, PatternList, PatternListError, PolicySpec,
    Position, SamplingRule,
};
pub use correlation::{
    CorrelationId, CorrelationIdError, FLAG_SAMPLED, SpanContext, SpanId, SpanPhase, TraceContext,
    TraceContextError, TraceId, correlation_draw, random_u64, reseed, seed_generation,
};
pub use event::{
    Event, EventOrigin, EventParts, EventRef, MetadataIter, MetadataValue, Source, is_same_text,
};
pub use gate::{ControlStatus, Drawn, Gate, Outcome, SpanDecision};
pub use introduction::{
    INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, IntroductionError,
    MAX_INTRODUCTION_BYTES, introduction_body_bytes,
};
pub use ledger::{
    Counts, Imbalance, NameCount, Note, Notes, Reason, Stage, StreamSnapshot, WorkerLedger,
    WorkerSnapshot, fold_for_closed_reasons, snapshot_from_report, snapshot_to_report,
};
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use mistake::plant;
#[doc(hidden)]
pub use mistake::{Mistake, is_planted};
pub use name::{EventName, MAX_NAME_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, NameError};
pub use open_spans::{MAX_OPEN_NAME_BYTES, MAX_OPEN_SPANS, OpenSlot, OpenSpan, OpenSpans};
pub use pattern::{
    MAX_PATTERN_BYTES, MAX_PATTERNS, Pattern, PatternError, PatternLimits, PatternSet,
};
pub use policy::{Policy, Threshold, Verdict, next_draw};
pub use protocol::{
    LINE_PREFIX, MAX_SOCKET_PATH_BYTES, PROTOCOL_REVISION, REVISION_HEADER,
    REVISION_WITH_CLOSED_REASONS, WRITABLE_BY_OTHERS, capability,
};
pub use queue::{
    Budget, DEFAULT_QUEUE_BYTES, DEFAULT_QUEUE_EVENTS, Drained, Fate, MAX_RECORD_BYTES, MAX_TAG,
    Pushed, Queue, QueueLimits, Record, Refused, Resting, Sleep,
};
pub use recorder::{
    Draft, Fields, FramedOut, Handed, Keep, Mark, Overflow, Recorder, RecorderConfig, Ties,
};
pub use recovery::{ReadAt, Recovered, RecoveredEvent, RecoveryError, identify, recover};
pub use region::{Identity, Layout, MAX_REGION_BYTES, Region, RegionError};
pub use sanitize::{
    Limits, MAX_CORRELATION_ID_BYTES, MAX_EVENT_BYTES, MAX_KEY_BYTES, MAX_MEASUREMENTS,
    MAX_METADATA, MAX_VALUE_BYTES, REDACTED, Redactor, SECRET_KEYS, Sanitized, Sanitizer, escape,
    truncate,
};
pub use settle::{IsWritten, WRITE_THROUGH_WAIT, is_sending_thread, mark_sending_thread};
pub use suggest::nearest;
pub use time::{Clock, ManualClock, SystemClock};
pub use value::{Value, ValueRef};
pub use wire::{
    Content, DecodeError, DecodeLimits, DecodedEvent, EventEncoder, FRAME_HEADER_BYTES, FrameError,
    FrameSplitter, Keys, MAX_DECODED_FIELDS, Parts, append_sequence, decode_event,
    encode_event_parts, frame_header,
};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
