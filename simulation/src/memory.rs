//! Where the events of a process lie: in memory that outlives it where somebody has it open, or on the heap.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use telemetry_client::region::region_file;
use telemetry_core::{
    Clock,
    emit::{Identity, Recorder, RecorderConfig},
};

/// A recorder, and what others read its memory by. Without a name for that it lies on the heap.
///
/// # Errors
///
/// What the code under test, or the system, says of it.
pub(crate) fn recorder(
    config: RecorderConfig,
    clock: Arc<dyn Clock>,
    whose: Option<Identity>,
) -> Result<(Recorder, Option<OwnedFd>), String> {
    let Some(whose) = whose else {
        let recorder = Recorder::new(config, clock).map_err(|error| error.to_string())?;
        return Ok((recorder, None));
    };
    let memory = region_file(config.layout(), whose);
    let (region, file) = memory.map_err(|error| format!("no memory file: {error}"))?;
    let recorder = Recorder::in_region(config, clock, region);
    Ok((recorder.map_err(|error| error.to_string())?, Some(file)))
}
