//! The manager's side of a stream on HTTP/2: reads controls and has them applied.
//!
//! It runs beside the pump, so that a manager which takes no events can still mute the worker. A stream
//! of bytes that cannot be split any more ends.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use telemetry_core::wire::{FrameError, FrameSplitter};
use tokio::task::{AbortHandle, yield_now};
use tonic::Status;

use super::ends::end_rules;
use super::heard::Hearing;
use super::session::Session;
use super::sessions::Sessions;

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
    // Rules come by streams only, and outlive them.
    if sessions.begin_to_end_rules() {
        tokio::spawn(end_rules(Arc::downgrade(sessions.recorder())));
    }
    let reader = Reader(Hearing::new(sessions, session));
    ReaderGuard(tokio::spawn(reader.run(body)).abort_handle())
}

/// Reads the controls of one stream.
struct Reader(Hearing);

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
        let hearing = &self.0;
        loop {
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                // Cut off: the pump will notice by itself.
                Some(Err(_)) => return hearing.end(false),
                None => return hearing.end(true),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let split = splitter.feed(&data, |message| hearing.queue(&mut batch, message));
            for (index, control) in batch.drain(..).enumerate() {
                hearing.apply(control);
                if index % CONTROLS_PER_TURN == CONTROLS_PER_TURN - 1 {
                    yield_now().await;
                }
            }
            if let Err(error) = split {
                return hearing.break_off(frame_status(error));
            }
            // A manager that always has one more chunk must not keep the others waiting.
            yield_now().await;
        }
    }
}

/// How a call ends whose input cannot be split.
pub(super) fn frame_status(error: FrameError) -> Status {
    match error {
        FrameError::Compressed(_) => Status::unimplemented(error.to_string()),
        FrameError::TooLarge { .. } => Status::resource_exhausted(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}
