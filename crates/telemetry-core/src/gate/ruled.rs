//! Rules in a worker: they come, have their budgets changed, and end by themselves.
//!
//! Time is that since the machine's start, which goes on while it is suspended. Somebody outside turns the
//! clock ([`Gate::turn`]), which needs no manager.

use std::task::Waker;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::{Control, ControlError, ControlState, Gate, Queue, waiting_in};
use crate::callsite::RuleTally;
use crate::policy::Policy;
use crate::rules::{RuleProblem, RuleTable, WireAction, WireRule, WorkerRules};

/// For how long shares hold of a manager that says nothing.
const SHARES_HOLD: u64 = 10_000_000_000;

/// The rules in force, and until when.
#[derive(Debug, Clone, Default)]
pub(super) struct Ruled {
    /// Their revision.
    revision: u64,
    /// What they mean, as the manager says.
    fingerprint: u64,
    /// What is wrong with those that are not applied.
    problems: Vec<RuleProblem>,
    /// When rules end, by number, on the clock of the machine's start.
    ends: Vec<(u64, u32)>,
    /// Numbers of those that have.
    expired: Vec<u32>,
    /// Until when shares hold; for ever where nobody has any.
    shares_until: Option<u64>,
}

/// Where the rules of a worker stand.
#[derive(Debug, Default)]
pub(crate) struct RuleStatus {
    /// What they mean, as the manager says; 0 without any.
    pub(crate) fingerprint: u64,
    /// What is wrong with those that are not applied.
    pub(crate) problems: Vec<RuleProblem>,
    /// Numbers of those that have ended by themselves.
    pub(crate) expired: Vec<u32>,
    /// Counts by number.
    pub(crate) tallies: Vec<(u32, RuleTally)>,
}

impl Ruled {
    /// A set that has just come, and what it compiles to. The time is asked for if anything in it ends.
    fn of(set: &WorkerRules, now: impl Fn() -> u64) -> Result<(Self, RuleTable), ControlError> {
        set.check_limits()?;
        let (table, mut problems) = RuleTable::compile(&set.rules);
        problems.splice(..0, set.problems.iter().cloned());
        let ends = set.rules.iter().filter_map(|rule| {
            let left = u64::try_from(rule.expires_in?.as_nanos()).unwrap_or(u64::MAX);
            Some((now().saturating_add(left), rule.number))
        });
        let is_budget = |rule: &WireRule| matches!(rule.action, WireAction::Budget { .. });
        let has_budget = table.rules().any(is_budget);
        let ruled = Self {
            revision: set.revision,
            fingerprint: set.fingerprint,
            problems,
            ends: ends.collect(),
            expired: Vec::new(),
            shares_until: has_budget.then(|| now().saturating_add(SHARES_HOLD)),
        };
        Ok((ruled, table))
    }

    /// When something has to be done next.
    fn next(&self) -> Option<u64> {
        let ends = self.ends.iter().map(|(end, _)| *end);
        ends.chain(self.shares_until).min()
    }
}

impl Gate {
    /// Applies one control. On an error the policy in force stays as it was, and the error is kept
    /// for the next report.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if a rate or pattern is invalid, or a set of rules breaks a limit; nothing has changed
    /// then.
    pub fn apply(&self, control: &Control) -> Result<(), ControlError> {
        self.apply_with(control, &FxHashMap::default())
    }

    /// [`apply`](Self::apply) for who has a queue: what waits in it was let in under the policy before.
    pub(crate) fn apply_in(&self, control: &Control, queue: &Queue) -> Result<(), ControlError> {
        let waiting = waiting_in(&queue.at_rest());
        self.apply_with(control, &waiting)
    }

    fn apply_with(
        &self,
        control: &Control,
        waiting: &FxHashMap<u32, u64>,
    ) -> Result<(), ControlError> {
        let mut state = self.lock();
        let applied = match control {
            Control::Shares(shares) => {
                self.take_shares(&mut state, shares.revision, &shares.per_second, waiting);
                return Ok(());
            }
            Control::Rules(set) => self.put_rules(&mut state, control, set, waiting),
            _ => self.put_spec(&mut state, control, waiting),
        };
        match &applied {
            Ok(()) => state.error.clear(),
            Err(error) => {
                match control {
                    Control::Policy(refused) => state.rejected_revision = refused.revision,
                    Control::Rules(refused) => state.rejected_revision = refused.revision,
                    _ => {}
                }
                state.error = error.to_string();
            }
        }
        applied
    }

    /// Puts a control of old in force: a whole policy instead of rules, another one beside them.
    fn put_spec(
        &self,
        state: &mut ControlState,
        control: &Control,
        waiting: &FxHashMap<u32, u64>,
    ) -> Result<(), ControlError> {
        let spec = state.spec.merged(control);
        let policy = Policy::compile(&spec)?;
        let is_whole = matches!(control, Control::Policy(_));
        let policy = if is_whole {
            state.ruled = Ruled::default();
            policy
        } else {
            let before = self.sites.policy();
            policy.with_rules(before.rules().clone(), before.slots().clone())
        };
        self.sites
            .set_policy(policy, !is_whole, &self.limiters, waiting);
        state.spec = spec;
        Ok(())
    }

    /// Puts rules in force instead of all there was.
    fn put_rules(
        &self,
        state: &mut ControlState,
        control: &Control,
        set: &WorkerRules,
        waiting: &FxHashMap<u32, u64>,
    ) -> Result<(), ControlError> {
        let (ruled, table) = Ruled::of(set, || self.clock.boot_nanos())?;
        let spec = state.spec.merged(control);
        let slots = self.sites.policy().slots().assign(&table);
        let policy = Policy::compile(&spec)?.with_rules(table, slots);
        self.sites
            .set_policy(policy, false, &self.limiters, waiting);
        (state.spec, state.ruled) = (spec, ruled);
        self.timer.wake();
        Ok(())
    }

    /// Takes in what this worker has of budgets.
    fn take_shares(
        &self,
        state: &mut ControlState,
        revision: u64,
        shares: &[(u32, f64)],
        waiting: &FxHashMap<u32, u64>,
    ) {
        if revision != state.ruled.revision {
            return;
        }
        let now = self.clock.boot_nanos();
        state.ruled.shares_until = Some(now.saturating_add(SHARES_HOLD));
        if !shares.is_empty() {
            self.change_rules(waiting, |table| {
                table.set_shares(|number| {
                    let mut known = shares.iter().filter(|(known, _)| *known == number);
                    known.next().map(|(_, share)| Some(*share))
                });
            });
        }
        self.timer.wake();
    }

    /// Does what is due by now: ends rules, and takes shares back of which nothing was heard. Returns how long
    /// it is until there is something to do again; `None` as long as no rules come.
    ///
    /// Whoever calls it does so again by then, and when `waker` is woken.
    pub(crate) fn turn(&self, waker: &Waker, queue: &Queue) -> Option<Duration> {
        self.timer.register(waker);
        let mut state = self.lock();
        let now = self.clock.boot_nanos();
        if state.ruled.next()? <= now {
            let waiting = waiting_in(&queue.at_rest());
            self.do_due(&mut state, now, &waiting);
        }
        let next = state.ruled.next()?;
        Some(Duration::from_nanos(next.saturating_sub(now)))
    }

    /// Does what is due.
    fn do_due(&self, state: &mut ControlState, now: u64, waiting: &FxHashMap<u32, u64>) {
        let ruled = &mut state.ruled;
        let due = ruled.ends.iter().filter(|(end, _)| *end <= now);
        let ended: Vec<_> = due.map(|(_, number)| *number).collect();
        ruled.ends.retain(|(end, _)| *end > now);
        ruled.expired.extend(&ended);
        let is_silent = ruled.shares_until.is_some_and(|until| until <= now);
        if is_silent {
            ruled.shares_until = None;
        }
        self.change_rules(waiting, |table| {
            table.end(|rule| ended.contains(&rule.number));
            if is_silent {
                table.set_shares(|_| Some(None));
            }
        });
    }

    /// Puts the same rules in force with something changed.
    fn change_rules(&self, waiting: &FxHashMap<u32, u64>, change: impl FnOnce(&mut RuleTable)) {
        let before = self.sites.policy();
        let mut table = before.rules().clone();
        change(&mut table);
        let policy = Policy::clone(&before).with_rules(table, before.slots().clone());
        self.sites.set_policy(policy, true, &self.limiters, waiting);
    }

    /// Where rules stand.
    pub(crate) fn rule_status(&self, queue: &Queue) -> RuleStatus {
        let state = self.lock();
        if state.ruled.fingerprint == 0 && self.sites.policy().rules().is_empty() {
            return RuleStatus::default();
        }
        let resting = queue.at_rest();
        RuleStatus {
            fingerprint: state.ruled.fingerprint,
            problems: state.ruled.problems.clone(),
            expired: state.ruled.expired.clone(),
            tallies: self.sites.tallies(&self.limiters, &waiting_in(&resting)),
        }
    }
}

#[cfg(test)]
mod tests;
