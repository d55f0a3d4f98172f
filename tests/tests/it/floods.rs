//! Floods, over real sockets and between real processes: whoever floods is cut off at a limit, what the flooded process
//! spends until then is bounded, and others are served meanwhile.
//!
//! What was measured is printed (`--no-capture`). The bounds are for an unoptimised build on a busy machine; a process
//! without the limits exceeds them, since it takes every frame there is.

#![expect(
    clippy::print_stdout,
    reason = "the figures are for whoever asks for them"
)]

mod peer;
mod process;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use telemetry_core::wire::{
    INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, introduction_body_bytes,
};
use telemetry_server::WorkerContext;
use telemetry_server::stream::StreamState;
use telemetry_tests::{Caller, TestManager, eventually};
use tokio::task::spawn_blocking;

use peer::{
    BLOCK, CALLS, CLIENT, HINTS, KINDS, SERVER, Socket, answer, call, calls, drips, first_call,
    flood,
};
use process::Flooded;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Processor time that a process may spend on one flood, until it has closed the connection.
const SPENT_ON_A_FLOOD: Duration = Duration::from_secs(1);
/// The same for those that are slow or never read, all of them together.
const SPENT_ON_THE_SLOW: Duration = Duration::from_secs(1);
/// The same at the port for HTTP, where each of them gets metrics until nobody takes more.
const SPENT_ON_METRICS: Duration = Duration::from_secs(5);
/// Frames without which there was no flood.
const LEAST: u32 = BLOCK;
/// Longest time that somebody else may wait meanwhile.
const SOON: Duration = Duration::from_secs(1);
/// When a connection that makes no call in time has to be gone, beside what a busy machine takes.
const STREAM_WAIT: Duration = Duration::from_secs(10);
/// What a busy machine takes.
const BUSY: Duration = Duration::from_secs(8);
/// Longest time until a manager has its stream while somebody opens connections as fast as it can.
const A_FEW_SECONDS: Duration = Duration::from_secs(5);
/// Within this time a manager has its stream that did not have to come again.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Clients that never read.
const CROWD: usize = 128;

/// Floods from a thread, has `others` served meanwhile, and looks what it cost.
async fn check<T>(
    flooded: &Flooded,
    name: &str,
    floods: impl FnOnce() -> u32 + Send + 'static,
    others: impl Future<Output = T>,
) -> T {
    let before = flooded.spent();
    let (began, flood) = (Instant::now(), spawn_blocking(floods));
    let served = others.await;
    let waited = began.elapsed();
    let taken = flood.await.unwrap_or_else(|_| panic!("{name} goes on"));
    let spent = flooded.spent() - before;
    println!(
        "{name}: {taken} frames written, {spent:?} spent, another one served after {waited:?}"
    );
    assert!(taken >= LEAST, "{name}: there was no flood");
    assert!(spent < SPENT_ON_A_FLOOD, "{name}: {spent:?}");
    assert!(waited < SOON, "{name}: another one waited for {waited:?}");
    served
}

/// A manager has its stream at the worker.
async fn has_its_stream(worker: &Flooded, within: Duration) -> TestManager {
    let manager = TestManager::blind();
    let mut context = WorkerContext::new("flooded");
    context.token = Some(TOKEN.parse().expect("a token"));
    // Whose port it is is not asked: while ten thousand connections come each second, the system's table of them takes
    // longer to read than a place lasts.
    context.insecure = true;
    let address = worker.address.parse().expect("an address");
    let id = manager.register_worker(address, context);
    let id = id.expect("a worker");
    let streams =
        |info: &telemetry_server::stream::StreamInfo| info.state == StreamState::Streaming;
    let info = manager.wait_for(&id, streams, within).await;
    info.unwrap_or_else(|last| panic!("it has no stream: {last:#?}"));
    manager
}

/// Somebody who opens connections, and what is said on them.
struct Slow<'a, S> {
    connect: &'a dyn Fn() -> S,
    /// What all say at first.
    begins: &'static [u8],
    /// What is then said a byte each second, on a connection each.
    slowly: Vec<Vec<u8>>,
    /// What the crowd says that never reads.
    asks: Vec<u8>,
    /// What all of that may cost.
    may_cost: Duration,
}

/// Those that are slow or never read, all at once, and others meanwhile.
async fn check_slow<S: Socket>(
    flooded: &Flooded,
    name: &str,
    slow: Slow<'_, S>,
    others: impl Future<Output = ()>,
) {
    let (spent, sockets, begun) = (flooded.spent(), flooded.sockets(), Instant::now());
    let begins = slow.begins;
    let drip = |slowly: Vec<u8>| {
        let socket = (slow.connect)();
        spawn_blocking(move || drips(socket, begins, &slowly))
    };
    let dripping: Vec<_> = slow.slowly.into_iter().map(drip).collect();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| (slow.connect)()).collect();
    for socket in &mut crowd {
        socket.patience(SOON);
        // Those that lost their place to a later one may be gone, and nobody may take all of it.
        let _gone = socket
            .write_all(begins)
            .and_then(|()| socket.write_all(&slow.asks));
    }
    assert!(flooded.sockets() > sockets, "{name}: there was no crowd");
    let asked = Instant::now();
    others.await;
    let waited = asked.elapsed();
    for dripping in dripping {
        let took = dripping.await.expect("it ends");
        assert!(took < STREAM_WAIT + BUSY, "{name}: {took:?}");
    }
    let closed = || (flooded.sockets() <= sockets).then_some(());
    eventually("the end of the crowd", closed).await;
    let (took, spent) = (begun.elapsed(), flooded.spent() - spent);
    println!(
        "{name}: {spent:?} spent, another one served after {waited:?}, all closed after {took:?}"
    );
    assert!(waited < SOON, "{name}: another one waited for {waited:?}");
    assert!(took < STREAM_WAIT + BUSY, "{name}: {took:?}");
    assert!(spent < slow.may_cost, "{name}: {spent:?}");
}

/// Headers that begin and never end: within a frame, and from one frame to the next.
fn headers_without_end() -> Vec<Vec<u8>> {
    let within = [&b"\0\x1f\xff\x01\0\0\0\0\x01"[..], &[b'x'; 64]].concat();
    let on = b"\0\0\x01\x01\0\0\0\0\x01\x83\0\0\x01\x09\0\0\0\0\x01\x86".to_vec();
    vec![within, on]
}

fn pings() -> Vec<u8> {
    b"\0\0\x08\x06\0\0\0\0\0ping-ing".repeat(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_worker_spends_little_and_serves_its_manager() {
    let worker = Flooded::start("worker", TOKEN);
    for kind in KINDS.into_iter().chain([CALLS]) {
        let socket = worker.connect();
        // The call is not over, so that there may be DATA.
        let begins = [CLIENT, &call(4, 1)].concat();
        let floods = move || flood(socket, &begins, kind);
        let name = format!("{} at a worker", kind.0);
        check(&worker, &name, floods, has_its_stream(&worker, SOON)).await;
    }
    let socket = worker.connect();
    let others = has_its_stream(&worker, SOON);
    check(&worker, "calls at a worker", || calls(socket), others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers_and_a_crowd_that_never_reads_cost_a_worker_little() {
    let worker = Flooded::start("worker", TOKEN);
    let slow = Slow {
        connect: &|| worker.connect(),
        begins: CLIENT,
        slowly: headers_without_end(),
        asks: pings(),
        may_cost: SPENT_ON_THE_SLOW,
    };
    let others = async { drop(has_its_stream(&worker, SOON).await) };
    check_slow(&worker, "slow ones at a worker", slow, others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_has_its_stream_while_somebody_opens_connections_as_fast_as_it_can() {
    // Some say nothing, some begin, some ask for what everybody may.
    let ways = [vec![], CLIENT.to_vec(), [CLIENT, &call(4, 1)].concat()];
    for begins in ways {
        let worker = Flooded::start("worker", TOKEN);
        let (is_over, opened) = (AtomicBool::new(false), AtomicU64::new(0));
        let crowd = Arc::new((is_over, opened));
        let threads = [(); 32].map(|()| {
            let (crowd, begins) = (Arc::clone(&crowd), begins.clone());
            let address = worker.address.clone();
            thread::spawn(move || opens_connections(&address, &begins, &crowd))
        });
        let opened = || crowd.1.load(Ordering::Relaxed);
        eventually("a flood", || (opened() > 1_000).then_some(())).await;
        let (before, mut waited) = (opened(), Vec::new());
        for _ in 0..10 {
            let begun = Instant::now();
            drop(has_its_stream(&worker, A_FEW_SECONDS).await);
            waited.push(begun.elapsed());
        }
        let meanwhile = opened() - before;
        crowd.0.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("it ends");
        }
        println!("{meanwhile} connections while managers waited for {waited:?}");
        assert!(meanwhile > 100, "the flood was over");
        waited.sort();
        let usual = waited[waited.len() / 2];
        assert!(usual < AT_ONCE, "most of them had to come again: {usual:?}");
    }
}

/// Opens connections until it is over and keeps the newest of them. It opens the next one when the last was seen, since
/// the system holds up those that nobody takes.
fn opens_connections(address: &str, begins: &[u8], (is_over, opened): &(AtomicBool, AtomicU64)) {
    let mut newest = VecDeque::new();
    let until = Instant::now() + 3 * A_FEW_SECONDS;
    while !is_over.load(Ordering::Relaxed) && Instant::now() < until {
        let Ok(mut socket) = TcpStream::connect(address) else {
            continue;
        };
        let _set = socket.set_read_timeout(Some(SOON));
        let _cut = socket.write_all(begins);
        let _seen = socket.read(&mut [0]);
        newest.push_back(socket);
        opened.fetch_add(1, Ordering::Relaxed);
        if newest.len() > 20 {
            newest.pop_front();
        }
    }
}

/// Introduces a worker that is none.
fn introduce(socket: &Path, worker: &str) -> UnixStream {
    let mut introduction = Introduction::default();
    introduction.worker = worker.to_owned();
    introduction.incarnation = telemetry_client::serve::Identity::default().incarnation_id;
    let mut stream = UnixStream::connect(socket).expect("a door");
    stream
        .write_all(&introduction.to_frame())
        .expect("an open door");
    let mut head = [0; INTRODUCTION_HEAD_BYTES];
    stream.read_exact(&mut head).expect("an answer");
    let length = introduction_body_bytes(&head).expect("an answer");
    let mut body = vec![0; length.expect("a whole head")];
    stream.read_exact(&mut body).expect("all of it");
    let answer = IntroductionAnswer::from_body(&body);
    assert_eq!(answer.expect("readable"), IntroductionAnswer::Welcome);
    stream
}

/// The same, and waits until its stream was asked for.
fn dial_in(socket: &Path, worker: &str) -> UnixStream {
    let mut stream = introduce(socket, worker);
    first_call(&mut stream);
    stream
}

/// Another worker is welcome, and HTTP is answered.
async fn is_at_home(manager: &Flooded, socket: &Path, id: &str) {
    let serving = Caller::new(id, "").dial_in(socket).await;
    let mut client = manager.connect();
    let asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let told = spawn_blocking(move || {
        client.write_all(asked).expect("an open connection");
        let mut told = String::new();
        client.read_to_string(&mut told).expect("an answer");
        told
    });
    let told = told.await.expect("an answer");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_manager_spends_little_and_serves_everybody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let door = directory.path().join("manager.sock");
    let listener = UnixListener::bind(directory.path().join("dialled.sock"));
    let listener = listener.expect("a socket");
    let manager = Flooded::start("manager", directory.path().to_str().expect("UTF-8"));
    let (mut dialled, _) = listener.accept().expect("a manager");
    first_call(&mut dialled);
    // It is not dialled again.
    drop(listener);
    let begins = [SERVER, &answer()].concat();
    let floods = move || flood(dialled, &begins, KINDS[0]);
    let others = is_at_home(&manager, &door, "other-dialled");
    check(
        &manager,
        "WINDOW_UPDATE by one that is dialled",
        floods,
        others,
    )
    .await;
    for (number, kind) in KINDS.into_iter().chain([HINTS]).enumerate() {
        let begins = match kind.0 {
            "HEADERS" => SERVER.to_vec(),
            _ => [SERVER, &answer()].concat(),
        };
        let id = format!("flood-{number}");
        let at = door.clone();
        let socket = spawn_blocking(move || dial_in(&at, &id)).await;
        let socket = socket.expect("it is asked");
        let floods = move || flood(socket, &begins, kind);
        let name = format!("{} by one that dialled in", kind.0);
        let id = format!("other-{number}");
        check(&manager, &name, floods, is_at_home(&manager, &door, &id)).await;
    }
    for kind in KINDS {
        let socket = manager.connect();
        let name = format!("{} at the port for HTTP", kind.0);
        let id = format!("other-than-{}", kind.0.replace(' ', "-"));
        let floods = move || flood(socket, CLIENT, kind);
        check(&manager, &name, floods, is_at_home(&manager, &door, &id)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_workers_and_a_crowd_that_never_reads_cost_a_manager_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let door = directory.path().join("manager.sock");
    let manager = Flooded::start("manager", directory.path().to_str().expect("UTF-8"));
    let number = AtomicU64::new(0);
    let connect = || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        introduce(&door, &format!("slow-{number}"))
    };
    let slow = Slow {
        connect: &connect,
        begins: SERVER,
        slowly: headers_without_end(),
        asks: pings(),
        may_cost: SPENT_ON_THE_SLOW,
    };
    let others = is_at_home(&manager, &door, "other");
    check_slow(&manager, "slow ones that dialled in", slow, others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_requests_and_a_crowd_that_never_reads_cost_the_port_for_http_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let door = directory.path().join("manager.sock");
    let manager = Flooded::start("manager", directory.path().to_str().expect("UTF-8"));
    let slow = Slow {
        connect: &|| manager.connect(),
        begins: b"",
        slowly: vec![b"GET / HTTP/1.1\r\nX-Slow: very".to_vec()],
        asks: b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000),
        may_cost: SPENT_ON_METRICS,
    };
    let others = is_at_home(&manager, &door, "other");
    check_slow(&manager, "slow ones at the port for HTTP", slow, others).await;
}
