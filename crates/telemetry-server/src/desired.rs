//! The policy that each worker should have, kept by the manager and sent on every connect.
//!
//! A control to one worker changes that worker's policy. A control to a pool, or to all, changes the
//! policy of every worker in it now, and the base from which workers that register later start.
//! Controls therefore apply in the order in which they arrive, whoever they are for.
//!
//! It knows policies, not streams: each session watches its worker's policy and sees only the newest
//! one if several changed in between.

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

use crate::identity::WorkerId;

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

#[derive(Debug, Default)]
struct State {
    /// Grows with every change of any policy.
    revision: u64,
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
    policy: watch::Sender<Arc<PolicySpec>>,
}

impl Desired {
    /// Policies that start from `initial`, which must be valid.
    pub(crate) fn new(initial: PolicySpec) -> Self {
        let mut all = initial;
        all.revision = 1;
        let state = State {
            revision: 1,
            all,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// The policy of a worker to watch. A worker that is known keeps its policy, whatever its
    /// process; a new one starts from its pool's.
    pub(crate) fn enter(
        &self,
        id: &WorkerId,
        pool: Option<&str>,
    ) -> watch::Receiver<Arc<PolicySpec>> {
        let mut state = self.lock();
        if let Some(worker) = state.workers.get_mut(id) {
            worker.pool = pool.map(str::to_owned);
            return worker.policy.subscribe();
        }
        let policy = match state.wake(id) {
            Some(resting) if resting.pool.as_deref() == pool => resting.policy,
            _ => state.base(pool).clone(),
        };
        let (policy, receiver) = watch::channel(Arc::new(policy));
        state.workers.insert(
            id.clone(),
            Worker {
                pool: pool.map(str::to_owned),
                policy,
            },
        );
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
        let policy = PolicySpec::clone(&worker.policy.borrow());
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
                changed.push((id.clone(), next(&worker.policy.borrow())?));
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
                worker.policy.send_replace(Arc::new(policy));
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
            .map(|worker| Arc::clone(&worker.policy.borrow()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use telemetry_core::emit::SamplingRule;

    use super::*;

    fn toggle(enabled: bool) -> Control {
        Control::Toggle { enabled }
    }

    fn rate(rate: f64, pattern: &str) -> Control {
        Control::Sampling(SamplingRule::new(rate, [pattern.to_owned()]))
    }

    fn worker(id: &str) -> Target {
        Target::Worker(id.into())
    }

    #[test]
    fn later_controls_win_whoever_they_are_for() {
        let desired = Desired::new(PolicySpec::default());
        let a = desired.enter(&"a".into(), Some("p"));
        let b = desired.enter(&"b".into(), Some("p"));
        desired.apply(&worker("a"), &toggle(false)).expect("known");
        assert_eq!((a.borrow().enabled, b.borrow().enabled), (false, true));
        desired
            .apply(&Target::Pool("p".into()), &toggle(true))
            .expect("valid");
        assert!(a.borrow().enabled);
    }

    #[test]
    fn a_worker_that_registers_later_starts_from_its_pool() {
        let desired = Desired::new(PolicySpec::default());
        desired
            .apply(&Target::Pool("p".into()), &toggle(false))
            .expect("valid");
        desired
            .apply(&Target::All, &rate(0.5, "tool.*"))
            .expect("valid");
        let in_pool = desired.enter(&"a".into(), Some("p"));
        let alone = desired.enter(&"b".into(), None);
        assert!(!in_pool.borrow().enabled);
        assert!(alone.borrow().enabled);
        assert_eq!(
            (
                in_pool.borrow().sampling.len(),
                alone.borrow().sampling.len()
            ),
            (1, 1)
        );
    }

    #[test]
    fn a_muted_worker_stays_muted_until_it_is_forgotten() {
        let desired = Desired::new(PolicySpec::default());
        let id = WorkerId::from("a");
        drop(desired.enter(&id, None));
        desired.apply(&worker("a"), &toggle(false)).expect("known");
        assert!(!desired.enter(&id, None).borrow().enabled);
        desired.leave(&id);
        assert!(desired.enter(&id, None).borrow().enabled);
    }

    #[test]
    fn a_muted_worker_that_is_away_stays_muted_and_hears_of_its_pool() {
        let desired = Desired::new(PolicySpec::default());
        let id = WorkerId::from("a");
        drop(desired.enter(&id, Some("p")));
        desired.apply(&worker("a"), &toggle(false)).expect("known");
        desired.rest(&id);
        assert!(desired.apply(&worker("a"), &toggle(true)).is_err(), "away");
        let pool = Target::Pool("p".into());
        desired.apply(&pool, &rate(0.5, "*")).expect("valid");
        let back = desired.enter(&id, Some("p"));
        assert_eq!(
            (back.borrow().enabled, back.borrow().sampling.len()),
            (false, 1)
        );
        desired.rest(&id);
        assert!(
            desired.enter(&id, Some("q")).borrow().enabled,
            "another pool"
        );
    }

    #[test]
    fn the_oldest_of_those_that_are_away_is_forgotten() {
        let desired = Desired::new(PolicySpec::default());
        let id = |n: usize| WorkerId::from(format!("w{n}"));
        for n in 0..=MAX_RESTING {
            drop(desired.enter(&id(n), None));
            let one = Target::Worker(id(n));
            desired.apply(&one, &toggle(false)).expect("known");
            desired.rest(&id(n));
        }
        assert!(desired.enter(&id(0), None).borrow().enabled);
        assert!(!desired.enter(&id(1), None).borrow().enabled);
    }

    #[test]
    fn an_invalid_control_changes_nothing_anywhere() {
        let desired = Desired::new(PolicySpec::default());
        let watch = desired.enter(&"a".into(), None);
        let before = watch.borrow().clone();
        for control in [rate(1.5, "*"), rate(f64::NAN, "*"), rate(0.5, "[")] {
            assert!(
                desired.apply(&Target::All, &control).is_err(),
                "{control:?}"
            );
        }
        assert_eq!(*watch.borrow(), before);
        assert_eq!(*desired.enter(&"b".into(), None).borrow(), before);
    }

    #[test]
    fn a_control_to_nobody_says_so() {
        let desired = Desired::new(PolicySpec::default());
        let refused = desired
            .apply(&worker("ghost"), &toggle(true))
            .expect_err("unknown");
        assert!(refused.to_string().contains("ghost"), "{refused}");
    }

    #[test]
    fn revisions_grow_with_every_change() {
        let desired = Desired::new(PolicySpec::default());
        let watch = desired.enter(&"a".into(), None);
        let (first, _) = desired.apply(&Target::All, &toggle(false)).expect("valid");
        let (second, ids) = desired.apply(&worker("a"), &toggle(true)).expect("valid");
        assert!(second > first);
        assert_eq!(
            (watch.borrow().revision, ids),
            (second, vec![WorkerId::from("a")])
        );
    }
}
