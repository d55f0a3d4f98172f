//! What happened, what was said, and what must not have been: filled by all lanes, read at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_tests::truth::{Answer, Book, Laws, Line, Order, Pages, Sums};

use crate::faults::{Fault, Happened};

/// Between two looks at what the managers say.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// How long a manager may take to say it.
const TO_ANSWER: Duration = Duration::from_secs(5);

/// One fault over the whole run.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) injected: u64,
    pub(crate) happened: u64,
    /// What was seen last, or why it did not happen.
    pub(crate) evidence: String,
}

/// The record of a run. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) faults: BTreeMap<Fault, Times>,
    /// By process: the last fault it met.
    pub(crate) causes: BTreeMap<u32, Fault>,
    /// The last that was said about each process.
    pub(crate) book: Book,
    /// What must not be, and was.
    pub(crate) broken: BTreeSet<String>,
    /// Looks at what managers say.
    pub(crate) looks: u64,
    /// What all managers that ended had counted as emitted, each less what others have.
    pub(crate) counted: u64,
}

impl Record {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault is about to be done.
    pub(crate) fn injects(&self, fault: Fault) {
        self.lock().faults.entry(fault).or_default().injected += 1;
    }

    /// It was done.
    pub(crate) fn happened(&self, fault: Fault, happened: Happened) {
        let mut shared = self.lock();
        for pid in happened.pids {
            let cause = shared.causes.entry(pid).or_insert(fault);
            // The end of a manager meets all workers, and says least about each.
            if !fault.meets_all() {
                *cause = fault;
            }
        }
        let times = shared.faults.entry(fault).or_default();
        times.happened += 1;
        times.evidence = happened.evidence;
    }

    /// Something that must not be.
    pub(crate) fn broke(&self, what: impl Into<String>) {
        self.lock().broken.insert(what.into());
    }

    /// Takes over the last words of a manager.
    pub(crate) fn close(&self, last: &Answer) {
        self.note(last);
        self.count(&last.pools);
    }

    /// Adds what a manager counted to what all of them did.
    pub(crate) fn count(&self, pools: &[Sums]) {
        self.lock().counted += pools.iter().map(|sums| sums.emitted).sum::<u64>();
    }

    /// Takes over what a manager says.
    pub(crate) fn note(&self, answer: &Answer) {
        self.lock().book.note(&answer.incarnations);
    }
}

/// A manager that is looked at all the time.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) line: Line,
    /// Set while no answer can be expected.
    pub(crate) away: AtomicBool,
    laws: tokio::sync::Mutex<Laws>,
    name: &'static str,
}

impl Watched {
    pub(crate) fn new(name: &'static str, line: Line) -> Arc<Self> {
        Arc::new(Self {
            line,
            away: AtomicBool::new(false),
            laws: tokio::sync::Mutex::default(),
            name,
        })
    }

    /// Looks again and again until `over`.
    pub(crate) async fn watch(
        self: Arc<Self>,
        record: Record,
        pages: Pages,
        over: Arc<AtomicBool>,
    ) {
        let mut ticks = tokio::time::interval(BETWEEN_LOOKS);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !over.load(Ordering::SeqCst) {
            ticks.tick().await;
            // Whoever has the manager stop or end holds the laws meanwhile.
            let mut laws = self.laws.lock().await;
            if self.away.load(Ordering::SeqCst) || over.load(Ordering::SeqCst) {
                continue;
            }
            let answer = self.line.ask_within(&Order::Account, TO_ANSWER).await;
            match answer {
                Ok(answer) => {
                    record.note(&answer);
                    laws.look(&answer.pools, pages.sum().begun);
                    record.lock().looks += 1;
                }
                Err(error) => record.broke(format!("{} did not answer: {error}", self.name)),
            }
        }
        let laws = self.laws.lock().await;
        for law in laws.told() {
            record.broke(format!("{}: {law}", self.name));
        }
    }

    /// Nobody looks from when this returns.
    pub(crate) async fn leaves(&self) {
        let _laws = self.laws.lock().await;
        self.away.store(true, Ordering::SeqCst);
    }

    /// It answers again; `anew` as another process.
    pub(crate) async fn is_back(&self, anew: bool) {
        let mut laws = self.laws.lock().await;
        if anew {
            laws.begin_anew();
        }
        self.away.store(false, Ordering::SeqCst);
    }
}
