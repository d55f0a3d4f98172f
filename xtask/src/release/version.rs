//! Versions, and the steps between them by the rules that cargo resolves by.
//!
//! Three numbers and nothing else: no pre-release is made here.

use std::fmt;

/// `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

/// How far a change takes a version, from nothing to the farthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Nothing changed.
    Nothing,
    /// What is public is as it was.
    Fix,
    /// Something public is there that was not.
    Addition,
    /// A user of the old version may have to change something.
    Breaking,
}

impl Version {
    /// Reads `0.1.0`; anything else is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| {
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| number.parse().ok()).flatten()
        });
        let version = Self {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
        };
        numbers.next().is_none().then_some(version)
    }

    /// The lowest version that may hold a change of this size. In 0.x the second number is the one that
    /// says "breaking", in 0.0.x the third.
    pub(crate) fn after(self, step: Step) -> Self {
        let Self {
            major,
            minor,
            patch,
        } = self;
        let version = |major, minor, patch| Self {
            major,
            minor,
            patch,
        };
        match (step, major, minor) {
            (Step::Nothing, ..) => self,
            (Step::Breaking, 0, 0) | (Step::Addition, 0, _) | (Step::Fix, ..) => {
                version(major, minor, patch + 1)
            }
            (Step::Breaking, 0, _) | (Step::Addition, ..) => version(major, minor + 1, 0),
            (Step::Breaking, ..) => version(major + 1, 0, 0),
        }
    }

    /// Whether a dependency on this version is content with `later`.
    pub(crate) fn admits(self, later: Self) -> bool {
        self <= later && later < self.after(Step::Breaking)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn only_three_numbers_are_a_version() {
        assert_eq!(version("0.12.3").to_string(), "0.12.3");
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "1.2.-3",
            "+1.2.3",
            "1.2.3-rc.1",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn steps_are_those_that_cargo_resolves_by() {
        for (from, step, to) in [
            ("0.1.4", Step::Nothing, "0.1.4"),
            ("0.1.4", Step::Fix, "0.1.5"),
            ("0.1.4", Step::Addition, "0.1.5"),
            ("0.1.4", Step::Breaking, "0.2.0"),
            ("0.0.4", Step::Fix, "0.0.5"),
            ("0.0.4", Step::Breaking, "0.0.5"),
            ("1.3.4", Step::Fix, "1.3.5"),
            ("1.3.4", Step::Addition, "1.4.0"),
            ("1.3.4", Step::Breaking, "2.0.0"),
        ] {
            assert_eq!(version(from).after(step), version(to), "{step:?} of {from}");
        }
    }

    #[test]
    fn a_dependency_admits_what_does_not_break_it() {
        assert!(version("0.1.0").admits(version("0.1.9")));
        assert!(!version("0.1.0").admits(version("0.2.0")));
        assert!(!version("0.1.1").admits(version("0.1.0")));
        assert!(!version("0.0.1").admits(version("0.0.2")));
        assert!(version("1.0.0").admits(version("1.9.0")));
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(version("0.10.0") > version("0.9.9"));
    }
}
