//! Requests as C-core, which is grpcio, writes them to a unix socket: the authority is the socket's path.

use std::path::Path;

use prost::Message;
use telemetry_proto::{HEARTBEAT_PATH, HeartbeatResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::manager::framed;
use crate::{PATIENCE, Worker};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = len.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

/// A header with its name and value written out.
fn header(name: &str, value: &str) -> Vec<u8> {
    let len = |text: &str| u8::try_from(text.len()).expect("less than 127 bytes");
    let mut header = vec![0x40, len(name)];
    header.extend(name.bytes());
    header.push(len(value));
    header.extend(value.bytes());
    header
}

/// The frames that answer one heartbeat with that authority, up to the end of its stream, by their type.
async fn heartbeat(socket: &Path, authority: &str) -> Vec<(u8, Vec<u8>)> {
    let block = [
        header(":path", HEARTBEAT_PATH),
        header(":authority", authority),
        // POST and http, by their numbers.
        vec![0x83, 0x86],
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    ];
    let sent = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, b""),
        frame(HEADERS, END_HEADERS, 1, &block.concat()),
        frame(DATA, END_STREAM, 1, &framed(b"")),
    ];
    let mut io = UnixStream::connect(socket).await.expect("a socket");
    io.write_all(&sent.concat()).await.expect("room");
    let mut frames = Vec::new();
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.expect("an answer");
        let [high, middle, low, kind, flags, .., stream] = head;
        let len = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; len as usize];
        io.read_exact(&mut payload).await.expect("a whole frame");
        if stream == 1 && matches!(kind, DATA | HEADERS | RST_STREAM) {
            frames.push((kind, payload));
            if kind == RST_STREAM || flags & END_STREAM != 0 {
                return frames;
            }
        }
    }
}

#[tokio::test]
async fn a_path_for_an_authority_is_taken() {
    let worker = Worker::start();
    let socket = worker.socket();
    for authority in [
        "tmp%2Fworker.sock",
        "%2Frun%2Fa%20b%25c",
        "/run/worker.sock",
        "at@",
        "co:lon:s",
        "localhost",
    ] {
        let answer = timeout(PATIENCE, heartbeat(&socket, authority)).await;
        let frames = answer.expect("in time");
        let kinds: Vec<u8> = frames.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [HEADERS, DATA, HEADERS], "{authority}");
        let message = HeartbeatResponse::decode(&frames[1].1[5..]).expect("an answer");
        assert!(message.session_valid, "{authority}");
    }
}
