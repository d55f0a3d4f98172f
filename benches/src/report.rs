//! What a suite found, as it is written to and read from JSON, and the verdict on it.
//!
//! Knows nothing about measuring or printing. Suites in other languages write the same JSON:
//!
//! ```json
//! {
//!   "suite": "python",
//!   "quick": false,
//!   "environment": {"cpu": "…", "cores": 2, "kernel": "6.1", "rustc": "rustc 1.88.0",
//!                   "optimised": true, "tools": {"statsd": "4.0.1"}},
//!   "control": {"ratio": 1.004, "min": 0.97, "max": 1.03, "ok": true, "attempts": 1},
//!   "rows": [
//!     {
//!       "targets": ["T4"],
//!       "bench": "python emit, kept",
//!       "ours": {"value": 187.2, "unit": "ns"},
//!       "peer": {"name": "opentelemetry-sdk span", "value": 13700.0, "unit": "ns"},
//!       "ratio": {"median": 73.2, "min": 70.1, "max": 76.0},
//!       "better": "higher",
//!       "exact": false,
//!       "floor": [{"subject": "ratio", "at_least": 40.0}],
//!       "moonshot": [{"subject": "ratio", "at_least": 65.0}, {"subject": "value", "at_most": 200.0}],
//!       "note": "dicts built once",
//!       "verdict": {"is": "moonshot_reached"}
//!     },
//!     {"bench": "python emit / structlog",
//!      "verdict": {"is": "skipped", "reason": "structlog is not installed"}}
//!   ],
//!   "tables": [{"title": "CPU per event", "columns": ["streams", "ns"], "rows": [["1", "210"]]}]
//! }
//! ```
//!
//! Only `suite` and a row's `bench` must be there. `verdict` is computed anew by whoever reads the
//! report, except `skipped`, which only the suite can know.

mod build;
mod control;
mod judge;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use control::{CONTROL_TOLERANCE, Control};

/// Everything one suite found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Name of the suite, as on the command line.
    pub(crate) suite: String,
    /// A smoke run; its figures are rough.
    #[serde(default)]
    pub(crate) quick: bool,
    /// Where it ran.
    #[serde(default)]
    pub(crate) environment: Environment,
    /// The same thing measured against itself; off, no timing of this suite can be believed.
    #[serde(default)]
    pub(crate) control: Option<Control>,
    /// One line of the table each.
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
    /// What does not fit into rows: how a cost grows.
    #[serde(default)]
    pub(crate) tables: Vec<Table>,
}

/// The reports of several suites, as `bench all` leaves them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Reports {
    /// In the order in which they ran.
    pub(crate) reports: Vec<Report>,
}

/// The machine and what was built on it. What a suite does not know is empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Model of the processor.
    #[serde(default)]
    pub(crate) cpu: String,
    /// Cores that the process may use; 0: not known.
    #[serde(default)]
    pub(crate) cores: usize,
    /// Release of the kernel.
    #[serde(default)]
    pub(crate) kernel: String,
    /// Version of the compiler.
    #[serde(default)]
    pub(crate) rustc: String,
    /// Whether our code was built with optimisation.
    #[serde(default)]
    pub(crate) optimised: bool,
    /// Versions of peers and tools by name.
    #[serde(default)]
    pub(crate) tools: BTreeMap<String, String>,
}

impl Environment {
    /// Takes over what it does not know of its machine.
    pub(crate) fn complete_with(&mut self, machine: &Self) {
        let texts = [
            (&mut self.cpu, &machine.cpu),
            (&mut self.kernel, &machine.kernel),
            (&mut self.rustc, &machine.rustc),
        ];
        for (text, known) in texts {
            if text.is_empty() {
                text.clone_from(known);
            }
        }
        if self.cores == 0 {
            self.cores = machine.cores;
        }
    }
}

/// One thing that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The targets it belongs to, `T2`; none: it informs and decides nothing.
    #[serde(default)]
    pub(crate) targets: Vec<String>,
    /// What was measured, and against what.
    pub(crate) bench: String,
    /// Ours; the median where it was timed.
    #[serde(default)]
    pub(crate) ours: Option<Quantity>,
    /// The peer's.
    #[serde(default)]
    pub(crate) peer: Option<Peer>,
    /// Over the pairs of one run; how to read it says `better`.
    #[serde(default)]
    pub(crate) ratio: Option<Spread>,
    /// Which direction of `ratio` is better.
    #[serde(default)]
    pub(crate) better: Better,
    /// A count that no noise touches; it needs no control.
    #[serde(default)]
    pub(crate) exact: bool,
    /// What must hold; all of it.
    #[serde(default)]
    pub(crate) floor: Vec<Bound>,
    /// What is aimed at; all of it.
    #[serde(default)]
    pub(crate) moonshot: Vec<Bound>,
    /// What a reader has to know about this figure.
    #[serde(default)]
    pub(crate) note: Option<String>,
    /// What follows; see [`Row::judge`].
    #[serde(default)]
    pub(crate) verdict: Verdict,
}

/// A value and what it counts: `ns`, `events/s`, `allocations`, `syscalls`, `instructions`,
/// `bytes`, `KiB`, `%`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Quantity {
    /// How many.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: String,
}

/// What ours is compared with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// A library and its call, or a form of ours.
    pub(crate) name: String,
    /// How many.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: String,
}

/// A ratio over a run, which is measured in sections.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The middle one; this is what a bound is about.
    pub(crate) median: f64,
    /// The lowest median of a section.
    pub(crate) min: f64,
    /// The highest median of a section.
    pub(crate) max: f64,
}

/// How a ratio is to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    /// A gain: how many times better ours is. Peer / ours for a cost, ours / peer for a rate.
    #[default]
    Higher,
    /// A price: ours / peer, to be small.
    Lower,
}

/// A limit, `{"subject": "ratio", "at_least": 5.0}`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
pub(crate) struct Bound {
    /// What it is about.
    pub(crate) subject: Subject,
    /// The limit itself.
    #[serde(flatten)]
    pub(crate) limit: Limit,
}

/// What a bound is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// The median of the ratio.
    Ratio,
    /// Our value, in our unit.
    Value,
}

/// A limit to one side.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// What follows from a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// A bound of the floor does not hold.
    FloorMissed,
    /// The floor holds, the moonshot is not reached.
    FloorHolds,
    /// Floor and moonshot hold.
    MoonshotReached,
    /// There is no bound.
    #[default]
    Informative,
    /// The figures cannot be believed.
    #[serde(rename = "no_verdict")]
    Undecided {
        /// Why not.
        reason: String,
    },
    /// It was not measured.
    Skipped {
        /// Why not.
        reason: String,
    },
}

/// A table of text under the rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Table {
    /// What it shows.
    pub(crate) title: String,
    /// Names of the columns.
    pub(crate) columns: Vec<String>,
    /// Cells, as many per row as there are columns.
    pub(crate) rows: Vec<Vec<String>>,
}

#[cfg(test)]
mod tests;
