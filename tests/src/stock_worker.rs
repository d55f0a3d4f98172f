//! A worker as Snakepit ships it, seen from the wire: plain prost messages, no extensions.
//!
//! It has the habits that a manager must live with, and no others: it ignores the patterns of a
//! sampling control, draws for start and stop apart, sends one event per message and DATA frame, and
//! lets two streams split its events. Nothing of `telemetry-client` is used.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use prost_types::Timestamp;
use telemetry_core::{catalog::Pattern, emit::random_u64};
use telemetry_proto::bridge_service_server::{BridgeService, BridgeServiceServer};
use telemetry_proto::telemetry_control::Control;
use telemetry_proto::telemetry_value::Value;
use telemetry_proto::{
    HeartbeatRequest, HeartbeatResponse, PingRequest, PingResponse, TelemetryControl,
    TelemetryEvent, TelemetryValue,
};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Events kept while nobody reads.
const MAX_BUFFER: usize = 1_024;

/// A running stock worker. Dropping it stops listening; open streams stay until their manager leaves.
#[derive(Debug)]
pub struct StockWorker {
    shared: Arc<Shared>,
    address: String,
    serving: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is an event for a stream to take.
    ready: Notify,
}

#[derive(Debug)]
struct State {
    events: VecDeque<TelemetryEvent>,
    enabled: bool,
    rate: f64,
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
    dropped: u64,
    controls: Vec<TelemetryControl>,
    streams: u64,
    /// What was shown when each of them was opened.
    shown: Vec<Option<String>>,
    /// Streams that may still take events.
    open: u64,
}

impl StockWorker {
    /// Serves on a unix socket in `dir`. Must be called within a runtime.
    ///
    /// # Panics
    ///
    /// When the socket cannot be bound.
    #[must_use]
    pub fn on_unix(dir: &Path) -> Self {
        let path = dir.join("stock.sock");
        let listener = UnixListener::bind(&path).expect("a free socket path");
        let shared = Shared::new();
        let serving = Server::builder()
            .add_service(BridgeServiceServer::new(Service(Arc::clone(&shared))))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let serving = tokio::spawn(serving).abort_handle();
        Self {
            shared,
            address: format!("unix:{}", path.display()),
            serving,
        }
    }

    /// Serves on a free loopback port.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn on_tcp() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    /// Serves at a port. Must be called within a runtime.
    ///
    /// # Panics
    ///
    /// When it is not bound.
    #[must_use]
    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("a bound listener").to_string();
        let shared = Shared::new();
        let serving = Server::builder()
            .add_service(BridgeServiceServer::new(Service(Arc::clone(&shared))))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(serving).abort_handle();
        Self {
            shared,
            address,
            serving,
        }
    }

    /// Where to dial: `unix:/path` or `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Emits one event, as the stock worker's `emit` does; says whether it was kept.
    pub fn emit(&self, name: &str, measurements: &[(&str, i64)]) -> bool {
        let mut state = self.shared.lock();
        if !state.keeps(name) {
            return false;
        }
        if state.events.len() >= MAX_BUFFER {
            state.dropped += 1;
            return false;
        }
        let measurements = measurements.iter().map(|(key, number)| {
            (
                (*key).to_owned(),
                TelemetryValue {
                    value: Some(Value::IntValue(*number)),
                },
            )
        });
        state.events.push_back(TelemetryEvent {
            event_parts: name.split('.').map(str::to_owned).collect(),
            measurements: measurements.collect(),
            timestamp_ns: 1_700_000_000_000_000_000,
            ..TelemetryEvent::default()
        });
        drop(state);
        self.shared.ready.notify_one();
        true
    }

    /// The controls it was sent, oldest first.
    #[must_use]
    pub fn controls(&self) -> Vec<TelemetryControl> {
        self.shared.lock().controls.clone()
    }

    /// Whether it emits, and with which probability.
    #[must_use]
    pub fn policy(&self) -> (bool, f64) {
        let state = self.shared.lock();
        (state.enabled, state.rate)
    }

    /// Streams it ever served.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.shared.lock().streams
    }

    /// What was shown as `authorization` when each of its streams was opened, oldest first.
    #[must_use]
    pub fn shown(&self) -> Vec<Option<String>> {
        self.shared.lock().shown.clone()
    }

    /// Streams that may still take events. One that was cut does until the worker has noticed.
    #[must_use]
    pub fn open_streams(&self) -> u64 {
        self.shared.lock().open
    }

    /// Events that did not fit into its buffer.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }
}

impl Drop for StockWorker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        let state = State {
            events: VecDeque::new(),
            enabled: true,
            rate: 1.0,
            allow: Vec::new(),
            deny: Vec::new(),
            dropped: 0,
            controls: Vec::new(),
            streams: 0,
            shown: Vec::new(),
            open: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            ready: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event, once there is one.
    async fn next(&self) -> TelemetryEvent {
        loop {
            if let Some(event) = self.lock().events.pop_front() {
                return event;
            }
            self.ready.notified().await;
        }
    }
}

impl State {
    fn keeps(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        let draw = (random_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        self.enabled
            && !any(&self.deny)
            && (self.allow.is_empty() || any(&self.allow))
            && draw < self.rate
    }

    fn apply(&mut self, control: TelemetryControl) {
        match &control.control {
            Some(Control::Toggle(toggle)) => self.enabled = toggle.enabled,
            // It has the patterns and does not look at them.
            Some(Control::Sampling(rule)) => self.rate = rule.sampling_rate.clamp(0.0, 1.0),
            Some(Control::Filter(filter)) => {
                let compile = |globs: &[String]| {
                    globs
                        .iter()
                        .filter_map(|glob| Pattern::new(glob).ok())
                        .collect()
                };
                self.allow = compile(&filter.allow);
                self.deny = compile(&filter.deny);
            }
            // Fields that it does not know: the message is empty to it.
            Some(
                Control::Hello(_)
                | Control::Policy(_)
                | Control::Rules(_)
                | Control::Shares(_)
                | Control::Ack(_)
                | Control::Rejected(_)
                | Control::Drain(_)
                | Control::Goodbye(_),
            )
            | None => {}
        }
        self.controls.push(control);
    }
}

#[derive(Debug)]
struct Service(Arc<Shared>);

#[tonic::async_trait]
impl BridgeService for Service {
    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        let message = request.into_inner().message;
        Ok(Response::new(PingResponse {
            message,
            server_time: Some(now()),
        }))
    }

    async fn heartbeat(
        &self,
        _: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        Ok(Response::new(HeartbeatResponse {
            server_time: Some(now()),
            session_valid: true,
        }))
    }

    type StreamTelemetryStream = OneByOne;

    async fn stream_telemetry(
        &self,
        request: Request<Streaming<TelemetryControl>>,
    ) -> Result<Response<OneByOne>, Status> {
        let (events, outgoing) = mpsc::channel(1);
        let shown = request.metadata().get("authorization");
        let shown = shown.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        let mut controls = request.into_inner();
        {
            let mut state = self.0.lock();
            state.streams += 1;
            state.shown.push(shown);
            state.open += 1;
        }
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(control)) = controls.message().await {
                shared.lock().apply(control);
            }
        });
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            // A place first: an event that is taken out always goes to a stream that is still there.
            while let Ok(place) = events.reserve().await {
                tokio::select! {
                    event = shared.next() => place.send(Ok(event)),
                    () = events.closed() => break,
                }
            }
            shared.lock().open -= 1;
        });
        Ok(Response::new(OneByOne {
            events: outgoing,
            rest: false,
        }))
    }
}

/// Gives one event at a time and then nothing for a moment, so that each gets its own DATA frame.
#[derive(Debug)]
pub(crate) struct OneByOne {
    events: mpsc::Receiver<Result<TelemetryEvent, Status>>,
    rest: bool,
}

impl Stream for OneByOne {
    type Item = Result<TelemetryEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.events.poll_recv(cx);
        self.rest = next.is_ready();
        next
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    // Below a billion, so it fits.
    let nanos = since_epoch.subsec_nanos().cast_signed();
    Timestamp { seconds, nanos }
}
