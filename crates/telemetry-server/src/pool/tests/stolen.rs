//! Sockets of workers that somebody else took away, or put theirs in place of.

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;

use super::*;
use crate::identity::{WorkerContext, WorkerId};
use crate::session::{StreamInfo, StreamState};
use telemetry_core::Address;

/// Waits until the last error of a worker says this.
async fn said(manager: &Manager, worker: &str, what: &str) -> StreamInfo {
    let says = |info: &StreamInfo| {
        let error = info.last_error.as_deref();
        error.is_some_and(|error| error.contains(what))
    };
    let id = WorkerId::from(worker);
    let said = manager.wait_for(&id, says, PATIENCE).await;
    said.unwrap_or_else(|last| panic!("{last:?}"))
}

#[tokio::test]
async fn a_socket_of_somebody_else_is_never_taken_for_the_workers() {
    let rig = Rig::new();
    let mut config = rig.script("exec sleep 600");
    config.telemetry.transport = Transport::Stream;
    let pool = rig.start(config).await;
    let path = rig.dir.path().join("run/p-1.sock");
    let _impostor = UnixListener::bind(&path).unwrap();
    let info = said(&rig.manager, "p-1", "is not the one that the worker made").await;
    assert_eq!(info.state, StreamState::Backoff);
    let us = format!("process {} is behind it", std::process::id());
    let error = info.last_error.unwrap();
    assert!(error.contains(&us), "{error}");
    let started = format!("process {} did not start", pid(&pool.status()));
    assert!(error.contains(&started), "{error}");
    assert_eq!(info.streams, 0);
    pool.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_socket_that_is_gone_while_its_worker_lives_is_said_to_be_taken() {
    let rig = Rig::new();
    let path = rig.dir.path().join("w.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut context = WorkerContext::new("w");
    context.python_pid = Some(std::process::id());
    let endpoint = Address::Unix(path.clone());
    rig.manager.register_supervised(endpoint, context).unwrap();
    // The worker lets its manager in, and loses socket and stream.
    let (mut stream, _address) = soon(listener.accept()).await.unwrap();
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("n1/") {
        soon(stream.read_buf(&mut request)).await.unwrap();
    }
    fs::remove_file(&path).unwrap();
    drop((stream, listener));
    let info = said(&rig.manager, "w", "somebody removed it").await;
    assert_eq!(info.state, StreamState::Backoff);
    assert_eq!(info.retry_after_ms, None);
}
