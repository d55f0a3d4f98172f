//! The wire without prost: `TelemetryEvent` bytes written, read and framed by hand.
//!
//! Controls, hellos and reports are rare and go through prost; events do not. Tests prove that both
//! ways agree with prost on every event. This room knows bytes only: no catalog, no policy.

mod decode;
mod encode;
mod frame;
mod varint;

pub use decode::{
    Content, DecodeError, DecodeLimits, DecodedEvent, Keys, MAX_DECODED_FIELDS, Parts, decode_event,
};
pub use encode::{EventEncoder, append_sequence, encode_event_parts};
pub(crate) use encode::{MAX_SEQUENCE_BYTES, sequence_len};
pub use frame::{FRAME_HEADER_BYTES, FrameError, FrameSplitter, frame_header};
