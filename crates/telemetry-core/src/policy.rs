//! Policy: the compiled decision table that control produces in a worker.
//!
//! A policy turns a name into a [`Threshold`] once, when control arrives or the name is first seen. It is made
//! of the controls of old, of rules, or of both: the lists stand above every rule, sampling below.
//! After that an event costs one comparison, however many patterns there are. This room holds no
//! cells and counts nothing; who keeps thresholds and verdicts is further up.

mod filter;
mod limiter;
mod sampling;

pub(crate) use limiter::{LimiterSlots, Limiters};
pub use sampling::next_draw;

use crate::control::{ControlError, PolicySpec};
use crate::rules::{Decided, Decision, RuleTable, WireRule};
use filter::Filter;
use sampling::Rules;

/// A compiled [`PolicySpec`]. The default keeps every event.
///
/// ```
/// use telemetry_core::emit::{Policy, PolicySpec, Threshold};
///
/// let deny = vec!["python.*".to_owned()];
/// let mut spec = PolicySpec::default();
/// spec.deny = deny;
/// let policy = Policy::compile(&spec)?;
/// assert_eq!(policy.threshold("python.call.stop"), Threshold::FILTERED);
/// assert_eq!(policy.threshold("tool.execution.stop"), Threshold::KEEP);
/// # Ok::<(), telemetry_core::wire::ControlError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// What it was compiled from.
    spec: PolicySpec,
    /// The compiled allow and deny lists.
    filter: Filter,
    /// The compiled sampling rules.
    sampling: Rules,
    /// The compiled rules of a person.
    rules: RuleTable,
    /// Which limiters they have.
    slots: LimiterSlots,
    /// Whether nothing is emitted.
    is_off: bool,
}

/// What to do with the events of one name; of those that are limited, how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// The word for the name.
    pub(crate) threshold: Threshold,
    /// What is asked first where that is [`Threshold::LIMITED`].
    pub(crate) share: Threshold,
    /// The limiter that is asked then.
    pub(crate) limiter: u32,
}

/// What to do with the events of one name, in one word that fits an atomic cell.
///
/// A few low values and the highest are answers in themselves; between them the value is the share
/// to keep, in units of 2^-64: an event is kept if its draw is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold(u64);

/// What becomes of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It is recorded.
    Keep,
    /// Telemetry is toggled off: nothing happened and nothing is counted.
    Off,
    /// The filter lists exclude it.
    Filtered,
    /// Its draw was not below the threshold.
    SampledOut,
    /// A limiter decides, which only the gate of a worker has.
    Limited,
}

impl Policy {
    /// Compiles every list of `spec`.
    ///
    /// # Errors
    ///
    /// [`ControlError`], as from [`PolicySpec::validate`].
    pub fn compile(spec: &PolicySpec) -> Result<Self, ControlError> {
        Ok(Self {
            sampling: Rules::compile(&spec.sampling)?,
            filter: Filter::compile(&spec.allow, &spec.deny)?,
            spec: spec.clone(),
            rules: RuleTable::default(),
            slots: LimiterSlots::default(),
            is_off: !spec.enabled,
        })
    }

    /// The same with rules, and the limiters that they have.
    pub(crate) fn with_rules(mut self, rules: RuleTable, slots: LimiterSlots) -> Self {
        self.is_off = !self.spec.enabled || rules.is_off();
        self.rules = rules;
        self.slots = slots;
        self
    }

    /// What to do with events of this wire name. Cost grows with the number of patterns: call it
    /// when control arrives or a name is first seen, not per event.
    #[must_use]
    pub fn threshold(&self, wire_name: &str) -> Threshold {
        self.sentence(wire_name, &self.rules.about(wire_name))
            .threshold
    }

    /// What to do with events of this wire name, which these rules are about.
    pub(crate) fn sentence(&self, wire_name: &str, about: &[&WireRule]) -> Sentence {
        let threshold = if self.is_off {
            Threshold::OFF
        } else if !self.filter.lets_through(wire_name) {
            Threshold::FILTERED
        } else if about.is_empty() {
            self.sampling.threshold(wire_name)
        } else {
            return self.ruled(&Decided::of(about));
        };
        Sentence::of(threshold)
    }

    /// What rules say.
    fn ruled(&self, decided: &Decided<'_>) -> Sentence {
        let share = match decided.decision {
            Decision::Off => Threshold::OFF,
            Decision::Dropped => Threshold::FILTERED,
            Decision::Kept { rate, .. } => Threshold::from_rate(rate),
        };
        let limiter = decided.limited_by.and_then(|rule| self.slots.of(rule));
        match limiter {
            Some(limiter) if share != Threshold::NEVER => Sentence {
                threshold: Threshold::LIMITED,
                share,
                limiter,
            },
            _ => Sentence::of(share),
        }
    }

    /// The limiter of a rule.
    pub(crate) fn limiter(&self, rule: &WireRule) -> Option<u32> {
        self.slots.of(rule)
    }

    /// Which limiters its rules have.
    pub(crate) fn slots(&self) -> &LimiterSlots {
        &self.slots
    }

    /// The rules of a person.
    pub(crate) fn rules(&self) -> &RuleTable {
        &self.rules
    }

    /// Whether nothing is emitted, whatever its name.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.is_off
    }

    /// What the policy was compiled from.
    #[must_use]
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }
}

impl Sentence {
    /// One that no limiter has to do with.
    fn of(threshold: Threshold) -> Self {
        Self {
            threshold,
            share: threshold,
            limiter: 0,
        }
    }
}

impl Threshold {
    /// Telemetry is toggled off.
    pub const OFF: Self = Self(0);
    /// The filter lists exclude the name.
    pub const FILTERED: Self = Self(1);
    /// The rate is 0: every event is sampled out.
    pub const NEVER: Self = Self(2);
    /// A limiter decides.
    pub const LIMITED: Self = Self(3);
    /// Of the start of a span: its limiter was asked and let it pass.
    pub(crate) const PAID: Self = Self(4);
    /// Of the end of a span whose start passed: it passes too, and its limiter is told.
    pub(crate) const OWES: Self = Self(5);
    /// Of a span whose start was not let through by a limiter: nor is this.
    pub(crate) const REFUSED: Self = Self(6);
    /// Every event is kept.
    pub const KEEP: Self = Self(u64::MAX);

    /// Lowest value that is a share; the ones below have a meaning of their own.
    const LOWEST_SHARE: u64 = 7;
    /// 2^64, how many draws there are.
    const DRAWS: f64 = 18_446_744_073_709_551_616.0;

    /// The threshold for a probability: 1 and more is [`Threshold::KEEP`]; 0, less and NaN is
    /// [`Threshold::NEVER`]. Which rates are allowed is control's business.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and the result is clamped to the shares"
    )]
    pub fn from_rate(rate: f64) -> Self {
        if rate >= 1.0 {
            Self::KEEP
        } else if rate > 0.0 {
            Self(((rate * Self::DRAWS) as u64).clamp(Self::LOWEST_SHARE, u64::MAX - 1))
        } else {
            Self::NEVER
        }
    }

    /// The probability with which an event is kept, from 0 to 1.
    #[must_use]
    pub fn rate(self) -> f64 {
        match self {
            Self::KEEP => 1.0,
            Self(raw) if raw < Self::LOWEST_SHARE => 0.0,
            Self(raw) => raw as f64 / Self::DRAWS,
        }
    }

    /// That of an event of which such a part was kept besides.
    pub(crate) fn of(self, part: f64) -> Self {
        if part < 1.0 {
            Self::from_rate(self.rate() * part)
        } else {
            self
        }
    }

    /// Whether it tells a rate, 0 and 1 included, or a limit, and neither the toggle nor the filter speaks.
    pub(crate) fn is_share(self) -> bool {
        self != Self::OFF && self != Self::FILTERED
    }

    /// Decides about one event. `draw` gives a number that is uniform over all of `u64`, from
    /// [`correlation_draw`](crate::emit::correlation_draw) or [`next_draw`]; it is called only if the answer depends on it.
    #[must_use]
    #[inline]
    pub fn decide(self, draw: impl FnOnce() -> u64) -> Verdict {
        match self {
            Self::KEEP => Verdict::Keep,
            Self::OFF => Verdict::Off,
            Self::FILTERED => Verdict::Filtered,
            Self::NEVER => Verdict::SampledOut,
            Self::LIMITED | Self::PAID | Self::OWES | Self::REFUSED => Verdict::Limited,
            Self(share) if draw() < share => Verdict::Keep,
            Self(_) => Verdict::SampledOut,
        }
    }

    /// The raw word, for an atomic cell.
    #[must_use]
    pub const fn to_raw(self) -> u64 {
        self.0
    }

    /// The threshold of a raw word; every word is one.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self::KEEP
    }
}

impl From<u64> for Threshold {
    fn from(raw: u64) -> Self {
        Self::from_raw(raw)
    }
}

impl From<Threshold> for u64 {
    fn from(threshold: Threshold) -> Self {
        threshold.to_raw()
    }
}

#[cfg(test)]
mod tests;
