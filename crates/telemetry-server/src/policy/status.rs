//! How far the workers are: what operators see of a policy on its way. Plain data.

use telemetry_core::rules::RuleProblem;

use super::RuleOrigin;
use crate::identity::WorkerId;

/// How far the policy has come.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PolicyStatus {
    /// Revision of the rules that are desired.
    pub revision: u64,
    /// Whether every worker that is there has what it should, as far as it can be told.
    pub converged: bool,
    /// The workers, sorted by id.
    pub workers: Vec<WorkerPolicyStatus>,
    /// The rules, sorted by id.
    pub rules: Vec<RuleStatus>,
}

/// One worker's part.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerPolicyStatus {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its pool.
    pub pool_name: Option<String>,
    /// How far it is.
    pub state: PolicyWorkerState,
    /// Revision of what it should have.
    pub revision: u64,
    /// Revision of what it says it has; 0 before its first report on this stream.
    pub applied_revision: u64,
    /// Rules that it does not apply, and why.
    pub problems: Vec<RuleProblem>,
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PolicyWorkerState {
    /// It says that it has what it should.
    Applied,
    /// It was told, or will be in a moment, and has not said so.
    Pending,
    /// It refused what it was told.
    Refused,
    /// It does not know rules. It was told what it understands; what that leaves, the manager refuses.
    Approximated,
    /// It is not there; it will be told when it comes back.
    Away,
}

impl PolicyWorkerState {
    /// The word used in documents and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::Approximated => "approximated",
            Self::Away => "away",
        }
    }
}

/// What became of one rule.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RuleStatus {
    /// Its id.
    pub id: String,
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// When it ends, Unix nanoseconds, if it does.
    pub expires_ns: Option<u64>,
    /// Events whose names it is about, as the workers that are registered counted them in their present
    /// incarnations.
    pub matched: u64,
    /// Of these those that were kept where it decides.
    pub kept: u64,
    /// Those that it dropped, did not draw or did not let through.
    pub dropped: u64,
}

impl PolicyStatus {
    /// How many workers are in a state.
    #[must_use]
    pub fn count(&self, state: PolicyWorkerState) -> usize {
        self.workers.iter().filter(|it| it.state == state).count()
    }

    /// Whether nothing more is to be expected of the workers that are there: each has applied, refused or
    /// approximated what it was told.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.count(PolicyWorkerState::Pending) == 0
    }
}
