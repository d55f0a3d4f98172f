//! Whether a worker that is silent still lives, asked with the call `Ping`.
//!
//! Ours may be pinged by HTTP/2 itself. A server of gRPC's C core may not: it ends a connection that is pinged more
//! often than once in five minutes while it sends nothing. So nobody is, until he is known, and whoever is silent for
//! [`KEEP_ALIVE_INTERVAL`] on such a connection is asked by a call like any other. One of ours answers it in
//! [`KEEP_ALIVE_TIMEOUT`]; what answers it in a stock worker is Python, which may be at work or stopped for a while,
//! and whose events are better off if it is given [`STOCK_PING_TIMEOUT`].
//!
//! State and times; what follows from them is decided by the stream.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::dial::{Answer, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};
use super::state::Speech;

/// Time for the answer of a stock worker to `Ping`. One that stands still is found within this and
/// [`KEEP_ALIVE_INTERVAL`].
pub const STOCK_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Pulse {
    /// Whether HTTP/2 looks after the connection by itself.
    is_kept_alive: bool,
    /// When something was heard last.
    heard: Instant,
    /// Whether it is to be asked at once.
    is_urgent: bool,
    /// A call under way, and since when.
    asked: Option<(Answer, Instant)>,
    /// Whether it ever answered one: a stock server that has no thread left for it says nothing by its silence.
    answers: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// The worker is to be asked.
    Ask,
    /// It answered.
    Alive,
    /// The call failed, as with its connection.
    Failed,
    /// It did not answer for so long.
    Silent(Duration),
}

impl Pulse {
    pub(super) fn new(is_kept_alive: bool) -> Self {
        Self {
            is_kept_alive,
            heard: Instant::now(),
            is_urgent: false,
            asked: None,
            answers: false,
        }
    }

    /// Something was heard of the worker.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// The worker is to be asked at once, unless it is being asked.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = self.asked.is_none();
    }

    /// It was asked.
    pub(super) fn asked(&mut self, answer: Answer) {
        self.is_urgent = false;
        self.asked = Some((answer, Instant::now()));
    }

    /// What is to be done next, once its time has come. May be dropped and called again without loss.
    pub(super) async fn next(&mut self, speech: Speech) -> Beat {
        let Some((answer, asked_at)) = &mut self.asked else {
            let is_known = !matches!(speech, Speech::Expected { .. });
            match self.is_urgent {
                true => {}
                false if is_known && !self.is_kept_alive => {
                    sleep_until(self.heard + KEEP_ALIVE_INTERVAL).await;
                }
                false => std::future::pending().await,
            }
            return Beat::Ask;
        };
        let patience = match speech {
            Speech::Extended => KEEP_ALIVE_TIMEOUT,
            Speech::Expected { .. } | Speech::Legacy => STOCK_PING_TIMEOUT,
        };
        let is_telling = !self.is_kept_alive && (self.answers || speech == Speech::Extended);
        let due = (*asked_at).max(self.heard) + patience;
        tokio::select! {
            // If we were kept from looking, the answer may have come in time.
            biased;
            answered = answer.as_mut() => {
                let is_alive = answered.is_ok();
                self.asked = None;
                self.heard = Instant::now();
                self.answers |= is_alive;
                if is_alive { Beat::Alive } else { Beat::Failed }
            }
            () = sleep_until(due), if is_telling => Beat::Silent(patience),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn never() -> Answer {
        Box::pin(std::future::pending())
    }

    /// How long it takes until there is something to do, and what it is.
    async fn next(pulse: &mut Pulse, speech: Speech) -> (Duration, Beat) {
        let began = Instant::now();
        let beat = pulse.next(speech).await;
        (began.elapsed(), beat)
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_ours_is_found_within_fifteen_seconds_and_a_stock_one_within_thirty() {
        for (speech, patience) in [
            (Speech::Extended, KEEP_ALIVE_TIMEOUT),
            (Speech::Legacy, STOCK_PING_TIMEOUT),
        ] {
            let mut pulse = Pulse::new(false);
            pulse.answers = true;
            let asked = next(&mut pulse, speech).await;
            assert_eq!(asked, (KEEP_ALIVE_INTERVAL, Beat::Ask));
            pulse.asked(never());
            let told = next(&mut pulse, speech).await;
            assert_eq!(told, (patience, Beat::Silent(patience)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_is_not_asked_and_what_it_sends_is_an_answer() {
        let mut pulse = Pulse::new(false);
        pulse.answers = true;
        advance(KEEP_ALIVE_INTERVAL / 2).await;
        pulse.heard();
        let asked = next(&mut pulse, Speech::Legacy).await;
        assert_eq!(asked, (KEEP_ALIVE_INTERVAL, Beat::Ask));
        pulse.asked(never());
        advance(STOCK_PING_TIMEOUT / 2).await;
        pulse.heard();
        let told = next(&mut pulse, Speech::Legacy).await;
        let silent = Beat::Silent(STOCK_PING_TIMEOUT);
        assert_eq!(told, (STOCK_PING_TIMEOUT, silent));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_judged_who_never_answered_or_is_looked_after_by_http() {
        let day = Duration::from_secs(86_400);
        let expected = Speech::Expected {
            due: Instant::now(),
        };
        for (is_kept_alive, speech) in [(false, expected), (true, Speech::Legacy)] {
            let mut pulse = Pulse::new(is_kept_alive);
            let asked = tokio::time::timeout(day, pulse.next(speech)).await;
            assert!(asked.is_err(), "{speech:?}: {asked:?}");
            pulse.hurry();
            assert_eq!(next(&mut pulse, speech).await, (Duration::ZERO, Beat::Ask));
        }
        let mut pulse = Pulse::new(false);
        pulse.asked(never());
        let told = tokio::time::timeout(day, pulse.next(Speech::Legacy)).await;
        assert!(told.is_err(), "{told:?}");
    }
}
