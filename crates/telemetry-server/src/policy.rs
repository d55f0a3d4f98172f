//! The rules of a manager: those of its configuration and those that people set while it runs.
//!
//! Here is what a set of rules is, whether it may be taken, where it is kept, and what a worker can be told
//! of it that knows no rules. Which worker should have which is `desired`'s; how it hears of it is the
//! session's.

mod enforce;
mod keeper;
mod set;
mod state;
mod status;
mod told;

use std::io;

use telemetry_core::rules::{Rule, RuleProblem};
use thiserror::Error;

use crate::identity::WorkerId;

pub(crate) use enforce::{Enforcer, Told};
pub(crate) use keeper::Keeper;
pub(crate) use set::{Numbered, RuleSet, unknown_names};
pub use status::{PolicyStatus, PolicyWorkerState, RuleStatus, WorkerPolicyStatus};
pub(crate) use told::{Approximation, approximate};

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleOrigin {
    /// The configuration file; only a change of the file changes it.
    File,
    /// Somebody set it while the manager ran.
    Live,
}

impl RuleOrigin {
    /// The word used in documents and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Live => "live",
        }
    }
}

/// A rule and where it comes from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RuleInfo {
    /// The rule; when it ends, it ends at a point in time.
    pub rule: Rule,
    /// Where it comes from.
    pub origin: RuleOrigin,
}

/// The rules of a manager at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PolicyInfo {
    /// Revision under which these rules were set; grows with every change.
    pub revision: u64,
    /// A hash of the rules, the same for the same ones.
    pub fingerprint: u64,
    /// The rules, sorted by id.
    pub rules: Vec<RuleInfo>,
    /// Why the live rules are not those that were set last, or would not outlive the manager; `None` if all is
    /// well.
    pub degraded: Option<String>,
}

/// Live rules that were taken.
///
/// It does not say that the workers have applied them; [`PolicyStatus`] does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PolicyReceipt {
    /// Revision of the rules.
    pub revision: u64,
    /// Workers that are to have other rules than before.
    pub workers: Vec<WorkerId>,
    /// What is allowed and probably not meant, such as a glob that matches nothing known.
    pub warnings: Vec<RuleProblem>,
}

/// What live rules would change; nothing has changed.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PolicyCheck {
    /// Why they would not be taken, all of it.
    pub problems: Vec<RuleProblem>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<RuleProblem>,
    /// Ids of rules that are not there so far.
    pub added: Vec<String>,
    /// Ids of live rules that would go.
    pub removed: Vec<String>,
    /// Ids of live rules that would say something else.
    pub changed: Vec<String>,
}

/// Why live rules were not taken; nothing has changed anywhere.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyRefused {
    /// Rules are wrong.
    #[error("{}", in_words(.0))]
    Problems(Vec<RuleProblem>),
    /// Somebody else changed the rules meanwhile.
    #[error("the policy has revision {current} by now, not {given}; look at it again")]
    Stale {
        /// The revision that was asked for.
        given: u64,
        /// The revision that there is.
        current: u64,
    },
    /// They could not be written down.
    #[error("the rules could not be kept: {0}")]
    State(#[from] io::Error),
}

fn in_words(problems: &[RuleProblem]) -> String {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    words.join("; ")
}
