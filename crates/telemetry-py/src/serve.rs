//! Serving events to a manager that connects, and the object that stands for it.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use telemetry_core::Address;

use crate::convert::{guarded, strict};
use crate::ending::{Timeout, duration, exit_timeout, shut};
use crate::kinds::Kind;
use crate::service::{Ask, Service};
use crate::settings::{Settings, invalid};
use crate::start::{Author, Wish, begin, use_objects};
use crate::state;

/// How long `close` waits unless told otherwise.
const CLOSE_SECONDS: f64 = 0.5;

/// What `serve` returns: where the worker can be reached. Serving ends with the process, with
/// `close`, or with the `with` block.
#[pyclass(frozen, weakref, module = "telemetry_py", name = "Server")]
#[derive(Debug)]
pub(crate) struct PyServer {
    /// What runs; `None` if the configuration asks for nothing that does.
    service: Option<Arc<Service>>,
    /// Where it listens; empty where nothing does.
    #[pyo3(get)]
    address: String,
}

#[pymethods]
impl PyServer {
    /// Managers whose stream is open now.
    #[getter]
    fn clients(&self) -> usize {
        match &self.service {
            Some(service) if !service.is_inherited() => service.clients(),
            _ => 0,
        }
    }

    /// Streams that were refused because they did not show the token.
    #[getter]
    fn unauthenticated(&self) -> u64 {
        match &self.service {
            Some(service) if !service.is_inherited() => service.unauthenticated(),
            _ => 0,
        }
    }

    /// Whether something runs whose end is to be waited for: a server, or a connection to a manager.
    #[getter]
    fn is_running(&self) -> bool {
        self.service
            .as_ref()
            .is_some_and(|service| !service.is_inherited())
    }

    /// Sends what is queued and stops serving; says whether that was done in `timeout` seconds.
    /// Events from then on are counted as dropped.
    #[pyo3(signature = (timeout=Timeout::Seconds(CLOSE_SECONDS)), text_signature = "($self, timeout=0.5)")]
    fn close(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        guarded(py, || {
            let Some(service) = &self.service else {
                return Ok(true);
            };
            if service.is_inherited() {
                return Ok(true);
            }
            match state::latest(py) {
                Some(state) if state.runs(service) => {
                    let timeout = match timeout {
                        Timeout::Exit => exit_timeout(&state),
                        Timeout::Seconds(seconds) => duration(seconds),
                        Timeout::Unreadable => duration(CLOSE_SECONDS),
                    };
                    Ok(shut(py, &state, timeout))
                }
                _ => Ok(true),
            }
        })
    }

    fn __enter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.close(py, Timeout::Seconds(CLOSE_SECONDS))?;
        Ok(false)
    }

    fn __repr__(&self) -> String {
        format!(
            "<Server address={:?} clients={}>",
            self.address,
            self.clients()
        )
    }
}

impl PyServer {
    /// The face of what runs.
    fn of(service: Option<Arc<Service>>) -> Self {
        let address = service.as_ref().and_then(|service| service.address());
        Self {
            address: address.map(ToString::to_string).unwrap_or_default(),
            service,
        }
    }
}

/// Serves at an address, or does what the environment says if that is to connect to a manager or something
/// else than to serve.
#[pyfunction]
#[pyo3(signature = (address=None, ready_file=None, timeout=0.0, token_file=None, insecure=None))]
pub(crate) fn serve(
    py: Python<'_>,
    address: Option<String>,
    ready_file: Option<PathBuf>,
    timeout: f64,
    token_file: Option<PathBuf>,
    insecure: Option<bool>,
) -> PyResult<PyServer> {
    let door = Door {
        token_file,
        insecure,
    };
    strict(|| serve_strictly(py, address, ready_file, timeout, &door))
}

/// What keeps others out of a port, as far as the program says it.
struct Door {
    /// Where the token is.
    token_file: Option<PathBuf>,
    /// Whether there is none.
    insecure: Option<bool>,
}

/// The same; a panic goes on.
fn serve_strictly(
    py: Python<'_>,
    address: Option<String>,
    ready_file: Option<PathBuf>,
    timeout: f64,
    door: &Door,
) -> PyResult<PyServer> {
    let mut settings = Settings::read(py)?;
    if let Some(file) = &door.token_file {
        settings.config.read_token(file).map_err(invalid)?;
    }
    if let Some(insecure) = door.insecure {
        settings.config.insecure = insecure;
    }
    let written: Option<Address> = match address {
        Some(text) => Some(
            text.parse()
                .map_err(|error| invalid(format!("address: {error}")))?,
        ),
        None => None,
    };
    if use_objects(py, &settings)? {
        return Ok(PyServer::of(None));
    }
    let config = &settings.config;
    let author = match written {
        Some(_) => Author::Program,
        None => Author::Environment,
    };
    let ask = match written {
        Some(address) => Ask::Serve(Some(address)),
        None if settings.wants(Kind::Connect) && !config.managers.is_empty() => {
            Ask::Connect(config.managers.clone())
        }
        None => Ask::Serve(config.address.clone()),
    };
    let wish = Wish {
        ask,
        author,
        ready_file: ready_file.as_deref().or(config.ready_file.as_deref()),
        patience: duration(timeout),
    };
    Ok(PyServer::of(begin(py, &settings, &wish)?))
}
