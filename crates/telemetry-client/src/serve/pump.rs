//! The pump from the queue to one stream: what goes out next, and until when there is nothing.
//!
//! It is asked when there is room to send, so back-pressure ends at the queue. It knows neither a
//! transport nor a timer: whoever asks says what time it is, and asks again when
//! [`wake_at`](Pump::wake_at) says so or the waker is woken. `body` asks for HTTP/2, `host` for a
//! server of the program's own.

mod asked;
mod report;

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use telemetry_core::{
    emit::Budget,
    wire::{FRAME_HEADER_BYTES, frame_header},
};
use telemetry_proto::WorkerReport;
use tonic::Status;

use super::heard::served_already;
use super::meter::Outbox;
use super::session::Session;
use super::sessions::Sessions;
use crate::deadline::LONGEST;
use asked::{Drain, Goal};

/// Longest time that a stream waits for what the one before it, of another manager perhaps, has handled, and
/// that the one before is there for it.
const HANDOVER_WAIT: Duration = Duration::from_millis(100);
/// Longest time that a stream which has sent all it will waits for its last acknowledgement.
const LAST_ACK_WAIT: Duration = Duration::from_secs(1);

/// One stream's way from the queue to the manager.
#[derive(Debug)]
pub(super) struct Pump {
    /// The streams of this worker.
    sessions: Arc<Sessions>,
    /// This stream.
    session: Arc<Session>,
    /// Where it stands.
    state: State,
    /// Most events in one chunk.
    budget: Budget,
    /// What time it is, as far as whoever asks has said.
    now: Instant,
    /// When the wait for the first control is over; then when the next report is due.
    timer: Instant,
    /// Until when events gather before the next ones are sent.
    gathering: Instant,
    /// Whether they do: something was sent a moment ago, and little was left.
    gathers: bool,
    /// Whether our hello went out, so that reports may follow.
    greeted: bool,
    /// The last report sent.
    reported: WorkerReport,
    /// What was handed to HTTP/2.
    outbox: Outbox,
    /// The highest ticket of those who wait that was taken up.
    taken_up: u64,
    /// What they wait for, as long as it is not handed over.
    goal: Option<Goal>,
    /// Then it is on its way: so many chunks have to be in the socket for them to be answered.
    on_its_way: Option<(Goal, u64)>,
    /// How the end of the process is waited for.
    drain: Drain,
    /// Until when the stream before it may acknowledge something; set when it is the current one.
    handover: Option<Instant>,
    /// Whether that is waited for.
    hands_over: bool,
}

/// Where a stream stands.
#[derive(Debug)]
enum State {
    /// Waits for the first control.
    Waiting,
    /// Sends events.
    Sending,
    /// Has sent its last report, and waits until all that it sent is acknowledged.
    Confirming {
        /// How it ends.
        status: Status,
        /// When at the latest.
        until: Instant,
    },
    /// Has only trailers left.
    Closing(Status),
    /// Is over.
    Over,
}

impl Pump {
    /// The pump of a stream that has just begun, with so many events in one chunk.
    pub(super) fn new(
        sessions: Arc<Sessions>,
        session: Arc<Session>,
        outbox: Outbox,
        budget: Budget,
        now: Instant,
    ) -> Self {
        let wait = if session.expects_hello() {
            sessions.config().hello_wait
        } else {
            sessions.config().first_control_wait
        };
        let handover = (!session.is_asking()).then(|| now + HANDOVER_WAIT);
        Self {
            budget,
            now,
            timer: now + wait.min(LONGEST),
            gathering: now,
            gathers: false,
            sessions,
            session,
            state: State::Waiting,
            greeted: false,
            reported: WorkerReport::default(),
            outbox,
            taken_up: 0,
            goal: None,
            on_its_way: None,
            drain: Drain::None,
            handover,
            hands_over: false,
        }
    }

    /// The next bytes; `None` once only trailers are left. While it is pending the waker is woken by
    /// whatever changes that, but for the time.
    pub(super) fn poll(&mut self, now: Instant, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        self.now = now;
        self.session.register(cx.waker());
        let data = ready!(self.poll_data(cx));
        Poll::Ready(data.map(|data| self.outbox.hand(data)))
    }

    /// When to ask again although nobody woke the waker.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let timer = match self.state {
            State::Waiting => Some(self.timer),
            State::Sending if self.greeted => Some(self.timer),
            State::Confirming { until, .. } => Some(until),
            State::Sending | State::Closing(_) | State::Over => None,
        };
        let gathering = self.gathers.then_some(self.gathering);
        let handover = self.handover.filter(|_| self.hands_over);
        [timer, gathering, handover].into_iter().flatten().min()
    }

    /// How the stream ends, once only that is left; then it is over.
    pub(super) fn take_end(&mut self) -> Option<Status> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Closing(status) => Some(status),
            State::Waiting | State::Sending | State::Confirming { .. } | State::Over => None,
        }
    }

    /// Whether it has said how it ends.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn poll_data(&mut self, cx: &Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            if matches!(self.state, State::Closing(_) | State::Over) {
                return Poll::Ready(None);
            }
            let has_reported = matches!(self.state, State::Confirming { .. });
            if self.session.is_replaced() && !has_reported {
                return Poll::Ready(self.give_way());
            }
            if let Some(status) = self.session.take_broken() {
                self.state = State::Closing(status);
                return Poll::Ready(None);
            }
            if self.session.is_greeted() && !self.greeted {
                ready!(self.poll_handover(cx));
                return Poll::Ready(Some(self.greet()));
            }
            // What is queued stays for the next manager.
            if self.session.is_dismissed() {
                self.state = State::Closing(Status::ok(""));
                let report = self.greeted && !has_reported;
                return Poll::Ready(report.then(|| self.last_report()));
            }
            if self.session.has_said_goodbye() && !has_reported {
                return Poll::Ready(self.end_with_report());
            }
            match self.state {
                State::Waiting => ready!(self.poll_first_control()),
                State::Sending => return self.poll_events(cx),
                State::Confirming { .. } => ready!(self.poll_acknowledged()),
                State::Closing(_) | State::Over => return Poll::Ready(None),
            }
        }
    }

    /// Holds events back until the manager said what it wants, but not for long.
    fn poll_first_control(&mut self) -> Poll<()> {
        if self.session.is_asking() && !self.sessions.take_over_from_nobody(&self.session) {
            if !self.session.may_send() && !self.sessions.is_ending() && self.now < self.timer {
                return Poll::Pending;
            }
            self.state = State::Closing(served_already());
            return Poll::Ready(());
        }
        if !self.session.may_send() && !self.sessions.is_abandoned() && self.now < self.timer {
            return Poll::Pending;
        }
        if self.session.is_instructed() {
            self.sessions.recheck_queued(&self.session);
        }
        if self.session.is_unacknowledged() {
            self.sessions.begin_unacknowledged(&self.session);
        }
        self.state = State::Sending;
        self.restart_timer();
        Poll::Ready(())
    }

    /// The next events, or a report that is due.
    fn poll_events(&mut self, cx: &Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.answer(cx);
        self.take_up();
        if let Some(report) = self.due_report() {
            return Poll::Ready(Some(report));
        }
        let abandoned = self.sessions.is_abandoned();
        let ending = abandoned || self.sessions.is_ending();
        if ending && self.sessions.recorder().is_closed() {
            // Waits out the emits that were let in before it was closed.
            self.sessions.recorder().close();
        }
        if !ending && self.poll_gathering(cx).is_pending() {
            return Poll::Pending;
        }
        if !abandoned {
            let mut chunk = Vec::new();
            match self.sessions.drain(&self.session, &mut chunk, self.budget) {
                Some(0) => {}
                Some(events) => {
                    // A full chunk says that there may be more, unless one event fills it.
                    let is_all = if self.budget.events == 1 {
                        !self.sessions.recorder().has_more()
                    } else {
                        events < self.budget.events && chunk.len() < self.budget.bytes
                    };
                    self.gather_after(is_all);
                    self.reach_goal(&mut chunk);
                    return Poll::Ready(Some(chunk));
                }
                // Replaced a moment ago.
                None => return Poll::Ready(self.give_way()),
            }
        }
        let mut report = Vec::new();
        if self.reach_goal(&mut report) && report.is_empty() {
            self.answer(cx);
        }
        if !report.is_empty() {
            return Poll::Ready(Some(report));
        }
        if ending {
            return Poll::Ready(self.end_with_report());
        }
        // A close between the look above and the park woke nobody: look once more.
        if self.sessions.park(&self.session, cx.waker())
            && self.goal.is_none()
            && !self.sessions.is_ending()
            && !self.is_asked()
        {
            return Poll::Pending;
        }
        // An event is on its way in; its producer may need this very core.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until the stream before this one has acknowledged what its manager handled, or is over, but not
    /// for long.
    fn poll_handover(&mut self, cx: &Context<'_>) -> Poll<()> {
        let until = *self.handover.get_or_insert(self.now + HANDOVER_WAIT);
        self.hands_over = self.now < until && self.session.awaits_other(cx.waker());
        if self.hands_over {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Ends with a last report, and behind it waits for the acknowledgement of all that was sent, where
    /// there will be one.
    fn end_with_report(&mut self) -> Option<Vec<u8>> {
        self.end(Status::ok(""), LAST_ACK_WAIT);
        self.greeted.then(|| self.last_report())
    }

    /// Ends once all that was sent is acknowledged, where that will be.
    fn end(&mut self, status: Status, patience: Duration) {
        // Nothing is gathered any more; who waits for that would ask again and again, and hear nothing.
        self.gathers = false;
        let confirms = self.greeted && self.session.acknowledges();
        self.state = if confirms {
            State::Confirming {
                status,
                until: self.now + patience,
            }
        } else {
            State::Closing(status)
        };
    }

    /// Ready when all that was sent on this stream is acknowledged, or nobody waits for that any more.
    fn poll_acknowledged(&mut self) -> Poll<()> {
        let recorder = self.sessions.recorder();
        let is_over =
            recorder.is_acknowledged(self.session.position()) || self.sessions.is_abandoned();
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Confirming { status, until } if !is_over && self.now < until => {
                self.state = State::Confirming { status, until };
                return Poll::Pending;
            }
            State::Confirming { status, .. } => State::Closing(status),
            other => other,
        };
        Poll::Ready(())
    }

    /// Has events gather if what was just sent was all there was. A stream that is behind goes on.
    fn gather_after(&mut self, is_all: bool) {
        let delay = self.sessions.config().batch_delay;
        self.gathers = is_all && !delay.is_zero() && self.drain == Drain::None;
        if self.gathers {
            self.gathering = self.now + delay.min(LONGEST);
        }
    }

    /// Ready when it is time to send: the delay is over, there is a batch, or somebody waits for the
    /// queue to be empty.
    fn poll_gathering(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.gathers
            && self.goal.is_none()
            && self.sessions.gather(&self.session, cx.waker())
            && !self.is_asked()
            && self.now < self.gathering
        {
            return Poll::Pending;
        }
        self.gathers = false;
        Poll::Ready(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // After an end in order the rest is on its way with the trailers. What was cut off is lost.
        let is_cut = !matches!(self.state, State::Over);
        let all = self.outbox.all_written();
        let lost = is_cut && !all();
        self.sessions
            .finish(&self.session, Box::new(move || !lost && all()));
    }
}

/// Appends a message with its gRPC header.
pub(super) fn push_message(out: &mut Vec<u8>, message: &impl Message) {
    let len = message.encoded_len();
    out.reserve(FRAME_HEADER_BYTES + len);
    out.extend_from_slice(&frame_header(len));
    message.encode_raw(out);
}

#[cfg(test)]
mod tests;
