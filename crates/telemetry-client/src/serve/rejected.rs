//! Events that a manager does not take, as it said so itself.
//!
//! Written by whoever hears the manager, read by the program. It says each name once to the log.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use telemetry_core::wire::{MAX_REJECTED_NAMES, RejectedName};

/// The names that managers of this worker said they do not take; the first 64 of them.
///
/// Their events are counted at the manager, as `unknown_event`; here they count as sent.
#[derive(Default)]
pub struct RejectedNames {
    names: Mutex<Vec<RejectedName>>,
    /// Called after there is a new one.
    on_news: Option<fn()>,
}

impl RejectedNames {
    /// None so far. `on_news` is called when there is a new one, on the thread that hears the manager: it
    /// must not wait.
    #[must_use]
    pub fn telling(on_news: fn()) -> Self {
        Self {
            names: Mutex::default(),
            on_news: Some(on_news),
        }
    }

    /// All so far, in the order in which they came.
    #[must_use]
    pub fn list(&self) -> Vec<RejectedName> {
        self.lock().clone()
    }

    /// Takes in what a manager said.
    pub(super) fn add(&self, more: &[RejectedName]) {
        let mut names = self.lock();
        let before = names.len();
        for one in more {
            let is_known = names.iter().any(|it| it.name == one.name);
            if !is_known && names.len() < MAX_REJECTED_NAMES {
                tracing::warn!("{one}");
                names.push(one.clone());
            }
        }
        let is_news = names.len() > before;
        drop(names);
        if let (true, Some(on_news)) = (is_news, self.on_news) {
            on_news();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RejectedName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RejectedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().iter()).finish()
    }
}
