//! The closed lists: why an event was dropped, and what may happen to one that was not.
//!
//! Numbers are part of the wire and labels part of every exporter's output; neither ever changes.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Where in the pipeline an event was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// In the worker, before the stream.
    Worker,
    /// Between worker and manager.
    Transport,
    /// In the manager, before any handler.
    Manager,
    /// In a handler's own queue or its target system.
    Exporter,
}

impl Stage {
    /// The label that exporters show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Transport => "transport",
            Self::Manager => "manager",
            Self::Exporter => "exporter",
        }
    }
}

/// Declares a closed list with a wire number, a label and a sentence for each member.
macro_rules! closed_list {
    (
        $(#[$outer:meta])*
        $name:ident: $($(#[$doc:meta])* $variant:ident = $number:literal, $label:literal;)+
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant = $number,)+
        }

        impl $name {
            /// Every member, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// The member with this wire number, if there is one.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The label that people and exporters see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }

            /// Position in `ALL`.
            pub(crate) fn index(self) -> usize {
                // The list is short and sorted; a search keeps numbers free of gaps' arithmetic.
                Self::ALL.partition_point(|member| (*member as u8) < self as u8)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

closed_list! {
    /// Why an event was not delivered. Each dropped event has exactly one.
    Reason:
    /// The sampling policy did not draw it.
    SampledOut = 1, "sampled_out";
    /// The allow or deny list excluded it.
    Filtered = 2, "filtered";
    /// Its name broke the rules for names.
    InvalidName = 3, "invalid_name";
    /// A measurement was not a finite number.
    InvalidValue = 4, "invalid_value";
    /// It carried more measurements or metadata than allowed.
    TooManyFields = 5, "too_many_fields";
    /// Encoded it was larger than allowed.
    Oversize = 6, "oversize";
    /// The worker's queue was full; the newest event is dropped.
    QueueFull = 7, "queue_full";
    /// It was the oldest in a full queue that makes room for new ones.
    EvictedOldest = 8, "evicted_oldest";
    /// It was emitted from inside telemetry itself.
    Reentrant = 9, "reentrant";
    /// Telemetry was shut down, or not yet up.
    NotRunning = 10, "not_running";
    /// It was emitted in a fork of a process that serves, where nothing was started.
    ForkInherited = 11, "fork_inherited";
    /// It was still queued when the time to shut down ran out.
    ShutdownDeadline = 12, "shutdown_deadline";
    /// A defect in telemetry itself.
    InternalError = 13, "internal_error";
    /// A rule has no more than so many a second kept.
    Limited = 14, "limited";
    /// It was emitted before there was anywhere to send it.
    NotStarted = 15, "not_started";
    /// The backend it was handed to raised.
    BackendError = 16, "backend_error";
    /// A reason of the worker that this version does not know.
    Other = 19, "other";
    /// It was sent on a stream that was cut; known from a jump in the sequence.
    Gap = 20, "gap";
    /// It was in a worker that died.
    LostAtCrash = 21, "lost_at_crash";
    /// Its bytes were no telemetry event.
    DecodeError = 30, "decode_error";
    /// The catalog does not know its name.
    UnknownEvent = 31, "unknown_event";
    /// A value was outside what the catalog allows, such as NaN.
    ValueRejected = 32, "value_rejected";
    /// Its worker sent more than it may.
    RateLimited = 33, "rate_limited";
    /// It came from a process that has been replaced.
    StaleIncarnation = 34, "stale_incarnation";
    /// The desired policy does not want it, and its worker did not see to that itself.
    Policy = 35, "policy";
    /// The handler's own queue was full.
    ExporterQueueFull = 40, "queue_full";
    /// The target system did not answer in time.
    ExporterTimeout = 41, "timeout";
    /// The target system refused it.
    ExporterError = 42, "error";
    /// Every retry failed.
    ExporterRetryExhausted = 43, "retry_exhausted";
    /// The target system took a part of its batch only.
    ExporterPartialReject = 44, "partial_reject";
    /// The handler panicked.
    ExporterPanicked = 45, "panicked";
    /// It was still queued when the handler had to end.
    ExporterShutdownDeadline = 46, "shutdown_deadline";
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Where in the pipeline this reason applies.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self as u8 {
            0..20 => Stage::Worker,
            20..30 => Stage::Transport,
            30..40 => Stage::Manager,
            _ => Stage::Exporter,
        }
    }
}

closed_list! {
    /// What happened to an event that was not dropped.
    Note:
    /// It arrived twice; the copy was not dispatched.
    Duplicate = 1, "duplicate";
    /// A key or value was cut to its limit.
    Truncated = 2, "truncated";
    /// A measurement with an unknown key was left out.
    UnknownMeasurement = 3, "unknown_measurement";
    /// Its labels were folded into an overflow series.
    CardinalityFolded = 4, "cardinality_folded";
    /// A secret value was replaced.
    Redacted = 5, "redacted";
    /// A value had to change its type, or its key because that is one of ours.
    Coerced = 6, "coerced";
    /// It was read from what its worker left when it died.
    Recovered = 7, "recovered";
    /// A note of the worker that this version does not know.
    OtherNote = 8, "other";
    /// A report of the worker that cannot be true; it was left out.
    ImplausibleReport = 9, "implausible_report";
}

impl Note {
    /// How many notes there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// Declares a table of counters over a closed list.
macro_rules! counters {
    ($(#[$outer:meta])* $name:ident over $list:ident) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name([u64; $list::COUNT]);

        impl Default for $name {
            fn default() -> Self {
                Self([0; $list::COUNT])
            }
        }

        impl $name {
            /// The count under one member.
            #[must_use]
            pub fn get(&self, member: $list) -> u64 {
                self.0[member.index()]
            }

            /// Adds to the count under one member; saturates.
            pub fn add(&mut self, member: $list, count: u64) {
                let cell = &mut self.0[member.index()];
                *cell = cell.saturating_add(count);
            }

            /// Replaces the count under one member.
            pub fn set(&mut self, member: $list, count: u64) {
                self.0[member.index()] = count;
            }

            /// Adds every count of `other`; saturates.
            pub fn merge(&mut self, other: &Self) {
                for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
                    *mine = mine.saturating_add(*theirs);
                }
            }

            /// Sum over all members; saturates.
            #[must_use]
            pub fn total(&self) -> u64 {
                self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
            }

            /// The members that were counted at all.
            pub fn iter(&self) -> impl Iterator<Item = ($list, u64)> + '_ {
                $list::ALL.iter().map(|member| (*member, self.get(*member))).filter(|(_, n)| *n > 0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                for (member, count) in self.iter() {
                    map.serialize_entry(member.as_str(), &count)?;
                }
                map.end()
            }
        }
    };
}

counters! {
    /// Dropped events by [`Reason`].
    Counts over Reason
}

counters! {
    /// Events by [`Note`].
    Notes over Note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_index_matches_position() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
            assert_eq!(reason.index(), position);
        }
        for (position, note) in Note::ALL.iter().enumerate() {
            assert_eq!(Note::from_number(note.number()), Some(*note));
            assert_eq!(note.index(), position);
        }
        assert_eq!(Reason::from_number(0), None);
        assert_eq!(Reason::from_number(17), None);
    }

    #[test]
    fn labels_are_unique_within_a_stage() {
        for stage in [
            Stage::Worker,
            Stage::Transport,
            Stage::Manager,
            Stage::Exporter,
        ] {
            let mut labels: Vec<_> = Reason::ALL
                .iter()
                .filter(|r| r.stage() == stage)
                .map(|r| r.as_str())
                .collect();
            let all = labels.len();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), all, "{stage:?}");
        }
    }
}
