//! Calls with one message each way: the connection test and the sign of life.
//!
//! A request is limited in length and time, so that nobody holds a stream open with half of one.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use prost_types::Timestamp;
use telemetry_core::wire::FrameSplitter;
use telemetry_proto::{HeartbeatRequest, HeartbeatResponse, PingRequest, PingResponse};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;

use super::body::trailers;
use super::control::frame_status;
use super::pump::push_message;

/// Longest message of a request.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The content type of an answer.
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The answer to a connection test: its own message.
pub(super) fn pong(ping: PingRequest, unix_nanos: i64) -> PingResponse {
    PingResponse {
        message: ping.message,
        server_time: Some(timestamp(unix_nanos)),
    }
}

/// The answer to a question for a sign of life. A telemetry worker keeps no sessions, so none has expired.
pub(super) fn alive(_: HeartbeatRequest, unix_nanos: i64) -> HeartbeatResponse {
    HeartbeatResponse {
        server_time: Some(timestamp(unix_nanos)),
        session_valid: true,
    }
}

/// Reads the request and answers what `answer` makes of it, or says why not.
pub(super) async fn answered<B, Q, A>(body: B, answer: impl FnOnce(Q) -> A) -> Response<Body>
where
    B: http_body::Body<Data = Bytes>,
    Q: Message + Default,
    A: Message,
{
    let request = timeout(REQUEST_TIMEOUT, read(body)).await;
    let request = request.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(
            "the request did not arrive in time",
        ))
    });
    request.map_or_else(Status::into_http, |request| respond(&answer(request)))
}

/// Reads the one message of a request.
async fn read<B, Q>(body: B) -> Result<Q, Status>
where
    B: http_body::Body<Data = Bytes>,
    Q: Message + Default,
{
    let mut body = pin!(body);
    let mut splitter = FrameSplitter::new(MAX_MESSAGE_BYTES);
    let mut request = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Status::cancelled("the request was cut off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        splitter
            .feed(&data, |message| request = Some(Q::decode(message)))
            .map_err(frame_status)?;
    }
    match request {
        Some(Ok(request)) => Ok(request),
        Some(Err(error)) => Err(Status::invalid_argument(error.to_string())),
        None => Err(Status::invalid_argument("the request has no message")),
    }
}

/// A response of one message.
fn respond(answer: &impl Message) -> Response<Body> {
    let mut out = Vec::new();
    push_message(&mut out, answer);
    let end: HeaderMap = trailers(&Status::new(tonic::Code::Ok, ""));
    let body = Full::new(Bytes::from(out)).with_trailers(std::future::ready(Some(Ok(end))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// A moment, as protobuf says it.
fn timestamp(unix_nanos: i64) -> Timestamp {
    let second = 1_000_000_000;
    Timestamp {
        seconds: unix_nanos.div_euclid(second),
        // A remainder of a billion fits.
        nanos: i32::try_from(unix_nanos.rem_euclid(second)).unwrap_or_default(),
    }
}
