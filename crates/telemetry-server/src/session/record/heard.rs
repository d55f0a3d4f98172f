//! What a worker says on its stream: who it is, and how it stands.

use telemetry_core::{
    catalog::{escape, truncate},
    ledger::snapshot_from_report,
};
use telemetry_proto::{WorkerHello, WorkerReport};

use super::{MAX_TEXT_BYTES, Record, RulesReport};
use crate::accounts::{Implausible, LedgerWriter, Origin, Place, Said};
use crate::identity::{Labels, MAX_LABELS, label_fault};
use crate::session::peer::LinkKind;

/// Longest incarnation id, version or capability that is kept.
const MAX_WORD_BYTES: usize = 64;
/// Most capabilities that are kept.
const MAX_CAPABILITIES: usize = 16;

/// What a worker says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) incarnation: String,
    pub(super) package_version: String,
    pub(super) capabilities: Vec<String>,
}

impl Record {
    /// Takes in who the worker is. A new incarnation ends the old one.
    pub(in super::super) fn hello(&self, hello: &WorkerHello, writer: &mut LedgerWriter) {
        let incarnation = word(&hello.incarnation_id);
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = match (hello.sent_before, hello.given_before) {
            _ if hello.retained_from > 0 => {
                let told = memory.told.as_ref();
                let told = told.filter(|told| told.incarnation_id == hello.incarnation_id);
                let handled = told.map_or(0, |told| told.handled);
                Origin::Resumed {
                    at: handled.max(hello.retained_from - 1),
                    missed: hello.missed_before,
                }
            }
            (Some(sent), Some(given)) => Origin::Told { sent, given },
            _ => memory.origin(),
        };
        let place = match memory.seen_pid {
            Some(pid) => Place::Process(pid),
            None => Place::Address(match &memory.endpoint {
                Some(endpoint) if memory.link == LinkKind::Out => endpoint.to_string(),
                // Where the system tells no process it is whoever has the id that it is served under.
                _ => memory.context.worker_id.to_string(),
            }),
        };
        let account = &mut memory.account;
        if !account.hello(&incarnation, place, writer, origin, now_ns) {
            return;
        }
        memory.hello = Hello {
            incarnation,
            package_version: word(&hello.package_version),
            capabilities: hello
                .capabilities
                .iter()
                .take(MAX_CAPABILITIES)
                .map(word)
                .collect(),
        };
        memory.labels = labels(hello);
        memory.claimed_pid = (hello.pid != 0).then_some(hello.pid);
        memory.legacy = false;
        memory.unsupported_rules.clear();
        drop(memory);
        self.notify();
    }

    /// Whether the stream that `writer` counts has to wait until another one of its incarnation is read.
    pub(in super::super) fn must_wait(&self, writer: &mut LedgerWriter) -> bool {
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = memory.origin();
        if memory.account.is_waiting() {
            memory.account.claim_again(writer, origin, now_ns);
        }
        memory.account.is_waiting()
    }

    /// Takes in the worker's report. Its word on control holds whatever becomes of its counters.
    pub(in super::super) fn report(
        &self,
        report: &WorkerReport,
        writer: &mut LedgerWriter,
    ) -> Result<(), Implausible> {
        let (snapshot, refused) = snapshot_from_report(report);
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = memory.origin();
        if refused > 0 {
            memory.account.refuse_entries();
        }
        let said = Said {
            snapshot,
            position: report.position,
            settled: report.settled,
            is_final: report.r#final,
            written_through: report.written_through,
            recovered: None,
        };
        let taken = memory.account.report(said, writer, origin, now_ns);
        memory.written_through = report.written_through;
        memory.applied_revision = report.policy_revision;
        memory.refused_revision = report.rejected_policy_revision;
        memory.rules = RulesReport::of(report);
        memory.stalled_ms = report.stalled_ms;
        memory.open_spans = report.open_spans;
        memory.control_error = escape(truncate(&report.control_error, MAX_TEXT_BYTES)).into_owned();
        drop(memory);
        self.notify();
        taken
    }
}

/// The labels of a worker that can be such.
fn labels(hello: &WorkerHello) -> Labels {
    let mut labels: Vec<_> = hello.labels.iter().collect();
    labels.retain(|(key, value)| label_fault(key).is_none() && label_fault(value).is_none());
    labels.sort_unstable();
    labels.truncate(MAX_LABELS);
    let owned = |(key, value): (&String, &String)| (key.clone(), value.clone());
    labels.into_iter().map(owned).collect()
}

/// A short text of a worker, fit to be shown.
pub(super) fn word(text: impl AsRef<str>) -> String {
    escape(truncate(text.as_ref(), MAX_WORD_BYTES)).into_owned()
}
