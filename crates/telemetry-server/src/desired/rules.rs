//! Rules among what is desired: who gets which, and under which revision.

use std::sync::Arc;

use telemetry_core::catalog::escape;
use telemetry_core::emit::PolicySpec;
use telemetry_core::rules::{MAX_WORKER_GLOBS, RuleProblem};

use super::{Desired, State, Wanted};
use crate::identity::{Labels, WorkerId};
use crate::policy::{Numbered, RuleSet};

/// Further than this no manager before us can have been.
const MAX_LEAD: u64 = 1 << 32;
/// The highest that a worker is believed: what every reader of JSON can hold.
const HIGHEST: u64 = 1 << 53;

impl Desired {
    /// All rules, and the revision under which they were set.
    pub(crate) fn rules(&self) -> (u64, Arc<RuleSet>) {
        let state = self.lock();
        (state.rules_revision, Arc::clone(&state.rules))
    }

    /// The revision that a change would have now.
    pub(crate) fn next_revision(&self) -> u64 {
        self.lock().revision + 1
    }

    /// What is too much of these rules for a worker that is there: it would refuse all of them.
    pub(crate) fn overfull(&self, rules: &RuleSet) -> Option<RuleProblem> {
        if globs(rules.rules()) <= MAX_WORKER_GLOBS {
            return None;
        }
        let state = self.lock();
        state.workers.iter().find_map(|(id, worker)| {
            let pool = worker.pool.as_deref();
            let labels = state.labels(pool, &worker.labels);
            let count = globs(&rules.covering(id, pool, &labels));
            let text = format_args!(
                "the worker {id:?} would have {count} globs; at most {MAX_WORKER_GLOBS} are allowed",
                id = escape(id.as_str()),
            );
            (count > MAX_WORKER_GLOBS).then(|| RuleProblem::new("", "rules", text))
        })
    }

    /// Replaces the rules, under a revision that is at least this. Returns it, and the workers that are to
    /// have other rules than before.
    pub(crate) fn set_rules(&self, rules: RuleSet, at_least: u64) -> (u64, Vec<WorkerId>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.revision = at_least.max(state.revision + 1);
        state.rules_revision = state.revision;
        state.rules = Arc::new(rules);
        let ids: Vec<WorkerId> = state.workers.keys().cloned().collect();
        let revision = state.revision;
        let changed = ids.into_iter().filter(|id| state.refresh(id, revision));
        (revision, changed.collect())
    }

    /// A worker says that it has a revision that we never gave: of a manager that was there before us. From
    /// now on ours are above it, so that none has two meanings.
    pub(crate) fn overtaken(&self, id: &WorkerId, revision: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let is_too_far = revision > HIGHEST || revision.saturating_sub(state.revision) > MAX_LEAD;
        if revision <= state.revision || is_too_far {
            return;
        }
        state.revision = revision;
        state.renew(id);
    }
}

impl Desired {
    /// A worker says that these are its labels.
    pub(crate) fn label(&self, id: &WorkerId, labels: Labels) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(worker) = state.workers.get_mut(id)
            && worker.labels != labels
        {
            worker.labels = labels;
            state.refresh(id, state.revision + 1);
        }
    }

    /// All workers of a pool have these labels, whatever they say.
    pub(crate) fn label_pool(&self, pool: &str, labels: Labels) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let is_other = state.pool_labels.get(pool) != Some(&labels);
        if !is_other || (labels.is_empty() && !state.pool_labels.contains_key(pool)) {
            return;
        }
        state.pool_labels.insert(pool.to_owned(), labels);
        let ids: Vec<WorkerId> = state.workers.keys().cloned().collect();
        let revision = state.revision + 1;
        for id in ids {
            state.refresh(&id, revision);
        }
    }

    /// The labels of a worker.
    pub(crate) fn labels(&self, id: &WorkerId) -> Labels {
        let state = self.lock();
        let worker = state.workers.get(id);
        worker.map_or_else(Labels::new, |worker| {
            state.labels(worker.pool.as_deref(), &worker.labels)
        })
    }
}

impl State {
    /// Gives a worker the rules that are about it by now under this revision, if that are others.
    pub(super) fn refresh(&mut self, id: &WorkerId, revision: u64) -> bool {
        let Some(worker) = self.workers.get(id) else {
            return false;
        };
        let pool = worker.pool.as_deref();
        let labels = self.labels(pool, &worker.labels);
        let rules = self.rules.covering(id, pool, &labels);
        if rules == worker.wanted.borrow().rules {
            return false;
        }
        let spec = under(&worker.wanted.borrow().spec, revision);
        worker.wanted.send_replace(Arc::new(Wanted { spec, rules }));
        self.revision = self.revision.max(revision);
        true
    }

    /// The labels of a worker of this pool that says these.
    pub(super) fn labels(&self, pool: Option<&str>, said: &Labels) -> Labels {
        let mut labels = said.clone();
        if let Some(of_pool) = pool.and_then(|pool| self.pool_labels.get(pool)) {
            labels.extend(of_pool.clone());
        }
        labels
    }

    /// Tells a worker the same under a new revision.
    fn renew(&mut self, id: &WorkerId) {
        self.revision += 1;
        if let Some(worker) = self.workers.get(id) {
            let rules = worker.wanted.borrow().rules.clone();
            let spec = under(&worker.wanted.borrow().spec, self.revision);
            worker.wanted.send_replace(Arc::new(Wanted { spec, rules }));
        }
    }
}

/// How many globs these rules have.
fn globs(rules: &[Arc<Numbered>]) -> usize {
    let lists = rules
        .iter()
        .map(|it| it.rule.matches.len() + it.rule.except.len());
    lists.sum()
}

/// The same policy under this revision.
fn under(spec: &PolicySpec, revision: u64) -> Arc<PolicySpec> {
    let mut spec = spec.clone();
    spec.revision = revision;
    Arc::new(spec)
}
