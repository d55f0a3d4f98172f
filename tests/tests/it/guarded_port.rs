//! A worker at a port with a token: its own manager has every event, one without the token none.

use std::sync::Arc;

use telemetry_client::serve::{ServeConfig, Server};
use telemetry_core::{
    Address, SystemClock,
    emit::{Recorder, RecorderConfig},
};
use telemetry_server::WorkerContext;
use telemetry_tests::PATIENCE;

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
