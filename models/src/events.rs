//! A set of events, by sequence. Fifteen are more than any search could bear.

use std::fmt;

/// Events by their sequence, from 1 to 15.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Events(u16);

impl Events {
    /// All from `first` to `last`, both included; none if `first` is the greater.
    #[must_use]
    pub fn between(first: u8, last: u8) -> Self {
        (first..=last).fold(Self::default(), Self::with)
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, event: u8) -> Self {
        Self(self.0 | 1 << event)
    }

    /// These and those.
    #[must_use]
    pub fn and(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// These that are among those.
    #[must_use]
    pub fn among(self, those: Self) -> Self {
        Self(self.0 & those.0)
    }

    /// These without those.
    #[must_use]
    pub fn without(self, those: Self) -> Self {
        Self(self.0 & !those.0)
    }

    /// Whether `event` is one of them.
    #[must_use]
    pub fn has(self, event: u8) -> bool {
        self.0 & 1 << event != 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for event in (1..16).filter(|event| self.has(*event)) {
            write!(f, "{separator}{event}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave_like_sets() {
        let some = Events::between(2, 4);
        assert_eq!((some.to_string(), some.count()), ("2, 3, 4".to_owned(), 3));
        assert!(Events::between(3, 2).is_empty());
        assert_eq!(some.without(Events::default().with(3)).to_string(), "2, 4");
        assert_eq!(some.among(Events::between(4, 9)).to_string(), "4");
        assert!(some.and(Events::between(7, 7)).has(7) && !some.has(7));
        assert_eq!(Events::default().to_string(), "none");
    }
}
