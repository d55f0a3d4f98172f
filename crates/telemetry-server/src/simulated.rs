//! A world without a system, for a simulation: its processes and what can be dialled, one world a thread.
//!
//! Where no world was begun in this thread, everything is as it is in production.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// What carries a connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug> Io for T {}

/// A connection, and the process behind it, if that shows.
pub type Dialled = (Box<dyn Io>, Option<u32>);

/// Makes a connection to whoever listens.
pub type Connect = Box<dyn Fn() -> io::Result<Dialled>>;

/// A process.
struct Process {
    began: u64,
    /// Who forked it.
    parent: Option<u32>,
    /// Whether it has ended.
    ended: watch::Sender<bool>,
}

/// What there is in a world.
#[derive(Default)]
struct World {
    /// Processes by number.
    processes: BTreeMap<u32, Process>,
    /// Processes so far.
    begun: u64,
    /// Who listens where.
    listeners: BTreeMap<SocketAddr, Connect>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Begins an empty world in this thread.
pub fn begin_world() {
    WORLD.set(Some(World::default()));
}

/// A process with this number begins; `parent` has forked it.
pub fn begin_process(pid: u32, parent: Option<u32>) {
    with(|world| {
        world.begun += 1;
        let process = Process {
            began: world.begun,
            parent,
            ended: watch::Sender::new(false),
        };
        world.processes.insert(pid, process);
    });
}

/// It ends.
pub fn end_process(pid: u32) {
    with(|world| {
        if let Some(process) = world.processes.get(&pid) {
            process.ended.send_replace(true);
        }
    });
}

/// Somebody listens at this address, or nobody does any more.
pub fn listen(address: SocketAddr, connect: Option<Connect>) {
    with(|world| match connect {
        Some(connect) => drop(world.listeners.insert(address, connect)),
        None => drop(world.listeners.remove(&address)),
    });
}

/// Whether there is a world in this thread.
pub(crate) fn is_on() -> bool {
    with(|_| ()).is_some()
}

/// When the process with this number began, if it is there; nothing at all where there is no world.
pub(crate) fn process(pid: u32) -> Option<Option<u64>> {
    with(|world| {
        let process = world.processes.get(&pid)?;
        (!*process.ended.borrow()).then_some(process.began)
    })
}

/// Who forked a process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    with(|world| world.processes.get(&pid)?.parent).flatten()
}

/// Tells when a process has ended.
pub(crate) fn follow(pid: u32) -> Option<watch::Receiver<bool>> {
    with(|world| Some(world.processes.get(&pid)?.ended.subscribe())).flatten()
}

/// Dials an address; nothing at all where there is no world.
pub(crate) fn dial(address: SocketAddr) -> Option<io::Result<Dialled>> {
    with(|world| match world.listeners.get(&address) {
        Some(connect) => connect(),
        None => Err(io::ErrorKind::ConnectionRefused.into()),
    })
}

fn with<T>(look: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(look))
}
