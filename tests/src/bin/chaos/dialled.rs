//! The lane of the manager that workers dial in to: deaths, scripts, forks, and its own end.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::Signal;
use telemetry_tests::truth::{
    Answer, Loose, Order, Program, Remote, Role, gone, is_gone, order, order_only,
};
use telemetry_tests::{Seed, eventually};

use crate::faults::{Fault, Happened};
use crate::record::{Record, Watched};

/// Events of a child before its end.
const SOME: u64 = 60;
/// Events of a burst.
const BURST: u64 = 20_000;
/// Events of a script.
const SCRIPT: u64 = 20;

/// A worker that dials in.
pub(crate) struct Slot {
    id: String,
    program: Program,
    worker: Loose,
    is_python: bool,
}

/// The manager, the workers and what is done to them.
pub(crate) struct DialledLane {
    pub(crate) manager: Option<Remote>,
    pub(crate) chaos: PathBuf,
    pub(crate) role: Role,
    /// Where they dial in.
    pub(crate) door: PathBuf,
    pub(crate) watched: Arc<Watched>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) record: Record,
    pub(crate) seed: Seed,
}

impl Slot {
    /// Starts a worker.
    pub(crate) fn start(door: &std::path::Path, number: usize, program: Program) -> Self {
        let id = format!("dialled-{number}");
        Self {
            worker: program.dial(door, &id),
            is_python: matches!(program.kind, telemetry_tests::truth::Kind::Python(_)),
            program,
            id,
        }
    }
}

impl DialledLane {
    /// Waits for all streams.
    pub(crate) async fn all_stream(&self) {
        for slot in &self.slots {
            self.streams(slot).await;
        }
    }

    /// Waits until a worker streams under its own id, and no other.
    async fn streams(&self, slot: &Slot) {
        self.watched.line.streaming(&slot.id, slot.worker.pid).await;
    }

    /// Does one fault; what came of it, or why it did not happen.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<Happened, String> {
        let python_only = fault == Fault::ForkDialled;
        let chosen: Vec<_> = (0..self.slots.len())
            .filter(|index| !python_only || self.slots[*index].is_python)
            .collect();
        let index = chosen[self.seed.below(chosen.len())];
        self.streams(&self.slots[index]).await;
        match fault {
            Fault::KillDialled => Ok(self.end_one(index, false).await),
            Fault::ExitDialled => Ok(self.end_one(index, true).await),
            Fault::Script => self.script(index).await,
            Fault::ForkDialled => self.fork(index).await,
            Fault::KillDialledManager => Ok(self.restart(true).await),
            _ => Ok(self.restart(false).await),
        }
    }

    /// A worker dies and another one takes its id, at once.
    async fn end_one(&mut self, index: usize, by_exit: bool) -> Happened {
        let slot = &mut self.slots[index];
        let pid = slot.worker.pid;
        let ended = if by_exit {
            order_only(&slot.program.pages, pid, &format!("burst {BURST} exit"));
            slot.worker.ended().await
        } else {
            slot.worker.end_by(Signal::KILL).await
        };
        slot.worker = slot.program.dial(&self.door, &slot.id);
        self.streams(&self.slots[index]).await;
        self.no_doubles().await;
        let line = &self.watched.line;
        self.record.note(&line.ended(pid).await);
        let emitted = self.slots[index].program.pages.returned(pid);
        Happened {
            pids: vec![pid],
            evidence: format!("process {pid}: {ended}, {emitted} events, its id taken over"),
        }
    }

    /// Who was killed is not its own double.
    async fn no_doubles(&self) {
        let answer = self.watched.line.order(&Order::Account).await;
        for stream in answer.streams.iter().filter(|it| it.id.contains('~')) {
            self.record
                .broke(format!("a second worker under one id: {}", stream.id));
        }
    }

    async fn script(&self, index: usize) -> Result<Happened, String> {
        let program = &self.slots[index].program;
        let mut script = program.script(&self.door, SCRIPT);
        let pid = script.pid;
        let ended = script.ended().await;
        let emitted = program.pages.returned(pid);
        if emitted != SCRIPT {
            return Err(format!("it ended with {ended} after {emitted} events"));
        }
        let left = |answer: &Answer| {
            let mut of_it = answer.incarnations.iter().filter(|it| it.pid == Some(pid));
            of_it.find(|it| it.received == SCRIPT).map(drop)
        };
        let told = self.watched.line.until("all events of a script", left);
        told.await;
        self.record.note(&self.watched.line.ended(pid).await);
        Ok(Happened {
            pids: vec![pid],
            evidence: format!("process {pid}: {ended}, {SCRIPT} of {SCRIPT}"),
        })
    }

    /// A child dials in by itself and ends one way or the other.
    async fn fork(&mut self, index: usize) -> Result<Happened, String> {
        let (slot, line) = (&self.slots[index], &self.watched.line);
        let pages = &slot.program.pages;
        let answer = slot.worker.order("fork").await;
        let child = answer["child"].as_u64().ok_or("no child")?;
        let child = u32::try_from(child).map_err(|error| error.to_string())?;
        line.streaming(&format!("{}.{child}", slot.id), child).await;
        eventually("events of a child", || {
            (pages.returned(child) >= SOME).then_some(())
        })
        .await;
        let in_order = self.seed.chance(0.5);
        if in_order {
            order(pages, child, "finish").await;
        } else {
            order_only(pages, child, "burst 300 exit");
        }
        gone(child).await;
        self.record.note(&line.ended(child).await);
        let how = ["by _exit", "in order"][usize::from(in_order)];
        let events = pages.returned(child);
        Ok(Happened {
            pids: vec![child],
            evidence: format!("child {child} ended {how} after {events} events"),
        })
    }

    /// Another process takes the manager's place; its workers come to it by themselves.
    async fn restart(&mut self, kill: bool) -> Happened {
        self.all_stream().await;
        self.watched.leaves().await;
        let manager = self.manager.take().expect("there is always a manager");
        let pid = manager.pid();
        if kill {
            let last = manager.line().order(&Order::Account).await;
            self.record.close(&last);
            manager.kill().await;
        } else {
            self.record.close(&manager.end().await);
        }
        let successor = Remote::start(&self.chaos, &self.role).await;
        let new = successor.pid();
        self.manager = Some(successor);
        self.watched.is_back(true).await;
        self.all_stream().await;
        Happened {
            pids: self.slots.iter().map(|slot| slot.worker.pid).collect(),
            evidence: format!("{new} for {pid}, {} workers came back", self.slots.len()),
        }
    }

    /// Ends all workers in order, then the manager.
    pub(crate) async fn end(mut self) {
        let line = self.watched.line.clone();
        self.all_stream().await;
        for slot in &mut self.slots {
            let ended = slot.worker.finish().await;
            assert!(is_gone(slot.worker.pid), "{ended}");
            self.record.note(&line.ended(slot.worker.pid).await);
        }
        line.until("that all have left", |answer| {
            answer.streams.is_empty().then_some(())
        })
        .await;
        self.watched.leaves().await;
        let manager = self.manager.take().expect("there is always a manager");
        self.record.close(&manager.end().await);
    }
}
