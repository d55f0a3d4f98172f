//! The worker's side of a stream as HTTP brings it: headers, chunks, trailers, and what they mean.
//!
//! It knows HTTP and gRPC's words for an end; what follows from one is decided by the session.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use hyper::body::Incoming;
use telemetry_core::catalog::{escape, truncate};

use super::dial::Answer;
use crate::grpc_message::grpc_message;

/// Longest status message that is kept, in bytes.
const MAX_STATUS_BYTES: usize = 256;
/// `grpc-status` of a stream that a newer one replaced.
const STATUS_ABORTED: &str = "10";

/// What comes from the worker.
pub(super) enum Arrived {
    Headers(http::Response<Incoming>),
    Chunk(Bytes),
    Trailers(http::HeaderMap),
    End,
    Failed(hyper::Error),
}

/// The response as far as it is there.
pub(super) enum Response {
    Awaited(Answer),
    Open(Incoming),
}

impl Response {
    /// The next thing from the worker. May be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Arrived {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next thing from the worker if it is there already. Costs a fraction of waiting for it
    /// among everything else that a session waits for.
    pub(super) async fn next_ready(&mut self) -> Option<Arrived> {
        poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(arrived) => Poll::Ready(Some(arrived)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        let frame = match self {
            Self::Awaited(answer) => {
                let answered = ready!(answer.as_mut().poll(cx));
                return Poll::Ready(answered.map_or_else(Arrived::Failed, Arrived::Headers));
            }
            Self::Open(body) => ready!(Pin::new(body).poll_frame(cx)),
        };
        Poll::Ready(match frame {
            None => Arrived::End,
            Some(Err(error)) => Arrived::Failed(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => Arrived::Chunk(chunk),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => Arrived::Trailers(trailers),
                    Err(_) => Arrived::Chunk(Bytes::new()),
                },
            },
        })
    }
}

/// A worker's last word on a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    /// Whether the worker serves another manager now.
    pub(super) replaced: bool,
    /// For a human, escaped.
    pub(super) reason: String,
}

/// What the trailers of a stream say.
pub(super) fn farewell(trailers: &http::HeaderMap) -> Farewell {
    Farewell {
        replaced: status_of(trailers) == STATUS_ABORTED,
        reason: status_text(trailers),
    }
}

/// Why response headers are no beginning of a stream; `None` if they are one.
pub(super) fn refusal(head: &http::response::Parts) -> Option<Farewell> {
    let refused = |reason| {
        Some(Farewell {
            replaced: false,
            reason,
        })
    };
    let content_type = head.headers.get(http::header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if head.status != StatusCode::OK {
        refused(format!("HTTP status {}", head.status))
    } else if head.headers.contains_key("grpc-status") {
        Some(farewell(&head.headers))
    } else if is_grpc {
        None
    } else {
        refused("the answer is not gRPC".to_owned())
    }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn status_of(headers: &http::HeaderMap) -> &str {
    headers
        .get("grpc-status")
        .and_then(|status| status.to_str().ok())
        .unwrap_or_default()
}

/// The gRPC status for a human, escaped.
fn status_text(headers: &http::HeaderMap) -> String {
    let message = grpc_message(headers);
    let message = escape(truncate(&message, MAX_STATUS_BYTES)).into_owned();
    let status = match status_of(headers) {
        "" => "no gRPC status".to_owned(),
        "0" => "the worker ended the stream".to_owned(),
        status => format!("gRPC status {}", escape(truncate(status, MAX_STATUS_BYTES))),
    };
    if message.is_empty() {
        status
    } else {
        format!("{status}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The judgement on a head with these headers: whether it says replaced, and the reason.
    fn judged(status: u16, headers: &[(&'static str, &str)]) -> Option<(bool, String)> {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let (head, ()) = response.body(()).expect("valid headers").into_parts();
        refusal(&head).map(|farewell| (farewell.replaced, farewell.reason))
    }

    #[test]
    fn only_an_ok_head_of_grpc_without_a_status_begins_a_stream() {
        let grpc = ("content-type", "application/grpc+proto");
        assert_eq!(judged(200, &[grpc]), None);
        let refused = |reason: &str| Some((false, reason.to_owned()));
        assert_eq!(judged(404, &[grpc]), refused("HTTP status 404 Not Found"));
        assert_eq!(
            judged(200, &[("content-type", "text/html")]),
            refused("the answer is not gRPC")
        );
        assert_eq!(
            judged(200, &[grpc, ("grpc-status", "12")]),
            refused("gRPC status 12")
        );
        let aborted = judged(200, &[grpc, ("grpc-status", "10"), ("grpc-message", "x")]);
        assert_eq!(aborted, Some((true, "gRPC status 10: x".to_owned())));
    }

    #[test]
    fn an_orderly_end_is_said_in_words() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        assert_eq!(farewell(&trailers).reason, "the worker ended the stream");
    }

    #[test]
    fn a_message_is_escaped_and_cut() {
        let mut trailers = http::HeaderMap::new();
        let hostile = format!("\u{202e}{}", "y".repeat(10_000));
        let hostile = http::HeaderValue::from_bytes(hostile.as_bytes()).expect("opaque bytes");
        trailers.insert("grpc-message", hostile);
        let reason = farewell(&trailers).reason;
        assert!(reason.starts_with(r"no gRPC status: \u{202E}y"), "{reason}");
        assert!(reason.len() < 2 * MAX_STATUS_BYTES, "{}", reason.len());
        let encoded = format!("%0A%E2%80%AE{}", "%79".repeat(10_000));
        let encoded = http::HeaderValue::from_str(&encoded).expect("visible bytes");
        trailers.insert("grpc-message", encoded);
        let reason = farewell(&trailers).reason;
        let begin = r"no gRPC status: \u{000A}\u{202E}y";
        assert!(reason.starts_with(begin), "{reason}");
        assert!(reason.len() < 2 * MAX_STATUS_BYTES, "{}", reason.len());
    }
}
