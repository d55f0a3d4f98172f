//! The settings of this process: those of every worker, and those that only a Python one has. What the
//! program has configured comes before the environment.
//!
//! Lenient: a variable that is wrong or unknown is told of once and has its default, so that no program
//! stops, and no event is lost, for a word in its environment. `TELEMETRY_STRICT=1` is for tests that want
//! to know.

use std::env;
use std::fmt;
use std::sync::Arc;

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use telemetry_client::region::{self, SharedRegion};
use telemetry_client::{Config, ConfigError};
use telemetry_core::{catalog::nearest, emit::Recorder, wire::ControlError};

use crate::clock;
use crate::configured;
use crate::kinds::{CHOICES, Kind, Kinds};
use crate::memory::has_room;
use crate::warning::warn_once;

/// Says what a forked child does.
const ON_FORK: &str = "TELEMETRY_ON_FORK";
/// Says where events go.
const BACKEND: &str = "TELEMETRY_BACKEND";
/// Makes wrong variables raise.
const STRICT: &str = "TELEMETRY_STRICT";
/// Has the end of a span say where its exception was raised.
const RECORD_STACKTRACE: &str = "TELEMETRY_RECORD_STACKTRACE";
/// Says where the ids of spans stand.
const SPAN_IDS: &str = "TELEMETRY_SPAN_IDS";
/// What all variables begin with.
const PREFIX: &str = "TELEMETRY_";
/// Variables that somebody reads: this process, or a manager that it starts.
pub(crate) const KNOWN: [&str; 31] = [
    "TELEMETRY_ADDRESS",
    "TELEMETRY_ALLOW",
    BACKEND,
    "TELEMETRY_BATCH_DELAY_MS",
    "TELEMETRY_DENY",
    "TELEMETRY_DISABLED",
    "TELEMETRY_EXIT_TIMEOUT_MS",
    "TELEMETRY_INSECURE",
    "TELEMETRY_LABELS",
    "TELEMETRY_LOG",
    "TELEMETRY_MANAGER",
    "TELEMETRY_MANAGER_UID",
    "TELEMETRY_MAX_BUFFER",
    ON_FORK,
    "TELEMETRY_OVERFLOW",
    "TELEMETRY_POOL",
    "TELEMETRY_READY_FILE",
    RECORD_STACKTRACE,
    "TELEMETRY_RESOURCE_INTERVAL_MS",
    "TELEMETRY_SAMPLING_PATTERNS",
    "TELEMETRY_SAMPLING_RATE",
    SPAN_IDS,
    "TELEMETRY_STALL_MS",
    STRICT,
    "TELEMETRY_TLS_CA",
    "TELEMETRY_TLS_CERT",
    "TELEMETRY_TLS_KEY",
    "TELEMETRY_TLS_SERVER_NAME",
    "TELEMETRY_TOKEN_FD",
    "TELEMETRY_TOKEN_FILE",
    "TELEMETRY_WORKER_ID",
];

/// What a recorder and all that runs need beside the queue, and some more.
pub(crate) const ROOM_BYTES: usize = 1024 * 1024;

/// Why there is no recorder.
#[derive(Debug)]
pub(crate) enum NoRecorder {
    /// The policy of the environment is none.
    Policy(ControlError),
    /// There is no memory for its queue.
    Memory,
}

impl From<NoRecorder> for PyErr {
    fn from(why: NoRecorder) -> Self {
        match why {
            NoRecorder::Policy(error) => invalid(error),
            NoRecorder::Memory => PyMemoryError::new_err(NO_MEMORY),
        }
    }
}

/// Said where there is no memory.
pub(crate) const NO_MEMORY: &str = "there is no memory for telemetry";

/// What the program and the environment say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What every worker has.
    pub(crate) config: Config,
    /// The backends that were chosen, by name or by an address; `None` if nobody said anything.
    pub(crate) backend: Option<Kinds>,
    /// What a forked child does.
    pub(crate) on_fork: ForkMode,
    /// Whether what is wrong raises.
    pub(crate) is_strict: bool,
    /// Whether the end of a span says where its exception was raised, if the span does not say it.
    pub(crate) record_stacktrace: bool,
    /// Whether the ids of a span are metadata of its events, too.
    pub(crate) ids_in_metadata: bool,
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
        if !has_room(ROOM_BYTES) {
            return Err(NoRecorder::Memory.into());
        }
        let (settings, faults) = Self::of_process();
        match faults.first() {
            Some(fault) if settings.is_strict => return Err(invalid(fault)),
            _ => say_all(py, &faults),
        }
        Ok(settings)
    }

    /// The same where an event needs it, which raises nothing.
    pub(crate) fn read_silently(py: Python<'_>) -> Self {
        let (settings, faults) = Self::of_process();
        // Strict: whoever sets telemetry up is told.
        if !settings.is_strict {
            say_all(py, &faults);
        }
        settings
    }

    /// Reads what this process is told; also what is wrong in it, variables that nobody knows included.
    pub(crate) fn of_process() -> (Self, Vec<Fault>) {
        let (settings, mut faults) = Self::from_lookup(configured::lookup);
        if settings.config.policy.enabled {
            faults.extend(unknown());
        }
        (settings, faults)
    }

    /// Reads what is said by anything that maps variables to texts.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<Fault>) {
        // Kinds of backends are those of Python, so their variable is read here.
        let of_worker =
            |variable: &'static str| (variable != BACKEND).then(|| lookup(variable)).flatten();
        let (config, faults) = Config::from_lookup_lenient(of_worker);
        let mut faults: Vec<Fault> = faults.into_iter().map(Fault::from).collect();
        let text = |variable: &str| {
            let value = lookup(variable)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let mut refuse = |variable: &'static str, expected: &str| {
            faults.push(Fault::Value {
                variable,
                value: text(variable).unwrap_or_default(),
                expected: expected.to_owned(),
            });
        };
        let chosen = text(BACKEND).map(|list| Kinds::parse(&list));
        if chosen == Some(None) && config.policy.enabled {
            refuse(BACKEND, CHOICES);
        }
        let backend = if config.policy.enabled {
            chosen.flatten().or_else(|| by_address(&config))
        } else {
            // Disabled, which wins over everything else.
            Some(Kinds::of(Kind::None))
        };
        let on_fork = match text(ON_FORK).as_deref() {
            None => ForkMode::Unsaid,
            Some("restart") => ForkMode::Restart,
            Some("reset") => ForkMode::Reset,
            Some("disable") => ForkMode::Disable,
            Some(_) => {
                refuse(ON_FORK, "reset, restart or disable");
                ForkMode::Unsaid
            }
        };
        let ids_in_metadata = match text(SPAN_IDS).as_deref() {
            None | Some("wire") => false,
            Some("metadata") => true,
            Some(_) => {
                refuse(SPAN_IDS, "wire or metadata");
                false
            }
        };
        let mut switch = |variable: &'static str| {
            let value = text(variable).map(|value| value.to_ascii_lowercase());
            match value.as_deref() {
                None | Some("0" | "false" | "no" | "off") => false,
                Some("1" | "true" | "yes" | "on") => true,
                Some(_) => {
                    refuse(variable, "1, true, yes, on, 0, false, no or off");
                    false
                }
            }
        };
        let is_strict = switch(STRICT);
        let record_stacktrace = switch(RECORD_STACKTRACE);
        let settings = Self {
            config,
            backend,
            on_fork,
            is_strict,
            record_stacktrace,
            ids_in_metadata,
        };
        (settings, faults)
    }

    /// Whether this backend is asked for.
    pub(crate) fn wants(&self, kind: Kind) -> bool {
        self.backend.as_ref().is_some_and(|kinds| kinds.has(kind))
    }

    /// A recorder with these settings, and the region that it lies in if that can be made to outlive the process.
    pub(crate) fn recorder(&self) -> Result<(Recorder, Option<Arc<SharedRegion>>), NoRecorder> {
        let config = self.config.recorder();
        let queue = config.queue.bytes.checked_next_power_of_two();
        if !queue.is_some_and(|queue| has_room(queue.saturating_add(ROOM_BYTES))) {
            return Err(NoRecorder::Memory);
        }
        let incarnation = self.config.identity().incarnation_id;
        region::recorder(config, Arc::new(clock::of_recorder()), &incarnation)
            .map_err(NoRecorder::Policy)
    }
}

/// Something that is wrong with what a process is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A variable has a value that makes no sense.
    Value {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        expected: String,
    },
    /// Anything else, as a sentence.
    Other(String),
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Value {
                variable,
                value,
                expected,
            } => Self::Value {
                variable,
                value,
                expected,
            },
            ConfigError::Token {
                variable,
                value,
                problem,
            } => Self::Value {
                variable,
                value,
                expected: format!("where a token is ({problem})"),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value {
                variable,
                value,
                expected,
            } => write!(
                f,
                "{variable}={value:?} is not allowed; expected {expected}"
            )?,
            Self::Other(text) => f.write_str(text)?,
        }
        f.write_str("; it counts as unset")
    }
}

/// Tells people, of each fault once.
fn say_all(py: Python<'_>, faults: &[Fault]) {
    for fault in faults {
        warn_once(py, &fault.to_string());
    }
}

/// The backend of a process that is told none that can be used.
fn by_address(config: &Config) -> Option<Kinds> {
    if !config.managers.is_empty() {
        Some(Kinds::of(Kind::Connect))
    } else {
        config.address.as_ref().map(|_| Kinds::of(Kind::Server))
    }
}

/// What is wrong with variables that nobody reads.
fn unknown() -> Vec<Fault> {
    let mut names: Vec<_> = env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !KNOWN.contains(&name.as_str()))
        .collect();
    names.sort_unstable();
    let fault = |name: String| {
        Fault::Other(match nearest(&name, KNOWN) {
            Some(meant) => format!("{name} is no variable of telemetry; did you mean {meant}?"),
            None => format!("{name} is no variable of telemetry"),
        })
    };
    names.into_iter().map(fault).collect()
}

/// A `ValueError`.
pub(crate) fn invalid(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}
