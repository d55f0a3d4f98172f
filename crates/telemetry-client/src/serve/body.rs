//! The response body of `StreamTelemetry`: the pump, asked by HTTP/2 whenever there is room for a frame.
//!
//! It ends with trailers whenever it ends by itself; without them a stock manager hangs for ever.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use telemetry_core::emit::Budget;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::control::ReaderGuard;
use super::pump::Pump;

/// What one DATA frame holds. Its bytes, give or take the last event, are below the largest frame that
/// our manager takes by more than a usual event, so that no frame is followed by a tiny one.
pub(super) const CHUNK: Budget = Budget {
    events: 1_024,
    bytes: 60 * 1024,
};

/// One stream on its way into HTTP/2.
#[derive(Debug)]
pub(super) struct StreamBody {
    /// What comes next.
    pump: Pump,
    /// Wakes when the pump is to be asked again; made when that first happens.
    timer: Option<Pin<Box<Sleep>>>,
    /// Reads the manager's side; stops with this stream.
    _reader: ReaderGuard,
}

impl StreamBody {
    /// The body of a stream that has just begun.
    pub(super) fn new(pump: Pump, reader: ReaderGuard) -> Self {
        Self {
            pump,
            timer: None,
            _reader: reader,
        }
    }

    /// Has the task woken when the pump wants to be asked again; false if that is now.
    fn wait(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.pump.wake_at().map(Instant::from_std) else {
            return true;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_pending()
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            match this.pump.poll(Instant::now().into_std(), cx) {
                Poll::Ready(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Poll::Ready(None) => {
                    let end = this.pump.take_end();
                    return Poll::Ready(end.map(|status| Ok(Frame::trailers(trailers(&status)))));
                }
                Poll::Pending if this.wait(cx) => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pump.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
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
