//! Where names end that the catalog does not have: refused, or seen and learned.

use telemetry_core::{
    catalog::EventName,
    wire::{MAX_REJECTED_NAMES, RejectedName},
};

use super::seen::Seen;

/// What of one pipeline's events the catalog does not have.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    /// Names that were refused.
    pub(super) refused: Refused,
    /// What passed; `None` if nothing may.
    pub(super) seen: Option<Box<Seen>>,
}

/// The first names that a pipeline refused, for the worker to be told.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// All of them, once each.
    names: Vec<RejectedName>,
    /// How many of them were taken to be told.
    taken: usize,
}

impl Refused {
    /// Takes in a name; `suggest` says what was meant.
    pub(super) fn add(&mut self, name: &str, suggest: impl FnOnce(&str) -> Option<String>) {
        let is_known = self.names.iter().any(|it| it.name == name);
        if !is_known && self.names.len() < MAX_REJECTED_NAMES && EventName::check(name).is_ok() {
            let suggestion = suggest(name);
            self.names
                .push(RejectedName::new(name.to_owned(), suggestion));
        }
    }

    /// Those that were added since they were last taken.
    pub(super) fn take(&mut self) -> &[RejectedName] {
        let before = std::mem::replace(&mut self.taken, self.names.len());
        self.names.get(before..).unwrap_or_default()
    }
}
