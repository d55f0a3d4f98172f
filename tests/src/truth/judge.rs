//! The comparison: what a process counted itself against what a manager says about it.

use std::fmt;

use super::account::Incarnation;
use super::pages::Counted;

/// What came of comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Every event is accounted for.
    Exact,
    /// The manager says that it does not know the end, and claims nothing that is not so.
    Unknown,
    /// The manager says a number as if it were the truth, and it is not.
    Silent,
}

/// What came of comparing, for one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The process.
    pub pid: u32,
    /// What it counted.
    pub truth: Counted,
    /// What the manager says; `None` if nothing.
    pub row: Option<Incarnation>,
    /// What that is worth.
    pub finding: Finding,
    /// By how many events the account is wrong without saying so.
    pub silent: u64,
    /// What is wrong.
    pub why: String,
}

/// Compares what a process counted with what a manager says about it, `None` if it says nothing.
#[must_use]
pub fn judge(pid: u32, truth: Counted, row: Option<&Incarnation>) -> Verdict {
    let verdict = |finding, silent, why: &str| Verdict {
        pid,
        truth,
        row: row.cloned(),
        finding,
        silent,
        why: why.to_owned(),
    };
    let Some(row) = row else {
        return match truth.returned {
            0 => verdict(Finding::Exact, 0, ""),
            missing => verdict(Finding::Silent, missing, "no account at all"),
        };
    };
    let unbalanced = row.emitted.abs_diff(row.accounted());
    if unbalanced > 0 {
        return verdict(
            Finding::Silent,
            unbalanced.max(truth.distance(row.told())),
            "emitted is not what became of it",
        );
    }
    if row.unknown_since_ns.is_some() {
        let most = truth.begun.max(truth.returned);
        let beyond = row.told().max(row.received).saturating_sub(most);
        return match beyond {
            0 => verdict(Finding::Unknown, 0, ""),
            beyond => verdict(Finding::Silent, beyond, "more than was ever emitted"),
        };
    }
    match truth.distance(row.told()) {
        0 => verdict(Finding::Exact, 0, ""),
        wrong if row.complete => verdict(Finding::Silent, wrong, "closed, and not the truth"),
        wrong if row.ended => verdict(Finding::Silent, wrong, "ended, and nobody says unknown"),
        wrong => verdict(
            Finding::Silent,
            wrong,
            "said to be alive, and not the truth",
        ),
    }
}

impl Verdict {
    /// Events that were emitted and did not arrive, as far as the manager says.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let received = self.row.as_ref().map_or(0, |row| row.received);
        let before = self.row.as_ref().map_or(0, |row| row.emitted_before);
        self.truth.returned.saturating_sub(received + before)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted { returned, begun } = self.truth;
        write!(f, "process {}: truth {returned}", self.pid)?;
        if begun > returned {
            write!(f, "..{begun}")?;
        }
        if let Some(row) = &self.row {
            write!(
                f,
                ", told {} (before {} + emitted {}; received {} gaps {} dropped {} lost {} away {} \
                 queued {})",
                row.told(),
                row.emitted_before,
                row.emitted,
                row.received,
                row.gaps,
                row.dropped,
                row.lost_at_crash,
                row.away,
                row.queued
            )?;
        }
        match self.finding {
            Finding::Exact => write!(f, ": exact"),
            Finding::Unknown => write!(f, ": said to be unknown, {} missing", self.missing()),
            Finding::Silent => write!(f, ": SILENT {}: {}", self.silent, self.why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(change: impl FnOnce(&mut Incarnation)) -> Incarnation {
        let mut row = Incarnation {
            emitted: 90,
            emitted_before: 10,
            received: 80,
            dropped: 10,
            ..Incarnation::default()
        };
        change(&mut row);
        row
    }

    fn check(returned: u64, row: Option<&Incarnation>, finding: &Finding, silent: u64) {
        let truth = Counted {
            returned,
            begun: returned + 1,
        };
        let verdict = judge(7, truth, row);
        assert_eq!(
            (&verdict.finding, verdict.silent),
            (finding, silent),
            "{verdict}"
        );
    }

    #[test]
    fn what_is_within_the_bound_is_exact() {
        for returned in [99, 100] {
            check(returned, Some(&row(|_| ())), &Finding::Exact, 0);
        }
        check(0, None, &Finding::Exact, 0);
    }

    #[test]
    fn a_wrong_number_is_silent_unless_it_is_said_to_be_unknown() {
        check(101, Some(&row(|_| ())), &Finding::Silent, 1);
        check(98, Some(&row(|_| ())), &Finding::Silent, 1);
        check(55, None, &Finding::Silent, 55);
        check(
            150,
            Some(&row(|row| row.lost_at_crash = 3)),
            &Finding::Silent,
            50,
        );
        let unknown = row(|row| row.unknown_since_ns = Some(1));
        check(150, Some(&unknown), &Finding::Unknown, 0);
        check(98, Some(&unknown), &Finding::Silent, 1);
    }
}
