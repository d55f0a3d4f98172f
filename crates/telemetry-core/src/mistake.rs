//! Mistakes that a simulation plants in its own process, to show that it would find them.
//!
//! Where each would be made, one line asks for it. Without the feature `simulation` the answer is always no, and
//! the compiler leaves the line out.

#[cfg(feature = "simulation")]
use std::sync::atomic::{AtomicUsize, Ordering};

macro_rules! mistakes {
    ($($(#[doc = $doc:literal])+ $name:ident => $words:literal,)+) => {
        /// A mistake that could be made with acknowledged delivery, accounts or identities.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mistake {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mistake {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What is done wrong.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)+
                }
            }
        }
    };
}

mistakes! {
    /// Worker: `Sessions::resume`.
    ResumesBehindSent => "a stream goes on behind what was sent, not behind what was handled",
    /// Worker: `Sessions::acknowledge`.
    ReleasesOneMore => "one event more is released than was acknowledged",
    /// Worker: `Sessions::finish`.
    EndReleases => "the end of a stream releases what was sent on it",
    /// Worker: `Sessions::resume`.
    MissesNothing => "a manager that comes back is not told what it missed",
    /// Worker: `Recorder::frame_some`.
    FiltersUncounted => "what is filtered on its way out is not counted",
    /// Worker: `Queue::pass_dropped`.
    ForgetsTheMark => "a dropped record is sent when its neighbours are sent again",
    /// Worker: `Queue::release_beyond`.
    ForgetsUncounted => "events that made room are not counted as forgotten",
    /// Worker: `Recorder::resume`.
    NeverRepeats => "a stream does not go back to what is kept",
    /// Manager: `Acks::handled`.
    AcknowledgesAhead => "an event is acknowledged before it is dispatched",
    /// Worker: `Sessions::resume`, and manager: `LedgerWriter::arrival`.
    DuplicatesAreNew => "all that is kept is sent again, and what comes again is handled again",
    /// Manager: `attribution::resume`.
    GapTwice => "what a worker says is missing is booked twice",
    /// Manager: `Account::report`.
    ReportTwice => "the news of a report is added twice",
    /// Manager: `Registry::fold_retired`.
    FoldsTwice => "who leaves is folded into the sums twice",
    /// Manager: `Holder::towards`.
    GivesTakenIds => "an id is given to a second process while its first holder lives",
    /// Manager: `Hall::let_in`, in `accept`.
    AnswersFirst => "a worker is welcomed before its id is claimed",
    /// Manager: `Session::opening`.
    ForgetsPolicy => "a new stream is told the policy that everybody begins with",
    /// Manager: `Session::read` and `Account::is_gone`.
    ReadsMemoryFirst => "what a dead worker left is read before its stream is",
    /// Manager: `Record::resume` and `LedgerWriter::arrival`.
    RecoversHandled => "what is recovered begins behind what was released, and what was handled is handled again",
    /// Manager: `Account::report`.
    RecoveredTwice => "the last counters of a dead worker are added twice",
    /// Manager: `recovery::take_in`.
    UnsentUncounted => "what is recovered and was never sent is not counted as sent",
}

/// Which mistake is planted; 0 is none.
#[cfg(feature = "simulation")]
static PLANTED: AtomicUsize = AtomicUsize::new(0);

/// Plants a mistake in this process.
#[cfg(feature = "simulation")]
pub fn plant(mistake: Mistake) {
    PLANTED.store(mistake as usize + 1, Ordering::Relaxed);
}

/// Whether this mistake is to be made here.
#[cfg(feature = "simulation")]
#[must_use]
#[inline]
pub fn is_planted(mistake: Mistake) -> bool {
    PLANTED.load(Ordering::Relaxed) == mistake as usize + 1
}

/// Whether this mistake is to be made here: never.
#[cfg(not(feature = "simulation"))]
#[must_use]
#[inline(always)]
pub const fn is_planted(_: Mistake) -> bool {
    false
}
