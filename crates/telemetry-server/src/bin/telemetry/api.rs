//! Asks a running manager over HTTP/1.
//!
//! As small as it can be: one connection, one GET, no redirects, no TLS. A manager listens on
//! loopback.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::Failure;

/// Longest wait for a connection, and for the head of an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The address of a manager.
#[derive(Debug)]
pub(crate) struct Api {
    /// Host and port, as the `Host` header says it.
    authority: String,
}

impl Api {
    /// Reads `http://host:port`.
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::Usage(format!(
                "--url {url:?} is not allowed; it must be like {:?}",
                crate::DEFAULT_URL
            ))
        };
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        let authority = uri
            .authority()
            .filter(|authority| plain && !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
        })
    }

    /// The head of the answer to a GET; its body follows as it comes.
    pub(crate) async fn get(&self, path: &str) -> Result<http::Response<Incoming>, Failure> {
        let connect = timeout(PATIENCE, TcpStream::connect(&self.authority)).await;
        let stream = connect
            .map_err(|_| self.silent())?
            .map_err(|error| self.absent(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.no_manager(&error))?;
        // Ends with the answer; an error of it shows in the answer.
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(header::HOST, &self.authority)
            .body(Empty::<Bytes>::new())
            .map_err(Failure::of)?;
        let answer = timeout(PATIENCE, sender.send_request(request)).await;
        let answer = answer
            .map_err(|_| self.silent())?
            .map_err(|error| self.no_manager(&error))?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let told = Limited::new(answer.into_body(), 4_096).collect().await;
            let told = told.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
            return Err(Failure::Failed(format!(
                "http://{} answered {status}: {}",
                self.authority,
                telemetry_core::catalog::escape(&reason(&told.unwrap_or_default()))
            )));
        }
        Ok(answer)
    }

    /// The whole answer to a GET.
    pub(crate) async fn get_all(&self, path: &str) -> Result<Bytes, Failure> {
        let answer = self.get(path).await?;
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok(body.map_err(|error| self.no_manager(&error))?.to_bytes())
    }

    fn absent(&self, error: &std::io::Error) -> Failure {
        Failure::Failed(format!(
            "no manager listens at http://{} ({error}); start one with `telemetry manager`, \
             or give the address of one with --url",
            self.authority
        ))
    }

    fn silent(&self) -> Failure {
        Failure::Failed(format!(
            "http://{} did not answer within {} s; is it a manager?",
            self.authority,
            PATIENCE.as_secs()
        ))
    }

    fn no_manager(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Failed(format!(
            "http://{} broke off: {error}; is it a manager?",
            self.authority
        ))
    }
}

/// What a refusal says: the `error` of a manager's answer, or the answer as it is.
fn reason(answer: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(answer).ok();
    let error = parsed.as_ref().and_then(|answer| answer["error"].as_str());
    error.unwrap_or(answer).trim().to_owned()
}

/// A runtime for one conversation.
pub(crate) fn block_on<T>(
    conversation: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(Failure::of)?.block_on(conversation)
}

/// A text as the value of a query parameter.
pub(crate) fn query_value(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
