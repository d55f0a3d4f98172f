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
mod tests {
    use super::*;
    use crate::control::SamplingRule;

    fn texts(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|&pattern| pattern.to_owned()).collect()
    }

    fn rule(rate: f64, patterns: &[&str]) -> SamplingRule {
        SamplingRule {
            rate,
            patterns: texts(patterns),
        }
    }

    #[track_caller]
    fn check(spec: PolicySpec, expected: &[(&str, Threshold)]) {
        let policy = Policy::compile(&spec).unwrap();
        assert_eq!(policy.spec(), &spec);
        for (name, threshold) in expected {
            assert_eq!(policy.threshold(name), *threshold, "{name}");
        }
    }

    #[test]
    fn default_keeps_all() {
        assert_eq!(Policy::default().threshold("any.name"), Threshold::KEEP);
        check(PolicySpec::default(), &[("any.name", Threshold::KEEP)]);
    }

    #[test]
    fn off_wins_over_everything() {
        let spec = PolicySpec {
            enabled: false,
            deny: texts(&["*"]),
            ..PolicySpec::default()
        };
        check(spec, &[("a", Threshold::OFF)]);
    }

    #[test]
    fn deny_wins_over_allow() {
        let (keep, filtered) = (Threshold::KEEP, Threshold::FILTERED);
        check(
            PolicySpec {
                allow: texts(&["python.*"]),
                deny: texts(&["*.start"]),
                ..PolicySpec::default()
            },
            &[
                ("python.call.stop", keep),
                ("python.call.start", filtered),
                ("tool.call.stop", filtered),
            ],
        );
        check(
            PolicySpec {
                deny: texts(&["a.*"]),
                ..PolicySpec::default()
            },
            &[("a.b", filtered), ("b.a", keep)],
        );
    }

    #[test]
    fn the_last_matching_rule_counts() {
        let sampling = vec![
            rule(0.5, &[]),
            rule(0.25, &["a.*"]),
            rule(0.0, &["*.x"]),
            rule(1.0, &["a.b.*"]),
        ];
        check(
            PolicySpec {
                sampling,
                ..PolicySpec::default()
            },
            &[
                ("c", Threshold::from_rate(0.5)),
                ("a.c", Threshold::from_rate(0.25)),
                ("a.x", Threshold::NEVER),
                ("a.b.x", Threshold::KEEP),
            ],
        );
    }

    #[test]
    fn an_invalid_spec_does_not_compile() {
        let bad_rate = PolicySpec {
            sampling: vec![rule(1.5, &[])],
            ..PolicySpec::default()
        };
        assert_eq!(
            Policy::compile(&bad_rate).unwrap_err(),
            ControlError::Rate { rate: 1.5 }
        );
        let bad_glob = PolicySpec {
            allow: texts(&["[a"]),
            ..PolicySpec::default()
        };
        assert!(matches!(
            Policy::compile(&bad_glob),
            Err(ControlError::Pattern(_))
        ));
        let rules = PolicySpec {
            sampling: vec![rule(1.0, &[]); 65],
            ..PolicySpec::default()
        };
        assert!(matches!(
            Policy::compile(&rules),
            Err(ControlError::TooManyRules { .. })
        ));
    }

    #[test]
    fn fixed_answers_never_draw() {
        let never = || -> u64 { panic!("drawn") };
        assert_eq!(Threshold::KEEP.decide(never), Verdict::Keep);
        assert_eq!(Threshold::OFF.decide(never), Verdict::Off);
        assert_eq!(Threshold::FILTERED.decide(never), Verdict::Filtered);
        assert_eq!(Threshold::from_rate(0.0).decide(never), Verdict::SampledOut);
        assert_eq!(Threshold::from_rate(1.0).decide(never), Verdict::Keep);
    }

    #[test]
    fn an_event_is_kept_if_its_draw_is_below_the_threshold() {
        let half = Threshold::from_rate(0.5);
        assert_eq!(half.to_raw(), 1 << 63);
        assert_eq!(half.decide(|| (1 << 63) - 1), Verdict::Keep);
        assert_eq!(half.decide(|| 1 << 63), Verdict::SampledOut);
    }

    #[test]
    fn rates_survive_and_do_not_meet_reserved_words() {
        for rate in [0.0, 0.001, 0.1, 0.25, 0.5, 1.0 - f64::EPSILON, 1.0] {
            assert_eq!(Threshold::from_rate(rate).rate(), rate);
        }
        for rate in [f64::MIN_POSITIVE, 1e-19, 1e-20] {
            let threshold = Threshold::from_rate(rate);
            assert!(threshold.to_raw() >= 3 && threshold.rate() > 0.0, "{rate}");
        }
        assert_eq!(Threshold::from_rate(f64::NAN), Threshold::NEVER);
        assert_eq!(Threshold::from_rate(-1.0), Threshold::NEVER);
        assert_eq!(Threshold::from_rate(2.0), Threshold::KEEP);
        assert_eq!(
            (Threshold::OFF.rate(), Threshold::FILTERED.rate()),
            (0.0, 0.0)
        );
    }
}
