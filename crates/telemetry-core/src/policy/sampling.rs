//! Sampling: which rule counts for a name, and the numbers that are drawn against its threshold.
//!
//! There are two draws. [`correlation_draw`](crate::emit::correlation_draw) is a pure function of the correlation
//! id, so that start and stop of a request, and all workers that take part in it, decide alike; events
//! that have a trace and no such id are drawn by that. [`next_draw`] serves events that have neither.

use std::cell::Cell;

use super::Threshold;
use crate::control::{ControlError, PatternList, SamplingRule, check_rule_count, compile_list};
use crate::correlation::{random_u64, seed_generation};
use crate::pattern::PatternSet;

/// The golden ratio in units of 2^-64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The compiled sampling rules. The default keeps everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    /// The share of the events this rule is about.
    threshold: Threshold,
    /// Their names; empty means all.
    patterns: PatternSet,
}

impl Rules {
    pub(super) fn compile(rules: &[SamplingRule]) -> Result<Self, ControlError> {
        check_rule_count(rules.len())?;
        rules
            .iter()
            .enumerate()
            .map(compile_rule)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// That of the last rule that matches.
    pub(super) fn threshold(&self, name: &str) -> Threshold {
        self.0
            .iter()
            .rev()
            .find(|rule| rule.patterns.is_empty() || rule.patterns.matches(name))
            .map_or(Threshold::KEEP, |rule| rule.threshold)
    }
}

fn compile_rule((index, rule): (usize, &SamplingRule)) -> Result<Rule, ControlError> {
    rule.check_rate()?;
    Ok(Rule {
        threshold: Threshold::from_rate(rule.rate),
        patterns: compile_list(PatternList::Sampling(index + 1), &rule.patterns)?,
    })
}

thread_local! {
    /// The last draw of this thread, and the seed generation of its start; 0 is unseeded.
    static SEQUENCE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The next number of this thread's Weyl sequence: multiples of the golden ratio modulo 1, in units
/// of 2^-64, from a random start.
///
/// It is spread more evenly than random numbers, so that a rate is met within a few events of what
/// it should be, over any stretch of draws, instead of within their square root. After
/// [`reseed`](crate::emit::reseed) it starts anew.
#[must_use]
pub fn next_draw() -> u64 {
    SEQUENCE.with(|cell| {
        let (mut last, generation) = cell.get();
        let current = seed_generation();
        if generation != current {
            last = random_u64();
        }
        let draw = last.wrapping_add(GOLDEN);
        cell.set((draw, current));
        draw
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::correlation::{CorrelationId, correlation_draw, reseed};
    use crate::policy::Verdict;

    fn kept(rate: f64, draws: impl Iterator<Item = u64>) -> usize {
        let threshold = Threshold::from_rate(rate);
        draws
            .filter(|&draw| threshold.decide(|| draw) == Verdict::Keep)
            .count()
    }

    #[test]
    fn correlation_draws_do_not_collide_and_spread_evenly() {
        let sequential = (0..40_000).map(|index| format!("request-{index}"));
        let short = (0..40_000).map(|index| format!("{index:x}"));
        let padded = (0..40_000).map(|index| format!("{index:032x}"));
        let random = (0..40_000).map(|_| CorrelationId::random().to_string());
        let check = |kind: &str, ids: &mut dyn Iterator<Item = String>| {
            let draws: HashSet<u64> = ids.map(|id| correlation_draw(&id)).collect();
            assert_eq!(draws.len(), 40_000, "{kind}");
            // Five standard deviations around each expected count.
            for (rate, expected, slack) in [
                (0.01, 400, 100),
                (0.25, 10_000, 435),
                (0.5, 20_000, 500),
                (0.9, 36_000, 300),
            ] {
                let kept = kept(rate, draws.iter().copied());
                assert!(kept.abs_diff(expected) < slack, "{kind} at {rate}: {kept}");
            }
        };
        check("sequential", &mut { sequential });
        check("short", &mut { short });
        check("padded", &mut { padded });
        check("random", &mut { random });
    }

    #[test]
    fn a_lower_rate_keeps_a_subset() {
        for index in 0..1_000 {
            let draw = correlation_draw(&format!("request-{index}"));
            let low = Threshold::from_rate(0.1).decide(|| draw) == Verdict::Keep;
            let high = Threshold::from_rate(0.3).decide(|| draw) == Verdict::Keep;
            assert!(high || !low);
        }
    }

    #[test]
    fn next_draw_meets_a_rate_within_a_tenth_of_a_percent() {
        let kept = kept(0.25, (0..40_000).map(|_| next_draw()));
        assert!(kept.abs_diff(10_000) <= 10, "{kept}");
    }

    #[test]
    fn next_draw_meets_a_rate_for_one_of_two_alternating_names() {
        let kept = kept(0.25, (0..80_000).map(|_| next_draw()).step_by(2));
        assert!(kept.abs_diff(10_000) <= 10, "{kept}");
    }

    #[test]
    fn threads_and_forks_start_elsewhere() {
        let here = next_draw();
        let there = std::thread::spawn(next_draw).join().unwrap();
        assert_ne!(here, there);
        reseed();
        assert_ne!(next_draw(), here.wrapping_add(GOLDEN));
    }
}
