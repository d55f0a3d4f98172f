//! A real manager and real workers: events arrive, and every one of them is accounted for.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_client::serve::{Identity, ServeConfig, Server};
use telemetry_core::{
    Address, Outcome, SystemClock, ValueRef,
    emit::{Fields, Recorder, RecorderConfig},
    ledger::{Note, Reason},
};
use telemetry_server::{
    Manager, ManagerConfig, UNREGISTER_DRAIN, WorkerContext, WorkerId,
    pipeline::CatalogMode,
    stream::{StreamInfo, StreamState},
};
use telemetry_tests::{PATIENCE, Proxy, RawWorker, StockWorker, Witness, eventually, raw_event};

const TOOL_STOP: &str = "snakepit.python.tool.execution.stop";

/// A worker of ours: a recorder and the server that serves it.
pub(crate) struct OurWorker {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) server: Server,
}

impl OurWorker {
    pub(crate) fn start(socket: &Path) -> Self {
        let clock = Arc::new(SystemClock::new());
        let recorder =
            Arc::new(Recorder::new(RecorderConfig::default(), clock).expect("a valid policy"));
        Self::serve(socket, recorder, Identity::default())
    }

    pub(crate) fn serve(socket: &Path, recorder: Arc<Recorder>, identity: Identity) -> Self {
        let mut config = ServeConfig::default();
        config.stream.identity = identity;
        config.stream.report_interval = Duration::from_millis(20);
        // Of a manager that is late on a busy machine, too.
        config.stream.first_control_wait = PATIENCE;
        let address = Address::Unix(socket.to_owned());
        let server = Server::start(&address, Arc::clone(&recorder), config).expect("a free socket");
        Self { recorder, server }
    }

    pub(crate) fn emit(&self, name: &str) -> Outcome {
        let site = self.recorder.callsite(name).expect("a valid name");
        let fields = Fields {
            span: None,
            measurements: &[("duration", ValueRef::Int(5))],
            metadata: &[("tool", "search")],
            correlation_id: "",
            timestamp_ns: None,
        };
        self.recorder.record(&site, &fields)
    }
}

/// A manager whose worker events (not its own) are seen by a witness.
pub(crate) fn manager() -> (Manager, Witness) {
    let mut config = ManagerConfig::new("node-1");
    config.catalog_mode = CatalogMode::Enforce;
    let manager = Manager::start(config).expect("a valid policy");
    let witness = Witness::new();
    manager
        .dispatcher()
        .attach("witness", "snakepit.python.**", witness.handler())
        .expect("a free id");
    (manager, witness)
}

pub(crate) fn register(manager: &Manager, id: &str, address: &str) -> WorkerId {
    let context = WorkerContext::new(id).in_pool("default");
    manager
        .register_worker(address.parse().expect("an endpoint"), context)
        .expect("a valid worker")
}

pub(crate) async fn until(
    manager: &Manager,
    id: &WorkerId,
    what: &str,
    wanted: impl FnMut(&StreamInfo) -> bool,
) -> StreamInfo {
    let found = manager.wait_for(id, wanted, PATIENCE).await;
    found.unwrap_or_else(|last| panic!("never came: {what}; last: {last:#?}"))
}

/// The worker's ledger and the manager's agree on every event.
fn assert_balanced(info: &StreamInfo) {
    assert_eq!(info.ledger.check(), Ok(()), "{info:#?}");
    assert_eq!(info.ledger_difference(), 0, "{info:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_enriched_in_order_and_balanced() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let (manager, witness) = manager();
    let id = register(&manager, "w1", socket.to_str().unwrap());
    for _ in 0..500 {
        assert_eq!(worker.emit("tool.execution.stop"), Outcome::Accepted);
    }
    let info = until(&manager, &id, "500 events and their report", |info| {
        info.ledger.dispatched == 500 && info.report.as_ref().is_some_and(|r| r.sent == 500)
    })
    .await;
    assert_balanced(&info);
    assert!(!info.legacy);
    assert_eq!(
        (info.state, info.ledger.gaps, info.joined_at),
        (StreamState::Streaming, 0, 0)
    );
    assert_eq!(info.pid, Some(std::process::id()));
    let event = witness.events().remove(0);
    assert_eq!(event.name(), TOOL_STOP);
    for (key, text) in [
        ("node", "node-1"),
        ("pool_name", "default"),
        ("worker_id", "w1"),
    ] {
        assert_eq!(event.metadata(key), Some(text), "{key}");
    }
    assert!(manager.shutdown(PATIENCE).await);
    assert_eq!(manager.totals().ledger.dispatched, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_starts_later_is_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("late.sock");
    let (manager, witness) = manager();
    let id = register(&manager, "late", socket.to_str().unwrap());
    until(&manager, &id, "waiting for the socket", |info| {
        info.last_error.is_some()
    })
    .await;
    let worker = OurWorker::start(&socket);
    worker.emit("tool.execution.stop");
    witness.until_named(TOOL_STOP).await;
    let info = manager.stream(&id).unwrap();
    assert_eq!(
        (info.streams, info.failures),
        (1, 0),
        "it took no failed dial"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_at_the_same_socket_is_a_new_incarnation_and_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let (manager, _witness) = manager();
    let id = register(&manager, "w1", socket.to_str().unwrap());
    for round in 1..=3_u64 {
        let worker = OurWorker::start(&socket);
        for _ in 0..10 {
            worker.emit("tool.execution.stop");
        }
        let info = until(&manager, &id, "ten more events", |info| {
            info.ledger.dispatched == round * 10
                && info.report.as_ref().is_some_and(|report| report.sent == 10)
        })
        .await;
        assert_balanced(&info);
        assert_eq!(
            (info.ledger.gaps, info.lost_at_crash, info.streams),
            (0, 0, round)
        );
        assert_eq!(info.incarnation_ledger.dispatched, 10);
        assert!(worker.server.close(PATIENCE));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cut_stream_had_on_its_way_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let proxy = Proxy::start(dir.path().join("proxy.sock"), &socket).unwrap();
    let (manager, witness) = manager();
    let id = register(&manager, "w1", proxy.path().to_str().unwrap());
    let mut emitted = 0;
    // A cut that falls into a report has no event on its way: cut on until one had, three times at least.
    let mut cuts = (1_u64..).zip((1_500..8_000).step_by(523));
    let info = loop {
        let (round, bytes) = cuts.next().expect("no cut had anything on its way");
        // The cable breaks in the middle of what is emitted now. The limit comes first: a dial between
        // the two would get a connection without one.
        proxy.cut_after(bytes);
        proxy.cut();
        let before = proxy.cuts();
        eventually("the cut", || {
            emitted += u64::from(worker.emit("tool.execution.stop") == Outcome::Accepted);
            (proxy.cuts() > before).then_some(())
        })
        .await;
        // Emitted after the cut: the report that counts it comes on a new stream.
        emitted += u64::from(worker.emit("tool.execution.stop") == Outcome::Accepted);
        let info = until(&manager, &id, "everything accounted for", |info| {
            let report = info.report.as_ref();
            report.is_some_and(|report| report.sent == emitted && report.queued == 0)
                && info.ledger.dispatched == emitted
        })
        .await;
        let repeated = info.report.as_ref().map_or(0, |report| report.repeated);
        if round >= 3 && repeated > 0 {
            break info;
        }
    };
    assert_balanced(&info);
    assert_eq!(info.ledger.gaps, 0, "{info:#?}");
    assert_eq!(witness.count(), emitted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unregistering_reads_what_was_sent_and_keeps_it_in_the_pool() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let (manager, _witness) = manager();
    let mut dispatched = 0;
    // A machine that stands still for the time that unregistering may take shows nothing: once more.
    let mut in_time = false;
    while !in_time {
        let id = register(&manager, "w1", socket.to_str().unwrap());
        // From its hello on it is known to say itself when all is sent.
        until(&manager, &id, "the hello", |info| {
            info.state == StreamState::Streaming && !info.incarnation.is_empty()
        })
        .await;
        for _ in 0..100 {
            worker.emit("tool.execution.stop");
        }
        eventually("the queue to empty", || {
            (worker.recorder.queued() == 0).then_some(())
        })
        .await;
        let asked = Instant::now();
        assert!(manager.unregister_worker(&id).await);
        in_time = asked.elapsed() < UNREGISTER_DRAIN;
        assert!(manager.list_streams().is_empty());
        let pools = manager.pools();
        let [pool] = &pools[..] else {
            panic!("one pool: {pools:?}")
        };
        assert_eq!(pool.pool_name.as_deref(), Some("default"));
        assert_eq!(pool.totals.workers, 0);
        let arrived = pool.totals.ledger.dispatched - dispatched;
        assert!(arrived == 100 || !in_time, "{arrived} of 100 in time");
        dispatched = pool.totals.ledger.dispatched;
        assert!(!manager.unregister_worker(&id).await, "it is forgotten");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_joins_late_counts_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let (first, seen) = manager();
    register(&first, "w1", socket.to_str().unwrap());
    for _ in 0..50 {
        worker.emit("tool.execution.stop");
    }
    seen.until_count(50).await;
    assert!(first.shutdown(PATIENCE).await);
    let (second, _witness) = manager();
    let id = register(&second, "w1", socket.to_str().unwrap());
    worker.emit("tool.execution.stop");
    let info = until(&second, &id, "one event", |info| {
        info.ledger.dispatched == 1 && info.report.as_ref().is_some_and(|r| r.sent == 51)
    })
    .await;
    assert_eq!((info.joined_at, info.ledger.gaps), (50, 0));
    assert_balanced(&info);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_managers_the_newer_gets_the_stream_and_the_older_steps_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let (first, _) = manager();
    let id = register(&first, "w1", socket.to_str().unwrap());
    until(&first, &id, "the first stream", |info| {
        !info.incarnation.is_empty()
    })
    .await;
    let (second, seen) = manager();
    register(&second, "w1", socket.to_str().unwrap());
    until(&first, &id, "the step back", |info| {
        info.state == StreamState::Replaced
    })
    .await;
    worker.emit("tool.execution.stop");
    seen.until_count(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_is_counted_and_the_stream_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    let (manager, _witness) = manager();
    let id = register(&manager, "raw", &worker.address());
    let stream = worker.stream().await;
    stream.message(b"\xff\xff\xff\xff");
    stream.event("no.such.event", 0);
    stream.event("tool.execution.stop", 0);
    let info = until(&manager, &id, "three messages", |info| {
        info.ledger.received == 3
    })
    .await;
    assert_eq!(info.ledger.rejected.get(Reason::DecodeError), 1);
    assert_eq!(info.ledger.rejected.get(Reason::UnknownEvent), 1);
    assert_eq!((info.ledger.dispatched, info.streams), (1, 1));
    assert_balanced(&info);
    assert_eq!(manager.quarantine().list()[0].name, "no.such.event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_and_duplicates_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    let (manager, _witness) = manager();
    let id = register(&manager, "raw", &worker.address());
    let stream = worker.stream().await;
    for sequence in [1, 2, 5, 5, 4, 6] {
        stream.message(&prost::Message::encode_to_vec(&raw_event(
            "tool.execution.stop",
            sequence,
        )));
    }
    let info = until(&manager, &id, "the last one", |info| {
        info.ledger.highest_sequence == 6
    })
    .await;
    assert_eq!((info.ledger.received, info.ledger.gaps), (4, 2));
    assert_eq!(info.ledger.notes.get(Note::Duplicate), 2);
    assert_balanced(&info);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_or_huge_message_ends_the_stream_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    let (manager, _witness) = manager();
    let id = register(&manager, "raw", &worker.address());
    for bytes in [vec![1, 0, 0, 0, 1, 0], vec![0, 0xff, 0xff, 0xff, 0xff]] {
        let stream = worker.stream().await;
        stream.event("tool.execution.stop", 0);
        stream.raw(bytes);
        stream.abandoned().await;
    }
    let info = until(&manager, &id, "both", |info| info.ledger.dispatched == 2).await;
    assert_balanced(&info);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_is_read_too() {
    let worker = StockWorker::on_tcp().await;
    let (manager, witness) = manager();
    let id = register(&manager, "stock", worker.address());
    worker.emit("tool.execution.stop", &[("duration", 5)]);
    witness.until_named(TOOL_STOP).await;
    let info = until(&manager, &id, "legacy", |info| info.legacy).await;
    assert_eq!(info.state, StreamState::Streaming);
    assert_balanced(&info);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_manager_says_of_connections_reaches_handlers() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    let (manager, _) = manager();
    let seen = Witness::new();
    manager
        .dispatcher()
        .attach("grpc", "snakepit.grpc.**", seen.handler())
        .unwrap();
    register(&manager, "raw", &worker.address());
    worker.stream().await.end(0);
    seen.until_named("snakepit.grpc.connection.lost").await;
    let _second = worker.stream().await;
    let reconnected = seen
        .until_named("snakepit.grpc.connection.reconnected")
        .await;
    assert_eq!(reconnected.metadata("worker_id"), Some("raw"));
    seen.until("two streams", |events| {
        let opened = |event: &&telemetry_core::Event| event.name() == "snakepit.grpc.stream.opened";
        let ids: Vec<_> = events
            .iter()
            .filter(opened)
            .map(|e| e.metadata("stream_id"))
            .collect();
        (ids.len() == 2).then(|| assert_ne!(ids[0], ids[1], "ids are unique"))
    })
    .await;
    assert_eq!(seen.count_of("snakepit.grpc.connection.established"), 1);
    assert_eq!(
        seen.count_of("snakepit.grpc.stream.message"),
        0,
        "off by default"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_endpoint_is_refused_unless_allowed() {
    let (manager, _) = manager();
    let endpoint: Address = "192.0.2.1:50051".parse().unwrap();
    let error = manager
        .register_worker(endpoint, WorkerContext::new("far"))
        .unwrap_err();
    assert!(error.to_string().contains("192.0.2.1:50051"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_never_answers_is_given_up_and_dialled_again() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    worker.withhold_headers(true);
    let (manager, _) = manager();
    let id = register(&manager, "mute", &worker.address());
    let info = until(&manager, &id, "giving up", |info| {
        info.state == StreamState::Backoff
    })
    .await;
    let error = info.last_error.unwrap_or_default();
    assert!(error.contains("no response headers"), "{error}");
    worker.withhold_headers(false);
    until(&manager, &id, "the stream", |info| {
        info.state == StreamState::Streaming
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_with_nothing_to_say_is_not_given_up() {
    let worker = StockWorker::on_tcp().await;
    let (manager, witness) = manager();
    let id = register(&manager, "idle", worker.address());
    let info = until(&manager, &id, "the stream", |i| {
        i.state == StreamState::Streaming
    })
    .await;
    assert_eq!(info.failures, 0);
    until(&manager, &id, "legacy", |info| info.legacy).await;
    worker.emit("tool.execution.stop", &[]);
    witness.until_named(TOOL_STOP).await;
    assert_eq!(manager.stream(&id).map(|info| info.streams), Some(1));
}
