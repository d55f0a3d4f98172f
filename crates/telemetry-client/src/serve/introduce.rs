//! One attempt to reach a manager: connect, look who is there, say who we are and hand over the region, hear the
//! answer.
//!
//! Nothing here waits or tries again.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use telemetry_core::{
    Address,
    wire::{
        INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, IntroductionError,
        introduction_body_bytes,
    },
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::config::capabilities;
use super::poller::PollerHandle;
use super::stream::Stream;
use crate::region::{RegionKind, SharedRegion};

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
    fn reach(
        &mut self,
        address: &Address,
        allowed_uid: u32,
    ) -> Result<Opened<Self::Stream>, Unreached>;

    /// Says who we are.
    async fn say(&self, stream: &mut Self::Stream, introduction: &Introduction) -> io::Result<()>;
}

/// A connection to a manager.
#[derive(Debug)]
pub(super) struct Opened<S> {
    /// The connection.
    pub(super) stream: S,
    /// Whether it has been said there who we are.
    pub(super) is_said: bool,
}

impl<S> Opened<S> {
    /// One on which nothing was said.
    pub(super) fn silent(stream: S) -> Self {
        let is_said = false;
        Self { stream, is_said }
    }
}

/// The way over unix sockets.
#[derive(Debug)]
pub(super) struct UnixRoad {
    /// Where sockets are waited for.
    poller: PollerHandle,
    /// What each manager is handed, if anything is.
    region: Option<Arc<SharedRegion>>,
    /// The first connection, on which it has been said who we are.
    first: Option<Stream>,
}

impl UnixRoad {
    /// A road on which nobody was met yet.
    pub(super) fn new(poller: PollerHandle, region: Option<Arc<SharedRegion>>) -> Self {
        if let Some(region) = &region {
            poller.watch(Arc::clone(region));
        }
        Self {
            poller,
            region,
            first: None,
        }
    }

    /// Connects and says who we are, if that can be done without waiting: then the manager holds the region
    /// whatever becomes of this process.
    pub(super) fn begin(
        &mut self,
        address: &Address,
        allowed_uid: u32,
        introduction: &Introduction,
    ) {
        let Ok(mut stream) = reach(address, &self.poller, allowed_uid) else {
            return;
        };
        let said = {
            let mut saying = pin!(say(&mut stream, introduction, self.region.as_deref()));
            saying
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        // One that was said in part is of no use any more.
        if matches!(said, Poll::Ready(Ok(()))) {
            self.first = Some(stream);
        }
    }

    /// Has the memory of the region made ready, when nothing else is to be done.
    pub(super) fn populate(&self) {
        if let Some(region) = &self.region {
            let region = Arc::clone(region);
            // Runs when the first attempt waits for an answer.
            tokio::spawn(async move { region.populate() });
        }
    }
}

impl Road for UnixRoad {
    type Stream = Stream;

    fn reach(&mut self, address: &Address, allowed_uid: u32) -> Result<Opened<Stream>, Unreached> {
        if let Some(stream) = self.first.take() {
            let is_said = true;
            return Ok(Opened { stream, is_said });
        }
        reach(address, &self.poller, allowed_uid).map(Opened::silent)
    }

    async fn say(&self, stream: &mut Stream, introduction: &Introduction) -> io::Result<()> {
        say(stream, introduction, self.region.as_deref()).await
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

/// Says who we are on a connection where nobody has yet, and waits for the answer.
pub(super) async fn introduce<R: Road>(
    road: &R,
    opened: Opened<R::Stream>,
    introduction: &Introduction,
) -> Result<Answered<R::Stream>, Unreached> {
    let Opened {
        mut stream,
        is_said,
    } = opened;
    let exchange = async {
        if !is_said {
            let said = road.say(&mut stream, introduction).await;
            said.map_err(Unreached::Silent)?;
        }
        let answer = read_answer(&mut stream).await?;
        Ok(Answered { stream, answer })
    };
    let late = || Unreached::Silent(io::ErrorKind::TimedOut.into());
    timeout(ANSWER_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Says who we are. A region that cannot be handed over is left out.
async fn say(
    stream: &mut Stream,
    introduction: &Introduction,
    region: Option<&SharedRegion>,
) -> io::Result<()> {
    let frame = |region| {
        let capabilities = capabilities(region);
        let mut introduction = introduction.clone();
        introduction.capabilities = capabilities;
        introduction.to_frame()
    };
    if let Some(region) = region {
        region.set_handed(false);
        let frame = frame(RegionKind::Shared);
        // The descriptor is asked for right before each attempt: it may become another file's meanwhile.
        match stream.send_with(&frame, || region.file()).await {
            Ok(sent) => {
                region.set_handed(true);
                return stream.write_all(&frame[sent..]).await;
            }
            Err(error) => tracing::debug!(%error, "the region cannot be handed to the manager"),
        }
    }
    stream.write_all(&frame(RegionKind::Heap)).await
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
