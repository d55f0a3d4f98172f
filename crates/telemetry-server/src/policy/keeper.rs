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
        let kept = file.load().map_err(|error| error.to_string())?;
        let problems = kept
            .as_ref()
            .map(|kept| set.problems(RuleOrigin::Live, &kept.rules));
        match problems.unwrap_or_default() {
            problems if problems.is_empty() => Ok(kept),
            problems => Err(PolicyRefused::Problems(problems).to_string()),
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
        self.degrade(None);
        Ok(apply(set, revision))
    }

    /// What is wrong with what is kept.
    pub(crate) fn degraded(&self) -> Option<String> {
        let degraded = self.degraded.lock();
        degraded.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn degrade(&self, what: Option<String>) {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}
