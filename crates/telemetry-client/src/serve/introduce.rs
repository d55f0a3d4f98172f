//! One attempt to reach a manager: connect, look who is there, say who we are and hand over the region, hear the
//! answer.
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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// Somebody answered.
#[derive(Debug)]
pub(super) struct Answered {
    /// The connection.
    pub(super) stream: Stream,
    /// What it said.
    pub(super) answer: IntroductionAnswer,
}

/// Connects to a manager's socket.
pub(super) fn reach(
    address: &Address,
    poller: &PollerHandle,
    allowed_uid: u32,
) -> Result<Stream, Unreached> {
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

/// Says who we are, with the region's descriptor if there is one, and waits for the answer.
pub(super) async fn introduce(
    mut stream: Stream,
    introduction: &Introduction,
    region: Option<&SharedRegion>,
) -> Result<Answered, Unreached> {
    let exchange = async {
        say(&mut stream, introduction, region)
            .await
            .map_err(Unreached::Silent)?;
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
        let introduction = Introduction {
            capabilities,
            ..introduction.clone()
        };
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
async fn read_answer(stream: &mut Stream) -> Result<IntroductionAnswer, Unreached> {
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
