//! Asks a running manager over HTTP/1.
//!
//! As small as it can be: one connection, one question, no redirects. A manager listens on a unix socket and at a
//! port, with TLS or without.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use telemetry_server::process::stranger_behind;
use telemetry_server::telemetry_tls::{ClientStream, ClientTls, TlsConfig, explain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::running::{Running, Way};

/// Longest wait for a connection, and for the head of an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for the rest of an answer.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// What is spoken over TLS.
const PROTOCOLS: &[&str] = &["http/1.1"];
/// Largest refusal that is read.
const MAX_REFUSAL_BYTES: usize = 256 * 1024;
/// Largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A manager that is asked, by the first of the ways at which somebody listens.
#[derive(Debug)]
pub(crate) struct Api {
    ways: Vec<Way>,
}

type Requests = SendRequest<Full<Bytes>>;

/// A question.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// What is brought along, which is JSON.
    pub(crate) body: Option<String>,
    /// Which revision of the policy it is about.
    pub(crate) if_match: Option<u64>,
}

impl<'a> Question<'a> {
    /// Nothing is to be changed.
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: None,
            if_match: None,
        }
    }
}

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
        let (way, answer) = self.ask(Question::get(path)).await?;
        match answer.status() {
            StatusCode::OK => Ok((way, answer)),
            _ => Err(refused(way, answer).await),
        }
    }

    /// The head of whatever is answered to a question.
    async fn ask(
        &self,
        question: Question<'_>,
    ) -> Result<(&Way, http::Response<Incoming>), Failure> {
        let mut absent = Vec::new();
        for way in &self.ways {
            match connect(way).await? {
                Ok(sender) => return Ok((way, ask(way, sender, question).await?)),
                Err(error) => absent.push(format!("{way} ({error})")),
            }
        }
        Err(Failure::Failed(format!(
            "no manager listens at {}; start one with `telemetry manager`, \
             or say which one with --config or --url",
            absent.join(", nor at ")
        )))
    }

    /// The answer to a question, which is JSON, if it is not refused.
    pub(crate) async fn say(&self, question: Question<'_>) -> Result<Value, Failure> {
        let (way, answer) = self.ask(question).await?;
        if !answer.status().is_success() {
            return Err(refused(way, answer).await);
        }
        let body = whole(way, answer).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Failed(format!(
                "{way} did not answer in JSON ({error}); is it a manager?"
            ))
        })
    }

    /// What a manager says there; none if that is not there.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.say(Question::get(path)).await {
            Err(Failure::Absent(_)) => Ok(None),
            said => said.map(Some),
        }
    }

    /// What a manager says there.
    pub(crate) async fn json(&self, path: &str) -> Result<Value, Failure> {
        self.say(Question::get(path)).await
    }

    /// The whole answer to a GET, and who answered.
    pub(crate) async fn get_all(&self, path: &str) -> Result<(&Way, Bytes), Failure> {
        let (way, answer) = self.get(path).await?;
        Ok((way, whole(way, answer).await?))
    }
}

/// The body of an answer.
async fn whole(way: &Way, answer: http::Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect();
    let body = timeout(BODY_PATIENCE, body)
        .await
        .map_err(|_| silent(way))?;
    Ok(body.map_err(|error| broken(way, &*error))?.to_bytes())
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
    question: Question<'_>,
) -> Result<http::Response<Incoming>, Failure> {
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.path);
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
    if question.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(revision) = question.if_match {
        request = request.header(header::IF_MATCH, format!("\"{revision}\""));
    }
    let body = Full::from(question.body.unwrap_or_default());
    let request = request.body(body).map_err(Failure::of)?;
    let answer = timeout(PATIENCE, sender.send_request(request)).await;
    answer
        .map_err(|_| silent(way))?
        .map_err(|error| broken(way, &error))
}

/// What somebody says who does not do what was asked.
async fn refused(way: &Way, answer: http::Response<Incoming>) -> Failure {
    let status = answer.status();
    let told = Limited::new(answer.into_body(), MAX_REFUSAL_BYTES)
        .collect()
        .await;
    let told = told.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    let told = reason(&told.unwrap_or_default());
    let advice = match status {
        StatusCode::UNAUTHORIZED => {
            "; name that file with --token-file, or the manager's configuration with --config"
        }
        _ => "",
    };
    let told = format!("{way} answered {status}: {told}{advice}");
    match status {
        StatusCode::NOT_FOUND => Failure::Absent(told),
        StatusCode::PRECONDITION_FAILED => Failure::Stale(told),
        _ => Failure::Failed(told),
    }
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

/// What a refusal says, for a terminal: the `error` of a manager's answer and each of its `problems`, or the answer as
/// it is.
fn reason(answer: &str) -> String {
    let escape = |text: &str| telemetry_core::catalog::escape(text).into_owned();
    let parsed = serde_json::from_str::<Value>(answer).ok();
    let parsed = parsed.as_ref();
    let error = parsed.and_then(|answer| answer["error"].as_str());
    let mut told = escape(error.unwrap_or(answer).trim());
    let problems = parsed.and_then(|answer| answer["problems"].as_array());
    for problem in problems.into_iter().flatten() {
        let word = |key| escape(problem[key].as_str().unwrap_or_default());
        told.push_str(&format!(
            "\n  {}: {}: {}",
            word("rule"),
            word("field"),
            word("error")
        ));
    }
    told
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
