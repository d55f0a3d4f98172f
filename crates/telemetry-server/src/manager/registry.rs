//! The table of workers, and what is left of those that went.
//!
//! A record leaves one list only as it enters the next, under the manager's lock: registered,
//! retiring (its session still reads), folded. A sum over all three therefore never falls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Totals;
use super::departure::UNREGISTER_DRAIN;
use super::names::{Banned, Claims, Holder};
use super::sums::Parts;
use crate::accounts::LedgerReader;
use crate::deadline::deadline;
use crate::identity::{Labels, WorkerContext, WorkerId};
use crate::session::{Arrival, Record, Run};
use telemetry_core::{Address, Mistake, is_planted};

/// One registered worker.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Record>,
    /// Whether somebody registered it, and not it itself by dialling in; and its process id as it was
    /// registered. The record learns both once the session before is over.
    pub(super) is_registered: bool,
    pub(super) registered_pid: Option<u32>,
    /// Tells the session to stop; dropping it does too.
    pub(super) run: watch::Sender<Run>,
    /// Tells the session to have its worker drained.
    pub(super) drain: watch::Sender<bool>,
    /// Takes the connections that the worker opens.
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Who has claimed the id by dialling in.
    pub(super) holder: Option<Holder>,
    /// The highest number that was given to another one of its name.
    pub(super) doubles: usize,
    /// Closed when the session is over.
    pub(super) ended: watch::Receiver<()>,
    /// The session's task.
    pub(super) task: JoinHandle<()>,
}

/// A worker that was taken away; its session was told to end.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) record: Arc<Record>,
    pub(super) task: JoinHandle<()>,
}

/// All workers, past and present.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) workers: BTreeMap<WorkerId, Entry>,
    /// Who holds which id, of those that dialled in.
    pub(super) claims: Claims,
    /// Those that were unregistered while they lived, until they are registered again.
    pub(super) banned: Banned,
    /// Pools that workers have named, those that were registered included.
    pub(super) named_pools: BTreeSet<String>,
    /// When it was last looked which of them may be forgotten.
    pub(super) pools_swept: Option<Instant>,
    /// Workers that were taken away and are still being read, and the signs that they are not any more.
    retiring: Vec<(Arc<Record>, watch::Receiver<()>)>,
    /// Sessions that were told to end although their record goes on.
    ending: Vec<(WorkerId, watch::Receiver<()>)>,
    /// Sums of workers that are gone, by pool.
    folded: BTreeMap<Option<String>, Totals>,
    /// Ledgers of captures, by pool.
    captures: Vec<(Option<String>, LedgerReader)>,
    /// No more workers.
    pub(super) closed: bool,
    /// How often something was moved to the sums of those that are gone.
    departures: u64,
}

impl Registry {
    /// Takes out what is registered under the id of a worker that registers, and has its session end.
    /// A worker that stays in its pool keeps its record, which is returned; of one that changes it, the
    /// old record is retired, so that the old pool keeps what was counted there.
    pub(super) fn replace(
        &mut self,
        context: &WorkerContext,
    ) -> (Option<Arc<Record>>, Option<Retired>) {
        let deadline = deadline(UNREGISTER_DRAIN);
        let stays = self
            .workers
            .get(&context.worker_id)
            .is_some_and(|entry| entry.record.context().pool_name == context.pool_name);
        if !stays {
            return (None, self.retire(&context.worker_id, deadline));
        }
        let Some(entry) = self.take_out(&context.worker_id) else {
            return (None, None);
        };
        entry.run.send_replace(Run::DrainUntil(deadline));
        self.ending.retain(|(_, ended)| ended.has_changed().is_ok());
        self.ending.push((context.worker_id.clone(), entry.ended));
        // Whoever waits for the new stream must not take the old one for it.
        entry.record.connecting();
        (Some(entry.record), None)
    }

    /// The sessions that a new one of this worker, or at this place, has to wait for.
    pub(super) fn predecessors(
        &self,
        id: &WorkerId,
        endpoint: Option<&Address>,
    ) -> Vec<watch::Receiver<()>> {
        let retiring = self.retiring.iter().filter(|(record, _)| {
            record.context().worker_id == *id
                || (endpoint.is_some() && record.endpoint().as_ref() == endpoint)
        });
        let ending = self.ending.iter().filter(|(ending, _)| ending == id);
        retiring
            .map(|(_, ended)| ended.clone())
            .chain(ending.map(|(_, ended)| ended.clone()))
            .collect()
    }

    /// Takes a worker out and tells its session to end.
    pub(super) fn retire(&mut self, id: &WorkerId, deadline: Instant) -> Option<Retired> {
        let entry = self.take_out(id)?;
        entry.run.send_replace(Run::DrainUntil(deadline));
        let record = entry.record;
        // Whoever waits for it here waits for another one from now on.
        record.notify();
        self.retiring.push((Arc::clone(&record), entry.ended));
        Some(Retired {
            record,
            task: entry.task,
        })
    }

    /// Takes a worker out, and with it its claim.
    fn take_out(&mut self, id: &WorkerId) -> Option<Entry> {
        let entry = self.workers.remove(id)?;
        if let Some(holder) = &entry.holder {
            self.claims.remove(&holder.claim);
        }
        Some(entry)
    }

    /// Adds the counters of a worker whose session has ended to its pool.
    pub(super) fn fold_retired(&mut self, record: &Arc<Record>) {
        let Some(place) = self
            .retiring
            .iter()
            .position(|(other, _)| Arc::ptr_eq(other, record))
        else {
            return;
        };
        self.retiring.swap_remove(place);
        self.departures += 1;
        record.depart();
        let info = record.info(0, Labels::new());
        let folded = self.folded.entry(info.pool_name.clone()).or_default();
        folded.fold(&info);
        if is_planted(Mistake::FoldsTwice) {
            folded.fold(&info);
        }
    }

    /// Forgets the names of pools that nobody is in and that never had an event, so that whoever makes
    /// names up does not use them up. What else was counted there goes on without a pool.
    pub(super) fn forget_idle_pools(&mut self) {
        let inhabited: BTreeSet<_> = self
            .records()
            .filter_map(|record| record.context().pool_name)
            .collect();
        let is_idle = |pool: &&String| {
            let sums = self.folded.get(&Some((*pool).clone()));
            !inhabited.contains(*pool) && sums.is_none_or(Totals::is_without_events)
        };
        let idle: Vec<_> = self.named_pools.iter().filter(is_idle).cloned().collect();
        for pool in idle {
            self.named_pools.remove(&pool);
            if let Some(sums) = self.folded.remove(&Some(pool)) {
                self.departures += 1;
                self.folded.entry(None).or_default().merge(&sums);
            }
        }
    }

    /// Everything that counts, at this moment.
    pub(super) fn parts(&self) -> Parts {
        let captures = self.captures.iter();
        Parts {
            registered: self.registered().map(|(_, record)| record).collect(),
            retiring: self.retiring.iter().map(|(it, _)| Arc::clone(it)).collect(),
            folded: self.folded.clone(),
            captures: captures
                .map(|(pool, ledger)| (pool.clone(), ledger.snapshot()))
                .collect(),
            departures: self.departures,
        }
    }

    /// How often something was moved to the sums of those that are gone.
    pub(super) fn departures(&self) -> u64 {
        self.departures
    }

    /// Every worker that is there, by id.
    pub(super) fn registered(&self) -> impl Iterator<Item = (WorkerId, Arc<Record>)> {
        let workers = self.workers.iter();
        workers.map(|(id, entry)| (id.clone(), Arc::clone(&entry.record)))
    }

    /// The records of all workers that are not folded.
    pub(super) fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        let registered = self.workers.values().map(|entry| &entry.record);
        registered.chain(self.retiring.iter().map(|(it, _)| it))
    }

    /// Adds a ledger that a capture writes to. Those of captures that ended are folded.
    pub(super) fn add_capture(&mut self, pool: Option<String>, ledger: LedgerReader) {
        self.departures += 1;
        for (pool, ended) in self
            .captures
            .extract_if(.., |(_, ledger)| ledger.is_abandoned())
        {
            self.folded
                .entry(pool)
                .or_default()
                .add_captured(&ended.snapshot());
        }
        self.captures.push((pool, ledger));
    }
}
