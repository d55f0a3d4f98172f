//! Streams over a transport that is not ours, such as the gRPC server of a Python program: messages in,
//! messages out, no socket, no timer, no thread.
//!
//! [`HostedStreams`] are the streams of one worker; the program opens a [`HostedStream`] for each call of
//! `StreamTelemetry`, hands it what the manager says and asks it for the next message. Everything else is
//! as on our own server, for the pump is the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use telemetry_core::{
    emit::{Budget, Recorder},
    wire::{FRAME_HEADER_BYTES, FrameSplitter, frame_header},
};
use tonic::Status;

use super::config::StreamConfig;
use super::heard::Hearing;
use super::meter::Outbox;
use super::pump::Pump;
use super::session::Session;
use super::sessions::Sessions;

/// One event at a time: what a call that is cut had in its hands is then one event at most.
const ONE: Budget = Budget {
    events: 1,
    bytes: usize::MAX,
};

/// The streams of one worker in a server of the program's own. The newest one takes the events.
///
/// ```
/// # use std::sync::Arc;
/// # use std::task::Waker;
/// # use telemetry_client::serve::{HostedStreams, Next, StreamConfig};
/// # use telemetry_core::{SystemClock, emit::{Fields, Recorder, RecorderConfig}};
/// let clock = Arc::new(SystemClock::new());
/// let recorder = Arc::new(Recorder::new(RecorderConfig::default(), clock)?);
/// let streams = HostedStreams::new(Arc::clone(&recorder), StreamConfig::default());
///
/// let event = recorder.callsite("tool.result_size")?;
/// recorder.record(&event, &Fields::default());
/// let mut stream = streams.open(false);
/// stream.hear_end(true);
/// assert!(matches!(stream.next(Waker::noop()), Next::Message(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HostedStreams {
    /// All of them.
    sessions: Arc<Sessions>,
}

impl HostedStreams {
    /// No stream yet. One recorder belongs to one of these.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>, config: StreamConfig) -> Self {
        Self {
            sessions: Arc::new(Sessions::new(recorder, config)),
        }
    }

    /// Opens a stream; the one before takes no more events. `expects_hello` says whether the request has
    /// the header [`REVISION_HEADER`](telemetry_core::wire::REVISION_HEADER).
    #[must_use]
    pub fn open(&self, expects_hello: bool) -> HostedStream {
        let sessions = Arc::clone(&self.sessions);
        let session = sessions.begin(expects_hello);
        let hearing = Hearing::new(Arc::clone(&sessions), Arc::clone(&session));
        let pump = Pump::new(
            Arc::clone(&sessions),
            Arc::clone(&session),
            Outbox::new(None),
            ONE,
            Instant::now(),
        );
        HostedStream {
            sessions,
            session,
            hearing,
            messages: VecDeque::new(),
            in_hand: None,
            pump,
        }
    }

    /// Streams that are open now.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.sessions.open()
    }

    /// Where events come from.
    #[must_use]
    pub fn recorder(&self) -> &Arc<Recorder> {
        self.sessions.recorder()
    }

    /// Asks streams to end once the queue is empty. Streams that begin later end the same way.
    pub fn end(&self) {
        self.sessions.end();
    }
}

/// What comes next on a stream.
#[derive(Debug)]
pub enum Next {
    /// A `TelemetryEvent`, encoded.
    Message(Vec<u8>),
    /// Nothing until the waker is woken or, if there is one, so much time has passed.
    Nothing(Option<Duration>),
    /// The stream is over, with this status.
    End(Status),
}

/// One call of `StreamTelemetry`. Dropped, it is over; what is queued stays for the next one.
#[derive(Debug)]
pub struct HostedStream {
    /// The streams of this worker.
    sessions: Arc<Sessions>,
    /// This one.
    session: Arc<Session>,
    /// The manager's side.
    hearing: Hearing,
    /// Messages of the chunk that the pump gave last.
    messages: VecDeque<Vec<u8>>,
    /// The event that was given out last, until the next one is asked for: whoever asks again got rid
    /// of it.
    in_hand: Option<Vec<u8>>,
    /// Where messages come from; dropped after the event in hand was given back.
    pump: Pump,
}

impl HostedStream {
    /// The manager says something: a `TelemetryControl`, encoded. What cannot be read or is refused
    /// is kept for the next report.
    pub fn hear(&self, control: &[u8]) {
        self.hearing.hear(control);
    }

    /// The manager's side is over, in order or not.
    pub fn hear_end(&self, in_order: bool) {
        self.hearing.end(in_order);
    }

    /// Has the stream end in order although events are queued, which stay for the next one: the call is
    /// about to be cut.
    pub fn leave(&self) {
        self.session.leave();
    }

    /// The next message; also says that the one before is on its way.
    pub fn next(&mut self, waker: &Waker) -> Next {
        self.in_hand = None;
        loop {
            if let Some(message) = self.messages.pop_front() {
                // A manager that said hello learns from the sequence what is missing. One that did not
                // only knows what it sees.
                if !self.session.is_greeted() {
                    self.in_hand = Some(message.clone());
                }
                return Next::Message(message);
            }
            let now = Instant::now();
            // There is no thread of ours: rules end while somebody waits for messages.
            let rules = self.sessions.recorder().turn_rules(waker);
            match self.pump.poll(now, &Context::from_waker(waker)) {
                Poll::Ready(Some(chunk)) => {
                    let mut splitter = FrameSplitter::new(usize::MAX);
                    // Frames of our own making are whole and not compressed.
                    let _whole = splitter.feed(&chunk, |message| {
                        self.messages.push_back(message.to_vec());
                    });
                }
                Poll::Ready(None) => {
                    let end = self.pump.take_end();
                    return Next::End(end.unwrap_or_else(|| Status::ok("")));
                }
                Poll::Pending => {
                    let at = self.pump.wake_at();
                    let pump = at.map(|at| at.saturating_duration_since(now));
                    return Next::Nothing([pump, rules].into_iter().flatten().min());
                }
            }
        }
    }
}

impl Drop for HostedStream {
    fn drop(&mut self) {
        if let Some(message) = self.in_hand.take() {
            let mut framed = Vec::with_capacity(FRAME_HEADER_BYTES + message.len());
            framed.extend_from_slice(&frame_header(message.len()));
            framed.extend_from_slice(&message);
            self.sessions.give_back(&self.session, framed);
        }
    }
}
