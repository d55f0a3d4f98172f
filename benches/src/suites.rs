//! The suites of this program. What each measures is in its own module.

use crate::measure::Effort;
use crate::micro;
use crate::report::Report;

/// A suite by its name on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// Measures and reports; takes seconds or minutes.
    pub(crate) run: fn(Effort) -> Report,
}

/// All of them.
pub(crate) const ALL: [Suite; 4] = [
    Suite {
        name: "micro",
        run: micro::run,
    },
    Suite {
        name: "stream",
        run: |_| not_built("stream"),
    },
    Suite {
        name: "fanin",
        run: |_| not_built("fanin"),
    },
    Suite {
        name: "overhead",
        run: |_| not_built("overhead"),
    },
];

/// The suite of that name.
pub(crate) fn find(name: &str) -> Option<Suite> {
    ALL.into_iter().find(|suite| suite.name == name)
}

fn not_built(name: &str) -> Report {
    Report::skipped(name, "not built yet")
}
