//! Binds a listener where it is safe, and takes its file away again.
//!
//! A unix socket is reachable by its user only: mode 0600 in a directory that nobody else can write
//! to. TCP is loopback only, unless TLS is spoken. Everything that could let somebody else in is refused with a sentence
//! that says what to do. Nothing here knows what is served, nor who may ask for it.

mod private;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use telemetry_core::{
    Address,
    wire::{MAX_SOCKET_PATH_BYTES, WRITABLE_BY_OTHERS},
};

use super::own_file::OwnFile;
use super::users::is_hidden;

/// How often and how far apart the lock of a directory is tried.
const LOCK_ATTEMPTS: u32 = 100;
/// Pause between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why a worker cannot listen at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The path does not fit a socket address.
    #[error(
        "the socket path {} has {bytes} bytes; at most {MAX_SOCKET_PATH_BYTES} are allowed; use a \
         shorter directory or name",
        path.display()
    )]
    PathTooLong {
        /// The path, made absolute.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// No worker can listen at such an address.
    #[error("a worker cannot listen at {address}; a unix socket and a loopback port are allowed")]
    NotServed {
        /// The address.
        address: Address,
    },
    /// The path has no directory or no name.
    #[error("{} is no path of a socket; expected a directory and a file name", path.display())]
    NotAPath {
        /// The path.
        path: PathBuf,
    },
    /// There is no such directory.
    #[error(
        "the socket directory {} does not exist; correct the path, or make it with mode 0700",
        directory.display()
    )]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory is a symbolic link.
    #[error("the socket directory {} is a symbolic link; name the directory itself", directory.display())]
    DirectoryIsLink {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory's place is taken by something else.
    #[error("{} is not a directory, so no socket can be made in it", directory.display())]
    NotADirectory {
        /// The path.
        directory: PathBuf,
    },
    /// The directory belongs to somebody else.
    #[error(
        "the socket directory {} belongs to uid {owner}, but this process runs as uid {uid}; \
         use a directory of your own",
        directory.display()
    )]
    ForeignDirectory {
        /// The directory.
        directory: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// The directory belongs to a user that the system cannot show, and we run as one.
    #[error(
        "the socket directory {} belongs to a user that the system cannot show here; run as another user than {uid}",
        directory.display()
    )]
    HiddenOwner {
        /// The directory.
        directory: PathBuf,
        /// The number that stands for all such users.
        uid: u32,
    },
    /// Others can write to the directory.
    #[error(
        "the socket directory {} can be written to by others (mode {mode:04o}); use a private \
         subdirectory such as {}, which is made with mode 0700",
        directory.display(), suggestion.display()
    )]
    OpenDirectory {
        /// The directory.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// A path that would do.
        suggestion: PathBuf,
    },
    /// Another process serves there.
    #[error(
        "{} is already served by another process; stop it, or choose another path", path.display()
    )]
    AlreadyServed {
        /// The path.
        path: PathBuf,
    },
    /// Something that is no socket has that name.
    #[error("{} exists and is no socket; it was left alone; choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process has been busy with the directory for too long.
    #[error("the socket directory {} is locked by another process", directory.display())]
    DirectoryLocked {
        /// The directory.
        directory: PathBuf,
    },
    /// The address can be reached from other machines.
    #[error(
        "{address} can be reached from other machines and there is no TLS; listen at a unix \
         socket or a loopback address such as 127.0.0.1:{}, or set TELEMETRY_TLS_CERT and TELEMETRY_TLS_KEY",
        address.port()
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The port is taken.
    #[error("{address} is in use by another process; choose another port, or 0 for a free one")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refused.
    #[error("cannot {action} {place}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        place: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A listener and its address, with the port or path it really has.
#[derive(Debug)]
pub(super) enum Bound {
    /// A unix socket with the file that is to be removed.
    Unix(UnixListener, OwnFile),
    /// A port.
    Tcp(TcpListener, SocketAddr),
}

impl Bound {
    /// Binds and listens at a unix socket that this process alone has.
    pub(super) fn bind_private() -> Result<Self, BindError> {
        private::bind_private()
    }

    /// Binds and listens; nothing is accepted yet. `encrypted`: whether others cannot read along, so that it may be reached
    /// from other machines.
    pub(super) fn bind(address: &Address, encrypted: bool) -> Result<Self, BindError> {
        match address {
            Address::Unix(path) => bind_unix(path),
            Address::Tcp(address) if !encrypted && !address.ip().is_loopback() => {
                Err(BindError::NotLoopback { address: *address })
            }
            Address::Tcp(address) => bind_tcp(*address),
            other => Err(BindError::NotServed {
                address: other.clone(),
            }),
        }
    }

    /// The address to dial.
    pub(super) fn address(&self) -> Address {
        match self {
            Self::Unix(_, file) => Address::Unix(file.path().to_owned()),
            Self::Tcp(_, address) => Address::Tcp(*address),
        }
    }
}

/// Binds a unix socket.
fn bind_unix(path: &Path) -> Result<Bound, BindError> {
    let path = std::path::absolute(path).map_err(io_error(
        "find the directory of",
        &path.display().to_string(),
    ))?;
    let (Some(directory), Some(_)) = (path.parent(), path.file_name()) else {
        return Err(BindError::NotAPath { path });
    };
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH_BYTES {
        return Err(BindError::PathTooLong { path, bytes });
    }
    prepare_directory(directory, &path)?;
    // Two processes that find the same stale file must not remove each other's new one.
    let _lock = lock_directory(directory)?;
    remove_stale(&path)?;
    let shown = path.display().to_string();
    let listener = UnixListener::bind(&path).map_err(io_error("bind", &shown))?;
    // Who connects before this is turned away by the check of the peer's uid.
    fs::set_permissions(&path, Permissions::from_mode(0o600))
        .map_err(io_error("restrict", &shown))?;
    listener
        .set_nonblocking(true)
        .map_err(io_error("listen at", &shown))?;
    let found = fs::symlink_metadata(&path).map_err(io_error("inspect", &shown))?;
    Ok(Bound::Unix(listener, OwnFile::new(path, &found)))
}

/// Refuses a directory that is missing or that others could change. Only the one that a refusal advises is
/// made: any other missing one is more likely a slip of the pen, and nobody would ever look there.
fn prepare_directory(directory: &Path, path: &Path) -> Result<(), BindError> {
    let shown = directory.display().to_string();
    let found = match fs::symlink_metadata(directory) {
        Ok(found) => found,
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && directory
                    .file_name()
                    .is_some_and(|name| *name == *advised_name()) =>
        {
            let made = DirBuilder::new().mode(0o700).create(directory);
            match made {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let directory = directory.to_path_buf();
                    return Err(BindError::NoDirectory { directory });
                }
                // Another worker was here first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(io_error("make the socket directory", &shown))?,
            }
            fs::symlink_metadata(directory).map_err(io_error("inspect", &shown))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = directory.to_path_buf();
            return Err(BindError::NoDirectory { directory });
        }
        Err(error) => return Err(io_error("inspect", &shown)(error)),
    };
    judge_directory(directory, path, &found)
}

/// Refuses a directory that is there and that others could change.
fn check_directory(directory: &Path, path: &Path) -> Result<(), BindError> {
    let shown = directory.display().to_string();
    let found = fs::symlink_metadata(directory).map_err(io_error("inspect", &shown))?;
    judge_directory(directory, path, &found)
}

/// Refuses what is no directory, or one that others could change.
fn judge_directory(directory: &Path, path: &Path, found: &fs::Metadata) -> Result<(), BindError> {
    let directory = directory.to_path_buf();
    if found.is_symlink() {
        return Err(BindError::DirectoryIsLink { directory });
    }
    if !found.is_dir() {
        return Err(BindError::NotADirectory { directory });
    }
    let uid = rustix::process::geteuid().as_raw();
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        let name = path.file_name().unwrap_or_default();
        let suggestion = directory.join(advised_name()).join(name);
        return Err(BindError::OpenDirectory {
            directory,
            mode: found.mode() & 0o7777,
            suggestion,
        });
    }
    if is_hidden(uid) {
        return Err(BindError::HiddenOwner { directory, uid });
    }
    if found.uid() != uid {
        return Err(BindError::ForeignDirectory {
            directory,
            owner: found.uid(),
            uid,
        });
    }
    Ok(())
}

/// The name of the subdirectory that is advised where others can write.
fn advised_name() -> String {
    format!("telemetry-{}", rustix::process::geteuid().as_raw())
}

/// Locks a directory against other workers that start; the lock goes with the file handle.
fn lock_directory(directory: &Path) -> Result<File, BindError> {
    let file = File::open(directory).map_err(io_error(
        "open the socket directory",
        &directory.display().to_string(),
    ))?;
    for _ in 0..LOCK_ATTEMPTS {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(BindError::DirectoryLocked {
        directory: directory.to_path_buf(),
    })
}

/// Removes a socket that nobody listens at any more.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let shown = path.display().to_string();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("inspect", &shown)(error)),
    };
    let path = path.to_path_buf();
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { path });
    }
    match knock(&path).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(&path).map_err(io_error("remove the stale socket", &shown))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(BindError::AlreadyServed { path }),
        // Its queue is full, which is somebody's as well.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::AlreadyServed { path })
        }
        Err(error) => Err(io_error("test the socket", &shown)(error)),
    }
}

/// Connects to a socket and hangs up. Does not wait for an owner that accepts nothing, as one that
/// is stopped.
fn knock(path: &Path) -> rustix::io::Result<()> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

/// Binds a loopback port.
fn bind_tcp(address: SocketAddr) -> Result<Bound, BindError> {
    let shown = address.to_string();
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => io_error("bind", &shown)(error),
    })?;
    listener
        .set_nonblocking(true)
        .map_err(io_error("listen at", &shown))?;
    let bound = listener
        .local_addr()
        .map_err(io_error("read the port of", &shown))?;
    Ok(Bound::Tcp(listener, bound))
}

/// Says what was tried when the operating system refused.
fn io_error(action: &'static str, place: &str) -> impl FnOnce(io::Error) -> BindError + use<> {
    let place = place.to_owned();
    move |source| BindError::Io {
        action,
        place,
        source,
    }
}
