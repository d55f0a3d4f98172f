//! Sampling: which rule counts for a name, and the numbers that are drawn against its threshold.
//!
//! There are two draws. [`correlation_draw`] is a pure function of the correlation id, so that
//! start and stop of a request, and all workers that take part in it, decide alike. [`next_draw`]
//! serves events without one.

use std::cell::Cell;

use super::Threshold;
use crate::control::{ControlError, PatternList, SamplingRule, check_rule_count, compile_list};
use crate::correlation::{random_u64, seed_generation};
use crate::pattern::PatternSet;

/// The golden ratio in units of 2^-64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// First factor of the 64-bit finalizer of MurmurHash3.
const MIX_A: u64 = 0xff51_afd7_ed55_8ccd;

/// Second factor of that finalizer.
const MIX_B: u64 = 0xc4ce_b9fe_1a85_ec53;

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

/// The draw of a correlation id: a stable 64-bit hash, the same in every process, version and
/// language. An event is kept if it is below `rate * 2^64`.
///
/// All arithmetic is on unsigned 64-bit words, modulo 2^64:
///
/// 1. `hash = 0x9e3779b97f4a7c15 XOR length of the UTF-8 bytes`.
/// 2. Cut the bytes into chunks of 8, the last one filled up with zero bytes (no bytes, no chunk).
///    For each, read as a little-endian word `w`:
///    `hash = (hash XOR w) * 0xff51afd7ed558ccd`, then `hash = hash XOR (hash >> 32)`.
/// 3. `hash = hash * 0xc4ceb9fe1a85ec53`, then `hash = hash XOR (hash >> 33)`.
/// 4. `hash = hash * 0xff51afd7ed558ccd`, then `hash = hash XOR (hash >> 33)`. That is the draw.
///
/// It spreads ids evenly; it does not resist somebody who chooses ids to be kept.
///
/// ```
/// assert_eq!(telemetry_core::correlation_draw("request-1"), 0xb3c2_eebc_8a33_dbe9);
/// ```
#[must_use]
pub fn correlation_draw(correlation_id: &str) -> u64 {
    let bytes = correlation_id.as_bytes();
    let mut hash = GOLDEN ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = absorb(hash, word);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = absorb(hash, word);
    }
    hash = hash.wrapping_mul(MIX_B);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(MIX_A);
    hash ^ hash >> 33
}

fn absorb(hash: u64, word: [u8; 8]) -> u64 {
    let hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MIX_A);
    hash ^ hash >> 32
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
/// [`reseed`](crate::reseed) it starts anew.
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
    use crate::correlation::{CorrelationId, reseed};
    use crate::policy::Verdict;

    fn kept(rate: f64, draws: impl Iterator<Item = u64>) -> usize {
        let threshold = Threshold::from_rate(rate);
        draws
            .filter(|&draw| threshold.decide(|| draw) == Verdict::Keep)
            .count()
    }

    #[test]
    fn correlation_draw_is_stable() {
        for (id, draw) in [
            ("", 0xfd53_7b06_e63f_9f03),
            ("a", 0x33fa_941c_10c9_5c89),
            ("1234567", 0x6ac3_8271_3380_8fe7),
            ("12345678", 0xcf78_e632_3759_635d),
            ("123456789", 0x95e6_b094_0d8f_8041),
            ("request-1", 0xb3c2_eebc_8a33_dbe9),
            ("héllo", 0x5ebf_519d_5257_0fe2),
            ("4bf92f3577b34da6a3ce929d0e0e4736", 0x2b13_7c94_c824_2f40),
        ] {
            assert_eq!(correlation_draw(id), draw, "{id:?}");
        }
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
