//! A real HTTP/2 connection over a socket that takes a few bytes at a time: what counts as written is
//! held against the frames that the socket was given.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body::{Body, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::super::watched::Watched;
use super::*;

/// Lengths of the chunks of a response: copied, chained, and cut into several frames.
const CHUNKS: [usize; 6] = [1, 10, 300, 5_000, 255, 40_000];

/// A socket that takes at most so many bytes at once, and remembers them.
struct Slow {
    io: DuplexStream,
    most: usize,
    vectored: bool,
    /// Refuses every other write.
    refuses: bool,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Slow {
    fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.refuses = !self.refuses;
        if self.refuses {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = self.most.min(bytes.len());
        let taken = Pin::new(&mut self.io).poll_write(cx, &bytes[..most]);
        if let Poll::Ready(Ok(count)) = taken {
            let mut all = self.taken.lock().expect("no panic");
            all.extend_from_slice(&bytes[..count]);
        }
        taken
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.take(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.take(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Bytes of DATA among what a server wrote, the part of a frame included.
fn data_bytes(mut written: &[u8]) -> usize {
    let mut data = 0;
    while let Some((head, rest)) = written.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let length = length.min(rest.len());
        if head[3] == 0 {
            data += length;
        }
        written = &rest[length..];
    }
    data
}

/// A response that hands out its chunks and goes on once they are written, one by one or together.
struct Response {
    outbox: Outbox,
    taken: Arc<Mutex<Vec<u8>>>,
    left: std::vec::IntoIter<usize>,
    one_by_one: bool,
    sum: usize,
    /// How often it found that all was written.
    found: Arc<AtomicU64>,
}

impl Body for Response {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let handed = this.outbox.handed();
        let is_written = this.outbox.is_written(handed);
        let in_socket = data_bytes(&this.taken.lock().expect("no panic"));
        if is_written {
            assert_eq!(in_socket, this.sum, "it was told too early");
            this.found.fetch_add(1, Ordering::Relaxed);
        }
        if (is_written || !this.one_by_one)
            && let Some(length) = this.left.next()
        {
            this.sum += length;
            return Poll::Ready(Some(Ok(Frame::data(this.outbox.hand(vec![7; length])))));
        }
        if is_written {
            return Poll::Ready(None);
        }
        this.outbox.wake_when_written(cx.waker());
        Poll::Pending
    }
}

/// Runs one response and returns how often all of it was written.
async fn run(most: usize, vectored: bool, one_by_one: bool) -> u64 {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (meter, taken, found) = (Meter::default(), Arc::default(), Arc::default());
    let slow = Slow {
        io: ours,
        most,
        vectored,
        refuses: false,
        taken: Arc::clone(&taken),
    };
    let metered = TokioIo::new(Watched::new(slow, meter.clone()));
    let counted = Arc::clone(&found);
    let service = hyper::service::service_fn(move |_| {
        let body = Response {
            outbox: Outbox::new(Some(meter.clone())),
            taken: Arc::clone(&taken),
            left: CHUNKS.to_vec().into_iter(),
            one_by_one,
            sum: 0,
            found: Arc::clone(&counted),
        };
        std::future::ready(Ok::<_, Infallible>(http::Response::new(body)))
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(metered, service);
    let server = tokio::spawn(server);
    let (mut requests, connection) = h2::client::handshake(theirs).await.expect("a handshake");
    tokio::spawn(connection);
    let request = http::Request::get("http://worker/")
        .body(())
        .expect("valid");
    let (response, _) = requests.send_request(request, true).expect("a stream");
    let mut body = response.await.expect("a response").into_body();
    let mut received = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk.expect("data");
        received += chunk.len();
        body.flow_control()
            .release_capacity(chunk.len())
            .expect("within the window");
    }
    server.abort();
    assert_eq!(received, CHUNKS.iter().sum::<usize>());
    found.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_chunk_counts_as_written_with_its_last_byte_in_the_socket_and_not_before() {
    for vectored in [false, true] {
        for most in [1, 2, 9, 10, 11, 100, 4_096, 100_000] {
            let found = run(most, vectored, true).await;
            // Before the first chunk, and after each.
            assert_eq!(found, CHUNKS.len() as u64 + 1, "{most} {vectored}");
            assert!(run(most, vectored, false).await >= 2, "{most} {vectored}");
        }
    }
}

#[test]
fn without_a_meter_what_was_handed_over_is_written() {
    let mut outbox = Outbox::new(None);
    let _on_its_way = outbox.hand(vec![1]);
    assert!(outbox.is_written(1) && outbox.all_written()());
}

#[test]
fn what_came_back_and_was_not_flushed_is_not_written() {
    let meter = Meter::default();
    let mut outbox = Outbox::new(Some(meter.clone()));
    assert!(outbox.is_written(0));
    let chunk = outbox.hand(vec![1]);
    meter.count_flush();
    assert!(!outbox.is_written(1));
    drop(chunk);
    assert!(!outbox.is_written(1));
    meter.count_flush();
    assert!(outbox.is_written(1) && outbox.all_written()());
}
