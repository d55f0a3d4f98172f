//! What peers that take places, send nonsense or read nothing cannot take from a worker's own manager.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use telemetry_client::serve::{DEFAULT_MAX_CONNECTIONS, ServeConfig};
use telemetry_proto::PING_PATH;

use crate::manager::Manager;
use crate::{PATIENCE, Worker};

/// What every client of HTTP/2 begins with: the preface and its settings.
const HANDSHAKE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Longest time that a manager of the worker's own may wait for anything.
const SOON: Duration = Duration::from_secs(1);

/// Frames that carry nothing, by name.
const FLOODS: [(&str, &[u8]); 5] = [
    ("PING", b"\0\0\x08\x06\0\0\0\0\0ping-ing"),
    ("SETTINGS", b"\0\0\0\x04\0\0\0\0\0"),
    ("WINDOW_UPDATE", b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01"),
    ("PRIORITY", b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x01"),
    ("PING answers", b"\0\0\x08\x06\x01\0\0\0\0ping-ing"),
];

fn connected(socket: &Path) -> UnixStream {
    let mut peer = UnixStream::connect(socket).expect("a listening socket");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    peer.write_all(HANDSHAKE).expect("an open connection");
    peer
}

/// Reads until the worker ends the connection.
fn wait_for_end(peer: &mut UnixStream) {
    let mut bytes = [0; 4096];
    loop {
        match peer.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("it is still open: {error}"),
        }
    }
}

/// A manager of the worker's own comes, and has an event in time.
async fn is_served(worker: &Worker) -> (Manager, crate::manager::Stream) {
    let begun = Instant::now();
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    (manager, stream)
}

#[tokio::test]
async fn connections_without_a_stream_keep_no_manager_out() {
    let worker = Worker::start();
    let mut idle = Vec::new();
    for _ in 0..DEFAULT_MAX_CONNECTIONS {
        // These answer pings, as every client does.
        idle.push(Manager::dial(&worker.socket()).await);
    }
    let (_manager, mut stream) = is_served(&worker).await;
    for _ in 0..100 {
        idle.push(Manager::dial(&worker.socket()).await);
    }
    worker.emit_many(1..2);
    assert_eq!(stream.next_count().await, 1, "who has the stream stays");
}

#[tokio::test]
async fn streams_that_get_no_events_keep_no_manager_out() {
    let worker = Worker::start();
    let mut crowd = Vec::new();
    for _ in 0..2 * DEFAULT_MAX_CONNECTIONS {
        let manager = Manager::dial(&worker.socket()).await;
        crowd.push((manager.stream().await, manager));
    }
    is_served(&worker).await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_and_one_that_is_used_is_not() {
    let mut serve = ServeConfig::default();
    serve.limits.stream_wait = Duration::from_millis(300);
    let worker = Worker::with(serve);
    let (_manager, mut stream) = is_served(&worker).await;
    let tester = Manager::dial(&worker.socket()).await;
    let idle = Manager::dial(&worker.socket()).await;
    let ended = idle.connection;
    let mut calls = 0;
    while !ended.is_finished() {
        tester.unary(PING_PATH, b"").await;
        calls += 1;
    }
    assert!(calls > 0, "the connection test goes on meanwhile");
    worker.emit_many(1..2);
    assert_eq!(stream.next_count().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_delays_nobody_and_ends() {
    for (name, frame) in FLOODS {
        let worker = Worker::start();
        let socket = worker.socket();
        let flood = std::thread::spawn(move || {
            let mut peer = connected(&socket);
            let mut answers = peer.try_clone().expect("a descriptor");
            // Answers are read, so that nothing else holds it up.
            let reads = std::thread::spawn(move || wait_for_end(&mut answers));
            let many = frame.repeat(100);
            while peer.write_all(&many).is_ok() {}
            reads.join().expect("it ends");
        });
        let (_manager, mut stream) = is_served(&worker).await;
        tokio::task::spawn_blocking(move || flood.join())
            .await
            .expect("a thread")
            .unwrap_or_else(|_| panic!("{name} goes on"));
        worker.emit_many(1..2);
        assert_eq!(stream.next_count().await, 1, "{name}");
    }
}

#[tokio::test]
async fn many_that_never_read_delay_nobody_and_lose_their_places() {
    let mut serve = ServeConfig::default();
    serve.limits.write_timeout = Duration::from_millis(200);
    serve.limits.stream_wait = PATIENCE * 100;
    let worker = Worker::with(serve);
    let crowd: Vec<_> = (0..128).map(|_| connected(&worker.socket())).collect();
    is_served(&worker).await;
    // One that asks for answers and reads none.
    let mut peer = connected(&worker.socket());
    peer.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let pings = FLOODS[0].1.repeat(100);
    let stuck = std::thread::spawn(move || {
        let begun = Instant::now();
        while peer.write_all(&pings).is_ok() {}
        begun.elapsed()
    });
    let took = tokio::task::spawn_blocking(move || stuck.join()).await;
    let took = took.expect("a thread").expect("it ends");
    assert!(took < PATIENCE, "{took:?}");
    drop(crowd);
}
