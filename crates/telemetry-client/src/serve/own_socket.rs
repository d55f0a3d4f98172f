//! A socket that knows whether it is still ours.
//!
//! A program may close descriptors that it did not open, as `os.closerange` does and libraries that
//! make daemons, and the next file it opens gets the number of one of ours. So the number is good for
//! nothing by itself: before each use the file behind it is compared with the one that we opened.
//! What is no longer ours is counted and never touched again, not even to close it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::fstat;

use super::open_fds::{Listed, OpenFd};

/// The number of a socket was closed by the program.
#[derive(Debug, thiserror::Error)]
#[error("the program closed a descriptor of the telemetry server")]
struct ClosedByProgram;

/// How many sockets of a server were closed by somebody else.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<AtomicU64>);

impl Losses {
    /// How many so far.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A socket of a server. Listed for forked children as long as it lives.
#[derive(Debug)]
pub(super) struct OwnSocket {
    /// The socket; there until it is dropped.
    socket: Option<OwnedFd>,
    /// What it was when we got it.
    opened: OpenFd,
    /// Set once: the number is not ours any more, whatever it may be later.
    lost: AtomicBool,
    /// Where that is counted.
    losses: Losses,
    /// Its place among the open sockets; given up before the socket is closed.
    listed: Option<Listed>,
}

impl OwnSocket {
    /// Takes care of a socket that was just opened.
    pub(super) fn new(socket: OwnedFd, losses: &Losses) -> io::Result<Self> {
        let opened = identify(socket.as_fd())?;
        Ok(Self {
            socket: Some(socket),
            opened,
            lost: AtomicBool::new(false),
            losses: losses.clone(),
            listed: Some(Listed::new(opened)),
        })
    }

    /// The socket, to be used at once.
    ///
    /// # Errors
    ///
    /// That it is not ours any more; see [`is_lost`](Self::is_lost).
    pub(super) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.is_lost()
            && let Some(socket) = &self.socket
        {
            if identify(socket.as_fd()).is_ok_and(|found| found == self.opened) {
                return Ok(socket.as_fd());
            }
            if !self.lost.swap(true, Ordering::Relaxed) {
                self.losses.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotConnected, ClosedByProgram))
    }

    /// Whether it was found to be no longer ours.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        drop(self.listed.take());
        let ours = self.get().is_ok();
        if let Some(socket) = self.socket.take()
            && !ours
        {
            let _of_another_file = socket.into_raw_fd();
        }
    }
}

/// The file behind a number.
fn identify(fd: BorrowedFd<'_>) -> io::Result<OpenFd> {
    let found = fstat(fd)?;
    Ok(OpenFd {
        fd: fd.as_raw_fd(),
        device: found.st_dev,
        inode: found.st_ino,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use rustix::io::dup2;

    use super::*;
    use crate::serve::open_fds;

    /// A socket of ours and its peer.
    fn pair(losses: &Losses) -> (OwnSocket, UnixStream) {
        let (ours, peer) = UnixStream::pair().expect("a pair");
        let ours = OwnSocket::new(ours.into(), losses).expect("a socket");
        (ours, peer)
    }

    #[test]
    fn a_socket_of_ours_is_closed_when_it_is_dropped() {
        let losses = Losses::default();
        let (ours, mut peer) = pair(&losses);
        let opened = ours.opened;
        assert!(ours.get().is_ok() && open_fds().any(|open| open == opened));
        drop(ours);
        assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
        assert!(open_fds().all(|open| open != opened));
        assert_eq!(losses.count(), 0);
    }

    #[test]
    fn a_number_that_became_another_file_is_refused_counted_once_and_left_open() {
        let losses = Losses::default();
        let (mut ours, mut peer) = pair(&losses);
        let (theirs, mut other_end) = UnixStream::pair().expect("a pair");
        // As a program does that closes the number and opens something.
        dup2(&theirs, ours.socket.as_mut().expect("open")).expect("a free number");
        drop(theirs);
        assert_eq!(peer.read(&mut [0]).expect("it was closed"), 0);
        assert!(!ours.is_lost(), "nobody has looked");
        for _ in 0..2 {
            assert!(ours.get().is_err() && ours.is_lost());
        }
        drop(ours);
        assert_eq!(losses.count(), 1);
        other_end.set_nonblocking(true).expect("a socket");
        let read = other_end.read(&mut [0]).expect_err("nothing to read");
        assert_eq!(read.kind(), io::ErrorKind::WouldBlock, "it is open");
    }
}
