//! Manual to come with the first module.

mod value;

mod name;

mod correlation;

mod pattern;

pub use correlation::{
    CorrelationId, CorrelationIdError, FLAG_SAMPLED, TraceContext, TraceContextError, random_u64,
    reseed,
};
pub use name::{EventName, MAX_NAME_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, NameError};
pub use pattern::{
    MAX_PATTERN_BYTES, MAX_PATTERNS, Pattern, PatternError, PatternLimits, PatternSet,
};
pub use value::{Value, ValueRef};
