//! Directories that hold sockets: who may enter them, and how long a path in them may be.
//!
//! A socket's file is its access control, so the directory must belong to us alone; or, where other users come to
//! it, be one that they can enter and cannot write to. Knows nothing of workers.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use telemetry_core::wire::{MAX_SOCKET_PATH_BYTES, WRITABLE_BY_OTHERS};

use crate::peer_user::is_own;

/// Mode of a directory that we create.
const PRIVATE_MODE: u32 = 0o700;
/// Mode of a directory that we create for other users.
const SHARED_MODE: u32 = 0o755;
/// What has entries of a directory stay their owners', whoever may write to it.
const STICKY: u32 = 0o1000;
/// Links that the system follows on one way.
const MAX_LINKS: usize = 40;
/// What lets everybody enter.
const ENTERABLE_BY_OTHERS: u32 = 0o001;

/// Why a directory is not used for sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketDirError {
    /// It cannot be created or read.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// `create` or `inspect`.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a link or no directory: whoever owns the link decides where the sockets go.
    #[error("{path:?} is a {kind}, not a directory; name the directory itself")]
    NotADirectory {
        /// The path.
        path: PathBuf,
        /// `symbolic link` or `file`.
        kind: &'static str,
    },
    /// Somebody else owns it and could put a socket of theirs into it.
    #[error("{path:?} belongs to user {owner}, we are user {us}; use a directory of our own")]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Our user.
        us: u32,
    },
    /// Its owner is one that the system cannot show, even if that is the number of our own user.
    #[error(
        "{path:?} belongs to a user that the system cannot show here, and shows as {owner}; use a directory of our own, \
         and run as another user than {owner}"
    )]
    HiddenOwner {
        /// The directory.
        path: PathBuf,
        /// The number that stands for all such users.
        owner: u32,
    },
    /// Group or others may write to it.
    #[error("{path:?} has mode {mode:04o}: others may write to it; run `chmod 700` on it")]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Other users come to a socket there, and could put one of theirs in its place.
    #[error(
        "{path:?} has mode {mode:04o}: other users may write to it, and they are only to enter it; run `chmod 755` \
         on it, or `chmod +t` on one on the way, or name another directory"
    )]
    UsersMayWrite {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Other users are to come to a socket there, and cannot.
    #[error(
        "other users cannot enter {path:?}, which has mode {mode:04o}, so they do not reach a socket in {dir:?}; \
         run `chmod o+x` on it, or use a directory that they can enter, such as one below /run"
    )]
    NotEnterable {
        /// The directory of the socket.
        dir: PathBuf,
        /// The directory on the way there that is closed; often the same.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system's limit of socket paths.
    #[error(
        "the socket path {path:?} has {length} bytes, the system allows {MAX_SOCKET_PATH_BYTES}; \
         use a shorter directory or name"
    )]
    PathTooLong {
        /// The socket.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
}

/// Creates `dir` with mode 0700 unless it exists, and checks it as [`check_private`] does.
///
/// # Errors
/// See [`SocketDirError`].
pub(crate) fn ensure_private(dir: &Path) -> Result<(), SocketDirError> {
    match fs::symlink_metadata(dir) {
        Err(error) if is_absent(&error) => {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE_MODE)
                .create(dir)
                .map_err(|source| SocketDirError::Io {
                    action: "create",
                    path: dir.to_owned(),
                    source,
                })?;
        }
        _ => {}
    }
    check_private(dir)
}

/// Creates `dir`, and what is missing above it, with mode 0755 unless it exists; refuses one that is a link, belongs
/// to a user who is neither we nor root, that others may write to, or that they cannot enter from the root on.
///
/// # Errors
/// See [`SocketDirError`].
pub(crate) fn ensure_shared(dir: &Path) -> Result<(), SocketDirError> {
    let absent = |dir: &&Path| fs::symlink_metadata(dir).is_err_and(|error| is_absent(&error));
    let missing: Vec<_> = dir.ancestors().take_while(absent).collect();
    for dir in missing.into_iter().rev() {
        let made = fs::DirBuilder::new().mode(SHARED_MODE).create(dir);
        // The mask of this process may have taken something off.
        let mode = fs::Permissions::from_mode(SHARED_MODE);
        let made = made.and_then(|()| fs::set_permissions(dir, mode));
        made.map_err(|source| SocketDirError::Io {
            action: "create",
            path: dir.to_owned(),
            source,
        })?;
    }
    let mode = check_owner(dir, true)?;
    if mode & WRITABLE_BY_OTHERS != 0 {
        let path = dir.to_owned();
        return Err(SocketDirError::UsersMayWrite { path, mode });
    }
    check_way(dir)
}

/// Whether everybody may enter `dir`, from the root on, and nobody but us and root can put something else in its place:
/// everything on the way is ours or root's, and others write to a directory there only if its entries stay
/// their owners' (sticky).
fn check_way(dir: &Path) -> Result<(), SocketDirError> {
    let way = way(dir).map_err(|source| SocketDirError::Io {
        action: "inspect",
        path: dir.to_owned(),
        source,
    })?;
    for (path, found) in way {
        let mode = found.mode() & 0o7777;
        if found.uid() != 0 {
            check_own(&path, &found)?;
        }
        if found.is_symlink() {
            continue;
        }
        if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
            return Err(SocketDirError::UsersMayWrite { path, mode });
        }
        if mode & ENTERABLE_BY_OTHERS == 0 {
            let dir = dir.to_owned();
            return Err(SocketDirError::NotEnterable { dir, path, mode });
        }
    }
    Ok(())
}

/// Every directory and link on the way to `dir`, as the system goes it from the root on.
fn way(dir: &Path) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
    let mut at = PathBuf::from("/");
    let mut way = vec![(at.clone(), fs::symlink_metadata(&at)?)];
    let dir = std::path::absolute(dir)?;
    // Those that are still to go, the next one at the end.
    let mut ahead = names(&dir);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let path = at.join(&name);
        let found = fs::symlink_metadata(&path)?;
        if found.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(Errno::LOOP.raw_os_error()));
            }
            let target = fs::read_link(&path)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(names(&target));
        } else {
            at.clone_from(&path);
        }
        way.push((path, found));
    }
    Ok(way)
}

/// The names in a path, the first one at the end.
fn names(path: &Path) -> Vec<OsString> {
    let is_name = |it: &Component<'_>| matches!(it, Component::Normal(_) | Component::ParentDir);
    let names = path.components().rev().filter(is_name);
    names.map(|it| it.as_os_str().to_owned()).collect()
}

/// Refuses a directory that is a link, belongs to another user, or that others may write to.
///
/// # Errors
/// See [`SocketDirError`].
pub(crate) fn check_private(dir: &Path) -> Result<(), SocketDirError> {
    let mode = check_owner(dir, false)?;
    if mode & WRITABLE_BY_OTHERS != 0 {
        let path = dir.to_owned();
        return Err(SocketDirError::WritableByOthers { path, mode });
    }
    Ok(())
}

/// Refuses what is no directory or belongs to another user; says its permission bits.
fn check_owner(dir: &Path, is_roots_allowed: bool) -> Result<u32, SocketDirError> {
    let path = || dir.to_owned();
    let found = fs::symlink_metadata(dir).map_err(|source| SocketDirError::Io {
        action: "inspect",
        path: path(),
        source,
    })?;
    if !found.is_dir() {
        let kind = if found.is_symlink() {
            "symbolic link"
        } else {
            "file"
        };
        return Err(SocketDirError::NotADirectory { path: path(), kind });
    }
    if !(is_roots_allowed && found.uid() == 0) {
        check_own(dir, &found)?;
    }
    Ok(found.mode() & 0o7777)
}

/// Refuses what is not our own user's.
fn check_own(path: &Path, found: &fs::Metadata) -> Result<(), SocketDirError> {
    let (path, owner) = (path.to_owned(), found.uid());
    if is_own(owner) {
        return Ok(());
    }
    let us = rustix::process::geteuid().as_raw();
    Err(match owner == us {
        true => SocketDirError::HiddenOwner { path, owner },
        false => SocketDirError::ForeignOwner { path, owner, us },
    })
}

/// Whether an error says that nothing is there.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// The path `dir/name`, refused when the system could not bind it.
///
/// # Errors
/// [`SocketDirError::PathTooLong`].
pub(crate) fn socket_path(dir: &Path, name: &str) -> Result<PathBuf, SocketDirError> {
    let path = dir.join(name);
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH_BYTES {
        return Err(SocketDirError::PathTooLong { path, length });
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
