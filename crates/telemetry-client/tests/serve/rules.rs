//! Rules on a stream: before the first event, beside a policy, and after the manager has gone.

use std::task::Waker;
use std::time::{Duration, Instant};

use telemetry_client::serve::{HostedStreams, Next, StreamConfig};
use telemetry_core::{
    Outcome,
    emit::PolicySpec,
    ledger::Reason,
    rules::{WireAction, WireRule, WorkerRules},
    wire::{Control, PROTOCOL_REVISION, capability},
};

use crate::manager::{Manager, Stream, count_of};
use crate::streams::until;
use crate::{Worker, recorder, stream_config};

const DROPPED: Outcome = Outcome::Dropped(Reason::Filtered);

fn drop_tools(expires_in: Option<Duration>) -> Control {
    let mut rule = WireRule::new(4, "mute", ["tool.*"], WireAction::Drop);
    rule.expires_in = expires_in;
    Control::Rules(WorkerRules::new(9, vec![rule]))
}

async fn greeted(worker: &Worker) -> (Manager, Stream) {
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello_of(PROTOCOL_REVISION);
    (manager, stream)
}

#[tokio::test]
async fn rules_are_in_force_before_the_first_event_leaves() {
    let mut config = stream_config();
    config.identity.labels.insert("zone".into(), "a".into());
    let worker = Worker::streaming(config);
    worker.emit("tool.result_size", 1);
    worker.emit("worker.memory", 2);
    let (_manager, mut stream) = greeted(&worker).await;
    stream.control(&drop_tools(None));
    let hello = stream
        .next()
        .await
        .and_then(|event| event.hello)
        .expect("a hello");
    assert!(hello.capabilities.iter().any(|it| it == capability::RULES));
    assert_eq!(hello.labels.get("zone").map(String::as_str), Some("a"));
    assert_eq!(stream.next_count().await, 2);
    assert_eq!(worker.emit("tool.result_size", 3), DROPPED);
    let report = loop {
        let report = stream.next_report().await;
        if report.policy_revision == 9 {
            break report;
        }
    };
    assert_ne!(report.policy_fingerprint, 0);
    assert_eq!(report.rules[0].number, 4);

    stream.policy(PolicySpec::default());
    until("a policy replaces rules", || {
        worker.emit("tool.result_size", 4) == Outcome::Accepted
    })
    .await;
}

#[tokio::test]
async fn a_rule_ends_by_itself_when_the_manager_has_gone() {
    let worker = Worker::streaming(stream_config());
    let (manager, mut stream) = greeted(&worker).await;
    let sent = Instant::now();
    stream.control(&drop_tools(Some(Duration::from_millis(700))));
    until("the rule comes", || {
        worker.emit("tool.result_size", 1) == DROPPED
    })
    .await;
    manager.connection.abort();
    drop((manager, stream));
    until("the rule ends", || {
        worker.emit("tool.result_size", 2) == Outcome::Accepted
    })
    .await;
    let lasted = sent.elapsed();
    assert!(lasted >= Duration::from_millis(700), "{lasted:?}");
    assert!(lasted < Duration::from_millis(1_700), "{lasted:?}");
    assert_eq!(worker.recorder.report().expired_rules, [4]);
}

#[test]
fn a_hosted_stream_says_when_a_rule_is_to_end() {
    use prost::Message;

    let recorder = recorder();
    let streams = HostedStreams::new(recorder.clone(), StreamConfig::default());
    let mut stream = streams.open(true);
    let mut greeting = telemetry_core::wire::Greeting::default();
    greeting.protocol_revision = PROTOCOL_REVISION;
    let after = Duration::from_millis(50);
    for control in [Control::Hello(greeting), drop_tools(Some(after))] {
        stream.hear(&control.to_proto().encode_to_vec());
    }
    let tool = recorder.callsite("tool.result_size").expect("a name");
    let mut next = || match stream.next(Waker::noop()) {
        Next::Nothing(left) => left,
        Next::Message(message) => {
            let event = telemetry_proto::TelemetryEvent::decode(&message[..]).expect("an event");
            assert_eq!(count_of(&event), None, "hello and report only");
            Some(Duration::ZERO)
        }
        Next::End(status) => panic!("{status}"),
    };
    let left = std::iter::from_fn(|| Some(next())).find(|left| *left != Some(Duration::ZERO));
    assert!(left.flatten().is_some_and(|left| left <= after), "{left:?}");
    assert!(!recorder.gate().is_enabled(&tool));
    let began = Instant::now();
    while !recorder.gate().is_enabled(&tool) {
        next();
        assert!(began.elapsed() < crate::PATIENCE);
        std::thread::yield_now();
    }
}
