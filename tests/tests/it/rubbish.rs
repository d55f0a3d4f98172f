//! Rubbish from a worker: each kind is counted under its reason, and nobody else notices.

use prost::Message;
use telemetry_core::{
    ledger::{Note, Reason},
    wire::frame_header,
};
use telemetry_proto::{TelemetryEvent, TelemetryValue, telemetry_value::Value};
use telemetry_server::{
    ManagerConfig, WorkerId,
    pipeline::CatalogMode,
    stream::{StreamInfo, StreamState},
};
use telemetry_tests::{NODE, RawStream, RawWorker, TestManager, Worker, raw_event, worker};

const START: &str = "tool.execution.start";
const START_NAME: &str = "snakepit.python.tool.execution.start";

/// A manager with a worker that sends rubbish and one that does not.
struct Scene {
    manager: TestManager,
    raw: RawWorker,
    raw_id: WorkerId,
    stream: RawStream,
    good: Worker,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the socket");
        let mut config = ManagerConfig::new(NODE);
        config.catalog_mode = CatalogMode::Enforce;
        let manager = TestManager::watched(config);
        let raw = RawWorker::start(dir.path());
        let raw_id = manager.register(&raw.address(), "raw");
        let stream = raw.stream().await;
        let good = worker().id("good").start();
        manager.connect(&good).await;
        Self {
            manager,
            raw,
            raw_id,
            stream,
            good,
            _dir: dir,
        }
    }

    /// Sends rubbish between two good events, and expects it to be refused for `reason`.
    async fn check_refused(&self, reason: Reason, rubbish: &[Vec<u8>]) {
        self.stream.event(START, 0);
        for message in rubbish {
            self.stream.message(message);
        }
        self.stream.event(START, 0);

        let count = rubbish.len() as u64;
        let info = self.manager.received(&self.raw_id, count + 2).await;
        assert_eq!(
            info.ledger.rejected.get(reason),
            count,
            "{reason}: {:?}",
            info.ledger
        );
        assert_eq!(info.ledger.rejected.total(), count);
        assert_eq!(info.ledger.dispatched, 2, "the events around it are fine");
        self.check_unharmed(&info).await;
    }

    /// The stream lives, and the other worker did not notice.
    async fn check_unharmed(&self, info: &StreamInfo) {
        assert_eq!((info.state, info.streams), (StreamState::Streaming, 1));
        assert_eq!(info.last_error, None);
        self.check_others_unharmed().await;
    }

    /// The other worker did not notice.
    async fn check_others_unharmed(&self) {
        self.good.emit_many(START, 50);
        let account = self.manager.balanced(&self.good).await;
        assert_eq!(
            (account.manager.streams, account.manager.ledger.dispatched),
            (1, 50)
        );
    }
}

/// A protobuf field of wire type 2.
fn field(number: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut bytes);
    prost::encoding::encode_varint(contents.len() as u64, &mut bytes);
    bytes.extend_from_slice(contents);
    bytes
}

fn parts(name: &str) -> Vec<u8> {
    name.split('.')
        .flat_map(|part| field(1, part.as_bytes()))
        .collect()
}

#[tokio::test]
async fn bytes_that_are_no_event_are_decode_errors() {
    let many_parts = field(1, b"x").repeat(100_000);
    let many_entries = [
        parts(START),
        field(3, &[field(1, b"k"), field(2, b"v")].concat()).repeat(50_000),
    ];
    let rubbish = [
        // Invalid UTF-8 in the name, in a key and in a value.
        field(1, b"\xff\xfe"),
        [
            parts(START),
            field(3, &[field(1, b"\xc0\x80"), field(2, b"v")].concat()),
        ]
        .concat(),
        [
            parts(START),
            field(3, &[field(1, b"tool"), field(2, b"\xed\xa0\x80")].concat()),
        ]
        .concat(),
        // Counts that would need much memory.
        many_parts,
        many_entries.concat(),
        // A varint without end, a field cut short, a group that is never closed, field number 0.
        vec![0x20; 1].into_iter().chain([0xff; 11]).collect(),
        vec![0x0a, 0x7f, b'x'],
        vec![0x02, 0x00],
        // A nest of groups that would exhaust a stack.
        [[0xfb, 0x3f].repeat(20_000), [0xfc, 0x3f].repeat(20_000)].concat(),
        // A wire type that does not exist.
        vec![0x0f, 0x00],
    ];
    Scene::set()
        .await
        .check_refused(Reason::DecodeError, &rubbish)
        .await;
}

#[tokio::test]
async fn an_unknown_event_is_refused_by_name_with_a_suggestion() {
    let scene = Scene::set().await;
    let unknown = [
        raw_event("tool.execution.strat", 0),
        raw_event("tool.<script>", 0),
    ];
    let rubbish: Vec<_> = unknown.iter().map(TelemetryEvent::encode_to_vec).collect();
    scene.check_refused(Reason::UnknownEvent, &rubbish).await;
    let quarantined = serde_json::to_string(&scene.manager.quarantine().list()).unwrap();
    assert!(
        quarantined.contains("tool.execution.strat"),
        "{quarantined}"
    );
    assert!(
        quarantined.contains("tool.execution.start"),
        "did you mean: {quarantined}"
    );
}

#[tokio::test]
async fn numbers_that_are_none_are_value_rejected() {
    let with = |number: f64| {
        let mut event = raw_event(START, 0);
        let value = TelemetryValue {
            value: Some(Value::FloatValue(number)),
        };
        event.measurements.insert("duration".to_owned(), value);
        event.encode_to_vec()
    };
    let rubbish = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(with);
    Scene::set()
        .await
        .check_refused(Reason::ValueRejected, &rubbish)
        .await;
}

#[tokio::test]
async fn an_unknown_measurement_key_is_left_out_and_the_event_lives() {
    let scene = Scene::set().await;
    let mut event = raw_event(START, 0);
    let value = TelemetryValue {
        value: Some(Value::IntValue(7)),
    };
    event.measurements.insert("no_such_key".to_owned(), value);
    event
        .metadata
        .insert("no_such_label".to_owned(), "stays".to_owned());
    scene.stream.message(&event.encode_to_vec());

    let seen = scene.manager.witness().until_named(START_NAME).await;
    assert_eq!(seen.measurement("no_such_key"), None);
    assert_eq!(seen.measurement("count"), Some(1_i64.into()));
    assert_eq!(seen.metadata("no_such_label"), Some("stays"));
    let info = scene.manager.received(&scene.raw_id, 1).await;
    assert_eq!(info.ledger.notes.get(Note::UnknownMeasurement), 1);
    scene.check_unharmed(&info).await;
}

#[tokio::test]
async fn fields_of_another_version_are_skipped() {
    let scene = Scene::set().await;
    let known = raw_event(START, 0).encode_to_vec();
    // An unknown field of each kind: varint, fixed64, bytes, a nest of groups as deep as protobuf allows, fixed32.
    let unknown = [
        vec![0xf8, 0x3f, 0x01],
        [vec![0xf9, 0x3f], vec![0; 8]].concat(),
        field(1_023, b"whatever"),
        [[0xfb, 0x3f].repeat(99), [0xfc, 0x3f].repeat(99)].concat(),
        [vec![0xfd, 0x3f], vec![0; 4]].concat(),
    ];
    let count = unknown.len() as u64;
    for field in &unknown {
        scene.stream.message(&[field.as_slice(), &known].concat());
    }
    let info = scene.manager.received(&scene.raw_id, count).await;
    assert_eq!(info.ledger.rejected.total(), 0, "{:?}", info.ledger);
    assert_eq!(info.ledger.dispatched, count);
    scene.check_unharmed(&info).await;
}

#[tokio::test]
async fn what_a_worker_claims_about_itself_is_overridden() {
    let scene = Scene::set().await;
    let mut event = raw_event(START, 0);
    for key in ["node", "worker_id", "pool_name"] {
        event
            .metadata
            .insert(key.to_owned(), "somebody-else".to_owned());
    }
    event
        .metadata
        .insert("tool".to_owned(), "a\u{1b}[31m\r\nb\u{202e}".to_owned());
    scene.stream.message(&event.encode_to_vec());
    let seen = scene.manager.witness().until_named(START_NAME).await;
    assert_eq!(seen.metadata("worker_id"), Some("raw"));
    assert_eq!(seen.metadata("pool_name"), Some(telemetry_tests::POOL));
    assert_eq!(seen.metadata("node"), Some(NODE));
    let info = scene.manager.received(&scene.raw_id, 1).await;
    scene.check_unharmed(&info).await;
}

/// A frame that cannot be read ends this stream and says why; the next stream is fine.
async fn check_ends_the_stream(frame: &[u8], clue: &str) {
    let scene = Scene::set().await;
    scene.stream.event(START, 0);
    scene.manager.received(&scene.raw_id, 1).await;
    scene.stream.raw(frame.to_vec());

    scene.stream.abandoned().await;
    let info = scene
        .manager
        .until("the reason of the end", &scene.raw_id, |info| {
            info.last_error.is_some()
        })
        .await;
    let error = info.last_error.unwrap_or_default();
    assert!(error.contains(clue), "{error:?} does not say {clue:?}");
    scene.check_others_unharmed().await;

    let next = scene.raw.stream().await;
    next.event(START, 0);
    let info = scene.manager.received(&scene.raw_id, 2).await;
    assert_eq!((info.streams, info.reconnects), (2, 1));
}

#[tokio::test]
async fn a_compressed_message_ends_its_stream_only() {
    check_ends_the_stream(&[1, 0, 0, 0, 1, 0], "compressed").await;
}

#[tokio::test]
async fn a_length_of_four_gigabytes_ends_its_stream_only() {
    check_ends_the_stream(&[0, 0xff, 0xff, 0xff, 0xff], "4294967295").await;
}

#[tokio::test]
async fn a_message_that_the_end_cuts_short_is_no_event() {
    let scene = Scene::set().await;
    let event = raw_event(START, 0).encode_to_vec();
    scene.stream.message(&event);
    scene
        .stream
        .raw([&frame_header(event.len()), &event[..event.len() / 2]].concat());
    scene.stream.end(0);
    let next = scene.raw.stream().await;
    next.event(START, 0);
    let info = scene.manager.received(&scene.raw_id, 2).await;
    assert_eq!(
        (info.ledger.dispatched, info.ledger.rejected.total()),
        (2, 0)
    );
    scene.check_others_unharmed().await;
}
