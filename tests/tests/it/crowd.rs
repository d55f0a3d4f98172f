//! Everybody at once: 256 workers of one process begin, dialled or dialling in, and all stream.
//!
//! How long that takes is printed (`--no-capture`); the bound here is for a machine that is busy.

#![expect(clippy::print_stdout, reason = "the figure is for whoever asks for it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_client::serve::{ConnectConfig, Connection};
use telemetry_core::{
    Address, SystemClock,
    emit::{Fields, Recorder, RecorderConfig},
};
use telemetry_server::{
    accept::{AcceptConfig, Acceptor},
    stream::StreamState,
};
use telemetry_tests::{PATIENCE, TestManager, within, worker};

const WORKERS: usize = 256;

async fn all_stream(manager: &TestManager) {
    let mut changes = manager.subscribe();
    let all = async {
        loop {
            changes.mark_unchanged();
            let streams = manager.list_streams();
            let there = streams
                .iter()
                .filter(|it| it.state == StreamState::Streaming);
            if there.count() == WORKERS {
                return;
            }
            changes.changed().await.expect("the manager lives");
        }
    };
    within("all streams", all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_dialled_all_stream_soon() {
    let manager = TestManager::blind();
    let fleet: Vec<_> = (0..WORKERS)
        .map(|number| worker().id(format!("w{number:03}")).queue(64).start())
        .collect();
    let began = Instant::now();
    for worker in &fleet {
        manager.register(&worker.address().to_string(), worker.id());
    }
    all_stream(&manager).await;
    println!("{WORKERS} workers were dialled in {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);
    drop(fleet);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_dial_in_all_stream_soon_and_every_event_arrives() {
    let manager = TestManager::blind();
    let dir = tempfile::tempdir().expect("a directory");
    let door = Address::Unix(dir.path().join("manager.sock"));
    let acceptor = Acceptor::start(&manager, AcceptConfig::at(door.clone())).expect("a free path");
    let began = Instant::now();
    let fleet: Vec<_> = (0..WORKERS).map(|number| dial(&door, number)).collect();
    let started = began.elapsed();
    all_stream(&manager).await;
    println!(
        "{WORKERS} workers dialled in within {:?}; to start them took {started:?}",
        began.elapsed()
    );
    let ended = tokio::task::spawn_blocking(move || {
        let ended = |(recorder, connection): (Arc<Recorder>, Connection)| {
            recorder.close();
            connection.close(Duration::from_secs(20))
        };
        fleet.into_iter().all(ended)
    });
    assert!(ended.await.expect("no panic"));
    let received = |manager: &TestManager| manager.totals().ledger.received;
    let mut changes = manager.subscribe();
    let all_left = async {
        while !manager.list_streams().is_empty() {
            changes.changed().await.expect("the manager lives");
        }
    };
    within("that all have left", all_left).await;
    assert_eq!(received(&manager), WORKERS as u64);
    acceptor.stop().await;
    manager.stop().await;
}

/// A worker with one event.
fn dial(door: &Address, number: usize) -> (Arc<Recorder>, Connection) {
    let clock = Arc::new(SystemClock::new());
    let recorder = Recorder::new(RecorderConfig::default(), clock).expect("the default policy");
    let recorder = Arc::new(recorder);
    let site = recorder.callsite("tool.result_size").expect("a name");
    let fields = Fields {
        measurements: &[("bytes", 1_i64.into())],
        ..Fields::default()
    };
    recorder.record(&site, &fields);
    let mut config = ConnectConfig::default();
    config.stream.identity.worker_id = format!("w{number:03}");
    let connection = Connection::start(vec![door.clone()], Arc::clone(&recorder), config);
    (recorder, connection.expect("a thread"))
}
