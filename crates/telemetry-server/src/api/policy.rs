//! The rules that are desired, what a change of them would do or did, and how far the workers are.

use serde::Serialize;
use telemetry_core::rules::{Rule, RuleProblem};

use crate::policy::{self, PolicyWorkerState};

/// Most workers that are named in a [`PolicyStatus`].
const MAX_NAMED: usize = 1_000;

/// What is wrong with a rule, or was probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Problem {
    /// The id of the rule; empty for what is wrong with the set as a whole.
    pub rule: String,
    /// Where in it.
    pub field: String,
    /// What is wrong and what is allowed.
    pub error: String,
}

impl From<RuleProblem> for Problem {
    fn from(problem: RuleProblem) -> Self {
        Self {
            rule: problem.rule,
            field: problem.field,
            error: problem.error,
        }
    }
}

fn problems(problems: Vec<RuleProblem>) -> Vec<Problem> {
    problems.into_iter().map(Into::into).collect()
}

/// A rule and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PolicyRule {
    /// `file`: of the configuration; `live`: set while the manager ran.
    pub origin: String,
    /// The rule in its written form.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub rule: Rule,
}

/// The rules that are desired.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Policy {
    /// Their revision, which is also the `ETag`; grows with every change.
    pub revision: u64,
    /// The same for the same rules; 16 hexadecimal digits.
    pub fingerprint: String,
    /// The rules, sorted by id.
    pub rules: Vec<PolicyRule>,
    /// Why the live rules are not those that were set last, or would not outlive the manager; left out if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

impl From<policy::PolicyInfo> for Policy {
    fn from(info: policy::PolicyInfo) -> Self {
        let rule = |info: policy::RuleInfo| PolicyRule {
            origin: info.origin.as_str().to_owned(),
            rule: info.rule,
        };
        Self {
            revision: info.revision,
            fingerprint: format!("{:016x}", info.fingerprint),
            rules: info.rules.into_iter().map(rule).collect(),
            degraded: info.degraded,
        }
    }
}

/// Rules that were taken. Whether the workers have them says [`PolicyStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PolicyTaken {
    /// Their revision.
    pub revision: u64,
    /// How many workers are to have other rules than before.
    pub workers: usize,
    /// What is allowed and was probably not meant.
    pub warnings: Vec<Problem>,
}

impl From<policy::PolicyReceipt> for PolicyTaken {
    fn from(receipt: policy::PolicyReceipt) -> Self {
        Self {
            revision: receipt.revision,
            workers: receipt.workers.len(),
            warnings: problems(receipt.warnings),
        }
    }
}

/// What rules would change; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PolicyChecked {
    /// Why they would not be taken, all of it.
    pub problems: Vec<Problem>,
    /// What is allowed and was probably not meant.
    pub warnings: Vec<Problem>,
    /// Ids of rules that are not there so far.
    pub added: Vec<String>,
    /// Ids of live rules that would go.
    pub removed: Vec<String>,
    /// Ids of live rules that would say something else.
    pub changed: Vec<String>,
}

impl From<policy::PolicyCheck> for PolicyChecked {
    fn from(check: policy::PolicyCheck) -> Self {
        Self {
            problems: problems(check.problems),
            warnings: problems(check.warnings),
            added: check.added,
            removed: check.removed,
            changed: check.changed,
        }
    }
}

/// Workers by how far they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PolicyCounts {
    /// They say that they have what they should.
    pub applied: usize,
    /// They were told, or will be in a moment.
    pub pending: usize,
    /// They refused it.
    pub refused: usize,
    /// They know no rules; what they were not told, the manager sees to.
    pub approximated: usize,
    /// They are not there, and will be told when they come back.
    pub away: usize,
}

/// A worker that has not applied what it should, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PolicyWorker {
    /// Its id.
    pub id: String,
    /// Its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// How far it is: `applied`, `pending`, `refused`, `approximated` or `away`.
    pub state: String,
    /// The revision that it should have.
    pub revision: u64,
    /// The revision that it says it has.
    pub applied: u64,
    /// Rules that it does not apply, and why.
    pub problems: Vec<Problem>,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RuleCounts {
    /// Its id.
    pub id: String,
    /// `file` or `live`.
    pub origin: String,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ns: Option<u64>,
    /// Events that it is about, as the workers that are there counted them.
    pub matched: u64,
    /// Of these those that were kept where it decides.
    pub kept: u64,
    /// Those that it dropped.
    pub dropped: u64,
}

/// How far the policy has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PolicyStatus {
    /// The revision of the rules that are desired.
    pub revision: u64,
    /// Whether every worker that is there has what it should, as far as it can be told.
    pub converged: bool,
    /// Whether nothing more is to be expected of the workers that are there.
    pub settled: bool,
    /// Workers by how far they are.
    pub workers: PolicyCounts,
    /// Those that have not applied all of it, at most 1,000 of them, sorted by id.
    pub others: Vec<PolicyWorker>,
    /// The rules, sorted by id.
    pub rules: Vec<RuleCounts>,
}

impl From<policy::PolicyStatus> for PolicyStatus {
    fn from(status: policy::PolicyStatus) -> Self {
        let workers = PolicyCounts {
            applied: status.count(PolicyWorkerState::Applied),
            pending: status.count(PolicyWorkerState::Pending),
            refused: status.count(PolicyWorkerState::Refused),
            approximated: status.count(PolicyWorkerState::Approximated),
            away: status.count(PolicyWorkerState::Away),
        };
        let settled = status.is_settled();
        let is_other = |it: &policy::WorkerPolicyStatus| {
            it.state != PolicyWorkerState::Applied || !it.problems.is_empty()
        };
        let other = |it: policy::WorkerPolicyStatus| PolicyWorker {
            id: it.worker_id.as_str().to_owned(),
            pool: it.pool_name,
            state: it.state.as_str().to_owned(),
            revision: it.revision,
            applied: it.applied_revision,
            problems: problems(it.problems),
        };
        let rule = |it: policy::RuleStatus| RuleCounts {
            id: it.id,
            origin: it.origin.as_str().to_owned(),
            expires_ns: it.expires_ns,
            matched: it.matched,
            kept: it.kept,
            dropped: it.dropped,
        };
        let others = status.workers.into_iter().filter(is_other);
        Self {
            revision: status.revision,
            converged: status.converged,
            settled,
            workers,
            others: others.take(MAX_NAMED).map(other).collect(),
            rules: status.rules.into_iter().map(rule).collect(),
        }
    }
}

/// A change of the live rules over this API.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PolicyChange {
    /// The revision that it made.
    pub revision: u64,
    /// When.
    pub at_ns: i64,
    /// Who: an address, or a process of this machine.
    pub by: String,
    /// Ids of rules that were not there before.
    pub added: Vec<String>,
    /// Ids of rules that went.
    pub removed: Vec<String>,
    /// Ids of rules that say something else since.
    pub changed: Vec<String>,
    /// The live rules since then.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub rules: Vec<Rule>,
}
