//! Asks a running manager over HTTP/1.
//!
//! As small as it can be: one connection, one GET, no redirects. A manager listens on a unix socket and at a
//! port, with TLS or without.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use telemetry_server::process::stranger_behind;
use telemetry_server::telemetry_tls::{ClientStream, ClientTls, TlsConfig, explain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::running::{Running, Way};

/// Longest wait for a connection, and for the head of an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is spoken over TLS.
const PROTOCOLS: &[&str] = &["http/1.1"];
/// Largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A manager that is asked, by the first of the ways at which somebody listens.
#[derive(Debug)]
pub(crate) struct Api {
    ways: Vec<Way>,
}

type Requests = SendRequest<Empty<Bytes>>;

impl Api {
    /// The manager that is meant.
    pub(crate) fn of(running: &Running) -> Result<Self, Failure> {
        running.ways().map(|ways| Self { ways })
    }

    /// The head of the answer to a GET; its body follows as it comes. With it comes who answered.
    pub(crate) async fn get(
        &self,
        path: &str,
    ) -> Result<(&Way, http::Response<Incoming>), Failure> {
        let mut absent = Vec::new();
        for way in &self.ways {
            match connect(way).await? {
                Ok(sender) => return Ok((way, ask(way, sender, path).await?)),
                Err(error) => absent.push(format!("{way} ({error})")),
            }
        }
        Err(Failure::Failed(format!(
            "no manager listens at {}; start one with `telemetry manager`, \
             or say which one with --config or --url",
            absent.join(", nor at ")
        )))
    }

    /// The whole answer to a GET, and who answered.
    pub(crate) async fn get_all(&self, path: &str) -> Result<(&Way, Bytes), Failure> {
        let (way, answer) = self.get(path).await?;
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok((way, body.map_err(|error| broken(way, &*error))?.to_bytes()))
    }
}

/// A connection, or why nobody is there.
async fn connect(way: &Way) -> Result<io::Result<Requests>, Failure> {
    match way {
        Way::Socket(path) => match there(way, UnixStream::connect(path)).await? {
            Ok(stream) => shake(way, stream).await.map(Ok),
            Err(absent) => Ok(Err(absent)),
        },
        Way::Port { authority, tls, .. } => {
            match (there(way, TcpStream::connect(authority)).await?, tls) {
                (Err(absent), _) => Ok(Err(absent)),
                (Ok(stream), None) => {
                    check_listener(way, &stream)?;
                    shake(way, stream).await.map(Ok)
                }
                (Ok(stream), Some(tls)) => {
                    let stream = encrypted(way, tls, authority, stream).await?;
                    shake(way, stream).await.map(Ok)
                }
            }
        }
    }
}

/// A stream to somebody, or why nobody is there.
async fn there<S>(
    way: &Way,
    connecting: impl Future<Output = io::Result<S>>,
) -> Result<io::Result<S>, Failure> {
    let connected = timeout(PATIENCE, connecting).await;
    connected.map_err(|_| silent(way))
}

/// The same, encrypted.
async fn encrypted<S: AsyncRead + AsyncWrite + Unpin>(
    way: &Way,
    tls: &TlsConfig,
    authority: &str,
    stream: S,
) -> Result<ClientStream<S>, Failure> {
    if tls.ca.is_none() {
        return Err(Failure::Usage(format!(
            "{way} needs the authority that signed the manager's certificate; name its file with --ca, or set \
             `ca` in [tls] or [http.tls] of the configuration (`client_ca` is for those that ask)"
        )));
    }
    let tls = ClientTls::new(tls, PROTOCOLS)
        .map_err(|error| Failure::Usage(format!("{way}: {error}")))?;
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let shaken = timeout(PATIENCE, tls.connect(stream, host)).await;
    let shaken = shaken.map_err(|_| silent(way))?;
    shaken.map_err(|error| Failure::Failed(format!("{way}: no TLS: {error}")))
}

async fn shake<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    way: &Way,
    stream: S,
) -> Result<Requests, Failure> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(way, &error))?;
    // Ends with the answer; an error of it shows in the answer.
    tokio::spawn(connection);
    Ok(sender)
}

/// Refuses to show the configuration's token, unencrypted, to whoever else listens there.
fn check_listener(way: &Way, stream: &TcpStream) -> Result<(), Failure> {
    let Way::Port {
        token: Some(_),
        owner: Some(owner),
        ..
    } = way
    else {
        return Ok(());
    };
    let (local, peer) = (stream.local_addr(), stream.peer_addr());
    let (local, peer) = (local.map_err(Failure::of)?, peer.map_err(Failure::of)?);
    match stranger_behind(local, peer, Some(*owner)) {
        None => Ok(()),
        Some(stranger) => Err(Failure::Failed(format!(
            "the token of the configuration is not shown at {way}: {stranger}; if that is the manager, name the \
             token with --token-file, or use its [http] socket"
        ))),
    }
}

async fn ask(
    way: &Way,
    mut sender: Requests,
    path: &str,
) -> Result<http::Response<Incoming>, Failure> {
    let mut request = Request::get(path);
    match way {
        Way::Socket(_) => request = request.header(header::HOST, "localhost"),
        Way::Port {
            authority, token, ..
        } => {
            request = request.header(header::HOST, authority);
            if let Some(token) = token {
                let shown = format!("Bearer {}", token.reveal());
                let mut shown = HeaderValue::try_from(shown).map_err(Failure::of)?;
                shown.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, shown);
            }
        }
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(Failure::of)?;
    let answer = timeout(PATIENCE, sender.send_request(request)).await;
    let answer = answer
        .map_err(|_| silent(way))?
        .map_err(|error| broken(way, &error))?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(answer);
    }
    let told = Limited::new(answer.into_body(), 4_096).collect().await;
    let told = told.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    let told = reason(&told.unwrap_or_default());
    let told = telemetry_core::catalog::escape(&told);
    let advice = match status {
        StatusCode::UNAUTHORIZED => {
            "; name that file with --token-file, or the manager's configuration with --config"
        }
        _ => "",
    };
    Err(Failure::Failed(format!(
        "{way} answered {status}: {told}{advice}"
    )))
}

fn silent(way: &Way) -> Failure {
    Failure::Failed(format!(
        "{way} did not answer within {} s; is it a manager?",
        PATIENCE.as_secs()
    ))
}

fn broken(way: &Way, error: &(dyn Error + 'static)) -> Failure {
    let Way::Port { tls: Some(tls), .. } = way else {
        return Failure::Failed(format!("{way} broke off: {error}; is it a manager?"));
    };
    // What the manager thinks of us comes after our side of the handshake, and may come too late to be read.
    let advice = match tls.cert {
        Some(_) => "",
        None => "; if it asks for a certificate, name ours with --cert and --key",
    };
    let told = of_tls(error).unwrap_or_else(|| error.to_string());
    Failure::Failed(format!("{way} broke off: {told}{advice}"))
}

/// What an error says if it came from TLS.
fn of_tls(error: &(dyn Error + 'static)) -> Option<String> {
    let mut inner = Some(error);
    while let Some(error) = inner {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(explain(error, None));
        }
        inner = error.source();
    }
    None
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
