//! Blocks as C-core writes them, as the HTTP/2 library writes them, and rubbish; in whole and cut anywhere.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::super::watched::Watched;
use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Header blocks as C-core writes them: names and values written out, the method and scheme by number.
const PATH: &[u8] = b"@\x05:path\x06/a.B/C";
const KINDS: &[u8] = b"\x83\x86";
const TE: &[u8] = b"@\x02te\x08trailers";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = len.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

/// What a peer sends first: the preface and empty settings.
fn opening() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, b"")].concat()
}

/// All of `bytes` as it is after it came in pieces of `size`.
fn passed(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut frames = Frames::default();
    for piece in bytes.chunks_mut(size) {
        frames.pass(piece);
    }
    bytes
}

/// Expects `sent` to become `expected`, however it is cut.
#[track_caller]
fn check(sent: &[u8], expected: &[u8]) {
    for size in 1..=sent.len() {
        let passed = passed(sent, size);
        assert_eq!(
            passed.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "in pieces of {size}"
        );
    }
}

/// One request whose block is `block`, in one frame.
fn request(block: &[u8]) -> Vec<u8> {
    [opening(), frame(HEADERS, END_HEADERS, 1, block)].concat()
}

/// Expects an entry of a block to become another one, with ordinary ones on both sides.
#[track_caller]
fn check_entry(sent: &[u8], expected: &[u8]) {
    let around = |entry| request(&[PATH, entry, KINDS, TE].concat());
    check(&around(sent), &around(expected));
}

#[test]
fn the_path_of_a_socket_becomes_a_host_name() {
    check_entry(
        b"@\x0a:authority\x12tmp%2Fcap%20x.sock",
        b"@\x0a:authority\x12tmp-2Fcap-20x.sock",
    );
    check_entry(b"\x41\x08/a b@:[]", b"\x41\x08-a-b----");
}

#[test]
fn a_host_name_stays_as_it_is() {
    for entry in [&b"\x41\x09localhost"[..], b"\x41\x0dAz09-._~.test"] {
        check_entry(entry, entry);
    }
}

#[test]
fn every_kind_of_entry_is_told_apart() {
    for (sent, expected) in [
        // Without a place in the table, and never to be in one.
        (&b"\x01\x02a%"[..], &b"\x01\x02a-"[..]),
        (b"\x11\x02a%", b"\x11\x02a-"),
        (b"\x00\x0a:authority\x02a%", b"\x00\x0a:authority\x02a-"),
        (b"\x10\x0a:authority\x02a%", b"\x10\x0a:authority\x02a-"),
        // After a size of the table, a small one and a large one.
        (b"\x21\x41\x02a%", b"\x21\x41\x02a-"),
        (b"\x3f\xe1\x1f\x41\x02a%", b"\x3f\xe1\x1f\x41\x02a-"),
        // After headers and names with large numbers.
        (b"\xff\x81\x01\x41\x02a%", b"\xff\x81\x01\x41\x02a-"),
        (
            b"\x7f\x81\x01\x02b%\x41\x02a%",
            b"\x7f\x81\x01\x02b%\x41\x02a-",
        ),
        (b"\x0f\x12\x02b%\x41\x02a%", b"\x0f\x12\x02b%\x41\x02a-"),
        // After texts of no bytes.
        (b"\x40\x00\x00\x41\x02a%", b"\x40\x00\x00\x41\x02a-"),
        (b"\x41\x00\x41\x02a%", b"\x41\x00\x41\x02a-"),
    ] {
        check_entry(sent, expected);
    }
}

#[test]
fn what_is_no_authority_stays_as_it_is() {
    for entry in [
        // Of another name, also one that is as long or begins like it.
        &b"@\x0a:authoritx\x02a%"[..],
        b"@\x0axauthority\x02a%",
        b"@\x09:authorit\x02a%",
        b"@\x0b:authority2\x02a%",
        b"\x42\x02a%",
        b"\x7f\x02\x02a%",
        // In Huffman code: the value, the name.
        b"\x41\x82a%",
        b"@\x8a:authority\x02a%",
        // A size of the table that looks like the number of the name.
        b"\x21\x42\x02a%",
    ] {
        check_entry(entry, entry);
    }
}

#[test]
fn a_long_value_is_read_to_its_end_and_no_further() {
    for len in [126_usize, 127, 128, 255, 20_000] {
        let head = |filler: &[u8]| {
            let mut entry = b"\x41".to_vec();
            match u8::try_from(len).ok().filter(|len| *len < 0x7f) {
                Some(len) => entry.push(len),
                None => {
                    entry.push(0x7f);
                    let mut left = len - 0x7f;
                    while left >= 0x80 {
                        entry.push(u8::try_from(left & 0x7f).expect("7 bits") | 0x80);
                        left >>= 7;
                    }
                    entry.push(u8::try_from(left).expect("7 bits"));
                }
            }
            entry.extend(filler.repeat(len));
            request(&[&entry[..], b"\x42\x02%%"].concat())
        };
        for size in [1, 2, 7, 1000, 40_000] {
            assert!(passed(&head(b"%"), size) == head(b"-"), "{len} bytes");
        }
    }
}

#[test]
fn a_block_goes_on_in_further_frames() {
    let sent = [PATH, b"@\x0a:authority\x06a%2Fb%", TE, b"\x41\x01%"].concat();
    let expected = [PATH, b"@\x0a:authority\x06a-2Fb-", TE, b"\x41\x01-"].concat();
    let split = |block: &[u8], first: usize, second: usize| {
        let second = second.max(first);
        let mut bytes = opening();
        // Padding that looks like an authority, and a priority that does.
        let padded = [b"\x03\x41\x01%\x41\x01", &block[..first], b"\x41\x01%"].concat();
        bytes.extend(frame(HEADERS, PADDED | PRIORITY, 1, &padded));
        bytes.extend(frame(CONTINUATION, 0, 1, &block[first..second]));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &block[second..]));
        // The block is over: what comes is another one, and data.
        bytes.extend(frame(0, 0, 1, b"\x41\x01%"));
        bytes.extend(frame(HEADERS, END_HEADERS, 3, block));
        bytes
    };
    for first in 0..sent.len() {
        for second in [first, first + 1, sent.len()] {
            let second = second.min(sent.len());
            let whole = split(&expected, first, second);
            for size in [1, 3, 10_000] {
                assert!(
                    passed(&split(&sent, first, second), size) == whole,
                    "cut at {first}, {second}"
                );
            }
        }
    }
}

#[test]
fn other_frames_stay_as_they_are() {
    let look_alike = b"\x41\x02%%";
    let mut bytes = opening();
    for kind in [0, 2, 3, 4, 5, 6, 7, 8, 10, 0xff] {
        for flags in [0, 0xff] {
            bytes.extend(frame(kind, flags, 1, look_alike));
        }
        bytes.extend(frame(kind, 0, 1, b""));
    }
    check(&bytes, &bytes);
}

#[test]
fn what_is_cut_short_or_lies_about_its_length_ends_nothing() {
    for payload in [&b""[..], b"\x05", b"\xff\x41\x01%", b"\x00\x00\x00\x00"] {
        for flags in [PADDED, PRIORITY, PADDED | PRIORITY] {
            let bytes = [opening(), frame(HEADERS, flags | END_HEADERS, 1, payload)].concat();
            let after = request(b"\x41\x01%")[opening().len()..].to_vec();
            let passed = passed(&[&bytes[..], &after].concat(), 1);
            assert!(passed.ends_with(b"\x41\x01-"), "{payload:?} {flags}");
        }
    }
    // A length beyond every number, in an entry that would be looked at.
    let endless = request(b"\x41\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f%%%%");
    check(&endless, &endless);
}

/// The first requests that the HTTP/2 library reads from `bytes`; fewer if it ends the connection.
fn read_by_h2(bytes: &[u8], count: usize) -> Vec<(String, HeaderMap)> {
    runtime().block_on(async {
        let (ours, mut peers) = duplex(1 << 20);
        peers.write_all(bytes).await.expect("room");
        let mut requests = Vec::new();
        let reading = async {
            let mut connection =
                h2::server::handshake(Watched::new(ours, Frames::default())).await?;
            while requests.len() < count {
                let Some(request) = connection.accept().await else {
                    break;
                };
                let (request, mut respond) = request?;
                requests.push((request.uri().to_string(), request.headers().clone()));
                respond.send_response(Response::new(()), true)?;
            }
            Ok::<_, h2::Error>(())
        };
        let ended = timeout(Duration::from_secs(30), reading).await;
        ended.expect("in time").expect("no error");
        requests
    })
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

/// What the client of the HTTP/2 library sends for some requests, one after the other.
fn sent_by_h2(requests: Vec<Request<()>>) -> Vec<u8> {
    /// A connection that keeps what is written.
    struct Kept(Arc<Mutex<Vec<u8>>>, tokio::io::DuplexStream);

    impl AsyncRead for Kept {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.1).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Kept {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.1).poll_write(cx, buf))?;
            self.0.lock().expect("no panic").extend(&buf[..written]);
            Poll::Ready(Ok(written))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.1).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.1).poll_shutdown(cx)
        }
    }

    let kept = Arc::new(Mutex::new(Vec::new()));
    runtime().block_on(async {
        let (ours, peers) = duplex(1 << 20);
        let server = tokio::spawn(async {
            let mut connection = h2::server::handshake(peers).await.expect("a handshake");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond
                    .send_response(Response::new(()), true)
                    .expect("open");
            }
        });
        let io = Kept(Arc::clone(&kept), ours);
        let (mut client, connection) = h2::client::handshake(io).await.expect("a handshake");
        let connection = tokio::spawn(connection);
        for request in requests {
            client = client.ready().await.expect("open");
            let (response, _) = client.send_request(request, true).expect("open");
            response.await.expect("an answer");
        }
        drop(client);
        connection.await.expect("no panic").expect("an orderly end");
        server.await.expect("no panic");
    });
    std::mem::take(&mut *kept.lock().expect("no panic"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_peer_that_codes_and_indexes_says_the_same_to_the_library(
        values in vec(vec("[ -~]{0,300}", 0..6), 1..30),
    ) {
        let requests = values.iter().enumerate().map(|(turn, values)| {
            let mut request = Request::post(format!("http://host.test/{turn}"));
            for (number, value) in values.iter().enumerate() {
                request = request.header(format!("x-{}", turn % 5 + number), value.trim());
            }
            request.body(()).expect("a request")
        });
        let requests: Vec<_> = requests.collect();
        let expected: Vec<_> = requests
            .iter()
            .map(|request| (request.uri().to_string(), request.headers().clone()))
            .collect();
        prop_assert_eq!(read_by_h2(&sent_by_h2(requests), expected.len()), expected);
    }

    #[test]
    fn whatever_comes_only_fillers_are_put_into_it(
        bytes in vec(any::<u8>(), 0..2000),
        begun in any::<bool>(),
        size in 1_usize..50,
    ) {
        let mut sent = if begun { opening() } else { Vec::new() };
        sent.extend(bytes);
        let changed = passed(&sent, size);
        prop_assert_eq!(&changed, &passed(&sent, sent.len().max(1)), "however it is cut");
        for (before, after) in sent.iter().zip(&changed) {
            prop_assert!(before == after || *after == b'-');
        }
    }

    #[test]
    fn whatever_a_block_is_only_fillers_are_put_into_it(
        block in vec(prop_oneof![any::<u8>(), Just(0x41), Just(b'@'), Just(1), Just(0x0a)], 0..300),
        size in 1_usize..50,
    ) {
        let sent = request(&block);
        let changed = passed(&sent, size);
        prop_assert_eq!(&changed, &passed(&sent, sent.len()), "however it is cut");
        for (before, after) in sent.iter().zip(&changed) {
            prop_assert!(before == after || *after == b'-');
        }
    }
}

#[test]
fn the_library_reads_a_request_of_c_core() {
    // Twice, the second time by the numbers that the first one was given.
    let mut bytes = request(&[PATH, b"@\x0a:authority\x12tmp%2Fcap%20x.sock", KINDS, TE].concat());
    bytes.extend(frame(0, 1, 1, b""));
    bytes.extend(frame(HEADERS, END_HEADERS | 1, 3, b"\xc0\xbf\x83\x86\xbe"));
    let mut headers = HeaderMap::new();
    headers.insert("te", HeaderValue::from_static("trailers"));
    let read = ("http://tmp-2Fcap-20x.sock/a.B/C".to_owned(), headers);
    assert_eq!(read_by_h2(&bytes, 2), [read.clone(), read]);
}
