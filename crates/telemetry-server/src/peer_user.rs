//! Who is our own user, and who may come to a unix socket of the manager's: that user, root, and whoever it was told
//! of.
//!
//! Knows numbers of users; does not ask the system for any name. What a number says is core's rule.

use std::fs;
use std::io;
use std::sync::OnceLock;

use telemetry_core::Users;

/// Why somebody may not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerUserError {
    /// It may be anybody.
    #[error("the system does not tell the manager which user this process runs as")]
    Overflow,
    /// It is nobody that we know.
    #[error("this process runs as user {uid}, who is not accepted")]
    Foreign {
        /// The user.
        uid: u32,
    },
    /// The system does not say.
    #[error("the manager cannot tell who this process is: {0}")]
    Unknown(io::Error),
}

/// What is said of what belongs to such a user.
#[cfg(any(feature = "config", feature = "http"))]
pub(crate) const HIDDEN: &str =
    "belongs to a user that the system cannot show here; run as another user than 65534";

/// Whether the number of a user stands for any of those that the system cannot show to this process, and so for nobody.
#[must_use]
pub fn is_hidden_user(uid: u32) -> bool {
    static USERS: OnceLock<Users> = OnceLock::new();
    let users = USERS.get_or_init(|| {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Users::of(
            &read("/proc/self/uid_map"),
            &read("/proc/sys/kernel/overflowuid"),
        )
    });
    users.hides(uid, rustix::process::geteuid().as_raw())
}

/// Whether this is the user that this process runs as.
pub(crate) fn is_own(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw() && !is_hidden_user(uid)
}

/// The user behind a connection, if that may come. Nothing is read from it.
pub(crate) fn check(found: io::Result<u32>, accepted: &[u32]) -> Result<u32, PeerUserError> {
    match found {
        Ok(uid) if is_hidden_user(uid) => Err(PeerUserError::Overflow),
        Ok(uid) if is_own(uid) || uid == 0 || accepted.contains(&uid) => Ok(uid),
        Ok(uid) => Err(PeerUserError::Foreign { uid }),
        Err(error) => Err(PeerUserError::Unknown(error)),
    }
}

#[cfg(test)]
mod tests {
    use telemetry_core::OVERFLOW_UID;

    use super::*;

    #[test]
    fn own_user_root_and_those_that_were_named_may() {
        let own = rustix::process::geteuid().as_raw();
        let foreign = own + 7;
        for uid in [own, 0] {
            check(Ok(uid), &[]).unwrap();
        }
        check(Ok(foreign), &[foreign]).unwrap();
        let refused = check(Ok(foreign), &[]).unwrap_err().to_string();
        assert!(refused.contains(&foreign.to_string()), "{refused}");
        assert!(check(Err(io::ErrorKind::NotConnected.into()), &[]).is_err());
    }

    #[test]
    fn a_user_that_the_system_does_not_show_is_nobody() {
        // Tests do not run as that user.
        assert!(check(Ok(OVERFLOW_UID), &[OVERFLOW_UID]).is_err());
        assert!(is_hidden_user(OVERFLOW_UID) && !is_own(OVERFLOW_UID));
    }
}
