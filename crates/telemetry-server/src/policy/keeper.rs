//! Who holds the live rules: takes changes one after the other, and writes them down before they count.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use telemetry_core::rules::{Rule, RuleProblem};

use super::state::{Kept, StateFile};
use super::{PolicyRefused, RuleOrigin, RuleSet};

/// The keeper of a manager's live rules.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// Where they are kept, if anywhere. Held by whoever changes them.
    file: Mutex<Option<StateFile>>,
    /// What went wrong with the file.
    degraded: Mutex<Option<String>>,
}

impl Keeper {
    /// The rules that a manager starts with at `now`, Unix nanoseconds: these of its configuration and those
    /// that are kept. Returns their revision too. What is kept and cannot be used is set aside, and said.
    pub(crate) fn open(
        path: Option<PathBuf>,
        mut rules: Vec<Rule>,
        now: u64,
    ) -> Result<(Self, RuleSet, u64), Vec<RuleProblem>> {
        let empty = RuleSet::default();
        let problems = empty.problems(RuleOrigin::File, &rules);
        if !problems.is_empty() {
            return Err(problems);
        }
        for rule in &mut rules {
            rule.fix_expiry(now);
        }
        let set = empty.with(RuleOrigin::File, rules);
        let keeper = Self {
            file: Mutex::new(path.map(StateFile::at)),
            degraded: Mutex::default(),
        };
        let (set, revision) = match keeper.load(&set) {
            Ok(Some(kept)) => (set.with(RuleOrigin::Live, kept.rules), kept.revision),
            Ok(None) => (set, 1),
            Err(error) => {
                keeper.set_aside(&error);
                (set, 1)
            }
        };
        Ok((keeper, set, revision))
    }

    /// What is kept, if it can stand beside the rules of the configuration.
    fn load(&self, set: &RuleSet) -> Result<Option<Kept>, String> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &*file else { return Ok(None) };
        let mut kept = file.load().map_err(|error| error.to_string())?;
        if let Some(kept) = &mut kept {
            self.leave_out_twins(set, &mut kept.rules);
        }
        let problems = kept
            .as_ref()
            .map(|kept| set.problems(RuleOrigin::Live, &kept.rules));
        match problems.unwrap_or_default() {
            problems if problems.is_empty() => Ok(kept),
            problems => Err(PolicyRefused::Problems(problems).to_string()),
        }
    }

    /// Leaves out live rules whose ids the configuration has by now, as when one was made permanent.
    fn leave_out_twins(&self, set: &RuleSet, rules: &mut Vec<Rule>) {
        let mut twins = Vec::new();
        rules.retain(|rule| {
            let is_twin = set.of(RuleOrigin::File).any(|other| other.id == rule.id);
            if is_twin {
                twins.push(rule.id.clone());
            }
            !is_twin
        });
        if !twins.is_empty() {
            let text = format!(
                "live rules that are in the configuration by now are left out: {}",
                twins.join(", ")
            );
            tracing::warn!("{text}");
            self.degrade(Some(text));
        }
    }

    /// The file cannot be used: it is kept for a person to look at.
    fn set_aside(&self, error: &str) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &*file else { return };
        let path = file.path().display();
        let aside = match file.set_aside() {
            Ok(aside) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it cannot be set aside: {error}"),
        };
        let text = format!("the live rules in {path} cannot be used: {error}; {aside}");
        tracing::error!("{text}; the manager starts with the rules of its configuration");
        self.degrade(Some(text));
    }

    /// Changes the live rules: `change` makes the new set of the present one, and `apply` has it count under a
    /// revision that is at least the one it is given. In between it is written down.
    pub(crate) fn change<T>(
        &self,
        next: impl FnOnce() -> Result<(RuleSet, u64), PolicyRefused>,
        apply: impl FnOnce(RuleSet, u64) -> T,
    ) -> Result<T, PolicyRefused> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, revision) = next()?;
        if let Some(file) = &*file {
            let live = set.of(RuleOrigin::Live).cloned().collect();
            file.save(&Kept::new(revision, live))?;
        }
        Ok(apply(set, revision))
    }

    /// Somebody set other rules, and they are kept: whatever was wrong before is over.
    pub(crate) fn mended(&self) {
        self.degrade(None);
    }

    /// What is wrong with what is kept.
    pub(crate) fn degraded(&self) -> Option<String> {
        let degraded = self.degraded.lock();
        degraded.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn degrade(&self, what: Option<String>) {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

#[cfg(test)]
mod tests {
    use telemetry_core::rules::RuleAction;

    use super::*;

    #[test]
    fn a_live_rule_that_was_made_permanent_takes_no_other_along() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.json");
        let rule = |id: &str| Rule::new(id, ["tool.*"], RuleAction::Drop);
        let live = vec![rule("a"), rule("b")];
        StateFile::at(path.clone())
            .save(&Kept::new(7, live))
            .unwrap();
        let (keeper, set, revision) = Keeper::open(Some(path), vec![rule("b")], 0).unwrap();
        let ids = |origin| {
            set.of(origin)
                .map(|rule| rule.id.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(RuleOrigin::Live), ["a"]);
        assert_eq!(ids(RuleOrigin::File), ["b"]);
        assert_eq!(revision, 7);
        let degraded = keeper.degraded().unwrap();
        assert!(degraded.ends_with("left out: b"), "{degraded}");
        let next = || Ok((set.clone(), 8));
        keeper.change(next, |_, _| ()).unwrap();
        assert!(keeper.degraded().is_some(), "a person has not looked yet");
        keeper.mended();
        assert_eq!(keeper.degraded(), None);
    }
}
