//! The manager's side of a stream: reads controls and applies them.
//!
//! It runs beside the pump, so that a manager which takes no events can still mute the worker. An
//! error in one control never ends the stream; a stream of bytes that cannot be split any more does.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use prost::Message;
use telemetry_core::{Control, FrameError, FrameSplitter, Gate};
use telemetry_proto::{TelemetryControl, telemetry_control};
use tokio::task::{AbortHandle, yield_now};
use tonic::Status;

use super::session::{Session, Sessions};

/// Longest control message.
const MAX_CONTROL_BYTES: usize = 1024 * 1024;
/// Controls applied before other tasks get their turn.
const CONTROLS_PER_TURN: usize = 16;

/// Stops the reader when the stream is over.
#[derive(Debug)]
pub(super) struct ReaderGuard(AbortHandle);

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts to read controls. Must be called within a tokio runtime.
pub(super) fn spawn_reader<B>(
    body: B,
    sessions: Arc<Sessions>,
    session: Arc<Session>,
) -> ReaderGuard
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let reader = Reader { sessions, session };
    ReaderGuard(tokio::spawn(reader.run(body)).abort_handle())
}

/// Reads the controls of one stream.
struct Reader {
    /// The streams of this worker.
    sessions: Arc<Sessions>,
    /// This stream.
    session: Arc<Session>,
}

impl Reader {
    /// Reads until the manager ends its side. A stock manager that did keeps receiving events; for one
    /// that said hello it is the goodbye.
    async fn run<B>(self, body: B)
    where
        B: Body<Data = Bytes>,
    {
        let mut body = pin!(body);
        let mut splitter = FrameSplitter::new(MAX_CONTROL_BYTES);
        let mut batch = Vec::new();
        loop {
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                // Cut off: the pump will notice by itself.
                Some(Err(_)) => break,
                None => {
                    self.session.dismiss();
                    break;
                }
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let split = splitter.feed(&data, |message| {
                queue_control(&mut batch, self.sessions.recorder().gate(), message);
            });
            for (index, control) in batch.drain(..).enumerate() {
                if self.session.is_replaced() {
                    return;
                }
                self.apply(control);
                if index % CONTROLS_PER_TURN == CONTROLS_PER_TURN - 1 {
                    yield_now().await;
                }
            }
            if let Err(error) = split {
                return self.session.break_off(frame_status(error));
            }
            // A manager that always has one more chunk must not keep the others waiting.
            yield_now().await;
        }
        self.session.hear_all();
    }

    /// Applies one control.
    fn apply(&self, control: Control) {
        if let Control::Hello {
            manager_id,
            protocol_revision,
        } = &control
        {
            tracing::debug!(manager_id, protocol_revision, "the manager said hello");
            return self.session.greet(manager_id.clone(), *protocol_revision);
        }
        if control == Control::Drain {
            return self.session.drain();
        }
        let control = if self.session.is_greeted() {
            Some(control)
        } else {
            control.clamp_legacy()
        };
        if let Some(control) = control
            && let Err(error) = self.sessions.recorder().gate().apply(&control)
        {
            tracing::warn!(%error, "a control was refused; the policy stays as it was");
        }
        self.session.instruct();
    }
}

/// Decodes a control and queues it. One that is overtaken by its neighbour is left out, so that a
/// manager which toggles without pause costs no more than its last word.
fn queue_control(batch: &mut Vec<Control>, gate: &Gate, message: &[u8]) {
    let message = match TelemetryControl::decode(message) {
        Ok(message) => message,
        Err(error) => return tracing::warn!(%error, "a control could not be read"),
    };
    let next = match Control::from_proto(&message) {
        Ok(Some(next)) => next,
        Ok(None) => return tracing::debug!("a control of an unknown kind was skipped"),
        Err(error) => {
            let revision = match &message.control {
                Some(telemetry_control::Control::Policy(policy)) => Some(policy.revision),
                _ => None,
            };
            tracing::warn!(%error, "a control was refused; the policy stays as it was");
            return gate.refuse(revision, &error);
        }
    };
    match (&next, batch.last_mut()) {
        (Control::Toggle { .. }, Some(last @ Control::Toggle { .. })) => *last = next,
        (next, Some(last)) if next == last => {}
        _ => batch.push(next),
    }
}

/// How a call ends whose input cannot be split.
pub(super) fn frame_status(error: FrameError) -> Status {
    match error {
        FrameError::Compressed(_) => Status::unimplemented(error.to_string()),
        FrameError::TooLarge { .. } => Status::resource_exhausted(error.to_string()),
    }
}
