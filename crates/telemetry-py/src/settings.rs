//! The environment variables of a worker: read once, checked strictly.
//!
//! Only text to values; what the values do is decided elsewhere. An unset variable and an empty one
//! mean the default.

use std::env;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use telemetry_core::{
    ControlError, Overflow, PolicySpec, QueueLimits, Recorder, RecorderConfig, SamplingRule,
    SystemClock,
};

use crate::state::Sink;

/// How long the exit of the process may be held up for events that wait to be sent.
const DEFAULT_EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// What the environment says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `TELEMETRY_BACKEND`, or `none` if `TELEMETRY_DISABLED` or `OTEL_SDK_DISABLED` is true.
    pub(crate) backend: BackendChoice,
    /// Whether `TELEMETRY_BACKEND` chose it, rather than the default.
    pub(crate) chosen: bool,
    /// `TELEMETRY_ADDRESS`
    pub(crate) address: Option<String>,
    /// `TELEMETRY_READY_FILE`
    pub(crate) ready_file: Option<PathBuf>,
    /// `TELEMETRY_WORKER_ID`
    pub(crate) worker_id: Option<String>,
    /// `TELEMETRY_POOL`
    pub(crate) pool: Option<String>,
    /// `TELEMETRY_MAX_BUFFER`: events that wait for a manager.
    max_buffer: usize,
    /// `TELEMETRY_OVERFLOW`
    overflow: Overflow,
    /// `TELEMETRY_SAMPLING_RATE`, `_SAMPLING_PATTERNS`, `_ALLOW`, `_DENY`
    policy: PolicySpec,
    /// `TELEMETRY_ON_FORK`
    pub(crate) on_fork: ForkMode,
    /// `TELEMETRY_EXIT_TIMEOUT_MS`
    pub(crate) exit_timeout: Duration,
}

/// Where events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackendChoice {
    /// Nowhere.
    Nothing,
    /// Into the queue that `serve` sends to a manager.
    Server,
    /// As lines to stderr.
    Stderr,
    /// Into a list.
    Memory,
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

/// A variable that has no valid value.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?} is not valid: expected {expected}")]
pub(crate) struct SettingsError {
    /// The variable.
    variable: &'static str,
    /// Its value.
    value: String,
    /// What is allowed.
    expected: String,
}

impl Settings {
    /// Reads the environment of this process.
    pub(crate) fn from_env() -> Result<Self, SettingsError> {
        let disabled = flag("TELEMETRY_DISABLED")? || flag("OTEL_SDK_DISABLED")?;
        let chosen = choice(
            "TELEMETRY_BACKEND",
            &[
                ("none", BackendChoice::Nothing),
                ("server", BackendChoice::Server),
                ("stderr", BackendChoice::Stderr),
                ("memory", BackendChoice::Memory),
            ],
        )?;
        let backend = if disabled { None } else { chosen };
        let default_queue = QueueLimits::default();
        Ok(Self {
            backend: backend.unwrap_or(BackendChoice::Nothing),
            chosen: disabled || chosen.is_some(),
            address: text("TELEMETRY_ADDRESS"),
            ready_file: text("TELEMETRY_READY_FILE").map(PathBuf::from),
            worker_id: text("TELEMETRY_WORKER_ID"),
            pool: text("TELEMETRY_POOL"),
            max_buffer: number("TELEMETRY_MAX_BUFFER", "an integer of at least 1", |n| {
                *n > 0
            })?
            .unwrap_or(default_queue.events),
            overflow: choice(
                "TELEMETRY_OVERFLOW",
                &[
                    ("drop_newest", Overflow::DropNewest),
                    ("drop_oldest", Overflow::DropOldest),
                ],
            )?
            .unwrap_or_default(),
            policy: policy()?,
            on_fork: choice(
                "TELEMETRY_ON_FORK",
                &[
                    ("reset", ForkMode::Reset),
                    ("restart", ForkMode::Restart),
                    ("disable", ForkMode::Disable),
                ],
            )?
            .unwrap_or(ForkMode::Reset),
            exit_timeout: milliseconds("TELEMETRY_EXIT_TIMEOUT_MS")?
                .unwrap_or(DEFAULT_EXIT_TIMEOUT),
        })
    }

    /// A recorder with these settings.
    pub(crate) fn recorder(&self) -> Result<Recorder, ControlError> {
        let default_queue = QueueLimits::default();
        // A longer queue gets its share of bytes, too.
        let bytes = default_queue.bytes / default_queue.events * self.max_buffer;
        let config = RecorderConfig {
            queue: QueueLimits {
                events: self.max_buffer,
                bytes: bytes.max(default_queue.bytes),
            },
            overflow: self.overflow,
            policy: self.policy.clone(),
            ..RecorderConfig::default()
        };
        Recorder::new(config, Arc::new(SystemClock::new()))
    }
}

impl BackendChoice {
    /// The backend itself. Those that are Python objects are imported and made.
    pub(crate) fn sink(self, py: Python<'_>) -> PyResult<Sink> {
        let (module, class) = match self {
            Self::Nothing => return Ok(Sink::Nothing),
            Self::Server => return Ok(Sink::Queue),
            Self::Stderr => ("telemetry_py.backends.stderr", "StderrBackend"),
            Self::Memory => ("telemetry_py.backends.memory", "MemoryBackend"),
        };
        Sink::object(&py.import(module)?.getattr(class)?.call0()?)
    }
}

/// The policy until a manager sends one.
fn policy() -> Result<PolicySpec, SettingsError> {
    const RATE: &str = "a number from 0 to 1";
    let in_range = |rate: &f64| (0.0..=1.0).contains(rate);
    let mut spec = PolicySpec {
        allow: list("TELEMETRY_ALLOW"),
        deny: list("TELEMETRY_DENY"),
        ..PolicySpec::default()
    };
    if let Some(rate) = number("TELEMETRY_SAMPLING_RATE", RATE, in_range)? {
        spec.sampling.push(SamplingRule {
            rate,
            patterns: Vec::new(),
        });
    }
    for entry in list("TELEMETRY_SAMPLING_PATTERNS") {
        let rule = entry.split_once('=').and_then(|(pattern, rate)| {
            let rate = rate.trim().parse().ok().filter(in_range)?;
            Some(SamplingRule {
                rate,
                patterns: vec![pattern.trim().to_owned()],
            })
        });
        spec.sampling.push(rule.ok_or_else(|| SettingsError {
            variable: "TELEMETRY_SAMPLING_PATTERNS",
            value: entry,
            expected: format!("PATTERN=RATE with {RATE}, several separated by commas"),
        })?);
    }
    for (variable, part) in [
        (
            "TELEMETRY_SAMPLING_PATTERNS",
            PolicySpec {
                sampling: spec.sampling.clone(),
                ..PolicySpec::default()
            },
        ),
        (
            "TELEMETRY_ALLOW",
            PolicySpec {
                allow: spec.allow.clone(),
                ..PolicySpec::default()
            },
        ),
        (
            "TELEMETRY_DENY",
            PolicySpec {
                deny: spec.deny.clone(),
                ..PolicySpec::default()
            },
        ),
    ] {
        part.validate().map_err(|error| SettingsError {
            variable,
            value: text(variable).unwrap_or_default(),
            expected: format!("patterns separated by commas ({error})"),
        })?;
    }
    Ok(spec)
}

/// The value of a variable, if it has one.
fn text(variable: &str) -> Option<String> {
    env::var_os(variable)
        .map(|value| value.to_string_lossy().trim().to_owned())
        .filter(|value| !value.is_empty())
}

/// The entries of a list separated by commas.
fn list(variable: &str) -> Vec<String> {
    text(variable)
        .unwrap_or_default()
        .split(',')
        .map(|entry| entry.trim().to_owned())
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// One of a few words, in any case.
fn choice<T: Copy>(
    variable: &'static str,
    choices: &[(&str, T)],
) -> Result<Option<T>, SettingsError> {
    let Some(value) = text(variable) else {
        return Ok(None);
    };
    match choices
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(&value))
    {
        Some((_, meaning)) => Ok(Some(*meaning)),
        None => {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let expected = format!("one of {}", words.join(", "));
            Err(SettingsError {
                variable,
                value,
                expected,
            })
        }
    }
}

/// A word for true or false.
fn flag(variable: &'static str) -> Result<bool, SettingsError> {
    const WORDS: &[(&str, bool)] = &[
        ("1", true),
        ("true", true),
        ("yes", true),
        ("on", true),
        ("0", false),
        ("false", false),
        ("no", false),
        ("off", false),
    ];
    Ok(choice(variable, WORDS)?.unwrap_or(false))
}

/// A number that fulfils a condition.
fn number<T: FromStr>(
    variable: &'static str,
    expected: impl Display,
    fulfils: impl Fn(&T) -> bool,
) -> Result<Option<T>, SettingsError> {
    let Some(value) = text(variable) else {
        return Ok(None);
    };
    match value.parse().ok().filter(fulfils) {
        Some(number) => Ok(Some(number)),
        None => Err(SettingsError {
            variable,
            value,
            expected: expected.to_string(),
        }),
    }
}

/// A duration in whole milliseconds, at most a day.
fn milliseconds(variable: &'static str) -> Result<Option<Duration>, SettingsError> {
    const DAY: u64 = 86_400_000;
    let number = number(
        variable,
        "milliseconds, an integer from 0 to 86400000",
        |n| *n <= DAY,
    )?;
    Ok(number.map(Duration::from_millis))
}
