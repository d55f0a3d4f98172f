//! Which recorder and which backend this process uses right now.
//!
//! One word, the phase, is all that an `emit` looks at while telemetry is off. Behind it lies the
//! state: an incarnation (recorder, names of spans, what runs) and the backend. Both are made lazily,
//! at the first call that needs them, from the settings; in a forked child they are made anew and
//! the inherited ones are leaked. What is due with the first event, as the connection of a forked
//! child, is done by the calls that emit, never by those that only look.
//!
//! The state is replaced by attached threads only, and between a look at it and its replacement no
//! Python code runs: the GIL (which the module asks for) is the lock.

mod first_event;
mod peek;

use std::mem;
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::fork;
use crate::incarnation::{Due, Incarnation};
use crate::kinds::Kind;
use crate::memory::has_room;
use crate::phase::{self, Phase};
use crate::service::Service;
use crate::settings::{ForkMode, NO_MEMORY, NoRecorder, ROOM_BYTES, Settings};
use crate::sink::Sink;
use crate::warning::warn_once;

pub(crate) use first_event::{begin_due, say_rejected};
pub(crate) use peek::Look;

/// The state; made by another process, if by any, while the phase is `Unresolved`.
static STATE: ArcSwapOption<State> = ArcSwapOption::const_empty();

/// Where events go, and what is needed to get them there.
#[derive(Debug)]
pub(crate) struct State {
    /// Recorder and all that belongs to one process.
    pub(crate) incarnation: Arc<Incarnation>,
    /// Where its events go.
    pub(crate) sink: Sink,
}

impl State {
    /// What runs.
    pub(crate) fn service(&self) -> Option<Arc<Service>> {
        (!self.incarnation.is_inherited())
            .then(|| self.incarnation.service())
            .flatten()
    }

    /// Whether `service` is its own.
    pub(crate) fn runs(&self, service: &Arc<Service>) -> bool {
        self.service().is_some_and(|own| Arc::ptr_eq(&own, service))
    }
}

/// Whether an `emit` has anything to do; the whole cost of telemetry that is off.
#[inline]
pub(crate) fn is_off() -> bool {
    phase::is(Phase::Off)
}

/// The state that an event goes to, for more than a look; made if there is none. `None`: telemetry is
/// off.
pub(crate) fn held(py: Python<'_>) -> Option<Arc<State>> {
    make_ready(py);
    Look::new(py).map(|state| state.hold())
}

/// The state that an event goes to; made if there is none. `None`: telemetry is off.
pub(crate) fn current(py: Python<'_>) -> Option<Guard<Option<Arc<State>>>> {
    make_ready(py);
    if is_off() {
        return None;
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

/// Makes the state if there is none, and does what is due before an event.
fn make_ready(py: Python<'_>) {
    if phase::is(Phase::Unresolved) {
        resolve(py);
    }
    if phase::is(Phase::Due) {
        begin_due(py);
    }
}

/// The state of this process, whatever its backend is, made if there is none; for calls that only look,
/// or change it. `None`: there never was a backend.
pub(crate) fn latest(py: Python<'_>) -> Option<Arc<State>> {
    if phase::is(Phase::Unresolved) {
        resolve(py);
    }
    own()
}

/// The state of this process as it is, whatever its backend is; nothing is made.
pub(crate) fn own() -> Option<Arc<State>> {
    if phase::is(Phase::Unresolved) {
        return None;
    }
    let state = STATE.load_full()?;
    if state.incarnation.is_inherited() {
        // A child that is off has none of its own.
        mem::forget(state);
        return None;
    }
    Some(state)
}

/// Puts a backend in place of the one before. The incarnation stays, so that the ledger goes on; it
/// is made from `settings` if there is none.
pub(crate) fn set_sink(py: Python<'_>, sink: Sink, settings: &Settings) -> Result<(), NoRecorder> {
    let incarnation = match latest(py) {
        Some(state) => {
            if state.service().is_none() {
                state.incarnation.set_settings(settings.clone());
            }
            Arc::clone(&state.incarnation)
        }
        None => Arc::new(Incarnation::new(settings.clone())?),
    };
    install(State { incarnation, sink });
    Ok(())
}

/// Puts the queue in force because something is about to be started; returns what is to be started for.
/// Where events only waited to see what comes, `settings` are those of now, the queue and its bounds those
/// of the first event. One that was ended is made anew, and only its ledger goes on.
pub(crate) fn settle_queue(
    py: Python<'_>,
    settings: &Settings,
) -> Result<Arc<Incarnation>, NoRecorder> {
    let before = latest(py);
    // A composite that has the queue as a part goes on as it is.
    let sink = match &before {
        Some(state) if matches!(&state.sink, Sink::Object(_)) && state.sink.has_queue() => {
            state.sink.again(py)
        }
        _ => Sink::Queue,
    };
    let incarnation = match before {
        Some(state) if state.incarnation.recorder.is_closed() => {
            Arc::new(state.incarnation.successor(settings.clone())?)
        }
        Some(state) if matches!(state.sink, Sink::Waiting) => {
            Arc::new(state.incarnation.settled(settings.clone()))
        }
        Some(state) => Arc::clone(&state.incarnation),
        None => Arc::new(Incarnation::new(settings.clone())?),
    };
    // Whoever starts something by name need not wait for an event.
    let _done_now = incarnation.take_due();
    install(State {
        incarnation: Arc::clone(&incarnation),
        sink,
    });
    Ok(incarnation)
}

/// Turns telemetry off. The incarnation stays, if there is one.
pub(crate) fn turn_off(py: Python<'_>) {
    // No need to make what is not wanted.
    if phase::is(Phase::Unresolved) && STATE.load().is_none() {
        phase::set(Phase::Off);
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
        None => phase::set(Phase::Off),
    }
}

/// Makes the state: in a forked child like the parent's, otherwise as the environment says.
#[cold]
fn resolve(py: Python<'_>) {
    let inherited = STATE.load_full();
    let state = match inherited.as_deref() {
        Some(parent) => {
            fork::settle();
            in_child(py, parent)
        }
        None if !has_room(ROOM_BYTES) => return say_no_memory(py),
        None => match from_settings(py, Settings::read_silently(py)) {
            Ok(state) => state,
            // There is nothing yet, and the next call tries again.
            Err(()) => return say_no_memory(py),
        },
    };
    // Another thread may have been here while an import let it run.
    if phase::is(Phase::Unresolved) {
        match state {
            Some(state) => install(state),
            None => phase::set(Phase::Off),
        }
    }
    // What was inherited must not be dropped here, not even if this is the last reference.
    mem::forget(inherited);
}

/// Says that there is no memory for a queue.
fn say_no_memory(py: Python<'_>) {
    warn_once(py, &format!("{NO_MEMORY}: events are not recorded"));
}

/// Makes `state` the one in force. The one before is dropped, which may run Python code, or leaked
/// if it is another process's.
fn install(state: State) {
    let phase = match state.sink {
        Sink::Nothing => Phase::Off,
        _ if state.sink.has_queue() && state.incarnation.is_due() => Phase::Due,
        _ => Phase::On,
    };
    let state = Arc::new(state);
    peek::show(&state);
    let before = STATE.swap(Some(state));
    phase::set(phase);
    match before {
        Some(before) if before.incarnation.is_inherited() => mem::forget(before),
        Some(before) => peek::retire(before),
        None => {}
    }
}

/// The state that the environment asks for; `None` if it asks for no telemetry. If it says nothing,
/// events wait for what the program says. An error: there is no memory for it.
fn from_settings(py: Python<'_>, settings: Settings) -> Result<Option<State>, ()> {
    let sink = match &settings.backend {
        None => Sink::Waiting,
        Some(kinds) => match Sink::of_kinds(py, kinds, false) {
            Ok(sink) => sink,
            Err(error) if error.is_instance_of::<PyMemoryError>(py) => return Err(()),
            Err(_cannot_be_had) => return Ok(None),
        },
    };
    if matches!(sink, Sink::Nothing) {
        return Ok(None);
    }
    let is_forgotten = settings.wants(Kind::Connect) && first_event::is_pool_child(py);
    let incarnation = match Incarnation::new(settings) {
        Ok(incarnation) => incarnation,
        Err(NoRecorder::Memory) => return Err(()),
        Err(NoRecorder::Policy(_said)) => return Ok(None),
    };
    if is_forgotten {
        incarnation.set_due(Due::SayNotStarted);
    }
    Ok(Some(State {
        incarnation: Arc::new(incarnation),
        sink,
    }))
}

/// The child's counterpart of its parent's state.
fn in_child(py: Python<'_>, parent: &State) -> Option<State> {
    if parent.incarnation.settings().on_fork == ForkMode::Disable {
        return None;
    }
    if matches!(parent.sink, Sink::Nothing) {
        return None;
    }
    let sink = parent.sink.again(py);
    Some(State {
        incarnation: Arc::new(parent.incarnation.for_child().ok()?),
        sink,
    })
}
