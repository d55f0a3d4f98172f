//! What a connection is told, and what is said of those that are not taken: counted all, logged rarely.

use std::time::Duration;

use telemetry_core::{
    catalog::{escape, truncate},
    wire::{IntroductionAnswer, IntroductionError},
};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::manager::Refusal;
use crate::rarely::Rarely;
use crate::session::Peer;

/// How long a peer may take to read why it is not taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
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
    /// What was logged when.
    said: Rarely,
}

impl Complaints {
    /// Somebody was not taken.
    pub(super) fn note(&self, why: Refusal, peer: &Peer, answer: &IntroductionAnswer) {
        let reason = match answer {
            IntroductionAnswer::Refused { reason } => reason.as_str(),
            _ => "told to wait",
        };
        if let Some(suppressed) = self.said.is_due(why.as_str()) {
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
        if let Some(suppressed) = self.said.is_due("region") {
            tracing::warn!(
                pid,
                error,
                suppressed,
                "the memory of a worker was not taken; what it holds when it dies will be lost"
            );
        }
    }
}
