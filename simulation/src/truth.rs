//! What really happened, counted outside of the code that is tried: which events were kept by an emit, and which
//! of them reached a handler.
//!
//! Each event carries a number of its own. Who is dead handles nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry_core::Outcome;

/// What became of the emits of one incarnation, as they returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Emitted {
    /// Events that were kept.
    pub(crate) kept: u64,
    /// Events that were refused and counted.
    pub(crate) dropped: u64,
}

/// One event that was kept.
#[derive(Debug, Clone, Default)]
struct Kept {
    incarnation: usize,
    /// How often each manager handled it.
    handled: BTreeMap<usize, u64>,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    /// Kept events by number.
    kept: BTreeMap<u64, Kept>,
    emitted: BTreeMap<usize, Emitted>,
    /// Calls of each manager's handler.
    calls: BTreeMap<usize, u64>,
    /// What cannot be.
    faults: Vec<String>,
}

/// See the module. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth(Arc<Mutex<Known>>);

impl Truth {
    /// The number of the next event.
    #[must_use]
    pub(crate) fn next_number(&self) -> u64 {
        let mut known = self.lock();
        known.next += 1;
        known.next
    }

    /// An emit of an incarnation returned.
    pub(crate) fn emitted(&self, incarnation: usize, number: u64, outcome: Outcome) {
        let mut known = self.lock();
        match outcome {
            Outcome::Accepted => {
                known.emitted.entry(incarnation).or_default().kept += 1;
                let kept = Kept {
                    incarnation,
                    ..Kept::default()
                };
                known.kept.insert(number, kept);
            }
            Outcome::Dropped(_) => known.emitted.entry(incarnation).or_default().dropped += 1,
            // A worker that is off emits nothing.
            _ => {}
        }
    }

    /// A manager's handler was called with an event.
    pub(crate) fn handled(&self, manager: usize, number: Option<u64>) {
        let mut known = self.lock();
        *known.calls.entry(manager).or_default() += 1;
        let kept = number.and_then(|number| known.kept.get_mut(&number));
        let Some(kept) = kept else {
            let fault = format!("manager {manager} handled event {number:?}, which nobody emitted");
            return known.faults.push(fault);
        };
        let times = kept.handled.entry(manager).or_default();
        *times += 1;
        if *times > 1 {
            let fault = format!("manager {manager} handled event {number:?} {times} times");
            known.faults.push(fault);
        }
    }

    /// What cannot be and was, first of all.
    #[must_use]
    pub(crate) fn fault(&self) -> Option<String> {
        self.lock().faults.first().cloned()
    }

    /// How often the handler of a manager was called.
    #[must_use]
    pub(crate) fn calls(&self, manager: usize) -> u64 {
        self.lock().calls.get(&manager).copied().unwrap_or_default()
    }

    /// Something happened that cannot be.
    pub(crate) fn cannot_be(&self, fault: String) {
        self.lock().faults.push(fault);
    }

    /// What one incarnation emitted.
    #[must_use]
    pub(crate) fn of(&self, incarnation: usize) -> Emitted {
        let known = self.lock();
        known.emitted.get(&incarnation).cloned().unwrap_or_default()
    }

    /// The events of an incarnation that were kept and that no manager handled.
    #[must_use]
    pub(crate) fn missing(&self, incarnation: usize) -> Vec<u64> {
        let known = self.lock();
        let own = known
            .kept
            .iter()
            .filter(|(_, kept)| kept.incarnation == incarnation);
        let missing = own.filter(|(_, kept)| kept.handled.is_empty());
        missing.map(|(number, _)| *number).collect()
    }

    /// Events that were kept, and events that were handled.
    #[must_use]
    pub(crate) fn totals(&self) -> (u64, u64) {
        let known = self.lock();
        let kept = known.kept.len() as u64;
        (
            kept,
            known
                .kept
                .values()
                .filter(|it| !it.handled.is_empty())
                .count() as u64,
        )
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
