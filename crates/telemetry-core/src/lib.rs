//! Manual to come with the first module.

mod value;

mod catalog;

mod event;

mod name;

mod correlation;

mod time;

mod pattern;

mod ledger;

mod queue;

mod wire;

mod control;

mod policy;

mod sanitize;

pub use catalog::{
    Catalog, CatalogBuilder, CatalogError, EventId, EventSpec, KeyId, KeyRole, KeySpec, Label,
    MAX_USER_EVENTS, MAX_USER_KEYS, MetricKind, Origin, Rate, Unit, UnknownUnit,
};
pub use control::{
    Control, ControlError, MAX_SAMPLING_RULES, PatternList, PatternListError, PolicySpec,
    SamplingRule,
};
pub use correlation::{
    CorrelationId, CorrelationIdError, FLAG_SAMPLED, TraceContext, TraceContextError, random_u64,
    reseed,
};
pub use event::{Event, EventParts, EventRef, MetadataIter, MetadataValue, Source};
pub use ledger::{
    Counts, Imbalance, NameCount, Note, Notes, Reason, ReportError, Stage, StreamSnapshot,
    WorkerLedger, WorkerSnapshot, snapshot_from_report, snapshot_to_report,
};
pub use name::{EventName, MAX_NAME_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, NameError};
pub use pattern::{
    MAX_PATTERN_BYTES, MAX_PATTERNS, Pattern, PatternError, PatternLimits, PatternSet,
};
pub use policy::{Policy, Threshold, Verdict, correlation_draw, next_draw};
pub use queue::{
    Budget, DEFAULT_QUEUE_BYTES, DEFAULT_QUEUE_EVENTS, Drained, Full, Queue, QueueLimits,
};
pub use sanitize::{
    Limits, MAX_CORRELATION_ID_BYTES, MAX_EVENT_BYTES, MAX_KEY_BYTES, MAX_MEASUREMENTS,
    MAX_METADATA, MAX_VALUE_BYTES, REDACTED, Redactor, SECRET_KEYS, Sanitized, Sanitizer, escape,
    truncate,
};
pub use time::{Clock, ManualClock, SystemClock};
pub use value::{Value, ValueRef};
pub use wire::{
    DecodeError, DecodeLimits, DecodedEvent, EventEncoder, FRAME_HEADER_BYTES, FrameError,
    FrameSplitter, MAX_DECODED_FIELDS, Parts, append_sequence, decode_event, encode_event_parts,
    frame_header,
};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
