//! The peer of the stream benchmarks: tonic and prost as their examples show them, and no telemetry.
//!
//! A server streams events from a channel, a client reads and forgets them. Nothing is validated,
//! enriched, dispatched or counted per kind.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telemetry_proto::bridge_service_client::BridgeServiceClient;
use telemetry_proto::bridge_service_server::{BridgeService, BridgeServiceServer};
use telemetry_proto::{
    HeartbeatRequest, HeartbeatResponse, PingRequest, PingResponse, TelemetryControl,
    TelemetryEvent,
};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::stream::{Sample, naive_event, samples, wait};

/// Events that wait in the channel.
const CHANNEL: usize = 1_024;

/// Both ends of a stream of the peer.
#[derive(Debug)]
pub(crate) struct Naive {
    runtime: Runtime,
    events: mpsc::Sender<TelemetryEvent>,
    samples: Arc<Vec<Sample>>,
    emitted: u64,
    received: Arc<AtomicU64>,
}

/// Gives its channel to the first stream.
struct Service(Mutex<Option<mpsc::Receiver<TelemetryEvent>>>);

#[tonic::async_trait]
impl BridgeService for Service {
    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        Ok(Response::new(PingResponse {
            message: request.into_inner().message,
            server_time: None,
        }))
    }

    async fn heartbeat(
        &self,
        _: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        Ok(Response::new(HeartbeatResponse {
            server_time: None,
            session_valid: true,
        }))
    }

    type StreamTelemetryStream = Pin<Box<dyn Stream<Item = Result<TelemetryEvent, Status>> + Send>>;

    async fn stream_telemetry(
        &self,
        _controls: Request<Streaming<TelemetryControl>>,
    ) -> Result<Response<Self::StreamTelemetryStream>, Status> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let events = events.ok_or_else(|| Status::unavailable("there was a stream"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(events).map(Ok))))
    }
}

impl Naive {
    /// Starts both ends on loopback TCP, on a runtime of two threads.
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (events, waiting) = mpsc::channel(CHANNEL);
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let service = BridgeServiceServer::new(Service(Mutex::new(Some(waiting))));
            let serving = Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(serving);
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            let connected = endpoint.expect("an address").connect().await;
            let stream = BridgeServiceClient::new(connected.expect("a connection"))
                .stream_telemetry(tokio_stream::pending())
                .await;
            let mut stream = stream.expect("a stream").into_inner();
            tokio::spawn(async move {
                while let Ok(Some(event)) = stream.message().await {
                    std::hint::black_box(event);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        Self {
            runtime,
            events,
            samples: Arc::new(samples()),
            emitted: 0,
            received,
        }
    }

    /// Sends events and waits until all of them were received.
    pub(crate) fn run(&mut self, events: usize) -> Duration {
        let start = Instant::now();
        let first = usize::try_from(self.emitted).unwrap_or_default();
        let (channel, samples) = (self.events.clone(), Arc::clone(&self.samples));
        self.runtime.spawn(async move {
            for run in first..first + events {
                let event = naive_event(&samples[run % samples.len()], run, now());
                channel.send(event).await.expect("a stream");
            }
        });
        self.emitted += events as u64;
        wait("the peer's events", || {
            self.received.load(Ordering::Relaxed) >= self.emitted
        });
        start.elapsed()
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}
