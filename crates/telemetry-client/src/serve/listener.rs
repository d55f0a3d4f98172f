//! A listener and the connections that arrive at it, which must be of the own user.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_peercred};
use rustix::net::{SocketFlags, accept_with};

use super::bind::Bound;
use super::own_file::OwnFile;
use super::poller::{Direction, Polled, PollerHandle};
use super::stream::Stream;
use super::users::is_hidden;

/// A listener that is waited for.
#[derive(Debug)]
pub(super) struct Listener {
    /// The socket; closed before its file goes.
    socket: Polled,
    /// Where it and its connections are waited for.
    poller: PollerHandle,
    /// What is checked of a peer.
    kind: Kind,
}

/// What kind of address it listens at.
#[derive(Debug)]
enum Kind {
    /// A unix socket.
    Unix {
        /// Who may connect.
        uid: u32,
        /// Its file.
        _file: OwnFile,
    },
    /// A port.
    Tcp,
}

impl Listener {
    /// Begins to accept at what was bound.
    ///
    /// # Errors
    ///
    /// What the system says of the socket.
    pub(super) fn new(bound: Bound, poller: &PollerHandle, allowed_uid: u32) -> io::Result<Self> {
        let (socket, kind) = match bound {
            Bound::Unix(listener, file) => {
                let (uid, _file) = (allowed_uid, file);
                (listener.into(), Kind::Unix { uid, _file })
            }
            Bound::Tcp(listener, _) => (listener.into(), Kind::Tcp),
        };
        Ok(Self {
            socket: poller.add(socket)?,
            poller: poller.clone(),
            kind,
        })
    }

    /// Whether the program closed its socket.
    pub(super) fn is_lost(&self) -> bool {
        self.socket.is_lost()
    }

    /// The next connection; `None` if its peer may not connect.
    pub(super) async fn accept(&self) -> io::Result<Option<Stream>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match accept_with(self.socket.get()?, flags) {
                Err(Errno::AGAIN) => {
                    poll_fn(|cx| self.socket.poll_ready(Direction::Read, cx)).await;
                }
                Err(Errno::INTR) => {}
                accepted => return self.admit(accepted?),
            }
        }
    }

    /// Makes a connection of what was accepted, if its peer may connect.
    fn admit(&self, socket: OwnedFd) -> io::Result<Option<Stream>> {
        match &self.kind {
            Kind::Unix { uid, .. } => {
                // A peer that is gone already has no credentials either.
                let Ok(peer) = socket_peercred(&socket) else {
                    return Ok(None);
                };
                let peer = peer.uid.as_raw();
                if is_hidden(peer) {
                    tracing::warn!(
                        peer,
                        "a process of a user that the system cannot show here was turned away"
                    );
                    return Ok(None);
                }
                if peer != *uid {
                    tracing::warn!(peer, "a process of another user was turned away");
                    return Ok(None);
                }
            }
            // Events must not wait for an acknowledgement of those before them.
            Kind::Tcp => set_tcp_nodelay(&socket, true)?,
        }
        Stream::new(socket, &self.poller).map(Some)
    }
}
