//! The request side of a stream: controls as gRPC frames, and the body that carries them.
//!
//! It knows bytes and channels; which control to send is decided elsewhere.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use prost::Message;
use telemetry_core::wire::{Control, frame_header};
use tokio::sync::mpsc;

/// Controls that may wait for the peer's window. Newer policies wait in the session, where the
/// newest replaces the others.
const WAITING_CONTROLS: usize = 4;

/// The request body: what the session sends, until it drops the sender.
#[derive(Debug)]
pub(super) struct ControlBody {
    frames: mpsc::Receiver<Bytes>,
}

impl ControlBody {
    /// A body and the sender that feeds it.
    pub(super) fn channel() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, frames) = mpsc::channel(WAITING_CONTROLS);
        (sender, Self { frames })
    }

    /// A body of one message.
    pub(super) fn once(message: &impl Message) -> Self {
        let (sender, body) = Self::channel();
        // The channel is empty and its receiver alive: there is room.
        let _ = sender.try_send(frames([message]));
        body
    }
}

impl Body for ControlBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames
            .poll_recv(context)
            .map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Controls as gRPC frames, side by side.
pub(super) fn control_frames<'a>(controls: impl IntoIterator<Item = &'a Control>) -> Bytes {
    let messages: Vec<_> = controls.into_iter().map(Control::to_proto).collect();
    frames(&messages)
}

fn frames<'a, M: Message + 'a>(messages: impl IntoIterator<Item = &'a M>) -> Bytes {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend_from_slice(&frame_header(message.encoded_len()));
        bytes.extend_from_slice(&message.encode_to_vec());
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use telemetry_core::{emit::PolicySpec, wire::FrameSplitter};
    use telemetry_proto::TelemetryControl;

    use super::*;

    #[test]
    fn controls_arrive_in_order() {
        let controls = [
            Control::Toggle { enabled: false },
            Control::Policy(PolicySpec::default()),
        ];
        let mut seen = Vec::new();
        let read = |message: &[u8]| {
            let message = TelemetryControl::decode(message).expect("a control");
            seen.push(
                Control::from_proto(&message)
                    .expect("valid")
                    .expect("known"),
            );
        };
        FrameSplitter::new(1_000)
            .feed(&control_frames(&controls), read)
            .expect("frames");
        assert_eq!(seen, controls);
    }
}
