//! Which route is open to whom: those that are public, those that a token opens, and where that is kept.
//!
//! Knows no header and no socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use telemetry_core::Token;

use crate::token::{self, TokenFileError};

/// A group of routes that may be public.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum HttpRoute {
    /// `/metrics`.
    Metrics,
    /// `/healthz`.
    Healthz,
    /// `/api/…`, and all paths that are not there.
    Api,
}

impl HttpRoute {
    /// The group of a path.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Healthz,
            // Closed is what nobody thought of.
            _ => Self::Api,
        }
    }
}

/// A word that is no [`HttpRoute`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{word:?} is not allowed; use \"metrics\", \"healthz\" or \"api\"")]
#[non_exhaustive]
pub struct HttpRouteError {
    /// The word.
    pub word: String,
}

impl FromStr for HttpRoute {
    type Err = HttpRouteError;

    fn from_str(word: &str) -> Result<Self, HttpRouteError> {
        match word {
            "metrics" => Ok(Self::Metrics),
            "healthz" => Ok(Self::Healthz),
            "api" => Ok(Self::Api),
            _ => Err(HttpRouteError {
                word: word.to_owned(),
            }),
        }
    }
}

/// The file with the operators' token, which opens every route.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TokenFile {
    /// The manager's own: made, for its user alone, where it is missing; refused when others may read it.
    Own(PathBuf),
    /// Somebody else keeps it there.
    Given(PathBuf),
}

impl TokenFile {
    /// One that somebody else keeps at `path`.
    #[must_use]
    pub fn given(path: impl Into<PathBuf>) -> Self {
        Self::Given(path.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Own(path) | Self::Given(path) => path,
        }
    }

    /// Reads it. Makes none.
    ///
    /// # Errors
    /// [`TokenFileError`]: it cannot be read, or what is in it is no token.
    pub fn read(&self) -> Result<Token, TokenFileError> {
        token::read(self.path())
    }

    /// Reads it for a server, which makes its own one first if need be.
    pub(super) fn take(&self) -> Result<Token, TokenFileError> {
        match self {
            Self::Own(path) => token::read_or_make(path),
            Self::Given(path) => token::read(path),
        }
    }
}

/// What a server asks of those that do not come over its unix socket.
pub(super) struct Access {
    /// What needs no token.
    public: Vec<HttpRoute>,
    /// What opens the rest, and the file that has it.
    token: Option<(Token, PathBuf)>,
    /// Whether that file is our own.
    is_own: bool,
}

impl Access {
    pub(super) fn new(
        public: Vec<HttpRoute>,
        file: Option<&TokenFile>,
    ) -> Result<Self, TokenFileError> {
        let read = |file: &TokenFile| -> Result<_, TokenFileError> {
            Ok((file.take()?, file.path().to_owned()))
        };
        Ok(Self {
            public,
            token: file.map(read).transpose()?,
            is_own: matches!(file, Some(TokenFile::Own(_))),
        })
    }

    pub(super) fn is_public(&self, path: &str) -> bool {
        self.public.contains(&HttpRoute::of(path))
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_ref().map(|(token, _)| token)
    }

    /// Makes our own file again after somebody removed it together with what is around it.
    pub(super) fn restore(&self) -> Result<(), TokenFileError> {
        match &self.token {
            Some((token, path)) if self.is_own => token::restore(path, token),
            _ => Ok(()),
        }
    }

    /// Where the token is.
    pub(super) fn file(&self) -> Option<&Path> {
        self.token.as_ref().map(|(_, file)| file.as_path())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("public", &self.public)
            .field("file", &self.file())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_nearly_public_is_not() {
        for path in [
            "/metrics/",
            "//metrics",
            "/%6Detrics",
            "/METRICS",
            "/",
            "",
            "/api/tap",
        ] {
            assert_eq!(HttpRoute::of(path), HttpRoute::Api, "{path}");
        }
    }

    #[test]
    fn a_word_that_is_no_route_is_refused_with_what_is_allowed() {
        let error = "metric".parse::<HttpRoute>().unwrap_err().to_string();
        assert!(
            error.contains("\"metrics\", \"healthz\" or \"api\""),
            "{error}"
        );
    }
}
