//! Why a worker could not be reached.

use std::io;
use std::path::PathBuf;

use telemetry_core::Address;
use thiserror::Error;

use super::HANDSHAKE_TIMEOUT;
use crate::session::peer::Peer;
use crate::session::response::chain;

/// Why a worker could not be reached or its stream not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is no socket file; the worker is not up yet, or gone.
    #[error("there is no socket at {}", path.display())]
    NoSocket {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no socket file any more, of a worker whose process lives as far as is known.
    #[error(
        "there is no socket at {} any more, although process {process} lives: somebody removed it; \
         the worker can be reached again after its restart",
        path.display()
    )]
    SocketTaken {
        /// Where it was.
        path: PathBuf,
        /// The process that made it.
        process: u32,
    },
    /// The process behind the socket is not the worker that was started, nor of its family.
    #[error(
        "the socket at {endpoint} is not the one that the worker made: process {found} is behind it, \
         which process {started} did not start"
    )]
    Impostor {
        /// What was dialled.
        endpoint: Address,
        /// The process behind it.
        found: u32,
        /// The process that was started as the worker.
        started: u32,
    },
    /// The connection was refused or failed.
    #[error("connecting to {endpoint}: {error}")]
    Connect {
        /// What was dialled.
        endpoint: Address,
        /// What the system said.
        error: io::Error,
    },
    /// TLS could not be begun: whoever is there is not to be trusted, or speaks something else.
    #[cfg(feature = "tls")]
    #[error("no TLS with {endpoint}: {error}")]
    Tls {
        /// What was dialled.
        endpoint: Address,
        /// What is wrong, in words.
        error: io::Error,
    },
    /// Nobody accepted the connection in time.
    #[error("connecting to {endpoint} took longer than {HANDSHAKE_TIMEOUT:?}")]
    ConnectTimeout {
        /// What was dialled.
        endpoint: Address,
    },
    /// The process behind the socket runs as a user that is not accepted.
    #[error("the process behind {peer} runs as user {found}, who is not accepted")]
    ForeignPeer {
        /// The other end.
        peer: Peer,
        /// The user id behind it.
        found: u32,
    },
    /// HTTP/2 could not be started, or the peer ended it before it answered.
    #[error("HTTP/2 with {peer}: {}", chain(&**error))]
    Http2 {
        /// The other end.
        peer: Peer,
        /// What went wrong.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer did not answer the request for the stream.
    #[error("no response headers from {peer} within {HANDSHAKE_TIMEOUT:?}")]
    NoHeaders {
        /// The other end.
        peer: Peer,
    },
    /// The peer was asked for a sign of life before it would be asked for the stream, and gave none.
    #[error(
        "{peer} took the connection and did not answer Ping within {HANDSHAKE_TIMEOUT:?}; \
         it may be stopped or at work"
    )]
    NoPong {
        /// The other end.
        peer: Peer,
    },
    /// The peer answered, but not with a stream.
    #[error("{peer} refused the stream: {reason}")]
    Refused {
        /// The other end.
        peer: Peer,
        /// Status and message, escaped.
        reason: String,
    },
}

impl DialError {
    /// Whether nobody listens at a port of this machine: to find that out costs little, and whoever starts there
    /// should not be waited for by chance.
    pub(in crate::session) fn is_free_port(&self) -> bool {
        match self {
            Self::Connect { endpoint, error } => {
                endpoint.is_local() && error.kind() == io::ErrorKind::ConnectionRefused
            }
            _ => false,
        }
    }

    /// Whether somebody listens who does not answer.
    pub(in crate::session) fn is_silence(&self) -> bool {
        matches!(self, Self::NoHeaders { .. } | Self::NoPong { .. })
    }

    /// Whether nobody is behind a local socket: to find that out cost nothing.
    pub(in crate::session) fn is_nobody(&self) -> bool {
        match self {
            Self::NoSocket { .. } => true,
            Self::Connect { endpoint, error } => {
                endpoint.socket_path().is_some() && error.kind() == io::ErrorKind::ConnectionRefused
            }
            _ => false,
        }
    }
}
