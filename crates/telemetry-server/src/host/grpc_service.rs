//! The gRPC calls of a host, observed without the host's help: a service around its HTTP client.
//!
//! A call begins with the request and ends with the status, which gRPC sends after the last byte of
//! the body; so the body is wrapped too. Bytes pass through untouched. The request, its headers and
//! its body are not looked into, save the path and the correlation id.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use super::{GrpcCall, Host};
use crate::grpc_message::grpc_message;

/// The header in which hosts hand a correlation id to their workers.
const CORRELATION_HEADER: &str = "x-snakepit-correlation-id";

/// A gRPC client service whose calls emit `grpc.call.*`; from [`Host::observe_grpc`].
///
/// `rpc_method` is the last segment of the request's path, the correlation id is taken from the
/// header `x-snakepit-correlation-id`. A status other than `OK` is an exception. A call whose
/// future or response is dropped before its status came ends as `CANCELLED`.
#[derive(Clone, Debug)]
pub struct ObservedGrpc<S> {
    host: Host,
    inner: S,
}

impl<S> ObservedGrpc<S> {
    pub(super) fn new(host: Host, inner: S) -> Self {
        Self { host, inner }
    }
}

impl<S, Request, Response> Service<http::Request<Request>> for ObservedGrpc<S>
where
    S: Service<http::Request<Request>, Response = http::Response<Response>>,
    S::Future: Send + 'static,
    S::Error: Display,
    Response: Body,
    Response::Error: Display,
{
    type Response = http::Response<ObservedBody<Response>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Request>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let correlation_id = text(request.headers(), CORRELATION_HEADER);
        let call = self.host.grpc_call(method, correlation_id);
        let answer = self.inner.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => Ok(observe(call, response)),
                Err(error) => {
                    call.fail("UNAVAILABLE", &error.to_string());
                    Err(error)
                }
            }
        })
    }
}

/// A response without a body has its status in the headers; with one, it is still to come.
fn observe<B>(call: GrpcCall, response: http::Response<B>) -> http::Response<ObservedBody<B>> {
    let left = end_with_status(call, response.headers());
    response.map(|inner| ObservedBody {
        inner: Box::pin(inner),
        call: left,
    })
}

/// The body of a response, which ends its call; from [`ObservedGrpc`].
#[derive(Debug)]
pub struct ObservedBody<B> {
    inner: Pin<Box<B>>,
    /// The call, until its status is known.
    call: Option<GrpcCall>,
}

impl<B> Body for ObservedBody<B>
where
    B: Body,
    B::Error: Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = self.inner.as_mut().poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(call) = self.call.take()
                {
                    self.call = end_with_status(call, trailers);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(call) = self.call.take() {
                    call.fail("UNAVAILABLE", &error.to_string());
                }
            }
            Poll::Ready(None) => {
                if let Some(call) = self.call.take() {
                    call.fail("UNKNOWN", "the response ended without a status");
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Ends the call with the status among `headers`; gives it back when there is none.
fn end_with_status(call: GrpcCall, headers: &HeaderMap) -> Option<GrpcCall> {
    let Some(code) = headers.get("grpc-status") else {
        return Some(call);
    };
    match code.as_bytes() {
        b"0" => call.finish("OK", None),
        code => call.fail(status_name(code), &grpc_message(headers)),
    }
    None
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The name of a gRPC status code as it is written on the wire; a closed set, so that it may be a
/// label whatever a peer sends.
fn status_name(code: &[u8]) -> &'static str {
    match code {
        b"0" => "OK",
        b"1" => "CANCELLED",
        b"3" => "INVALID_ARGUMENT",
        b"4" => "DEADLINE_EXCEEDED",
        b"5" => "NOT_FOUND",
        b"6" => "ALREADY_EXISTS",
        b"7" => "PERMISSION_DENIED",
        b"8" => "RESOURCE_EXHAUSTED",
        b"9" => "FAILED_PRECONDITION",
        b"10" => "ABORTED",
        b"11" => "OUT_OF_RANGE",
        b"12" => "UNIMPLEMENTED",
        b"13" => "INTERNAL",
        b"14" => "UNAVAILABLE",
        b"15" => "DATA_LOSS",
        b"16" => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests;
