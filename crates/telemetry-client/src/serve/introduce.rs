//! One attempt to reach a manager: connect, look who is there, say who we are, hear the answer.
//!
//! Nothing here waits or tries again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use telemetry_core::{
    Address, INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, IntroductionError,
    introduction_body_bytes,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::poller::PollerHandle;
use super::stream::Stream;

/// Time for the manager's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a manager could not be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    /// Nobody listens there.
    #[error("no manager at unix:{}: {source}", path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Whoever listens may not have our events.
    #[error(
        "the process behind unix:{} runs as uid {found}, this one as uid {own}: it is not connected \
         to", path.display()
    )]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// Who we are.
        own: u32,
    },
    /// There is no way there.
    #[error("{address} is no unix socket; a manager elsewhere cannot be reached without TLS")]
    NoTls {
        /// The address.
        address: Address,
    },
    /// The connection broke off before the answer.
    #[error("the manager did not answer: {0}")]
    Silent(io::Error),
    /// The answer is none.
    #[error("the manager's answer: {0}")]
    Answer(#[from] IntroductionError),
}

/// The way to managers.
pub(super) trait Road {
    /// A connection to one.
    type Stream: AsyncRead + AsyncWrite + Unpin;

    /// Connects to a manager, at once or not at all, if `allowed_uid` or root is behind the address.
    fn reach(&self, address: &Address, allowed_uid: u32) -> Result<Self::Stream, Unreached>;
}

impl Road for PollerHandle {
    type Stream = Stream;

    fn reach(&self, address: &Address, allowed_uid: u32) -> Result<Stream, Unreached> {
        reach(address, self, allowed_uid)
    }
}

/// Somebody answered.
#[derive(Debug)]
pub(super) struct Answered<S> {
    /// The connection.
    pub(super) stream: S,
    /// What it said.
    pub(super) answer: IntroductionAnswer,
}

/// Connects to a manager's socket.
fn reach(address: &Address, poller: &PollerHandle, allowed_uid: u32) -> Result<Stream, Unreached> {
    let Address::Unix(path) = address else {
        return Err(Unreached::NoTls {
            address: address.clone(),
        });
    };
    let absent = |source: io::Error| Unreached::Absent {
        path: path.clone(),
        source,
    };
    let stream = open(path, poller).map_err(absent)?;
    let found = stream.with_socket(|socket| Ok(socket_peercred(socket)?));
    let found = found.map_err(absent)?.uid.as_raw();
    if found != allowed_uid && found != 0 {
        return Err(Unreached::Foreign {
            path: path.clone(),
            found,
            own: allowed_uid,
        });
    }
    Ok(stream)
}

/// Opens a connection. A unix socket connects at once or not at all: EAGAIN says that whoever listens is
/// too busy.
fn open(path: &Path, poller: &PollerHandle) -> io::Result<Stream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    // Listed for a fork before it is anything.
    let stream = Stream::new(socket, poller)?;
    let place = SocketAddrUnix::new(path)?;
    stream.with_socket(|socket| {
        loop {
            match connect(socket, &place) {
                Err(Errno::INTR) => {}
                connected => return Ok(connected?),
            }
        }
    })?;
    Ok(stream)
}

/// Says who we are and waits for the answer.
pub(super) async fn introduce<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    introduction: &Introduction,
) -> Result<Answered<S>, Unreached> {
    let exchange = async {
        let frame = introduction.to_frame();
        stream.write_all(&frame).await.map_err(Unreached::Silent)?;
        let answer = read_answer(&mut stream).await?;
        Ok(Answered { stream, answer })
    };
    let late = || Unreached::Silent(io::ErrorKind::TimedOut.into());
    timeout(ANSWER_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Reads one frame and not a byte more: HTTP/2 may begin right behind it.
async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<IntroductionAnswer, Unreached> {
    let mut head = [0; INTRODUCTION_HEAD_BYTES];
    let read = stream.read_exact(&mut head).await;
    read.map_err(Unreached::Silent)?;
    // A whole head has a length.
    let bytes = introduction_body_bytes(&head)?.unwrap_or_default();
    let mut body = vec![0; bytes];
    let read = stream.read_exact(&mut body).await;
    read.map_err(Unreached::Silent)?;
    Ok(IntroductionAnswer::from_body(&body)?)
}
