//! Who may come to a unix socket of the manager's: its own user, root, and whoever it was told of.
//!
//! Knows numbers of users; does not ask the system for any name.

use std::io;

/// The user that the system shows in place of those that it cannot.
pub(crate) const OVERFLOW_UID: u32 = 65_534;

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

/// The user behind a connection, if that may come. Nothing is read from it.
pub(crate) fn check(found: io::Result<u32>, accepted: &[u32]) -> Result<u32, PeerUserError> {
    let own = rustix::process::geteuid().as_raw();
    match found {
        Ok(OVERFLOW_UID) => Err(PeerUserError::Overflow),
        Ok(uid) if uid == own || uid == 0 || accepted.contains(&uid) => Ok(uid),
        Ok(uid) => Err(PeerUserError::Foreign { uid }),
        Err(error) => Err(PeerUserError::Unknown(error)),
    }
}

#[cfg(test)]
mod tests {
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
        assert!(check(Ok(OVERFLOW_UID), &[OVERFLOW_UID]).is_err());
    }
}
