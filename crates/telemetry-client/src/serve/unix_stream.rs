//! A unix socket that asks for room to write only when there is none.
//!
//! A runtime's own socket is registered for both directions at once. On a unix socket the kernel then
//! tells of room whenever the manager has read something, which wakes the telemetry thread a second
//! time for every batch that it sends.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use super::open_fds::Listed;

/// A connected unix socket.
#[derive(Debug)]
pub(super) struct QuietUnixStream {
    /// While the last write found no room: the wait for it.
    full: Option<Full>,
    /// The socket, registered for what arrives.
    socket: AsyncFd<StdStream>,
}

/// A second handle of a full socket, registered for room. Its place in the table of open sockets goes
/// first.
#[derive(Debug)]
struct Full {
    _listed: Listed,
    socket: AsyncFd<StdStream>,
}

impl QuietUnixStream {
    /// Takes a socket over from the runtime.
    ///
    /// # Errors
    ///
    /// What the system says of registering it anew.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self {
            full: None,
            socket: registered(stream.into_std()?, Interest::READABLE)?,
        })
    }

    /// Writes at once, or waits for room and then writes.
    fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&StdStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let written = match &self.full {
                None => write(self.socket.get_ref()),
                Some(full) => {
                    let mut room = ready!(full.socket.poll_write_ready(cx))?;
                    match room.try_io(|socket| write(socket.get_ref())) {
                        Ok(written) => written,
                        // There was none after all, and the room is waited for anew.
                        Err(_no_room) => continue,
                    }
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = Some(Full::new(self.socket.get_ref())?);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    self.full = None;
                    return Poll::Ready(done);
                }
            }
        }
    }
}

impl Full {
    fn new(socket: &StdStream) -> io::Result<Self> {
        let socket = socket.try_clone()?;
        Ok(Self {
            _listed: Listed::new(&socket),
            socket: registered(socket, Interest::WRITABLE)?,
        })
    }
}

#[expect(
    deprecated,
    reason = "it is unsound for types that change their descriptor, which a socket does not; its \
              successor asks for the same promise as `unsafe`, which this crate does without"
)]
fn registered(socket: StdStream, interest: Interest) -> io::Result<AsyncFd<StdStream>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for QuietUnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut arrived = ready!(self.socket.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match arrived.try_io(|socket| (&mut socket.get_ref()).read(room)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => {
                    buf.advance(read?);
                    return Poll::Ready(Ok(()));
                }
                Err(_nothing_there) => {}
            }
        }
    }
}

impl AsyncWrite for QuietUnixStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_room(cx, |mut socket| socket.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_room(cx, |mut socket| socket.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (QuietUnixStream, UnixStream) {
        let (ours, peer) = UnixStream::pair().expect("two sockets");
        (QuietUnixStream::new(ours).expect("registered"), peer)
    }

    #[tokio::test]
    async fn what_does_not_fit_at_once_arrives_when_the_peer_reads() {
        let (mut ours, mut peer) = pair();
        let sent: Vec<u8> = (0..4_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(
            async {
                ours.write_all(&sent).await?;
                ours.write_all(b"!").await
            },
            async {
                peer.read_exact(&mut received).await?;
                peer.read_u8().await
            },
        );
        written.expect("all of it fits in the end");
        assert_eq!(read.expect("all of it arrives"), b'!');
        assert_eq!(received, sent);
        assert!(ours.full.is_none(), "it waits for room no more");
    }

    #[tokio::test]
    async fn it_reads_while_it_waits_for_room() {
        let (ours, mut peer) = pair();
        let (mut reader, mut writer) = tokio::io::split(ours);
        let full = tokio::spawn(async move { writer.write_all(&vec![0; 4_000_000]).await });
        peer.write_all(b"hello").await.expect("room");
        let mut word = [0; 5];
        reader.read_exact(&mut word).await.expect("it arrives");
        assert_eq!(&word, b"hello");
        drop(peer);
        let error = full.await.expect("no panic").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_shutdown_is_the_end_for_the_peer() {
        let (mut ours, mut peer) = pair();
        ours.shutdown().await.expect("open");
        assert_eq!(peer.read(&mut [0]).await.expect("open"), 0);
        drop(peer);
        assert_eq!(ours.read(&mut [0]).await.expect("open"), 0);
    }
}
