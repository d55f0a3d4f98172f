//! The cost of single steps: emit in its forms, decode.

mod wire;
mod worker;

use crate::environment;
use crate::measure::{Batches, Effort, Pinned, allocations_per_run, compare, control, timed};
use crate::report::{Bound, Report, Row};

/// Runs all of them.
pub(crate) fn run(effort: Effort) -> Report {
    let environment = environment::here(&["crossbeam-queue", "prost", "tracing"]);
    let _pinned = Pinned::to_last_core();
    let control = control(effort, || timed(worker::Kept::new(0)));
    let rows = vec![
        compare(
            effort,
            &mut worker::disabled_emit(),
            &mut worker::disabled_tracing(),
        )
        .row("disabled emit", "tracing, no subscriber")
        .target("T1")
        .floor(Bound::ratio_at_least(1.0))
        .moonshot(Bound::ratio_at_least(2.0)),
        compare(
            effort,
            &mut timed(worker::Kept::new(0)),
            &mut timed(worker::Naive::new()),
        )
        .row("kept emit", "prost build, encode, queue")
        .target("T2")
        .floor(Bound::ratio_at_least(6.0))
        .moonshot(Bound::ratio_at_least(12.0)),
        compare(
            effort,
            &mut timed(worker::Kept::new(1_000)),
            &mut timed(worker::Kept::new(0)),
        )
        .price_row("kept emit, 1,000 globs", "no glob")
        .target("T3")
        .floor(Bound::ratio_at_most(1.05))
        .moonshot(Bound::ratio_at_most(1.005)),
        compare(effort, &mut wire::decode(), &mut wire::prost_decode())
            .row("decode", "prost decode")
            .target("T8")
            .floor(Bound::ratio_at_least(4.0))
            .moonshot(Bound::ratio_at_least(8.0)),
        allocations(
            "kept emit",
            &mut worker::Kept::new(0),
            &mut worker::Naive::new(),
        )
        .target("T2")
        .moonshot(Bound::value_at_most(0.0)),
    ];
    Report {
        suite: "micro".to_owned(),
        quick: effort.quick,
        environment,
        control: Some(control),
        rows,
        tables: Vec::new(),
    }
}

/// How often one run of ours and one of the naive form ask the allocator for memory.
fn allocations(bench: &str, ours: &mut impl Batches, naive: &mut impl Batches) -> Row {
    Row::new(format!("allocations per {bench}"))
        .ours(allocations_per_run(ours), "allocations")
        .peer("prost", allocations_per_run(naive), "allocations")
        .exact()
        .note("after a warm-up; the drain is not counted")
}
