//! The two ids of a span: that of its trace and its own.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use super::hash::{correlation_draw, trace_bits};
use super::{random_id, read_hex, write_hex};

/// The id of a whole trace, as of W3C: 128 bits, not all zero; written as 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(NonZeroU128);

/// The id of one span within its trace: 64 bits, not zero; written as 16 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// A new random id.
    #[must_use]
    #[inline]
    pub fn random() -> Self {
        loop {
            if let Some(id) = Self::from_bytes(random_id()) {
                return id;
            }
        }
    }

    /// The id that everybody who works under a correlation id gives to its trace: the same in every
    /// process, version and language. `None` for the empty id.
    ///
    /// An id of 32 hexadecimal digits, upper or lower case and not all zero, is the trace id. Of any other
    /// text it is a hash of 128 bits: the first 64 are [`correlation_draw`](crate::emit::correlation_draw), the
    /// last 64 the same with `0xc4ceb9fe1a85ec53` as start in the place of `0x9e3779b97f4a7c15`; the
    /// last bit is set where all would be zero.
    ///
    /// ```
    /// use telemetry_core::TraceId;
    ///
    /// let of = |id| TraceId::of_correlation_id(id).map(|id| id.to_string());
    /// assert_eq!(of("request-1").unwrap(), "b3c2eebc8a33dbe9c8ec5e112c1c485f");
    /// assert_eq!(of("4BF92F3577B34DA6A3CE929D0E0E4736").unwrap(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// assert_eq!(of(""), None);
    /// ```
    #[must_use]
    pub fn of_correlation_id(correlation_id: &str) -> Option<Self> {
        if correlation_id.is_empty() {
            return None;
        }
        let read = Self::read(correlation_id);
        read.or_else(|| NonZeroU128::new(trace_bits(correlation_id)).map(Self))
    }

    /// Reads 32 hexadecimal digits of either case; `None` for anything else and for zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text)
    }

    fn read(text: &str) -> Option<Self> {
        let mut digits: [u8; 32] = text.as_bytes().try_into().ok()?;
        digits.make_ascii_lowercase();
        let mut bytes = [0; 16];
        read_hex(&digits, &mut bytes).ok()?;
        Self::from_bytes(bytes)
    }

    /// The id with these bytes, in the order they are written; `None` if they are all zero.
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        NonZeroU128::new(u128::from_be_bytes(bytes)).map(Self)
    }

    /// The bytes, in the order they are written.
    #[must_use]
    #[inline]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The draw of events that have a span and no correlation id: that of the digits of the trace id, taken
    /// as a correlation id. So a tree is kept or dropped whole, by all workers, whichever of the two ids
    /// they know.
    #[must_use]
    pub fn draw(self) -> u64 {
        correlation_draw(self.write_hex(&mut [0; 32]))
    }

    /// Writes the 32 digits into `buffer` and returns them; allocates nothing.
    pub fn write_hex(self, buffer: &mut [u8; 32]) -> &str {
        write_hex(&self.to_bytes(), buffer)
    }
}

impl SpanId {
    /// A new random id.
    #[must_use]
    #[inline]
    pub fn random() -> Self {
        loop {
            if let Some(id) = Self::new(super::random_u64()) {
                return id;
            }
        }
    }

    /// The id with this number; `None` for 0.
    #[must_use]
    #[inline]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Its number: the first of its digits is the highest.
    #[must_use]
    #[inline]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// Reads 16 hexadecimal digits of either case; `None` for anything else and for zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits: [u8; 16] = text.as_bytes().try_into().ok()?;
        digits.make_ascii_lowercase();
        let mut bytes = [0; 8];
        read_hex(&digits, &mut bytes).ok()?;
        Self::new(u64::from_be_bytes(bytes))
    }

    /// Writes the 16 digits into `buffer` and returns them; allocates nothing.
    pub fn write_hex(self, buffer: &mut [u8; 16]) -> &str {
        write_hex(&self.get().to_be_bytes(), buffer)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.write_hex(&mut [0; 32]))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.write_hex(&mut [0; 16]))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SpanId({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::correlation::CorrelationId;

    #[test]
    fn trace_of_a_correlation_id_is_its_digits_or_a_hash_that_stays() {
        for (id, trace) in [
            ("a", "33fa941c10c95c899c666942c80c7dd2"),
            ("request-1", "b3c2eebc8a33dbe9c8ec5e112c1c485f"),
            ("héllo", "5ebf519d52570fe22fbdcf5cc92f23c0"),
            (
                "4bf92f3577b34da6a3ce929d0e0e4736",
                "4bf92f3577b34da6a3ce929d0e0e4736",
            ),
            (
                "4BF92F3577B34DA6A3CE929D0E0E4736",
                "4bf92f3577b34da6a3ce929d0e0e4736",
            ),
        ] {
            let found = TraceId::of_correlation_id(id).unwrap().to_string();
            assert_eq!(found, trace, "{id:?}");
        }
        assert_eq!(TraceId::of_correlation_id(""), None);
        let zeros = "0".repeat(32);
        assert!(TraceId::of_correlation_id(&zeros).is_some(), "hashed");
    }

    #[test]
    fn hashed_traces_do_not_collide_in_either_half() {
        let ids = (0..40_000).map(|index| format!("request-{index}"));
        let traces: Vec<_> = ids
            .filter_map(|id| TraceId::of_correlation_id(&id))
            .collect();
        let half = |at: usize| -> HashSet<_> {
            traces
                .iter()
                .map(|id| id.to_string()[at..at + 16].to_owned())
                .collect()
        };
        assert_eq!((half(0).len(), half(16).len()), (40_000, 40_000));
    }

    #[test]
    fn a_trace_is_drawn_as_the_correlation_id_that_it_came_from() {
        for _ in 0..100 {
            let id = CorrelationId::random().to_string();
            let trace = TraceId::of_correlation_id(&id).unwrap();
            assert_eq!(trace.draw(), correlation_draw(&id));
        }
    }

    #[test]
    fn ids_round_trip_and_zero_is_none() {
        let (trace, span) = (TraceId::random(), SpanId::random());
        assert_eq!(TraceId::parse(&trace.to_string()), Some(trace));
        assert_eq!(TraceId::from_bytes(trace.to_bytes()), Some(trace));
        assert_eq!(SpanId::parse(&span.to_string()), Some(span));
        assert_eq!(
            SpanId::parse("00f067aa0ba902B7").unwrap().get(),
            0x00f0_67aa_0ba9_02b7
        );
        for rubbish in [
            "",
            "0",
            &"0".repeat(16),
            &"0".repeat(32),
            &"g".repeat(32),
            "00f067aa0ba902b7 ",
        ] {
            assert_eq!(
                (TraceId::parse(rubbish), SpanId::parse(rubbish)),
                (None, None),
                "{rubbish}"
            );
        }
    }
}
