//! Who a worker is to the manager: its id, its pool, its process.
//!
//! Plain data that the embedding program gives when it registers a worker; nothing here comes from
//! the wire.

#[cfg(feature = "tls")]
mod tls;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use telemetry_core::{Address, Token};

#[cfg(feature = "tls")]
pub use tls::WorkerTls;

/// Longest worker id or pool name, in bytes.
pub const MAX_IDENTITY_BYTES: usize = 128;

/// The id under which a worker is registered; cheap to clone.
///
/// Any text can be made into one; [`Manager::register_worker`](crate::Manager::register_worker)
/// refuses what is empty, longer than [`MAX_IDENTITY_BYTES`] or has control or
/// invisible characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as shared text.
    #[must_use]
    pub fn to_arc(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl From<&str> for WorkerId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for WorkerId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl Borrow<str> for WorkerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for WorkerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What the registering program knows about a worker. It overrides what the worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerContext {
    /// The id.
    pub worker_id: WorkerId,
    /// The pool it belongs to, if any.
    pub pool_name: Option<String>,
    /// Its process id, if known; otherwise the one behind its unix socket is used, or the one it
    /// claims.
    pub python_pid: Option<u32>,
    /// The worker whose process started it, if it calls itself by that one's id.
    pub parent: Option<WorkerId>,
    /// What is shown to it when its stream is opened at a port; see the worker's `TELEMETRY_TOKEN_FILE`. Without TLS only if
    /// the user who listens there is our own, root, or [`token_owner`](Self::token_owner); otherwise it is dialled without.
    pub token: Option<Token>,
    /// The user whose token it is, if not our own: who owns the file.
    pub token_owner: Option<u32>,
    /// With what TLS it is dialled at a port; without any, it is dialled on this machine only.
    #[cfg(feature = "tls")]
    pub tls: Option<WorkerTls>,
    /// Whether it may be dialled without TLS beyond this machine, where all that is said can be read and changed on the
    /// way, and be shown its token whoever listens.
    pub insecure: bool,
}

impl WorkerContext {
    /// A worker of which only the id is known.
    #[must_use]
    pub fn new(worker_id: impl Into<WorkerId>) -> Self {
        Self {
            worker_id: worker_id.into(),
            pool_name: None,
            python_pid: None,
            parent: None,
            token: None,
            token_owner: None,
            #[cfg(feature = "tls")]
            tls: None,
            insecure: false,
        }
    }

    /// Whether it may be dialled there: nobody on the way can read along, or it was said that they may.
    pub(crate) fn may_be_at(&self, address: &Address) -> bool {
        #[cfg(feature = "tls")]
        let is_encrypted = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_encrypted = false;
        address.is_local() || is_encrypted || self.insecure
    }

    /// The same worker in a pool.
    #[must_use]
    pub fn in_pool(self, pool: impl Into<String>) -> Self {
        Self {
            pool_name: Some(pool.into()),
            ..self
        }
    }
}

/// Most labels of a worker.
pub const MAX_LABELS: usize = 8;
/// Longest key or value of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 64;

/// What a worker is called beside its id: key and value.
pub type Labels = BTreeMap<String, String>;

/// What is wrong with a key or value of a label, if anything.
pub(crate) fn label_fault(text: &str) -> Option<&'static str> {
    match identity_fault(text) {
        None if text.len() > MAX_LABEL_BYTES => Some("is longer than 64 bytes"),
        fault => fault,
    }
}

/// What is wrong with an id or pool name, if anything.
pub(crate) fn identity_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.len() > MAX_IDENTITY_BYTES {
        Some("is longer than 128 bytes")
    } else if text.chars().any(char::is_control) {
        Some("has control characters")
    } else if text.chars().any(is_invisible) {
        Some("has characters that are not seen or turn the text around")
    } else {
        None
    }
}

/// Whether a character is not seen itself, or changes the order in which others are seen.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_break_a_line_are_faulty() {
        assert_eq!(identity_fault("default/worker-1"), None);
        assert_eq!(identity_fault(""), Some("is empty"));
        assert_eq!(identity_fault("a\nb"), Some("has control characters"));
        for hidden in ["web\u{202e}1", "web\u{200b}1", "\u{2066}w", "w\u{feff}"] {
            let fault = identity_fault(hidden).unwrap_or_default();
            assert!(fault.contains("not seen"), "{hidden:?}");
        }
        assert_eq!(identity_fault("prüfung/β-1"), None);
        assert_eq!(
            identity_fault(&"x".repeat(129)),
            Some("is longer than 128 bytes")
        );
    }
}
