//! The way in for a simulation: connections of its own making instead of sockets, and no thread.
//!
//! Everything else is what runs in production: the words of introduction, the rests between attempts, HTTP/2,
//! the sessions and the pump.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::pin::pin;

use telemetry_core::{Address, wire::Introduction};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::connection::{AtStop, connection};
use super::dial_in::{Dialler, Standing};
use super::introduce::{Opened, Road, Unreached};
use super::seat::Seat;
use super::server::ServeLimits;
use super::service::TelemetryService;
use super::threads::stopped;
use crate::deadline::last_words;

thread_local! {
    /// In which process each incarnation of this thread's world is.
    static PIDS: RefCell<BTreeMap<String, u32>> = const { RefCell::new(BTreeMap::new()) };
}

/// An incarnation is in a process of its own.
pub fn set_pid(incarnation_id: &str, pid: u32) {
    PIDS.with_borrow_mut(|pids| pids.insert(incarnation_id.to_owned(), pid));
}

/// The process of an incarnation, if it is simulated.
pub(super) fn pid_of(incarnation_id: &str) -> Option<u32> {
    PIDS.with_borrow(|pids| pids.get(incarnation_id).copied())
}

/// Makes connections to managers.
pub trait SimulatedRoad {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin;

    /// Connects to a manager, at once or not at all.
    ///
    /// # Errors
    ///
    /// What a system would say.
    fn connect(&self, address: &Address) -> io::Result<Self::Stream>;
}

/// A road as the dialler knows it.
struct Way<R>(R);

impl<R: SimulatedRoad> Road for Way<R> {
    type Stream = R::Stream;

    async fn reach(
        &mut self,
        address: &Address,
        _allowed_uid: u32,
    ) -> Result<Opened<R::Stream>, Unreached> {
        let absent = |source| Unreached::Absent {
            path: address.to_string().into(),
            source,
        };
        self.0.connect(address).map(Opened::silent).map_err(absent)
    }

    async fn say(&self, stream: &mut R::Stream, introduction: &Introduction) -> io::Result<()> {
        stream.write_all(&introduction.to_frame()).await
    }
}

/// Dials in as [`Connection`](super::Connection) does, until `stop` says by when to have ended.
pub async fn dial_in<R: SimulatedRoad>(
    managers: &[Address],
    road: R,
    introduction: Introduction,
    service: TelemetryService,
    stop: watch::Receiver<Option<Instant>>,
) {
    let standing = Standing::default();
    let dialler = Dialler {
        managers,
        introduction,
        road: Way(road),
        service,
        limits: ServeLimits::default(),
        stop,
        standing: &standing,
    };
    dialler.run().await;
}

/// Serves the connections that managers have dialled, as a [`Server`](super::Server) does, until `stop` says by
/// when to have ended.
pub async fn serve_dialled<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut dialled: mpsc::Receiver<S>,
    service: TelemetryService,
    mut stop: watch::Receiver<Option<Instant>>,
) {
    let mut open = JoinSet::new();
    let deadline = loop {
        tokio::select! {
            biased;
            deadline = stopped(&mut stop) => break deadline,
            Some(stream) = dialled.recv() => {
                let (service, stop) = (service.clone(), stop.clone());
                open.spawn(async move {
                    let limits = ServeLimits::default();
                    connection(stream, service, limits, stop, AtStop::Leave, Seat::default()).await
                });
            }
        }
    };
    service.end_streams();
    let [hurry, last] = last_words(deadline);
    let mut ended = pin!(async { while open.join_next().await.is_some() {} });
    if timeout_at(hurry, ended.as_mut()).await.is_err() {
        service.sessions().give_up_queued();
        let _cut = timeout_at(last, ended).await;
    }
}
