//! Who is at the other end of a connection, whoever opened it.
//!
//! For texts and tables; nothing here connects.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use telemetry_core::Address;

/// Who opened the connection of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkKind {
    /// The manager dials the worker.
    Out,
    /// The worker dialled in.
    In,
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// What listens at this address.
    Endpoint(Address),
    /// A process that dialled in; its id, if the system can tell it.
    Process {
        /// As the manager's system counts; none of a process in a namespace that it cannot see.
        pid: Option<u32>,
    },
    /// A worker of another machine, which dialled in.
    Remote {
        /// From where, or whose proxy.
        address: SocketAddr,
        /// The name in its certificate, if it showed one.
        certificate: Option<String>,
    },
}

impl Peer {
    /// Whether the system can tell nothing of its process.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote { .. })
    }

    /// The name in its certificate, if it showed one.
    pub(crate) fn certificate(&self) -> Option<&str> {
        match self {
            Self::Remote { certificate, .. } => certificate.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Process { pid: Some(pid) } => write!(f, "the worker that dialled in, pid {pid}"),
            Self::Process { pid: None } => f.write_str("the worker that dialled in"),
            Self::Remote {
                address,
                certificate: None,
            } => write!(f, "the worker that dialled in from {address}"),
            Self::Remote {
                address,
                certificate: Some(name),
            } => write!(f, "{name:?}, which dialled in from {address}"),
        }
    }
}
