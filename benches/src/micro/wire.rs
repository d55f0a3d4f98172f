//! Reading an event: ours borrows, prost builds maps.

use std::hint::black_box;
use std::time::{Duration, Instant};

use prost::Message;
use telemetry_core::{DecodeLimits, EventEncoder, ValueRef, decode_event, encode_event_parts};
use telemetry_proto::TelemetryEvent;

/// Different events, so that no branch predictor learns one by heart.
fn events() -> Vec<Vec<u8>> {
    let names = [
        "tool.execution.stop",
        "python.call.stop",
        "tool.result_size",
    ];
    (0..64_usize)
        .map(|n| {
            let mut encoder = EventEncoder::new();
            encoder.start(&encode_event_parts(names[n % names.len()]));
            encoder.measurement("duration", ValueRef::from(n * 7_919 + 1_000));
            encoder.measurement("count", 1_i64.into());
            encoder.metadata("tool", ["parse", "hash", "search"][n % 3]);
            encoder.metadata("operation", "read");
            encoder.finish(
                1_700_000_000_000_000_000,
                "0123456789abcdef0123456789abcdef",
                1.0,
            );
            encoder.bytes().to_vec()
        })
        .collect()
}

/// Our decoder.
pub(super) fn decode() -> impl FnMut(usize) -> Duration {
    let events = events();
    let limits = DecodeLimits::default();
    move |runs| {
        let start = Instant::now();
        for bytes in events.iter().cycle().take(black_box(runs)) {
            let event = decode_event(black_box(bytes), &limits).expect("valid");
            black_box((
                event.measurements.len(),
                event.metadata.len(),
                event.timestamp_ns,
            ));
        }
        start.elapsed()
    }
}

/// prost's decoder.
pub(super) fn prost_decode() -> impl FnMut(usize) -> Duration {
    let events = events();
    move |runs| {
        let start = Instant::now();
        for bytes in events.iter().cycle().take(black_box(runs)) {
            let event = TelemetryEvent::decode(black_box(bytes.as_slice())).expect("valid");
            black_box((
                event.measurements.len(),
                event.metadata.len(),
                event.timestamp_ns,
            ));
        }
        start.elapsed()
    }
}
