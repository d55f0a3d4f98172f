//! The policy of a manager: what it is, how it is changed, how far the workers are.
//!
//! Rules are checked whole, written down, and then desired; sessions tell their workers. Those that end by
//! themselves leave the set when their time is over, wherever they came from.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use telemetry_core::rules::{Expiry, Rule, RuleProblem};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::aside::aside;
use super::{Inner, Manager};
use crate::deadline::deadline;
use crate::identity::{Labels, WorkerId};
use crate::policy::{
    PolicyCheck, PolicyInfo, PolicyReceipt, PolicyRefused, PolicyStatus, PolicyWorkerState,
    RuleOrigin, RuleSet, RuleStatus, WorkerPolicyStatus, unknown_names,
};
use crate::session::StreamState;

/// Longest time between two looks at rules that end: a clock may be set meanwhile.
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// Of so much time one part may be spent with looking how far the workers are.
const LOOKS_SHARE: u32 = 10;

impl Manager {
    /// The rules that are desired, with where each comes from.
    #[must_use]
    pub fn policy(&self) -> PolicyInfo {
        let (revision, rules) = self.inner.shared.desired.rules();
        PolicyInfo {
            revision,
            fingerprint: rules.fingerprint(),
            rules: rules.infos(),
            degraded: self.inner.keeper.degraded(),
        }
    }

    /// Replaces all live rules by these; those of the configuration stay. With `if_revision` only if the policy
    /// still has this revision. Returns once they are written down; workers hear of them right after.
    ///
    /// # Errors
    ///
    /// [`PolicyRefused`]; nothing has changed anywhere then.
    pub async fn set_policy(
        &self,
        rules: Vec<Rule>,
        if_revision: Option<u64>,
    ) -> Result<PolicyReceipt, PolicyRefused> {
        let inner = Arc::clone(&self.inner);
        let (answer, answered) = tokio::sync::oneshot::channel();
        // Whoever waits may be gone before it is done: then it is done all the same.
        let done = aside(move || {
            let _unheard = answer.send(inner.set_policy(rules, if_revision)).is_err();
        });
        done.await;
        answered.await.unwrap_or_else(|_| {
            let ended = std::io::Error::other("the runtime has ended");
            Err(PolicyRefused::State(ended))
        })
    }

    /// What [`set_policy`](Self::set_policy) would say and change.
    #[must_use]
    pub fn check_policy(&self, rules: &[Rule]) -> PolicyCheck {
        let (_, set) = self.inner.shared.desired.rules();
        let problems = self.inner.problems(&set, rules);
        let warnings = match problems.is_empty() {
            true => self.inner.warnings(rules),
            false => Vec::new(),
        };
        PolicyCheck {
            problems,
            warnings,
            ..set.difference(rules)
        }
    }

    /// From now on all workers of a pool have these labels, whatever they say of themselves; a
    /// [`Pool`](crate::pool::Pool) says so of its own.
    pub fn label_pool(&self, pool: &str, labels: Labels) {
        self.inner.shared.desired.label_pool(pool, labels);
        self.inner.changes.notify();
    }

    /// How far the workers are, and what became of each rule.
    #[must_use]
    pub fn policy_status(&self) -> PolicyStatus {
        self.inner.policy_status()
    }

    /// Waits until every worker that is there has applied what it should, refused it, or was told what it
    /// understands of it; at most for `timeout`. Returns how far they are then.
    pub async fn await_policy(&self, timeout: Duration) -> PolicyStatus {
        let deadline = deadline(timeout);
        loop {
            // Listened to before it is looked at, so that no change is missed.
            let mut changes = self.inner.changes.listen();
            let began = Instant::now();
            let status = self.policy_status();
            if status.is_settled() || timeout_at(deadline, changes.changed()).await.is_err() {
                return status;
            }
            // Of a large fleet somebody reports all the time: looking must not be all that is done.
            let rest = (began.elapsed() * LOOKS_SHARE).min(LONGEST_LOOK);
            sleep_until((began + rest).min(deadline)).await;
        }
    }
}

impl Inner {
    fn now(&self) -> u64 {
        let now = self.shared.dispatcher.clock().unix_nanos();
        u64::try_from(now).unwrap_or(0)
    }

    /// May wait for the disk.
    fn set_policy(
        &self,
        mut rules: Vec<Rule>,
        if_revision: Option<u64>,
    ) -> Result<PolicyReceipt, PolicyRefused> {
        let desired = &self.shared.desired;
        let now = self.now();
        for rule in &mut rules {
            rule.fix_expiry(now);
        }
        let given = rules.clone();
        let next = || {
            let (current, set) = desired.rules();
            if let Some(given) = if_revision.filter(|given| *given != current) {
                return Err(PolicyRefused::Stale { given, current });
            }
            let problems = self.problems(&set, &rules);
            if !problems.is_empty() {
                return Err(PolicyRefused::Problems(problems));
            }
            let set = set.with(RuleOrigin::Live, rules);
            Ok((set, desired.next_revision()))
        };
        let changed = self
            .keeper
            .change(next, |set, revision| desired.set_rules(set, revision));
        let (revision, workers) = changed?;
        self.keeper.mended();
        self.told(&workers);
        let warnings = self.warnings(&given);
        Ok(PolicyReceipt {
            revision,
            workers,
            warnings,
        })
    }

    /// Why these rules would not be taken, all of it.
    fn problems(&self, set: &RuleSet, rules: &[Rule]) -> Vec<RuleProblem> {
        let mut problems = set.problems(RuleOrigin::Live, rules);
        if problems.is_empty() {
            let next = set.with(RuleOrigin::Live, rules.to_vec());
            problems.extend(self.shared.desired.overfull(&next));
        }
        problems
    }

    /// Those who wait for these workers look again.
    fn told(&self, workers: &[WorkerId]) {
        let registry = self.lock();
        for entry in workers.iter().filter_map(|id| registry.workers.get(id)) {
            entry.record.notify();
        }
        drop(registry);
        self.ended_rules.notify_one();
        self.changes.notify();
    }

    /// What is allowed in these rules and probably not meant.
    fn warnings(&self, rules: &[Rule]) -> Vec<RuleProblem> {
        let events = self.shared.dispatcher.catalog().events().iter();
        let known = events.filter_map(|event| event.wire_name.as_deref().map(str::to_owned));
        let quarantined = self.shared.quarantine.list();
        let seen = quarantined.into_iter().map(|name| name.name);
        let learned = self.shared.learned.list().into_iter();
        let learned = learned.map(|event| event.wire_name);
        let names: Vec<String> = known.chain(seen).chain(learned).collect();
        unknown_names(rules, &names)
    }

    fn policy_status(&self) -> PolicyStatus {
        let (revision, set) = self.shared.desired.rules();
        let records: Vec<_> = self.lock().registered().collect();
        let mut counts: HashMap<u32, [u64; 3]> = HashMap::new();
        let mut workers = Vec::with_capacity(records.len());
        for (id, record) in records {
            let report = record.rules();
            for count in &report.counts {
                let sums = counts.entry(count.number).or_default();
                let added = [count.matched, count.kept, count.dropped];
                for (sum, added) in sums.iter_mut().zip(added) {
                    *sum = sum.saturating_add(added);
                }
            }
            let wanted = self.shared.desired.wanted(&id);
            let info = record.standing();
            let revision = wanted.as_ref().map_or(0, |wanted| wanted.revision());
            let has_rules = wanted.is_some_and(|wanted| !wanted.rules.is_empty());
            let knows = record.knows_rules();
            let state = match info.state {
                StreamState::Streaming if info.legacy => PolicyWorkerState::Approximated,
                StreamState::Streaming if info.refused_revision == revision => {
                    PolicyWorkerState::Refused
                }
                StreamState::Streaming if info.applied_revision != revision => {
                    PolicyWorkerState::Pending
                }
                StreamState::Streaming if has_rules && knows != Some(true) => {
                    PolicyWorkerState::Approximated
                }
                StreamState::Streaming => PolicyWorkerState::Applied,
                _ => PolicyWorkerState::Away,
            };
            workers.push(WorkerPolicyStatus {
                worker_id: id,
                pool_name: info.pool_name,
                state,
                revision,
                applied_revision: info.applied_revision,
                problems: report.problems,
            });
        }
        let rules = set.rules().iter().map(|it| {
            let [matched, kept, dropped] = counts.get(&it.number).copied().unwrap_or_default();
            RuleStatus {
                id: it.rule.id.clone(),
                origin: it.origin,
                expires_ns: match it.rule.expiry {
                    Some(Expiry::At(end)) => Some(end),
                    _ => None,
                },
                matched,
                kept,
                dropped,
            }
        });
        let rules = rules.collect();
        let mut status = PolicyStatus {
            revision,
            converged: false,
            workers,
            rules,
        };
        status.converged = status.is_settled() && status.count(PolicyWorkerState::Refused) == 0;
        status
    }

    /// Takes rules out whose time is over. May wait for the disk.
    fn end_rules(&self) {
        let desired = &self.shared.desired;
        let next = || {
            let (_, set) = desired.rules();
            Ok((set.without_ended(self.now()), desired.next_revision()))
        };
        match self
            .keeper
            .change(next, |set, revision| desired.set_rules(set, revision))
        {
            Ok((_, workers)) => self.told(&workers),
            Err(error) => {
                // They count no more, wherever they are written.
                let text = format!("a rule has ended, and that could not be written down: {error}");
                tracing::error!("{text}");
                self.keeper.degrade(Some(text));
                let (_, set) = desired.rules();
                let ended = set.without_ended(self.now());
                let (_, workers) = desired.set_rules(ended, 0);
                self.told(&workers);
            }
        }
    }
}

/// Ends rules when their time is over, until the manager is gone.
pub(super) async fn run(inner: Weak<Inner>) {
    loop {
        let Some(there) = inner.upgrade() else { return };
        let now = there.now();
        let (_, set) = there.shared.desired.rules();
        let wake = Arc::clone(&there.ended_rules);
        match set.next_end() {
            Some(end) if end <= now => {
                if !aside(move || there.end_rules()).await {
                    return;
                }
            }
            Some(end) => {
                drop(there);
                let left = Duration::from_nanos(end - now).min(LONGEST_LOOK);
                tokio::select! {
                    () = sleep(left) => {}
                    () = wake.notified() => {}
                }
            }
            None => {
                drop(there);
                wake.notified().await;
            }
        }
    }
}
