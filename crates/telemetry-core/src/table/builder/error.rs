//! Why a catalog cannot be built, in words for whoever wrote its configuration.
//!
//! Messages only: the checks themselves are in `builder`.

use std::fmt;

use super::{MAX_BUCKETS, MAX_USER_EVENTS, MAX_USER_KEYS};
use crate::name::NameError;

/// Which of the two tables a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyRole {
    /// Keys of measurements.
    Measurement,
    /// Keys of metadata.
    Metadata,
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measurement => "measurement",
            Self::Metadata => "metadata",
        })
    }
}

/// Why a catalog could not be built. Each says what is wrong, where, and what is allowed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// An event's wire name is not a name.
    #[error("cannot add the event {name:?}: {source}")]
    InvalidName {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The same event was added twice, or two wire names lead to the same event name.
    #[error("event {name:?} is added twice; add it once")]
    DuplicateEvent {
        /// The wire name of the second one.
        name: String,
    },
    /// A user event would hide a built-in one.
    #[error(
        "event {name:?} would shadow the built-in event {builtin:?}; choose another name, or emit \
         the built-in event as it is"
    )]
    ShadowsBuiltin {
        /// The wire name as it was given.
        name: String,
        /// The built-in event in the way.
        builtin: String,
    },
    /// A key is not usable.
    #[error(
        "{role} key {key:?} is invalid; allowed: 1 to 64 of A-Z a-z 0-9 _, not beginning with a \
         digit or two underscores, and not `le` or `quantile`"
    )]
    InvalidKey {
        /// Which kind of key.
        role: KeyRole,
        /// The key as it was given.
        key: String,
    },
    /// A key was added that exists, built-in or added before.
    #[error("{role} key {key:?} exists already; add each key once, and not one that is built in")]
    DuplicateKey {
        /// Which kind of key.
        role: KeyRole,
        /// The key.
        key: String,
    },
    /// Buckets that a histogram cannot have, or of a key that is no measurement.
    #[error(
        "the buckets of {key:?} are not allowed; they are 1 to {MAX_BUCKETS} rising numbers above 0, of a measurement \
         key"
    )]
    InvalidBuckets {
        /// The key as it was given.
        key: String,
    },
    /// An event names a key that is in no table.
    #[error(
        "event {event:?} uses the unknown {role} key {key:?}{}; add it as a {role} key first",
        did_you_mean(suggestion.as_deref())
    )]
    UnknownKey {
        /// The wire name of the event.
        event: String,
        /// Which kind of key.
        role: KeyRole,
        /// The key as it was given.
        key: String,
        /// A known key that looks like it.
        suggestion: Option<String>,
    },
    /// More user events than a catalog takes.
    #[error("{count} user events; at most {MAX_USER_EVENTS} are allowed (a span counts as three)")]
    TooManyEvents {
        /// How many were added.
        count: usize,
    },
    /// More user keys than a catalog takes.
    #[error("{count} user keys; at most {MAX_USER_KEYS} are allowed, both kinds together")]
    TooManyKeys {
        /// How many were added.
        count: usize,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion
        .map(|key| format!(" (did you mean {key:?}?)"))
        .unwrap_or_default()
}
