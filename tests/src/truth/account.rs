//! What a manager says became of the events, read in this file and nowhere else.
//!
//! One [`Incarnation`] for each life of a worker process, one [`Sums`] for each pool. Everything
//! that compares them with the truth is written against these two.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use telemetry_server::{Manager, Totals, stream::IncarnationInfo};

/// What a manager says about one incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Its id, 32 hexadecimal digits; empty for a process that never said hello.
    pub incarnation: String,
    /// The worker it was registered as.
    pub worker_id: String,
    /// The pool.
    pub pool_name: Option<String>,
    /// Its process: the number at the end of an id such as `loose.17`, else what the manager says.
    pub pid: Option<u32>,
    /// What it emitted since the manager knows it.
    pub emitted: u64,
    /// What it emitted before that, or what went elsewhere.
    pub emitted_before: u64,
    /// What arrived.
    pub received: u64,
    /// What was lost on the way.
    pub gaps: u64,
    /// What the worker dropped, for whatever reason.
    pub dropped: u64,
    /// What it took with it when it died.
    pub lost_at_crash: u64,
    /// What it reported as sent and what has not arrived; it may yet.
    pub away: u64,
    /// What waits in the worker.
    pub queued: u64,
    /// Sequences that went to another manager.
    pub elsewhere: u64,
    /// Whether the process is known to be gone.
    pub ended: bool,
    /// Whether its account was closed by itself.
    pub complete: bool,
    /// Since when nothing is known; for one that ended otherwise.
    pub unknown_since_ns: Option<i64>,
    /// How much of what arrived was read from its memory, if that was read.
    pub recovered: Option<u64>,
}

/// What a manager says about one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// The pool; `None` for workers that are in none.
    pub pool_name: Option<String>,
    /// Emitted, all workers there ever were.
    pub emitted: u64,
    /// Arrived.
    pub received: u64,
    /// Dropped by workers.
    pub dropped: u64,
    /// Lost on the way.
    pub gaps: u64,
    /// Lost with a process.
    pub lost_at_crash: u64,
    /// Sent, and not here.
    pub away: u64,
    /// Incarnations whose end nobody told of.
    pub unaccounted_incarnations: u64,
}

/// What `manager` says about every incarnation.
#[must_use]
pub fn incarnations(manager: &Manager) -> Vec<Incarnation> {
    manager.incarnations().into_iter().map(of_info).collect()
}

/// What `manager` says about every pool.
#[must_use]
pub fn pools(manager: &Manager) -> Vec<Sums> {
    let pools = manager.pools().into_iter();
    pools
        .map(|pool| of_totals(pool.pool_name, &pool.totals))
        .collect()
}

fn of_info(info: IncarnationInfo) -> Incarnation {
    let worker_id = info.worker_id.to_string();
    // Behind a cable the system shows the process that holds the cable.
    let named = worker_id
        .rsplit_once('.')
        .and_then(|(_, pid)| pid.parse().ok());
    Incarnation {
        incarnation: info.incarnation,
        pid: named.or(info.pid),
        worker_id,
        pool_name: info.pool_name,
        emitted: info.emitted,
        emitted_before: info.emitted_before,
        received: info.received,
        gaps: info.gaps,
        dropped: info.dropped.total(),
        lost_at_crash: info.lost_at_crash,
        away: info.away,
        queued: info.queued,
        elsewhere: info.elsewhere,
        ended: info.ended,
        complete: info.complete,
        unknown_since_ns: info.unknown_since_ns,
        recovered: info.recovered,
    }
}

fn of_totals(pool_name: Option<String>, totals: &Totals) -> Sums {
    Sums {
        pool_name,
        emitted: totals.reported.emitted,
        received: totals.ledger.received,
        dropped: totals.reported.dropped.total(),
        gaps: totals.ledger.gaps,
        lost_at_crash: totals.lost_at_crash,
        away: totals.away,
        unaccounted_incarnations: totals.unaccounted_incarnations,
    }
}

impl Incarnation {
    /// Everything the manager says it emitted in its life: to be compared with its page.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.emitted_before + self.emitted
    }

    /// What became of what it emitted since the manager knows it: to be compared with `emitted`.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.received + self.gaps + self.dropped + self.lost_at_crash + self.away + self.queued
    }

    /// Adds what is said about the same process in another row.
    fn join(&mut self, other: &Self) {
        match (self.incarnation.is_empty(), other.incarnation.is_empty()) {
            // A registration that heard nothing says nothing.
            (_, true) if other.emitted + other.received == 0 => return,
            (true, false) => {
                self.incarnation.clone_from(&other.incarnation);
                self.emitted_before = other.emitted_before;
            }
            (false, true) => {}
            _ => self.emitted_before = self.emitted_before.min(other.emitted_before),
        }
        self.emitted += other.emitted;
        self.received += other.received;
        self.gaps += other.gaps;
        self.dropped += other.dropped;
        self.lost_at_crash += other.lost_at_crash;
        self.away += other.away;
        self.queued += other.queued;
        self.elsewhere = self.elsewhere.max(other.elsewhere);
        self.ended &= other.ended;
        self.complete |= other.complete;
        self.unknown_since_ns = self.unknown_since_ns.or(other.unknown_since_ns);
    }
}

/// What is said about each process. One process is one incarnation; rows about the same one, such
/// as of two registrations, are added up.
#[must_use]
pub fn by_process(rows: &[Incarnation]) -> BTreeMap<u32, Incarnation> {
    added_up(rows, |row| row.pid)
}

/// What is said about each incarnation that has a name, added up in the same way.
#[must_use]
pub fn by_incarnation(rows: &[Incarnation]) -> BTreeMap<String, Incarnation> {
    added_up(rows, |row| {
        (!row.incarnation.is_empty()).then(|| row.incarnation.clone())
    })
}

fn added_up<K: Ord>(
    rows: &[Incarnation],
    key: impl Fn(&Incarnation) -> Option<K>,
) -> BTreeMap<K, Incarnation> {
    let mut sums: BTreeMap<K, Incarnation> = BTreeMap::new();
    // Those with a name first: what has none is added to them.
    let (named, nameless): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| !row.incarnation.is_empty());
    for row in named.into_iter().chain(nameless) {
        let Some(key) = key(row) else { continue };
        sums.entry(key)
            .and_modify(|known| known.join(row))
            .or_insert_with(|| row.clone());
    }
    sums
}

/// The last that was said about each process, also by managers that are gone.
#[derive(Debug, Clone, Default)]
pub struct Book {
    rows: BTreeMap<u32, Incarnation>,
}

impl Book {
    /// Notes what a manager says now.
    pub fn note(&mut self, rows: &[Incarnation]) {
        self.rows.extend(by_process(rows));
    }

    /// The last that was said about a process.
    #[must_use]
    pub fn of(&self, pid: u32) -> Option<&Incarnation> {
        self.rows.get(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(incarnation: &str, emitted_before: u64, emitted: u64) -> Incarnation {
        Incarnation {
            incarnation: incarnation.to_owned(),
            pid: Some(7),
            emitted,
            emitted_before,
            received: emitted,
            ..Incarnation::default()
        }
    }

    #[test]
    fn rows_about_one_process_are_added_up_from_the_earliest_beginning() {
        let mut silent = row("", 0, 0);
        silent.unknown_since_ns = Some(1);
        let rows = [silent, row("a", 30, 12), row("", 0, 3), row("a", 10, 20)];
        let sum = &by_process(&rows)[&7];
        assert_eq!((sum.told(), sum.accounted()), (45, 35));
        assert_eq!(
            (sum.incarnation.as_str(), sum.unknown_since_ns),
            ("a", None)
        );
    }

    #[test]
    fn a_process_that_never_said_hello_has_a_row() {
        assert_eq!(by_process(&[row("", 0, 0)]).len(), 1);
        assert_eq!(by_incarnation(&[row("", 0, 0)]).len(), 0);
    }
}
