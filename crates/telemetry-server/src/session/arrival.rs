//! A connection that a worker opened, as it is handed to the worker's session.
//!
//! It was introduced, checked and given an id before; the session only serves it.

use telemetry_core::IntroductionAnswer;
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
    /// When it was accepted. Which of two is newer does not show in the order in which they are handed over.
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
    /// Whether it is older than one of this incarnation that was accepted then.
    pub(super) fn is_older_than(&self, incarnation: &str, since: Option<Instant>) -> bool {
        self.incarnation == incarnation && since.is_some_and(|since| self.since < since)
    }

    /// What errors call it.
    pub(super) fn peer(&self) -> Peer {
        Peer::Process { pid: self.pid }
    }
}

impl Carrier {
    /// Tells a peer that was told nothing so far that it is welcome. Where that fails, its session will find that the
    /// connection is of no use.
    pub(crate) async fn welcome(&mut self) {
        let welcome = IntroductionAnswer::Welcome.to_frame();
        let is_said = match self {
            // There is room for a few bytes in a new connection.
            Self::Unix(stream) => stream.try_write(&welcome).ok() == Some(welcome.len()),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => {
                use tokio::io::AsyncWriteExt;
                stream.write_all(&welcome).await.is_ok()
            }
        };
        if !is_said {
            tracing::debug!("a worker could not be welcomed");
        }
    }
}
