//! A unix socket that asks for room to write only when there is none.
//!
//! A runtime's own socket is registered for both directions at once. On a unix socket the kernel then
//! tells of room whenever the manager has read something, which wakes the telemetry thread a second
//! time for every batch that it sends.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// A connected unix socket.
#[derive(Debug)]
pub(super) struct QuietUnixStream {
    /// The socket, registered for what arrives.
    socket: AsyncFd<StdStream>,
    /// A second handle of it.
    writer: Writer,
}

/// The handle that waits for room. It is there from the start: a full socket must not need a new
/// descriptor from a host that may have none left.
#[derive(Debug)]
enum Writer {
    /// There was room.
    Free(StdStream),
    /// The last write found none; registered for it.
    Full(AsyncFd<StdStream>),
    /// On its way from one to the other; nobody sees it so.
    Moving,
}

impl QuietUnixStream {
    /// Takes a socket over from the runtime.
    ///
    /// # Errors
    ///
    /// What the system says of a second handle or of registering it anew.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let socket = stream.into_std()?;
        let writer = Writer::Free(socket.try_clone()?);
        let socket = registered(socket, Interest::READABLE).map_err(|(_closed, error)| error)?;
        Ok(Self { socket, writer })
    }

    /// The second handle, which a forked child has as well.
    pub(super) fn second_handle(&self) -> Option<&StdStream> {
        match &self.writer {
            Writer::Free(socket) => Some(socket),
            Writer::Full(socket) => Some(socket.get_ref()),
            Writer::Moving => None,
        }
    }

    /// Writes at once, or waits for room and then writes.
    fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&StdStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let written = match &self.writer {
                Writer::Free(socket) => write(socket),
                Writer::Full(socket) => {
                    let mut room = ready!(socket.poll_write_ready(cx))?;
                    match room.try_io(|socket| write(socket.get_ref())) {
                        Ok(written) => written,
                        // There was none after all, and the room is waited for anew.
                        Err(_no_room) => continue,
                    }
                }
                Writer::Moving => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writer.wait_for_room()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    self.writer.stop_waiting();
                    return Poll::Ready(done);
                }
            }
        }
    }
}

impl Writer {
    /// Has the kernel tell of room. If it refuses, the handle stays open: it is listed for forked
    /// children, which would close whatever had its number next.
    fn wait_for_room(&mut self) -> io::Result<()> {
        if let Self::Full(_) = self {
            return Ok(());
        }
        if let Self::Free(socket) = std::mem::replace(self, Self::Moving) {
            match registered(socket, Interest::WRITABLE) {
                Ok(socket) => *self = Self::Full(socket),
                Err((socket, error)) => {
                    *self = Self::Free(socket);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Has it be silent again.
    fn stop_waiting(&mut self) {
        if let Self::Full(_) = self
            && let Self::Full(socket) = std::mem::replace(self, Self::Moving)
        {
            *self = Self::Free(socket.into_inner());
        }
    }
}

#[expect(
    deprecated,
    reason = "it is unsound for types that change their descriptor, which a socket does not; its \
              successor asks for the same promise as `unsafe`, which this crate does without"
)]
fn registered(
    socket: StdStream,
    interest: Interest,
) -> Result<AsyncFd<StdStream>, (StdStream, io::Error)> {
    AsyncFd::try_with_interest(socket, interest).map_err(AsyncFdRegisterError::into_parts)
}

impl AsRawFd for QuietUnixStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
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
                    let read = read?;
                    if (1..room.len()).contains(&read) {
                        // That was all, so the next read need not find it out.
                        arrived.clear_ready();
                    }
                    buf.advance(read);
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
    use std::os::fd::OwnedFd;

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
        assert!(
            matches!(ours.writer, Writer::Free(_)),
            "it waits for room no more"
        );
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

    /// What the kernel was asked to tell of a socket, as bits of `poll`; of all its handles.
    #[cfg(target_os = "linux")]
    fn asked_for(handles: &[i32]) -> u32 {
        let descriptors = std::fs::read_dir("/proc/self/fdinfo").expect("procfs");
        let infos = descriptors.filter_map(|fd| std::fs::read_to_string(fd.ok()?.path()).ok());
        infos.fold(0, |asked, info| {
            let registrations = info.lines().filter_map(|line| {
                let mut words = line.strip_prefix("tfd:")?.split_whitespace();
                let fd = words.next()?.parse::<i32>().ok()?;
                let events = u32::from_str_radix(words.nth(1)?, 16).ok()?;
                handles.contains(&fd).then_some(events)
            });
            registrations.fold(asked, |asked, events| asked | events)
        })
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nobody_asks_for_room_while_there_is_some() {
        const IN: u32 = 1;
        const OUT: u32 = 4;
        let (mut ours, mut peer) = pair();
        let second = ours.second_handle().expect("there").as_raw_fd();
        let handles = [ours.socket.as_raw_fd(), second];
        assert_eq!(asked_for(&handles) & (IN | OUT), IN);
        assert_eq!(asked_for(&[peer.as_raw_fd()]) & (IN | OUT), IN | OUT);
        let sent = vec![0; 4_000_000];
        let mut received = vec![0; sent.len()];
        let mut full = begun(ours.write_all(&sent)).await;
        assert_eq!(asked_for(&handles) & (IN | OUT), IN | OUT);
        let (written, read) = tokio::join!(full.as_mut(), peer.read_exact(&mut received));
        written.expect("all of it fits in the end");
        read.expect("all of it arrives");
        drop(full);
        assert_eq!(asked_for(&handles) & (IN | OUT), IN);
    }

    /// Polls once what cannot be ready yet.
    #[cfg(target_os = "linux")]
    async fn begun<F: Future>(future: F) -> Pin<Box<F>> {
        let mut future = Box::pin(future);
        let ended = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready()));
        assert!(!ended.await, "it is too much for the socket");
        future
    }

    #[tokio::test]
    async fn a_handle_that_cannot_be_registered_stays_open() {
        let file = std::fs::File::open("/dev/null").expect("a file that nobody can wait for");
        let handle = file.as_raw_fd();
        let mut writer = Writer::Free(StdStream::from(OwnedFd::from(file)));
        assert!(writer.wait_for_room().is_err());
        // It is listed for forked children, so its number must not become another file's.
        assert!(matches!(&writer, Writer::Free(socket) if socket.as_raw_fd() == handle));
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
