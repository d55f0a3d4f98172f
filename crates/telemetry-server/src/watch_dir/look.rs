//! Looks at a watched directory, on a thread that may wait for the disk.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use tokio::task::spawn_blocking;

use super::is_named_socket;
use crate::socket_dir::{self, SocketDirError};

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    names: BTreeSet<OsString>,
    is_everything: bool,
}

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of the names that were asked for, those of sockets.
    pub(super) there: Vec<OsString>,
    /// The others.
    pub(super) missing: Vec<OsString>,
    /// Every socket, if everything was asked for.
    pub(super) all: Option<BTreeSet<OsString>>,
}

impl Wanted {
    pub(super) fn name(&mut self, name: OsString) {
        self.names.insert(name);
    }

    pub(super) fn everything(&mut self) {
        self.is_everything = true;
    }

    pub(super) fn is_nothing(&self) -> bool {
        !self.is_everything && self.names.is_empty()
    }
}

/// Looks; refused when the directory is no longer ours alone. `None` once the runtime is gone.
pub(super) async fn look(
    directory: &Path,
    wanted: Wanted,
) -> Option<Result<Found, SocketDirError>> {
    let directory = directory.to_owned();
    let looked = spawn_blocking(move || {
        if wanted.is_everything {
            return all(&directory).map(|all| Found {
                all: Some(all),
                ..Found::default()
            });
        }
        socket_dir::check_private(&directory)?;
        let mut found = Found::default();
        for name in wanted.names {
            let list = match is_socket(&directory, &name) {
                true => &mut found.there,
                false => &mut found.missing,
            };
            list.push(name);
        }
        Ok(found)
    });
    looked.await.ok()
}

/// Whether the file itself is a socket: a link to one elsewhere is not followed.
fn is_socket(directory: &Path, name: &OsStr) -> bool {
    fs::symlink_metadata(directory.join(name)).is_ok_and(|found| found.file_type().is_socket())
}

/// The names of all sockets of workers.
pub(super) fn all(directory: &Path) -> Result<BTreeSet<OsString>, SocketDirError> {
    socket_dir::check_private(directory)?;
    let failed = |source| SocketDirError::Io {
        action: "read",
        path: directory.to_owned(),
        source,
    };
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if is_named_socket(&name) && entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            sockets.insert(name);
        }
    }
    Ok(sockets)
}
