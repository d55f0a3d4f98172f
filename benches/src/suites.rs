//! The suites of this program. What each measures is in its own module.

use crate::measure::Effort;
use crate::report::Report;
use crate::{burst, differential, fanin, micro, overhead, start, stream};

/// A suite by its name on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// Measures and reports; takes seconds or minutes.
    pub(crate) run: fn(Effort) -> Report,
}

/// All of them.
pub(crate) const ALL: [Suite; 7] = [
    Suite {
        name: "micro",
        run: micro::run,
    },
    Suite {
        name: "stream",
        run: stream::run,
    },
    Suite {
        name: "fanin",
        run: fanin::run,
    },
    Suite {
        name: "start",
        run: start::run,
    },
    Suite {
        name: "burst",
        run: burst::run,
    },
    Suite {
        name: "overhead",
        run: overhead::run,
    },
    Suite {
        name: "differential",
        run: differential::run,
    },
];

/// The suite of that name.
pub(crate) fn find(name: &str) -> Option<Suite> {
    ALL.into_iter().find(|suite| suite.name == name)
}
