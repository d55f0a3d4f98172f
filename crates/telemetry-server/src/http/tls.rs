//! A port at which HTTP is spoken over TLS: the handshake, and what those are told that begin without one.
//!
//! Nothing here waits where others are accepted: the handshake belongs to its connection, which has a place
//! by then and may lose it.

use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use telemetry_core::catalog::escape;
use telemetry_tls::{FirstBytes, ServerStream, ServerTls, TlsConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::arrival::{Arrival, Door, last_word};
use super::patience::{Patient, Seat};
use super::refused::{Refusal, Refusals};
use super::{HTTP_HEAD_TIMEOUT, HttpError, MAX_HTTP_HEAD_BYTES};
use crate::secret_file;

/// What is spoken over it; the only thing that the server serves.
const PROTOCOLS: &[&str] = &["http/1.1"];

/// What a client without TLS is told.
const SPEAKS_TLS: &str = "this port speaks TLS; ask it with https://";

/// The port, and what is shown at it.
#[derive(Debug)]
pub(super) struct TlsDoor {
    listener: TcpListener,
    tls: Arc<ServerTls>,
    refusals: Refusals,
}

/// Reads the files of a port.
pub(super) fn read(config: &TlsConfig) -> Result<Arc<ServerTls>, HttpError> {
    if let Some(key) = &config.key {
        secret_file::check(key)?;
    }
    Ok(Arc::new(ServerTls::new(config, PROTOCOLS)?))
}

impl TlsDoor {
    pub(super) fn new(listener: TcpListener, tls: Arc<ServerTls>, refusals: Refusals) -> Self {
        Self {
            listener,
            tls,
            refusals,
        }
    }
}

impl Door for TlsDoor {
    type Stream = TcpStream;
    type Served = ServerStream<Patient<TcpStream>>;

    async fn accept(&self) -> io::Result<TcpStream> {
        Door::accept(&self.listener).await
    }

    fn look_at(&self, stream: &TcpStream) -> Result<Arrival, String> {
        self.listener.look_at(stream)
    }

    fn open(
        &self,
        stream: TcpStream,
        arrival: Arrival,
        seat: Seat,
    ) -> impl Future<Output = Option<Self::Served>> + Send + 'static {
        let (tls, refusals) = (Arc::clone(&self.tls), self.refusals.clone());
        async move {
            let shaken = timeout(HTTP_HEAD_TIMEOUT, shake_hands(&tls, stream, seat)).await;
            let why = match shaken {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(None)) => return None,
                Ok(Err(Some(why))) => why,
                Err(_elapsed) => format!("no TLS within {} s", HTTP_HEAD_TIMEOUT.as_secs()),
            };
            refusals.note_because(Refusal::Tls, &arrival, &escape(&why));
            None
        }
    }
}

/// Speaks TLS, or says why not; nothing of a client that left without a word, as it may at a plain port.
async fn shake_hands(
    tls: &Arc<ServerTls>,
    stream: TcpStream,
    seat: Seat,
) -> Result<ServerStream<Patient<TcpStream>>, Option<String>> {
    let mut first = [0; FirstBytes::ENOUGH];
    let seen = stream.peek(&mut first).await.unwrap_or(0);
    if seen == 0 {
        return Err(None);
    }
    let mut stream = Patient::new(stream, seat);
    // One byte tells TLS from everything else.
    if FirstBytes::of(&first[..seen]) != FirstBytes::Tls {
        let told = last_word("400 Bad Request", SPEAKS_TLS);
        // Who does not listen has chosen so.
        let _heard = tell(&mut stream, &told).await;
        return Err(Some("the peer does not speak TLS".to_owned()));
    }
    let looks = Arc::clone(tls);
    // It fails only together with the runtime.
    let _looked = spawn_blocking(move || looks.look()).await;
    let shaken = tls.accept(stream).await;
    shaken.map_err(|error| Some(error.to_string()))
}

/// Says a last word, and takes what the client still says: what is left unread would cut the word off.
async fn tell(stream: &mut Patient<TcpStream>, word: &Bytes) -> io::Result<()> {
    stream.write_all(word).await?;
    stream.shutdown().await?;
    let limit = u64::try_from(MAX_HTTP_HEAD_BYTES).unwrap_or(u64::MAX);
    tokio::io::copy(&mut stream.take(limit), &mut tokio::io::sink()).await?;
    Ok(())
}
