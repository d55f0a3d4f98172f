//! What the answer of a gRPC client looks like decides how its call ends, and it ends once.

use std::collections::VecDeque;
use std::future::{Ready, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use telemetry_core::Event;

use super::super::tests::Rig;
use super::*;

/// Headers or trailers as text.
type Fields<'f> = &'f [(&'static str, &'static str)];

/// A body of which all frames are there.
struct Frames(VecDeque<Result<Frame<Bytes>, &'static str>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// A client that has one answer.
struct Canned(Option<Result<Response<Frames>, &'static str>>);

impl Service<Request<()>> for Canned {
    type Response = Response<Frames>;
    type Error = &'static str;
    type Future = Ready<Result<Response<Frames>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(self.0.take().expect("one call"))
    }
}

fn headers(fields: Fields<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.insert(*name, HeaderValue::from_static(value));
    }
    map
}

fn data() -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(b"answer")))
}

fn trailers(fields: Fields<'_>) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::trailers(headers(fields)))
}

fn answer(
    fields: Fields<'_>,
    frames: impl IntoIterator<Item = Result<Frame<Bytes>, &'static str>>,
) -> Result<Response<Frames>, &'static str> {
    let mut response = Response::new(Frames(frames.into_iter().collect()));
    *response.headers_mut() = headers(fields);
    Ok(response)
}

/// Makes one call, reads its answer to the end or to the first error, and returns its end event.
async fn end_of(answer: Result<Response<Frames>, &'static str>) -> Event {
    let rig = Rig::new();
    let mut service = rig.host.observe_grpc(Canned(Some(answer)));
    let request = Request::builder()
        .uri("http://worker/snakepit.bridge.BridgeService/ExecuteTool")
        .header(CORRELATION_HEADER, "c-7")
        .body(())
        .unwrap();
    if let Ok(response) = service.call(request).await {
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
    let mut events = rig.seen.events();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(&*events[0].name, "snakepit.grpc.call.start");
    for event in &events {
        assert_eq!(event.metadata("rpc_method"), Some("ExecuteTool"));
        assert_eq!(event.correlation_id, "c-7");
    }
    events.remove(1)
}

fn check_end(event: &Event, step: &str, grpc_status: &str, error_message: Option<&str>) {
    assert_eq!(*event.name, format!("snakepit.grpc.call.{step}"));
    assert_eq!(event.metadata("grpc_status"), Some(grpc_status));
    assert_eq!(event.metadata("error_message"), error_message);
}

#[tokio::test]
async fn a_status_in_the_trailers_ends_the_call() {
    let ok = end_of(answer(
        &[],
        [data(), data(), trailers(&[("grpc-status", "0")])],
    ))
    .await;
    check_end(&ok, "stop", "OK", None);
    let refused = [("grpc-status", "7"), ("grpc-message", "not%20yours")];
    let refused = end_of(answer(&[], [data(), trailers(&refused)])).await;
    check_end(
        &refused,
        "exception",
        "PERMISSION_DENIED",
        Some("not yours"),
    );
}

#[tokio::test]
async fn a_status_in_the_headers_ends_the_call() {
    let event = end_of(answer(&[("grpc-status", "12")], [])).await;
    check_end(&event, "exception", "UNIMPLEMENTED", None);
}

#[tokio::test]
async fn a_status_that_grpc_does_not_know_is_unknown() {
    let event = end_of(answer(&[], [trailers(&[("grpc-status", "forged-7f3a")])])).await;
    check_end(&event, "exception", "UNKNOWN", None);
}

#[tokio::test]
async fn an_answer_without_a_status_is_an_exception() {
    let event = end_of(answer(&[], [data()])).await;
    check_end(
        &event,
        "exception",
        "UNKNOWN",
        Some("the response ended without a status"),
    );
}

#[tokio::test]
async fn a_broken_connection_is_an_exception() {
    let event = end_of(Err("connection refused")).await;
    check_end(
        &event,
        "exception",
        "UNAVAILABLE",
        Some("connection refused"),
    );
    let event = end_of(answer(&[], [data(), Err("reset by peer")])).await;
    check_end(&event, "exception", "UNAVAILABLE", Some("reset by peer"));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cancelled() {
    let rig = Rig::new();
    let mut service = rig.host.observe_grpc(Canned(Some(answer(&[], [data()]))));
    drop(service.call(Request::new(())).await);
    assert_eq!(
        rig.names(),
        ["snakepit.grpc.call.start", "snakepit.grpc.call.exception"]
    );
    assert_eq!(
        rig.seen.events()[1].metadata("grpc_status"),
        Some("CANCELLED")
    );
}

#[tokio::test]
async fn a_call_that_is_dropped_before_it_is_polled_is_cancelled() {
    let rig = Rig::new();
    let mut service = rig.host.observe_grpc(Canned(Some(answer(&[], [data()]))));
    drop(service.call(Request::new(())));
    assert_eq!(
        rig.names(),
        ["snakepit.grpc.call.start", "snakepit.grpc.call.exception"]
    );
}
