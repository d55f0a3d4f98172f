//! The one word that all an `emit` looks at while telemetry is off, and that a fork resets.
//!
//! It says what is known of the state (`state.rs`), and nothing else: whoever changes the state sets it.
//! Async-signal-safe, for the handler of forks.

use std::sync::atomic::{AtomicU8, Ordering};

/// What is known of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It has to be made, at first or after a fork; what there is, if anything, is another process's.
    Unresolved,
    /// There is no backend.
    Off,
    /// There is a backend, or nothing is known that speaks against one.
    On,
    /// As `On`, and something is to be done or said when the next event comes.
    Due,
}

/// The phase of this process.
static PHASE: AtomicU8 = AtomicU8::new(Phase::Unresolved as u8);

/// Whether it is this one.
#[inline]
pub(crate) fn is(phase: Phase) -> bool {
    PHASE.load(Ordering::Relaxed) == phase as u8
}

/// Makes it this one.
pub(crate) fn set(phase: Phase) {
    PHASE.store(phase as u8, Ordering::Relaxed);
}

/// Makes it `to` if it is `from`.
pub(crate) fn advance(from: Phase, to: Phase) {
    let (from, to) = (from as u8, to as u8);
    let _other = PHASE.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
}

/// There is something to be said before the next event. For any thread.
pub(crate) fn has_news() {
    advance(Phase::On, Phase::Due);
}
