//! What became of events: the numbers of a worker, a pool or the fleet, and whether they add up.

use serde::Serialize;
use telemetry_core::ledger::{Counts, Imbalance, StreamSnapshot, WorkerSnapshot};

use crate::dispatch::HandlerInfo;
use crate::manager::{Manager, Totals};
use crate::session::StreamInfo;

/// What became of the events of a worker, a pool or all.
///
/// Numbers are of events, from where this manager knows of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Ledger {
    /// That have come to an end, here or at a worker.
    pub emitted: u64,
    /// That arrived here.
    pub received: u64,
    /// Handed to the handlers.
    pub dispatched: u64,
    /// Arrived and refused here, by reason.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub rejected: Counts,
    /// Ended at a worker, by reason.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub dropped: Counts,
    /// Lost on the way.
    pub gaps: u64,
    /// Lost with processes that ended.
    pub lost: u64,
    /// Sent, and not here yet.
    pub away: u64,
    /// Waiting at a worker when it last reported.
    pub queued: u64,
    /// Incarnations that ended without a last word; what they did not report is in no number here.
    pub unaccounted: u64,
    /// By how many events the numbers do not add up; left out where that cannot be known, as of a stock worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<u64>,
}

impl Ledger {
    fn new(ledger: &StreamSnapshot, reported: &WorkerSnapshot) -> Self {
        Self {
            emitted: reported.emitted,
            received: ledger.received,
            dispatched: ledger.dispatched,
            rejected: ledger.rejected.clone(),
            dropped: reported.dropped.clone(),
            gaps: ledger.gaps,
            queued: reported.queued,
            ..Self::default()
        }
    }

    /// Of one stream.
    pub(super) fn of_stream(info: &StreamInfo) -> Self {
        Self {
            lost: info.lost_at_crash,
            away: info.away,
            unaccounted: info.unaccounted_incarnations,
            difference: (!info.legacy).then(|| info.ledger_difference()),
            ..Self::new(&info.ledger, &info.reported)
        }
    }

    /// Of lines on stderr: what arrived was emitted, and a line says no more.
    #[cfg(feature = "pool")]
    pub(super) fn of_lines(ledger: &StreamSnapshot) -> Self {
        Self {
            emitted: ledger.received,
            difference: Some(ledger.difference()),
            ..Self::new(ledger, &WorkerSnapshot::default())
        }
    }

    /// Of several workers.
    pub(super) fn of_totals(totals: &Totals) -> Self {
        Self {
            lost: totals.lost_at_crash,
            away: totals.away,
            unaccounted: totals.unaccounted_incarnations,
            difference: Some(totals.ledger_difference),
            ..Self::new(&totals.ledger, &totals.reported)
        }
    }
}

/// A law of the ledger, and whether it holds now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Law {
    /// Its name: `T1+M1`, `M2`, `M3`, `M4`, `A` (the accounts of incarnations).
    pub law: String,
    /// What it is about: `workers`, `fleet`, `incarnations`, or the id of a handler.
    pub of: String,
    /// Whether it holds.
    pub holds: bool,
    /// If it does not: what disagrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Law {
    fn of(law: &str, of: &str, checked: Result<(), Imbalance>) -> Self {
        Self::judged(law, of, checked.err().map(|error| error.to_string()))
    }

    fn differing(law: &str, of: &str, difference: u64) -> Self {
        let why = format!("off by {difference} events");
        Self::judged(law, of, (difference != 0).then_some(why))
    }

    fn judged(law: &str, of: &str, why: Option<String>) -> Self {
        Self {
            law: law.to_owned(),
            of: of.to_owned(),
            holds: why.is_none(),
            why,
        }
    }
}

/// The sums over all workers there ever were, and whether they add up.
///
/// Numbers that belong together are read one after the other: with events under way a law may seem to be broken for
/// a moment. One that is broken at rest is a defect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Accounts {
    /// The sums.
    pub ledger: Ledger,
    /// Whether every law holds.
    pub balances: bool,
    /// The laws.
    pub laws: Vec<Law>,
}

impl Accounts {
    /// The accounts of a manager and its handlers.
    #[must_use]
    pub fn of(manager: &Manager) -> Self {
        let totals = manager.totals();
        let incarnations = manager.incarnations();
        let differences = incarnations.iter().map(|it| it.difference());
        let differences = differences.fold(0, u64::saturating_add);
        let mut laws = vec![
            Law::differing("T1+M1", "workers", totals.ledger_difference),
            Law::differing("A", "incarnations", differences),
        ];
        // A law of sums has its name in what it says.
        let sums = totals.check().err();
        laws.extend(["M3", "M4"].map(|law| {
            let broken = sums.as_ref().filter(|broken| broken.law == law);
            Law::judged(law, "fleet", broken.map(ToString::to_string))
        }));
        let of_handler = |handler: &HandlerInfo| Law::of("M2", &handler.id, handler.ledger.check());
        laws.extend(
            manager
                .dispatcher()
                .list_handlers("")
                .iter()
                .map(of_handler),
        );
        Self {
            ledger: Ledger::of_totals(&totals),
            balances: laws.iter().all(|law| law.holds),
            laws,
        }
    }
}
