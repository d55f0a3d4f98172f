//! So many events a second: limiters, and which rule has which.
//!
//! A limiter is a virtual clock (GCRA): each event that passes moves it on by the time that one event has, and
//! an event passes if the clock is not ahead of the real one by more than the burst. One word, one exchange.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rules::{MAX_RULES, RateLimit, RuleTable, WireRule};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// An event that was offered, in the word of counts.
const OFFERED: u64 = 1 << 32;
/// The share where all are kept, as bits.
const ALL: u64 = 1.0_f64.to_bits();
/// Longest time that one event has, nanoseconds: a year.
const LONGEST: f64 = 3.2e16;

/// All limiters of a worker. They take no memory before there is a limit.
#[derive(Debug, Default)]
pub(crate) struct Limiters(OnceLock<Box<[Limiter]>>);

/// One limiter. What it is set to may change while it is asked; an event in between is judged by both.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Limiter {
    /// The time that one event has, nanoseconds.
    interval: AtomicU64,
    /// By how much its clock may be ahead, nanoseconds.
    ahead: AtomicU64,
    /// Its clock.
    clock: AtomicU64,
    /// When the second ends whose events are counted.
    second_ends: AtomicU64,
    /// Events of that second: offered in the high half, kept in the low half.
    counts: AtomicU64,
    /// Share of events that was kept in the last full second, as bits of an `f64`.
    share: AtomicU64,
    /// Events that were ever refused.
    refused: AtomicU64,
}

/// Which rules have which limiters; a rule keeps its own as long as it is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct LimiterSlots {
    /// Ids by limiter.
    ids: Vec<Option<Box<str>>>,
}

impl LimiterSlots {
    /// Limiters for the rules of a table: the ones they have, or free ones.
    pub(crate) fn assign(&self, table: &RuleTable) -> Self {
        let wants = |id: &str| {
            table
                .rules()
                .any(|rule| rule.id == id && rule.limit().is_some())
        };
        let kept = self.ids.iter().map(|id| id.clone().filter(|id| wants(id)));
        let mut next = Self {
            ids: kept.collect(),
        };
        next.ids.resize(MAX_RULES, None);
        for rule in table.rules().filter(|rule| rule.limit().is_some()) {
            if next.of(rule).is_none()
                && let Some(free) = next.ids.iter_mut().find(|id| id.is_none())
            {
                *free = Some(rule.id.as_str().into());
            }
        }
        next
    }

    /// The limiter of a rule.
    pub(crate) fn of(&self, rule: &WireRule) -> Option<u32> {
        let is_own = |id: &Option<Box<str>>| id.as_deref() == Some(&rule.id);
        let slot = self.ids.iter().position(is_own)?;
        u32::try_from(slot).ok()
    }
}

impl Limiters {
    /// Sets the limiters of a table; those that another rule had before begin anew.
    pub(crate) fn set(&self, before: &LimiterSlots, now: &LimiterSlots, table: &RuleTable) {
        for rule in table.rules() {
            let (Some(limit), Some(slot)) = (rule.limit(), now.of(rule)) else {
                continue;
            };
            if let Some(limiter) = self.all().get(slot as usize) {
                limiter.set(limit, before.of(rule) != Some(slot));
            }
        }
    }

    /// The limiter in a slot.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&Limiter> {
        self.0.get()?.get(slot as usize)
    }

    fn all(&self) -> &[Limiter] {
        self.0
            .get_or_init(|| (0..MAX_RULES).map(|_| Limiter::default()).collect())
    }
}

impl Limiter {
    /// Says how many events it lets through.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and the numbers are clamped to what fits"
    )]
    fn set(&self, limit: RateLimit, anew: bool) {
        let interval = (SECOND as f64 / limit.per_second).clamp(1.0, LONGEST);
        let ahead = ((limit.burst - 1.0).max(0.0) * interval).min(LONGEST);
        let was = [
            self.interval.swap(interval as u64, Ordering::Relaxed),
            self.ahead.swap(ahead as u64, Ordering::Relaxed),
        ];
        if was != [interval as u64, ahead as u64] {
            // How far it is ahead was right for another limit.
            self.clock.store(0, Ordering::Relaxed);
        }
        if anew {
            for word in [&self.clock, &self.second_ends, &self.counts, &self.refused] {
                word.store(0, Ordering::Relaxed);
            }
            self.share.store(ALL, Ordering::Relaxed);
        }
    }

    /// Whether an event passes at `now` and so did all of the last full second, and it is counted; otherwise
    /// nothing has happened. The short way of [`ask`](Self::ask).
    #[inline]
    pub(crate) fn let_all_pass(&self, now: u64) -> bool {
        if self.share.load(Ordering::Relaxed) != ALL
            || now >= self.second_ends.load(Ordering::Relaxed)
        {
            return false;
        }
        let clock = self.clock.load(Ordering::Relaxed);
        if clock > now + self.ahead.load(Ordering::Relaxed) {
            return false;
        }
        let next = clock.max(now) + self.interval.load(Ordering::Relaxed);
        let moved =
            self.clock
                .compare_exchange_weak(clock, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() {
            self.counts.fetch_add(OFFERED + 1, Ordering::Relaxed);
        }
        moved.is_ok()
    }

    /// Whether an event may pass at `now`, monotonic nanoseconds, without a count of it.
    #[inline]
    pub(crate) fn ask_only(&self, now: u64) -> bool {
        self.step(now, self.ahead.load(Ordering::Relaxed))
    }

    /// Counts an event that passed.
    #[inline]
    pub(crate) fn passed(&self, now: u64) {
        self.count(now, OFFERED + 1);
    }

    /// Whether an event passes at `now`, monotonic nanoseconds.
    #[inline]
    pub(crate) fn ask(&self, now: u64) -> bool {
        let passes = self.ask_only(now);
        if passes {
            self.passed(now);
        } else {
            self.refuse(now);
        }
        passes
    }

    /// Lets an event pass that goes with one that passed: those to come wait the longer, by a second at most.
    pub(crate) fn charge(&self, now: u64) {
        let ahead = self.ahead.load(Ordering::Relaxed);
        self.step(now, ahead.saturating_add(SECOND));
        self.passed(now);
    }

    /// Does not let an event pass.
    pub(crate) fn refuse(&self, now: u64) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.count(now, OFFERED);
    }

    /// Share of events that was kept in the last full second; all, where none was offered.
    #[inline]
    pub(crate) fn share(&self) -> f64 {
        f64::from_bits(self.share.load(Ordering::Relaxed))
    }

    /// Events that were ever refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Moves its clock on by one event, unless that is ahead by more than allowed.
    #[inline]
    fn step(&self, now: u64, ahead: u64) -> bool {
        let interval = self.interval.load(Ordering::Relaxed);
        let mut clock = self.clock.load(Ordering::Relaxed);
        loop {
            if clock > now.saturating_add(ahead) {
                return false;
            }
            let next = clock.max(now).saturating_add(interval);
            let moved =
                self.clock
                    .compare_exchange_weak(clock, next, Ordering::Relaxed, Ordering::Relaxed);
            match moved {
                Ok(_) => return true,
                Err(other) => clock = other,
            }
        }
    }

    /// Counts an event in its second.
    #[inline]
    fn count(&self, now: u64, event: u64) {
        let ends = self.second_ends.load(Ordering::Relaxed);
        if now >= ends {
            self.begin_second(now, ends);
        }
        self.counts.fetch_add(event, Ordering::Relaxed);
    }

    /// Begins to count another second. One thread does; another event or two may count in the wrong one.
    #[cold]
    fn begin_second(&self, now: u64, ends: u64) {
        let next = now - now % SECOND + SECOND;
        let mine =
            self.second_ends
                .compare_exchange(ends, next, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_err() {
            return;
        }
        let counts = self.counts.swap(0, Ordering::Relaxed);
        let (offered, kept) = (counts / OFFERED, counts % OFFERED);
        // The last full second is another one, in which nothing was offered, if this one is older.
        let share = if ends + SECOND < next || offered == 0 {
            1.0
        } else {
            // Of a span's end none is asked, so all of them may have been kept.
            (kept.max(1) as f64 / offered as f64).min(1.0)
        };
        self.share.store(share.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_second: f64, burst: f64) -> Limiter {
        let limiter = Limiter::default();
        limiter.set(RateLimit::new(per_second, burst), true);
        limiter
    }

    #[test]
    fn a_burst_passes_and_then_as_much_as_the_limit() {
        let limiter = limiter(10.0, 3.0);
        let start = 5 * SECOND;
        let passed = (0..20).filter(|_| limiter.ask(start)).count();
        assert_eq!(passed, 3);
        // Every millisecond for ten seconds.
        let passed = (1..=10_000).filter(|ms| limiter.ask(start + ms * 1_000_000));
        assert_eq!(passed.count(), 100);
        assert_eq!(limiter.refused(), 17 + 9_900);
    }

    #[test]
    fn what_was_charged_is_waited_for() {
        let limiter = limiter(10.0, 1.0);
        let start = SECOND;
        assert!(limiter.ask(start));
        limiter.charge(start);
        assert!(!limiter.ask(start + SECOND / 10));
        assert!(limiter.ask(start + SECOND / 5));
    }

    #[test]
    fn what_was_charged_shuts_nobody_out_for_long() {
        let limiter = limiter(1.0, 1.0);
        for _ in 0..1_000 {
            limiter.charge(SECOND);
        }
        assert!(!limiter.ask(2 * SECOND));
        assert!(limiter.ask(4 * SECOND));
    }

    #[test]
    fn a_limit_that_is_raised_lets_pass_at_once() {
        let limiter = limiter(1.0, 3_600.0);
        while limiter.ask(SECOND) {}
        limiter.set(RateLimit::new(1.0, 3_600.0), false);
        assert!(!limiter.ask(SECOND), "the same limit goes on");
        limiter.set(RateLimit::new(100.0, 100.0), false);
        assert!(limiter.ask(SECOND));
    }

    #[test]
    fn the_share_is_that_of_the_last_full_second() {
        let limiter = limiter(10.0, 1.0);
        assert!((limiter.share() - 1.0).abs() < f64::EPSILON);
        let at = |second: u64, ms: u64| second * SECOND + ms * 1_000_000;
        for second in [1, 2] {
            for ms in 0..100 {
                limiter.ask(at(second, 10 * ms));
            }
        }
        assert!((limiter.share() - 0.1).abs() < 0.011, "{}", limiter.share());
        // Nothing for a while.
        limiter.ask(at(9, 0));
        assert!((limiter.share() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn threads_share_one_limit() {
        let limiter = limiter(1.0, 50.0);
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if limiter.ask(SECOND) {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 50);
        assert_eq!(limiter.counts.load(Ordering::Relaxed), 4_000 * OFFERED + 50);
    }
}
