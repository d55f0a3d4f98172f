//! What runs for one incarnation, and how its threads are started: a server that listens, or a
//! connection to a manager.
//!
//! The threads belong to `telemetry-client`; no Python object crosses into them and they never attach to
//! Python.

use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use telemetry_client::region::{RegionKind, SharedRegion};
use telemetry_client::serve::{
    BindError, ConnectError, Connection, RejectedNames, ServeConfig, ServeError, Server,
};
use telemetry_client::{Config, Heartbeat};
use telemetry_core::{Address, emit::Recorder, wire::RejectedName};

use crate::fork;
use crate::phase;

/// How long to wait before an address that is in use is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// What somebody wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A connection to one of these managers.
    Connect(Vec<Address>),
    /// A server at this address, or one beside it; without an address at a private socket.
    Serve(Option<Address>),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(managers) => write!(f, "connected to {}", list(managers)),
            Self::Serve(Some(address)) => write!(f, "served at {address}"),
            Self::Serve(None) => f.write_str("served at a private socket"),
        }
    }
}

/// Where the events of a service come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// What records them.
    pub(crate) recorder: &'a Arc<Recorder>,
    /// Where they lie, if that outlives the process.
    pub(crate) region: Option<&'a Arc<SharedRegion>>,
}

/// Why it cannot run.
#[derive(Debug)]
pub(crate) enum ServiceError {
    /// The server cannot.
    Serve(ServeError),
    /// The connection cannot.
    Connect(ConnectError),
}

impl ServiceError {
    /// Whether it is a matter of how the address is written, not of the machine.
    pub(crate) fn is_of_address(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Thread(_)),
            Self::Serve(error) => {
                matches!(
                    error,
                    ServeError::Unprotected { .. } | ServeError::Open { .. }
                )
            }
        }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serve(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
        }
    }
}

/// What runs.
#[derive(Debug)]
enum Host {
    /// It listens.
    Server(Server),
    /// It dials in.
    Connection(Connection),
}

/// What runs for one incarnation.
#[derive(Debug)]
pub(crate) struct Service {
    /// It; never dropped in a forked child, where its threads do not exist.
    host: ManuallyDrop<Host>,
    /// What Python beats, if that is watched.
    heartbeat: Option<Arc<Heartbeat>>,
    /// Events that the manager does not take.
    rejected: Arc<RejectedNames>,
    /// Whether a thread has been given that to do.
    is_claimed: AtomicBool,
    /// What was asked for; a server may have got an address beside it.
    asked: Ask,
    /// [`fork::generation`] of the process that started it.
    generation: u64,
}

impl Service {
    /// Starts what is asked for, as `config` says, with the events of `source`. An address that is in
    /// use is tried again for `patience`; then the server gets one beside it.
    pub(crate) fn start(
        ask: &Ask,
        config: &Config,
        Source { recorder, region }: Source<'_>,
        ready_file: Option<&Path>,
        patience: Duration,
    ) -> Result<Self, ServiceError> {
        let _masked = SignalsMasked::new();
        let heartbeat = config.stall_limit.map(|limit| {
            let recorder = Arc::clone(recorder);
            Arc::new(Heartbeat::new(recorder, limit))
        });
        let rejected = Arc::new(RejectedNames::telling(phase::has_news));
        let stream = || {
            let mut stream_config = config.stream();
            stream_config.rejected = Arc::clone(&rejected);
            stream_config.heartbeat = heartbeat.clone();
            stream_config
        };
        let host = match ask {
            Ask::Connect(managers) => {
                let mut connect = config.connection();
                connect.stream = stream();
                connect.stream.region = region.cloned();
                let managers = managers.clone();
                Connection::start(managers, Arc::clone(recorder), connect)
                    .map(Host::Connection)
                    .map_err(ServiceError::Connect)?
            }
            Ask::Serve(address) => {
                let setup = || {
                    let mut serve = config.serve();
                    serve.stream = stream();
                    serve.ready_file = ready_file.map(PathBuf::from);
                    serve
                };
                serve(address.as_ref(), setup, recorder, patience)
                    .map(Host::Server)
                    .map_err(ServiceError::Serve)?
            }
        };
        Ok(Self {
            host: ManuallyDrop::new(host),
            heartbeat,
            rejected: Arc::clone(&rejected),
            is_claimed: AtomicBool::new(false),
            asked: ask.clone(),
            generation: fork::generation(),
        })
    }

    /// What Python is to beat, for the first who asks; `None` if it is not watched.
    pub(crate) fn claim_heartbeat(&self) -> Option<Arc<Heartbeat>> {
        let heartbeat = self.heartbeat.as_ref()?;
        (!self.is_claimed.swap(true, Ordering::Relaxed)).then(|| Arc::clone(heartbeat))
    }

    /// Python will not beat any more, and has not stalled for that.
    pub(crate) fn rest(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.end();
        }
    }

    /// Names of events that the manager said it does not take.
    pub(crate) fn rejected(&self) -> Vec<RejectedName> {
        self.rejected.list()
    }

    /// Whether its threads run in another process.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Where it listens; `None` for a connection.
    pub(crate) fn address(&self) -> Option<&Address> {
        match &*self.host {
            Host::Server(server) => Some(server.address()),
            Host::Connection(_) => None,
        }
    }

    /// The managers that it connects to, as a comma list; `None` for a server.
    pub(crate) fn manager(&self) -> Option<String> {
        match &*self.host {
            Host::Server(_) => None,
            Host::Connection(connection) => Some(list(connection.managers())),
        }
    }

    /// Whether this is what is asked for.
    pub(crate) fn is(&self, ask: &Ask) -> bool {
        self.asked == *ask
            || matches!((ask, self.address()), (Ask::Serve(Some(asked)), Some(own)) if asked == own)
    }

    /// The same if nothing runs at the address that was asked for: the one beside it.
    pub(crate) fn beside(&self) -> Option<(&Address, &Address)> {
        match (&self.asked, self.address()) {
            (Ask::Serve(Some(asked)), Some(own)) if is_beside(asked, own) => Some((asked, own)),
            _ => None,
        }
    }

    /// Streams that were refused because they did not show the token.
    pub(crate) fn unauthenticated(&self) -> u64 {
        match &*self.host {
            Host::Server(server) => server.unauthenticated(),
            Host::Connection(_) => 0,
        }
    }

    /// Managers whose stream is open now.
    pub(crate) fn clients(&self) -> usize {
        match &*self.host {
            Host::Server(server) => server.clients(),
            Host::Connection(connection) => connection.clients(),
        }
    }

    /// Whether a manager's stream is open, or is on its way: the first attempt to connect is under way,
    /// or the manager has said welcome.
    pub(crate) fn has_prospects(&self) -> bool {
        self.clients() > 0
            || match &*self.host {
                Host::Server(_) => false,
                Host::Connection(connection) => connection.last_error().is_none(),
            }
    }

    /// Sockets that the program closed.
    pub(crate) fn closed_descriptors(&self) -> u64 {
        match &*self.host {
            Host::Server(server) => server.closed_descriptors(),
            Host::Connection(connection) => connection.closed_descriptors(),
        }
    }

    /// Where events lie, for managers that connect from now on.
    pub(crate) fn region(&self) -> RegionKind {
        match &*self.host {
            Host::Server(_) => RegionKind::Heap,
            Host::Connection(connection) => connection.region(),
        }
    }

    /// Why there is no connection right now, as far as it is known: of a server why the last manager was turned away.
    pub(crate) fn connect_error(&self) -> Option<String> {
        match &*self.host {
            Host::Server(server) if server.clients() > 0 => None,
            Host::Server(server) => server.last_turned_away(),
            Host::Connection(connection) => connection.last_error(),
        }
    }

    /// Lets its streams end; says whether they did in time.
    pub(crate) fn close(&self, timeout: Duration) -> bool {
        match &*self.host {
            Host::Server(server) => server.close(timeout),
            Host::Connection(connection) => connection.close(timeout),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => Ask::Serve(Some(address.clone())).fmt(f),
            None => self.asked.fmt(f),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.is_inherited() {
            // SAFETY: this is the only place that drops it, and it runs once.
            unsafe { ManuallyDrop::drop(&mut self.host) };
        }
    }
}

/// Serves at an address, or at one beside it if that stays in use: whoever has it, as the process that
/// this one was forked from, may keep it for ever.
fn serve(
    address: Option<&Address>,
    setup: impl Fn() -> ServeConfig,
    recorder: &Arc<Recorder>,
    patience: Duration,
) -> Result<Server, ServeError> {
    let try_at = |address| Server::start(address, Arc::clone(recorder), setup());
    let Some(address) = address else {
        return try_at(None);
    };
    let since = Instant::now();
    loop {
        match try_at(Some(address)) {
            // The process before this one may be on its way out.
            Err(error) if is_in_use(&error) && since.elapsed() < patience => {
                std::thread::sleep(RETRY_INTERVAL.min(patience));
            }
            Err(error) if is_in_use(&error) => return try_at(Some(&sibling(address))),
            done => return done,
        }
    }
}

/// The address beside another one that is this process's alone.
pub(crate) fn sibling(address: &Address) -> Address {
    match address {
        Address::Tcp(address) => Address::Tcp(SocketAddr::new(address.ip(), 0)),
        Address::Unix(path) => {
            let mut name = path.file_stem().unwrap_or_default().to_owned();
            name.push(format!(".{}", std::process::id()));
            if let Some(extension) = path.extension() {
                name.push(".");
                name.push(extension);
            }
            Address::Unix(path.with_file_name(name))
        }
        // No process listens at another.
        other => other.clone(),
    }
}

/// Whether a server that was to listen at `asked` listens elsewhere.
fn is_beside(asked: &Address, own: &Address) -> bool {
    match (asked, own) {
        (Address::Tcp(asked), Address::Tcp(own)) => asked.port() != 0 && asked != own,
        (Address::Unix(asked), Address::Unix(own)) => asked.file_name() != own.file_name(),
        _ => true,
    }
}

/// Whether somebody else has the address.
fn is_in_use(error: &ServeError) -> bool {
    matches!(
        error,
        ServeError::Bind(BindError::InUse { .. } | BindError::AlreadyServed { .. })
    )
}

/// Addresses as they are written.
fn list(addresses: &[Address]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(",")
}

/// All signals masked for this thread, so that a thread started meanwhile leaves them to the host.
pub(crate) struct SignalsMasked {
    /// The mask from before.
    before: libc::sigset_t,
}

impl SignalsMasked {
    /// Masks them until dropped.
    pub(crate) fn new() -> Self {
        // SAFETY: both sets are plain values that the calls fill in; a failure leaves the mask as it
        // was, and then there is nothing to put back.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            let mut before: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalsMasked {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that `new` read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut());
        }
    }
}
