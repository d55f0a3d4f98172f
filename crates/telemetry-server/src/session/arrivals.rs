//! A session whose worker dials in: serve what arrives, wait for its return, notice that it has left.
//!
//! Nothing is dialled here and nothing backs off: when to come back is the worker's business. A worker
//! leaves at once when it said its last word or its process has ended, else when its grace is over. One
//! that is dialled as well never leaves by itself: whoever registered it says when.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::arrival::Arrival;
use super::info::StreamState;
use super::life::Life;
use super::progress::Ending;
use super::stream::PROCESS_ENDED;
use super::{Session, stopped};

impl Session {
    /// Whether somebody dialled in whom the session has not seen yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.next.is_some() || !self.arrivals.is_empty()
    }

    /// Whether it is of no use: a connection that its worker gave up before it opened the one that is served.
    pub(super) fn is_given_up(&self, arrival: &Arrival) -> bool {
        arrival.is_older_than(&self.introduced, self.since)
    }

    /// Serves a connection, and waits for the worker's return if it was lost. Breaks if the worker left.
    pub(super) async fn serve(&mut self, mut arrival: Arrival) -> ControlFlow<()> {
        // Only the newest is of use: the worker gave the others up before it opened it.
        while let Ok(mut older) = self.arrivals.try_recv() {
            // Two may have been handed over the other way round.
            if !older.is_older_than(&arrival.incarnation, Some(arrival.since)) {
                std::mem::swap(&mut older, &mut arrival);
            }
            if older.incarnation == arrival.incarnation {
                arrival.region = arrival.region.or(older.region);
            } else {
                // It gave nothing up: nobody was quick enough for it.
                self.record.read_out().await;
                self.record.receive(&self.shared, &mut older);
                if self.is_over(&older.life) {
                    self.record.caller_ended(&self.shared, &older.incarnation);
                }
            }
        }
        // What is handed over now must not be taken for what the process before left.
        self.record.read_out().await;
        self.record.receive(&self.shared, &mut arrival);
        self.life = std::mem::take(&mut arrival.life);
        self.introduced.clone_from(&arrival.incarnation);
        self.since = Some(arrival.since);
        let error = match Box::pin(self.arrived(arrival)).await {
            Ending::Stopped { .. } => return ControlFlow::Continue(()),
            Ending::Superseded => {
                if self.is_over(&self.life) {
                    self.record.caller_ended(&self.shared, &self.introduced);
                }
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
            () = self.life.ended(), if self.may_leave() || !self.record.is_supervised() => {
                self.process_ended()
            }
            () = sleep_until(until) => self.left("it did not come back"),
        }
    }

    /// The process behind the last connection has ended.
    fn process_ended(&self) -> ControlFlow<()> {
        if !self.record.is_supervised() {
            self.record.caller_ended(&self.shared, &self.introduced);
        }
        if !self.may_leave() {
            // Its successor will be registered.
            return ControlFlow::Continue(());
        }
        self.left(PROCESS_ENDED)
    }

    /// Whether a process that was here has ended, and nobody else will say so.
    fn is_over(&self, life: &Life) -> bool {
        life.was_gone() || (!self.record.is_supervised() && life.is_over())
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
