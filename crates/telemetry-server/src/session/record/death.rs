//! The end of a worker's process: first what it left is read, then it is booked.
//!
//! A worker may have handed its memory over. When its process is known to have ended and its stream is
//! read to the end, that memory is read once as if it were one more stream. Whoever tells of the end
//! first does the reading, on its own thread; the others find that it is being done.

use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use telemetry_core::{
    Mistake,
    emit::{OpenSpan, Recovered, identify},
    is_planted,
    ledger::WorkerSnapshot,
};

use super::{Memory, Record, word};
use crate::accounts::{
    End, Implausible, LedgerWriter, LostSpan, Origin, Parting, Place, Process, Said, Silent,
};
use crate::region::Region;
use crate::session::recovery;
use crate::session::store::Kept;
use crate::session::{Arrival, Shared};

/// Most spans of one process that are remembered after its death.
const MAX_LOST_SPANS: usize = 16;

/// The memory of a worker, and whose it is.
#[derive(Debug)]
pub(crate) struct Held {
    pub(in super::super) region: Arc<Region>,
    /// The incarnation that handed it over.
    pub(in super::super) incarnation: String,
    /// The process behind its connection.
    pub(in super::super) pid: Option<u32>,
    /// That process, as far as it is known.
    process: Option<Process>,
    /// Its process goes on as another incarnation, and writes it no more.
    became_another: bool,
    /// Where it outlives us.
    kept: Option<Kept>,
}

/// Somebody reads what a process left; dropped, nobody does any more.
struct Reading<'a>(&'a Record);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading_is_over();
    }
}

impl Held {
    /// The memory that an earlier manager held.
    pub(crate) fn adopted(region: Region, process: Process, kept: Kept) -> Result<Self, String> {
        let identity = identify(&region).map_err(|error| error.to_string())?;
        Ok(Self {
            region: Arc::new(region),
            incarnation: format!("{:032x}", identity.incarnation),
            pid: Some(process.pid()),
            process: Some(process),
            became_another: false,
            kept: Some(kept),
        })
    }

    /// Whether this incarnation handed it over.
    fn is_of(&self, incarnation: &str) -> bool {
        self.incarnation.eq_ignore_ascii_case(incarnation)
    }

    /// Whether its process has ended, as far as the system tells.
    fn has_ended(&self) -> bool {
        self.process.is_none_or(Process::is_over)
    }

    /// Whether nobody writes it any more when another incarnation calls from process `pid`.
    fn is_over(&mut self, pid: Option<u32>) -> bool {
        self.became_another = match self.process {
            Some(process) => Some(process.pid()) == pid,
            // Where the system tells no process nobody is known to be the same.
            None => self.pid.is_some() && self.pid == pid,
        };
        self.became_another || self.process.is_some_and(Process::is_over)
    }
}

impl Record {
    /// Keeps the memory that comes with a connection. Of another incarnation that was here before, and is
    /// over, what it left is read first. To be called while nobody reads what a process left.
    pub(in super::super) fn receive(&self, shared: &Shared, arrival: &mut Arrival) {
        let mut memory = self.lock();
        let is_other = |held: &Held| !held.is_of(&arrival.incarnation);
        let before = memory.held.as_mut().filter(|held| is_other(held));
        let over = before.and_then(|held| {
            let is_over = held.is_over(arrival.pid);
            is_over.then(|| word(&held.incarnation))
        });
        if let Some(over) = over {
            memory.account.incarnation_ended(&over);
            drop(memory);
            self.settle(shared);
            memory = self.lock();
        }
        let Some(region) = arrival.region.take().map(Arc::new) else {
            // One that still runs may come back elsewhere, and will hand it over there.
            let passed = memory
                .held
                .take_if(|held| !held.is_of(&arrival.incarnation));
            drop(memory);
            return drop(passed);
        };
        let context = memory.context.clone();
        let process = arrival.life.process();
        // In one step: whoever tells of the end meanwhile has to find either of them.
        let before = memory.held.replace(Held {
            region: Arc::clone(&region),
            incarnation: arrival.incarnation.clone(),
            pid: arrival.pid,
            process,
            became_another: false,
            kept: None,
        });
        drop(memory);
        // First, since it may be kept under the same name.
        drop(before);
        let kept = shared.shelf.keep(&context, process, region.as_fd());
        let mut memory = self.lock();
        let held = memory.held.as_mut();
        match held.filter(|held| Arc::ptr_eq(&held.region, &region)) {
            Some(held) => held.kept = kept,
            None => {
                drop(memory);
                // It was read meanwhile.
                drop(kept);
            }
        }
    }

    /// Keeps the memory of a worker.
    pub(crate) fn hold(&self, held: Held) {
        self.lock().held = Some(held);
    }

    /// The worker's process is known to have ended. Reads what it left, unless its stream is still read:
    /// then that comes first.
    pub(crate) fn process_ended(&self, shared: &Shared, how: End) {
        let mut memory = self.lock();
        let silent = (!memory.legacy).then(|| Silent {
            incarnation: String::new(),
            since_ns: memory.since_ns,
            pid: memory.context.python_pid.or(memory.seen_pid),
        });
        memory.account.process_ended(how, silent);
        drop(memory);
        self.settle(shared);
    }

    /// Whether it is worth asking the system if its process is still there: nobody else will say so.
    pub(crate) fn may_have_ended(&self) -> bool {
        let memory = self.lock();
        !memory.supervised && memory.account.may_have_ended()
    }

    /// Asks the system whether its process is still there. May wait for it, and for handlers.
    pub(crate) fn notice_end(&self, shared: &Shared) {
        let mut memory = self.lock();
        let is_over = !memory.supervised && memory.account.notice_end();
        drop(memory);
        if is_over {
            self.settle(shared);
        }
    }

    /// The process of a worker that dialled in has ended. It counts although it never said anything, but not
    /// twice: to be told once.
    pub(in super::super) fn caller_ended(&self, shared: &Shared, caller: Silent) {
        self.lock().account.caller_ended(caller);
        self.settle(shared);
    }

    /// The same of one that was here before the worker whose memory is kept, with the memory that it left.
    pub(in super::super) fn earlier_ended(
        &self,
        shared: &Shared,
        caller: Silent,
        region: Option<Region>,
    ) {
        let mut memory = self.lock();
        let left = region.map(|region| Held {
            region: Arc::new(region),
            incarnation: caller.incarnation.clone(),
            pid: caller.pid,
            process: None,
            // Its number may be another process's by now.
            became_another: true,
            kept: None,
        });
        let kept = std::mem::replace(&mut memory.held, left);
        memory.account.caller_ended(caller);
        drop(memory);
        self.settle(shared);
        let mut memory = self.lock();
        if memory.held.is_none() {
            memory.held = kept;
        }
    }

    /// Whether the memory of a worker is kept whose process has ended, or whose end was not asked for.
    pub(crate) fn is_to_be_read(&self) -> bool {
        let memory = self.lock();
        memory.held.is_some() && !memory.supervised
    }

    /// Before its account is closed for good: reads the memory that is kept, if its process is over.
    pub(crate) fn read_if_over(&self, shared: &Shared) {
        let mut memory = self.lock();
        let is_over = |held: &&Held| held.process.is_some_and(Process::is_over);
        let over = memory.held.as_ref().filter(is_over);
        if let Some(over) = over.map(|held| word(&held.incarnation)) {
            memory.account.incarnation_ended(&over);
            drop(memory);
            self.settle(shared);
        }
    }

    /// Waits while somebody reads what the process before left.
    pub(crate) async fn read_out(&self) {
        let mut changes = self.listen();
        while self.lock().is_recovering {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Books the end of a process if it is known, and first reads what it left.
    pub(in super::super) fn settle(&self, shared: &Shared) {
        if let Some((mut held, writer)) = self.take_remains() {
            let reading = Reading(self);
            apart(|| recovery::read(shared, self, &held, writer));
            drop(reading);
            if let Some(kept) = &mut held.kept {
                kept.let_go();
            }
        }
        self.notify();
    }

    /// What is to be read now, and the counters for it. If there is nothing, the end is booked in the same
    /// step: what is handed over behind it is of another process.
    fn take_remains(&self) -> Option<(Held, LedgerWriter)> {
        let mut memory = self.lock();
        if !memory.account.is_gone() {
            return None;
        }
        // One that runs is another process than the one whose end was told.
        let is_over = |held: &mut Held| held.became_another || held.has_ended();
        let Some(held) = memory.held.take_if(is_over) else {
            memory.account.end_if_gone();
            return None;
        };
        memory.is_recovering = true;
        memory.end = memory.account.set_end_aside();
        let writer = LedgerWriter::default();
        memory.account.open_remains(&writer);
        Some((held, writer))
    }

    /// Whose the remains are, so that they go on where its streams ended. Returns the last sequence that was taken
    /// before, or is not among them.
    pub(in super::super) fn resume(
        &self,
        held: &Held,
        left: &Recovered,
        writer: &mut LedgerWriter,
    ) -> u64 {
        let released = left.released;
        let incarnation = word(&held.incarnation);
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let served_as = || Place::Address(memory.context.worker_id.to_string());
        let place = held.pid.map_or_else(served_as, Place::Process);
        let known = memory.account.position_of(&incarnation, place.clone());
        let origin = match known {
            // What nobody has acknowledged and is not there any more was forgotten.
            Some(handled) => Origin::Resumed {
                at: handled.max(released),
                missed: released.saturating_sub(handled),
            },
            // Nobody has ever acknowledged anything of it: what it has let go of is lost, if not for others.
            None if left.counters.forgotten == released => Origin::Birth,
            None => Origin::Resumed {
                at: released,
                missed: 0,
            },
        };
        memory
            .account
            .hello(&incarnation, place, writer, origin, now_ns);
        if memory.hello.incarnation != incarnation {
            memory.hello = super::Hello {
                incarnation,
                ..super::Hello::default()
            };
        }
        let known = known.filter(|_| !is_planted(Mistake::RecoversHandled));
        known.unwrap_or_default().max(released)
    }

    /// Takes in the last counters of a dead worker: everything of it was sent.
    pub(in super::super) fn take_last(
        &self,
        counters: WorkerSnapshot,
        recovered: u64,
        writer: &mut LedgerWriter,
    ) -> Result<(), Implausible> {
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = memory.origin();
        let said = Said {
            position: Some(counters.sent),
            snapshot: counters,
            recovered: Some(recovered),
            ..Said::default()
        };
        memory.account.report(said, writer, origin, now_ns)
    }

    /// The remains are read, and the end is booked. Lists what the process was doing when it died.
    pub(in super::super) fn remains_read(&self, writer: LedgerWriter, left: Option<&Recovered>) {
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        if let Some(left) = left {
            let spans = left.spans.iter().take(MAX_LOST_SPANS);
            let spans = spans.map(|span| lost_span(left, span, now_ns)).collect();
            memory.account.lose_spans(spans);
        }
        let origin = memory.origin();
        memory.account.close(writer, Parting::Cut, origin, now_ns);
        memory.end_reading();
        drop(memory);
        self.notify();
    }

    /// Nobody reads any more. If the reader left without a word, by a panic, what it took in stays counted,
    /// and how much there was is unknown.
    fn reading_is_over(&self) {
        let mut memory = self.lock();
        if !memory.is_recovering {
            return;
        }
        memory.account.abandon_stream();
        memory.end_reading();
        drop(memory);
        self.notify();
    }

    /// Whether the incarnation of this memory has said its last word before: what is in it now need not
    /// be its own.
    pub(in super::super) fn has_said_last_as(&self, incarnation: &str) -> bool {
        let memory = self.lock();
        memory.hello.incarnation == incarnation && memory.account.sums().report_final
    }
}

impl Memory {
    /// Books the end of the process whose remains were read, in the same step in which that is over.
    fn end_reading(&mut self) {
        self.is_recovering = false;
        let end = self.end.take();
        self.account.end_is_known(end);
        self.account.end_if_gone();
    }

    /// Nobody here will read the memory of a worker that another manager serves.
    pub(super) fn let_go_of_region(&mut self) {
        self.held = None;
    }
}

/// Does what takes as long as handlers take. On a runtime with several threads the others go on with whatever
/// this one was about to do.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match runtime {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

/// A span as it is remembered.
fn lost_span(left: &Recovered, span: &OpenSpan, now_ns: i64) -> LostSpan {
    let began_ns = left.began(span);
    LostSpan {
        operation: word(&span.operation),
        span_id: format!("{:016x}", span.span_id),
        thread: span.thread,
        began_ns,
        open_ms: u64::try_from(now_ns.saturating_sub(began_ns) / 1_000_000).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
