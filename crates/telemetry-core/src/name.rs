//! The dotted name of an event and the limits that keep names bounded.
//!
//! This room knows what a well-formed name is. It does not know which names exist (the catalog) nor
//! which are wanted (the policy).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most segments a name may have.
pub const MAX_SEGMENTS: usize = 8;

/// Most bytes a segment may have.
pub const MAX_SEGMENT_BYTES: usize = 64;

/// Most bytes a whole name can have: full segments and the dots between them.
pub const MAX_NAME_BYTES: usize = MAX_SEGMENTS * MAX_SEGMENT_BYTES + MAX_SEGMENTS - 1;

/// Longest piece of a refused name that an error repeats, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// A well-formed dotted name: 1 to [`MAX_SEGMENTS`] segments of 1 to [`MAX_SEGMENT_BYTES`] bytes
/// from `A-Z a-z 0-9 _ -`.
///
/// ```
/// use telemetry_core::catalog::EventName;
///
/// let name = EventName::new("tool.execution.stop")?;
/// assert_eq!(name.segments().collect::<Vec<_>>(), ["tool", "execution", "stop"]);
/// assert!(EventName::new("tool..stop").is_err());
/// # Ok::<(), telemetry_core::catalog::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventName(Arc<str>);

/// Why a text is no event name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("the event name is empty; expected segments joined by dots, such as `tool.call.stop`")]
    Empty,
    /// Two dots meet, or a dot is first or last.
    #[error("segment {index} of the event name {name:?} is empty")]
    EmptySegment {
        /// The refused name, cut to a quotable length.
        name: String,
        /// Which segment, from 0.
        index: usize,
    },
    /// A segment is longer than [`MAX_SEGMENT_BYTES`].
    #[error(
        "segment {index} of the event name {name:?} has {bytes} bytes; at most \
         {MAX_SEGMENT_BYTES} are allowed"
    )]
    LongSegment {
        /// The refused name, cut to a quotable length.
        name: String,
        /// Which segment, from 0.
        index: usize,
        /// Its length.
        bytes: usize,
    },
    /// There are more than [`MAX_SEGMENTS`] segments.
    #[error("the event name {name:?} has more than {MAX_SEGMENTS} segments")]
    TooManySegments {
        /// The refused name, cut to a quotable length.
        name: String,
    },
    /// A character is not one of `A-Z a-z 0-9 _ -`.
    #[error(
        "the event name {name:?} has {character:?} in segment {index}; only A-Z a-z 0-9 _ - are \
         allowed"
    )]
    Character {
        /// The refused name, cut to a quotable length.
        name: String,
        /// Which segment, from 0.
        index: usize,
        /// The first character that is not allowed.
        character: char,
    },
}

impl EventName {
    /// Checks `name` and takes a copy.
    ///
    /// # Errors
    ///
    /// [`NameError`] says which segment is wrong and what is allowed.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// Checks `name` without taking a copy, for callers that keep their own.
    ///
    /// # Errors
    ///
    /// [`NameError`], as for [`EventName::new`].
    pub fn check(name: &str) -> Result<(), NameError> {
        check(name)
    }

    /// The dotted form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments between the dots, in order; at least one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The shared text itself.
    #[must_use]
    pub fn into_arc(self) -> Arc<str> {
        self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl AsRef<str> for EventName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for EventName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for EventName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for EventName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<EventName> for String {
    fn from(name: EventName) -> Self {
        name.as_str().to_owned()
    }
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    for (index, segment) in name.split('.').enumerate() {
        if index == MAX_SEGMENTS {
            return Err(NameError::TooManySegments { name: quoted(name) });
        }
        if segment.is_empty() {
            return Err(NameError::EmptySegment {
                name: quoted(name),
                index,
            });
        }
        if segment.len() > MAX_SEGMENT_BYTES {
            let bytes = segment.len();
            return Err(NameError::LongSegment {
                name: quoted(name),
                index,
                bytes,
            });
        }
        if let Some(character) = segment.chars().find(|&character| !is_allowed(character)) {
            return Err(NameError::Character {
                name: quoted(name),
                index,
                character,
            });
        }
    }
    Ok(())
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

/// An error must not carry a megabyte of somebody's rubbish.
fn quoted(name: &str) -> String {
    name.chars().take(MAX_QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_length_names_are_allowed() {
        let name = vec!["s".repeat(MAX_SEGMENT_BYTES); MAX_SEGMENTS].join(".");
        assert_eq!(name.len(), MAX_NAME_BYTES);
        assert_eq!(
            EventName::new(&name).unwrap().segments().count(),
            MAX_SEGMENTS
        );
    }

    #[test]
    fn every_character_class_is_allowed() {
        assert_eq!(EventName::new("Ab-9._x").unwrap().to_string(), "Ab-9._x");
    }

    #[test]
    fn refusals_say_which_segment() {
        let refused = |name: &str| EventName::new(name).unwrap_err();
        assert_eq!(refused(""), NameError::Empty);
        assert_eq!(
            refused("a..b"),
            NameError::EmptySegment {
                name: "a..b".into(),
                index: 1
            }
        );
        assert_eq!(
            refused(".a"),
            NameError::EmptySegment {
                name: ".a".into(),
                index: 0
            }
        );
        assert_eq!(
            refused("a."),
            NameError::EmptySegment {
                name: "a.".into(),
                index: 1
            }
        );
        assert_eq!(
            refused("a.b c"),
            NameError::Character {
                name: "a.b c".into(),
                index: 1,
                character: ' '
            }
        );
        assert_eq!(
            refused("a.é"),
            NameError::Character {
                name: "a.é".into(),
                index: 1,
                character: 'é'
            }
        );
        assert_eq!(
            refused("a.b.c.d.e.f.g.h.i"),
            NameError::TooManySegments {
                name: "a.b.c.d.e.f.g.h.i".into()
            }
        );
        let long = format!("a.{}", "b".repeat(MAX_SEGMENT_BYTES + 1));
        assert_eq!(
            refused(&long),
            NameError::LongSegment {
                name: long.clone(),
                index: 1,
                bytes: 65
            }
        );
    }

    #[test]
    fn errors_do_not_repeat_a_huge_name() {
        let error = EventName::new(&"é".repeat(1_000_000)).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }
}
