//! What is still to be refused of a worker that does not carry out its rules itself.
//!
//! It stands behind decoding, in the pipeline of one worker. It knows what the worker was told, and lets of
//! each name as much pass as makes the whole right.

use std::cell::{Cell, RefCell};

use rustc_hash::FxHashMap;
use telemetry_core::emit::{Policy, PolicySpec, Threshold, Verdict, correlation_draw, next_draw};
use telemetry_core::rules::{Decision, RateLimit, RuleTable};

/// Most names that are remembered; what is beyond is looked up each time, and not limited.
const MAX_NAMES: usize = 4_096;
/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// What a worker was told.
#[derive(Debug)]
pub(crate) enum Told {
    /// One rate for all events; 1, if nothing. It does not say it in its events.
    Rate(f64),
    /// A policy of ours. Its events say their rates.
    Policy(Box<Policy>),
}

/// Lets events of one worker pass, or not.
#[derive(Debug)]
pub(crate) struct Enforcer {
    table: RuleTable,
    told: Told,
    /// By wire name.
    names: RefCell<FxHashMap<Box<str>, Share>>,
    /// Of the event that passed last: the probability with which it got here and passed, given what it
    /// claims.
    passed: Cell<f64>,
}

/// What may pass of one name.
#[derive(Debug, Clone, Copy)]
enum Share {
    Nothing,
    Some {
        /// Of what comes.
        rate: f64,
        /// Of draws that the worker has made the same way; of a name with a correlation id.
        wanted: f64,
        limit: Option<Limiter>,
    },
}

/// So many events a second, and how many of those that came in its last full second passed.
#[derive(Debug, Clone, Copy)]
struct Limiter {
    limit: RateLimit,
    /// When all that passed is worked off, nanoseconds.
    due: f64,
    /// When the present second began, nanoseconds.
    second: i64,
    offered: u32,
    kept: u32,
    /// Kept by offered, in the last full second.
    share: f64,
}

impl Enforcer {
    /// What rules ask of a worker that was told this.
    pub(crate) fn new(table: RuleTable, told: Told) -> Self {
        Self {
            table,
            told,
            names: RefCell::default(),
            passed: Cell::new(1.0),
        }
    }

    /// Told a policy of ours that says nothing else than the rules.
    pub(crate) fn told(policy: &PolicySpec) -> Told {
        // Each part of it was compiled when it was made.
        Told::Policy(Box::new(Policy::compile(policy).unwrap_or_default()))
    }

    /// Whether an event of this wire name passes.
    pub(crate) fn lets(
        &self,
        wire_name: &str,
        correlation_id: &str,
        now_ns: impl FnOnce() -> i64,
    ) -> bool {
        let mut names = self.names.borrow_mut();
        if !names.contains_key(wire_name) {
            if names.len() >= MAX_NAMES {
                let mut share = self.share(wire_name);
                return self.judge(&mut share, correlation_id, now_ns);
            }
            names.insert(wire_name.into(), self.share(wire_name));
        }
        match names.get_mut(wire_name) {
            Some(share) => self.judge(share, correlation_id, now_ns),
            None => true,
        }
    }

    /// The sampling rate of the event that passed last, which claims this one.
    pub(crate) fn rate(&self, claimed: Option<f64>) -> f64 {
        let before = match &self.told {
            Told::Rate(rate) if *rate > 0.0 => claimed.unwrap_or(*rate),
            _ => claimed.unwrap_or(1.0),
        };
        before * self.passed.get()
    }

    fn judge(&self, share: &mut Share, correlation_id: &str, now_ns: impl FnOnce() -> i64) -> bool {
        let Share::Some {
            rate,
            wanted,
            limit,
        } = share
        else {
            return false;
        };
        let (of_draws, draw) = match correlation_id {
            "" => (*rate, None),
            id if matches!(self.told, Told::Policy(_)) => (*wanted, Some(correlation_draw(id))),
            id => (*rate, Some(correlation_draw(id))),
        };
        let verdict = Threshold::from_rate(of_draws).decide(|| draw.unwrap_or_else(next_draw));
        if verdict != Verdict::Keep {
            return false;
        }
        self.passed.set(*rate);
        match limit {
            Some(limit) => {
                let passes = limit.passes(now_ns());
                self.passed.set(*rate * limit.share);
                passes
            }
            None => true,
        }
    }

    fn share(&self, wire_name: &str) -> Share {
        let Decision::Kept {
            rate: wanted,
            limit,
        } = self.table.decide(wire_name).decision
        else {
            return Share::Nothing;
        };
        let told = match &self.told {
            Told::Rate(rate) => *rate,
            Told::Policy(policy) => match policy.threshold(wire_name) {
                Threshold::OFF | Threshold::FILTERED => 1.0,
                share => share.rate(),
            },
        };
        // Of what was told well nothing is left: what comes was sent before that was heard.
        let (rate, wanted) = match told > wanted {
            true => (wanted / told, wanted),
            false => (1.0, 1.0),
        };
        if rate <= 0.0 {
            return Share::Nothing;
        }
        Share::Some {
            rate,
            wanted,
            limit: limit.map(Limiter::new),
        }
    }
}

impl Limiter {
    fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            due: 0.0,
            second: 0,
            offered: 0,
            kept: 0,
            share: 1.0,
        }
    }

    /// The generic cell rate algorithm: each event takes its time, and a burst may be taken in advance.
    fn passes(&mut self, now_ns: i64) -> bool {
        let elapsed = now_ns.saturating_sub(self.second) as f64;
        if !(0.0..SECOND).contains(&elapsed) {
            if self.offered > 0 && elapsed < 2.0 * SECOND {
                self.share = f64::from(self.kept.max(1)) / f64::from(self.offered);
            } else {
                self.share = 1.0;
            }
            (self.second, self.offered, self.kept) = (now_ns, 0, 0);
        }
        self.offered = self.offered.saturating_add(1);
        let each = SECOND / self.limit.per_second;
        let now = now_ns as f64;
        // The last nanoseconds are lost in the rounding of a time of this size.
        let most = now + each * self.limit.burst + 1_000.0;
        if self.due > most {
            // The clock was set back, which must not shut anybody out.
            self.due = now;
        }
        let due = self.due.max(now) + each;
        if due > most {
            return false;
        }
        self.due = due;
        self.kept += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use telemetry_core::rules::{WireAction, WireRule};

    use super::*;

    fn table(rules: &[WireRule]) -> RuleTable {
        let (table, problems) = RuleTable::compile(rules);
        assert_eq!(problems, []);
        table
    }

    fn rule(glob: &str, action: WireAction) -> WireRule {
        WireRule::new(1, "r", [glob], action)
    }

    #[track_caller]
    fn passed(enforcer: &Enforcer, name: &str, of: u32) -> u32 {
        let passes = (0..of).filter(|n| enforcer.lets(name, &format!("c-{n}"), || 0));
        u32::try_from(passes.count()).unwrap()
    }

    #[test]
    fn of_one_rate_for_all_the_rest_is_taken_away_here() {
        let mut low = rule("web.*", WireAction::Rate(0.1));
        low.rank = 1;
        let rules = [rule("*", WireAction::Rate(0.5)), low];
        let enforcer = Enforcer::new(table(&rules), Told::Rate(0.5));
        assert_eq!(passed(&enforcer, "tool.start", 1_000), 1_000);
        assert!((enforcer.rate(None) - 0.5).abs() < 1e-9);
        let kept = passed(&enforcer, "web.request", 10_000);
        assert!(
            (1_800..2_200).contains(&kept),
            "a fifth of what comes: {kept}"
        );
        assert!((enforcer.rate(None) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn what_no_rule_keeps_does_not_pass() {
        let enforcer = Enforcer::new(table(&[rule("web.*", WireAction::Drop)]), Told::Rate(1.0));
        assert_eq!(passed(&enforcer, "web.request", 10), 0);
        assert_eq!(passed(&enforcer, "tool.start", 10), 10);
        let never = [rule("*", WireAction::Rate(0.0))];
        let untold = Enforcer::new(table(&never), Told::Rate(1.0));
        assert_eq!(passed(&untold, "web.request", 10), 0);
        // What comes all the same was sent before the worker heard of it.
        let told = Enforcer::new(table(&never), Told::Rate(0.0));
        assert_eq!(passed(&told, "web.request", 10), 10);
        assert!((told.rate(None) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_draw_of_our_own_workers_is_made_again_and_not_twice() {
        let rules = [rule("*", WireAction::Rate(0.2))];
        let mut told = PolicySpec::default();
        told.sampling = vec![telemetry_core::emit::SamplingRule::of_all(0.4)];
        let enforcer = Enforcer::new(table(&rules), Enforcer::told(&told));
        let share = |rate: f64| {
            let threshold = Threshold::from_rate(rate);
            move |id: &String| threshold.decide(|| correlation_draw(id)) == Verdict::Keep
        };
        let sent: Vec<String> = (0..10_000)
            .map(|n| format!("c-{n}"))
            .filter(share(0.4))
            .collect();
        let passed = sent.iter().filter(|id| enforcer.lets("a", id, || 0));
        let passed: Vec<_> = passed.cloned().collect();
        let wanted: Vec<_> = sent.iter().filter(|id| share(0.2)(id)).cloned().collect();
        assert_eq!(passed, wanted);
        assert!((enforcer.rate(Some(0.4)) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_limit_holds_over_any_time_and_says_what_passed() {
        let limit = WireAction::PerSecond {
            limit: 10.0,
            burst: Some(2.0),
        };
        let enforcer = Enforcer::new(table(&[rule("*", limit)]), Told::Rate(1.0));
        let start = 1_000_000_000_000_i64;
        let mut passed = 0;
        for millisecond in 0..10_000 {
            let now = start + millisecond * 1_000_000;
            passed += u32::from(enforcer.lets("a", "", || now));
        }
        assert!((100..=102).contains(&passed), "{passed}");
        assert!(
            (enforcer.rate(None) - 0.01).abs() < 0.002,
            "{}",
            enforcer.rate(None)
        );
        // The clock is set back by an hour.
        assert!(enforcer.lets("a", "", || start - 3_600_000_000_000));
    }
}
