//! The value of a measurement: a whole number, a float or text.
//!
//! This room knows the three shapes of the wire and how Rust's numbers fall into them. It does not
//! judge values: limits and escaping are the sanitizer's, keys and units the catalog's.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One measured value, owned.
///
/// Serializes as the bare number or string. JSON has no infinities and no NaN; `serde_json` writes
/// those floats as `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A count, a size, nanoseconds.
    Int(i64),
    /// A number with a fraction; NaN and infinities are representable and judged elsewhere.
    Float(f64),
    /// Text, for the few measurements that have no number.
    Str(String),
}

/// One measured value, borrowed: what `emit` takes and what handlers read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ValueRef<'a> {
    /// A count, a size, nanoseconds.
    Int(i64),
    /// A number with a fraction; NaN and infinities are representable and judged elsewhere.
    Float(f64),
    /// Text, for the few measurements that have no number.
    Str(&'a str),
}

impl Value {
    /// The same value, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Int(number) => ValueRef::Int(*number),
            Self::Float(number) => ValueRef::Float(*number),
            Self::Str(text) => ValueRef::Str(text),
        }
    }

    /// The number as a float; `None` for text. Integers beyond 2^53 lose their last digits.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.as_ref().as_f64()
    }
}

impl ValueRef<'static> {
    /// A span of time in nanoseconds; beyond 292 years it stays there.
    #[must_use]
    pub fn nanos(span: Duration) -> Self {
        Self::Int(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl<'a> ValueRef<'a> {
    /// The same value with its text copied.
    #[must_use]
    pub fn to_owned(self) -> Value {
        match self {
            Self::Int(number) => Value::Int(number),
            Self::Float(number) => Value::Float(number),
            Self::Str(text) => Value::Str(text.to_owned()),
        }
    }

    /// The number as a float; `None` for text. Integers beyond 2^53 lose their last digits.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Str(_) => None,
        }
    }

    /// The whole number; `None` for floats and text.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::Float(_) | Self::Str(_) => None,
        }
    }

    /// The text; `None` for numbers.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Int(_) | Self::Float(_) => None,
        }
    }
}

/// The wire has no unsigned integer. What an `i64` cannot hold becomes a float: the magnitude
/// survives, which saturating or wrapping would not give.
macro_rules! from_unsigned {
    ($($number:ty),*) => {$(
        impl From<$number> for ValueRef<'_> {
            fn from(number: $number) -> Self {
                i64::try_from(number).map_or(Self::Float(number as f64), Self::Int)
            }
        }

        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                ValueRef::from(number).to_owned()
            }
        }
    )*};
}

macro_rules! from_small {
    ($($number:ty => $variant:ident),*) => {$(
        impl From<$number> for ValueRef<'_> {
            fn from(number: $number) -> Self {
                Self::$variant(number.into())
            }
        }

        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self::$variant(number.into())
            }
        }
    )*};
}

from_unsigned!(u64, usize);
from_small!(i64 => Int, i32 => Int, u32 => Int, bool => Int, f64 => Float, f32 => Float);

impl<'a> From<&'a str> for ValueRef<'a> {
    fn from(text: &'a str) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a String> for ValueRef<'a> {
    fn from(text: &'a String) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        value.as_ref()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_become_int() {
        assert_eq!(Value::from(-7_i64), Value::Int(-7));
        assert_eq!(Value::from(-7_i32), Value::Int(-7));
        assert_eq!(Value::from(u32::MAX), Value::Int(4_294_967_295));
        assert_eq!(Value::from(7_usize), Value::Int(7));
        assert_eq!(Value::from(true), Value::Int(1));
        assert_eq!(ValueRef::from(false), ValueRef::Int(0));
    }

    #[test]
    fn unsigned_beyond_i64_keeps_its_magnitude_as_float() {
        let last = u64::try_from(i64::MAX).unwrap();
        assert_eq!(Value::from(last), Value::Int(i64::MAX));
        assert_eq!(
            Value::from(last + 1),
            Value::Float(9_223_372_036_854_775_808.0)
        );
        assert_eq!(
            ValueRef::from(u64::MAX),
            ValueRef::Float(18_446_744_073_709_551_615.0)
        );
    }

    #[test]
    fn borrowed_and_owned_are_the_same_value() {
        for value in [Value::from(1_i64), Value::from(0.5), Value::from("héllo")] {
            assert_eq!(value.as_ref().to_owned(), value);
        }
    }

    #[test]
    fn only_numbers_are_floats() {
        assert_eq!(Value::from(3_i64).as_f64(), Some(3.0));
        assert_eq!(Value::from(0.25).as_f64(), Some(0.25));
        assert_eq!(Value::from("3").as_f64(), None);
        assert_eq!(ValueRef::from(0.25).as_i64(), None);
        assert_eq!(ValueRef::from("3").as_str(), Some("3"));
    }
}
