//! What is on the board: text made from figures, nothing else.

use telemetry_server::{Totals, pool::PoolStatus, stream::StreamInfo};

use crate::figures::{Collected, Tool};
use crate::stage::Stage;

/// Errors shown by type; the rarer ones are summed up.
const MAX_ERRORS: usize = 5;

/// The whole board.
pub(crate) fn board(stage: &Stage, rate: f64) -> Vec<String> {
    let totals = stage.manager.totals();
    let figures = stage.figures.read();
    let mut lines = vec![
        format!(
            "{:5.1}s  {rate:>7.0} events/s  {:>9} events  ledger difference {}",
            stage.seconds(),
            figures.events,
            totals.ledger_difference
        ),
        String::new(),
    ];
    lines.extend(workers(
        &stage.manager.list_streams(),
        &stage.pool.status(),
        &figures,
    ));
    lines.push(String::new());
    lines.extend(tools(&figures));
    lines.push(String::new());
    lines.push(format!("errors  {}", errors(&figures)));
    lines.push(format!("drops   {}", drops(&totals)));
    lines
}

/// The board as one line, for output that is no terminal.
pub(crate) fn line(stage: &Stage, rate: f64) -> String {
    let totals = stage.manager.totals();
    let figures = stage.figures.read();
    format!(
        "{:5.1}s  {}/{} streaming  {rate:.0} events/s  errors: {}  drops: {}  ledger difference {}",
        stage.seconds(),
        totals.streaming,
        totals.workers,
        errors(&figures),
        drops(&totals),
        totals.ledger_difference
    )
}

/// A row per worker.
fn workers(streams: &[StreamInfo], pool: &PoolStatus, figures: &Collected) -> Vec<String> {
    let header = format!(
        "{:<10} {:<11} {:>8} {:>8} {:>10} {:>8} {:>7} {:>7} {:>9}",
        "worker", "state", "pid", "restarts", "events", "MiB", "cpu %", "policy", "in queue"
    );
    let row = |info: &StreamInfo| {
        let restarts = pool
            .workers
            .iter()
            .find(|worker| worker.worker_id == info.worker_id.as_str());
        let sampled = figures.workers.get(info.worker_id.as_str());
        format!(
            "{:<10} {:<11} {:>8} {:>8} {:>10} {:>8.1} {:>7.1} {:>7} {:>9}",
            info.worker_id.as_str(),
            info.state.as_str(),
            info.pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            restarts.map_or(0, |worker| worker.restarts),
            info.ledger.dispatched,
            sampled.map_or(0.0, |worker| worker.rss_bytes as f64 / f64::from(1 << 20)),
            sampled.map_or(0.0, |worker| worker.cpu_percent),
            format!("{}/{}", info.applied_revision, info.policy_revision),
            info.report.as_ref().map_or(0, |report| report.queued),
        )
    };
    std::iter::once(header)
        .chain(streams.iter().map(row))
        .collect()
}

/// A row per tool.
pub(crate) fn tools(figures: &Collected) -> Vec<String> {
    let header = format!(
        "{:<12} {:>9} {:>9} {:>11} {:>11} {:>11}",
        "tool", "calls", "failed", "p50", "p95", "p99"
    );
    let row = |(name, tool): (&String, &Tool)| {
        let quantile = |q| milliseconds(tool.durations.value_at_quantile(q));
        format!(
            "{name:<12} {:>9} {:>9} {:>11} {:>11} {:>11}",
            tool.durations.len() + tool.failures,
            tool.failures,
            quantile(0.5),
            quantile(0.95),
            quantile(0.99)
        )
    };
    std::iter::once(header)
        .chain(figures.tools.iter().map(row))
        .collect()
}

/// Nanoseconds as milliseconds.
fn milliseconds(nanos: u64) -> String {
    format!("{:.3} ms", nanos as f64 / 1e6)
}

/// The most frequent errors.
pub(crate) fn errors(figures: &Collected) -> String {
    let mut errors: Vec<_> = figures.errors.iter().collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut shown: Vec<_> = errors
        .iter()
        .take(MAX_ERRORS)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let rest: u64 = errors
        .iter()
        .skip(MAX_ERRORS)
        .map(|(_, count)| **count)
        .sum();
    if rest > 0 {
        shown.push(format!("others {rest}"));
    }
    or_none(&shown)
}

/// Every reason under which events were dropped.
pub(crate) fn drops(totals: &Totals) -> String {
    let at_worker = totals.reported.dropped.iter();
    let at_manager = totals.ledger.rejected.iter();
    let mut shown: Vec<_> = at_worker
        .chain(at_manager)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    for (name, count) in [
        ("gap", totals.ledger.gaps),
        ("lost_at_crash", totals.lost_at_crash),
    ] {
        if count > 0 {
            shown.push(format!("{name} {count}"));
        }
    }
    or_none(&shown)
}

/// A list, or a word in its place.
fn or_none(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

/// What to tell when workers did not come up.
pub(crate) fn not_started(pool: &PoolStatus) -> String {
    let workers = pool.workers.iter().map(|worker| {
        let exit = worker.last_exit.as_deref().unwrap_or("still running");
        format!("  {}: {exit}", worker.worker_id)
    });
    format!(
        "the workers did not start to stream; their own messages are above\n{}",
        workers.collect::<Vec<_>>().join("\n")
    )
}
