//! Events of names of which so many a second pass. Apart, so that all other events pay nothing for them.
//!
//! First the share is drawn, then the limiter is asked. The start of a span decides for its end: where it was
//! let through, the end is too, and the limiter is told of it; where it was not, nor is the end.

use super::{Drawn, Gate, Outcome, SpanDecision};
use crate::callsite::{Callsite, Ended};
use crate::ledger::Reason;
use crate::policy::{Threshold, Verdict};

impl Gate {
    /// Decides about an event of a limited name.
    #[inline(never)]
    pub(super) fn admit_limited(&self, site: &Callsite, draw: u64) -> Result<Threshold, Outcome> {
        let Some((share, slot)) = self.sites.limit(site) else {
            // The policy changed a moment ago.
            let threshold = self.sites.threshold(site);
            return self.count(site, threshold, threshold.decide(|| draw));
        };
        if share.decide(|| draw) != Verdict::Keep {
            return Err(self.ended(site, Ended::SampledOut, Reason::SampledOut));
        }
        let Some(limiter) = self.limiters.get(slot) else {
            return Ok(share);
        };
        if limiter.ask(self.clock.monotonic_nanos()) {
            Ok(share.of(limiter.share()))
        } else {
            Err(self.count_dropped(site, Reason::Limited))
        }
    }

    /// Decides about the events of a span whose start is limited.
    #[inline(never)]
    pub(super) fn decide_limited_span(
        &self,
        start: &Callsite,
        stop: &Callsite,
        exception: &Callsite,
        draw: u64,
    ) -> SpanDecision {
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
        SpanDecision {
            start: Drawn { threshold, draw },
            stop: end(stop),
            exception: end(exception),
        }
    }

    /// Decides about an event of a span that was limited when the span started, or is now.
    #[inline(never)]
    pub(super) fn admit_limited_end(
        &self,
        site: &Callsite,
        threshold: Threshold,
        draw: u64,
    ) -> Result<Threshold, Outcome> {
        if threshold == Threshold::LIMITED {
            return self.admit_limited(site, draw);
        }
        let limit = self.sites.limit(site);
        let limiter = limit.and_then(|(_, slot)| self.limiters.get(slot));
        let now = || self.clock.monotonic_nanos();
        if threshold == Threshold::REFUSED {
            if let Some(limiter) = limiter {
                limiter.refuse(now());
            }
            return Err(self.count_dropped(site, Reason::Limited));
        }
        if let Some(limiter) = limiter {
            match threshold == Threshold::PAID {
                true => limiter.passed(now()),
                false => limiter.charge(now()),
            }
        }
        let share = limit.map_or(Threshold::KEEP, |(share, _)| share);
        Ok(share.of(limiter.map_or(1.0, |limiter| limiter.share())))
    }
}

#[cfg(test)]
mod tests;
