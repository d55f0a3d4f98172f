//! What goes out on a connection before anything comes back, read frame by frame.

use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use std::io;

use super::*;

#[test]
fn requests_name_the_method_and_no_deadline() {
    let (_, body) = ControlBody::channel();
    let request = request(STREAM_TELEMETRY_PATH, body);
    assert_eq!(
        request.uri().path(),
        "/snakepit.bridge.BridgeService/StreamTelemetry"
    );
    assert_eq!(request.headers()["te"], "trailers");
    assert!(!request.headers().contains_key("grpc-timeout"));
}

#[tokio::test]
async fn a_missing_socket_has_an_error_of_its_own() {
    let endpoint = Address::Unix("/nonexistent/worker.sock".into());
    let limiter = crate::session::DialLimiter::new(1);
    let nobodys = nobodys();
    let turn = limiter.turn(true).await;
    let dialled = dial(
        &endpoint,
        &nobodys,
        None,
        Bytes::new(),
        Manners::Polite,
        turn,
    )
    .await
    .map(drop);
    assert!(
        matches!(dialled, Err(DialError::NoSocket { .. })),
        "{dialled:?}"
    );
}

/// Credentials without anything.
fn nobodys() -> Credentials {
    Credentials {
        uids: Vec::new(),
        token: None,
        owner: None,
        insecure: false,
        look_up: LookUp::default(),
        #[cfg(feature = "tls")]
        tls: None,
    }
}

/// Types of frames of HTTP/2.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

fn peer() -> Peer {
    Peer::Process { pid: None }
}

/// The types of all frames that arrive until the other end has hung up, and when each did. Says that it is there, and
/// no more than that.
async fn frames(mut stream: DuplexStream) -> Vec<(u8, Instant)> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.expect("a preface");
    let settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    stream.write_all(&settings).await.expect("there is room");
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("it fits")];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        frames.push((head[3], Instant::now()));
        if head[3] == PING && head[4] == 0 {
            let mut pong = vec![0, 0, 8, PING, 1, 0, 0, 0, 0];
            pong.extend(&payload);
            stream.write_all(&pong).await.expect("there is room");
        }
    }
    frames
}

/// How many frames of this type an idle connection has in an hour.
async fn in_an_hour(manners: Manners, kind: u8) -> usize {
    let (ours, theirs) = duplex(1 << 16);
    let frames = tokio::spawn(frames(theirs));
    let opened = open(&peer(), ours, None, Bytes::new(), manners, None).await;
    sleep(Duration::from_secs(3_600)).await;
    drop(opened.expect("HTTP/2"));
    let frames = frames.await.expect("it reads to the end");
    frames.iter().filter(|frame| frame.0 == kind).count()
}

#[tokio::test(start_paused = true)]
async fn only_a_worker_of_ours_is_pinged_by_http() {
    assert_eq!(in_an_hour(Manners::Polite, PING).await, 0);
    assert!(in_an_hour(Manners::Brisk, PING).await > 300);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_gives_no_sign_of_life_is_asked_for_no_stream_and_hung_up_on() {
    let (ours, theirs) = duplex(1 << 16);
    let frames = tokio::spawn(frames(theirs));
    let began = Instant::now();
    let opened = open(&peer(), ours, None, Bytes::new(), Manners::Careful, None).await;
    let error = opened.map(drop).expect_err("nobody answers");
    assert!(matches!(error, DialError::NoPong { .. }), "{error}");
    assert!(error.is_silence() && !error.is_nobody());
    assert!(error.to_string().contains("within 5s"), "{error}");
    let frames = frames.await.expect("it reads to the end");
    assert_eq!(
        began.elapsed(),
        HANDSHAKE_TIMEOUT,
        "it is hung up on at once"
    );
    let calls = frames.iter().filter(|frame| frame.0 == HEADERS).count();
    assert_eq!(calls, 1, "the call for the sign of life: {frames:?}");
}

#[tokio::test]
async fn only_a_free_port_of_this_machine_is_asked_again_soon() {
    // Bound, and nobody listens.
    let port = tokio::net::TcpSocket::new_v4().expect("a socket");
    port.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let endpoint = Address::Tcp(port.local_addr().expect("it is bound"));
    let error = connect(&endpoint, &nobodys())
        .await
        .map(drop)
        .expect_err("nobody listens");
    assert!(error.is_free_port() && !error.is_nobody(), "{error}");
    let refused = |endpoint: &str| DialError::Connect {
        endpoint: endpoint.parse().expect("an address"),
        error: io::ErrorKind::ConnectionRefused.into(),
    };
    assert!(!refused("192.0.2.1:1").is_free_port());
    assert!(!refused("elsewhere.example:1").is_free_port());
    let missing = DialError::NoSocket {
        path: "/nonexistent".into(),
    };
    assert!(!missing.is_free_port());
}

#[test]
fn a_token_is_shown_as_credentials_of_the_call_and_to_nobody_else() {
    let token: Token = "0123456789abcdef".parse().expect("a token");
    let mut headers = http::HeaderMap::new();
    show(&token, &mut headers);
    assert_eq!(headers["authorization"], "Bearer 0123456789abcdef");
    assert!(!format!("{headers:?}").contains("0123456789abcdef"));
}

/// Tells of the first write that fails.
struct Told {
    stream: UnixStream,
    failed: Arc<Notify>,
}

impl AsyncRead for Told {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Told {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(came, Poll::Ready(Err(_))) {
            self.failed.notify_one();
        }
        came
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_a_worker_wrote_before_it_hung_up_is_read_although_nothing_can_be_said_to_it() {
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    let failed = Arc::new(Notify::new());
    let told = Arc::clone(&failed);
    let worker = tokio::spawn(async move {
        let mut start = [0; 24];
        theirs.read_exact(&mut start).await.expect("a preface");
        let settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
        theirs.write_all(&settings).await.expect("there is room");
        let mut head = [0; 9];
        while head[3] != HEADERS {
            theirs.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("it fits")];
            theirs.read_exact(&mut payload).await.expect("a frame");
        }
        // The status 200, of which HPACK has an entry.
        let response = [0, 0, 1, HEADERS, 4, 0, 0, 0, 1, 0x88];
        theirs.write_all(&response).await.expect("there is room");
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Read).expect("a socket");
        let ping = [0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        theirs.write_all(&ping).await.expect("there is room");
        told.notified().await;
        // Its last word, and its end.
        let data = [0, 0, 4, 0, 0, 0, 0, 0, 1, b'l', b'a', b's', b't'];
        theirs.write_all(&data).await.expect("there is room");
    });
    let stream = Told {
        stream: ours,
        failed,
    };
    let peer = peer();
    let opened = open(&peer, stream, None, Bytes::new(), Manners::Brisk, None);
    let (_dialled, answer) = opened.await.expect("HTTP/2");
    let mut body = answer.await.expect("a response").into_body();
    let read = body.frame().await.expect("not the end yet");
    let read = read.expect("what was written before").into_data();
    assert_eq!(read.expect("data"), "last");
    worker.await.expect("it was told of a write that failed");
}
