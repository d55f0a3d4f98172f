//! A configuration that nobody named and that lies in the working directory: obeyed only if nobody else could have put
//! it there.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::ConfigError;
use crate::peer_user::{HIDDEN, is_hidden_user, is_own};

/// What lets a group write.
const GROUP: u32 = 0o020;
/// What lets every user write.
const EVERYBODY: u32 = 0o002;

/// Reads a file that was found and not named.
///
/// # Errors
/// [`ConfigError::Read`]; [`ConfigError::Foreign`] if it, or a link there, belongs to a user who is neither we nor root,
/// or others may write to it.
pub fn read_found(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let here = fs::symlink_metadata(path).map_err(failed)?;
    // Before it is opened, since it may be something that keeps us waiting.
    check(path, &here)?;
    let mut file = File::open(path).map_err(failed)?;
    check(path, &file.metadata().map_err(failed)?)?;
    let mut content = String::new();
    file.read_to_string(&mut content).map_err(failed)?;
    Ok(content)
}

fn check(path: &Path, found: &Metadata) -> Result<(), ConfigError> {
    let owner = found.uid();
    // That of the same number is a user's own.
    let is_shared = found.gid() != owner;
    let problem = if is_hidden_user(owner) {
        HIDDEN.to_owned()
    } else if owner != 0 && !is_own(owner) {
        format!("belongs to user {owner}")
    } else if found.is_symlink() {
        // Its mode says nothing.
        return Ok(());
    } else if found.mode() & EVERYBODY != 0 {
        "may be written by every user".to_owned()
    } else if found.mode() & GROUP != 0 && is_shared {
        format!("may be written by group {}", found.gid())
    } else {
        return Ok(());
    };
    let path = path.to_owned();
    Err(ConfigError::Foreign { path, problem })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    #[test]
    fn one_that_somebody_else_could_have_written_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("telemetry.toml");
        fs::write(&path, "[http]").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = |path: &Path, wanted: &str| {
            let said = read_found(path).expect_err(wanted).to_string();
            assert!(said.contains(wanted), "{said}");
            assert!(said.contains("name it with --config"), "{said}");
        };
        for mode in [0o600, 0o644] {
            set(mode);
            assert_eq!(read_found(&path).unwrap(), "[http]");
        }
        set(0o646);
        refused(&path, "may be written by every user");
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // That of the user alone, and another one.
        set(0o664);
        read_found(&path).unwrap();
        chown(&path, None, Some(1_234)).unwrap();
        refused(&path, "may be written by group 1234");
        set(0o644);
        read_found(&path).unwrap();
        chown(&path, Some(1_234), None).unwrap();
        refused(&path, "belongs to user 1234");
        chown(&path, Some(0), None).unwrap();
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        read_found(&link).unwrap();
        lchown(&link, Some(1_234), None).unwrap();
        refused(&link, "belongs to user 1234");
    }

    #[test]
    fn one_that_is_not_there_is_said_as_always() {
        let said = read_found(Path::new("/no/such/file")).expect_err("none");
        assert!(matches!(said, ConfigError::Read { .. }), "{said}");
    }
}
