//! Signals as the manager understands them: which ones ask it to end, and how soon.
//!
//! Only listens and judges; what a request means is the manager's business.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// For this long after the first one a further SIGTERM or SIGINT is the same request: a service manager
/// signals each process and the group, a shell passes on what the terminal sent as well.
const SAME_REQUEST: Duration = Duration::from_secs(2);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// End in order.
    Stop,
    /// End now.
    Hasten,
}

/// Listens to signals for the rest of this process's life.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
    /// When it was first asked to end.
    asked: Option<Instant>,
}

impl Signals {
    /// From now on no signal but SIGKILL ends the process by itself.
    ///
    /// # Errors
    /// The system refused.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            asked: None,
        })
    }

    /// The next request. May be cancelled and called again.
    pub(crate) async fn next(&mut self) -> Request {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.quit.recv() => return Request::Hasten,
                _ = self.hangup.recv() => {
                    tracing::warn!(
                        "SIGHUP changes nothing: the configuration is read at the start only; \
                         restart the manager to have it read again"
                    );
                    continue;
                }
            }
            if let Some(request) = self.judge(Instant::now()) {
                return request;
            }
        }
    }

    /// What a SIGTERM or SIGINT at `now` asks for, if it is no repetition.
    fn judge(&mut self, now: Instant) -> Option<Request> {
        match self.asked {
            None => {
                self.asked = Some(now);
                Some(Request::Stop)
            }
            Some(first) if now.duration_since(first) < SAME_REQUEST => None,
            Some(_) => Some(Request::Hasten),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_soon_after_the_first_is_the_same_request() {
        let mut signals = Signals::listen().unwrap();
        let first = Instant::now();
        assert_eq!(signals.judge(first), Some(Request::Stop));
        let soon = first + SAME_REQUEST.saturating_sub(Duration::from_millis(1));
        assert_eq!(signals.judge(soon), None);
        assert_eq!(signals.judge(first + SAME_REQUEST), Some(Request::Hasten));
    }
}
