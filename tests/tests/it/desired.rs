//! Desired control reaches workers: now, after a reconnect, after a restart, and as far as a stock worker
//! understands it.

use telemetry_core::{Outcome, ledger::Reason};
use telemetry_proto::TelemetryControl;
use telemetry_proto::telemetry_control::Control as Wire;
use telemetry_server::{Target, stream::StreamState};
use telemetry_tests::{PATIENCE, Proxy, RawWorker, StockWorker, eventually, within};

use crate::end_to_end::{OurWorker, manager, register, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_applied_and_echoed() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let (manager, _) = manager();
    let id = register(&manager, "w1", socket.to_str().unwrap());
    let rule = ["tool.*".to_owned()];
    let receipt = manager.update_sampling(Target::All, 0.0, &rule).unwrap();
    assert_eq!(
        (receipt.workers, receipt.legacy),
        (vec![id.clone()], vec![])
    );
    let info = until(&manager, &id, "the echo", |info| {
        info.applied_revision == receipt.revision
    })
    .await;
    assert!(info.is_policy_applied());
    assert_eq!(
        worker.emit("tool.execution.stop"),
        Outcome::Dropped(Reason::SampledOut)
    );
    assert_eq!(worker.emit("python.call.stop"), Outcome::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_worker_leaks_nothing_when_it_is_connected_again() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let (manager, witness) = manager();
    let id = register(&manager, "w1", socket.to_str().unwrap());
    let receipt = manager.toggle(Target::Worker(id.clone()), false).unwrap();
    for _ in 0..2 {
        let worker = OurWorker::start(&socket);
        worker.emit("tool.execution.stop");
        until(&manager, &id, "the mute", |info| {
            info.applied_revision == receipt.revision
        })
        .await;
        assert_eq!(worker.emit("tool.execution.stop"), Outcome::Off);
        assert!(worker.server.close(PATIENCE));
        until(&manager, &id, "the loss", |info| {
            info.state == StreamState::Backoff
        })
        .await;
    }
    assert_eq!(witness.count(), 0);
    // The same id at another place is the same worker.
    let other = dir.path().join("other.sock");
    let worker = OurWorker::start(&other);
    register(&manager, "w1", other.to_str().unwrap());
    until(&manager, &id, "the mute", |info| {
        info.state == StreamState::Streaming && info.applied_revision == receipt.revision
    })
    .await;
    assert_eq!(worker.emit("tool.execution.stop"), Outcome::Off);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_while_the_cable_is_cut_arrives_with_the_next_stream() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let proxy = Proxy::start(dir.path().join("proxy.sock"), &socket).unwrap();
    let (manager, _) = manager();
    let id = register(&manager, "w1", proxy.path().to_str().unwrap());
    until(&manager, &id, "the first report", |info| {
        info.report.is_some()
    })
    .await;
    assert_eq!(proxy.cut(), 1);
    let receipt = manager
        .update_filter(Target::All, &[], &["tool.*".to_owned()])
        .unwrap();
    until(&manager, &id, "the echo", |info| {
        info.reconnects == 1 && info.applied_revision == receipt.revision
    })
    .await;
    assert_eq!(
        worker.emit("tool.execution.stop"),
        Outcome::Dropped(Reason::Filtered)
    );
}

// On one thread, so that it is told here when the session gets its turn: after every hundredth control.
#[tokio::test]
async fn many_controls_reach_the_worker_as_the_last_state() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    let (manager, _) = manager();
    register(&manager, "raw", &worker.address());
    let stream = worker.stream().await;
    // A worker that says nothing is taken for a stock one after a while, and told no policy.
    stream.hello();
    stream.controls(2).await;
    for round in 0..10_000 {
        manager.toggle(Target::All, round % 2 == 1).unwrap();
        if round % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let last = manager.toggle(Target::All, false).unwrap().revision;
    let is_last = |control: &TelemetryControl| matches!(&control.control, Some(Wire::Policy(p)) if p.revision == last && !p.enabled);
    let controls = within("the last policy", async {
        loop {
            let controls = stream.controls(1).await;
            if controls.iter().any(is_last) {
                break controls;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(controls.len() < 5_000, "{} controls", controls.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_control_reaches_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("w.sock");
    let worker = OurWorker::start(&socket);
    let (manager, _) = manager();
    let id = register(&manager, "w1", socket.to_str().unwrap());
    let before = manager.worker_policy(&id).unwrap();
    assert!(manager.update_sampling(Target::All, 1.5, &[]).is_err());
    assert!(
        manager
            .update_filter(Target::All, &["[".to_owned()], &[])
            .is_err()
    );
    assert_eq!(manager.worker_policy(&id).unwrap(), before);
    until(&manager, &id, "the first report", |info| {
        info.report.is_some()
    })
    .await;
    assert_eq!(worker.emit("tool.execution.stop"), Outcome::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_gets_what_it_understands_and_the_rest_is_reported() {
    let worker = StockWorker::on_tcp().await;
    let (manager, _) = manager();
    let id = register(&manager, "stock", worker.address());
    worker.emit("tool.execution.stop", &[]);
    until(&manager, &id, "legacy", |info| info.legacy).await;
    manager.update_sampling(Target::All, 0.25, &[]).unwrap();
    let rule = ["tool.*".to_owned()];
    let receipt = manager.update_sampling(Target::All, 0.0, &rule).unwrap();
    assert_eq!(receipt.legacy, std::slice::from_ref(&id));
    let expected = (true, 0.25);
    eventually("the rate", || (worker.policy() == expected).then_some(())).await;
    let info = until(&manager, &id, "the rule", |info| {
        !info.unsupported_rules.is_empty()
    })
    .await;
    assert_eq!(info.unsupported_rules[0].patterns, rule);
    manager.toggle(Target::Worker(id), false).unwrap();
    eventually("the mute", || (!worker.policy().0).then_some(())).await;
    assert_eq!(manager.pools().len(), 1);
    assert!(manager.shutdown(PATIENCE).await);
}
