//! Where a worker listens that was told nothing: a unix socket of its own, in a directory that only its user
//! can enter.
//!
//! Names hold the number of the process, so that nobody else's is in the way. What processes left behind that
//! are gone is removed here, and nothing else is.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::super::users::is_hidden;
use super::{BindError, Bound, advised_name, bind_unix, io_error, knock};

/// What the name of such a socket begins with.
const PREFIX: &str = "worker-";
/// And how it ends.
const SUFFIX: &str = ".sock";
/// How many sockets a process may have there at once.
const MAX_OF_ONE_PROCESS: u32 = 64;

/// Binds a socket of this process's own.
pub(super) fn bind_private() -> Result<Bound, BindError> {
    let (first, others) = directories();
    let mut bound = bind_in(&first);
    for other in others {
        bound = bound.or_else(|_| bind_in(&other));
    }
    bound
}

/// Where it may be: the directory that the system gave this user, if it did, else one of ours among the temporary
/// files, which the second is where there are too many bytes in the name of the first.
fn directories() -> (PathBuf, Vec<PathBuf>) {
    let own = |directory: PathBuf| directory.join(advised_name());
    let given = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let given = given.filter(|path| path.is_absolute());
    let others = vec![own(env::temp_dir()), own("/tmp".into())];
    match given {
        Some(given) => (given.join("telemetry"), others),
        None => (others[0].clone(), others[1..].to_vec()),
    }
}

/// Binds a socket of this process's own in a directory, which is made if it is missing.
fn bind_in(directory: &Path) -> Result<Bound, BindError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let shown = directory.display().to_string();
            return Err(io_error("make the socket directory", &shown)(error));
        }
        // If it was there it is looked at below.
        _ => {}
    }
    super::check_directory(directory, &directory.join("worker"))?;
    remove_left_behind(directory);
    let pid = std::process::id();
    let mut number = 1;
    loop {
        let name = match number {
            1 => format!("{PREFIX}{pid}{SUFFIX}"),
            _ => format!("{PREFIX}{pid}.{number}{SUFFIX}"),
        };
        match bind_unix(&directory.join(name)) {
            // Ours, or that of a process that has the same number elsewhere.
            Err(BindError::AlreadyServed { .. }) if number < MAX_OF_ONE_PROCESS => number += 1,
            bound => return bound,
        }
    }
}

/// Removes the sockets of processes that are gone. If somebody is at it already, nothing is done.
fn remove_left_behind(directory: &Path) {
    let Ok(lock) = fs::File::open(directory) else {
        return;
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_left = name
            .to_str()
            .and_then(pid_of)
            .is_some_and(|pid| is_gone(pid) && is_socket_of_nobody(&entry.path()));
        if is_left && let Err(error) = fs::remove_file(entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "a stale socket stays");
        }
    }
}

/// The process that a name holds.
fn pid_of(name: &str) -> Option<Pid> {
    let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let pid = number.split_once('.').map_or(number, |(pid, _)| pid);
    Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?)
}

/// Whether there is no such process, as far as this one can see.
fn is_gone(pid: Pid) -> bool {
    test_kill_process(pid) == Err(Errno::SRCH)
}

/// Whether it is a socket of ours that nobody listens at. A process that cannot be seen from here may.
fn is_socket_of_nobody(path: &Path) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let is_ours = fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket() && found.uid() == uid && !is_hidden(uid));
    is_ours && knock(path) == Err(Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn private() -> tempfile::TempDir {
        let mode = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(mode).tempdir();
        directory.expect("a temporary directory")
    }

    #[test]
    fn two_of_one_process_have_names_of_their_own_and_take_them_away() {
        let outer = private();
        let directory = outer.path().join("telemetry");
        let first = bind_in(&directory).expect("a socket");
        let second = bind_in(&directory).expect("another");
        assert_ne!(first.address(), second.address());
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
        assert_eq!(mode(&directory), 0o700);
        for bound in [&first, &second] {
            let address = bound.address();
            let path = address.socket_path().expect("a socket");
            assert_eq!(mode(path), 0o600);
            let name = path.file_name().expect("a name").to_string_lossy();
            assert!(name.contains(&std::process::id().to_string()), "{name}");
        }
        drop((first, second));
        assert_eq!(fs::read_dir(&directory).expect("there").count(), 0);
    }

    #[test]
    fn what_dead_processes_left_is_removed_and_nothing_else() {
        let directory = private();
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let dead = child.id();
        child.wait().expect("it ends");
        let own = std::process::id();
        let path = |name: String| directory.path().join(name);
        let stale = path(format!("worker-{dead}.sock"));
        let stale_too = path(format!("worker-{dead}.2.sock"));
        for left in [&stale, &stale_too] {
            drop(UnixListener::bind(left).expect("a socket"));
        }
        let kept = [
            path(format!("worker-{dead}.3.sock")),
            path(format!("worker-{own}.9.sock")),
            path("worker-web.sock".to_owned()),
            path(format!("worker-{dead}.4.sock")),
        ];
        // Somebody listens whose process cannot be seen; the rest is no socket of a dead process.
        let _listens = UnixListener::bind(&kept[0]).expect("a socket");
        drop(UnixListener::bind(&kept[1]).expect("a socket"));
        drop(UnixListener::bind(&kept[2]).expect("a socket"));
        fs::write(&kept[3], "precious").expect("a file");
        let _bound = bind_in(directory.path()).expect("a socket");
        assert!(!stale.exists() && !stale_too.exists());
        for path in kept {
            assert!(path.exists(), "{} is gone", path.display());
        }
    }

    #[test]
    fn a_directory_that_others_can_change_is_not_used() {
        let directory = private();
        let open = directory.path().join("telemetry");
        fs::create_dir(&open).expect("a directory");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("ours");
        let refused = bind_in(&open).expect_err("others can write there");
        assert!(
            matches!(refused, BindError::OpenDirectory { .. }),
            "{refused}"
        );
        assert_eq!(fs::read_dir(&open).expect("there").count(), 0);
    }
}
