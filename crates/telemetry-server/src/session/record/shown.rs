//! What operators are shown of a worker.

use telemetry_core::ledger::Note;

use super::Record;
use crate::identity::Labels;
use crate::session::info::StreamInfo;

impl Record {
    /// A copy for operators. `policy_revision` is what the worker should have, and `labels`
    /// what it is called.
    pub(crate) fn info(&self, policy_revision: u64, labels: Labels) -> StreamInfo {
        let memory = self.lock();
        let sums = memory.account.sums();
        StreamInfo {
            worker_id: memory.context.worker_id.clone(),
            pool_name: memory.context.pool_name.clone(),
            parent: memory.context.parent.clone(),
            labels,
            link: memory.link,
            endpoint: memory.endpoint.clone(),
            state: memory.state,
            retry_after_ms: memory
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            legacy: memory.legacy,
            unsupported_rules: memory.unsupported_rules.clone(),
            pid: memory
                .context
                .python_pid
                .or(memory.seen_pid)
                .or(memory.claimed_pid),
            incarnation: memory.hello.incarnation.clone(),
            package_version: memory.hello.package_version.clone(),
            capabilities: memory.hello.capabilities.clone(),
            recovered: sums.ledger.notes.get(Note::Recovered),
            ledger: sums.ledger,
            incarnation_ledger: sums.incarnation_ledger,
            report: sums.report,
            reported: sums.reported,
            report_final: sums.report_final,
            written_through: memory.written_through,
            joined_at: sums.joined_at,
            lost_at_crash: sums.lost_at_crash,
            away: sums.away,
            unaccounted_incarnations: sums.unaccounted,
            unknown_since_ns: sums.unknown_since_ns,
            report_difference: sums.difference,
            policy_revision,
            applied_revision: memory.applied_revision,
            control_error: memory.control_error.clone(),
            stalled_ms: memory.stalled_ms,
            open_spans: memory.open_spans,
            streams: memory.streams,
            reconnects: memory.streams.saturating_sub(1),
            failures: memory.failures,
            last_error: memory.last_error.clone(),
            connected_since_ns: memory.connected_since_ns,
        }
    }
}
