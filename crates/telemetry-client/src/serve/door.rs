//! What a manager has to do at a port before it is served: TLS, where that is spoken; and what those are told that do
//! otherwise.
//!
//! Nothing here waits where others are accepted: the handshake belongs to its connection, which has a place by then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is said of a manager that speaks TLS where the worker does not.
pub(super) const NO_TLS_HERE: &str = "a manager began TLS, which is not spoken at this port; set TELEMETRY_TLS_CERT and \
                                      TELEMETRY_TLS_KEY here, or have it dial without";
/// Time between two warnings.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// See the module. Clones are handles to the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Door {
    /// What is spoken there; nothing special at a plain port, nor at a unix socket.
    #[cfg(feature = "tls")]
    tls: Option<Arc<telemetry_tls::ServerTls>>,
    log: Arc<Log>,
}

/// Who was turned away.
#[derive(Debug, Default)]
struct Log {
    count: AtomicU64,
    last: Mutex<Last>,
}

/// The last one.
#[derive(Debug, Default)]
struct Last {
    why: Option<String>,
    /// What was said last, and when.
    told: Option<(String, Instant)>,
}

impl Door {
    /// Notes why somebody was turned away.
    pub(super) fn note(&self, why: &str) {
        self.log.count.fetch_add(1, Ordering::Relaxed);
        let mut last = self.log.last.lock().unwrap_or_else(PoisonError::into_inner);
        let told = last.told.as_ref();
        let is_due = told.is_none_or(|(told, at)| told != why && at.elapsed() >= BETWEEN_WARNINGS);
        if is_due {
            tracing::warn!(
                why,
                "a manager was turned away; others like it are only counted"
            );
            last.told = Some((why.to_owned(), Instant::now()));
        }
        if last.why.as_deref() != Some(why) {
            last.why = Some(why.to_owned());
        }
    }

    /// Whether nobody can read along.
    pub(super) fn is_encrypted(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Whether managers must show a certificate.
    pub(super) fn asks_for_certificates(&self) -> bool {
        #[cfg(feature = "tls")]
        return self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.asks_for_certificates());
        #[cfg(not(feature = "tls"))]
        false
    }

    /// How many were turned away.
    pub(super) fn refused(&self) -> u64 {
        self.log.count.load(Ordering::Relaxed)
    }

    /// Why the last one was.
    pub(super) fn last(&self) -> Option<String> {
        let last = self.log.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.why.clone()
    }
}

#[cfg(feature = "tls")]
mod tls {
    use telemetry_tls::{FirstBytes, ServerStream, ServerTls, TlsConfig, TlsError};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::{Arc, Door, Duration};
    use crate::serve::stream::Stream;

    /// What is spoken over it.
    const PROTOCOLS: &[&str] = &["h2"];
    /// Time for the last word to somebody who is not served, and to read what that had to say.
    const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);
    /// Most bytes that are read of it.
    const MAX_UNREAD_BYTES: u64 = 64 * 1024;
    /// What is said of a peer without TLS.
    const PLAIN: &str =
        "a manager does not speak TLS, which this port does; say tls = true in its [[endpoint]]";
    /// What a client of HTTP/2 without TLS is told.
    const SPEAKS_TLS: &[u8] = b"this port speaks TLS; say tls = true in the [[endpoint]]";
    /// The same for one of HTTP/1.
    const PLAIN_HTTP: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n\
        This port speaks TLS, and managers dial it.\n";
    /// Types of frames of HTTP/2.
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    /// `INADEQUATE_SECURITY` of HTTP/2.
    const INADEQUATE_SECURITY: u8 = 12;

    impl Door {
        /// One at which TLS is spoken.
        ///
        /// # Errors
        /// [`TlsError`].
        pub(in crate::serve) fn with_tls(config: &TlsConfig) -> Result<Self, TlsError> {
            Ok(Self {
                tls: Some(Arc::new(ServerTls::new(config, PROTOCOLS)?)),
                ..Self::default()
            })
        }

        /// Speaks TLS, where that is spoken; says why not otherwise, if there is anything to be said. There is no deadline here.
        pub(in crate::serve) async fn open(
            &self,
            stream: Stream,
        ) -> Result<Opened, Option<String>> {
            let Some(tls) = &self.tls else {
                return Ok(Opened::Plain(stream));
            };
            let mut first = [0; FirstBytes::ENOUGH];
            let seen = stream.peek(&mut first).await.unwrap_or(0);
            if seen == 0 {
                // As somebody does who only looks whether the port is there.
                return Err(None);
            }
            // One byte tells TLS from everything else.
            let what = FirstBytes::of(&first[..seen]);
            if what != FirstBytes::Tls {
                let word = if first.starts_with(b"PRI") {
                    goaway()
                } else {
                    PLAIN_HTTP.to_vec()
                };
                tell(stream, &word).await;
                return Err(Some(PLAIN.to_owned()));
            }
            // This thread has nothing else to do.
            tls.look();
            match tls.try_accept(stream).await {
                Ok(stream) => Ok(Opened::Tls(Box::new(stream))),
                Err((error, stream)) => {
                    tell(stream, &[]).await;
                    Err(Some(error.to_string()))
                }
            }
        }
    }

    /// A connection on which HTTP/2 comes next.
    #[derive(Debug)]
    pub(in crate::serve) enum Opened {
        Plain(Stream),
        Tls(Box<ServerStream<Stream>>),
    }

    /// Says a last word, and takes what the peer still says: what is left unread would cut the word off, and what TLS has
    /// said before.
    async fn tell(mut stream: Stream, word: &[u8]) {
        let said = async {
            stream.write_all(word).await?;
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(MAX_UNREAD_BYTES), &mut tokio::io::sink()).await
        };
        // Who does not listen has chosen so.
        let _heard: Result<std::io::Result<u64>, _> = timeout(LAST_WORD_TIMEOUT, said).await;
    }

    /// The end of a connection of HTTP/2 in words: empty settings, and a goodbye that has them.
    fn goaway() -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
        let length = u8::try_from(8 + SPEAKS_TLS.len()).unwrap_or(u8::MAX);
        bytes.extend([0, 0, length, GOAWAY, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY]);
        bytes.extend(SPEAKS_TLS);
        bytes
    }
}

#[cfg(feature = "tls")]
pub(super) use tls::Opened;
