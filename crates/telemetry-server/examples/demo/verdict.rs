//! The end: everything comes to rest, and then every event must be accounted for.

use std::time::Duration;

use telemetry_server::{Target, stream::StreamInfo};

use crate::stage::{Fault, Stage};
use crate::view;

/// How long workers may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Mutes all workers, waits until nothing is under way, and prints the summary. True if every
/// ledger balances.
pub(crate) async fn settle_and_sum_up(stage: &mut Stage) -> Result<bool, Fault> {
    let receipt = stage.manager.toggle(Target::All, false)?;
    let mut rows = Vec::new();
    for worker in &receipt.workers {
        rows.push(stage.watch_until(worker, PATIENCE, is_at_rest).await?);
    }
    let totals = stage.manager.totals();
    let mut lines = vec![
        String::new(),
        "summary (all workers muted, nothing under way)".to_owned(),
        format!(
            "{:<10} {:>9} {:>9} {:>10} {:>6} {:>8} {:>14} {:>11}",
            "worker",
            "emitted",
            "dropped",
            "dispatched",
            "gaps",
            "rejected",
            "lost_at_crash",
            "unaccounted"
        ),
    ];
    lines.extend(rows.iter().map(row));
    lines.push(String::new());
    {
        let figures = stage.figures.read();
        lines.extend(view::tools(&figures));
        lines.push(String::new());
        lines.push(format!("errors  {}", view::errors(&figures)));
    }
    lines.push(format!("drops   {}", view::drops(&totals)));
    let balanced = rows.iter().all(|info| unaccounted(info) == 0)
        && totals.ledger.check().is_ok()
        && totals.check().is_ok()
        && totals.ledger_difference == 0;
    lines.push(format!(
        "ledger  {}",
        if balanced {
            "balances to the event"
        } else {
            "DOES NOT BALANCE"
        }
    ));
    if totals.unaccounted_incarnations > 0 {
        lines.push(format!(
            "unknown what {} killed process emitted after its last report and did not send",
            totals.unaccounted_incarnations
        ));
    }
    stage.say(&lines.join("\n"));
    Ok(balanced)
}

/// Whether a worker applied its last control and everything it sent has arrived.
fn is_at_rest(info: &StreamInfo) -> bool {
    let arrived = info.incarnation_ledger.sequenced + info.incarnation_ledger.gaps;
    info.is_policy_applied()
        && info
            .report
            .as_ref()
            .is_some_and(|report| report.queued == 0 && report.sent == arrived)
}

/// Events of the present incarnation that are in no column, by law E1 of a quiet worker.
fn unaccounted(info: &StreamInfo) -> u64 {
    let Some(report) = &info.report else {
        return u64::MAX;
    };
    let manager = &info.incarnation_ledger;
    let known =
        report.dropped.total() + manager.dispatched + manager.rejected.total() + manager.gaps;
    report.emitted.abs_diff(known) + info.ledger_difference()
}

/// A worker's row, over all its incarnations.
fn row(info: &StreamInfo) -> String {
    format!(
        "{:<10} {:>9} {:>9} {:>10} {:>6} {:>8} {:>14} {:>11}",
        info.worker_id.as_str(),
        info.reported.emitted,
        info.reported.dropped.total(),
        info.ledger.dispatched,
        info.ledger.gaps,
        info.ledger.rejected.total(),
        info.lost_at_crash,
        unaccounted(info)
    )
}
