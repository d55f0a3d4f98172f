//! A descriptor that knows whether it is still ours: a socket, or the file of a region.
//!
//! A program may close descriptors that it did not open, as `os.closerange` does and libraries that
//! make daemons, and the next file it opens gets the number of one of ours. So the number is good for
//! nothing by itself: before each use the file behind it is compared with the one that we opened.
//! What is no longer ours is counted and never touched again, not even to close it.

mod open_fds;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::fstat;

#[cfg(target_os = "linux")]
pub(crate) use open_fds::FORKS;
use open_fds::Listed;
pub(crate) use open_fds::unlist_all;
pub use open_fds::{OpenFd, open_fds};

/// The number of a descriptor was closed by the program.
#[derive(Debug, thiserror::Error)]
#[error("the program closed a descriptor of the telemetry server")]
struct ClosedByProgram;

/// How many descriptors were closed by somebody else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Losses(Arc<AtomicU64>);

impl Losses {
    /// How many so far.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A descriptor of ours. Listed for forked children as long as it lives.
#[derive(Debug)]
pub(crate) struct OwnFd {
    /// It; there until it is dropped.
    fd: Option<OwnedFd>,
    /// What it was when we got it.
    opened: OpenFd,
    /// Set once: the number is not ours any more, whatever it may be later.
    lost: AtomicBool,
    /// Where that is counted.
    losses: Losses,
    /// Its place among the open ones; given up before it is closed.
    listed: Option<Listed>,
}

impl OwnFd {
    /// Takes care of a descriptor that was just opened.
    pub(crate) fn new(fd: OwnedFd, losses: &Losses) -> io::Result<Self> {
        let opened = identify(fd.as_fd())?;
        Ok(Self {
            fd: Some(fd),
            opened,
            lost: AtomicBool::new(false),
            losses: losses.clone(),
            listed: Some(Listed::new(opened)),
        })
    }

    /// The descriptor, to be used at once.
    ///
    /// # Errors
    ///
    /// That it is not ours any more; see [`is_lost`](Self::is_lost).
    pub(crate) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.is_lost()
            && let Some(fd) = &self.fd
        {
            if identify(fd.as_fd()).is_ok_and(|found| found == self.opened) {
                return Ok(fd.as_fd());
            }
            if !self.lost.swap(true, Ordering::Relaxed) {
                self.losses.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotConnected, ClosedByProgram))
    }

    /// The descriptor, which is not taken care of any more; `None` if it is not ours.
    #[cfg(target_os = "linux")]
    pub(crate) fn into_fd(mut self) -> Option<OwnedFd> {
        self.listed = None;
        self.get().is_ok().then(|| self.fd.take()).flatten()
    }

    /// Whether it was found to be no longer ours.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for OwnFd {
    fn drop(&mut self) {
        drop(self.listed.take());
        if self.fd.is_none() {
            return;
        }
        let ours = self.get().is_ok();
        if let Some(fd) = self.fd.take()
            && !ours
        {
            let _of_another_file = fd.into_raw_fd();
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

    /// A socket of ours and its peer.
    fn pair(losses: &Losses) -> (OwnFd, UnixStream) {
        let (ours, peer) = UnixStream::pair().expect("a pair");
        let ours = OwnFd::new(ours.into(), losses).expect("a socket");
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
        dup2(&theirs, ours.fd.as_mut().expect("open")).expect("a free number");
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
