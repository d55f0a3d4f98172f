//! Serving events to a manager, and its end.
//!
//! The server's thread belongs to `telemetry-client`; no Python object crosses into it and it never
//! attaches to Python. What blocks here lets other Python threads run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use telemetry_client::backend::{Backend, StderrBackend};
use telemetry_client::serve::{BindError, ServeError};
use telemetry_client::{BackendKind, ResourceSampler, Telemetry};
use telemetry_core::{Address, SystemClock};

use crate::emit::guarded;
use crate::service::{Service, SignalsMasked};
use crate::settings::{self, Settings, invalid};
use crate::state::{self, Incarnation, Sink, State};

/// Where a worker listens that was told nothing: loopback, any free port.
const DEFAULT_ADDRESS: Address = Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
/// How long a wait goes on before it looks whether a signal has arrived.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a thread waits before it looks whether another one has started the server.
const START_INTERVAL: Duration = Duration::from_millis(1);
/// Longest timeout; longer ones, and infinity, are cut to it.
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// What `serve` returns: where the worker can be reached. Serving ends with the process, with
/// `close`, or with the `with` block.
#[pyclass(frozen, weakref, module = "telemetry_py", name = "Server")]
#[derive(Debug)]
pub(crate) struct PyServer {
    /// The server; `None` if the configuration asks for none.
    service: Option<Arc<Service>>,
    /// Where it listens; empty without a server.
    #[pyo3(get)]
    address: String,
}

#[pymethods]
impl PyServer {
    /// Managers whose stream is open now.
    #[getter]
    fn clients(&self) -> usize {
        match &self.service {
            Some(service) if !service.is_inherited() => service.server.clients(),
            _ => 0,
        }
    }

    /// Sends what is queued and stops serving; says whether that was done in `timeout` seconds.
    /// Events from then on are counted as dropped.
    #[pyo3(signature = (timeout=0.5))]
    fn close(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        guarded(py, || {
            let Some(service) = &self.service else {
                return Ok(true);
            };
            if service.is_inherited() {
                return Ok(true);
            }
            match state::latest(py) {
                Some(state) if state.serves(service) => shut(py, &state, duration(timeout)),
                _ => Ok(true),
            }
        })
    }

    fn __enter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.close(py, 0.5)?;
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
    /// The server that runs already, if it is the one that is asked for.
    fn of_running(service: Arc<Service>, address: Option<&Address>) -> PyResult<Self> {
        let running = service.server.address();
        if address.is_some_and(|address| address != running) {
            return Err(invalid(format!(
                "telemetry is served at {running} already; close that before serving elsewhere"
            )));
        }
        Ok(Self {
            address: running.to_string(),
            service: Some(service),
        })
    }
}

/// The right to start the server of an incarnation; one thread has it at a time.
struct Starting<'a>(&'a AtomicBool);

impl<'a> Starting<'a> {
    /// Takes it, unless another thread has it.
    fn claim(taken: &'a AtomicBool) -> Option<Self> {
        (!taken.swap(true, Ordering::Acquire)).then(|| Self(taken))
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl State {
    /// Whether `service` is its own.
    fn serves(&self, service: &Arc<Service>) -> bool {
        self.service().is_some_and(|own| Arc::ptr_eq(&own, service))
    }

    /// The running server.
    fn service(&self) -> Option<Arc<Service>> {
        (!self.incarnation.is_inherited())
            .then(|| self.incarnation.service())
            .flatten()
    }
}

/// Starts what the environment asks for, a server unless it says otherwise. Strict: raises
/// `ValueError` for settings that are wrong and `OSError` for an address that cannot be used.
#[pyfunction]
#[pyo3(signature = (address=None, ready_file=None, timeout=5.0))]
pub(crate) fn serve(
    py: Python<'_>,
    address: Option<String>,
    ready_file: Option<PathBuf>,
    timeout: f64,
) -> PyResult<PyServer> {
    let settings = Settings::from_env()?;
    let address = match address {
        Some(text) => Some(
            text.parse()
                .map_err(|error| invalid(format!("address: {error}")))?,
        ),
        None => settings.config.address.clone(),
    };
    if let Some(kind) = settings.backend.filter(|kind| *kind != BackendKind::Server) {
        let sink = settings::sink(py, kind)?;
        state::set_sink(py, sink, &settings).map_err(invalid)?;
        if let Some(state) = state::latest(py).filter(|_| kind == BackendKind::Stderr) {
            state.incarnation.sample(|| stderr_backend(&settings))?;
        }
        return Ok(PyServer {
            service: None,
            address: String::new(),
        });
    }
    if let Some(service) = state::latest(py).and_then(|state| state.service()) {
        return PyServer::of_running(service, address.as_ref());
    }
    let incarnation = match state::latest(py) {
        Some(state)
            if matches!(state.sink, Sink::Waiting) && !state.incarnation.recorder.is_closed() =>
        {
            state::settle_queue(&state, settings.clone())
        }
        Some(state) if !state.incarnation.recorder.is_closed() => {
            state::set_sink(py, Sink::Queue, &settings).map_err(invalid)?;
            Arc::clone(&state.incarnation)
        }
        _ => state::renew(Sink::Queue, settings.clone()).map_err(invalid)?,
    };
    let _starting = loop {
        if let Some(service) = incarnation.service() {
            return PyServer::of_running(service, address.as_ref());
        }
        if let Some(starting) = Starting::claim(&incarnation.starting) {
            break starting;
        }
        py.check_signals()?;
        py.detach(|| std::thread::sleep(START_INTERVAL));
    };
    let address = address.unwrap_or(DEFAULT_ADDRESS);
    let ready_file = ready_file.or(settings.config.ready_file);
    let deadline = Instant::now() + duration(timeout);
    let service = loop {
        let started = py.detach(|| Service::start(&incarnation, &address, ready_file.clone()));
        match started {
            Ok(service) => break Arc::new(service),
            // The process before this one may be on its way out.
            Err(error) if is_in_use(&error) && Instant::now() < deadline => {
                py.check_signals()?;
                py.detach(|| std::thread::sleep(SIGNAL_INTERVAL));
            }
            Err(error) => return Err(PyOSError::new_err(error.to_string())),
        }
    };
    incarnation.keep(&service, address)?;
    Ok(PyServer {
        address: service.server.address().to_string(),
        service: Some(service),
    })
}

/// Serves again in a forked child whose parent served. An address that cannot be used leaves the
/// child's events in its queue, as if it had not been asked to serve.
pub(crate) fn restart(py: Python<'_>, address: &Address) {
    let Some(state) = state::latest(py) else {
        return;
    };
    let incarnation = &state.incarnation;
    let Ok(service) = py.detach(|| Service::start(incarnation, address, None)) else {
        return;
    };
    let _without_samples = incarnation.keep(&Arc::new(service), address.clone());
    let _without_hook = py
        .import("telemetry_py._lifecycle")
        .and_then(|lifecycle| lifecycle.call_method0("register"));
}

impl Incarnation {
    /// The running server. Not to be asked of an inherited one.
    fn service(&self) -> Option<Arc<Service>> {
        self.service
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Remembers what runs and begins to sample resources, if it should.
    fn keep(&self, service: &Arc<Service>, address: Address) -> PyResult<()> {
        let _asked_before = self.served.set(address);
        self.recorder.set_started(true);
        let kept = &self.service;
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(service));
        self.sample(|| Ok(Arc::clone(&self.recorder) as Arc<dyn Backend>))
    }

    /// Begins to sample resources, if it should and does not.
    fn sample(&self, backend: impl FnOnce() -> PyResult<Arc<dyn Backend>>) -> PyResult<()> {
        let Some(interval) = self.settings.config.resource_interval else {
            return Ok(());
        };
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        if sampler.is_none() {
            let telemetry = Telemetry::builder().backend(backend()?).build();
            let _masked = SignalsMasked::new();
            let started = ResourceSampler::start(telemetry, interval);
            *sampler = Some(started.map_err(|error| PyOSError::new_err(error.to_string()))?);
        }
        Ok(())
    }
}

/// Lines for the samples of a process whose other events are lines, too. They are written by a
/// thread that knows nothing of Python, so they do not take the way of the others.
fn stderr_backend(settings: &Settings) -> PyResult<Arc<dyn Backend>> {
    let clock = Arc::new(SystemClock::new());
    let backend = StderrBackend::new(settings.config.recorder(), clock).map_err(invalid)?;
    Ok(Arc::new(backend))
}

/// Waits until what was emitted so far is written to the manager's socket; says whether that was done
/// in `timeout` seconds (those of `TELEMETRY_EXIT_TIMEOUT_MS` for `None`). With nobody to send to it does
/// not wait.
#[pyfunction]
#[pyo3(signature = (timeout=1.0))]
pub(crate) fn flush(py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
    guarded(py, || {
        let Some(state) = state::latest(py) else {
            return Ok(true);
        };
        let recorder = &state.incarnation.recorder;
        let timeout = timeout.map_or_else(|| exit_timeout(&state), duration);
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if py.detach(|| recorder.settle(left.min(SIGNAL_INTERVAL))) {
                return Ok(true);
            }
            py.check_signals()?;
            if left.is_zero() || !recorder.has_stream() {
                return Ok(false);
            }
        }
    })
}

/// Sends what is queued and stops serving; says whether that was done in `timeout` seconds (those of
/// `TELEMETRY_EXIT_TIMEOUT_MS` by default). Events from then on are counted as dropped. A second call
/// does nothing.
#[pyfunction]
#[pyo3(signature = (timeout=None))]
pub(crate) fn shutdown(py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
    guarded(py, || {
        let Some(state) = state::latest(py) else {
            return Ok(true);
        };
        let timeout = timeout.map_or_else(|| exit_timeout(&state), duration);
        shut(py, &state, timeout)
    })
}

/// The ledger of this process: what was emitted and what became of it.
#[pyfunction]
pub(crate) fn stats<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let state = state::latest(py);
    let snapshot = state
        .as_ref()
        .map(|state| state.incarnation.recorder.snapshot())
        .unwrap_or_default();
    let stats = PyDict::new(py);
    stats.set_item("emitted", snapshot.emitted)?;
    stats.set_item("accepted", snapshot.accepted)?;
    stats.set_item("sent", snapshot.sent)?;
    stats.set_item("delivered", snapshot.delivered)?;
    stats.set_item("queued", snapshot.queued)?;
    let dropped = PyDict::new(py);
    for (reason, count) in snapshot.dropped.iter() {
        dropped.set_item(reason.as_str(), count)?;
    }
    stats.set_item("dropped", dropped)?;
    let notes = PyDict::new(py);
    for (note, count) in snapshot.notes.iter() {
        notes.set_item(note.as_str(), count)?;
    }
    stats.set_item("notes", notes)?;
    let last_error = state
        .as_ref()
        .and_then(|state| state.incarnation.last_error().clone());
    stats.set_item("last_error", last_error)?;
    let service = state.and_then(|state| state.service());
    let (clients, closed) = service.map_or((0, 0), |service| {
        (
            service.server.clients(),
            service.server.closed_descriptors(),
        )
    });
    stats.set_item("clients", clients)?;
    stats.set_item("descriptors_closed", closed)?;
    Ok(stats)
}

/// How long the end of this process may wait.
pub(crate) fn exit_timeout(state: &State) -> Duration {
    let configured = state.incarnation.settings.config.exit_timeout;
    configured.min(MAX_TIMEOUT)
}

/// Waits until all queued events are sent, as long as there is somebody to send to.
pub(crate) fn drain(state: &State, deadline: Instant) {
    let recorder = &state.incarnation.recorder;
    while recorder.queued() > 0
        && state
            .service()
            .is_some_and(|service| service.server.clients() > 0)
    {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        recorder.wait_drained(left.min(SIGNAL_INTERVAL));
    }
}

/// Ends the recorder and the server of a state.
fn shut(py: Python<'_>, state: &State, timeout: Duration) -> PyResult<bool> {
    Ok(py.detach(|| end(state, timeout)))
}

/// Ends the recorder and the server of a state; says whether all was sent in time. Touches nothing of
/// Python.
pub(crate) fn end(state: &State, timeout: Duration) -> bool {
    let incarnation = &state.incarnation;
    if incarnation.is_inherited() {
        return true;
    }
    let _ending = incarnation
        .ending
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let service = incarnation
        .service
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let sampler = incarnation
        .sampler
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let recorder = &incarnation.recorder;
    drop(sampler);
    recorder.close();
    let in_time = service.is_none_or(|service| service.server.close(timeout));
    recorder.discard_queued(recorder.reason_at_end()) == 0 && in_time
}

/// Whether the address may be free in a moment.
fn is_in_use(error: &ServeError) -> bool {
    matches!(
        error,
        ServeError::Bind(BindError::InUse { .. } | BindError::AlreadyServed { .. })
    )
}

/// Seconds from Python; what is negative or no number is zero.
fn duration(seconds: f64) -> Duration {
    if seconds >= MAX_TIMEOUT.as_secs_f64() {
        return MAX_TIMEOUT;
    }
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
