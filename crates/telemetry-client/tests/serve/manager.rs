//! A manager made of bare HTTP/2, so that tests decide about every frame, window and reset.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use prost::Message;
use telemetry_core::{
    emit::PolicySpec,
    wire::{Control, FrameSplitter, Greeting, frame_header},
};
use telemetry_proto::{STREAM_TELEMETRY_PATH, TelemetryEvent, WorkerReport, telemetry_value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::PATIENCE;

/// A connection to a worker.
pub(crate) struct Manager {
    requests: SendRequest<Bytes>,
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

impl Manager {
    pub(crate) async fn dial(socket: &Path) -> Self {
        Self::over(
            UnixStream::connect(socket)
                .await
                .expect("a listening socket"),
        )
        .await
    }

    pub(crate) async fn dial_tcp(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a listening port")).await
    }

    pub(crate) async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self::with(client::Builder::new(), io).await
    }

    pub(crate) async fn with(
        builder: client::Builder,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (requests, connection) = builder.handshake(io).await.expect("a handshake");
        Self {
            requests,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request with an open body and waits for the response headers.
    pub(crate) async fn call(
        &self,
        request: Request<()>,
    ) -> (Response<RecvStream>, SendStream<Bytes>) {
        let (response, send) = self.begin(request).await;
        let response = timeout(PATIENCE, response).await.expect("headers at once");
        (response.expect("a response"), send)
    }

    async fn begin(&self, request: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
        let mut requests = self
            .requests
            .clone()
            .ready()
            .await
            .expect("an open connection");
        requests.send_request(request, false).expect("a request")
    }

    pub(crate) async fn stream(&self) -> Stream {
        self.stream_with(request(STREAM_TELEMETRY_PATH)).await
    }

    pub(crate) async fn stream_with(&self, request: Request<()>) -> Stream {
        let (response, send) = self.call(request).await;
        assert_eq!(response.headers()["content-type"], "application/grpc");
        Stream {
            send,
            body: response.into_body(),
            splitter: FrameSplitter::new(1 << 20),
            messages: VecDeque::new(),
        }
    }

    /// A call of one message each way: the body of the response and its trailers.
    pub(crate) async fn unary(&self, path: &str, bytes: &[u8]) -> (Vec<u8>, HeaderMap) {
        self.unary_raw(path, &framed(bytes)).await
    }

    /// The same with a request body as it is.
    pub(crate) async fn unary_raw(&self, path: &str, body: &[u8]) -> (Vec<u8>, HeaderMap) {
        let (response, mut send) = self.begin(request(path)).await;
        send.send_data(Bytes::copy_from_slice(body), true)
            .expect("an open stream");
        let response = response.await.expect("a response");
        let headers = response.headers().clone();
        let mut body = response.into_body();
        let mut out = Vec::new();
        while let Some(chunk) = body.data().await {
            out.extend_from_slice(&chunk.expect("data"));
        }
        (
            out,
            body.trailers()
                .await
                .expect("an orderly end")
                .unwrap_or(headers),
        )
    }

    /// The gRPC status of a request for a stream that is refused before there is one, and its message.
    pub(crate) async fn refusal(&self, request: Request<()>) -> (String, String) {
        let (response, _send) = self.call(request).await;
        let text = |name| {
            let value = response.headers().get(name).map(|it| it.to_str());
            value.unwrap_or(Ok("")).expect("text").to_owned()
        };
        (text("grpc-status"), text("grpc-message"))
    }
}

pub(crate) fn request(path: &str) -> Request<()> {
    Request::post(format!("http://worker{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

pub(crate) fn framed(message: &[u8]) -> Bytes {
    [&frame_header(message.len())[..], message].concat().into()
}

/// One telemetry stream.
pub(crate) struct Stream {
    pub(crate) send: SendStream<Bytes>,
    pub(crate) body: RecvStream,
    splitter: FrameSplitter,
    messages: VecDeque<TelemetryEvent>,
}

impl Stream {
    pub(crate) fn control(&mut self, control: &Control) {
        let bytes = control.to_proto().encode_to_vec();
        self.send
            .send_data(framed(&bytes), false)
            .expect("an open stream");
    }

    pub(crate) fn hello(&mut self) {
        self.hello_of(1);
    }

    pub(crate) fn hello_of(&mut self, protocol_revision: u32) {
        let mut greeting = Greeting::default();
        greeting.manager_id = "test".into();
        greeting.protocol_revision = protocol_revision;
        self.control(&Control::Hello(greeting));
    }

    pub(crate) fn toggle(&mut self, enabled: bool) {
        self.control(&Control::Toggle { enabled });
    }

    pub(crate) fn policy(&mut self, spec: PolicySpec) {
        self.control(&Control::Policy(spec));
    }

    /// The next message; `None` once only trailers are left.
    pub(crate) async fn next(&mut self) -> Option<TelemetryEvent> {
        self.try_next().await.expect("data")
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<TelemetryEvent>, h2::Error> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(Some(message));
            }
            let chunk = timeout(PATIENCE, self.body.data())
                .await
                .expect("a message in time");
            let Some(chunk) = chunk.transpose()? else {
                return Ok(None);
            };
            self.body.flow_control().release_capacity(chunk.len())?;
            self.splitter
                .feed(&chunk, |message| {
                    self.messages
                        .push_back(TelemetryEvent::decode(message).expect("an event"));
                })
                .expect("frames");
        }
    }

    /// The `count` of the next event; hellos and reports are skipped.
    pub(crate) async fn next_count(&mut self) -> i64 {
        loop {
            let event = self.next().await.expect("an event before the end");
            if let Some(count) = count_of(&event) {
                return count;
            }
        }
    }

    /// The next report; events are skipped.
    pub(crate) async fn next_report(&mut self) -> WorkerReport {
        loop {
            if let Some(report) = self.next().await.expect("a report before the end").report {
                return report;
            }
        }
    }

    /// Everything up to the end, and the status in the trailers.
    pub(crate) async fn rest(&mut self) -> (Vec<TelemetryEvent>, String) {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        let trailers = self
            .body
            .trailers()
            .await
            .expect("an orderly end")
            .expect("trailers");
        (
            events,
            trailers["grpc-status"].to_str().expect("text").to_owned(),
        )
    }
}

/// The measurement `count` of an event.
pub(crate) fn count_of(event: &TelemetryEvent) -> Option<i64> {
    match event.measurements.get("count")?.value {
        Some(telemetry_value::Value::IntValue(count)) => Some(count),
        _ => None,
    }
}
