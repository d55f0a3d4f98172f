//! Waits for sockets to be ready, on a thread of its own.
//!
//! The runtime that serves has no descriptor and waits for none: it sleeps on a futex, and whoever
//! wakes it, from an emit or a timer, writes to no file. That is on purpose. The wake-up of a usual
//! event loop is a write of eight bytes to a descriptor, and a program may have closed that number
//! and opened a file of its own under it. Here the only descriptors are sockets, and all bytes for
//! them are sent in a way that a file refuses.
//!
//! `poll` keeps nothing in the kernel that a program could take away between two calls, and sockets
//! can be told from each other, which the descriptors of event loops cannot. Each call is preceded
//! by a look whether all of them are still ours; one that is not is reported as ready, so that its
//! user finds out.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use super::spawn::spawn;
use crate::own_fd::{Losses, OwnFd};
use crate::region::SharedRegion;

/// How often it looks whether all sockets are still ours, at least.
const LOOK_INTERVAL: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// How often it looks for new wishes while it cannot be told of them.
const WITHOUT_BELL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// How many of those times pass before it makes a new bell: a program that has just closed the last
/// one is about to open something, and those numbers shall not be ours again.
const LOOKS_WITHOUT_BELL: u32 = 5;
/// Pause after the system refused to wait, as it does when the program may have fewer files than
/// it has.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// Something to wait for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    /// Bytes, a connection or the end.
    Read,
    /// Room for bytes.
    Write,
}

/// The thread that waits. Dropping it ends the thread; if the program took the bell, that is a moment
/// later.
#[derive(Debug)]
pub(super) struct Poller {
    /// What it shares with those who wait.
    shared: Arc<Shared>,
    /// The thread; there until it is dropped.
    thread: Option<JoinHandle<()>>,
}

/// A handle to have sockets waited for.
#[derive(Debug, Clone)]
pub(super) struct PollerHandle(Arc<Shared>);

/// A socket that is waited for when its user says so. Closed when it is dropped.
#[derive(Debug)]
pub(super) struct Polled {
    /// The socket and its state.
    entry: Arc<Entry>,
    /// Who waits.
    shared: Arc<Shared>,
}

/// What the thread and the users of sockets share.
#[derive(Debug)]
struct Shared {
    /// The sockets.
    entries: Mutex<Vec<Arc<Entry>>>,
    /// Tells the thread to look at the wishes again; `None` if there is none to be had.
    bell: Mutex<Option<Arc<Bell>>>,
    /// Whether it was rung and the thread has not looked yet.
    rung: AtomicBool,
    /// Set once, at the end.
    stopped: AtomicBool,
    /// Counts sockets that are not ours any more.
    losses: Losses,
    /// A descriptor that nobody waits for, and that is looked at all the same.
    region: Mutex<Option<Arc<SharedRegion>>>,
}

/// A socket.
#[derive(Debug)]
struct Entry {
    /// It.
    socket: OwnFd,
    /// What is waited for, by [`Direction`].
    waits: Mutex<[Wait; 2]>,
}

/// One direction of a socket.
#[derive(Debug, Default)]
enum Wait {
    /// Nobody waits.
    #[default]
    Idle,
    /// This one waits.
    Waiting(Waker),
    /// It is ready, and its user has not asked since.
    Ready,
}

/// Two ends of a connection to ourselves.
#[derive(Debug)]
struct Bell {
    /// Written to by whoever rings.
    button: OwnFd,
    /// Waited for by the thread.
    sound: OwnFd,
}

impl Poller {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// What the system says of a thread or of two descriptors.
    pub(super) fn start(losses: Losses) -> io::Result<Self> {
        let bell = Bell::new(&losses)?;
        let shared = Arc::new(Shared {
            entries: Mutex::default(),
            bell: Mutex::new(Some(Arc::new(bell))),
            rung: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            losses,
            region: Mutex::default(),
        });
        // Whoever traces there must not wait for what the thread is needed for, as one that sends never does.
        let thread = spawn("telemetry-poll", {
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        let thread = Some(thread);
        Ok(Self { shared, thread })
    }

    /// To have sockets waited for.
    pub(super) fn handle(&self) -> PollerHandle {
        PollerHandle(Arc::clone(&self.shared))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if self.shared.ring()
            && let Some(thread) = self.thread.take()
        {
            // A panic there has been told already.
            let _ended = thread.join();
        }
    }
}

impl PollerHandle {
    /// Looks whether the descriptor of this region is still ours as often as at sockets.
    pub(super) fn watch(&self, region: Arc<SharedRegion>) {
        *lock(&self.0.region) = Some(region);
    }

    /// Takes a socket, which must not block.
    ///
    /// # Errors
    ///
    /// What the system says of it.
    pub(super) fn add(&self, socket: OwnedFd) -> io::Result<Polled> {
        let entry = Arc::new(Entry {
            socket: OwnFd::new(socket, &self.0.losses)?,
            waits: Mutex::default(),
        });
        lock(&self.0.entries).push(Arc::clone(&entry));
        Ok(Polled {
            entry,
            shared: Arc::clone(&self.0),
        })
    }
}

impl Polled {
    /// The socket, to be used at once.
    ///
    /// # Errors
    ///
    /// That it is not ours any more.
    pub(super) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        self.entry.socket.get()
    }

    /// Whether it was found to be no longer ours.
    pub(super) fn is_lost(&self) -> bool {
        self.entry.socket.is_lost()
    }

    /// Waits until the socket may be ready. To be asked after it was not, or had no more than it gave.
    pub(super) fn poll_ready(&self, direction: Direction, cx: &Context<'_>) -> Poll<()> {
        let mut waits = lock(&self.entry.waits);
        match &mut waits[direction as usize] {
            wait @ Wait::Ready => {
                *wait = Wait::Idle;
                return Poll::Ready(());
            }
            Wait::Waiting(waker) => {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            wait @ Wait::Idle => *wait = Wait::Waiting(cx.waker().clone()),
        }
        drop(waits);
        self.shared.ring();
        Poll::Pending
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        lock(&self.shared.entries).retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        // The thread may hold it in its hands; it is closed when it lets go.
        self.shared.ring();
    }
}

impl Shared {
    /// Has the thread look at the wishes again. False if the bell is not ours; then the thread looks
    /// within [`LOOK_INTERVAL`].
    fn ring(&self) -> bool {
        if self.rung.swap(true, Ordering::SeqCst) {
            return true;
        }
        let bell = lock(&self.bell).clone();
        let heard = bell.is_some_and(|bell| {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let button = bell.button.get();
            button.is_ok_and(|button| send(button, &[1], flags).is_ok())
        });
        if !heard {
            self.rung.store(false, Ordering::SeqCst);
        }
        heard
    }

    /// The life of the thread.
    fn run(&self) {
        let mut reported = 0;
        let mut without_bell = 0;
        loop {
            let bell = self.bell(&mut without_bell);
            self.rung.store(false, Ordering::SeqCst);
            // After the line above: who did not ring because somebody had is seen here.
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let entries = lock(&self.entries).clone();
            let waited_for: Vec<_> = entries.iter().filter_map(Entry::wanted).collect();
            let lost = self.losses.count();
            if lost > reported {
                reported = lost;
                tracing::warn!(
                    lost,
                    "the program closed descriptors of the telemetry server, which opens others"
                );
            }
            self.look_at_region();
            self.wait(bell.as_deref(), &waited_for);
        }
    }

    /// Says once that the program closed the descriptor of the region.
    fn look_at_region(&self) {
        let mut region = lock(&self.region);
        if region.as_ref().is_some_and(|region| region.file().is_err()) {
            *region = None;
            tracing::warn!(
                "the program closed the descriptor of telemetry's region: managers that are met from now on \
                 cannot read what is left of this process if it is killed"
            );
        }
    }

    /// Waits once and tells what is ready.
    fn wait(&self, bell: Option<&Bell>, waited_for: &[(&Entry, BorrowedFd<'_>, PollFlags)]) {
        let sound = bell.and_then(|bell| bell.sound.get().ok());
        let mut polled: Vec<_> = waited_for
            .iter()
            .map(|(_, fd, wanted)| PollFd::from_borrowed_fd(*fd, *wanted))
            .chain(sound.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)))
            .collect();
        let timeout = if sound.is_some() {
            LOOK_INTERVAL
        } else {
            WITHOUT_BELL
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return,
            Err(_) => return std::thread::sleep(REFUSED_PAUSE),
        }
        for ((entry, ..), polled) in waited_for.iter().zip(&polled) {
            entry.tell(polled.revents());
        }
        let rung = sound.is_some() && polled.last().is_some_and(|it| !it.revents().is_empty());
        // Its number may have become another file's while we waited.
        if rung && let Some(Ok(sound)) = bell.map(|bell| bell.sound.get()) {
            let _rung_again_if_not_read = recv(sound, &mut [0; 8], RecvFlags::DONTWAIT);
        }
    }

    /// The bell. One that the program took is given up and made anew a while later.
    fn bell(&self, without_bell: &mut u32) -> Option<Arc<Bell>> {
        let mut bell = lock(&self.bell);
        if bell.as_ref().is_some_and(|bell| !bell.is_ours()) {
            *bell = None;
            *without_bell = 0;
        }
        if bell.is_none() {
            *without_bell += 1;
            if *without_bell > LOOKS_WITHOUT_BELL {
                *bell = Bell::new(&self.losses).map(Arc::new).ok();
            }
        }
        bell.clone()
    }
}

impl Entry {
    /// What to wait for, if anything is.
    fn wanted(self: &Arc<Self>) -> Option<(&Self, BorrowedFd<'_>, PollFlags)> {
        let Ok(socket) = self.socket.get() else {
            self.tell(PollFlags::NVAL);
            return None;
        };
        let waits = lock(&self.waits);
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, matches!(waits[0], Wait::Waiting(_)));
        wanted.set(PollFlags::OUT, matches!(waits[1], Wait::Waiting(_)));
        (!wanted.is_empty()).then_some((self, socket, wanted))
    }

    /// Wakes those who waited for what is there; errors and the end are for both.
    fn tell(&self, ready: PollFlags) {
        let others = !(PollFlags::IN | PollFlags::OUT);
        for (direction, flag) in [PollFlags::IN, PollFlags::OUT].into_iter().enumerate() {
            if !ready.intersects(flag | others) {
                continue;
            }
            let waited = std::mem::replace(&mut lock(&self.waits)[direction], Wait::Ready);
            if let Wait::Waiting(waker) = waited {
                waker.wake();
            }
        }
    }
}

impl Bell {
    /// A new one.
    fn new(losses: &Losses) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (button, sound) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok(Self {
            button: OwnFd::new(button, losses)?,
            sound: OwnFd::new(sound, losses)?,
        })
    }

    /// Whether both ends are ours.
    fn is_ours(&self) -> bool {
        // Both, so that both are counted.
        self.button.get().is_ok() & self.sound.get().is_ok()
    }
}

/// The value behind a lock; nothing that holds one of these panics half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A socket that is waited for, and its peer.
    fn pair(poller: &Poller) -> (Polled, UnixStream) {
        let (ours, peer) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        let ours = poller.handle().add(ours.into()).expect("a socket");
        (ours, peer)
    }

    async fn ready(polled: &Polled, direction: Direction) {
        std::future::poll_fn(|cx| polled.poll_ready(direction, cx)).await;
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_what_arrives_and_by_room() {
        let poller = Poller::start(Losses::default()).expect("a thread");
        let (ours, mut peer) = pair(&poller);
        ready(&ours, Direction::Write).await;
        for _ in 0..3 {
            peer.write_all(b"x").expect("room");
            ready(&ours, Direction::Read).await;
            let read = recv(ours.get().expect("ours"), &mut [0; 8], RecvFlags::DONTWAIT);
            assert_eq!(read.expect("it arrived").0, 1);
        }
        drop((ours, poller));
    }

    #[test]
    fn a_dropped_socket_is_closed_at_once() {
        use std::io::Read;

        let poller = Poller::start(Losses::default()).expect("a thread");
        let (ours, mut peer) = pair(&poller);
        let cx = Context::from_waker(Waker::noop());
        assert!(ours.poll_ready(Direction::Read, &cx).is_pending());
        drop(ours);
        assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
        drop(poller);
    }

    #[test]
    fn sockets_that_nobody_waits_for_are_not_polled() {
        let poller = Poller::start(Losses::default()).expect("a thread");
        let (ours, mut peer) = pair(&poller);
        peer.write_all(b"x").expect("room");
        assert!(ours.entry.wanted().is_none());
        let cx = Context::from_waker(Waker::noop());
        // The first look says that somebody waits; it is ready when the thread has seen it.
        while ours.poll_ready(Direction::Read, &cx).is_pending() {
            std::thread::yield_now();
        }
        assert!(ours.entry.wanted().is_none());
        drop((ours, poller));
    }
}
