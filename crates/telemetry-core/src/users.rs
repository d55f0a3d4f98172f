//! What the number of a user says where the system cannot show every user.
//!
//! In a user namespace only some users of the machine have a number; the system shows all others as one, the overflow
//! user, whose number a process may have itself. Then it says nothing: whoever is shown so may be anybody. Reading
//! what the system says of that is for whoever asks.

/// The overflow user, unless the system says otherwise.
pub const OVERFLOW_UID: u32 = 65_534;
/// How many users there are; the last number stands for none.
const ALL: u64 = u32::MAX as u64;

/// Which users a process can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    /// Stands for those that cannot be shown.
    overflow: u32,
    /// Whether there are none such.
    are_all_shown: bool,
}

impl Users {
    /// As the system says in `/proc/self/uid_map` and `/proc/sys/kernel/overflowuid`. An empty text is of a file that
    /// cannot be read: then not all users are shown, and the overflow user is the usual one.
    #[must_use]
    pub fn of(uid_map: &str, overflow: &str) -> Self {
        let count = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
        let shown: u64 = uid_map.lines().filter_map(count).sum();
        Self {
            overflow: overflow.trim().parse().unwrap_or(OVERFLOW_UID),
            are_all_shown: shown >= ALL,
        }
    }

    /// Whether the number that the system shows of somebody says nothing to a process of user `own`. The overflow user
    /// is somebody only to itself, and only where every user is shown.
    #[must_use]
    pub fn hides(&self, found: u32, own: u32) -> bool {
        found == self.overflow && !(self.are_all_shown && found == own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "         0          0 4294967295\n";

    #[test]
    fn the_overflow_user_is_somebody_only_to_itself_where_all_users_are_shown() {
        for (map, found, own, is_hidden) in [
            (MACHINE, 65_534, 65_534, false),
            (MACHINE, 65_534, 0, true),
            (MACHINE, 1_000, 1_000, false),
            (MACHINE, 1_000, 65_534, false),
            // Namespaces: of one user, of a container with nobody in it, in two parts, and of all users in two parts.
            ("1000 1000 1\n", 65_534, 1_000, true),
            ("0 100000 65536\n", 65_534, 65_534, true),
            ("0 100000 65536\n", 1_000, 1_000, false),
            ("0 0 65534\n65534 65534 1\n", 65_534, 65_534, true),
            ("0 0 1\n1 1 4294967294\n", 65_534, 65_534, false),
            // Nothing is known.
            ("", 65_534, 65_534, true),
            ("abc", 65_534, 65_534, true),
        ] {
            let users = Users::of(map, "65534\n");
            assert_eq!(users.hides(found, own), is_hidden, "{map:?} {found} {own}");
        }
    }

    #[test]
    fn the_system_says_which_the_overflow_user_is() {
        let users = Users::of("0 100000 65536", "99");
        assert!(users.hides(99, 99) && !users.hides(OVERFLOW_UID, OVERFLOW_UID));
        assert!(Users::of("", "").hides(OVERFLOW_UID, OVERFLOW_UID));
    }
}
