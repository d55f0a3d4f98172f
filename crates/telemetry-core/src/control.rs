//! Control: what a manager tells a worker while it runs, and the policy it adds up to.
//!
//! This room knows the instructions, how each changes the desired policy and their form on the
//! wire. It decides about no event: that is the compiled [`Policy`](crate::emit::Policy), one floor up.

mod as_rules;
mod rejected;
mod shares;

use std::fmt;

use serde::{Deserialize, Serialize};
use telemetry_proto as proto;
use thiserror::Error;

use crate::pattern::{PatternError, PatternLimits, PatternSet};
use crate::rules::{RulesError, WorkerRules};

pub use rejected::{MAX_REJECTED_NAMES, RejectedName};
pub use shares::Shares;

/// Most sampling rules a policy may have.
pub const MAX_SAMPLING_RULES: usize = 64;

/// One instruction to a worker.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Control {
    /// Turns all events on or off; rules and filters stay.
    Toggle {
        /// Whether the worker emits.
        enabled: bool,
    },
    /// Adds a sampling rule.
    Sampling(SamplingRule),
    /// Replaces both filter lists. Deny wins over allow; an empty allow list lets everything
    /// through.
    Filter {
        /// Globs of the events to let through.
        allow: Vec<String>,
        /// Globs of the events to drop.
        deny: Vec<String>,
    },
    /// Replaces the whole policy, rules included.
    Policy(PolicySpec),
    /// Replaces the whole policy by rules.
    Rules(WorkerRules),
    /// Changes what the worker has of the budgets of its rules.
    Shares(Shares),
    /// The manager introduces itself: it knows the extensions of the wire.
    Hello(Greeting),
    /// The manager has taken responsibility for the events up to this sequence.
    Acknowledge {
        /// Sequence of the last of them.
        sequence: u64,
    },
    /// The manager leaves.
    Goodbye,
    /// The process is about to be ended: nothing may stay behind in it from now on.
    Drain,
    /// Events that the manager does not take.
    Rejected(Vec<RejectedName>),
}

/// What a manager says first: who it is, and where it stands with this worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Greeting {
    /// Identity of the manager.
    pub manager_id: String,
    /// Revision of the extensions it speaks.
    pub protocol_revision: u32,
    /// Whether it acknowledges what it has handled.
    pub acknowledges: bool,
    /// Grows with each manager that takes over from another one; 0 if there are no such.
    pub epoch: u64,
    /// Where it stands, as far as it has met an incarnation of the worker.
    pub position: Option<Position>,
}

/// Where a manager stands with an incarnation of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The incarnation.
    pub incarnation_id: String,
    /// Sequence up to which its events are handled.
    pub handled: u64,
    /// Sequence up to which they may be released.
    pub acknowledged: u64,
}

impl Greeting {
    fn from_proto(hello: &proto::ManagerHello) -> Self {
        let position = (!hello.incarnation_id.is_empty()).then(|| Position {
            incarnation_id: hello.incarnation_id.clone(),
            handled: hello.handled,
            acknowledged: hello.acknowledged,
        });
        Self {
            manager_id: hello.manager_id.clone(),
            protocol_revision: hello.protocol_revision,
            acknowledges: hello.acknowledges,
            epoch: hello.epoch,
            position,
        }
    }

    fn to_proto(&self) -> proto::ManagerHello {
        let position = self.position.clone().unwrap_or_default();
        proto::ManagerHello {
            manager_id: self.manager_id.clone(),
            protocol_revision: self.protocol_revision,
            acknowledges: self.acknowledges,
            durable: false,
            epoch: self.epoch,
            incarnation_id: position.incarnation_id,
            handled: position.handled,
            acknowledged: position.acknowledged,
        }
    }
}

/// The share of some events to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SamplingRule {
    /// Probability in [0, 1] with which an event is kept.
    pub rate: f64,
    /// Globs over wire names; empty means every event.
    pub patterns: Vec<String>,
}

impl SamplingRule {
    /// Keeps each event whose wire name one of `patterns` matches with the probability `rate`; of no
    /// patterns, every event.
    pub fn new(rate: f64, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            rate,
            patterns: patterns.into_iter().map(Into::into).collect(),
        }
    }

    /// Keeps every event with the probability `rate`.
    #[must_use]
    pub const fn of_all(rate: f64) -> Self {
        Self {
            rate,
            patterns: Vec::new(),
        }
    }
}

/// Everything a worker should know about which events to keep. The default keeps them all.
///
/// ```
/// use telemetry_core::{emit::{PolicySpec, SamplingRule}, wire::Control};
///
/// let rule = SamplingRule::new(0.1, ["tool.*"]);
/// let spec = PolicySpec::default().apply(&Control::Sampling(rule))?;
/// assert_eq!(spec.sampling.len(), 1);
/// # Ok::<(), telemetry_core::wire::ControlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PolicySpec {
    /// Grows with every change at the manager; 0 before the first one.
    pub revision: u64,
    /// Whether the worker emits at all.
    pub enabled: bool,
    /// For an event the last rule that matches counts; none means that it is kept.
    pub sampling: Vec<SamplingRule>,
    /// Globs of the events to let through; empty lets everything through.
    pub allow: Vec<String>,
    /// Globs of the events to drop; wins over `allow`.
    pub deny: Vec<String>,
}

/// Why a control was refused. Whatever was in force before stays in force.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A sampling rate is no probability.
    #[error("sampling rate {rate} is not allowed; expected a number from 0 to 1")]
    Rate {
        /// The refused rate; may be NaN.
        rate: f64,
    },
    /// A list of patterns does not compile.
    #[error(transparent)]
    Pattern(#[from] PatternListError),
    /// A set of rules was refused.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The policy would have too many sampling rules.
    #[error("a policy of {count} sampling rules is too long; at most {max} are allowed")]
    TooManyRules {
        /// How many it would have.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
}

/// What is wrong in which list of a control.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{list}: {error}")]
#[non_exhaustive]
pub struct PatternListError {
    /// The list.
    pub list: PatternList,
    /// The pattern, its place in the list and the problem.
    pub error: PatternError,
}

/// A list of patterns in a control or policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternList {
    /// The events to let through.
    Allow,
    /// The events to drop.
    Deny,
    /// The events of a sampling rule, counted from 1.
    Sampling(usize),
}

impl Control {
    /// Reads a control from the wire; `None` if it holds nothing this version knows.
    ///
    /// Rates and glob syntax are judged by [`PolicySpec::apply`], so that a legacy control can be
    /// clamped first.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if there are more rules or patterns than allowed; such a message is refused
    /// before it is copied.
    pub fn from_proto(message: &proto::TelemetryControl) -> Result<Option<Self>, ControlError> {
        use proto::telemetry_control::Control as Wire;

        let Some(control) = &message.control else {
            return Ok(None);
        };
        Ok(Some(match control {
            Wire::Toggle(toggle) => Self::Toggle {
                enabled: toggle.enabled,
            },
            Wire::Sampling(rule) => Self::Sampling(SamplingRule::from_proto(rule, 1)?),
            Wire::Filter(filter) => {
                let (allow, deny) = filter_from_proto(filter)?;
                Self::Filter { allow, deny }
            }
            Wire::Policy(policy) => Self::Policy(PolicySpec::from_proto(policy)?),
            Wire::Rules(rules) => Self::Rules(WorkerRules::from_proto(rules)?),
            Wire::Shares(shares) => Self::Shares(Shares::from_proto(shares)),
            Wire::Hello(hello) => Self::Hello(Greeting::from_proto(hello)),
            Wire::Ack(ack) => Self::Acknowledge {
                sequence: ack.sequence,
            },
            Wire::Goodbye(_) => Self::Goodbye,
            Wire::Drain(_) => Self::Drain,
            Wire::Rejected(rejected) => Self::Rejected(rejected::from_proto(rejected)),
        }))
    }

    /// The message that carries this control.
    #[must_use]
    pub fn to_proto(&self) -> proto::TelemetryControl {
        use proto::telemetry_control::Control as Wire;

        let control = match self {
            Self::Toggle { enabled } => Wire::Toggle(proto::TelemetryToggle { enabled: *enabled }),
            Self::Sampling(rule) => Wire::Sampling(rule.to_proto()),
            Self::Filter { allow, deny } => Wire::Filter(proto::TelemetryEventFilter {
                allow: allow.clone(),
                deny: deny.clone(),
            }),
            Self::Policy(spec) => Wire::Policy(spec.to_proto()),
            Self::Rules(rules) => Wire::Rules(rules.to_proto()),
            Self::Shares(shares) => Wire::Shares(shares.to_proto()),
            Self::Hello(greeting) => Wire::Hello(greeting.to_proto()),
            Self::Acknowledge { sequence } => Wire::Ack(proto::TelemetryAck {
                sequence: *sequence,
            }),
            Self::Goodbye => Wire::Goodbye(proto::TelemetryGoodbye {}),
            Self::Drain => Wire::Drain(proto::TelemetryDrain {}),
            Self::Rejected(names) => Wire::Rejected(proto::TelemetryRejected {
                names: names.iter().map(RejectedName::to_proto).collect(),
            }),
        };
        proto::TelemetryControl {
            control: Some(control),
        }
    }

    /// Treats the control as Snakepit's own worker does, for a manager that said no hello: a rate
    /// is clamped to [0, 1], and one of NaN makes the control void (`None`).
    #[must_use]
    pub fn clamp_legacy(self) -> Option<Self> {
        match self {
            Self::Sampling(rule) if rule.rate.is_nan() => None,
            Self::Sampling(SamplingRule { rate, patterns }) => Some(Self::Sampling(SamplingRule {
                rate: rate.clamp(0.0, 1.0),
                patterns,
            })),
            other => Some(other),
        }
    }
}

impl SamplingRule {
    /// `position` is the place of the rule in its policy, from 1.
    fn validate(&self, position: usize) -> Result<(), ControlError> {
        self.check_rate()?;
        compile_list(PatternList::Sampling(position), &self.patterns).map(drop)
    }

    pub(crate) fn check_rate(&self) -> Result<(), ControlError> {
        // A range contains no NaN.
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(ControlError::Rate { rate: self.rate });
        }
        Ok(())
    }

    fn from_proto(
        rule: &proto::TelemetrySamplingUpdate,
        position: usize,
    ) -> Result<Self, ControlError> {
        let patterns = copy_list(PatternList::Sampling(position), &rule.event_patterns)?;
        Ok(Self {
            rate: rule.sampling_rate,
            patterns,
        })
    }

    fn to_proto(&self) -> proto::TelemetrySamplingUpdate {
        proto::TelemetrySamplingUpdate {
            sampling_rate: self.rate,
            event_patterns: self.patterns.clone(),
        }
    }
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            revision: 0,
            enabled: true,
            sampling: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }
}

impl PolicySpec {
    /// Checks every rate, pattern and limit.
    ///
    /// # Errors
    ///
    /// [`ControlError`] for the first thing that is wrong.
    pub fn validate(&self) -> Result<(), ControlError> {
        check_rule_count(self.sampling.len())?;
        for (index, rule) in self.sampling.iter().enumerate() {
            rule.validate(index + 1)?;
        }
        compile_list(PatternList::Allow, &self.allow)?;
        compile_list(PatternList::Deny, &self.deny)?;
        Ok(())
    }

    /// The policy after `control`. The revision changes only with a whole policy.
    ///
    /// A sampling rule goes to the end, where it wins over earlier ones for the events it matches.
    /// It takes the place of an older rule with the same list of patterns, and one without patterns
    /// of all older rules, so repeated controls do not make the policy grow.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if anything in the control is not allowed; rates are not clamped.
    pub fn apply(&self, control: &Control) -> Result<Self, ControlError> {
        let next = self.merged(control);
        next.validate()?;
        Ok(next)
    }

    /// [`apply`](Self::apply) without its checks, for who compiles the result anyway.
    pub(crate) fn merged(&self, control: &Control) -> Self {
        let mut next = self.clone();
        match control {
            Control::Toggle { enabled } => next.enabled = *enabled,
            Control::Sampling(rule) => {
                if rule.patterns.is_empty() {
                    next.sampling.clear();
                }
                next.sampling
                    .retain(|older| older.patterns != rule.patterns);
                next.sampling.push(rule.clone());
            }
            Control::Filter { allow, deny } => {
                next.allow.clone_from(allow);
                next.deny.clone_from(deny);
            }
            Control::Policy(spec) => next = spec.clone(),
            // Rules stand beside a policy, and one that says nothing.
            Control::Rules(set) => {
                next = Self {
                    revision: set.revision,
                    ..Self::default()
                };
            }
            Control::Shares(_)
            | Control::Hello(_)
            | Control::Acknowledge { .. }
            | Control::Goodbye
            | Control::Rejected(_)
            | Control::Drain => {}
        }
        next
    }

    fn from_proto(policy: &proto::TelemetryPolicy) -> Result<Self, ControlError> {
        check_rule_count(policy.sampling.len())?;
        let sampling = policy
            .sampling
            .iter()
            .enumerate()
            .map(|(index, rule)| SamplingRule::from_proto(rule, index + 1))
            .collect::<Result<_, _>>()?;
        let (allow, deny) = match &policy.filter {
            Some(filter) => filter_from_proto(filter)?,
            None => Default::default(),
        };
        Ok(Self {
            revision: policy.revision,
            enabled: policy.enabled,
            sampling,
            allow,
            deny,
        })
    }

    fn to_proto(&self) -> proto::TelemetryPolicy {
        proto::TelemetryPolicy {
            revision: self.revision,
            enabled: self.enabled,
            sampling: self.sampling.iter().map(SamplingRule::to_proto).collect(),
            filter: Some(proto::TelemetryEventFilter {
                allow: self.allow.clone(),
                deny: self.deny.clone(),
            }),
        }
    }
}

impl fmt::Display for PatternList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => formatter.write_str("allow list"),
            Self::Deny => formatter.write_str("deny list"),
            Self::Sampling(position) => write!(formatter, "sampling rule {position}"),
        }
    }
}

/// Compiles one list, or says what is wrong in which.
pub(crate) fn compile_list(
    list: PatternList,
    patterns: &[String],
) -> Result<PatternSet, ControlError> {
    PatternSet::new(patterns, PatternLimits::default())
        .map_err(|error| PatternListError { list, error }.into())
}

pub(crate) fn check_rule_count(count: usize) -> Result<(), ControlError> {
    if count > MAX_SAMPLING_RULES {
        return Err(ControlError::TooManyRules {
            count,
            max: MAX_SAMPLING_RULES,
        });
    }
    Ok(())
}

fn filter_from_proto(
    filter: &proto::TelemetryEventFilter,
) -> Result<(Vec<String>, Vec<String>), ControlError> {
    let allow = copy_list(PatternList::Allow, &filter.allow)?;
    let deny = copy_list(PatternList::Deny, &filter.deny)?;
    Ok((allow, deny))
}

fn copy_list(list: PatternList, patterns: &[String]) -> Result<Vec<String>, ControlError> {
    PatternLimits::default()
        .check(patterns)
        .map_err(|error| PatternListError { list, error })?;
    Ok(patterns.to_vec())
}

#[cfg(test)]
mod tests;
