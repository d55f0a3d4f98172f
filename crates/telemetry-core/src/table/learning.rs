//! What a catalog can take up beyond itself: names and keys that workers send and nobody wrote down.
//!
//! The rules are those of the builder, so that whatever was learned can be written into a catalog as it
//! is. Nothing is kept here; who learns, and how much, is the manager's business.

use std::borrow::Cow;
use std::sync::Arc;

use super::builder::{self, user_name};
use super::{Catalog, EventId, EventSpec, MetricKind, NAME_PREFIX, Origin, Rate, Unit};
use crate::name::EventName;
use crate::value::ValueRef;

/// Whether a catalog takes this as a key: 1 to 64 of `A-Z a-z 0-9 _`, as the label of a metric.
#[must_use]
pub fn is_key(key: &str) -> bool {
    builder::is_key(key)
}

impl Catalog {
    /// What an event that workers send as `wire_name`, and that the catalog does not have, is dispatched
    /// as: what it would be if the catalog had it. `None` where the catalog would refuse the name, because
    /// it is none or stands for an event that is built in.
    #[must_use]
    pub fn learned(&self, wire_name: &str) -> Option<EventSpec> {
        EventName::check(wire_name).ok()?;
        let name = user_name(wire_name);
        let is_taken = |name: &str| self.by_name(name).is_some();
        if is_taken(&name) || is_taken(wire_name) || is_taken(&format!("{NAME_PREFIX}{wire_name}"))
        {
            return None;
        }
        Some(EventSpec {
            id: EventId::LEARNED,
            name: name.into(),
            wire_name: Some(Arc::from(wire_name)),
            origin: Origin::Worker,
            measurements: Box::default(),
            metadata: Box::default(),
            rate: Rate::Medium,
            doc: Cow::Borrowed("Learned from workers."),
        })
    }
}

impl Unit {
    /// What a measurement most likely counts, and how it is shown, by its key and one of its values:
    /// `step_ms` are milliseconds, `cache_bytes` bytes. A whole number that is a `…duration` counts
    /// nanoseconds, another one seconds. Of a number that says nothing the last value is kept; text is no
    /// metric.
    #[must_use]
    pub fn guess(key: &str, value: ValueRef<'_>) -> (Self, MetricKind) {
        let is_whole = match value {
            ValueRef::Str(_) => return (Self::None, MetricKind::None),
            ValueRef::Int(_) => true,
            ValueRef::Float(_) => false,
        };
        let unit = match key.rsplit('_').next().unwrap_or_default() {
            "duration" if is_whole => Self::Nanoseconds,
            "ns" | "nanoseconds" => Self::Nanoseconds,
            "ms" | "milliseconds" => Self::Milliseconds,
            "s" | "seconds" | "duration" => Self::Seconds,
            "bytes" => Self::Bytes,
            "count" | "total" => Self::Count,
            "percent" => Self::Percent,
            "ratio" => Self::Ratio,
            "celsius" => Self::Celsius,
            "watts" => Self::Watts,
            _ => return (Self::None, MetricKind::Gauge),
        };
        (unit, unit.default_kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learned_is_what_the_builder_would_make_of_it() {
        let catalog = Catalog::builtin();
        for wire_name in ["inference.start", "python.inference.start", "x"] {
            let learned = catalog.learned(wire_name).expect("new");
            assert!(learned.is_learned());
            let built = Catalog::builder().event(wire_name, &[], &[]).build();
            let built = built.expect("allowed");
            let event = built.by_wire_name(wire_name).expect("just added");
            assert_eq!((&learned.name, false), (&event.name, event.is_learned()));
            assert_eq!(built.learned(wire_name), None, "it is known");
        }
    }

    #[test]
    fn nothing_is_learned_that_the_builder_would_refuse() {
        let long = "x".repeat(65);
        for wire_name in [
            "pool.status",
            "snakepit.pool.status",
            "telemetry.handler.failure",
            "tool.execution.stop",
            "python.tool.execution.stop",
            "",
            "a..b",
            "a\u{1b}b",
            &long,
        ] {
            assert_eq!(Catalog::builtin().learned(wire_name), None, "{wire_name}");
        }
        // As handlers would see it, it is somebody else's.
        let refused = Catalog::builder().event("call.stop", &[], &[]).build();
        assert!(refused.is_err());
        assert_eq!(Catalog::builtin().learned("call.stop"), None);
    }

    #[test]
    fn units_are_guessed_by_the_key_and_the_value() {
        let check = |key, value: ValueRef<'_>, unit, kind| {
            assert_eq!(Unit::guess(key, value), (unit, kind), "{key}");
        };
        use MetricKind::{Counter, Gauge, Histogram};
        let (whole, part) = (ValueRef::Int(3), ValueRef::Float(0.5));
        check("step_ms", whole, Unit::Milliseconds, Histogram);
        check("step_ms", part, Unit::Milliseconds, Histogram);
        check("load_duration", whole, Unit::Nanoseconds, Histogram);
        check("load_duration", part, Unit::Seconds, Histogram);
        check("wait_s", part, Unit::Seconds, Histogram);
        check("cache_bytes", whole, Unit::Bytes, Counter);
        check("tokens_count", whole, Unit::Count, Counter);
        check("hit_ratio", part, Unit::Ratio, Gauge);
        check("tokens", whole, Unit::None, Gauge);
        check("bytes_ms", ValueRef::Str("1"), Unit::None, MetricKind::None);
    }
}
