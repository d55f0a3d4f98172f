//! Which recorder and which backend this process uses right now.
//!
//! One word, the phase, is all that an `emit` looks at while telemetry is off. Behind it lies the
//! state: an incarnation (recorder, names of spans, server) and the backend. Both are made lazily,
//! at the first call that needs them, from the settings; in a forked child they are made anew and
//! the inherited ones are leaked.
//!
//! The state is replaced by attached threads only, and between a look at it and its replacement no
//! Python code runs: the GIL (which the module asks for) is the lock.

mod peek;

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;
use telemetry_client::ResourceSampler;
use telemetry_core::{Address, Callsite, ControlError, NameError, Recorder, Redactor};

use crate::fork;
use crate::identity::ByIdentity;
use crate::serve;
use crate::service::Service;
use crate::settings::{self, ForkMode, Settings};

pub(crate) use peek::Look;

/// Operations whose three event names are kept resolved; more are resolved for each span.
const MAX_SPAN_SITES: usize = 1_024;

/// Nothing is known: the state has to be made, at first or after a fork.
const UNRESOLVED: u8 = 0;
/// There is no backend.
const OFF: u8 = 1;
/// There is a backend, or nothing is known that speaks against one.
const ON: u8 = 2;

/// One of the three above.
static PHASE: AtomicU8 = AtomicU8::new(UNRESOLVED);

/// The state; made by another process, if by any, while the phase is `UNRESOLVED`.
static STATE: ArcSwapOption<State> = ArcSwapOption::const_empty();

/// Where events go, and what is needed to get them there.
#[derive(Debug)]
pub(crate) struct State {
    /// Recorder and all that belongs to one process.
    pub(crate) incarnation: Arc<Incarnation>,
    /// Where its events go.
    pub(crate) sink: Sink,
}

/// Where events go.
pub(crate) enum Sink {
    /// Nowhere.
    Nothing,
    /// Into the recorder's queue.
    Queue,
    /// Into the queue as well, for the case that something is started later: nothing was asked for.
    Waiting,
    /// To an object with a method `emit`.
    Object {
        /// The object.
        backend: Py<PyAny>,
        /// Its bound method.
        emit: Py<PyAny>,
    },
}

impl Sink {
    /// An object with a method `emit(event, measurements, metadata, correlation_id)`.
    pub(crate) fn object(backend: &Bound<'_, PyAny>) -> PyResult<Self> {
        let emit = backend.getattr("emit")?;
        if !emit.is_callable() {
            return Err(PyTypeError::new_err(
                "the backend's `emit` cannot be called",
            ));
        }
        Ok(Self::Object {
            backend: backend.clone().unbind(),
            emit: emit.unbind(),
        })
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Queue => "Queue",
            Self::Waiting => "Waiting",
            Self::Object { .. } => "Object",
        })
    }
}

/// What one process has and a forked child must not touch.
#[derive(Debug)]
pub(crate) struct Incarnation {
    /// [`fork::generation`] of the process it belongs to.
    generation: u64,
    /// How it was set up; a child is set up in the same way.
    pub(crate) settings: Settings,
    /// Queue, policy and ledger.
    pub(crate) recorder: Arc<Recorder>,
    /// Which values are hidden from backends that are Python objects; the recorder has its own.
    pub(crate) redactor: Redactor,
    /// Callsites by the objects that name them.
    pub(crate) callsites: ByIdentity<Arc<Callsite>>,
    /// Events of spans by the objects that name their operations.
    pub(crate) operations: ByIdentity<Arc<SpanSites>>,
    /// The resolved names of spans.
    span_sites: Mutex<FxHashMap<Box<str>, Arc<SpanSites>>>,
    /// What runs.
    pub(crate) service: Mutex<Option<Arc<Service>>>,
    /// Held by the thread that ends it: a second one waits, or it would take from the first what is
    /// still to be sent.
    pub(crate) ending: Mutex<()>,
    /// Whether a thread is about to start that.
    pub(crate) starting: AtomicBool,
    /// Samples memory and CPU, if it should.
    pub(crate) sampler: Mutex<Option<ResourceSampler>>,
    /// The last exception of a backend, as one line.
    last_error: Mutex<Option<String>>,
    /// Where it was asked to serve; set once and then only read, as in a child.
    pub(crate) served: OnceLock<Address>,
}

/// The events of a span.
#[derive(Debug)]
pub(crate) struct SpanSites {
    /// `{operation}.start`
    pub(crate) start: Arc<Callsite>,
    /// `{operation}.stop`
    pub(crate) stop: Arc<Callsite>,
    /// `{operation}.exception`
    pub(crate) exception: Arc<Callsite>,
}

impl Incarnation {
    /// An incarnation for this process.
    pub(crate) fn new(settings: Settings) -> Result<Self, ControlError> {
        let recorder = settings.recorder()?;
        recorder.set_started(false);
        Ok(Self::around(Arc::new(recorder), settings))
    }

    /// An incarnation with a recorder of this process.
    fn around(recorder: Arc<Recorder>, settings: Settings) -> Self {
        fork::watch();
        Self {
            generation: fork::generation(),
            recorder,
            settings,
            redactor: Redactor::default(),
            callsites: ByIdentity::default(),
            operations: ByIdentity::default(),
            span_sites: Mutex::default(),
            service: Mutex::default(),
            ending: Mutex::default(),
            starting: AtomicBool::new(false),
            sampler: Mutex::default(),
            last_error: Mutex::default(),
            served: OnceLock::new(),
        }
    }

    /// Keeps what a backend raised.
    pub(crate) fn note_error(&self, text: String) {
        *self.last_error() = Some(text);
    }

    /// The last exception of a backend. No Python code may run while it is held.
    pub(crate) fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it belongs to an ancestor of this process; then only its settings may be read.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// The events of a span; a name that breaks the rules is counted.
    pub(crate) fn span_sites(&self, operation: &str) -> Result<Arc<SpanSites>, NameError> {
        let mut known = self
            .span_sites
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(sites) = known.get(operation) {
            return Ok(Arc::clone(sites));
        }
        let resolve = |end: &str| self.recorder.callsite(&format!("{operation}.{end}"));
        let sites = Arc::new(SpanSites {
            start: resolve("start")?,
            stop: resolve("stop")?,
            exception: resolve("exception")?,
        });
        if known.len() < MAX_SPAN_SITES {
            known.insert(operation.into(), Arc::clone(&sites));
        }
        Ok(sites)
    }
}

/// Whether an `emit` has anything to do; the whole cost of telemetry that is off.
pub(crate) fn is_off() -> bool {
    PHASE.load(Ordering::Relaxed) == OFF
}

/// Whether the state in force is made and has a backend.
fn is_on() -> bool {
    PHASE.load(Ordering::Relaxed) == ON
}

/// The state of this process for more than a look; made if there is none. `None`: telemetry is off.
pub(crate) fn held(py: Python<'_>) -> Option<Arc<State>> {
    if PHASE.load(Ordering::Relaxed) == UNRESOLVED {
        resolve(py);
    }
    Look::new(py).map(|state| state.hold())
}

/// The state of this process; made if there is none. `None`: telemetry is off.
pub(crate) fn current(py: Python<'_>) -> Option<Guard<Option<Arc<State>>>> {
    match PHASE.load(Ordering::Relaxed) {
        ON => {}
        OFF => return None,
        _ => resolve(py),
    }
    let state = STATE.load();
    match state.as_deref() {
        None
        | Some(State {
            sink: Sink::Nothing,
            ..
        }) => None,
        Some(_) => Some(state),
    }
}

/// The state of this process, whatever its backend is. `None`: there never was a backend.
pub(crate) fn latest(py: Python<'_>) -> Option<Arc<State>> {
    if PHASE.load(Ordering::Relaxed) == UNRESOLVED {
        resolve(py);
    }
    let state = STATE.load_full();
    match &state {
        // A child that is off has none of its own.
        Some(inherited) if inherited.incarnation.is_inherited() => {
            mem::forget(state);
            None
        }
        _ => state,
    }
}

/// The state of this process as it is, whatever its backend is; nothing is made.
pub(crate) fn own() -> Option<Arc<State>> {
    if PHASE.load(Ordering::Relaxed) == UNRESOLVED {
        return None;
    }
    let state = STATE.load_full()?;
    if state.incarnation.is_inherited() {
        mem::forget(state);
        return None;
    }
    Some(state)
}

/// Puts a backend in place of the one before. The incarnation stays, so that the ledger goes on; it
/// is made from `settings` if there is none.
pub(crate) fn set_sink(
    py: Python<'_>,
    sink: Sink,
    settings: &Settings,
) -> Result<(), ControlError> {
    let incarnation = match latest(py) {
        Some(state) => Arc::clone(&state.incarnation),
        None => Arc::new(Incarnation::new(settings.clone())?),
    };
    install(State { incarnation, sink });
    Ok(())
}

/// Puts the queue in force for good where it only waited to see what comes: `settings` are those of
/// now, the queue and its bounds those of the first event.
pub(crate) fn settle_queue(waiting: &State, settings: Settings) -> Arc<Incarnation> {
    let recorder = Arc::clone(&waiting.incarnation.recorder);
    let incarnation = Arc::new(Incarnation::around(recorder, settings));
    install(State {
        incarnation: Arc::clone(&incarnation),
        sink: Sink::Queue,
    });
    incarnation
}

/// Turns telemetry off. The incarnation stays, if there is one.
pub(crate) fn turn_off(py: Python<'_>) {
    // No need to make what is not wanted.
    if PHASE.load(Ordering::Relaxed) == UNRESOLVED && STATE.load().is_none() {
        PHASE.store(OFF, Ordering::Relaxed);
        return;
    }
    match latest(py) {
        Some(state) => {
            let incarnation = Arc::clone(&state.incarnation);
            install(State {
                incarnation,
                sink: Sink::Nothing,
            });
        }
        None => PHASE.store(OFF, Ordering::Relaxed),
    }
}

/// Replaces incarnation and backend, as when serving starts anew with other settings.
pub(crate) fn renew(sink: Sink, settings: Settings) -> Result<Arc<Incarnation>, ControlError> {
    let incarnation = Arc::new(Incarnation::new(settings)?);
    install(State {
        incarnation: Arc::clone(&incarnation),
        sink,
    });
    Ok(incarnation)
}

/// Runs in a forked child between fork and exec: forgets the state, touches nothing.
pub(crate) fn disown() {
    PHASE.store(UNRESOLVED, Ordering::Relaxed);
}

/// Makes the state: in a forked child like the parent's, otherwise as the environment says. Wrong
/// settings leave telemetry off; `serve` is where they are reported.
#[cold]
fn resolve(py: Python<'_>) {
    let inherited = STATE.load_full();
    let state = match inherited.as_deref() {
        Some(parent) => {
            fork::settle();
            in_child(py, parent)
        }
        None => Settings::from_env()
            .ok()
            .and_then(|settings| from_settings(py, settings)),
    };
    // Another thread may have been here while an import let it run.
    if PHASE.load(Ordering::Relaxed) != UNRESOLVED {
        return;
    }
    match state {
        Some(state) => {
            let again = inherited
                .as_deref()
                .and_then(|parent| parent.address_in_child());
            install(state);
            if let Some(address) = again {
                serve::restart(py, &address);
            }
        }
        None => PHASE.store(OFF, Ordering::Relaxed),
    }
    // What was inherited must not be dropped here, not even if this is the last reference.
    mem::forget(inherited);
}

impl State {
    /// Where a child is to serve by itself, if it is.
    fn address_in_child(&self) -> Option<Address> {
        if self.incarnation.settings.on_fork != ForkMode::Restart {
            return None;
        }
        Some(match self.incarnation.served.get()? {
            Address::Tcp(address) => Address::Tcp((address.ip(), 0).into()),
            Address::Unix(path) => {
                let mut path = path.clone().into_os_string();
                path.push(format!(".{}", std::process::id()));
                Address::Unix(path.into())
            }
        })
    }
}

/// Makes `state` the one in force. The one before is dropped, which may run Python code, or leaked
/// if it is another process's.
fn install(state: State) {
    let phase = if matches!(state.sink, Sink::Nothing) {
        OFF
    } else {
        ON
    };
    let state = Arc::new(state);
    peek::show(&state);
    let before = STATE.swap(Some(state));
    PHASE.store(phase, Ordering::Relaxed);
    match before {
        Some(before) if before.incarnation.is_inherited() => mem::forget(before),
        Some(before) => peek::retire(before),
        None => {}
    }
}

/// The state that the environment asks for; `None` if it asks for no telemetry. If it says nothing,
/// events wait for what the program says.
fn from_settings(py: Python<'_>, settings: Settings) -> Option<State> {
    let sink = match settings.backend {
        None => Sink::Waiting,
        Some(kind) => settings::sink(py, kind).ok()?,
    };
    if matches!(sink, Sink::Nothing) {
        return None;
    }
    Some(State {
        incarnation: Arc::new(Incarnation::new(settings).ok()?),
        sink,
    })
}

/// The child's counterpart of its parent's state.
fn in_child(py: Python<'_>, parent: &State) -> Option<State> {
    let settings = parent.incarnation.settings.clone();
    let sink = match (settings.on_fork, &parent.sink) {
        (ForkMode::Disable, _) | (_, Sink::Nothing) => return None,
        (_, Sink::Queue) => Sink::Queue,
        (_, Sink::Waiting) => Sink::Waiting,
        (_, Sink::Object { backend, emit }) => Sink::Object {
            backend: backend.clone_ref(py),
            emit: emit.clone_ref(py),
        },
    };
    Some(State {
        incarnation: Arc::new(Incarnation::new(settings).ok()?),
        sink,
    })
}
