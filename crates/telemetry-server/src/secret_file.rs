//! Files with a secret that somebody else keeps: who besides their owner may read or write them.
//!
//! Whose such a file is, is for the operator to say, who names it. A group may read it, as that of a Kubernetes volume
//! does, and it may lie behind links. What is no file, such as a pipe, is left to whoever reads it.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What lets others than the owner write.
const WRITABLE: u32 = 0o022;
/// What lets every user read.
const READABLE: u32 = 0o004;

/// Why a file with a secret is not used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} has mode {mode:04o}, so others may {others}; run `chmod 600` on it, or `chmod 640` where a group has to read it \
     (of a Kubernetes secret, set defaultMode: 0440)",
    path.display()
)]
#[non_exhaustive]
pub struct SecretFileError {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// What others may: `read it` or `write to it`.
    pub others: &'static str,
}

/// Checks the file at a path, behind links. What cannot be looked at cannot be read either, which says why.
#[cfg(feature = "tls")]
pub(crate) fn check(path: &Path) -> Result<(), SecretFileError> {
    match std::fs::metadata(path) {
        Ok(found) => check_open(path, &found),
        Err(_) => Ok(()),
    }
}

/// Checks a file that was opened at a path.
pub(crate) fn check_open(path: &Path, found: &Metadata) -> Result<(), SecretFileError> {
    let mode = found.permissions().mode() & 0o7777;
    let others = match mode {
        _ if !found.is_file() => return Ok(()),
        mode if mode & WRITABLE != 0 => "write to it",
        mode if mode & READABLE != 0 => "read it",
        _ => return Ok(()),
    };
    let path = path.to_owned();
    Err(SecretFileError { path, mode, others })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_every_user_may_read_or_anybody_else_write_is_refused_also_behind_links() {
        let dir = tempfile::tempdir().unwrap();
        let (data, file) = (dir.path().join("..data"), dir.path().join("key"));
        fs::create_dir(dir.path().join("1")).unwrap();
        symlink("1", &data).unwrap();
        symlink("..data/key", &file).unwrap();
        let real = dir.path().join("1/key");
        fs::write(&real, "").unwrap();
        let check = |mode| {
            fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
            let found = fs::metadata(&file).unwrap();
            check_open(&file, &found).map_err(|error| error.to_string())
        };
        for mode in [0o600, 0o400, 0o640, 0o440] {
            check(mode).unwrap();
        }
        for (mode, others) in [
            (
                0o644,
                "has mode 0644, so others may read it; run `chmod 600` on it",
            ),
            (0o604, "others may read it"),
            (
                0o660,
                "has mode 0660, so others may write to it; run `chmod 600` on it",
            ),
            (0o602, "others may write to it"),
        ] {
            let refused = check(mode).expect_err(others);
            assert!(refused.contains(others), "{refused}");
            assert!(refused.starts_with(&*file.to_string_lossy()), "{refused}");
        }
    }
}
