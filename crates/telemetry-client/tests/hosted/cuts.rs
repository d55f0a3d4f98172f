//! One manager, cuts anywhere: a model of ours against the real worker side.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use prost::Message;
use telemetry_client::serve::{HostedStreams, Next, StreamConfig};
use telemetry_core::{
    SystemClock,
    emit::{Recorder, RecorderConfig},
    wire::{Control, Greeting},
};
use telemetry_proto::TelemetryEvent;

use super::{ON, emit, say};

#[test]
fn cuts_at_random_lose_nothing() {
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(2_000_u64);
    for seed in 0..seeds {
        random_cuts(seed);
    }
}

fn random_cuts(seed: u64) {
    use std::collections::BTreeSet;
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let clock = Arc::new(SystemClock::new());
    let small = random(2) == 0;
    let mut config = RecorderConfig::default();
    config.queue = telemetry_core::emit::QueueLimits::new(64, if small { 2_048 } else { 1 << 16 });
    config.overflow = if random(2) == 0 {
        telemetry_core::emit::Overflow::DropOldest
    } else {
        telemetry_core::emit::Overflow::DropNewest
    };
    let recorder = Recorder::new(config, clock).expect("the default policy");
    let mut config = StreamConfig::default();
    config.batch_delay = Duration::ZERO;
    let incarnation = config.identity.incarnation_id.clone();
    let streams = HostedStreams::new(Arc::new(recorder), config);
    let mut handled = 0_u64;
    let mut met = false;
    let mut dispatched = BTreeSet::new();
    let mut gaps = 0_u64;
    let mut passed = 0_u64;
    let rounds = 2 + random(8);
    for round in 0..=rounds {
        let last = round == rounds;
        emit(&streams, 0..random(20) as i64);
        let mut stream = streams.open(true);
        let position = met.then(|| telemetry_core::wire::Position {
            incarnation_id: incarnation.clone(),
            handled,
            acknowledged: handled,
        });
        let told = position.as_ref().map_or(0, |it| it.handled);
        let mut greeting = Greeting::default();
        greeting.manager_id = "m".into();
        greeting.protocol_revision = telemetry_core::wire::PROTOCOL_REVISION;
        greeting.acknowledges = true;
        greeting.epoch = 0;
        greeting.position = position;

        say(&stream, &Control::Hello(greeting));
        say(&stream, &ON);
        let mut left = if last { u64::MAX } else { random(60) };
        let mut said_goodbye = false;
        while left > 0 {
            left -= 1;
            if !last && random(6) == 0 {
                emit(&streams, 0..random(12) as i64);
            }
            if random(7) == 0 && met {
                say(&stream, &Control::Acknowledge { sequence: handled });
            }
            if !last && random(60) == 0 {
                said_goodbye = true;
                say(&stream, &Control::Goodbye);
            }
            let message = match stream.next(Waker::noop()) {
                Next::Message(message) => message,
                Next::Nothing(_) if last => {
                    say(&stream, &Control::Acknowledge { sequence: handled });
                    break;
                }
                Next::Nothing(_) if said_goodbye => {
                    say(&stream, &Control::Acknowledge { sequence: handled });
                    continue;
                }
                Next::Nothing(_) => {
                    emit(&streams, 0..1);
                    continue;
                }
                Next::End(_) => break,
            };
            // What was given out may never arrive.
            if !last && left == 0 && random(2) == 0 {
                break;
            }
            let event = TelemetryEvent::decode(&*message).expect("a message");
            if let Some(hello) = event.hello {
                let at = told.max(hello.retained_from - 1);
                let end = handled + hello.missed_before.min(at.saturating_sub(handled));
                gaps += end - handled;
                passed += at.saturating_sub(end);
                handled = handled.max(at);
                met = true;
            } else if let Some(report) = event.report {
                let position = report.position.unwrap_or(0);
                if position > handled {
                    gaps += position - handled;
                    handled = position;
                }
                if random(2) == 0 {
                    say(&stream, &Control::Acknowledge { sequence: handled });
                }
            } else {
                let sequence = event.sequence;
                assert!(
                    sequence > handled,
                    "seed {seed}: {sequence} again behind {handled}"
                );
                gaps += sequence - handled - 1;
                handled = sequence;
                assert!(dispatched.insert(sequence), "seed {seed}: {sequence} twice");
            }
        }
        let ledger = streams.recorder().snapshot();
        assert_eq!(ledger.check(), Ok(()), "seed {seed}");
        drop(stream);
    }
    let ledger = streams.recorder().snapshot();
    assert_eq!(ledger.queued, 0, "seed {seed}");
    assert_eq!(passed, 0, "seed {seed}: nobody else has them: {ledger:?}");
    assert_eq!(
        dispatched.len() as u64 + gaps,
        ledger.sent,
        "seed {seed}: {ledger:?}"
    );
    assert!(
        gaps <= ledger.forgotten,
        "seed {seed}: gaps {gaps} of {ledger:?}"
    );
}
