//! Which sockets this process has open for its managers: a table that a forked child can read.
//!
//! A child inherits them without the thread that serves them. Whoever hooks into `fork` closes them
//! there, so that a manager sees the parent's end of a connection close when the parent closes it.
//! The table is of fixed size and made of atomics: reading it takes no lock and no memory.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Sockets that the table holds; more are served all the same but not listed.
const CAPACITY: usize = 64;
/// Marks a free slot.
const FREE: RawFd = -1;

/// The sockets.
static FDS: [AtomicI32; CAPACITY] = [const { AtomicI32::new(FREE) }; CAPACITY];

/// The listeners and connections that servers of this process have open.
///
/// Async-signal-safe. In a child of `fork`, and only before any other thread of the child starts,
/// each of them may be closed: nothing there uses them.
pub fn open_fds() -> impl Iterator<Item = RawFd> {
    FDS.iter()
        .map(|slot| slot.load(Ordering::Relaxed))
        .filter(|fd| *fd != FREE)
}

/// A socket's place in the table. It must be dropped before the socket is closed: a number in the
/// table may not be another file's by the time of a fork.
#[derive(Debug)]
pub(super) struct Listed {
    /// Where it is; `None` if the table was full.
    slot: Option<&'static AtomicI32>,
}

impl Listed {
    /// Lists a socket.
    pub(super) fn new(socket: &impl AsRawFd) -> Self {
        let fd = socket.as_raw_fd();
        let take = |slot: &&AtomicI32| {
            slot.compare_exchange(FREE, fd, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        Self {
            slot: FDS.iter().find(take),
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.store(FREE, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_listed_until_its_place_is_dropped() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let fd = socket.as_raw_fd();
        let listed = Listed::new(&socket);
        assert!(open_fds().any(|open| open == fd));
        drop(listed);
        assert!(open_fds().all(|open| open != fd));
    }

    #[test]
    fn a_socket_beyond_the_table_is_not_listed() {
        let sockets: Vec<_> = (0..CAPACITY + 1)
            .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback"))
            .collect();
        let listed: Vec<_> = sockets.iter().map(Listed::new).collect();
        assert!(listed.iter().any(|listed| listed.slot.is_none()));
    }
}
