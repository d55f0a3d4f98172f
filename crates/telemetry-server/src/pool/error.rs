//! Everything a pool can refuse, each with what was wrong, where, and what to do.

use std::io;
use std::path::PathBuf;

use crate::socket_dir::SocketDirError;

/// Why a pool did not start, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A setting is out of bounds.
    #[error("pool {pool:?}: {setting}: {problem}")]
    InvalidConfig {
        /// The pool.
        pool: String,
        /// The setting of [`super::PoolConfig`].
        setting: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The program is nowhere in `PATH`.
    #[error(
        "pool {pool:?}: command {command:?} not found; searched PATH={path}; \
         install it, give its full path, or set PATH in the pool's env"
    )]
    CommandNotFound {
        /// The pool.
        pool: String,
        /// The program as configured.
        command: String,
        /// The `PATH` that was searched.
        path: String,
    },
    /// A file of that name exists, but it is no program.
    #[error(
        "pool {pool:?}: command {path:?} is not an executable file; \
         run `chmod +x` on it or start it through its interpreter, e.g. [\"python3\", \"worker.py\"]"
    )]
    NotExecutable {
        /// The pool.
        pool: String,
        /// The file that was found.
        path: PathBuf,
    },
    /// The working directory is not there.
    #[error("pool {pool:?}: cwd {path:?} is not a directory")]
    NoWorkingDirectory {
        /// The pool.
        pool: String,
        /// The directory as configured.
        path: PathBuf,
    },
    /// The operating system refused to start the process.
    #[error("pool {pool:?}: cannot start {command:?} as worker {worker:?}: {source}")]
    Spawn {
        /// The pool.
        pool: String,
        /// Id of the worker.
        worker: String,
        /// The program.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// The directory of the sockets is unusable or unsafe.
    #[error("pool {pool:?}: run_dir: {source}")]
    RunDir {
        /// The pool.
        pool: String,
        /// What is wrong with it.
        source: SocketDirError,
    },
    /// The manager refused the worker.
    #[error("pool {pool:?}: worker {worker:?} cannot be registered: {problem}")]
    Register {
        /// The pool.
        pool: String,
        /// Id of the worker.
        worker: String,
        /// What the manager said.
        problem: String,
    },
    /// No worker of that id belongs to this pool.
    #[error("pool {pool:?} has no worker {worker:?}; its workers are {pool}-1 to {pool}-{size}")]
    UnknownWorker {
        /// The pool.
        pool: String,
        /// The id asked for.
        worker: String,
        /// Number of workers.
        size: usize,
    },
    /// The pool was shut down.
    #[error("pool {pool:?} is shut down; start a new one")]
    ShutDown {
        /// The pool.
        pool: String,
    },
}
