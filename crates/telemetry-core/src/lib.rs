//! Events, catalog, policy, queue, ledger and wire codec of worker telemetry.
//!
//! This crate has no runtime: it reaches neither tokio nor tonic, starts no thread and does no I/O.
//! `telemetry-client` (the worker role) and `telemetry-server` (the manager role) are built on it; programs
//! use those, and meet this crate's events, values and ids in them.
//!
//! # Doors
//!
//! The root has the words that both roles speak: events, values, ids of spans, addresses, clocks. The rest
//! is behind five doors:
//!
//! * [`emit`]: a worker's recorder, its policy, queue and memory.
//! * [`rules`]: the rules that say which events are kept.
//! * [`wire`]: bytes, controls and introductions.
//! * [`catalog`]: what is known, and what may be in an event.
//! * [`ledger`]: what became of every event.
//!
//! The data's way through it, on the worker's side:
//!
//! ```
//! use std::sync::Arc;
//! use telemetry_core::emit::{Budget, Fields, Recorder, RecorderConfig};
//! use telemetry_core::{Outcome, SystemClock, wire::ControlError};
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
//! # Ok::<(), ControlError>(())
//! ```
//!
//! and on the manager's side: [`wire::FrameSplitter`] → [`wire::decode_event`] → [`catalog::Catalog`] →
//! [`EventRef`].
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `correlation`, `duration`, `mistake`, `name`, `pace`, `pattern`, `protocol`, `settle`, `suggest`, `sync`,
//!    `time`, `token`, `users`, `value`
//! 2. `address`, `backoff`, `codec`, `region`, `rules`
//! 3. `control`, `introduction`, `ledger`, `open_spans`, `queue`, `table`
//! 4. `policy`
//! 5. `callsite`, `event`, `sanitize`
//! 6. `gate`, `recovery`
//! 7. `recorder`

#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod backoff;
mod callsite;
mod codec;
mod control;
mod correlation;
mod duration;
mod event;
mod gate;
mod introduction;
pub mod ledger;
mod mistake;
mod name;
mod open_spans;
mod pace;
mod pattern;
mod policy;
mod protocol;
mod queue;
mod recorder;
mod recovery;
mod region;
pub mod rules;
mod sanitize;
mod settle;
mod suggest;
mod sync;
mod table;
mod time;
mod token;
mod users;
mod value;

pub use address::{Address, AddressError};
pub use correlation::{
    CorrelationId, CorrelationIdError, FLAG_SAMPLED, SpanContext, SpanId, SpanPhase, TraceContext,
    TraceContextError, TraceId,
};
pub use duration::{DURATION_FORM, parse_duration};
pub use event::{
    Event, EventOrigin, EventParts, EventRef, MetadataIter, MetadataValue, Source, is_same_text,
};
pub use gate::Outcome;
pub use time::{Clock, ManualClock, SystemClock};
pub use token::{MAX_TOKEN_BYTES, MIN_TOKEN_BYTES, Token, TokenError};
pub use users::{OVERFLOW_UID, Users};
pub use value::{Value, ValueRef};
#[doc(no_inline)]
pub use {arrayvec, telemetry_proto};

/// What is known: events, their keys, names and patterns, and what may be in metadata.
///
/// A [`Catalog`](catalog::Catalog) is the frozen table of known events; what is not in it becomes no
/// state in a manager. A [`Sanitizer`](catalog::Sanitizer) bounds what events carry.
pub mod catalog {
    pub use crate::name::{EventName, MAX_NAME_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, NameError};
    pub use crate::pattern::{
        MAX_PATTERN_BYTES, MAX_PATTERNS, Pattern, PatternError, PatternLimits, PatternSet,
    };
    pub use crate::sanitize::{
        Limits, MAX_CORRELATION_ID_BYTES, MAX_EVENT_BYTES, MAX_KEY_BYTES, MAX_MEASUREMENTS,
        MAX_METADATA, MAX_VALUE_BYTES, REDACTED, Redactor, SECRET_KEYS, Sanitized, Sanitizer,
        escape, truncate,
    };
    pub use crate::suggest::nearest;
    pub use crate::table::{
        Catalog, CatalogBuilder, CatalogError, EventId, EventSpec, KeyId, KeyRole, KeySpec, Label,
        MAX_BUCKETS, MAX_USER_EVENTS, MAX_USER_KEYS, MetricKind, Origin, Rate, Unit, UnknownUnit,
        is_key,
    };
}

/// The worker's side: what is emitted, whether it is kept, the queue it waits in, and the memory all of
/// it lies in.
///
/// A [`Recorder`](emit::Recorder) is the whole of it; [`recover`](emit::recover) reads what one left in
/// memory that outlived its process.
pub mod emit {
    pub use crate::callsite::{Callsite, DEFAULT_MAX_CALLSITES, MAX_CALLSITES, Switch};
    pub use crate::control::{MAX_SAMPLING_RULES, PolicySpec, SamplingRule};
    pub use crate::correlation::{correlation_draw, random_u64, reseed, seed_generation};
    pub use crate::gate::{ControlStatus, Drawn, Gate, SpanDecision};
    pub use crate::open_spans::{
        MAX_OPEN_NAME_BYTES, MAX_OPEN_SPANS, OpenSlot, OpenSpan, OpenSpans,
    };
    pub use crate::policy::{Policy, Threshold, Verdict, next_draw};
    pub use crate::queue::{
        Budget, DEFAULT_QUEUE_BYTES, DEFAULT_QUEUE_EVENTS, Drained, Fate, MAX_RECORD_BYTES,
        MAX_TAG, Pushed, Queue, QueueLimits, Record, Refused, Resting, Sleep,
    };
    pub use crate::recorder::{
        Draft, Fields, FramedOut, Handed, Keep, Mark, Overflow, Recorder, RecorderConfig, Ties,
    };
    pub use crate::recovery::{
        ReadAt, Recovered, RecoveredEvent, RecoveryError, identify, recover,
    };
    pub use crate::region::{Identity, Layout, MAX_REGION_BYTES, Region, RegionError};
    pub use crate::settle::{
        IsWritten, WRITE_THROUGH_WAIT, is_sending_thread, mark_sending_thread,
    };
}

/// What travels: events as bytes, controls, how a worker introduces itself, how both sides wait before they
/// try again, and what frames may cost.
///
/// [`FrameSplitter`](wire::FrameSplitter) → [`decode_event`](wire::decode_event) reads a stream,
/// [`EventEncoder`](wire::EventEncoder) writes one.
pub mod wire {
    pub use crate::backoff::Backoff;
    pub use crate::codec::{
        Content, DecodeError, DecodeLimits, DecodedEvent, EventEncoder, FRAME_HEADER_BYTES,
        FrameError, FrameSplitter, Keys, MAX_DECODED_FIELDS, Parts, append_sequence, decode_event,
        encode_event_parts, frame_header,
    };
    pub use crate::control::{
        Control, ControlError, Greeting, MAX_REJECTED_NAMES, PatternList, PatternListError,
        Position, RejectedName, Shares,
    };
    pub use crate::introduction::{
        INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, IntroductionError,
        MAX_INTRODUCTION_BYTES, introduction_body_bytes,
    };
    pub use crate::pace::{Pace, TooMany};
    pub use crate::protocol::{
        LINE_PREFIX, MAX_SOCKET_PATH_BYTES, PROTOCOL_REVISION, REVISION_HEADER,
        REVISION_WITH_CLOSED_REASONS, WRITABLE_BY_OTHERS, capability,
    };
}

#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use mistake::plant;
#[doc(hidden)]
pub use mistake::{Mistake, is_planted};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
