//! How a suite says what it found, a word at a time.

use super::{Better, Bound, Limit, Peer, Quantity, Report, Row, Spread, Subject, Verdict};

impl Report {
    /// A suite that was not run, as one row that says why.
    pub(crate) fn skipped(suite: &str, reason: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            rows: vec![Row::skipped(suite, reason)],
            ..Self::default()
        }
    }
}

impl Row {
    /// A row without figures and without bounds.
    pub(crate) fn new(bench: impl Into<String>) -> Self {
        Self {
            targets: Vec::new(),
            bench: bench.into(),
            ours: None,
            peer: None,
            ratio: None,
            better: Better::Higher,
            exact: false,
            floor: Vec::new(),
            moonshot: Vec::new(),
            note: None,
            verdict: Verdict::Informative,
        }
    }

    /// A row that was not measured.
    pub(crate) fn skipped(bench: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Skipped {
                reason: reason.into(),
            },
            ..Self::new(bench)
        }
    }

    /// Adds a target, `T2`.
    #[must_use]
    pub(crate) fn target(mut self, target: &str) -> Self {
        self.targets.push(target.to_owned());
        self
    }

    /// Our value.
    #[must_use]
    pub(crate) fn ours(mut self, value: f64, unit: &str) -> Self {
        self.ours = Some(Quantity {
            value,
            unit: unit.to_owned(),
        });
        self
    }

    /// The peer's value.
    #[must_use]
    pub(crate) fn peer(mut self, name: &str, value: f64, unit: &str) -> Self {
        self.peer = Some(Peer {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
        });
        self
    }

    /// The ratio as a gain: above 1 ours is better.
    #[must_use]
    pub(crate) fn gain(mut self, gain: Spread) -> Self {
        (self.ratio, self.better) = (Some(gain), Better::Higher);
        self
    }

    /// The ratio as a price: ours / peer, below 1 ours is better.
    #[must_use]
    pub(crate) fn price(mut self, price: Spread) -> Self {
        (self.ratio, self.better) = (Some(price), Better::Lower);
        self
    }

    /// Says that noise cannot touch it.
    #[must_use]
    pub(crate) fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Adds a bound that must hold.
    #[must_use]
    pub(crate) fn floor(mut self, bound: Bound) -> Self {
        self.floor.push(bound);
        self
    }

    /// Adds a bound that is aimed at.
    #[must_use]
    pub(crate) fn moonshot(mut self, bound: Bound) -> Self {
        self.moonshot.push(bound);
        self
    }

    /// What a reader has to know about it.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl Bound {
    /// On the ratio, from below.
    pub(crate) fn ratio_at_least(limit: f64) -> Self {
        Self {
            subject: Subject::Ratio,
            limit: Limit::AtLeast(limit),
        }
    }

    /// On the ratio, from above.
    pub(crate) fn ratio_at_most(limit: f64) -> Self {
        Self {
            subject: Subject::Ratio,
            limit: Limit::AtMost(limit),
        }
    }

    /// On our value, from below.
    pub(crate) fn value_at_least(limit: f64) -> Self {
        Self {
            subject: Subject::Value,
            limit: Limit::AtLeast(limit),
        }
    }

    /// On our value, from above.
    pub(crate) fn value_at_most(limit: f64) -> Self {
        Self {
            subject: Subject::Value,
            limit: Limit::AtMost(limit),
        }
    }
}
