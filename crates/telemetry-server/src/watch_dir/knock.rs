//! Whether somebody listens behind a socket, and when to ask again.

use std::io;
use std::path::Path;
use std::time::Duration;

use telemetry_core::emit::random_u64;
use tokio::net::UnixStream;

use crate::session::REFUSED_CAP;

/// First pause after a refusal: the time between a worker's `bind` and its `listen` is shorter.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Growing pauses between knocks.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Refusals in a row.
    refusals: u32,
}

impl Pauses {
    /// The next one: doubled each time up to [`REFUSED_CAP`], less up to a half.
    pub(super) fn next(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.refusals).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(REFUSED_CAP);
        self.refusals = self.refusals.saturating_add(1);
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        pause - Duration::from_nanos(random_u64() % (nanos / 2).max(1))
    }
}

/// Whether somebody listens. A full queue of those who wait to be let in is an answer, too.
pub(super) async fn is_answering(path: &Path) -> bool {
    match UnixStream::connect(path).await {
        Ok(_hung_up) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ),
    }
}
