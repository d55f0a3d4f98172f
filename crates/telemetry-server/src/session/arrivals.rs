//! A session whose worker dials in: serve what arrives, wait for its return, notice that it has left.
//!
//! Nothing is dialled here and nothing backs off: when to come back is the worker's business. A worker
//! leaves at once when it said its last word or its process has ended, else when its grace is over. One
//! that is dialled as well never leaves by itself: whoever registered it says when.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::arrival::{Arrival, Caller};
use super::info::StreamState;
use super::progress::Ending;
use super::stream::PROCESS_ENDED;
use super::{Over, Session, stopped};

/// Between two looks at whether an announced connection is there.
const ANNOUNCED: Duration = Duration::from_millis(5);
/// How often it is looked at its end whether those that were passed over have ended.
const LAST_LOOKS: usize = 100;

impl Session {
    /// Whether somebody dialled in whom the session has not seen yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.next.is_some() || !self.arrivals.is_empty()
    }

    /// Waits a moment for a connection that is about to be handed over, after its worker has left.
    pub(crate) async fn await_announced(&mut self) {
        tokio::select! {
            biased;
            () = stopped(&mut self.run) => {}
            Some(arrival) = self.arrivals.recv() => self.next = Some(arrival),
            () = sleep(ANNOUNCED) => {}
        }
    }

    /// Serves a connection, and waits for the worker's return if it was lost. Breaks if the worker left.
    pub(super) async fn serve(&mut self, mut arrival: Arrival) -> ControlFlow<()> {
        if self.caller.is_before(&arrival) {
            self.pass(arrival);
            return ControlFlow::Continue(());
        }
        if !self.caller.opened(&arrival) {
            // Nobody may have looked at the one before since it died.
            self.record.read_out().await;
            self.book_end_if_over();
        }
        // Only the newest is of use: the worker gave the others up before it opened it. In which order they were handed
        // over says nothing.
        while let Ok(mut older) = self.arrivals.try_recv() {
            if older.accepted > arrival.accepted {
                std::mem::swap(&mut older, &mut arrival);
            }
            if older.incarnation == arrival.incarnation {
                arrival.region = arrival.region.or(older.region);
            } else {
                // It gave nothing up: nobody was quick enough for it.
                self.pass(older);
            }
        }
        self.settle_passed().await;
        // What is handed over now must not be taken for what the process before left.
        self.record.read_out().await;
        self.record.receive(&self.shared, &mut arrival);
        let before = std::mem::replace(&mut self.caller, Caller::of(&mut arrival));
        if before.is_awaited() {
            // It may be about to end, and nobody would look.
            self.passed.push((before, None));
        }
        let ending = Box::pin(self.arrived(arrival)).await;
        self.settle_passed().await;
        let error = match ending {
            Ending::Stopped { .. } => return ControlFlow::Continue(()),
            Ending::Superseded => {
                self.book_end_if_over();
                return ControlFlow::Continue(());
            }
            Ending::Gone => return self.process_ended(),
            Ending::NotOpened { error, .. } => error.to_string(),
            Ending::Lost { reason, .. } | Ending::Replaced { reason } => reason,
        };
        self.record
            .waiting(StreamState::Away, &error, 0, Some(self.grace()), true);
        if self.may_leave() && self.record.has_said_last() {
            return self.left("it said its last word");
        }
        tracing::debug!(worker = %self.context.worker_id, %error, "worker is away");
        self.await_return().await
    }

    /// Waits until the worker is back, or has left.
    pub(super) async fn await_return(&mut self) -> ControlFlow<()> {
        let until = Instant::now() + self.grace();
        tokio::select! {
            biased;
            () = stopped(&mut self.run) => ControlFlow::Continue(()),
            arrival = self.arrivals.recv() => match arrival {
                Some(arrival) => {
                    self.next = Some(arrival);
                    ControlFlow::Continue(())
                }
                // Whoever would announce one is gone.
                None => self.left("nobody announces it any more"),
            },
            // Of one that somebody else started, that one says what comes next.
            () = self.caller.life.ended(), if self.may_leave() || !self.record.is_supervised() => {
                self.process_ended()
            }
            () = sleep_until(until) => self.left("it did not come back"),
        }
    }

    /// A connection is not served, since a newer one is or was. What came with it is kept.
    pub(super) fn pass(&mut self, mut arrival: Arrival) {
        let region = arrival.region.take();
        self.passed.push((Caller::of(&mut arrival), region));
    }

    /// Books the ends of those that were passed over, as far as they have ended. One that lives dials in again, and is
    /// looked at as long as the session lasts. To be called while no stream is open.
    pub(super) async fn settle_passed(&mut self) {
        for (mut passed, region) in std::mem::take(&mut self.passed) {
            self.record.read_out().await;
            if self.caller.is_same(&passed) {
                // What it handed over came with the newer connection as well.
                continue;
            }
            if self.caller.outlived(&passed) {
                // The end of one that is supervised is told by somebody else.
                if (region.is_some() || !self.record.is_supervised())
                    && let Some(end) = passed.take_end(self.record.now_ns())
                {
                    self.record.earlier_ended(&self.shared, end, region);
                }
            } else {
                self.passed.push((passed, region));
            }
        }
    }

    /// The worker has left, but for those that were passed over and are about to end.
    pub(super) async fn leave(&mut self) -> Over {
        for _ in 0..LAST_LOOKS {
            self.settle_passed().await;
            if self.passed.is_empty() || self.is_awaited() {
                break;
            }
            sleep(ANNOUNCED).await;
        }
        Over::Left
    }

    /// The process behind the last connection has ended.
    fn process_ended(&mut self) -> ControlFlow<()> {
        if !self.record.is_supervised() {
            self.book_end();
        }
        if !self.may_leave() {
            // Its successor will be registered.
            return ControlFlow::Continue(());
        }
        self.left(PROCESS_ENDED)
    }

    /// Books the end of the process behind the last connection, unless that was done.
    pub(super) fn book_end(&mut self) {
        if let Some(caller) = self.caller.take_end(self.record.now_ns()) {
            self.record.caller_ended(&self.shared, caller);
        }
    }

    /// The same if it has ended, and nobody else will say so.
    fn book_end_if_over(&mut self) {
        let life = &self.caller.life;
        if life.was_gone() || (!self.record.is_supervised() && life.is_over()) {
            self.book_end();
        }
    }

    /// One that cannot be dialled is not waited for any longer.
    fn left(&self, why: &str) -> ControlFlow<()> {
        if !self.may_leave() {
            return ControlFlow::Continue(());
        }
        tracing::debug!(worker = %self.context.worker_id, why, "worker has left");
        ControlFlow::Break(())
    }

    fn may_leave(&self) -> bool {
        self.endpoint.is_none()
    }

    fn grace(&self) -> Duration {
        crate::deadline::bounded(self.shared.away_grace)
    }
}
