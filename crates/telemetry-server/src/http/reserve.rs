//! Descriptors set aside, so that scrapers and operators are still answered when the rest of the
//! process has used up all others.
//!
//! Holds sockets that lead nowhere; each one given up is a place for a connection.

use std::io;
use std::os::unix::net::UnixDatagram;

use rustix::io::Errno;

/// Connections that can be served when no descriptor is left.
const RESERVED: usize = 4;

/// The descriptors that are set aside.
#[derive(Debug)]
pub(super) struct Reserve {
    held: Vec<UnixDatagram>,
}

impl Reserve {
    /// A full one, or as full as the system allows.
    pub(super) fn new() -> Self {
        let mut reserve = Self {
            held: Vec::with_capacity(RESERVED),
        };
        reserve.fill();
        reserve
    }

    /// Takes back what was given up, as far as descriptors are left.
    pub(super) fn fill(&mut self) {
        while self.held.len() < RESERVED {
            // Bound to nothing: it needs no file system.
            let Ok(socket) = UnixDatagram::unbound() else {
                return;
            };
            self.held.push(socket);
        }
    }

    /// After this error of accepting: makes room for one connection. False when that cannot help.
    pub(super) fn makes_room(&mut self, error: &io::Error) -> bool {
        let exhausted = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        exhausted.contains(&error.raw_os_error()) && self.held.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_only_where_descriptors_are_missing_and_only_as_often_as_there_is_some() {
        let mut reserve = Reserve::new();
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(!reserve.makes_room(&error(Errno::CONNABORTED)));
        for _ in 0..RESERVED {
            assert!(reserve.makes_room(&error(Errno::MFILE)));
        }
        assert!(!reserve.makes_room(&error(Errno::MFILE)));
        reserve.fill();
        assert!(reserve.makes_room(&error(Errno::NFILE)));
    }
}
