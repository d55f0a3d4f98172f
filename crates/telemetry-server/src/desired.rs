//! The policy that each worker should have, kept by the manager and sent on every connect.
//!
//! A control to one worker changes that worker's policy. A control to a pool, or to all, changes the
//! policy of every worker in it now, and the base from which workers that register later start.
//! Controls therefore apply in the order in which they arrive, whoever they are for.
//!
//! Beside that each worker has the rules that are about it, which outlive any control: it gets both as one
//! statement, under one revision.
//!
//! It knows policies, not streams: each session watches what its worker is wanted to do and sees only the
//! newest if several things changed in between.

mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use telemetry_core::{
    catalog::escape,
    emit::PolicySpec,
    wire::{Control, ControlError},
};
use thiserror::Error;
use tokio::sync::watch;

use crate::identity::{Labels, WorkerId};
use crate::policy::{Numbered, RuleSet};

/// Most workers that are away whose policy is kept although it is not where their pool starts.
const MAX_RESTING: usize = 4_096;

/// Who a control is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// One registered worker.
    Worker(WorkerId),
    /// Every worker of a pool, now and later.
    Pool(String),
    /// Every worker, now and later.
    All,
}

/// A control that was taken: who is affected.
///
/// It does not say that the workers have applied it; `StreamInfo::applied_revision` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ControlReceipt {
    /// Revision of the policies that the control made.
    pub revision: u64,
    /// Workers whose policy it changed.
    pub workers: Vec<WorkerId>,
    /// Those among them that ignore the patterns of sampling rules.
    pub legacy: Vec<WorkerId>,
}

/// A control that was not taken; nothing has changed anywhere.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ControlRefused {
    /// A rate or pattern is not allowed, or a policy would become too long.
    #[error(transparent)]
    Invalid(#[from] ControlError),
    /// No worker of this id is registered.
    #[error("no worker {:?} is registered", escape(id.as_str()))]
    UnknownWorker {
        /// The id.
        id: WorkerId,
    },
}

/// The desired policies of a manager.
#[derive(Debug)]
pub(crate) struct Desired {
    state: Mutex<State>,
}

/// What a worker is wanted to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// What the controls of old add up to. Its revision is that of the whole.
    pub(crate) spec: Arc<PolicySpec>,
    /// The rules that are about the worker.
    pub(crate) rules: Vec<Arc<Numbered>>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every change of anything that any worker is wanted to do.
    revision: u64,
    /// Under which the rules were set.
    rules_revision: u64,
    /// All rules.
    rules: Arc<RuleSet>,
    /// Labels of all workers of a pool; they win over what those say.
    pool_labels: BTreeMap<String, Labels>,
    /// Where a worker starts whose pool was told nothing.
    all: PolicySpec,
    /// Where the workers of a pool start that was told something.
    pools: BTreeMap<String, PolicySpec>,
    workers: BTreeMap<WorkerId, Worker>,
    /// What workers should have that are away, where it is not what their pool starts from.
    resting: BTreeMap<WorkerId, Resting>,
    /// Those, oldest first.
    rested: VecDeque<WorkerId>,
}

#[derive(Debug)]
struct Resting {
    pool: Option<String>,
    policy: PolicySpec,
}

#[derive(Debug)]
struct Worker {
    pool: Option<String>,
    /// Its labels, as it says.
    labels: Labels,
    wanted: watch::Sender<Arc<Wanted>>,
}

impl Desired {
    /// Policies that start from `initial`, which must be valid, and rules that have this revision; it is at
    /// least 1.
    pub(crate) fn new(initial: PolicySpec, rules: RuleSet, revision: u64) -> Self {
        let revision = revision.max(1);
        let mut all = initial;
        all.revision = revision;
        let state = State {
            revision,
            rules_revision: revision,
            rules: Arc::new(rules),
            all,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// What a worker is wanted to do, to watch. A worker that is known keeps its policy, whatever its
    /// process; a new one starts from its pool's. The rules are those that are about it by now.
    pub(crate) fn enter(&self, id: &WorkerId, pool: Option<&str>) -> watch::Receiver<Arc<Wanted>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(worker) = state.workers.get_mut(id) {
            worker.pool = pool.map(str::to_owned);
            let receiver = worker.wanted.subscribe();
            state.refresh(id, state.revision + 1);
            return receiver;
        }
        let mut policy = match state.wake(id) {
            Some(resting) if resting.pool.as_deref() == pool => resting.policy,
            _ => state.base(pool).clone(),
        };
        policy.revision = policy.revision.max(state.rules_revision);
        let labels = Labels::new();
        let all_labels = state.labels(pool, &labels);
        let (wanted, receiver) = watch::channel(Arc::new(Wanted {
            rules: state.rules.covering(id, pool, &all_labels),
            spec: Arc::new(policy),
        }));
        let worker = Worker {
            pool: pool.map(str::to_owned),
            labels,
            wanted,
        };
        state.workers.insert(id.clone(), worker);
        receiver
    }

    /// Forgets a worker.
    pub(crate) fn leave(&self, id: &WorkerId) {
        let mut state = self.lock();
        state.workers.remove(id);
        state.wake(id);
    }

    /// A worker is away, and may come back under its id. If it is to have something else than its pool
    /// starts from, that is kept, of the newest 4,096.
    pub(crate) fn rest(&self, id: &WorkerId) {
        let mut state = self.lock();
        let Some(worker) = state.workers.remove(id) else {
            return;
        };
        let policy = PolicySpec::clone(&worker.wanted.borrow().spec);
        let base = state.base(worker.pool.as_deref());
        let mut as_base = policy.clone();
        as_base.revision = base.revision;
        if as_base == *base {
            return;
        }
        state.wake(id);
        let pool = worker.pool;
        state.resting.insert(id.clone(), Resting { pool, policy });
        state.rested.push_back(id.clone());
        if state.rested.len() > MAX_RESTING
            && let Some(oldest) = state.rested.pop_front()
        {
            state.resting.remove(&oldest);
        }
    }

    /// Changes the policies of everyone in `target`, or of nobody. Returns the new revision and the
    /// workers.
    pub(crate) fn apply(
        &self,
        target: &Target,
        control: &Control,
    ) -> Result<(u64, Vec<WorkerId>), ControlRefused> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let revision = state.revision + 1;
        let next = |spec: &PolicySpec| -> Result<PolicySpec, ControlError> {
            let mut policy = spec.apply(control)?;
            policy.revision = revision;

            Ok(policy)
        };
        if let Target::Worker(id) = target
            && !state.workers.contains_key(id)
        {
            return Err(ControlRefused::UnknownWorker { id: id.clone() });
        }
        let in_target = |id: &WorkerId, worker: &Worker| match target {
            Target::Worker(target) => target == id,
            Target::Pool(pool) => worker.pool.as_ref() == Some(pool),
            Target::All => true,
        };
        // First everything that can fail, then everything that changes something.
        let mut changed = Vec::new();
        for (id, worker) in &state.workers {
            if in_target(id, worker) {
                changed.push((id.clone(), next(&worker.wanted.borrow().spec)?));
            }
        }
        match target {
            Target::Worker(_) => {}
            Target::Pool(pool) => {
                let base = next(state.pools.get(pool).unwrap_or(&state.all))?;
                state.pools.insert(pool.clone(), base);
            }
            Target::All => {
                let all = next(&state.all)?;
                let pools = state
                    .pools
                    .iter()
                    .map(|(pool, base)| Ok((pool.clone(), next(base)?)));
                state.pools = pools.collect::<Result<_, ControlError>>()?;
                state.all = all;
            }
        }
        state.resting.retain(|_, resting| {
            let is_meant = match target {
                Target::Worker(_) => false,
                Target::Pool(pool) => resting.pool.as_ref() == Some(pool),
                Target::All => true,
            };
            // Nobody who is away makes a control fail.
            match is_meant.then(|| next(&resting.policy)) {
                None => true,
                Some(Ok(policy)) => {
                    resting.policy = policy;
                    true
                }
                Some(Err(_full)) => false,
            }
        });
        let State {
            resting, rested, ..
        } = state;
        rested.retain(|id| resting.contains_key(id));
        state.revision = revision;
        let mut ids = Vec::with_capacity(changed.len());
        for (id, policy) in changed {
            if let Some(worker) = state.workers.get(&id) {
                let rules = worker.wanted.borrow().rules.clone();
                let spec = Arc::new(policy);
                worker.wanted.send_replace(Arc::new(Wanted { spec, rules }));
            }
            ids.push(id);
        }
        Ok((revision, ids))
    }

    /// The policy that a worker should have.
    pub(crate) fn policy(&self, id: &WorkerId) -> Option<Arc<PolicySpec>> {
        self.lock()
            .workers
            .get(id)
            .map(|worker| Arc::clone(&worker.wanted.borrow().spec))
    }

    /// What a worker is wanted to do.
    pub(crate) fn wanted(&self, id: &WorkerId) -> Option<Arc<Wanted>> {
        let state = self.lock();
        let worker = state.workers.get(id)?;
        Some(Arc::clone(&worker.wanted.borrow()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// Grows with every change of it.
    pub(crate) fn revision(&self) -> u64 {
        self.spec.revision
    }
}

impl State {
    /// Where the workers of a pool start.
    fn base(&self, pool: Option<&str>) -> &PolicySpec {
        pool.and_then(|pool| self.pools.get(pool))
            .unwrap_or(&self.all)
    }

    /// Takes out what is kept for a worker that is away.
    fn wake(&mut self, id: &WorkerId) -> Option<Resting> {
        let resting = self.resting.remove(id)?;
        self.rested.retain(|other| other != id);
        Some(resting)
    }
}

#[cfg(test)]
mod tests;
