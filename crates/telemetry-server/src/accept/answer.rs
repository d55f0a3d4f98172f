//! What a connection is told, and what is said of those that are not taken: counted all, logged rarely.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use telemetry_core::{
    catalog::{escape, truncate},
    wire::{IntroductionAnswer, IntroductionError},
};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::manager::Refusal;
use crate::session::Peer;

/// How long a peer may take to read why it is not taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two lines of the log about connections that are not taken for the same reason.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Longest reason that is logged, in bytes.
const MAX_REASON_BYTES: usize = 512;

/// Says the last word to a peer.
pub(super) async fn send_off(mut stream: impl AsyncWrite + Unpin, answer: &IntroductionAnswer) {
    let frame = answer.to_frame();
    let said = async {
        stream.write_all(&frame).await?;
        stream.shutdown().await
    };
    // Who does not listen has chosen so.
    let _heard = timeout(ANSWER_TIMEOUT, said).await;
}

/// A refusal with a reason.
pub(super) fn refused(reason: impl Into<String>) -> IntroductionAnswer {
    IntroductionAnswer::Refused {
        reason: reason.into(),
    }
}

/// Under which reason an error counts.
pub(super) fn why(error: &IntroductionError) -> Refusal {
    match error {
        IntroductionError::Http2 => Refusal::Http2,
        IntroductionError::Unknown => Refusal::Unknown,
        IntroductionError::TooLong { .. } => Refusal::TooLong,
        // Whatever else a later version finds is in the words of the answer.
        _ => Refusal::Malformed,
    }
}

/// Logs each reason now and then.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// When each was logged last, and how many were not since.
    last: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Complaints {
    /// Somebody was not taken.
    pub(super) fn note(&self, why: Refusal, peer: &Peer, answer: &IntroductionAnswer) {
        let reason = match answer {
            IntroductionAnswer::Refused { reason } => reason.as_str(),
            _ => "told to wait",
        };
        if let Some(suppressed) = self.is_due(why.as_str()) {
            let reason = escape(truncate(reason, MAX_REASON_BYTES));
            let why = why.as_str();
            match peer {
                Peer::Process { pid } => {
                    tracing::warn!(why, pid, %reason, suppressed, "a connection was not taken");
                }
                peer => {
                    tracing::warn!(why, %peer, %reason, suppressed, "a connection was not taken");
                }
            }
        }
    }

    /// Somebody is served, but what it handed over was not taken.
    pub(super) fn note_region(&self, pid: Option<u32>, error: &str) {
        if let Some(suppressed) = self.is_due("region") {
            tracing::warn!(
                pid,
                error,
                suppressed,
                "the memory of a worker was not taken; what it holds when it dies will be lost"
            );
        }
    }

    /// Whether this kind may be logged again, and how many were not since the last time.
    fn is_due(&self, kind: &'static str) -> Option<u64> {
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match all.get_mut(kind) {
            Some((at, suppressed)) if now < *at + LOG_EVERY => {
                *suppressed += 1;
                None
            }
            known => {
                let suppressed = known.map_or(0, |(_, suppressed)| *suppressed);
                all.insert(kind, (now, 0));
                Some(suppressed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_is_logged_now_and_then_with_the_number_of_the_others() {
        let complaints = Complaints::default();
        assert_eq!(complaints.is_due("a"), Some(0));
        for _ in 0..3 {
            assert_eq!(complaints.is_due("a"), None);
        }
        assert_eq!(complaints.is_due("b"), Some(0));
        tokio::time::advance(LOG_EVERY).await;
        assert_eq!(complaints.is_due("a"), Some(3));
    }
}
