//! The two filter lists: which names are let through at all.
//!
//! Deny wins over allow; an empty allow list lets everything through. Knows nothing of rates.

use crate::control::{ControlError, PatternList, compile_list};
use crate::pattern::PatternSet;

/// The compiled lists. The default lets everything through.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// Names to let through; empty lets all through.
    allow: PatternSet,
    /// Names to drop.
    deny: PatternSet,
}

impl Filter {
    pub(super) fn compile(allow: &[String], deny: &[String]) -> Result<Self, ControlError> {
        Ok(Self {
            allow: compile_list(PatternList::Allow, allow)?,
            deny: compile_list(PatternList::Deny, deny)?,
        })
    }

    pub(super) fn lets_through(&self, name: &str) -> bool {
        !self.deny.matches(name) && (self.allow.is_empty() || self.allow.matches(name))
    }
}
