//! One stream under way: where it stands, what is still to be said on it, and how it can end.
//!
//! Plain state; the loop that moves it is `stream.rs`.

use std::time::Duration;

use telemetry_core::{emit::random_u64, wire::RejectedName};
use tokio::time::Instant;

use super::acks::Acks;
use super::dial::{DialError, HANDSHAKE_TIMEOUT, Manners};
use super::peer::Peer;
use super::pulse::Pulse;
use super::reader::Reader;
use super::response::{Farewell, farewell};
use super::state::{Course, DRAIN_SILENCE, Phase, Retold, Speech};

/// Longest that the rest of a connection is read which nobody writes to any more.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// How a stream ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It never began. `asked`: the request went out, and the worker may have sent events.
    NotOpened { error: DialError, asked: bool },
    /// It broke, or the worker ended it.
    Lost { reason: String, lived: Duration },
    /// The worker serves another manager now.
    Replaced { reason: String },
    /// The worker opened another connection, which is the session's next.
    Superseded,
    /// The process behind it has ended, and what it had sent is read.
    Gone,
    /// The session was told to stop; `in_order`: the worker had said its last word.
    Stopped { in_order: bool },
}

/// The end of a stream that was not read to its last word.
pub(super) const STOPPED: Ending = Ending::Stopped { in_order: false };

/// One stream under way.
pub(super) struct Progress {
    pub(super) reader: Reader,
    pub(super) peer: Peer,
    pub(super) stream_id: String,
    /// When its connection was dialled, or accepted.
    pub(super) dialled_at: Instant,
    pub(super) phase: Phase,
    pub(super) speech: Speech,
    pub(super) course: Course,
    /// Why it leaves, once it does.
    pub(super) cause: Cause,
    /// Whether the worker lives although it is silent.
    pub(super) pulse: Pulse,
    /// Whether the newest policy is still to be sent.
    pub(super) policy_due: bool,
    /// Whether there may be newer policies.
    pub(super) is_desired: bool,
    /// What the worker is still to be told at its end.
    pub(super) farewell: Option<LastWord>,
    /// Whether it need not be told any more that its process is about to be ended.
    pub(super) told_drain: bool,
    /// Names that it is still to be told are not taken.
    pub(super) rejected: Vec<RejectedName>,
    /// What is to be acknowledged.
    pub(super) acks: Acks,
    /// Until when nothing is read here because another stream of the incarnation is.
    pub(super) waits: Option<Instant>,
}

/// Why a stream is read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The session was told to stop.
    Told,
    /// There is a newer connection of the worker.
    Superseded,
    /// The process behind it has ended.
    ProcessEnded,
}

/// What a worker is told at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastWord {
    /// Its process is about to be ended.
    Drain,
    /// We leave, and wait for what it has sent to acknowledge it.
    Goodbye,
    /// We leave and say so by ending our side of the stream.
    End,
}

impl Progress {
    pub(super) fn new(
        reader: Reader,
        peer: Peer,
        dialled_at: Instant,
        speech: Speech,
        manners: Manners,
    ) -> Self {
        let mut pulse = Pulse::new(manners == Manners::Brisk);
        if speech.is_legacy() {
            // It sends its headers with its first event. If it answers another call, it is alive and merely has
            // nothing to say.
            pulse.hurry();
        }
        Self {
            reader,
            peer,
            stream_id: format!("{:016x}", random_u64()),
            dialled_at,
            phase: Phase::Asked {
                due: Instant::now() + HANDSHAKE_TIMEOUT,
            },
            speech,
            course: Course::Running,
            cause: Cause::Told,
            pulse,
            policy_due: false,
            is_desired: true,
            farewell: None,
            told_drain: false,
            rejected: Vec::new(),
            acks: Acks::default(),
            waits: None,
        }
    }

    /// Looks whether there is still another stream to be read before this one, but not for ever.
    pub(super) fn look(&mut self) {
        let is_late = self.waits.is_some_and(|until| Instant::now() >= until);
        if is_late || !self.reader.must_wait() {
            self.waits = None;
        }
    }

    /// The worker sent no hello. Says whether it has to be told the policy in other words.
    pub(super) fn no_hello(&mut self) -> bool {
        let Retold(retold) = self.speech.no_hello();
        if retold && self.phase.since().is_none() {
            // As in `new`.
            self.pulse.hurry();
        }
        retold
    }

    /// What is there is read, and nothing is waited for any more.
    pub(super) fn leave(&mut self, cause: Cause) {
        let now = Instant::now();
        self.cause = cause;
        self.course = Course::Leaving {
            silence: Some(now + DRAIN_SILENCE),
            last: now + REST_TIMEOUT,
        };
    }

    /// Nothing is desired of the worker any more.
    pub(super) fn leaves(&mut self) {
        self.policy_due = false;
        self.is_desired = false;
        self.told_drain = true;
    }

    /// Nothing more can be said.
    pub(super) fn says_no_more(&mut self) {
        self.leaves();
        self.farewell = None;
        self.rejected.clear();
        self.acks = Acks::default();
    }

    /// Whether the worker can be told yet, and need be told, that its process is about to be ended.
    pub(super) fn may_drain(&self) -> bool {
        self.speech == Speech::Extended && !self.told_drain
    }

    /// Whether there is something to say.
    pub(super) fn has_word(&self) -> bool {
        let has_farewell = matches!(self.farewell, Some(LastWord::Drain | LastWord::Goodbye));
        self.policy_due || self.acks.is_due() || has_farewell || !self.rejected.is_empty()
    }
}

/// The stream ended with trailers.
pub(super) fn ended(progress: &Progress, trailers: &http::HeaderMap) -> Ending {
    let Farewell { replaced, reason } = farewell(trailers);
    if replaced {
        return Ending::Replaced { reason };
    }
    lost(progress, &reason)
}

pub(super) fn lost(progress: &Progress, reason: &str) -> Ending {
    let reason = if progress.reader.is_at_boundary() {
        reason.to_owned()
    } else {
        format!("{reason}, inside a message")
    };
    let lived = progress
        .phase
        .since()
        .map_or(Duration::ZERO, |opened| opened.elapsed());
    Ending::Lost { reason, lived }
}
