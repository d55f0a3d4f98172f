//! What was wrong in a configuration file, and at which line and column.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::run_dir::RUN_DIR_ALLOWED;

/// Why a configuration was refused. Displays as `file:line:column: what is wrong; what is allowed`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {path:?}: {source}; give an existing file with --config"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was found and not named, and somebody else could have written it.
    #[error(
        "{path:?} {problem}, and is not used only because it is here; if it is to be used, name it with --config"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Who could have.
        problem: String,
    },
    /// Its pools need a directory of the manager's own, and there is no place for one.
    #[error("{path:?}: the pools need a run_dir: {RUN_DIR_ALLOWED}")]
    NoRunDir {
        /// The file.
        path: PathBuf,
    },
    /// Something in the file is wrong.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

/// A place in a configuration file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Name of the file as it was given.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The text of a file, to turn byte offsets into places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'i> {
    pub(super) file: &'i str,
    pub(super) content: &'i str,
}

impl Text<'_> {
    /// An error at the beginning of `span`.
    pub(super) fn error(&self, span: &Range<usize>, problem: impl Into<String>) -> ConfigError {
        let before = self.content.get(..span.start).unwrap_or(self.content);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Invalid {
            place: Place {
                file: self.file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            },
            problem: problem.into(),
        }
    }
}
