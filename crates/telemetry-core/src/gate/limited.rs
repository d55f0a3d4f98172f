//! Events of names of which so many a second pass. Apart, so that all other events pay nothing for them.
//!
//! First the share is drawn, then the limiter is asked. The start of a span decides for its end: where it was
//! let through, the end is too, and the limiter is told of it; where it was not, nor is the end.

use super::{Drawn, Gate, Outcome, SpanDecision, draw};
use crate::callsite::{Callsite, Ended};
use crate::correlation::SpanContext;
use crate::ledger::Reason;
use crate::policy::{Threshold, Verdict};

/// What became of an event that a limiter was asked about. The answer travels as one word, so that those who
/// need none have all else in registers.
pub(super) fn passed(answer: Threshold) -> Result<Threshold, Outcome> {
    match answer {
        Threshold::OFF => Err(Outcome::Off),
        Threshold::FILTERED => Err(Outcome::Dropped(Reason::Filtered)),
        Threshold::NEVER => Err(Outcome::Dropped(Reason::SampledOut)),
        Threshold::REFUSED => Err(Outcome::Dropped(Reason::Limited)),
        share => Ok(share),
    }
}

impl Gate {
    /// Whether an event of a limited name passes at a glance, and is counted: its limit is all that it is asked,
    /// and was not reached of late. Otherwise nothing has happened.
    #[inline(never)]
    pub(super) fn is_let_pass(&self, site: &Callsite) -> bool {
        let limiter = site.sole_limiter().and_then(|it| self.limiters.get(it));
        limiter.is_some_and(|limiter| limiter.let_all_pass(self.clock.monotonic_nanos()))
    }

    /// Decides about an event of a limited name, and counts it if it does not pass.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_limited(
        &self,
        site: &Callsite,
        correlation_id: &str,
        span: Option<&SpanContext>,
    ) -> Threshold {
        self.ask_limit(site, || draw(correlation_id, span))
    }

    /// Decides about an event of a limited name, in all cases.
    #[inline(never)]
    fn ask_limit(&self, site: &Callsite, draw: impl Fn() -> u64) -> Threshold {
        let Some((share, slot)) = self.sites.limit(site) else {
            // The policy changed a moment ago.
            return self.ask_no_limit(site, draw());
        };
        if share.decide(draw) != Verdict::Keep {
            self.ended(site, Ended::SampledOut, Reason::SampledOut);
            return Threshold::NEVER;
        }
        let Some(limiter) = self.limiters.get(slot) else {
            return share;
        };
        if limiter.ask(self.clock.monotonic_nanos()) {
            share.of(limiter.share())
        } else {
            self.count_dropped(site, Reason::Limited);
            Threshold::REFUSED
        }
    }

    /// The same of a name that is not limited any more.
    fn ask_no_limit(&self, site: &Callsite, draw: u64) -> Threshold {
        let threshold = self.sites.threshold(site);
        match self.count(site, threshold, threshold.decide(|| draw)) {
            Ok(threshold) => threshold,
            Err(Outcome::Dropped(Reason::SampledOut)) => Threshold::NEVER,
            Err(Outcome::Dropped(_)) => Threshold::FILTERED,
            Err(_) => Threshold::OFF,
        }
    }

    /// Decides about the events of a span whose start is limited.
    #[cold]
    #[inline(never)]
    pub(super) fn decide_limited_span(
        &self,
        start: &Callsite,
        stop: &Callsite,
        exception: &Callsite,
        correlation_id: &str,
        span: Option<&SpanContext>,
    ) -> Option<SpanDecision> {
        let draw = draw(correlation_id, span);
        let mut passes = true;
        let mut threshold = self.sites.threshold(start);
        if let Some((share, slot)) = self.sites.limit(start) {
            passes = share.decide(|| draw) == Verdict::Keep;
            threshold = share;
            if passes && let Some(limiter) = self.limiters.get(slot) {
                passes = limiter.ask_only(self.clock.monotonic_nanos());
                threshold = if passes {
                    Threshold::PAID
                } else {
                    Threshold::REFUSED
                };
            }
        }
        let was_refused = threshold == Threshold::REFUSED;
        let end = |site: &Callsite| {
            let threshold = match self.sites.limit(site) {
                None => self.sites.threshold(site),
                Some((share, _)) if share.decide(|| draw) != Verdict::Keep => share,
                Some(_) if was_refused => Threshold::REFUSED,
                Some(_) if passes => Threshold::OWES,
                Some(_) => Threshold::LIMITED,
            };
            Drawn { threshold, draw }
        };
        Some(SpanDecision {
            start: Drawn { threshold, draw },
            stop: end(stop),
            exception: end(exception),
        })
    }

    /// Decides about an event of a span that was limited when the span started, or is now.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_limited_end(
        &self,
        site: &Callsite,
        Drawn { threshold, draw }: Drawn,
    ) -> Threshold {
        let is_decided = [Threshold::PAID, Threshold::OWES, Threshold::REFUSED];
        if !is_decided.contains(&threshold) {
            return self.ask_limit(site, || draw);
        }
        let limit = self.sites.limit(site);
        let limiter = limit.and_then(|(_, slot)| self.limiters.get(slot));
        let now = || self.clock.monotonic_nanos();
        if threshold == Threshold::REFUSED {
            if let Some(limiter) = limiter {
                limiter.refuse(now());
            }
            self.count_dropped(site, Reason::Limited);
            return Threshold::REFUSED;
        }
        if let Some(limiter) = limiter {
            match threshold == Threshold::PAID {
                true => limiter.passed(now()),
                false => limiter.charge(now()),
            }
        }
        let share = limit.map_or(Threshold::KEEP, |(share, _)| share);
        share.of(limiter.map_or(1.0, |limiter| limiter.share()))
    }
}

#[cfg(test)]
mod tests;
