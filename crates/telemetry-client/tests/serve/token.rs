//! Who may open a stream at a port, where every user of the machine can connect.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use http::Request;
use telemetry_client::serve::{ServeConfig, ServeError, Server};
use telemetry_core::{
    Address, ValueRef,
    emit::{Fields, Recorder},
};
use telemetry_proto::{HEARTBEAT_PATH, PING_PATH, STREAM_TELEMETRY_PATH};

use crate::manager::{Manager, request};
use crate::recorder;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn any_port() -> Address {
    "127.0.0.1:0".parse().expect("an address")
}

/// A worker at a port that wants the token, its address and its events.
fn guarded() -> (Server, SocketAddr, Arc<Recorder>) {
    let mut config = ServeConfig::default();
    config.token = Some(TOKEN.parse().expect("a token"));
    let recorder = recorder();
    let server = Server::start(&any_port(), Arc::clone(&recorder), config).expect("a server");
    let Address::Tcp(address) = *server.address() else {
        panic!("a port")
    };
    (server, address, recorder)
}

fn emit(recorder: &Recorder, count: i64) {
    let site = recorder.callsite("tool.result_size").expect("a name");
    let measurements = [("count", ValueRef::Int(count))];
    let fields = Fields {
        measurements: &measurements,
        ..Fields::default()
    };
    let _accepted = recorder.record(&site, &fields);
}

fn bearing(authorization: &str) -> Request<()> {
    let mut request = request(STREAM_TELEMETRY_PATH);
    let value = authorization.parse().expect("a header");
    request.headers_mut().insert("authorization", value);
    request
}

#[test]
fn a_port_without_a_token_is_refused_with_three_ways_out() {
    let refused = Server::start(&any_port(), recorder(), ServeConfig::default());
    let refused = refused.expect_err("nobody would be kept out");
    assert!(matches!(refused, ServeError::Unprotected { .. }));
    let text = refused.to_string();
    for way in ["unix:", "TELEMETRY_TOKEN_FILE", "TELEMETRY_INSECURE=1"] {
        assert!(text.contains(way), "{text}");
    }
}

#[test]
fn without_an_address_it_is_a_socket_that_nobody_else_can_reach() {
    let server = Server::start(None, recorder(), ServeConfig::default()).expect("a server");
    let path = server
        .address()
        .socket_path()
        .expect("a unix socket")
        .to_owned();
    let mode = |path: &std::path::Path| {
        let found = path.metadata().expect("it is there");
        found.permissions().mode() & 0o7777
    };
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().expect("a directory")), 0o700);
    drop(server);
    assert!(!path.exists(), "it stays behind");
}

#[tokio::test]
async fn who_has_no_token_reads_nothing_and_takes_no_stream() {
    let (server, address, recorder) = guarded();
    let own = Manager::dial_tcp(address).await;
    let mut stream = own.stream_with(bearing(&format!("Bearer {TOKEN}"))).await;
    stream.hello();
    stream.toggle(true);
    emit(&recorder, 1);
    assert_eq!(stream.next_count().await, 1);
    let foreign = Manager::dial_tcp(address).await;
    for shown in [
        request(STREAM_TELEMETRY_PATH),
        bearing("Bearer 0123456789abcdef0123456789abcdee"),
        bearing("Bearer "),
        bearing(TOKEN),
    ] {
        let (status, message) = foreign.refusal(shown).await;
        assert_eq!(status, "16");
        assert!(!message.is_empty() && !message.contains(TOKEN), "{message}");
    }
    assert_eq!((server.clients(), server.unauthenticated()), (1, 4));
    emit(&recorder, 2);
    assert_eq!(
        stream.next_count().await,
        2,
        "the stream of its own goes on"
    );
}

#[tokio::test]
async fn the_connection_test_needs_no_token() {
    let (_server, address, _recorder) = guarded();
    let foreign = Manager::dial_tcp(address).await;
    for path in [PING_PATH, HEARTBEAT_PATH] {
        let (body, trailers) = foreign.unary(path, b"").await;
        assert_eq!(trailers["grpc-status"], "0");
        assert!(!body.is_empty());
    }
}

#[tokio::test]
async fn what_is_said_to_be_insecure_is_served_to_everybody() {
    let mut config = ServeConfig::default();
    config.insecure = true;
    let server = Server::start(&any_port(), recorder(), config).expect("a server");
    let Address::Tcp(address) = *server.address() else {
        panic!("a port")
    };
    let stock = Manager::dial_tcp(address).await;
    let _stream = stock.stream().await;
    assert_eq!(server.clients(), 1);
}
