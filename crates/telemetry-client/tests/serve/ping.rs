//! The calls beside the stream: the connection test and what is not served.

use prost::Message;
use telemetry_proto::{PingRequest, PingResponse, STREAM_TELEMETRY_PATH};

use crate::Worker;
use crate::manager::{Manager, request};

#[tokio::test]
async fn ping_answers_with_its_message_and_the_time() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let ping = PingRequest {
        message: "are you there?".into(),
    };
    let (body, trailers) = manager.ping(&ping.encode_to_vec()).await;
    assert_eq!(trailers["grpc-status"], "0");
    let answer = PingResponse::decode(&body[5..]).expect("an answer");
    assert_eq!(answer.message, "are you there?");
    assert!(answer.server_time.expect("a time").seconds > 1_577_836_800);
}

#[tokio::test]
async fn a_malformed_ping_is_an_invalid_argument() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let (body, end) = manager.ping(b"\xff\xff").await;
    assert!(body.is_empty());
    assert_eq!(end["grpc-status"], "3");
}

#[tokio::test]
async fn other_methods_are_unimplemented_and_say_so_in_the_headers() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    for path in [
        "/snakepit.bridge.BridgeService/ExecuteTool",
        "/",
        "/grpc.health.v1.Health/Check",
    ] {
        let (response, _send) = manager.call(request(path)).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["grpc-status"], "12", "{path}");
        assert!(response.into_body().is_end_stream());
    }
}

#[tokio::test]
async fn a_compressed_request_is_unimplemented() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let mut request = request(STREAM_TELEMETRY_PATH);
    request
        .headers_mut()
        .insert("grpc-encoding", "gzip".parse().expect("a header"));
    let (response, _send) = manager.call(request).await;
    assert_eq!(response.headers()["grpc-status"], "12");
    assert_eq!(response.headers()["grpc-accept-encoding"], "identity");
}

#[tokio::test]
async fn what_is_no_grpc_is_an_unsupported_media_type() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let get = http::Request::get("http://worker/")
        .body(())
        .expect("a request");
    let (response, _send) = manager.call(get).await;
    assert_eq!(response.status(), 415);
}
