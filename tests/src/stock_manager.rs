//! A manager as Snakepit ships it, seen from the wire: it pings, opens the stream with a deadline of
//! five seconds, says `toggle(true)` and reads.
//!
//! Nothing of `telemetry-server` is used, so what it reads is what an old peer would read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_proto::bridge_service_client::BridgeServiceClient;
use telemetry_proto::telemetry_control::Control;
use telemetry_proto::{
    HeartbeatRequest, PingRequest, TelemetryControl, TelemetryEvent, TelemetryToggle,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::patience::{eventually, within};

/// What the stock manager sends as `grpc-timeout`.
pub const STOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one worker.
#[derive(Debug, Clone)]
pub struct StockManager {
    channel: Channel,
}

/// One open stream. Dropping it cuts it.
#[derive(Debug)]
pub struct StockStream {
    controls: mpsc::Sender<TelemetryControl>,
    shared: Arc<Mutex<Received>>,
    reading: JoinHandle<()>,
}

/// What came up a stream.
#[derive(Debug, Default, Clone)]
struct Received {
    events: Vec<TelemetryEvent>,
    end: Option<End>,
}

/// How a stream ended.
#[derive(Debug, Clone)]
pub struct End {
    /// Status in the trailers, or what the connection's end was turned into.
    pub code: Code,
    /// Its text.
    pub message: String,
    /// Whether there were trailers; without them a stock consumer hangs for ever.
    pub trailers: bool,
}

impl StockManager {
    /// Connects to `unix:/path` or `host:port` and tests the connection with a ping, as the stock
    /// application does.
    ///
    /// # Panics
    ///
    /// When there is no worker that answers.
    pub async fn connect(address: &str) -> Self {
        let uri = if address.starts_with("unix:") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let endpoint = Endpoint::from_shared(uri).expect("a valid address");
        let channel = within("a connection", endpoint.connect())
            .await
            .expect("a worker listens");
        let mut client = BridgeServiceClient::new(channel.clone());
        let ping = PingRequest {
            message: "connection test".to_owned(),
        };
        let answer = within("the answer to a ping", client.ping(ping)).await;
        let answer = answer.expect("a worker answers pings").into_inner();
        assert_eq!(answer.message, "connection test");
        assert!(
            answer.server_time.is_some(),
            "the answer says when it was given"
        );
        Self { channel }
    }

    /// Asks for a sign of life, as the stock application does every two seconds.
    ///
    /// # Panics
    ///
    /// When there is none: then the stock application kills the worker.
    pub async fn heartbeat(&self) {
        let mut client = BridgeServiceClient::new(self.channel.clone());
        let heartbeat = HeartbeatRequest {
            session_id: "default".to_owned(),
            client_time: None,
        };
        let answer = within("a sign of life", client.heartbeat(heartbeat)).await;
        let answer = answer.expect("a worker answers heartbeats").into_inner();
        assert!(answer.session_valid);
        assert!(
            answer.server_time.is_some(),
            "the answer says when it was given"
        );
    }

    /// Uses a connection as it is, without a ping.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self { channel }
    }

    /// Opens the stream, with the deadline in its header and `toggle(true)` before any answer.
    ///
    /// # Panics
    ///
    /// When no response headers come.
    pub async fn open(&self) -> StockStream {
        let (controls, outgoing) = mpsc::channel(16);
        controls
            .send(toggle(true))
            .await
            .expect("there is room for the first control");
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.set_timeout(STOCK_TIMEOUT);
        let mut client = BridgeServiceClient::new(self.channel.clone());
        let response = within("response headers", client.stream_telemetry(request)).await;
        let mut incoming = response
            .expect("the worker accepts the stream")
            .into_inner();
        let shared = Arc::<Mutex<Received>>::default();
        let received = Arc::clone(&shared);
        let reading = tokio::spawn(async move {
            let status = loop {
                match incoming.message().await {
                    Ok(Some(event)) => lock(&received).events.push(event),
                    Ok(None) => break Status::ok(""),
                    Err(status) => break status,
                }
            };
            // Trailers are there when the stream ended by itself; an error status that came in
            // trailers has been turned into `status` and its headers into its metadata.
            let trailers = match status.code() {
                Code::Ok => incoming
                    .trailers()
                    .await
                    .is_ok_and(|trailers| trailers.is_some()),
                _ => std::error::Error::source(&status).is_none(),
            };
            let message = status.message().to_owned();
            lock(&received).end = Some(End {
                code: status.code(),
                message,
                trailers,
            });
        });
        StockStream {
            controls,
            shared,
            reading,
        }
    }
}

impl StockStream {
    /// Sends a control.
    ///
    /// # Panics
    ///
    /// When the stream is over.
    pub async fn send(&self, control: TelemetryControl) {
        self.controls
            .send(control)
            .await
            .expect("the stream is open");
    }

    /// The events so far, in their order.
    #[must_use]
    pub fn events(&self) -> Vec<TelemetryEvent> {
        lock(&self.shared).events.clone()
    }

    /// Names of the events so far, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.shared)
            .events
            .iter()
            .map(|event| event.event_parts.join("."))
            .collect()
    }

    /// Waits until `count` events are there and returns all.
    pub async fn until_count(&self, count: usize) -> Vec<TelemetryEvent> {
        let enough = || {
            let received = lock(&self.shared);
            (received.events.len() >= count).then(|| received.events.clone())
        };
        eventually(
            &format!("{count} events on a stock manager's stream"),
            enough,
        )
        .await
    }

    /// How the stream ended, once it did.
    pub async fn ended(&self) -> End {
        eventually("the end of a stock manager's stream", || {
            lock(&self.shared).end.clone()
        })
        .await
    }

    /// Whether the stream is still open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.shared).end.is_none()
    }

    /// Cuts the stream, as the stock manager's deadline does, and returns what came before.
    pub async fn cut(self) -> Vec<TelemetryEvent> {
        self.reading.abort();
        eventually("the reader of a cut stream", || {
            self.reading.is_finished().then_some(())
        })
        .await;
        self.events()
    }
}

impl Drop for StockStream {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// The control that turns a worker on or off.
#[must_use]
pub fn toggle(enabled: bool) -> TelemetryControl {
    TelemetryControl {
        control: Some(Control::Toggle(TelemetryToggle { enabled })),
    }
}

fn lock(shared: &Mutex<Received>) -> MutexGuard<'_, Received> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
