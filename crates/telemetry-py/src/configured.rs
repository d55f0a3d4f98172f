//! What the program has set by `configure`, as texts under the names of the variables that they stand in
//! for. A forked child has them as well.

use std::collections::BTreeMap;
use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Settings by variable.
pub(crate) type Texts = BTreeMap<&'static str, String>;

/// What was set. Locked by attached threads only, for a moment in which no Python code runs, so that no
/// fork of Python's finds it locked.
static CONFIGURED: Mutex<Texts> = Mutex::new(BTreeMap::new());

/// What was set.
fn configured() -> MutexGuard<'static, Texts> {
    CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A copy of all that was set.
pub(crate) fn texts() -> Texts {
    configured().clone()
}

/// Puts all that is set in place of what was.
pub(crate) fn replace(texts: Texts) {
    *configured() = texts;
}

/// The value of a variable: what was set, even if that is empty, or else the environment's.
pub(crate) fn lookup(variable: &str) -> Option<String> {
    if let Some(text) = configured().get(variable) {
        return Some(text.clone());
    }
    env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
}
