//! One connection's bytes, in both directions.
//!
//! Bytes are sent and received, never written and read: what is no socket refuses that, so that
//! nothing gets into a file of the program even if it takes our number this very moment.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, recv, send, sendmsg,
    shutdown,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::poller::{Direction, Polled, PollerHandle};

/// Most pieces that are sent at once; the system takes at least this many.
const MAX_PIECES: usize = 64;

/// A connected socket.
#[derive(Debug)]
pub(super) struct Stream {
    /// The socket.
    socket: Polled,
    /// Whether there may be something to receive.
    arrived: bool,
    /// Whether there may be room to send.
    room: bool,
}

impl Stream {
    /// Takes a socket that does not block.
    ///
    /// # Errors
    ///
    /// What the system says of it.
    pub(super) fn new(socket: OwnedFd, poller: &PollerHandle) -> io::Result<Self> {
        Ok(Self {
            socket: poller.add(socket)?,
            arrived: true,
            room: true,
        })
    }

    /// Lets `look` at the socket, unless the program closed it.
    pub(super) fn with_socket<T>(
        &self,
        look: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        look(self.socket.get()?)
    }

    /// Resolves when there is room to send, or the connection was made or refused.
    #[cfg(feature = "tls")]
    pub(super) async fn writable(&self) {
        poll_fn(|cx| self.socket.poll_ready(Direction::Write, cx)).await;
    }

    /// Waits for bytes and looks at the first of them, which stay; how many there are, none at the end.
    #[cfg(feature = "tls")]
    pub(super) async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        loop {
            match recv(self.socket.get()?, &mut *bytes, flags) {
                Err(Errno::AGAIN) => {
                    poll_fn(|cx| self.socket.poll_ready(Direction::Read, cx)).await;
                }
                Err(Errno::INTR) => {}
                seen => return Ok(seen?.0),
            }
        }
    }

    /// Sends the beginning of `bytes`, at least one, and with it the descriptor that `fd` gives, which is asked
    /// right before each attempt. How many bytes were sent; with an error none were.
    pub(super) async fn send_with<'fd>(
        &self,
        bytes: &[u8],
        fd: impl Fn() -> io::Result<BorrowedFd<'fd>>,
    ) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            let fds = [fd()?];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let socket = self.socket.get()?;
            match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                sent => return Ok(sent?),
            }
            poll_fn(|cx| self.socket.poll_ready(Direction::Write, cx)).await;
        }
    }

    /// Sends at once, or waits for room and then sends.
    fn poll_send(&mut self, cx: &Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            if !self.room {
                ready!(self.socket.poll_ready(Direction::Write, cx));
                self.room = true;
            }
            let socket = self.socket.get()?;
            let sent = match pieces {
                [piece] => send(socket, piece, flags),
                _ => {
                    let pieces = &pieces[..pieces.len().min(MAX_PIECES)];
                    sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags)
                }
            };
            match sent {
                Err(Errno::AGAIN) => self.room = false,
                Err(Errno::INTR) => {}
                done => return Poll::Ready(Ok(done?)),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.arrived {
                ready!(self.socket.poll_ready(Direction::Read, cx));
                self.arrived = true;
            }
            let room = buf.initialize_unfilled();
            let wanted = room.len();
            match recv(self.socket.get()?, room, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => self.arrived = false,
                Err(Errno::INTR) => {}
                received => {
                    let (received, _) = received?;
                    if (1..wanted).contains(&received) {
                        // That was all, so the next one need not find it out.
                        self.arrived = false;
                    }
                    buf.advance(received);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(self.socket.get()?, Shutdown::Write)?))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::own_fd::Losses;
    use crate::serve::poller::Poller;

    /// A connection and its peer, and the thread that waits for it.
    fn pair() -> (Stream, UnixStream, Poller) {
        let poller = Poller::start(Losses::default()).expect("a thread");
        let (ours, peer) = UnixStream::pair().expect("a pair");
        let ours = ours.into_std().expect("registered").into();
        let ours = Stream::new(ours, &poller.handle()).expect("a socket");
        (ours, peer, poller)
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_for_room() {
        let (mut ours, mut peer, poller) = pair();
        let sent: Vec<u8> = (0..4_000_000).map(|n| (n % 251) as u8).collect();
        let mut received = vec![0; sent.len()];
        let mut full = Box::pin(ours.write_all(&sent));
        let begun = poll_fn(|cx| Poll::Ready(full.as_mut().poll(cx).is_pending())).await;
        assert!(begun, "it is too much for the socket");
        let (written, read) = tokio::join!(full.as_mut(), peer.read_exact(&mut received));
        written.expect("all of it fits in the end");
        read.expect("all of it arrives");
        assert!(sent == received, "byte for byte");
        drop(full);
        peer.write_all(b"and back").await.expect("room");
        let mut answer = [0; 8];
        ours.read_exact(&mut answer).await.expect("it arrives");
        assert_eq!(&answer, b"and back");
        drop((ours, poller));
    }

    #[tokio::test]
    async fn pieces_arrive_in_order() {
        let (mut ours, mut peer, poller) = pair();
        let pieces: Vec<_> = (0..100_u8).map(|n| [n; 3]).collect();
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let sent = ours.write_vectored(left).await.expect("room");
            IoSlice::advance_slices(&mut left, sent);
        }
        let mut received = [0; 300];
        peer.read_exact(&mut received).await.expect("all of it");
        assert_eq!(received.as_slice(), pieces.as_flattened());
        drop((ours, poller));
    }

    #[tokio::test]
    async fn a_shutdown_is_the_end_for_the_peer() {
        let (mut ours, mut peer, poller) = pair();
        ours.shutdown().await.expect("open");
        assert_eq!(peer.read(&mut [0]).await.expect("open"), 0);
        drop(peer);
        assert_eq!(ours.read(&mut [0]).await.expect("open"), 0);
        drop((ours, poller));
    }
}
