//! The table of workers, and what is left of those that went.
//!
//! A record leaves one list only as it enters the next, under the manager's lock: registered,
//! retiring (its session still reads), folded. A sum over all three therefore never falls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Totals;
use super::departure::UNREGISTER_DRAIN;
use crate::endpoint::Endpoint;
use crate::identity::{WorkerContext, WorkerId};
use crate::pipeline::StreamLedger;
use crate::session::{Changes, Record, Run, StreamInfo};

/// One registered worker.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Record>,
    /// Tells the session to stop; dropping it does too.
    pub(super) run: watch::Sender<Run>,
    /// The session's task.
    pub(super) task: JoinHandle<()>,
}

/// The session that a new one has to wait for.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) task: JoinHandle<()>,
    /// Its record, if the new session does not go on with it.
    pub(super) retired: Option<Arc<Record>>,
}

/// All workers, past and present.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) workers: BTreeMap<WorkerId, Entry>,
    /// Workers that were taken away and are still being read.
    retiring: Vec<Arc<Record>>,
    /// Sums of workers that are gone, by pool.
    folded: BTreeMap<Option<String>, Totals>,
    /// Ledgers of captures, by pool.
    captures: Vec<(Option<String>, Arc<StreamLedger>)>,
    /// No more workers.
    pub(super) closed: bool,
}

impl Registry {
    /// The record for a worker that registers, and its old session, which was told to end. A worker
    /// that stays in its pool keeps its record; one that changes it starts anew, so that the old
    /// pool keeps what was counted there.
    pub(super) fn replace(
        &mut self,
        context: &WorkerContext,
        endpoint: &Endpoint,
        changes: &Changes,
    ) -> (Arc<Record>, Option<Predecessor>) {
        let fresh = || {
            Arc::new(Record::new(
                context.clone(),
                endpoint.clone(),
                changes.clone(),
            ))
        };
        let Some(Entry { record, run, task }) = self.workers.remove(&context.worker_id) else {
            return (fresh(), None);
        };
        run.send_replace(Run::DrainUntil(Instant::now() + UNREGISTER_DRAIN));
        if record.context().pool_name == context.pool_name {
            // Whoever waits for the new stream must not take the old one for it.
            record.connecting();
            return (
                record,
                Some(Predecessor {
                    task,
                    retired: None,
                }),
            );
        }
        self.retiring.push(Arc::clone(&record));
        (
            fresh(),
            Some(Predecessor {
                task,
                retired: Some(record),
            }),
        )
    }

    /// Takes a worker out and tells its session to end.
    pub(super) fn retire(
        &mut self,
        id: &WorkerId,
        deadline: Instant,
    ) -> Option<(Arc<Record>, JoinHandle<()>)> {
        let Entry { record, run, task } = self.workers.remove(id)?;
        run.send_replace(Run::DrainUntil(deadline));
        self.retiring.push(Arc::clone(&record));
        Some((record, task))
    }

    /// Adds the counters of a worker whose session has ended to its pool.
    pub(super) fn fold_retired(&mut self, record: &Arc<Record>) {
        let Some(place) = self
            .retiring
            .iter()
            .position(|other| Arc::ptr_eq(other, record))
        else {
            return;
        };
        self.retiring.swap_remove(place);
        record.fold();
        let info = record.info(0);
        self.folded
            .entry(info.pool_name.clone())
            .or_default()
            .fold(&info);
    }

    /// Every pool that has or had a worker.
    pub(super) fn pool_names(&self) -> BTreeSet<Option<String>> {
        let registered = self
            .workers
            .values()
            .map(|entry| entry.record.context().pool_name);
        let retiring = self
            .retiring
            .iter()
            .map(|record| record.context().pool_name);
        let captures = self.captures.iter().map(|(pool, _)| pool.clone());
        registered
            .chain(retiring)
            .chain(captures)
            .chain(self.folded.keys().cloned())
            .collect()
    }

    /// The sum over the pools that `wanted` picks.
    pub(super) fn totals(
        &self,
        info: impl Fn(&WorkerId, &Entry) -> StreamInfo,
        wanted: impl Fn(&Option<String>) -> bool,
    ) -> Totals {
        let mut totals = Totals::default();
        for (id, entry) in &self.workers {
            let info = info(id, entry);
            if wanted(&info.pool_name) {
                totals.add(&info);
            }
        }
        for info in self.retiring.iter().map(|record| record.info(0)) {
            if wanted(&info.pool_name) {
                totals.fold(&info);
            }
        }
        for (_, ledger) in self.captures.iter().filter(|(pool, _)| wanted(pool)) {
            totals.add_captured(&ledger.snapshot());
        }
        for (_, folded) in self.folded.iter().filter(|(pool, _)| wanted(pool)) {
            totals.merge(folded);
        }
        totals
    }

    /// Adds a ledger that a capture writes to. Those of captures that ended are folded.
    pub(super) fn add_capture(&mut self, pool: Option<String>, ledger: Arc<StreamLedger>) {
        for (pool, ended) in self
            .captures
            .extract_if(.., |(_, ledger)| Arc::strong_count(ledger) == 1)
        {
            self.folded
                .entry(pool)
                .or_default()
                .add_captured(&ended.snapshot());
        }
        self.captures.push((pool, ledger));
    }
}
