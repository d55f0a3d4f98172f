//! The settings of this process: those of every worker, and those that only a Python one has.

use std::env;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use telemetry_client::{BackendKind, Config};
use telemetry_core::{ControlError, Recorder, SystemClock};

use crate::state::Sink;

/// Says what a forked child does.
const ON_FORK: &str = "TELEMETRY_ON_FORK";
/// Says where events go.
const BACKEND: &str = "TELEMETRY_BACKEND";

/// What the environment says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What every worker has.
    pub(crate) config: Config,
    /// The backend that the environment chose; `None` if it is silent.
    pub(crate) backend: Option<BackendKind>,
    /// What a forked child does.
    pub(crate) on_fork: ForkMode,
}

/// What telemetry does in a forked child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForkMode {
    /// Starts empty and queues; the child calls `serve` if it wants to.
    Reset,
    /// Starts empty and serves by itself, at an address of its own.
    Restart,
    /// Is off.
    Disable,
}

impl Settings {
    /// Reads the environment of this process. Raises `ValueError` with the variable, its value and
    /// what is allowed.
    pub(crate) fn from_env() -> PyResult<Self> {
        let config = Config::from_env().map_err(invalid)?;
        let chosen = text(BACKEND);
        let backend = match *config.backends {
            // Disabled, which wins over everything else.
            _ if !config.policy.enabled => Some(BackendKind::None),
            [] => chosen.map(|_none| BackendKind::None),
            [backend] => Some(backend),
            _ => {
                let list = chosen.unwrap_or_default();
                return Err(invalid(format!(
                    "{BACKEND}={list:?} is not allowed; expected one of none, server, stderr, memory"
                )));
            }
        };
        let on_fork = match text(ON_FORK).as_deref() {
            None | Some("reset") => ForkMode::Reset,
            Some("restart") => ForkMode::Restart,
            Some("disable") => ForkMode::Disable,
            Some(value) => {
                return Err(invalid(format!(
                    "{ON_FORK}={value:?} is not allowed; expected reset, restart or disable"
                )));
            }
        };
        Ok(Self {
            config,
            backend,
            on_fork,
        })
    }

    /// A recorder with these settings.
    pub(crate) fn recorder(&self) -> Result<Recorder, ControlError> {
        Recorder::new(self.config.recorder(), Arc::new(SystemClock::new()))
    }
}

/// The backend of a kind. Those that are Python objects are imported and made.
pub(crate) fn sink(py: Python<'_>, kind: BackendKind) -> PyResult<Sink> {
    let (module, class) = match kind {
        BackendKind::None => return Ok(Sink::Nothing),
        BackendKind::Connect | BackendKind::Server => return Ok(Sink::Queue),
        BackendKind::Stderr => ("telemetry_py.backends.stderr", "StderrBackend"),
        BackendKind::Memory => ("telemetry_py.backends.memory", "MemoryBackend"),
    };
    Sink::object(&py.import(module)?.getattr(class)?.call0()?)
}

/// A `ValueError`.
pub(crate) fn invalid(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The value of a variable, if it has one.
fn text(variable: &str) -> Option<String> {
    let value = env::var_os(variable)?.to_string_lossy().trim().to_owned();
    (!value.is_empty()).then_some(value)
}
