//! Workers that dial in: who is welcome, under which name, and what becomes of their events.

mod door;
mod house;
mod pool;

use std::collections::BTreeSet;
use std::time::Duration;

use telemetry_server::{
    ManagerConfig, WorkerId,
    stream::{LinkKind, StreamInfo, StreamState},
};
use telemetry_tests::{Caller, NODE, PATIENCE, eventually, within};

use house::{House, Process};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dials_in_is_streamed_listed_and_leaves_with_its_last_word() {
    let house = House::open();
    let worker = Caller::new("w", "p");
    let serving = worker.dial_in(&house.socket).await;
    let id = WorkerId::from("w");
    worker.emit(100);
    let info = house.manager.received(&id, 100).await;
    assert_eq!(info.state, StreamState::Streaming);
    assert_eq!((info.link, info.endpoint), (LinkKind::In, None));
    assert_eq!(info.pool_name.as_deref(), Some("p"));
    assert_eq!(info.pid, Some(std::process::id()));
    let ledger = tokio::task::spawn_blocking(move || {
        worker.end();
        worker.telemetry().ledger()
    });
    let ledger = ledger.await.expect("no panic");
    house.left(&id).await;
    assert_eq!((ledger.emitted, ledger.sent), (100, 100));
    assert_eq!(house.manager.witness().count(), 100);
    let pools = house.manager.pools();
    let totals = &pools
        .iter()
        .find(|pool| pool.pool_name.as_deref() == Some("p"));
    let totals = &totals.expect("its pool").totals;
    assert_eq!(
        (totals.ledger.received, totals.reported.emitted),
        (100, 100)
    );
    assert_eq!(totals.unaccounted_incarnations, 0);
    serving.abort();
    house.acceptor.stop().await;
    assert!(!house.socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_and_started_again_takes_its_id_over() {
    let house = House::open();
    let id = WorkerId::from("w");
    for life in 1..=20 {
        let mut process = Process::start(&house.socket, "w", "p");
        process.hears("welcome").await;
        process.emit(5).await;
        eventually("its events", || {
            (house.manager.witness().count() == 5 * life).then_some(())
        })
        .await;
        assert_eq!(house.ids(), [id.to_string()].into());
        assert_eq!(house.manager.info(&id).pid, Some(process.pid()));
        process.kill().await;
    }
    house.left(&id).await;
    let totals = house.totals("p");
    assert_eq!((totals.ledger.received, totals.lost_at_crash), (100, 0));
    // Each died without a last word, and none had handed its memory over.
    assert_eq!(totals.unaccounted_incarnations, 20);
    assert_eq!(totals.ledger.gaps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_processes_with_one_id_are_sixteen_workers() {
    let house = House::open();
    let mut processes: Vec<_> = (0..16)
        .map(|_| Process::start(&house.socket, "w", "p"))
        .collect();
    for process in &mut processes {
        process.hears("welcome").await;
        process.emit(3).await;
    }
    eventually("all events", || {
        (house.manager.witness().count() == 48).then_some(())
    })
    .await;
    let numbered = (2..=16).map(|number| format!("w~{number}"));
    let wanted: BTreeSet<_> = std::iter::once("w".to_owned()).chain(numbered).collect();
    assert_eq!(house.ids(), wanted);
    let streams = house.manager.list_streams();
    let pids: BTreeSet<_> = streams.iter().map(|info| info.pid).collect();
    let theirs: BTreeSet<_> = processes.iter().map(|it| Some(it.pid())).collect();
    assert_eq!(pids, theirs);
    for info in &streams {
        assert_eq!((info.streams, info.ledger.received), (1, 3), "{info:#?}");
        assert_eq!(info.ledger_difference(), 0);
    }
    for process in processes {
        process.kill().await;
    }
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_end_without_a_word_leave_no_row() {
    const CHILDREN: u64 = 300;
    let house = House::open();
    for _ in 0..CHILDREN / 20 {
        let mut batch = Vec::new();
        for number in 0..20 {
            batch.push(Process::start(&house.socket, &format!("c-{number}"), "p"));
        }
        for process in &mut batch {
            process.hears("welcome").await;
            process.emit(2).await;
        }
        // The end of stdin is the end of the process.
        for mut process in batch {
            drop(process.stdin);
            let exit = within("the end of a child", process.child.wait()).await;
            assert!(exit.expect("a child").success());
        }
    }
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
    let totals = house.totals("p");
    assert_eq!(totals.ledger.received, 2 * CHILDREN);
    assert_eq!(totals.unaccounted_incarnations, CHILDREN);
    assert_eq!((totals.ledger.gaps, totals.lost_at_crash), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_away_keeps_its_place_for_its_grace_and_no_longer() {
    let mut config = ManagerConfig::new(NODE);
    config.away_grace = PATIENCE * 2;
    let house = House::with(config);
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let serving = worker.dial_in(&house.socket).await;
    worker.emit(10);
    house.manager.received(&id, 10).await;
    serving.abort();
    let away = |info: &StreamInfo| info.state == StreamState::Away;
    house.manager.until("its absence", &id, away).await;
    worker.emit(10);
    let _serving = worker.dial_in(&house.socket).await;
    let info = house.manager.received(&id, 20).await;
    assert_eq!((info.streams, info.ledger.gaps), (2, 0));
    assert_eq!(info.ledger_difference(), 0);

    let mut config = ManagerConfig::new(NODE);
    config.away_grace = Duration::from_millis(50);
    let house = House::with(config);
    let serving = worker.dial_in(&house.socket).await;
    house.manager.streaming(&id).await;
    serving.abort();
    house.left(&id).await;
    let again = worker.dial_in(&house.socket).await;
    worker.emit(1);
    house.manager.received(&id, 1).await;
    again.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_of_a_worker_replaces_the_older_and_costs_nothing() {
    let house = House::open();
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let mut connections = Vec::new();
    for round in 1..=20 {
        connections.push(worker.dial_in(&house.socket).await);
        worker.emit(50);
        let open = |info: &StreamInfo| info.streams == round && info.ledger.received == 50 * round;
        house.manager.until("its events", &id, open).await;
    }
    let settled = |info: &StreamInfo| info.state == StreamState::Streaming && info.streams == 20;
    let info = house.manager.until("the last stream", &id, settled).await;
    assert_eq!((info.ledger.gaps, info.ledger_difference()), (0, 0));
    assert_eq!(info.ledger.received, info.ledger.dispatched);
    assert_eq!(house.ids().len(), 1);
    assert_eq!(worker.telemetry().ledger().check(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_under_load_loses_only_what_is_counted() {
    let house = House::open();
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let mut emitted = 0;
    for _ in 0..20 {
        let serving = worker.dial_in(&house.socket).await;
        let open = |info: &StreamInfo| {
            info.state == StreamState::Streaming && !info.incarnation.is_empty()
        };
        house.manager.until("its hello", &id, open).await;
        worker.emit(200);
        emitted += 200;
        serving.abort();
        let _over = serving.await;
    }
    let _serving = worker.dial_in(&house.socket).await;
    worker.emit(1);
    emitted += 1;
    let balanced = |info: &StreamInfo| info.ledger.received + info.ledger.gaps == emitted;
    let info = house.manager.until("the balance", &id, balanced).await;
    assert_eq!(info.ledger_difference(), 0);
    assert_eq!(info.ledger.received, house.manager.witness().count());
    let _here = worker.telemetry().ledger();
}
