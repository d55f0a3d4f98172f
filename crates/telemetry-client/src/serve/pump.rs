//! The response body of `StreamTelemetry`: it is the pump from the queue to HTTP/2.
//!
//! HTTP/2 asks it for a frame when there is room to send one, so back-pressure ends at the queue. It
//! ends with trailers whenever it ends by itself; without them a stock manager hangs for ever.

mod asked;
mod report;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use prost::Message;
use telemetry_core::{Budget, FRAME_HEADER_BYTES, frame_header};
use telemetry_proto::WorkerReport;
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status};

use super::control::ReaderGuard;
use super::meter::Outbox;
use super::session::{Session, Sessions};
use crate::deadline::timer_after;
use asked::{Drain, Goal};

/// Bytes of events in one DATA frame, give or take the last event. Below the largest frame that our
/// manager takes by more than a usual event, so that no frame is followed by a tiny one.
const CHUNK_BYTES: usize = 60 * 1024;
/// Events in one DATA frame.
const CHUNK_EVENTS: usize = 1_024;

/// One stream's way from the queue to the manager.
#[derive(Debug)]
pub(super) struct Pump {
    /// The streams of this worker.
    sessions: Arc<Sessions>,
    /// This stream.
    session: Arc<Session>,
    /// Where it stands.
    state: State,
    /// The wait for the first control, then the time to the next report.
    timer: Pin<Box<Sleep>>,
    /// The time that events gather before the next ones are sent.
    gathering: Pin<Box<Sleep>>,
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
    /// Reads the manager's side; stops with this stream.
    _reader: ReaderGuard,
}

/// Where a stream stands.
#[derive(Debug)]
enum State {
    /// Waits for the first control.
    Waiting,
    /// Sends events.
    Sending,
    /// Has only trailers left.
    Closing(Status),
    /// Is over.
    Over,
}

impl Pump {
    /// The pump of a stream that has just begun.
    pub(super) fn new(
        sessions: Arc<Sessions>,
        session: Arc<Session>,
        outbox: Outbox,
        reader: ReaderGuard,
    ) -> Self {
        let wait = if session.expects_hello() {
            sessions.config().hello_wait
        } else {
            sessions.config().first_control_wait
        };
        Self {
            timer: Box::pin(sleep(wait)),
            gathering: Box::pin(sleep(Duration::ZERO)),
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
            _reader: reader,
        }
    }

    /// The next bytes; `None` once only trailers are left.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            if matches!(self.state, State::Closing(_) | State::Over) {
                return Poll::Ready(None);
            }
            if self.session.is_replaced() {
                return Poll::Ready(self.give_way());
            }
            if let Some(status) = self.session.take_broken() {
                self.state = State::Closing(status);
                return Poll::Ready(None);
            }
            if self.session.is_greeted() && !self.greeted {
                return Poll::Ready(Some(self.greet()));
            }
            if self.session.is_dismissed() {
                // What is queued stays for the next manager.
                self.state = State::Closing(Status::new(Code::Ok, ""));
                return Poll::Ready(Some(self.last_report()));
            }
            match self.state {
                State::Waiting => ready!(self.poll_first_control(cx)),
                State::Sending => return self.poll_events(cx),
                State::Closing(_) | State::Over => return Poll::Ready(None),
            }
        }
    }

    /// Holds events back until the manager said what it wants, but not for long.
    fn poll_first_control(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.session.may_send() && !self.sessions.is_abandoned() {
            ready!(self.timer.as_mut().poll(cx));
        }
        if self.session.is_instructed() {
            self.sessions.recheck_queued(&self.session);
        }
        self.state = State::Sending;
        self.restart_timer();
        Poll::Ready(())
    }

    /// The next events, or a report that is due.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.answer(cx);
        self.take_up();
        if let Some(report) = self.poll_report(cx) {
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
            let budget = Budget {
                events: CHUNK_EVENTS,
                bytes: CHUNK_BYTES,
            };
            match self.sessions.drain(&self.session, &mut chunk, budget) {
                Some(0) => {}
                Some(events) => {
                    let is_all = events < CHUNK_EVENTS && chunk.len() < CHUNK_BYTES;
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
            self.state = State::Closing(Status::new(Code::Ok, ""));
            return Poll::Ready(self.greeted.then(|| self.last_report()));
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

    /// Has events gather if what was just sent was all there was. A stream that is behind goes on.
    fn gather_after(&mut self, is_all: bool) {
        let delay = self.sessions.config().batch_delay;
        self.gathers = is_all && !delay.is_zero() && self.drain == Drain::None;
        if self.gathers {
            self.gathering.as_mut().reset(timer_after(delay));
        }
    }

    /// Ready when it is time to send: the delay is over, there is a batch, or somebody waits for the
    /// queue to be empty.
    fn poll_gathering(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gathers
            && self.goal.is_none()
            && self.sessions.gather(&self.session, cx.waker())
            && !self.is_asked()
        {
            ready!(self.gathering.as_mut().poll(cx));
        }
        self.gathers = false;
        Poll::Ready(())
    }
}

impl Body for Pump {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        this.session.register(cx.waker());
        if let Some(data) = ready!(this.poll_data(cx)) {
            return Poll::Ready(Some(Ok(Frame::data(this.outbox.hand(data)))));
        }
        match std::mem::replace(&mut this.state, State::Over) {
            State::Closing(status) => Poll::Ready(Some(Ok(Frame::trailers(trailers(&status))))),
            State::Waiting | State::Sending | State::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
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

/// How a stream ended, as trailers.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Fails only for metadata that is no header; a status of ours has none.
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("13"));
    }
    trailers
}
