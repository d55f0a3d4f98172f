//! Who was given how much: the number of events that went out on the streams of each manager.
//!
//! A manager that comes back is told how many that were. It knows how many of them it got, so the rest
//! is missing; and whatever else was sent meanwhile, others have to account for.

use telemetry_core::catalog::truncate;

/// Managers that are told apart; the one that was given nothing for longest is forgotten for a further
/// one.
const MAX_MANAGERS: usize = 16;
/// How much of a name counts, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// What was given to whom.
#[derive(Debug, Default)]
pub(super) struct Managers {
    /// By name.
    known: Vec<(Box<str>, u64)>,
}

impl Managers {
    /// So many events went out on a stream of this manager.
    pub(super) fn gave(&mut self, manager: &str, events: u64) {
        if events == 0 {
            return;
        }
        let manager = truncate(manager, MAX_NAME_BYTES);
        let place = self.known.iter().position(|(name, _)| **name == *manager);
        let before = place.map_or(0, |place| self.known.remove(place).1);
        if self.known.len() == MAX_MANAGERS {
            self.known.remove(0);
        }
        self.known.push((manager.into(), before + events));
    }

    /// How many events this one was given.
    pub(super) fn given(&self, manager: &str) -> u64 {
        let manager = truncate(manager, MAX_NAME_BYTES);
        let mut own = self.known.iter().filter(|(name, _)| **name == *manager);
        own.next().map_or(0, |(_, given)| *given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manager_has_its_own_sum() {
        let mut managers = Managers::default();
        managers.gave("a", 10);
        managers.gave("b", 5);
        managers.gave("a", 1);
        assert_eq!(managers.given("a"), 11);
        assert_eq!((managers.given("b"), managers.given("c")), (5, 0));
    }

    #[test]
    fn any_number_of_managers_takes_no_more_memory() {
        let mut managers = Managers::default();
        for number in 1..=1_000_u64 {
            managers.gave(&format!("m{number}"), number);
        }
        let long = "x".repeat(1_000);
        managers.gave(&long, 1);
        assert_eq!(managers.known.len(), MAX_MANAGERS);
        assert_eq!((managers.given("m1000"), managers.given("m1")), (1_000, 0));
        assert_eq!(managers.given(&long), 1);
    }

    #[test]
    fn who_is_given_something_now_and_then_is_not_forgotten() {
        let mut managers = Managers::default();
        for other in 0..100 {
            managers.gave("ours", 1);
            managers.gave(&format!("other {other}"), 1);
        }
        assert_eq!(managers.given("ours"), 100);
    }
}
