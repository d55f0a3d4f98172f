//! What is to run in this process, and that it runs: what the environment asks for, or the program.
//!
//! Strict where the program wrote something itself; what the environment says wrong, or cannot have, is
//! told of once. Everything returns at once: a manager is waited for by nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::prelude::*;
use telemetry_client::backend::{Backend, StderrBackend};
use telemetry_core::{Address, SystemClock, catalog::Redactor};

use crate::convert::strict;
use crate::incarnation::Found;
use crate::kinds::Kind;
use crate::raised;
use crate::service::{Ask, Service};
use crate::settings::{Settings, invalid};
use crate::sink::Sink;
use crate::state;
use crate::warning::warn_once;

/// Said where nothing is named.
const NOTHING_NAMED: &str = "nothing is started: set TELEMETRY_MANAGER to unix:/path/to/manager.sock, or \
     TELEMETRY_BACKEND=none to say so";

/// Who wrote what is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// The program, which is told of its mistakes.
    Program,
    /// The environment, or nobody.
    Environment,
}

/// What is asked for beside the environment, and how.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    /// What is to run.
    pub(crate) ask: Ask,
    /// Who says so.
    pub(crate) author: Author,
    /// A file for the address of a server.
    pub(crate) ready_file: Option<&'a Path>,
    /// How long an address that is in use is tried again.
    pub(crate) patience: Duration,
}

impl Wish<'_> {
    /// What the environment wants.
    fn of_environment(ask: Ask) -> Self {
        Self {
            ask,
            author: Author::Environment,
            ready_file: None,
            patience: Duration::ZERO,
        }
    }
}

/// Does what the environment says. Returns whether something runs whose end is to be waited for.
#[pyfunction]
pub(crate) fn start(py: Python<'_>) -> PyResult<bool> {
    // What is said of an error needs memory as well.
    strict(|| start_or_say(py)).or_else(|error| {
        let is_refused = catch_unwind(AssertUnwindSafe(|| is_refusal(py, &error)));
        if is_refused.unwrap_or(false) {
            Err(error)
        } else {
            Ok(false)
        }
    })
}

/// The same; a panic goes on.
fn start_or_say(py: Python<'_>) -> PyResult<bool> {
    match strict(|| start_strictly(py)) {
        // What is wrong with variables in strict mode, and what is no `Exception`.
        Err(error) if is_refusal(py, &error) => Err(error),
        Err(error) => {
            let text = raised::one_line(error.value(py), &Redactor::default());
            let text = text.unwrap_or_default();
            warn_once(py, &format!("nothing is started: {text}"));
            Ok(false)
        }
        Ok(is_running) => Ok(is_running),
    }
}

/// Whether an exception of the start is one that a program should see.
fn is_refusal(py: Python<'_>, error: &PyErr) -> bool {
    !error.is_instance_of::<PyException>(py)
        || error.is_instance_of::<PyValueError>(py)
        || (error.is_instance_of::<PyOSError>(py) && Settings::read_silently(py).is_strict)
}

/// The same; raises whatever is wrong.
fn start_strictly(py: Python<'_>) -> PyResult<bool> {
    let settings = Settings::read(py)?;
    if use_objects(py, &settings)? {
        return Ok(false);
    }
    let config = &settings.config;
    let ask = if settings.wants(Kind::Server) {
        Some(Ask::Serve(config.address.clone()))
    } else if settings.wants(Kind::Connect) && !config.managers.is_empty() {
        Some(Ask::Connect(config.managers.clone()))
    } else {
        None
    };
    begin_or_say(py, &settings, ask)
}

/// Connects to managers: those of the comma list, or those of the environment. Returns whether something
/// runs whose end is to be waited for.
#[pyfunction]
#[pyo3(signature = (address=None))]
pub(crate) fn connect(py: Python<'_>, address: Option<String>) -> PyResult<bool> {
    strict(|| connect_strictly(py, address))
}

/// The same; a panic goes on.
fn connect_strictly(py: Python<'_>, address: Option<String>) -> PyResult<bool> {
    let settings = Settings::read(py)?;
    let managers = match address {
        Some(text) => {
            Some(Address::parse_list(&text).map_err(|error| invalid(format!("address: {error}")))?)
        }
        None => None,
    };
    if use_objects(py, &settings)? {
        return Ok(false);
    }
    match managers {
        Some(managers) => {
            let wish = Wish {
                author: Author::Program,
                ..Wish::of_environment(Ask::Connect(managers))
            };
            Ok(begin(py, &settings, &wish)?.is_some())
        }
        None => {
            let managers = settings.config.managers.clone();
            let ask = (!managers.is_empty()).then_some(Ask::Connect(managers));
            begin_or_say(py, &settings, ask)
        }
    }
}

/// Begins what the environment asks for. If that is nothing, what runs goes on, and what a forked child
/// would begin with its first event begins now.
fn begin_or_say(py: Python<'_>, settings: &Settings, ask: Option<Ask>) -> PyResult<bool> {
    if let Some(ask) = ask {
        let wish = Wish::of_environment(ask);
        return Ok(begin(py, settings, &wish)?.is_some());
    }
    state::begin_due(py);
    let is_running = state::latest(py).is_some_and(|state| state.service().is_some());
    if !is_running {
        warn_once(py, NOTHING_NAMED);
    }
    Ok(is_running)
}

/// Puts the backends in force that are named and are objects, or none at all. Returns whether that is all
/// that is to be done: without the queue among them nothing else runs, whatever the program wants.
pub(crate) fn use_objects(py: Python<'_>, settings: &Settings) -> PyResult<bool> {
    let Some(kinds) = &settings.backend else {
        return Ok(false);
    };
    if kinds.has_queue() && kinds.objects().next().is_none() {
        return Ok(false);
    }
    let before = state::latest(py);
    let is_set = match &before {
        Some(state) => state.sink.is_of_kinds(py, kinds)?,
        None => false,
    };
    if !is_set {
        let sink = Sink::of_kinds(py, kinds, settings.is_strict)?;
        if matches!(sink, Sink::Waiting) {
            // None of them can be had, which is said; it is as if none were named.
            return Ok(false);
        }
        state::set_sink(py, sink, settings)?;
    }
    if kinds.has_queue() {
        return Ok(false);
    }
    if kinds.has(Kind::Stderr)
        && let Some(state) = state::latest(py)
        && settings.config.resource_interval.is_some()
    {
        let sampled = state.incarnation.sample(stderr_backend(settings)?);
        if let Err(error) = sampled {
            warn_once(py, &error.to_string());
        }
    }
    Ok(true)
}

/// Begins what is wished, unless it runs. `None`: the environment wants what cannot be had, which is said.
pub(crate) fn begin(
    py: Python<'_>,
    settings: &Settings,
    wish: &Wish<'_>,
) -> PyResult<Option<Arc<Service>>> {
    if let Some(service) = state::latest(py).and_then(|state| state.service()) {
        return agree(service, wish).map(Some);
    }
    let incarnation = state::settle_queue(py, settings)?;
    let _starting = match incarnation.service_or_right(py)? {
        Found::Running(service) => return agree(service, wish).map(Some),
        Found::Mine(starting) => starting,
    };
    let source = incarnation.source(py, &wish.ask);
    let started = py.detach(|| {
        let config = &settings.config;
        Service::start(&wish.ask, config, source, wish.ready_file, wish.patience)
    });
    let service = match started {
        Ok(service) => Arc::new(service),
        Err(error) => {
            let is_strict = wish.author == Author::Program || settings.is_strict;
            return match error {
                _ if !is_strict => {
                    warn_once(py, &format!("nothing is started: {error}"));
                    Ok(None)
                }
                error if error.is_of_address() => Err(invalid(format!("address: {error}"))),
                error => Err(PyOSError::new_err(error.to_string())),
            };
        }
    };
    if let Some((asked, own)) = service.beside() {
        let text = format!("{asked} is in use by another process; this one is served at {own}");
        warn_once(py, &text);
    }
    let port = service.address().filter(|it| it.socket_path().is_none());
    if let Some(port) = port.filter(|_| settings.config.insecure) {
        let text = format!(
            "served at {port} without a token: every user of this machine can read the events and stop them"
        );
        warn_once(py, &text);
    }
    incarnation.keep(Arc::clone(&service), wish.ask.clone());
    let recorder = Arc::clone(&incarnation.recorder);
    if let Err(error) = incarnation.sample(recorder) {
        warn_once(py, &error.to_string());
    }
    Ok(Some(service))
}

/// What runs, unless the program wants something else by name.
fn agree(service: Arc<Service>, wish: &Wish<'_>) -> PyResult<Arc<Service>> {
    if wish.author == Author::Program && !service.is(&wish.ask) {
        return Err(invalid(format!(
            "telemetry is {service} already; end that with telemetry.shutdown() before anything else"
        )));
    }
    Ok(service)
}

/// Lines for the samples of a process whose other events are lines, too. They are written by a
/// thread that knows nothing of Python, so they do not take the way of the others.
fn stderr_backend(settings: &Settings) -> PyResult<Arc<dyn Backend>> {
    let clock = Arc::new(SystemClock::new());
    let backend = StderrBackend::new(settings.config.recorder(), clock).map_err(invalid)?;
    Ok(Arc::new(backend))
}
