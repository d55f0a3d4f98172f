//! What is known of a worker's rules: whether it knows such, what it was told, and how it got on with them.

use telemetry_core::catalog::{escape, truncate};
use telemetry_core::rules::{MAX_RULES, RuleProblem};
use telemetry_core::wire::capability;
use telemetry_proto::WorkerReport;

use super::{MAX_TEXT_BYTES, Record};
use crate::identity::Labels;
use crate::session::info::StreamState;

/// Most problems that a worker may report.
const MAX_PROBLEMS: usize = 16;
/// Most counts that are kept: those of all rules and of the controls of old.
const MAX_COUNTS: usize = MAX_RULES + 68;

/// What a report says of rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RulesReport {
    /// By rule, in this incarnation.
    pub(crate) counts: Vec<RuleCount>,
    /// Rules that it does not apply.
    pub(crate) problems: Vec<RuleProblem>,
}

/// What a worker counted under a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RuleCount {
    pub(crate) number: u32,
    pub(crate) matched: u64,
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
}

/// Where a worker stands with its policy.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) pool_name: Option<String>,
    pub(crate) state: StreamState,
    pub(crate) legacy: bool,
    pub(crate) applied_revision: u64,
    /// Revision of what it refused last; 0 if it did not.
    pub(crate) refused_revision: u64,
}

impl RulesReport {
    /// Reads it off a report, cut to what is allowed.
    pub(super) fn of(report: &WorkerReport) -> Self {
        let text = |text: &str| escape(truncate(text, MAX_TEXT_BYTES)).into_owned();
        let problems = report.problems.iter().take(MAX_PROBLEMS);
        let counts = report.rules.iter().take(MAX_COUNTS);
        Self {
            counts: counts
                .map(|count| RuleCount {
                    number: count.number,
                    matched: count.matched,
                    kept: count.kept,
                    dropped: count.dropped,
                })
                .collect(),
            problems: problems
                .map(|it| RuleProblem::new(text(&it.rule), text(&it.field), text(&it.error)))
                .collect(),
        }
    }
}

impl Record {
    /// Whether the worker knows rules, as it said when it was there last; `None` if it was never heard.
    pub(crate) fn knows_rules(&self) -> Option<bool> {
        let memory = self.lock();
        let capabilities = &memory.hello.capabilities;
        (!memory.hello.incarnation.is_empty())
            .then(|| capabilities.iter().any(|it| it == capability::RULES))
    }

    /// It was told rules, a policy, or, if it was not known which it knows, both.
    pub(in super::super) fn told(&self, rules: Option<bool>) {
        self.lock().told_rules = rules;
    }

    /// Whether it was told in words that it knows.
    pub(in super::super) fn was_told_well(&self) -> bool {
        let knows = self.knows_rules();
        let told = self.lock().told_rules;
        told.is_none() || told == knows
    }

    /// Its labels, as it says.
    pub(in super::super) fn labels(&self) -> Labels {
        self.lock().labels.clone()
    }

    /// Where it stands.
    pub(crate) fn standing(&self) -> Standing {
        let memory = self.lock();
        Standing {
            pool_name: memory.context.pool_name.clone(),
            state: memory.state,
            legacy: memory.legacy,
            applied_revision: memory.applied_revision,
            refused_revision: memory.refused_revision,
        }
    }

    /// Revision of what it says that it applies; 0 before its first report on a stream.
    pub(crate) fn applied(&self) -> u64 {
        self.lock().applied_revision
    }

    /// What its last report says of its rules.
    pub(crate) fn rules(&self) -> RulesReport {
        self.lock().rules.clone()
    }
}
