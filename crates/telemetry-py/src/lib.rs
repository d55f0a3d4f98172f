//! `telemetry_py._native`: the Python face of `telemetry-core` and `telemetry-client`.
//!
//! A skin: it turns Python values into events and calls into the crates below. Recording, policy,
//! encoding, queueing and serving live there. What is where:
//!
//! * `memory`: what happens where there is none
//! * `settings`, `configured`, `configure`, `kinds`, `warning`: what the program and its environment ask for,
//!   and what people are told
//! * `phase`, `interpreter`, `fork`, `naps`, `held`, `identity`, `past`, `sink`, `incarnation`, `state`: what belongs
//!   to this process
//! * `calls`, `fastcall`: what may run Python code, and how Python calls us
//! * `convert`, `fields`, `raised`: values, mappings and exceptions of Python
//! * `context`, `scope`, `ids`: what a task or thread works under, correlation id and span
//! * `emit`, `span`, `suppress`, `awaited`, `clock`: events and spans
//! * `heartbeat`, `resources`: what Python tells of itself
//! * `service`, `start`, `serve`, `ending`, `exit`, `stats`: what runs, and the end
//! * `stream`: queues whose events a server of the program's carries
//! * `count`: what backends of Python count
//! * `backend`: which backend is in force
//!
//! Two laws hold for all of it. No thread that Rust starts ever attaches to Python. And what a
//! program calls while it runs never raises an `Exception`; only configuration is strict.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `awaited`, `calls`, `clock`, `configured`, `held`, `identity`, `ids`, `interpreter`, `kinds`, `memory`,
//!    `naps`, `past`, `phase`
//! 2. `convert`, `fork`, `warning`
//! 3. `context`, `count`, `fastcall`, `fields`, `raised`, `service`, `settings`, `sink`, `suppress`
//! 4. `incarnation`, `scope`
//! 5. `state`
//! 6. `configure`, `emit`, `ending`, `heartbeat`, `resources`, `start`, `stats`
//! 7. `backend`, `exit`, `serve`, `span`, `stream`

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

mod awaited;
mod backend;
mod calls;
mod clock;
mod configure;
mod configured;
mod context;
mod convert;
mod count;
mod emit;
mod ending;
mod exit;
mod fastcall;
mod fields;
mod fork;
mod heartbeat;
mod held;
mod identity;
mod ids;
mod incarnation;
mod interpreter;
mod kinds;
mod memory;
mod naps;
mod past;
mod phase;
mod raised;
mod resources;
mod scope;
mod serve;
mod service;
mod settings;
mod sink;
mod span;
mod start;
mod state;
mod stats;
mod stream;
mod suppress;
mod warning;

/// The native half of `telemetry_py`; use that instead.
// The state is replaced under the protection of the GIL, which a free-threaded build has to turn on.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    if !interpreter::is_main(module.py()) {
        return Err(PyImportError::new_err(
            "it works in the main interpreter only",
        ));
    }
    context::register(module)?;
    module.add_class::<scope::Scope>()?;
    module.add_class::<ids::PySpanIdentity>()?;
    suppress::register(module.py())?;
    module.add_class::<span::PySpan>()?;
    module.add_class::<serve::PyServer>()?;
    module.add_class::<stream::PyStream>()?;
    module.add_class::<stream::PyStreamCall>()?;
    module.add_class::<count::PyCount>()?;
    module.add_class::<suppress::PySuppression>()?;
    module.add_class::<naps::Naps>()?;
    fastcall::add(module, &emit::EMIT, emit::emit)?;
    fastcall::add(module, &span::SPAN, span::span)?;
    fastcall::add(module, &emit::NOOP, emit::noop)?;
    module.add_function(wrap_pyfunction!(context::new_correlation_id, module)?)?;
    module.add_function(wrap_pyfunction!(scope::abandon, module)?)?;
    module.add_function(wrap_pyfunction!(scope::correlation_id, module)?)?;
    module.add_function(wrap_pyfunction!(scope::current_span, module)?)?;
    module.add_function(wrap_pyfunction!(scope::outgoing, module)?)?;
    module.add_function(wrap_pyfunction!(scope::under, module)?)?;
    module.add_function(wrap_pyfunction!(backend::use_object, module)?)?;
    module.add_function(wrap_pyfunction!(backend::use_composite, module)?)?;
    module.add_function(wrap_pyfunction!(backend::use_queue, module)?)?;
    module.add_function(wrap_pyfunction!(backend::use_nothing, module)?)?;
    module.add_function(wrap_pyfunction!(backend::emit_queued, module)?)?;
    module.add_function(wrap_pyfunction!(backend::backend, module)?)?;
    module.add_function(wrap_pyfunction!(backend::is_enabled, module)?)?;
    module.add_function(wrap_pyfunction!(configure::configure, module)?)?;
    module.add_function(wrap_pyfunction!(configure::settings, module)?)?;
    module.add_function(wrap_pyfunction!(suppress::suppress_begin, module)?)?;
    module.add_function(wrap_pyfunction!(suppress::suppress_end, module)?)?;
    module.add_function(wrap_pyfunction!(start::start, module)?)?;
    module.add_function(wrap_pyfunction!(start::connect, module)?)?;
    module.add_function(wrap_pyfunction!(serve::serve, module)?)?;
    module.add_function(wrap_pyfunction!(ending::flush, module)?)?;
    module.add_function(wrap_pyfunction!(ending::shutdown, module)?)?;
    module.add_function(wrap_pyfunction!(heartbeat::heartbeat, module)?)?;
    module.add_function(wrap_pyfunction!(raised::redacted, module)?)?;
    module.add_function(wrap_pyfunction!(resources::sample_resources, module)?)?;
    module.add_function(wrap_pyfunction!(resources::unsample_resources, module)?)?;
    module.add_function(wrap_pyfunction!(stats::stats, module)?)?;
    module.add_function(wrap_pyfunction!(exit::flush_at_exit, module)?)?;
    module.add_function(wrap_pyfunction!(exit::end_at_exit, module)?)?;
    module.add_function(wrap_pyfunction!(exit::close_at_exit, module)?)?;
    Ok(())
}
