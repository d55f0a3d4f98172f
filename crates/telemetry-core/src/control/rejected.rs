//! Names that a manager does not take, on the wire and in words.
//!
//! What is no name is left out: a worker shows these words to people.

use std::fmt;

use telemetry_proto as proto;

use crate::name::EventName;

/// Most names in one [`Control::Rejected`](super::Control::Rejected); a worker reads no more of them.
pub const MAX_REJECTED_NAMES: usize = 64;

/// The name of an event that a manager does not take, because its catalog has no such event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedName {
    /// What the worker sends.
    pub name: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl RejectedName {
    /// A name, and what was probably meant.
    #[must_use]
    pub fn new(name: String, suggestion: Option<String>) -> Self {
        Self { name, suggestion }
    }

    pub(super) fn to_proto(&self) -> proto::RejectedName {
        proto::RejectedName {
            name: self.name.clone(),
            suggestion: self.suggestion.clone().unwrap_or_default(),
        }
    }
}

/// In words: `'a.stpo' is not in the manager's catalog; did you mean 'a.stop'?`
impl fmt::Display for RejectedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not in the manager's catalog", self.name)?;
        match &self.suggestion {
            Some(meant) => write!(f, "; did you mean '{meant}'?"),
            None => Ok(()),
        }
    }
}

/// The names of a message that can be names.
pub(super) fn from_proto(message: &proto::TelemetryRejected) -> Vec<RejectedName> {
    let is_name = |name: &str| EventName::check(name).is_ok();
    let one = |it: &proto::RejectedName| RejectedName {
        name: it.name.clone(),
        suggestion: Some(it.suggestion.clone()).filter(|it| is_name(it)),
    };
    let names = message.names.iter().filter(|it| is_name(&it.name));
    names.take(MAX_REJECTED_NAMES).map(one).collect()
}
