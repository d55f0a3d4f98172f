//! A connection that a worker opened, as it is handed to the worker's session.
//!
//! It was introduced, checked and given an id before; the session only serves it.

use std::sync::atomic::{AtomicU64, Ordering};

use telemetry_core::wire::IntroductionAnswer;
#[cfg(any(feature = "tls", feature = "simulation"))]
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::Instant;
#[cfg(feature = "tls")]
use tokio::time::timeout;

use super::life::Life;
use super::peer::Peer;
use crate::accounts::Silent;
use crate::region::Region;

/// How long it may take to write that somebody is welcome.
#[cfg(feature = "tls")]
const WELCOME_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Behind the introduction and its answer: HTTP/2 comes next.
    pub(crate) stream: Carrier,
    /// The incarnation it introduced itself as; a hello that says otherwise ends the connection.
    pub(crate) incarnation: String,
    /// What errors call it.
    pub(crate) peer: Peer,
    /// The process id behind it, if the system can tell it.
    pub(crate) pid: Option<u32>,
    /// Tells when that process has ended.
    pub(crate) life: Life,
    /// Its memory, if it handed that over.
    pub(crate) region: Option<Region>,
    /// When it was accepted. Which of two is newer does not show in the order in which they are handed over.
    pub(crate) accepted: Accepted,
}

/// When a connection was accepted; those of one process in the order in which they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Accepted {
    /// Its number among all of them. A clock may say the same of two.
    number: u64,
    pub(super) at: Instant,
}

impl Accepted {
    pub(crate) fn now() -> Self {
        static ACCEPTED: AtomicU64 = AtomicU64::new(0);
        Self {
            number: ACCEPTED.fetch_add(1, Ordering::Relaxed),
            at: Instant::now(),
        }
    }
}

/// A process that opened a connection.
#[derive(Debug, Default)]
pub(super) struct Caller {
    /// The incarnation it introduced itself as.
    incarnation: String,
    pid: Option<u32>,
    /// Tells when it has ended.
    pub(super) life: Life,
    /// When the connection was accepted.
    accepted: Option<Accepted>,
    /// Whether somebody was told of its end.
    is_booked: bool,
}

impl Caller {
    /// Who opened this one; its life is taken over.
    pub(super) fn of(arrival: &mut Arrival) -> Self {
        Self {
            incarnation: arrival.incarnation.clone(),
            pid: arrival.pid,
            life: std::mem::take(&mut arrival.life),
            accepted: Some(arrival.accepted),
            is_booked: false,
        }
    }

    /// Whether it opened this one too.
    pub(super) fn opened(&self, arrival: &Arrival) -> bool {
        self.incarnation == arrival.incarnation
    }

    /// Whether it is the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation
    }

    /// Whether its end is still to be told.
    pub(super) fn is_awaited(&self) -> bool {
        self.accepted.is_some() && !self.is_booked
    }

    /// Whether this one was there before the one that it opened, and is handed over behind it: given up, or of somebody
    /// who was here before.
    pub(super) fn is_before(&self, arrival: &Arrival) -> bool {
        self.accepted.is_some_and(|it| arrival.accepted < it)
    }

    /// Whether that earlier one has ended: its number is this one's by now, or it is gone.
    pub(super) fn outlived(&self, earlier: &Self) -> bool {
        let is_its_number = self.pid.is_some() && self.pid == earlier.pid;
        is_its_number || earlier.life.was_gone() || earlier.life.is_over()
    }

    /// What is known of it if it never said anything, once it has ended; to be told once.
    pub(super) fn take_end(&mut self, now_ns: i64) -> Option<Silent> {
        let is_there = self.accepted.is_some() && !std::mem::replace(&mut self.is_booked, true);
        let lived = self.accepted.map_or(0, |it| it.at.elapsed().as_nanos());
        is_there.then(|| Silent {
            incarnation: self.incarnation.clone(),
            since_ns: now_ns.saturating_sub(i64::try_from(lived).unwrap_or(i64::MAX)),
            pid: self.pid,
        })
    }
}

/// What carries a connection.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A socket.
    Unix(UnixStream),
    /// A port.
    #[cfg(feature = "tls")]
    Tls(Box<telemetry_tls::ServerStream<tokio::net::TcpStream>>),
    /// What a simulation made.
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn crate::simulated::Io>),
}

impl Carrier {
    /// Tells a peer that was told nothing so far that it is welcome. Where that fails, its session will find that the
    /// connection is of no use.
    pub(crate) async fn welcome(&mut self) {
        let welcome = IntroductionAnswer::Welcome.to_frame();
        let is_said = match self {
            // There is room for a few bytes in a new connection.
            Self::Unix(stream) => stream.try_write(&welcome).ok() == Some(welcome.len()),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                let said = async {
                    stream.write_all(&welcome).await?;
                    stream.flush().await
                };
                matches!(timeout(WELCOME_TIMEOUT, said).await, Ok(Ok(())))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.write_all(&welcome).await.is_ok(),
        };
        if !is_said {
            tracing::debug!("a worker could not be welcomed");
        }
    }
}
