//! The calls beside the stream: the connection test, the sign of life and what is not served.

use prost::Message;
use telemetry_proto::{
    HEARTBEAT_PATH, HeartbeatRequest, HeartbeatResponse, PING_PATH, PingRequest, PingResponse,
    STREAM_TELEMETRY_PATH,
};

use crate::Worker;
use crate::manager::{Manager, request};

#[tokio::test]
async fn ping_answers_with_its_message_and_the_time() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let ping = PingRequest {
        message: "are you there?".into(),
    };
    let (body, trailers) = manager.unary(PING_PATH, &ping.encode_to_vec()).await;
    assert_eq!(trailers["grpc-status"], "0");
    let answer = PingResponse::decode(&body[5..]).expect("an answer");
    assert_eq!(answer.message, "are you there?");
    assert!(answer.server_time.expect("a time").seconds > 1_577_836_800);
}

#[tokio::test]
async fn a_heartbeat_is_answered_with_the_time_and_any_session_is_valid() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    for session in ["", "a session that nobody opened"] {
        let heartbeat = HeartbeatRequest {
            session_id: session.into(),
            client_time: None,
        };
        let (body, trailers) = manager
            .unary(HEARTBEAT_PATH, &heartbeat.encode_to_vec())
            .await;
        assert_eq!(trailers["grpc-status"], "0");
        let answer = HeartbeatResponse::decode(&body[5..]).expect("an answer");
        assert!(answer.session_valid);
        assert!(answer.server_time.expect("a time").seconds > 1_577_836_800);
    }
}

#[tokio::test]
async fn a_heartbeat_is_answered_on_the_connection_of_an_open_stream() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    let (body, _) = manager.unary(HEARTBEAT_PATH, b"").await;
    let answer = HeartbeatResponse::decode(&body[5..]).expect("an answer");
    assert!(answer.session_valid);
    worker.emit_many(1..2);
    assert_eq!(stream.next_count().await, 1);
}

#[tokio::test]
async fn a_malformed_message_is_an_invalid_argument() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    for path in [PING_PATH, HEARTBEAT_PATH] {
        let (body, end) = manager.unary(path, b"\xff\xff").await;
        assert!(body.is_empty(), "{path}");
        assert_eq!(end["grpc-status"], "3", "{path}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_or_compressed_is_refused_for_what_it_is() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    for path in [PING_PATH, HEARTBEAT_PATH] {
        let (_, end) = manager.unary(path, &[b'a'; 16 * 1024 + 1]).await;
        assert_eq!(end["grpc-status"], "8", "{path}: RESOURCE_EXHAUSTED");
        let compressed = b"\x01\x00\x00\x00\x00";
        let (_, end) = manager.unary_raw(path, compressed).await;
        assert_eq!(end["grpc-status"], "12", "{path}: UNIMPLEMENTED");
        let (_, end) = manager.unary_raw(path, b"").await;
        assert_eq!(end["grpc-status"], "3", "{path}: INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn other_methods_are_unimplemented_and_say_so_in_the_headers() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    for path in [
        "/snakepit.bridge.BridgeService/ExecuteTool",
        "/snakepit.bridge.BridgeService/Heartbeats",
        "/snakepit.bridge.BridgeService/InitializeSession",
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
