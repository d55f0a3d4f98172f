//! Whom each event was sent to last, so that a manager that comes back can be told what is lost of that
//! which was meant for it.
//!
//! Kept as runs of sequences, newest last. Runs only ever grow where streams alternate between managers.

use telemetry_core::catalog::truncate;

/// Runs that are kept; the oldest ones count as the next one's beyond that.
const MAX_RUNS: usize = 64;
/// How much of a name counts, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Stands for whoever acknowledged an event. A manager that calls itself so misses nothing.
const ACKNOWLEDGED: &str = "\0acknowledged";

/// Sequences that one manager was the last to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    /// The last of them; the first one is behind the run before.
    last: u64,
    /// By its name; empty for one that never said it.
    manager: Box<str>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    runs: Vec<Run>,
}

impl Recipients {
    /// The events from `first` to `last` were sent to a manager. What lies behind those that were ever
    /// sent begins where they end.
    pub(super) fn sent(&mut self, manager: &str, first: u64, last: u64) {
        let manager = truncate(manager, MAX_NAME_BYTES);
        if let Some(newest) = self.runs.last_mut()
            && *newest.manager == *manager
            && newest.last + 1 == first
        {
            newest.last = last;
            return;
        }
        let before = self.runs.iter().position(|run| run.last >= first);
        let before = before.unwrap_or(self.runs.len());
        let mut rest: Vec<Run> = self.runs.split_off(before);
        let cut = rest.first().map(|run| run.manager.clone());
        rest.retain(|run| run.last > last);
        if let Some(manager) = cut {
            self.push(manager, first - 1);
        }
        self.push(manager.into(), last);
        for run in rest {
            self.push(run.manager, run.last);
        }
    }

    /// A manager has handled what it was sent up to this sequence: nobody misses that.
    pub(super) fn handled(&mut self, manager: &str, sequence: u64) {
        let manager = truncate(manager, MAX_NAME_BYTES);
        let mut before = 0;
        for run in std::mem::take(&mut self.runs) {
            let is_its = *run.manager == *manager && before < sequence;
            if is_its {
                self.push(ACKNOWLEDGED.into(), run.last.min(sequence));
            }
            before = run.last;
            self.push(run.manager, run.last);
        }
    }

    /// How many events behind `handled` and up to `released` were sent to this manager last.
    pub(super) fn missed(&self, manager: &str, handled: u64, released: u64) -> u64 {
        let manager = truncate(manager, MAX_NAME_BYTES);
        let mut before = 0;
        let mut missed = 0;
        for run in &self.runs {
            if *run.manager == *manager {
                let (from, to) = (before.max(handled), run.last.min(released));
                missed += to.saturating_sub(from);
            }
            before = run.last;
        }
        missed
    }

    /// Adds a run behind the others, if it is one.
    fn push(&mut self, manager: Box<str>, last: u64) {
        match self.runs.last_mut() {
            Some(newest) if newest.last >= last => {}
            Some(newest) if newest.manager == manager => newest.last = last,
            _ if last == 0 => {}
            _ => self.runs.push(Run { last, manager }),
        }
        if self.runs.len() > MAX_RUNS {
            self.runs.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_was_sent_an_event_last_misses_it() {
        let mut recipients = Recipients::default();
        recipients.sent("a", 1, 100);
        assert_eq!(recipients.missed("a", 90, 95), 5);
        recipients.sent("b", 96, 110);
        assert_eq!(recipients.missed("a", 90, 110), 5, "96 to 100 went to b");
        assert_eq!(recipients.missed("b", 0, 105), 10);
        assert_eq!(recipients.missed("c", 0, 110), 0);
        recipients.sent("a", 98, 99);
        assert_eq!(recipients.missed("b", 0, 110), 2 + 11);
        assert_eq!(recipients.missed("a", 0, 110), 95 + 2);
    }

    #[test]
    fn nobody_misses_what_was_handled() {
        let mut recipients = Recipients::default();
        recipients.sent("a", 1, 10);
        recipients.sent("b", 11, 20);
        recipients.sent("a", 21, 30);
        recipients.handled("a", 25);
        assert_eq!(recipients.missed("a", 0, 30), 5);
        assert_eq!(recipients.missed("b", 0, 30), 10);
        recipients.handled("b", 12);
        recipients.handled("b", 12);
        assert_eq!(recipients.missed("b", 0, 30), 8);
    }

    proptest! {
        /// The same as a list with one name for each event.
        #[test]
        fn runs_say_the_same_as_a_list(
            sends in prop::collection::vec((0_usize..3, 0_usize..20, 1_usize..30), 1..40),
            bounds in (0_u64..200, 0_u64..200),
        ) {
            let mut recipients = Recipients::default();
            let mut list: Vec<usize> = Vec::new();
            for (manager, back, count) in sends {
                let before = list.len().saturating_sub(back);
                let last = before + count;
                list.resize(list.len().max(last), manager);
                list[before..last].fill(manager);
                recipients.sent(["a", "b", "c"][manager], before as u64 + 1, last as u64);
            }
            prop_assume!(recipients.runs.len() < MAX_RUNS);
            let (handled, released) = bounds;
            for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
                let expected = list.iter().zip(1_u64..).filter(|(manager, sequence)| {
                    **manager == index && *sequence > handled && *sequence <= released
                });
                prop_assert_eq!(recipients.missed(name, handled, released), expected.count() as u64);
            }
        }
    }
}
