//! What waits for the first event of a process, or the next one: the connection of a forked child, or a word
//! to people.
//!
//! Nothing of it happens in a fork hook, and none of it raises: a start that fails leaves events in their
//! queue, as if nothing had been started.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::own;
use crate::calls;
use crate::incarnation::{Due, Incarnation};
use crate::phase::{self, Phase};
use crate::service::{Ask, Service};
use crate::warning::warn_once;

/// Does what is due, if anything is. Events of other threads go into the queue meanwhile.
#[cold]
pub(crate) fn begin_due(py: Python<'_>) {
    phase::advance(Phase::Due, Phase::On);
    let Some(state) = own() else { return };
    let incarnation = &state.incarnation;
    say_rejected(py, incarnation.service().as_deref());
    let Some(due) = incarnation.take_due() else {
        return;
    };
    if incarnation.recorder.is_closed() {
        return;
    }
    match due {
        Due::Start(ask) => start(py, incarnation, &ask),
        Due::SayInherited => warn_once(
            py,
            "this process is a fork of one that serves, and has nobody to send events to; they wait, and \
             are dropped as fork_inherited at its end; set TELEMETRY_MANAGER, or call telemetry.serve() in \
             the child",
        ),
        Due::SayNotStarted => warn_once(
            py,
            "TELEMETRY_MANAGER is set, but this child process has not called telemetry.start(); its events \
             wait, and are dropped as not_started at its end; call it where the module is imported, not \
             under `if __name__ == \"__main__\"`",
        ),
    }
}

/// Says which events the manager does not take, each once.
pub(crate) fn say_rejected(py: Python<'_>, service: Option<&Service>) {
    for name in service.iter().flat_map(|service| service.rejected()) {
        warn_once(py, &name.to_string());
    }
}

/// Starts in a forked child what its parent has.
fn start(py: Python<'_>, incarnation: &Arc<Incarnation>, ask: &Ask) {
    let Some(_starting) = incarnation.claim() else {
        return;
    };
    let settings = incarnation.settings();
    let config = &settings.config;
    let source = incarnation.source(py, ask);
    let started = py.detach(|| Service::start(ask, config, source, None, Duration::ZERO));
    match started {
        Ok(service) => incarnation.keep(Arc::new(service), ask.clone()),
        Err(error) => {
            return warn_once(py, &format!("nothing is started in this child: {error}"));
        }
    }
    let recorder = Arc::clone(&incarnation.recorder);
    let _without_samples = incarnation.sample(recorder);
    let _without_hook = register_exit_hook(py);
}

/// Has the end of this process wait for its events.
fn register_exit_hook(py: Python<'_>) -> PyResult<()> {
    let register = py.import("telemetry_py._lifecycle")?.getattr("register")?;
    calls::call(&register, &PyTuple::empty(py))?;
    Ok(())
}

/// Whether `multiprocessing` started this process and has told it so.
pub(super) fn is_pool_child(py: Python<'_>) -> bool {
    let parent = || -> PyResult<bool> {
        let modules = py
            .import("sys")?
            .getattr("modules")?
            .cast_into::<PyDict>()?;
        let Some(module) = modules.get_item("multiprocessing.process")? else {
            return Ok(false);
        };
        let parent = calls::call(&module.getattr("parent_process")?, &PyTuple::empty(py))?;
        Ok(!parent.is_none())
    };
    parent().unwrap_or(false)
}
