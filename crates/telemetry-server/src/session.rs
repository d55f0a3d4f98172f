//! One worker's session: get a connection, stream, wait, get another one, until it is told to stop.
//!
//! A connection is dialled, where the worker has an endpoint, or arrives because the worker dialled in;
//! one that arrives goes before. How it came does not matter to the stream on it.
//!
//! One task owns everything of a session, so nothing here is shared but the [`Record`] it writes.
//! It knows no other worker; what limits all of them together (dials per second) is handed in.

mod acks;
mod arrival;
mod arrivals;
mod backoff;
mod changes;
mod control;
mod dial;
mod events;
mod info;
mod kin;
mod legacy;
mod life;
mod paced;
mod peer;
mod progress;
mod pulse;
mod reader;
mod record;
mod recovery;
mod response;
mod rest;
mod state;
mod store;
mod stream;
mod trust;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::desired::{Desired, Wanted};
use crate::dir_events::{DirEvents, FileId, FileWatch, Seen};
use crate::dispatch::Dispatcher;
use crate::identity::WorkerContext;
use crate::listener::Stranger;
use crate::pipeline::{Learned, Quarantine};
use crate::region::Region;
pub use acks::{MAX_ACK_BYTES, MAX_ACK_DELAY};
use arrival::Caller;
pub(crate) use arrival::{Accepted, Arrival, Carrier};
use backoff::{Backoff, PORT_REFUSED_CAP, REFUSED_BASE};
use progress::Ending;
use telemetry_core::Address;

pub(crate) use backoff::DialLimiter;
pub use backoff::{
    BACKOFF_BASE, BACKOFF_CAP, BACKOFF_RESET_AFTER, FIRST_DIALS, MAX_DIALS_PER_SECOND, MIN_REDIAL,
    REFUSED_CAP,
};
pub(crate) use changes::Changes;
use dial::LookUp;
pub use dial::{
    CONNECTION_WINDOW, DialError, HANDSHAKE_TIMEOUT, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
    MAX_FRAME, MAX_HEADER_LIST, MAX_LOCAL_RESETS, STREAM_WINDOW,
};
pub use info::{StreamInfo, StreamState};
pub(crate) use kin::Ancestry;
pub(crate) use life::Life;
pub use peer::{LinkKind, Peer};
pub use pulse::STOCK_PING_TIMEOUT;
pub use reader::MAX_MESSAGE_BYTES;
pub(crate) use record::{Held, Record};
pub use store::RegionStore;
pub(crate) use store::{Shelf, read_name};
pub use stream::HELLO_TIMEOUT;

/// Wait after another manager took the stream: long enough that two managers do not take it from
/// each other all the time.
pub const REPLACED_BACKOFF: Duration = Duration::from_secs(30);
/// A socket that refused so often in a row is not about to listen.
const TELLING_REFUSALS: u32 = 5;

/// What all sessions of a manager share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: Arc<str>,
    pub(crate) manager_id: String,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) quarantine: Arc<Quarantine>,
    /// What passes although the catalog does not have it.
    pub(crate) learned: Arc<Learned>,
    pub(crate) limiter: DialLimiter,
    /// Tells of socket files.
    pub(crate) dirs: DirEvents,
    pub(crate) accepted_uids: Vec<u32>,
    pub(crate) message_events: bool,
    /// How long a worker that dialled in may be away.
    pub(crate) away_grace: Duration,
    /// What is wanted of all workers.
    pub(crate) desired: Desired,
    /// Where the memory of workers outlives us.
    pub(crate) shelf: Arc<Shelf>,
}

/// Whether a session is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// Stream for ever.
    On,
    /// Read what is on its way, then end, at the latest at this time.
    DrainUntil(Instant),
}

/// Where the connections of a session come from.
#[derive(Debug)]
pub(crate) struct Link {
    /// Where the worker is dialled while it does not dial in itself. One without an endpoint leaves when it
    /// does not come back.
    pub(crate) endpoint: Option<Address>,
    /// Connections that the worker opened.
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
}

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// It was told to stop.
    Stopped,
    /// The worker has left.
    Left,
}

/// One worker's session.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    record: Arc<Record>,
    context: WorkerContext,
    endpoint: Option<Address>,
    arrivals: mpsc::Receiver<Arrival>,
    /// A connection that is to be served next.
    next: Option<Arrival>,
    /// Whoever opened the last one that was served.
    caller: Caller,
    /// Those that opened connections that were not served, and what they handed over.
    passed: Vec<(Caller, Option<Region>)>,
    /// What the worker is wanted to do.
    policy: watch::Receiver<Arc<Wanted>>,
    run: watch::Receiver<Run>,
    /// Whether the worker's process is about to be ended.
    drain: watch::Receiver<bool>,
    /// What is where the socket should be; of an endpoint that has one.
    socket: Option<FileWatch>,
    backoff: Backoff,
    /// Whether the last attempt met somebody who listens and does not answer.
    was_silent: bool,
    /// When the stream was lost, if there was one.
    lost_at: Option<Instant>,
    /// To whom the token was not shown the last time.
    stranger: Option<Stranger>,
    /// Finds the addresses of its name.
    look_up: LookUp,
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        record: Arc<Record>,
        context: WorkerContext,
        link: Link,
        policy: watch::Receiver<Arc<Wanted>>,
        run: watch::Receiver<Run>,
        drain: watch::Receiver<bool>,
    ) -> Self {
        let path = link.endpoint.as_ref().and_then(Address::socket_path);
        let socket = path.map(|path| shared.dirs.follow(path));
        Self {
            shared,
            record,
            context,
            endpoint: link.endpoint,
            arrivals: link.arrivals,
            next: None,
            caller: Caller::default(),
            passed: Vec::new(),
            policy,
            run,
            drain,
            socket,
            backoff: Backoff::default(),
            was_silent: false,
            lost_at: None,
            stranger: None,
            look_up: LookUp::default(),
        }
    }

    /// Runs until told to stop, or until the worker has left. A worker that has left may have come back
    /// meanwhile: then it may be run again.
    pub(crate) async fn run(&mut self) -> Over {
        while !self.must_stop() {
            self.settle_passed().await;
            if let Some(arrival) = self.next.take() {
                if self.serve(arrival).await.is_break() {
                    return self.leave().await;
                }
                continue;
            }
            let Some(endpoint) = self.endpoint.clone() else {
                if self.await_return().await.is_break() {
                    return self.leave().await;
                }
                continue;
            };
            self.await_socket(&endpoint).await;
            if self.next.is_some() {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let is_first = !self.record.was_dialled();
            let turn = tokio::select! {
                biased;
                () = stopped(&mut self.run) => break,
                Some(arrival) = self.arrivals.recv() => {
                    self.next = Some(arrival);
                    continue;
                }
                turn = shared.limiter.turn(is_first) => turn,
            };
            let dialled_at = Instant::now();
            self.caller.life = Life::default();
            let socket = self.socket.as_ref().and_then(|socket| socket.seen().file());
            let ending = Box::pin(self.dialled(&endpoint, dialled_at, turn)).await;
            if matches!(ending, Ending::Stopped { .. }) || self.must_stop() {
                break;
            }
            self.wait(ending, dialled_at, socket).await;
        }
        self.record.closed();
        Over::Stopped
    }

    /// Whether it was told to, or nobody is left who could tell.
    fn must_stop(&self) -> bool {
        *self.run.borrow() != Run::On || self.run.has_changed().is_err()
    }

    /// Waits for the socket file of a worker that is still starting. Costs no dial and no looks.
    async fn await_socket(&mut self, endpoint: &Address) {
        let (Some(socket), Some(path)) = (&mut self.socket, endpoint.socket_path()) else {
            return;
        };
        let seen = tokio::select! {
            seen = socket.wait_for(|seen| seen != Seen::Unknown) => seen,
            () = stopped(&mut self.run) => return,
        };
        if seen.file().is_some() {
            return;
        }
        let path = path.to_owned();
        // Who was asked for a stream before had a socket.
        let started = self.record.started_pid();
        let error = match started.filter(|_| self.record.was_asked()) {
            Some(process) if kin::lives(process).await => DialError::SocketTaken { path, process },
            _ => DialError::NoSocket { path },
        }
        .to_string();
        let failures = self.backoff.failures();
        self.record
            .waiting(StreamState::Backoff, &error, failures, None, false);
        tokio::select! {
            _there = socket.wait_for(|seen| seen.file().is_some()) => {}
            Some(arrival) = self.arrivals.recv() => self.next = Some(arrival),
            () = stopped(&mut self.run) => {}
        }
    }

    /// Waits until the next dial is due: when the backoff is over, or when a new process has bound
    /// the socket.
    async fn wait(&mut self, ending: Ending, dialled_at: Instant, socket: Option<FileId>) {
        let now = Instant::now();
        let mut shortest = MIN_REDIAL;
        self.was_silent = matches!(&ending, Ending::NotOpened { error, .. } if error.is_silence());
        let is_nobody = matches!(&ending, Ending::NotOpened { error, .. } if error.is_nobody());
        if !is_nobody {
            self.backoff.forget_refusals();
        }
        let (state, error, wait, asked) = match ending {
            Ending::Stopped { .. } | Ending::Superseded | Ending::Gone => return,
            Ending::NotOpened { error, .. } if is_nobody => {
                shortest = REFUSED_BASE;
                let wait = self.backoff.next_refused();
                (StreamState::Backoff, error.to_string(), wait, false)
            }
            Ending::NotOpened { error, asked } => {
                let longest = match error.is_free_port() {
                    true => PORT_REFUSED_CAP,
                    false => Duration::MAX,
                };
                let wait = self.backoff.next().min(longest);
                (StreamState::Backoff, error.to_string(), wait, asked)
            }
            Ending::Lost { reason, lived } => {
                if lived >= BACKOFF_RESET_AFTER {
                    self.backoff.reset();
                }
                (StreamState::Backoff, reason, self.backoff.next(), true)
            }
            Ending::Replaced { reason } => (StreamState::Replaced, reason, REPLACED_BACKOFF, true),
        };
        let due = (now + wait).max(dialled_at + shortest);
        let refusals = self.backoff.refusals();
        let failures = self.backoff.failures().saturating_add(refusals);
        let (worker, wait_ms) = (&self.context.worker_id, wait.as_millis());
        // Between `bind` and `listen` every socket refuses.
        let is_news = match refusals {
            0 => failures <= 1,
            refusals => refusals == TELLING_REFUSALS,
        };
        if is_news {
            tracing::info!(%worker, %error, wait_ms, "worker not connected");
        } else {
            // Said once; `last_error` shows what it is by now.
            tracing::debug!(%worker, %error, wait_ms, "worker still not connected");
        }
        self.record.set_refused(refusals >= TELLING_REFUSALS);
        self.record
            .waiting(state, &error, failures, Some(due - now), asked);
        let renewed = async {
            match &mut self.socket {
                Some(file) => {
                    let is_other = |seen: Seen| seen.file().is_some() && seen.file() != socket;
                    file.wait_for(is_other).await;
                    sleep_until(dialled_at + shortest).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(due) => {}
            () = stopped(&mut self.run) => {}
            Some(arrival) = self.arrivals.recv() => self.next = Some(arrival),
            () = renewed => self.backoff.forget_refusals(),
        }
    }
}

/// Resolves when the session has to stop.
async fn stopped(run: &mut watch::Receiver<Run>) {
    // A manager that is gone without a word ends its sessions too.
    let _ = run.wait_for(|run| *run != Run::On).await;
}
