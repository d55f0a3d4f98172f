//! A connection that a worker opened, as it is handed to the worker's session.
//!
//! It was introduced, checked and given an id before; the session only serves it.

use tokio::net::UnixStream;
use tokio::time::Instant;

use super::life::Life;
use super::peer::Peer;
use crate::region::Region;

/// See the module.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Behind the introduction and its answer: HTTP/2 comes next.
    pub(crate) stream: Carrier,
    /// The incarnation it introduced itself as; a hello that says otherwise ends the connection.
    pub(crate) incarnation: String,
    /// The process id behind it, if the system can tell it.
    pub(crate) pid: Option<u32>,
    /// Tells when that process has ended.
    pub(crate) life: Life,
    /// Its memory, if it handed that over.
    pub(crate) region: Option<Region>,
    /// When it was accepted.
    pub(crate) since: Instant,
}

/// What carries a connection.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A socket.
    Unix(UnixStream),
    /// What a simulation made.
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn crate::simulated::Io>),
}

impl Arrival {
    /// What errors call it.
    pub(super) fn peer(&self) -> Peer {
        Peer::Process { pid: self.pid }
    }
}
