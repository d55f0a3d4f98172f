//! Facts about clients that hold a place and do not use it, and about how much work they can cause.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use prometheus_client::encoding::DescriptorEncoder;

use super::*;
use crate::export::prometheus::MetricSource;
use crate::http::metrics::MAX_RENDERING;
use crate::http::{HTTP_HEAD_TIMEOUT, HTTP_WRITE_TIMEOUT, MAX_HTTP_CONNECTIONS};

/// How soon others are served, whatever there is.
const SOON: Duration = Duration::from_secs(1);

/// A client that asks again and again and never reads.
async fn never_reads(address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let asks = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000);
    // As much as is taken at once.
    while stream.try_write(asks.as_bytes()).is_ok() {
        tokio::task::yield_now().await;
    }
    // It may be gone by now.
    let _ready = tokio::time::timeout(Duration::from_millis(1), stream.write_all(b"GET ")).await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_never_read_keep_nobody_out() {
    let rig = rig().await;
    (0..200).for_each(|n| rig.crash(&format!("reason {n}")));
    let mut silent = Vec::new();
    for _ in 0..MAX_HTTP_CONNECTIONS {
        silent.push(never_reads(rig.address()).await);
    }
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(body(&rig.get("/healthz").await), "ok\n");
        let took = began.elapsed();
        assert!(took < SOON, "it took {took:?}");
    }
    assert!(rig.refused("crowded") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_say_nothing_keep_nobody_out() {
    let rig = rig().await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(rig.address()).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /metrics HT").await.unwrap();
        }
        silent.push(stream);
    }
    let began = Instant::now();
    assert_eq!(body(&rig.get("/healthz").await), "ok\n");
    let took = began.elapsed();
    assert!(took < SOON, "it took {took:?}");
    assert!(rig.refused("crowded") > 0);
}

#[tokio::test]
async fn a_viewer_to_whom_nothing_is_shown_keeps_its_place() {
    let rig = rig().await;
    let mut view = rig.tap("").await;
    let mut idle = Vec::new();
    for _ in 0..MAX_HTTP_CONNECTIONS + 20 {
        idle.push(TcpStream::connect(rig.address()).await.unwrap());
    }
    assert_eq!(body(&rig.get("/healthz").await), "ok\n");
    assert!(rig.refused("crowded") >= 20);
    rig.crash("still there");
    let event = next_json(&mut view).await;
    assert_eq!(event["metadata"]["reason"], "still there");
}

/// Reads to the end, and says after how long that came.
async fn ends_after(mut stream: impl tokio::io::AsyncRead + Unpin) -> Duration {
    let began = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _cut = stream.read_to_end(&mut rest).await;
    began.elapsed()
}

#[tokio::test]
async fn one_that_is_idle_or_sends_its_head_in_bits_loses_its_place() {
    let rig = rig().await;
    let mut stream = TcpStream::connect(rig.address()).await.unwrap();
    let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let (bits, mut sender) = TcpStream::connect(rig.address())
        .await
        .unwrap()
        .into_split();
    let sending = tokio::spawn(async move {
        // Each one in time, and the whole far too late.
        for byte in ask.bytes() {
            if sender.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let least = HTTP_HEAD_TIMEOUT - Duration::from_secs(1);
    for took in <[Duration; 2]>::from(tokio::join!(ends_after(stream), ends_after(bits))) {
        assert!((least..2 * HTTP_HEAD_TIMEOUT).contains(&took), "{took:?}");
    }
    sending.abort();
}

#[tokio::test]
async fn one_that_does_not_read_loses_its_place() {
    let rig = rig().await;
    let stream = never_reads(rig.address()).await;
    let slow = async {
        while rig.refused("slow") == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let began = Instant::now();
    tokio::time::timeout(3 * HTTP_WRITE_TIMEOUT, slow)
        .await
        .expect("it loses its place");
    let least = HTTP_WRITE_TIMEOUT - Duration::from_secs(1);
    assert!(began.elapsed() > least, "{:?}", began.elapsed());
    drop(stream);
}

/// A source of metrics at which renderings stand still until it is opened.
#[derive(Clone, Default)]
struct Gate {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    is_open: Mutex<bool>,
    opened: Condvar,
    at_work: AtomicUsize,
    /// Most at once.
    most: AtomicUsize,
    begun: AtomicUsize,
}

impl Gate {
    fn open(&self) {
        *self.inner.is_open.lock().unwrap() = true;
        self.inner.opened.notify_all();
    }
}

impl MetricSource for Gate {
    fn encode(&self, _encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let inner = &self.inner;
        let now = inner.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most.fetch_max(now, Ordering::SeqCst);
        inner.begun.fetch_add(1, Ordering::SeqCst);
        let is_open = inner.is_open.lock().unwrap();
        let until_open = |is_open: &mut bool| !*is_open;
        let (is_open, _) = inner
            .opened
            .wait_timeout_while(is_open, PATIENCE, until_open)
            .unwrap();
        drop(is_open);
        inner.at_work.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn clients_that_hang_up_leave_no_more_work_behind_than_is_allowed() {
    let rig = rig().await;
    let gate = Gate::default();
    rig.prometheus.add_source(gate.clone());
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for n in 0..40 {
        let mut stream = TcpStream::connect(rig.address()).await.unwrap();
        stream.write_all(ask).await.unwrap();
        // The first ones have begun before they hang up, and all others are let in after them.
        while gate.inner.begun.load(Ordering::SeqCst) < MAX_RENDERING.min(n + 1) {
            tokio::task::yield_now().await;
        }
        drop(stream);
        // An answer says that the server has looked at whatever came before.
        assert_eq!(body(&rig.get("/healthz").await), "ok\n");
    }
    for _ in 0..100 {
        assert_eq!(body(&rig.get("/healthz").await), "ok\n");
    }
    assert_eq!(gate.inner.begun.load(Ordering::SeqCst), MAX_RENDERING);
    gate.open();
    let answer = rig.get("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(gate.inner.most.load(Ordering::SeqCst) <= MAX_RENDERING);
}
