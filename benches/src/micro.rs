//! The cost of single steps: emit in its forms, encode, decode.

mod wire;
mod worker;

use std::thread::available_parallelism;

use crate::measure::{Effort, compare};
use crate::table::Report;

/// Runs all of them.
pub(crate) fn run(effort: Effort) -> Report {
    let control = compare(
        "control: kept emit against itself",
        effort,
        None,
        &mut worker::kept_emit(0),
        &mut worker::kept_emit(0),
    );
    let rows = vec![
        compare(
            "T1 disabled emit / disabled tracing event",
            effort,
            Some(1.0),
            &mut worker::disabled_emit(),
            &mut worker::disabled_tracing(),
        ),
        compare(
            "T2 kept emit / prost build, encode, queue",
            effort,
            Some(6.0),
            &mut worker::kept_emit(0),
            &mut worker::naive_emit(),
        ),
        compare(
            "T3 kept emit, 1,000 globs / no glob",
            effort,
            Some(1.0 / 1.05),
            &mut worker::kept_emit(1_000),
            &mut worker::kept_emit(0),
        ),
        compare(
            "T8 decode / prost decode",
            effort,
            Some(4.0),
            &mut wire::decode(),
            &mut wire::prost_decode(),
        ),
    ];
    Report {
        cores: available_parallelism().map_or(1, usize::from),
        control,
        rows,
    }
}
