//! Samples of memory and processor time on request of the program.

use std::time::Duration;

use pyo3::prelude::*;
use telemetry_client::Sampling;

use crate::convert::guarded;
use crate::sink::Sink;
use crate::state;
use crate::warning::warn_once;

/// Has memory and processor time sampled every `interval` seconds, in this process and those that are
/// forked from it, from when something runs. False where that cannot be done here: events go to a Python
/// object, which no thread of ours may call.
#[pyfunction]
pub(crate) fn sample_resources(
    py: Python<'_>,
    interval: f64,
    memory: bool,
    cpu: bool,
) -> PyResult<bool> {
    guarded(py, || {
        let mut sampling = Sampling::default();
        sampling.interval = Duration::try_from_secs_f64(interval).unwrap_or(Duration::MAX);
        sampling.memory = memory;
        sampling.cpu = cpu;
        let Some(state) = state::latest(py) else {
            return Ok(true);
        };
        if !matches!(state.sink, Sink::Queue | Sink::Waiting) {
            return Ok(matches!(state.sink, Sink::Nothing));
        }
        if let Err(error) = state.incarnation.resample(Some(sampling)) {
            warn_once(py, &error.to_string());
        }
        Ok(true)
    })
}

/// Goes back to what the environment says of samples.
#[pyfunction]
pub(crate) fn unsample_resources(py: Python<'_>) -> PyResult<()> {
    guarded(py, || {
        if let Some(state) = state::own()
            && let Err(error) = state.incarnation.resample(None)
        {
            warn_once(py, &error.to_string());
        }
        Ok(())
    })
}
