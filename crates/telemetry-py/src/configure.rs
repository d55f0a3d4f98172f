//! `configure`: what the program sets in place of variables, and what is in force.

use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use telemetry_core::wire::Control;

use crate::configured::{self, Texts};
use crate::phase::{self, Phase};
use crate::settings::{Fault, KNOWN, Settings, invalid};
use crate::state::{self, State};

/// Turns all off.
const DISABLED: &str = "TELEMETRY_DISABLED";
/// Also a variable, though none of ours.
const OTEL_DISABLED: &str = "OTEL_SDK_DISABLED";
/// What may change at any time.
const ALWAYS: [&str; 5] = [
    "TELEMETRY_EXIT_TIMEOUT_MS",
    "TELEMETRY_ON_FORK",
    "TELEMETRY_RECORD_STACKTRACE",
    "TELEMETRY_SPAN_IDS",
    "TELEMETRY_STRICT",
];
/// What the queue is made with, which is at the first event.
const OF_THE_QUEUE: [&str; 2] = ["TELEMETRY_MAX_BUFFER", "TELEMETRY_OVERFLOW"];

/// Sets variables to texts, or to what the environment says for `None`; all of them or none.
///
/// Raises `ValueError` for a value that makes no sense, `RuntimeError` for one that cannot change any more.
#[pyfunction]
pub(crate) fn configure(py: Python<'_>, changes: &Bound<'_, PyDict>) -> PyResult<()> {
    let mut texts = configured::texts();
    let mut changed = Vec::new();
    for (name, value) in changes {
        let name: String = name.extract()?;
        let value: Option<String> = value.extract()?;
        let Some(variable) = KNOWN.iter().find(|known| **known == name) else {
            return Err(PyKeyError::new_err(name));
        };
        if texts.get(variable) != value.as_ref() {
            changed.push(*variable);
        }
        match value {
            Some(value) => texts.insert(variable, value),
            None => texts.remove(variable),
        };
    }
    check(&texts)?;
    let state = state::own();
    if let Some(state) = &state {
        check_time(state, &changed)?;
    }
    configured::replace(texts);
    let (settings, _told_elsewhere) = Settings::of_process();
    match state {
        Some(state) => take_over(py, &state, settings),
        // Looked at anew with the next event.
        None if phase::is(Phase::Off) => phase::set(Phase::Unresolved),
        None => {}
    }
    Ok(())
}

/// What is in force: each variable with its value, as text or `None`, and whether that is of `configure`,
/// of a `variable` or the `default`; the names of the backends; what is wrong.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "it becomes a tuple of Python")]
pub(crate) fn settings() -> (
    Vec<(&'static str, Option<String>, &'static str)>,
    Option<String>,
    Vec<String>,
) {
    let (settings, faults) = Settings::of_process();
    let texts = configured::texts();
    let told = KNOWN.into_iter().chain([OTEL_DISABLED]).map(|variable| {
        let value = configured::lookup(variable).filter(|value| !value.is_empty());
        let source = match value {
            _ if texts.contains_key(variable) => "configure",
            Some(_) => "variable",
            None => "default",
        };
        (variable, value, source)
    });
    let backend = settings.backend.map(|kinds| kinds.names());
    (
        told.collect(),
        backend,
        faults.iter().map(ToString::to_string).collect(),
    )
}

/// Refuses texts that make no sense, by the name that the program knows them by.
fn check(texts: &Texts) -> PyResult<()> {
    // One that turns all off keeps the others from being read.
    let of = |variable: &str, is_switch| {
        let text = (variable == DISABLED) == is_switch;
        text.then(|| texts.get(variable).cloned()).flatten()
    };
    let (_, mut faults) = Settings::from_lookup(|variable| of(variable, false));
    faults.extend(Settings::from_lookup(|variable| of(variable, true)).1);
    match faults.first() {
        None => Ok(()),
        Some(Fault::Value {
            variable,
            value,
            expected,
        }) => Err(invalid(format!(
            "configure: {}={value:?} is not allowed; expected {expected}",
            argument(variable)
        ))),
        Some(Fault::Other(text)) => Err(invalid(format!("configure: {text}"))),
    }
}

/// Refuses what comes too late.
fn check_time(state: &State, changed: &[&'static str]) -> PyResult<()> {
    let late = |variable: &&&str| !ALWAYS.contains(variable);
    if let Some(service) = state.service()
        && let Some(variable) = changed.iter().find(late)
    {
        return Err(PyRuntimeError::new_err(format!(
            "configure: {} cannot change while telemetry is {service}; call configure() before, or \
             telemetry.shutdown() first",
            argument(variable)
        )));
    }
    let made = |variable: &&&str| OF_THE_QUEUE.contains(variable);
    if !state.incarnation.recorder.is_closed()
        && let Some(variable) = changed.iter().find(made)
    {
        return Err(PyRuntimeError::new_err(format!(
            "configure: {} cannot change any more: the queue is made with the first event or backend; call \
             configure() before",
            argument(variable)
        )));
    }
    Ok(())
}

/// Has what there is go on with other settings.
fn take_over(py: Python<'_>, state: &State, settings: Settings) {
    let runs = state.service().is_some();
    let recorder = &state.incarnation.recorder;
    if !runs && !recorder.is_closed() {
        // It was compiled when it was checked.
        let _valid = recorder
            .gate()
            .apply(&Control::Policy(settings.config.policy.clone()));
    }
    let is_off = settings
        .backend
        .as_ref()
        .is_some_and(|kinds| kinds.is_none());
    state.incarnation.set_settings(settings);
    if is_off && !runs {
        state::turn_off(py);
    }
}

/// A variable as an argument of `configure`.
fn argument(variable: &str) -> String {
    variable
        .trim_start_matches("TELEMETRY_")
        .to_ascii_lowercase()
}
