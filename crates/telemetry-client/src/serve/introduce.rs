//! One attempt to reach a manager: connect, say who we are, hear the answer. Nothing here tries again.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use telemetry_core::{
    Address,
    wire::{
        INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, IntroductionError,
        introduction_body_bytes,
    },
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

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
         to, unless TELEMETRY_MANAGER_UID={found} says so", path.display()
    )]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// Who we are.
        own: u32,
    },
    /// It may be anybody.
    #[error(
        "the process behind unix:{} runs as a user that the system cannot show here: it is not connected to; run both \
         as other users than 65534", path.display()
    )]
    Hidden {
        /// The socket.
        path: PathBuf,
    },
    /// There is no way there.
    #[error(
        "{address} is a port, and a manager there is connected to with TLS only; set TELEMETRY_TLS_CA"
    )]
    NoTls {
        /// The address.
        address: Address,
    },
    /// TLS cannot begin.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    TlsFiles(#[from] telemetry_tls::TlsError),
    /// Nobody answers at a port, or nobody that can be trusted.
    #[cfg(feature = "tls")]
    #[error("no manager at {address}: {source}")]
    Port {
        /// The address.
        address: Address,
        /// What the system or TLS says.
        source: io::Error,
    },
    /// The connection broke off before the answer.
    #[error("the manager did not answer: {}", why(_0))]
    Silent(io::Error),
    /// The answer is none.
    #[error("the manager's answer: {0}")]
    Answer(#[from] IntroductionError),
}

/// What broke a connection, which may be what the other end thinks of our certificate.
fn why(error: &io::Error) -> String {
    #[cfg(feature = "tls")]
    return telemetry_tls::explain(error, None);
    #[cfg(not(feature = "tls"))]
    error.to_string()
}

/// The way to managers.
pub(super) trait Road {
    /// A connection to one.
    type Stream: AsyncRead + AsyncWrite + Unpin;

    /// Connects to a manager; at a unix socket at once or not at all, and if `allowed_uid`, root or the user that was
    /// named besides is behind it.
    async fn reach(
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

/// Somebody answered.
#[derive(Debug)]
pub(super) struct Answered<S> {
    /// The connection.
    pub(super) stream: S,
    /// What it said.
    pub(super) answer: IntroductionAnswer,
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
