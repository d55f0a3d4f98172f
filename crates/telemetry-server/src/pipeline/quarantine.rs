//! The bounded table of event names that the catalog does not know.
//!
//! It is for the operator: what is sent in vain, how often, and what was probably meant. The lock is
//! taken for unknown events only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use telemetry_core::catalog::{MAX_NAME_BYTES, escape, truncate};

/// Most names that are kept apart; further ones share one entry.
pub const MAX_QUARANTINED_NAMES: usize = 256;

/// One name that the catalog does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuarantinedName {
    /// The wire name, cut to 519 bytes and escaped; `…` stands for all names beyond the bound.
    pub name: String,
    /// Events rejected under it.
    pub count: u64,
    /// Wall clock of the first, nanoseconds since the Unix epoch.
    pub first_seen_ns: i64,
    /// Wall clock of the last, nanoseconds since the Unix epoch.
    pub last_seen_ns: i64,
    /// The wire name that was probably meant.
    pub suggestion: Option<String>,
}

/// Name of the entry that collects what does not fit.
const OVERFLOW_NAME: &str = "…";

/// Names that the catalog does not know, at most [`MAX_QUARANTINED_NAMES`].
#[derive(Debug, Default)]
pub struct Quarantine {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    names: BTreeMap<String, QuarantinedName>,
    overflow: Option<QuarantinedName>,
}

impl Quarantine {
    /// Counts one event with this name at this time. `suggest` runs once per name.
    pub(crate) fn add(
        &self,
        wire_name: &str,
        now_ns: i64,
        suggest: impl FnOnce(&str) -> Option<String>,
    ) {
        let name = escape(truncate(wire_name, MAX_NAME_BYTES));
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        if let Some(entry) = table.names.get_mut(name.as_ref()) {
            entry.saw(now_ns);
        } else if table.names.len() < MAX_QUARANTINED_NAMES {
            let entry = QuarantinedName::new(name.as_ref(), now_ns, suggest(&name));
            table.names.insert(name.into_owned(), entry);
        } else {
            table
                .overflow
                .get_or_insert_with(|| QuarantinedName {
                    count: 0,
                    ..QuarantinedName::new(OVERFLOW_NAME, now_ns, None)
                })
                .saw(now_ns);
        }
    }

    /// All names, sorted; the one that collects what did not fit comes last.
    #[must_use]
    pub fn list(&self) -> Vec<QuarantinedName> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .names
            .values()
            .chain(&table.overflow)
            .cloned()
            .collect()
    }

    /// Forgets all names, as after the catalog was extended.
    pub fn clear(&self) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Table::default();
    }
}

impl QuarantinedName {
    fn new(name: &str, now_ns: i64, suggestion: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            count: 1,
            first_seen_ns: now_ns,
            last_seen_ns: now_ns,
            suggestion,
        }
    }

    fn saw(&mut self, now_ns: i64) {
        self.count = self.count.saturating_add(1);
        self.last_seen_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_an_entry_and_no_count_is_lost() {
        let quarantine = Quarantine::default();
        for number in 0..300 {
            quarantine.add(&format!("unknown.{number}"), number, |_| None);
        }
        let list = quarantine.list();
        assert_eq!(list.len(), MAX_QUARANTINED_NAMES + 1);
        assert_eq!(list.iter().map(|entry| entry.count).sum::<u64>(), 300);
        assert_eq!(
            list.last().map(|entry| entry.name.as_str()),
            Some(OVERFLOW_NAME)
        );
    }

    #[test]
    fn hostile_names_are_cut_and_escaped() {
        let quarantine = Quarantine::default();
        quarantine.add(&format!("\u{1b}[31m{}", "x".repeat(100_000)), 1, |_| None);
        let name = quarantine.list().remove(0).name;
        assert!(name.starts_with(r"\u{001B}[31mx"), "{name}");
        assert!(name.len() < 1_000);
    }

    #[test]
    fn a_name_is_suggested_once_and_its_times_are_kept() {
        let quarantine = Quarantine::default();
        quarantine.add("tool.execution.stopp", 5, |_| {
            Some("tool.execution.stop".into())
        });
        quarantine.add("tool.execution.stopp", 9, |_| unreachable!("seen before"));
        let [entry] = &quarantine.list()[..] else {
            panic!("one name")
        };
        assert_eq!(
            (entry.count, entry.first_seen_ns, entry.last_seen_ns),
            (2, 5, 9)
        );
        assert_eq!(entry.suggestion.as_deref(), Some("tool.execution.stop"));
    }
}
