//! Workers that dial in: who is welcome, under which name, and what becomes of their events.

use std::path::PathBuf;

use telemetry_server::{AcceptConfig, Acceptor, LinkKind, ManagerConfig, StreamState, WorkerId};
use telemetry_tests::{Caller, NODE, TestManager, WITNESS, eventually};
use tempfile::TempDir;

/// A manager at whose door workers may dial in.
struct House {
    manager: TestManager,
    acceptor: Acceptor,
    socket: PathBuf,
    _dir: TempDir,
}

impl House {
    fn open() -> Self {
        Self::with(ManagerConfig::new(NODE))
    }

    fn with(config: ManagerConfig) -> Self {
        let manager = TestManager::with(config);
        let handler = manager.witness().handler();
        let attached = manager
            .dispatcher()
            .attach(WITNESS, "snakepit.python.*", handler);
        attached.expect("a free id");
        let dir = tempfile::tempdir().expect("a directory for the socket");
        let socket = dir.path().join("manager.sock");
        let config = AcceptConfig::at(telemetry_core::Address::Unix(socket.clone()));
        let acceptor = Acceptor::start(&manager, config).expect("a free path");
        Self {
            manager,
            acceptor,
            socket,
            _dir: dir,
        }
    }

    /// Waits until the manager knows nobody under this id.
    async fn left(&self, id: &WorkerId) {
        eventually(&format!("{id} to leave"), || {
            self.manager.stream(id).is_none().then_some(())
        })
        .await;
    }
}

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
