//! What can be counted instead of timed: allocations, system calls, instructions. Exact on any
//! machine.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;

use crate::measure::{BATCH, Batches, COUNTED_FUNCTION, allocations_per_run};
use crate::peers::{Naive, OtelSpan};
use crate::report::{Bound, Row, Spread};

use super::ours::{Kept, Spans, Worker};
use super::wire::{Process, ProstDecode};

/// Batches whose instructions are counted; as many again go before them, to warm up.
const INSTRUCTION_BATCHES: usize = 16;
/// Batches of a process whose system calls are counted: about 100,000 runs, as it runs each twice.
const SYSTEM_CALL_BATCHES: usize = 96;

/// How often system calls are counted; the lowest count is the one of our own.
const ATTEMPTS: usize = 2;

/// All counts.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = allocations();
    rows.extend(system_calls());
    let mut counted = BTreeMap::new();
    let disabled = instructions(
        &mut counted,
        "disabled emit, its loop included",
        "disabled-emit",
        "disabled-tracing",
        |row, ours, theirs| row.gain(alone(theirs / ours)),
    );
    // A batch of 512 begins with a few instructions of its own.
    rows.push(
        disabled
            .target("T1")
            .floor(Bound::ratio_at_least(0.99))
            .moonshot(Bound::ratio_at_least(2.0)),
    );
    let gains = [
        ("kept emit", "kept-emit", "naive-emit"),
        ("kept emit", "kept-emit", "otel-span"),
        ("span", "span", "otel-span"),
        ("decode, validate, enrich", "process", "prost-decode"),
        ("decode", "decode", "prost-decode"),
    ];
    rows.extend(gains.map(|(bench, ours, peer)| {
        instructions(&mut counted, bench, ours, peer, |row, ours, theirs| {
            row.gain(alone(theirs / ours))
        })
    }));
    let globs = instructions(
        &mut counted,
        "kept emit, 1,000 globs",
        "kept-emit-under-globs",
        "kept-emit",
        |row, ours, theirs| row.price(alone(ours / theirs)),
    );
    rows.push(
        globs
            .target("T3")
            .floor(Bound::ratio_at_most(1.05))
            .moonshot(Bound::ratio_at_most(1.005)),
    );
    let ruled = [
        (
            "kept emit, 256 rules with 1,024 globs",
            "kept-emit-under-rules",
        ),
        ("kept emit, under a limit", "limited-emit"),
    ];
    rows.extend(ruled.map(|(bench, ours)| {
        instructions(
            &mut counted,
            bench,
            ours,
            "kept-emit",
            |row, ours, theirs| row.price(alone(ours / theirs)),
        )
    }));
    rows
}

/// A ratio that is the same however often it is measured.
fn alone(ratio: f64) -> Spread {
    Spread {
        median: ratio,
        min: ratio,
        max: ratio,
    }
}

fn allocations() -> Vec<Row> {
    let row = |bench: &str, ours: &mut dyn Batches, name: &str, peer: &mut dyn Batches| {
        Row::new(format!("allocations per {bench}"))
            .ours(allocations_per_run(ours), "allocations")
            .peer(name, allocations_per_run(peer), "allocations")
            .exact()
    };
    let mut kept = Kept::new(Worker::new());
    vec![
        row("kept emit", &mut kept, "prost and queue", &mut Naive::new())
            .target("T2")
            .moonshot(Bound::value_at_most(0.0)),
        row(
            "kept emit in a span",
            &mut Kept::in_span(Worker::new()),
            "prost and queue",
            &mut Naive::new(),
        )
        .target("T2")
        .moonshot(Bound::value_at_most(0.0)),
        row(
            "span",
            &mut Spans::new(),
            "opentelemetry span",
            &mut OtelSpan::new(),
        ),
        row(
            "decoded, validated, enriched event",
            &mut Process::new(),
            "prost decode",
            &mut ProstDecode::new(),
        )
        .target("T8")
        .floor(Bound::value_at_most(0.0)),
    ]
}

/// System calls of one kept emit and of one drain.
///
/// A process that emits half as often between the same number of drains tells the two apart.
fn system_calls() -> Vec<Row> {
    let (emit, drain) = ("system calls per kept emit", "system calls per drain");
    // A call of the allocator for its own sake comes at another time in every process.
    let counted = (0..ATTEMPTS).map(|_| count_system_calls());
    let least = counted.min_by(|a, b| {
        let per_emit = |counts: &Result<(f64, f64), String>| counts.as_ref().map_or(-1.0, |c| c.0);
        per_emit(a).total_cmp(&per_emit(b))
    });
    match least.unwrap_or_else(|| Err("not counted".to_owned())) {
        Ok((per_emit, per_drain)) => vec![
            Row::new(emit)
                .ours(per_emit, "syscalls")
                .exact()
                .target("T2")
                .floor(Bound::value_at_most(0.0)),
            Row::new(drain)
                .ours(per_drain, "syscalls")
                .exact()
                .note("no stream is attached; writing to the socket is not counted"),
        ],
        Err(reason) => vec![Row::skipped(emit, reason).target("T2")],
    }
}

/// Per emit and per drain.
fn count_system_calls() -> Result<(f64, f64), String> {
    let runs = SYSTEM_CALL_BATCHES * BATCH;
    let whole = calls("kept-emit", runs)?;
    let half_as_many = calls("kept-emit-in-half-batches", runs / 2)?;
    let twice = calls("kept-emit", 2 * runs)?;
    // Every process does its runs twice.
    let per_emit = (whole - half_as_many).max(0.0) / runs as f64;
    let per_drain = (twice - whole) / (2 * SYSTEM_CALL_BATCHES) as f64;
    Ok((per_emit, per_drain))
}

/// Every system call of a process.
fn calls(work: &str, runs: usize) -> Result<f64, String> {
    let mut strace = Command::new("strace");
    // A line for each call.
    strace.args(["-f", "-qq", "-e", "signal=none", "-o", "/dev/stderr"]);
    let trace = watch(strace, work, runs)?;
    Ok(trace.lines().count() as f64)
}

/// Instructions of one run of ours beside one of a peer's, related as `relate` says.
fn instructions(
    counted: &mut BTreeMap<&'static str, Result<f64, String>>,
    bench: &str,
    ours: &'static str,
    peer: &'static str,
    relate: impl FnOnce(Row, f64, f64) -> Row,
) -> Row {
    let bench = format!("instructions per {bench}");
    // Some are in several rows, and each takes seconds.
    let mut of = |work| {
        counted
            .entry(work)
            .or_insert_with(|| instructions_of(work))
            .clone()
    };
    let both = of(ours).and_then(|ours| Ok((ours, of(peer)?)));
    match both {
        Ok((ours, theirs)) => {
            let row = Row::new(bench)
                .ours(ours, "instructions")
                .peer(peer, theirs, "instructions")
                .exact();
            relate(row, ours, theirs)
        }
        Err(reason) => Row::skipped(bench, reason),
    }
}

fn instructions_of(work: &str) -> Result<f64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{COUNTED_FUNCTION}*"));
    let runs = INSTRUCTION_BATCHES * BATCH;
    let said = watch(valgrind, work, runs)?;
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let count = collected.and_then(|(_, count)| count.trim().parse::<f64>().ok());
    count
        .map(|count| count / runs as f64)
        .ok_or_else(|| "callgrind printed no count".to_owned())
}

/// Runs this program under `tool`; what the tool wrote to its standard error.
fn watch(mut tool: Command, work: &str, runs: usize) -> Result<String, String> {
    let name = tool.get_program().to_string_lossy().into_owned();
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = tool
        .arg(program)
        .args(["work", work, "--runs"])
        .arg(runs.to_string())
        .output()
        .map_err(|_| format!("{name} is not installed"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let last = said.lines().last().unwrap_or_default();
    Err(format!("{name} failed: {last}"))
}
