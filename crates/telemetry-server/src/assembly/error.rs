//! Why a manager could not be put together.

use thiserror::Error;

use crate::dispatch::AttachError;
use crate::http::HttpError;
use crate::manager::{RegisterError, StartError};
use crate::pool::PoolError;

/// Why a part of the configuration could not be started; nothing of it runs then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AssemblyError {
    /// An exporter could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The manager did not take its settings.
    #[error(transparent)]
    Manager(#[from] StartError),
    /// HTTP cannot be served where it should be.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A worker of `[[endpoint]]` was not taken.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A section names a file, a directory or an address that cannot be used.
    #[error("{section}: {problem}")]
    Section {
        /// The section as the file spells it.
        section: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A pool did not start.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Its task ended by a defect.
    #[error("a pool did not start: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl AssemblyError {
    /// As a problem of this section.
    pub(super) fn of<E: ToString>(section: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Section {
            section,
            problem: error.to_string(),
        }
    }
}
