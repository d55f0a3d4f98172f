//! Finding the Python that has the native module, for the stories that need a Python worker.

use std::path::PathBuf;

/// The environment variable that names it.
pub const PYTHON: &str = "PYTHON_WITH_TELEMETRY";

/// The Python to run workers with.
///
/// A story that gets an error prints `skipped:` and the error, and ends: the module takes a build of
/// its own, which the tests of the Rust crates do not ask for. A path that is set and wrong is no
/// reason to skip.
///
/// # Errors
///
/// Why there is none.
///
/// # Panics
///
/// When the variable names something that is not there.
pub fn python() -> Result<PathBuf, String> {
    let Some(path) = std::env::var_os(PYTHON) else {
        return Err(format!(
            "{PYTHON} is not set; it names a Python that has telemetry_py"
        ));
    };
    let path = PathBuf::from(path);
    assert!(path.is_file(), "{PYTHON}={} is no file", path.display());
    Ok(path)
}

/// The same for a story that only says that it is skipped.
///
/// # Panics
///
/// As [`python`].
#[must_use]
#[expect(clippy::print_stdout, reason = "a story that is not told says so")]
pub fn python_or_skip() -> Option<PathBuf> {
    python()
        .inspect_err(|reason| println!("skipped: {reason}"))
        .ok()
}
