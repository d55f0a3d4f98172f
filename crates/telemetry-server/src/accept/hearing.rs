//! Reads what a worker says first, and takes the descriptor that comes with it.
//!
//! One descriptor is taken, of whatever kind; more than that are closed unseen. Where the system had no
//! room for it the connection is as good without.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, ReturnFlags, recvmsg,
};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;

/// See the module.
#[derive(Debug)]
pub(super) struct Hearing<'a> {
    stream: &'a UnixStream,
    /// What came with the bytes.
    handed: Option<OwnedFd>,
    /// Whether something was handed over that did not arrive.
    is_cut: bool,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(stream: &'a UnixStream) -> Self {
        Self {
            stream,
            handed: None,
            is_cut: false,
        }
    }

    /// The descriptor that came with what was read; an error says that there was one and where it is not.
    pub(super) fn handed(self) -> Result<Option<OwnedFd>, &'static str> {
        match self.handed {
            None if self.is_cut => Err("it did not arrive: no descriptor is free"),
            handed => Ok(handed),
        }
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let stream = self.stream;
        let received = stream.try_io(Interest::READABLE, || {
            let mut into = [IoSliceMut::new(bytes)];
            Ok(recvmsg(
                stream,
                &mut into,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?)
        });
        let RecvMsg { bytes, flags, .. } = received?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    self.handed.get_or_insert(descriptor);
                }
            }
        }
        self.is_cut |= flags.contains(ReturnFlags::CTRUNC);
        Ok(bytes)
    }
}

impl AsyncRead for Hearing<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.receive(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream as Socket;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::io::AsyncReadExt;

    use super::*;

    fn pair() -> (Socket, UnixStream) {
        let (theirs, ours) = Socket::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        (theirs, UnixStream::from_std(ours).expect("a socket"))
    }

    fn send(socket: &Socket, bytes: &[u8], files: &[&File]) {
        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        let bytes = [IoSlice::new(bytes)];
        sendmsg(socket, &bytes, &mut control, SendFlags::empty()).expect("sent");
    }

    #[tokio::test]
    async fn what_comes_with_the_bytes_is_taken_once() {
        let (theirs, ours) = pair();
        let file = File::open("/dev/null").expect("there");
        send(&theirs, b"abc", &[&file]);
        send(&theirs, b"def", &[&file]);
        let mut hearing = Hearing::new(&ours);
        let mut bytes = [0; 6];
        hearing.read_exact(&mut bytes).await.expect("read");
        assert_eq!(&bytes, b"abcdef");
        assert!(hearing.handed().expect("whole").is_some());
    }

    #[tokio::test]
    async fn more_than_one_is_one_and_none_is_none() {
        let (theirs, ours) = pair();
        let file = File::open("/dev/null").expect("there");
        send(&theirs, b"a", &[&file; 8]);
        let mut hearing = Hearing::new(&ours);
        assert_eq!(hearing.read_u8().await.expect("read"), b'a');
        assert!(hearing.handed().expect("one of them").is_some());

        let (theirs, ours) = pair();
        send(&theirs, b"a", &[]);
        let mut hearing = Hearing::new(&ours);
        assert_eq!(hearing.read_u8().await.expect("read"), b'a');
        assert!(hearing.handed().expect("none").is_none());
    }
}
