//! A worker at a port with a token: its own manager has every event, one without the token none, and whoever took the
//! port no token.

use std::sync::Arc;

use telemetry_client::serve::{ServeConfig, Server};
use telemetry_core::{
    Address, SystemClock,
    emit::{Recorder, RecorderConfig},
};
use telemetry_server::WorkerContext;
use telemetry_tests::{PATIENCE, StockWorker, eventually};
use tokio::net::TcpListener;

use crate::end_to_end::{OurWorker, manager, register, until};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_the_token_has_every_event_and_who_does_not_has_none() {
    let clock = Arc::new(SystemClock::new());
    let recorder = Recorder::new(RecorderConfig::default(), clock).expect("a valid policy");
    let recorder = Arc::new(recorder);
    let mut config = ServeConfig::default();
    config.token = Some(TOKEN.parse().expect("a token"));
    config.stream.first_control_wait = PATIENCE;
    let any: Address = "127.0.0.1:0".parse().expect("an address");
    let server = Server::start(&any, Arc::clone(&recorder), config).expect("a port");
    let worker = OurWorker { recorder, server };
    let address = worker.server.address().clone();
    worker.emit("tool.execution.stop");
    let (stranger, unseen) = manager();
    let refused = register(&stranger, "w1", &address.to_string());
    let info = until(&stranger, &refused, "a refusal", |info| {
        info.last_error.is_some()
    })
    .await;
    let error = info.last_error.expect("an error");
    assert!(
        error.contains("status 16") && error.contains("token"),
        "{error}"
    );
    let (own, seen) = manager();
    let mut context = WorkerContext::new("w1").in_pool("default");
    context.token = Some(TOKEN.parse().expect("a token"));
    let id = own.register_worker(address, context).expect("a worker");
    until(&own, &id, "the event", |info| info.ledger.dispatched == 1).await;
    assert_eq!((seen.count(), unseen.count()), (1, 0));
    assert!(worker.server.unauthenticated() > 0);
}

/// A user who is neither us nor root.
const FOREIGN: u32 = 65_533;

/// What a manager shows at a port that `foreign` listens at or not, and which `change` says more of; none where a socket
/// cannot be given away.
async fn shown(foreign: bool, change: impl FnOnce(&mut WorkerContext)) -> Option<Option<String>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    if foreign {
        let user = rustix::fs::Uid::from_raw(FOREIGN);
        rustix::fs::fchown(&listener, Some(user), None).ok()?;
    }
    let worker = StockWorker::on(listener);
    let (own, _) = manager();
    let mut context = WorkerContext::new("w1");
    context.token = Some(TOKEN.parse().expect("a token"));
    change(&mut context);
    let address = worker.address().parse().expect("an address");
    own.register_worker(address, context).expect("a worker");
    let first = eventually("a stream", || worker.shown().first().cloned()).await;
    Some(first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_took_the_port_is_shown_no_token() {
    let token = Some(format!("Bearer {TOKEN}"));
    assert_eq!(shown(false, |_| {}).await, Some(token.clone()), "our own");
    let Some(taken) = shown(true, |_| {}).await else {
        return;
    };
    assert_eq!(taken, None);
    let owner = shown(true, |context| context.token_owner = Some(FOREIGN)).await;
    assert_eq!(owner, Some(token.clone()), "whose token it is");
    let insecure = shown(true, |context| context.insecure = true).await;
    assert_eq!(insecure, Some(token), "whoever it is");
}
