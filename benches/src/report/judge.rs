//! From figures, bounds and control to a verdict; the only place that does.

use super::{Bound, Control, Limit, Report, Row, Subject, Verdict};

impl Report {
    /// Gives every row its verdict.
    pub(crate) fn judge(&mut self) {
        if let Some(control) = &mut self.control {
            control.judge();
        }
        for row in &mut self.rows {
            row.judge(self.control.as_ref());
        }
    }

    /// How many rows miss their floor.
    pub(crate) fn missed_floors(&self) -> usize {
        let missed = |row: &&Row| row.verdict == Verdict::FloorMissed;
        self.rows.iter().filter(missed).count()
    }
}

impl Row {
    /// Computes the verdict from figures, bounds and control. Only `skipped` stays as it is.
    pub(crate) fn judge(&mut self, control: Option<&Control>) {
        if !matches!(self.verdict, Verdict::Skipped { .. }) {
            self.verdict = self.verdict_under(control);
        }
    }

    fn verdict_under(&self, control: Option<&Control>) -> Verdict {
        let no_verdict = |reason: &str| Verdict::Undecided {
            reason: reason.to_owned(),
        };
        if self.floor.is_empty() && self.moonshot.is_empty() {
            return Verdict::Informative;
        }
        match control {
            _ if self.exact => {}
            None => return no_verdict("no control"),
            Some(control) if !control.ok => return no_verdict("the control is off"),
            Some(_) => {}
        }
        let (Some(floor), Some(moonshot)) = (self.all(&self.floor), self.all(&self.moonshot))
        else {
            return no_verdict("no figure");
        };
        match (floor, moonshot && !self.moonshot.is_empty()) {
            (false, _) if self.is_level(control) => {
                no_verdict("the same, as far as the control tells")
            }
            (false, _) => Verdict::FloorMissed,
            (true, false) => Verdict::FloorHolds,
            (true, true) => Verdict::MoonshotReached,
        }
    }

    /// Whether the floor is to be no slower than the peer, and no difference can be told.
    fn is_level(&self, control: Option<&Control>) -> bool {
        let level = |bound: &Bound| *bound == Bound::ratio_at_least(1.0);
        let (Some(ratio), Some(control)) = (self.ratio, control) else {
            return false;
        };
        !self.exact && self.floor.iter().all(level) && ratio.median >= 1.0 - control.tolerance
    }

    /// Whether all of `bounds` hold; `None` where one is about a figure that is not there.
    fn all(&self, bounds: &[Bound]) -> Option<bool> {
        bounds.iter().try_fold(true, |all, bound| {
            let figure = match bound.subject {
                Subject::Ratio => self.ratio?.median,
                Subject::Value => self.ours.as_ref()?.value,
            };
            Some(all && bound.holds(figure))
        })
    }
}

impl Bound {
    /// A figure that is not a number holds nothing.
    fn holds(self, figure: f64) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => figure >= limit,
            Limit::AtMost(limit) => figure <= limit,
        }
    }
}
