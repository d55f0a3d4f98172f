//! The settings of this process: those of every worker, and those that only a Python one has.
//!
//! Lenient: a variable that is wrong or unknown is told of once and has its default, so that no program
//! stops, and no event is lost, for a word in its environment. `TELEMETRY_STRICT=1` is for tests that want
//! to know.

use std::env;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use telemetry_client::{BackendKind, Config};
use telemetry_core::{ControlError, Recorder, SystemClock, nearest};

use crate::warning::warn_once;

/// Says what a forked child does.
const ON_FORK: &str = "TELEMETRY_ON_FORK";
/// Says where events go.
const BACKEND: &str = "TELEMETRY_BACKEND";
/// Makes wrong variables raise.
const STRICT: &str = "TELEMETRY_STRICT";
/// What all variables begin with.
const PREFIX: &str = "TELEMETRY_";
/// Variables that somebody reads: this process, or a manager that it starts.
const KNOWN: [&str; 20] = [
    "TELEMETRY_ADDRESS",
    "TELEMETRY_ALLOW",
    BACKEND,
    "TELEMETRY_BATCH_DELAY_MS",
    "TELEMETRY_DENY",
    "TELEMETRY_DISABLED",
    "TELEMETRY_EXIT_TIMEOUT_MS",
    "TELEMETRY_LOG",
    "TELEMETRY_MANAGER",
    "TELEMETRY_MAX_BUFFER",
    ON_FORK,
    "TELEMETRY_OVERFLOW",
    "TELEMETRY_POOL",
    "TELEMETRY_READY_FILE",
    "TELEMETRY_RESOURCE_INTERVAL_MS",
    "TELEMETRY_SAMPLING_PATTERNS",
    "TELEMETRY_SAMPLING_RATE",
    "TELEMETRY_STALL_MS",
    STRICT,
    "TELEMETRY_WORKER_ID",
];

/// What the environment says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What every worker has.
    pub(crate) config: Config,
    /// The backend that the environment chose, by name or by an address; `None` if it is silent.
    pub(crate) backend: Option<BackendKind>,
    /// What a forked child does.
    pub(crate) on_fork: ForkMode,
    /// Whether what is wrong raises.
    pub(crate) is_strict: bool,
}

/// What telemetry does in a forked child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForkMode {
    /// Connects by itself if it knows a manager; else starts empty and waits for `start`.
    Unsaid,
    /// The same, but one whose parent served and that knows no manager serves at an address of its own.
    Restart,
    /// Starts empty and queues; the child starts something if it wants to.
    Reset,
    /// Is off.
    Disable,
}

impl Settings {
    /// Reads the environment of this process where the program sets telemetry up. What is wrong in it is
    /// told of; in strict mode it raises `ValueError` with the variable, its value and what is allowed.
    pub(crate) fn read(py: Python<'_>) -> PyResult<Self> {
        let (settings, faults) = Self::from_env();
        match faults.first() {
            Some(fault) if settings.is_strict => return Err(invalid(fault)),
            _ => faults.iter().for_each(|fault| warn_once(py, fault)),
        }
        Ok(settings)
    }

    /// The same where an event needs it, which raises nothing.
    pub(crate) fn read_silently(py: Python<'_>) -> Self {
        let (settings, faults) = Self::from_env();
        // Strict: whoever sets telemetry up is told.
        if !settings.is_strict {
            faults.iter().for_each(|fault| warn_once(py, fault));
        }
        settings
    }

    /// Reads the environment; also what is wrong in it.
    fn from_env() -> (Self, Vec<String>) {
        let (config, faults) = Config::from_env_lenient();
        let mut faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let backend = match *config.backends {
            // Disabled, which wins over everything else.
            _ if !config.policy.enabled => Some(BackendKind::None),
            [] => None,
            [backend] => Some(backend),
            _ => {
                let list = text(BACKEND).unwrap_or_default();
                faults.push(format!(
                    "{BACKEND}={list:?} is not allowed; expected one of none, connect, server, \
                     stderr, memory"
                ));
                by_address(&config)
            }
        };
        let on_fork = match text(ON_FORK).as_deref() {
            None => ForkMode::Unsaid,
            Some("restart") => ForkMode::Restart,
            Some("reset") => ForkMode::Reset,
            Some("disable") => ForkMode::Disable,
            Some(value) => {
                faults.push(format!(
                    "{ON_FORK}={value:?} is not allowed; expected reset, restart or disable"
                ));
                ForkMode::Unsaid
            }
        };
        let is_strict = match text(STRICT)
            .map(|value| value.to_ascii_lowercase())
            .as_deref()
        {
            None | Some("0" | "false" | "no" | "off") => false,
            Some("1" | "true" | "yes" | "on") => true,
            Some(value) => {
                faults.push(format!(
                    "{STRICT}={value:?} is not allowed; expected 1, true, yes, on, 0, false, no or off"
                ));
                false
            }
        };
        if config.policy.enabled {
            faults.extend(unknown());
        }
        for fault in &mut faults {
            fault.push_str("; it counts as unset");
        }
        let settings = Self {
            config,
            backend,
            on_fork,
            is_strict,
        };
        (settings, faults)
    }

    /// A recorder with these settings.
    pub(crate) fn recorder(&self) -> Result<Recorder, ControlError> {
        Recorder::new(self.config.recorder(), Arc::new(SystemClock::new()))
    }
}

/// The backend of a process whose environment names none that can be used.
fn by_address(config: &Config) -> Option<BackendKind> {
    if !config.managers.is_empty() {
        Some(BackendKind::Connect)
    } else {
        config.address.as_ref().map(|_| BackendKind::Server)
    }
}

/// What is wrong with variables that nobody reads.
fn unknown() -> Vec<String> {
    let mut names: Vec<_> = env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !KNOWN.contains(&name.as_str()))
        .collect();
    names.sort_unstable();
    let fault = |name: String| match nearest(&name, KNOWN) {
        Some(meant) => format!("{name} is no variable of telemetry; did you mean {meant}?"),
        None => format!("{name} is no variable of telemetry"),
    };
    names.into_iter().map(fault).collect()
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
