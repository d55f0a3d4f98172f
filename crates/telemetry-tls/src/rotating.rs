//! What was made of files, made again when they have changed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::config::{TlsConfig, TlsError};
use crate::material::Stamp;

/// Between two looks at the files, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Makes something of files.
type Make<T> = Box<dyn Fn(&TlsConfig) -> Result<T, TlsError> + Send + Sync>;

/// See the module.
pub(crate) struct Rotating<T> {
    config: TlsConfig,
    make: Make<T>,
    /// What is in use; never held while a file is read.
    current: Mutex<Arc<T>>,
    /// Held by whoever looks.
    seen: Mutex<Seen>,
}

/// What is known of the files.
struct Seen {
    /// The files as they were before the last look.
    stamps: Vec<Stamp>,
    looked: Instant,
    /// What is wrong with the files as they are now.
    problem: Option<String>,
}

impl<T> Rotating<T> {
    /// Reads the files a first time.
    pub(crate) fn new(
        config: &TlsConfig,
        make: impl Fn(&TlsConfig) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps = stamps(config);
        let current = Arc::new(make(config)?);
        Ok(Self {
            config: config.clone(),
            make: Box::new(make),
            current: Mutex::new(current),
            seen: Mutex::new(Seen {
                stamps,
                looked: Instant::now(),
                problem: None,
            }),
        })
    }

    /// What was last in the files that could be used.
    pub(crate) fn current(&self) -> Arc<T> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Looks at the files, unless that was a moment ago, and reads them if they have changed.
    pub(crate) fn look(&self) {
        // Whoever comes meanwhile goes on with what there is.
        let mut state = match self.seen.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let now = Instant::now();
        let is_due = now.saturating_duration_since(state.looked) >= LOOK_EVERY;
        // Of files that are being replaced, the second one may come a moment later.
        if is_due && (state.problem.is_some() || state.stamps.iter().any(Stamp::is_stale)) {
            state.stamps = stamps(&self.config);
            match (self.make)(&self.config) {
                Ok(made) => {
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
                    state.problem = None;
                    tracing::info!(files = ?files(&self.config), "TLS files were read again");
                }
                Err(error) => {
                    let error = error.to_string();
                    if state.problem.as_ref() != Some(&error) {
                        tracing::warn!(%error, "TLS files have changed and cannot be used; those before stay in use");
                    }
                    state.problem = Some(error);
                }
            }
        }
        if is_due {
            state.looked = now;
        }
    }

    /// What is wrong with the files as they are now, if those before are still in use.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        state.problem.clone()
    }

    pub(crate) fn config(&self) -> &TlsConfig {
        &self.config
    }
}

impl<T> std::fmt::Debug for Rotating<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotating")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn files(config: &TlsConfig) -> Vec<&PathBuf> {
    let all = [&config.cert, &config.key, &config.ca, &config.client_ca];
    all.into_iter().flatten().collect()
}

fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    files(config)
        .into_iter()
        .map(|path| Stamp::of(path))
        .collect()
}
