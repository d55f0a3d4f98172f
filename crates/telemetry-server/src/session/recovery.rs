//! Reads what a worker left in its memory when it died: its events go the way of all events, its last
//! counters count as its last report.
//!
//! The bytes are hostile. Whatever is wrong with them is said, and what they should have told stays
//! unknown: it never reads as nothing.

use std::sync::Arc;

use prost::encoding;
use telemetry_core::{
    EventOrigin, Mistake, Source,
    emit::{Recovered, RecoveryError, recover},
    is_planted,
    ledger::Note,
};

use super::Shared;
use super::record::{Held, Record};
use crate::accounts::LedgerWriter;
use crate::pipeline::{Frame, Pipeline, source_of};

/// Field of a message that holds its sequence.
const SEQUENCE: u32 = 1001;

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
enum Unrecovered {
    #[error(transparent)]
    Unreadable(#[from] RecoveryError),
    /// It is another incarnation's.
    #[error("the region is of incarnation {found:032x}")]
    Foreign {
        /// Whose it is.
        found: u128,
    },
}

/// Reads the memory of a worker whose process has ended and whose streams are read to their end.
pub(super) fn read(shared: &Shared, record: &Record, held: &Held, writer: LedgerWriter) {
    match recovered(held) {
        Ok(left) => take_in(shared, record, held, writer, &left),
        Err(Unrecovered::Foreign { .. }) if record.has_said_last_as(&held.incarnation) => {
            // The process went on and used the same memory again.
            record.remains_read(writer, None);
        }
        Err(error) => {
            let worker = record.context().worker_id;
            tracing::error!(%worker, pid = held.pid, %error,
                "what a worker left when it died cannot be read; how much was lost is unknown");
            record.remains_read(writer, None);
        }
    }
}

fn recovered(held: &Held) -> Result<Recovered, Unrecovered> {
    let left = recover(&*held.region)?;
    let found = left.identity.incarnation;
    if format!("{found:032x}").eq_ignore_ascii_case(&held.incarnation) {
        Ok(left)
    } else {
        Err(Unrecovered::Foreign { found })
    }
}

fn take_in(
    shared: &Shared,
    record: &Record,
    held: &Held,
    mut writer: LedgerWriter,
    left: &Recovered,
) {
    let after = record.resume(held, left, &mut writer);
    let source = Source {
        origin: EventOrigin::Recovered,
        ..source_of(&shared.node, &record.context(), held.pid)
    };
    let mut pipeline = Pipeline::with_ledger(
        shared.dispatcher.clone(),
        source,
        Arc::clone(&shared.quarantine),
        writer,
    )
    .learning(&shared.learned);
    let mut counters = left.counters.clone();
    // Those that were never sent are numbered as if they had been: what was not written takes no number.
    let sent = counters.sent;
    let mut last = sent;
    let mut recovered = 0;
    let mut message = Vec::new();
    let mut batch = pipeline.batch();
    for event in left.events(after) {
        let is_unsent = event.sequence > sent;
        last = last.saturating_add(u64::from(is_unsent));
        counters.queued = counters.queued.saturating_sub(u64::from(is_unsent));
        let sequence = if is_unsent { last } else { event.sequence };
        message.clear();
        message.extend_from_slice(event.bytes);
        encoding::uint64::encode(SEQUENCE, &sequence, &mut message);
        if let Frame::Dispatched | Frame::Rejected(_) = batch.process(&message) {
            recovered += 1;
            batch.pipeline().ledger_mut().note(Note::Recovered);
        }
    }
    drop(batch);
    if !is_planted(Mistake::UnsentUncounted) {
        counters.sent = last;
    }
    let taken = record.take_last(counters, recovered, pipeline.ledger_mut());
    tell(record, held, left, recovered);
    if let Err(error) = taken {
        let worker = record.context().worker_id;
        tracing::warn!(%worker, pid = held.pid, %error,
            "the last counters of a worker that died cannot be true; they are left out");
    }
    record.remains_read(pipeline.into_ledger(), Some(left));
}

/// Says what was found, where it was anything.
fn tell(record: &Record, held: &Held, left: &Recovered, recovered: u64) {
    let worker = record.context().worker_id;
    let (pid, lost) = (held.pid, left.holes);
    if recovered > 0 || lost > 0 || left.is_damaged {
        let is_damaged = left.is_damaged;
        tracing::info!(%worker, pid, recovered, lost, is_damaged,
            "events of a worker that died were read from its memory");
    }
    if let Some(latest) = left.spans.first() {
        let (open, operation) = (
            left.spans.len(),
            telemetry_core::catalog::escape(&latest.operation),
        );
        tracing::warn!(%worker, pid, open, %operation, span_id = format!("{:016x}", latest.span_id),
            "a worker died while it was at work");
    }
}
