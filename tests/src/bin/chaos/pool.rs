//! The lane of the manager with a pool of plain Python workers: planned stops, signals, deaths.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use telemetry_tests::Seed;
use telemetry_tests::eventually;
use telemetry_tests::truth::{
    Answer, Order, Pages, PoolWorker, Program, Remote, Role, gone, is_gone, order_only, signal,
};

use crate::faults::{Fault, Happened};
use crate::record::{Record, Watched};

/// Events of a burst.
const BURST: u64 = 20_000;
/// Shortest and longest time for which the manager stands still, in milliseconds.
const STOPPED: (usize, usize) = (3_000, 5_000);
/// Events that a process has emitted before it is chosen.
const SETTLED: u64 = 100;

/// The manager, its pool and what is done to them.
pub(crate) struct PoolLane {
    pub(crate) manager: Option<Remote>,
    pub(crate) chaos: PathBuf,
    pub(crate) role: Role,
    pub(crate) record: Record,
    pub(crate) watched: Arc<Watched>,
    pub(crate) program: Program,
    pub(crate) seed: Seed,
    /// Stops are as short as they may be.
    pub(crate) quick: bool,
}

impl PoolLane {
    /// Does one fault; what came of it, or why it did not happen.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<Happened, String> {
        if fault == Fault::Adopt {
            return self.adopt().await;
        }
        let (worker, pid) = self.choose().await;
        let pages = self.program.pages.clone();
        let before = pages.returned(pid);
        let evidence = match fault {
            Fault::Recycle => {
                let id = worker.id;
                self.watched
                    .line
                    .order(&Order::Recycle { worker: id })
                    .await;
                if !is_gone(pid) {
                    return Err(format!("process {pid} was not replaced"));
                }
                format!(
                    "process {pid} replaced after {} events",
                    pages.returned(pid)
                )
            }
            Fault::Terminate => self.end_by(pid, Signal::TERM).await,
            Fault::KillSteady => self.end_by(pid, Signal::KILL).await,
            Fault::ExitAfterBurst => {
                order_only(&pages, pid, &format!("burst {BURST} exit"));
                gone(pid).await;
                let burst = pages.returned(pid) - before;
                if burst < BURST {
                    return Err(format!("a burst of {burst} only"));
                }
                format!("process {pid} gone {burst} events later")
            }
            Fault::KillInBurst => {
                order_only(&pages, pid, "burst 10000000");
                grown(&pages, pid, before + BURST / 4).await;
                self.end_by(pid, Signal::KILL).await
            }
            _ => self.stopped(pid).await?,
        };
        Ok(Happened {
            pids: vec![pid],
            evidence,
        })
    }

    /// A worker that is ready and has emitted something.
    async fn choose(&mut self) -> (PoolWorker, u32) {
        let draw = self.seed.below(1_000);
        let pages = &self.program.pages;
        let choose = |answer: &Answer| {
            let is_settled = |pid: u32| !is_gone(pid) && pages.returned(pid) >= SETTLED;
            let mut settled: Vec<_> = answer.workers.iter().filter(|it| it.ready).collect();
            settled.retain(|worker| worker.pid.is_some_and(is_settled));
            let worker = *settled.get(draw % settled.len().max(1))?;
            Some((worker.clone(), worker.pid?))
        };
        self.watched.line.until("a settled worker", choose).await
    }

    fn manager(&self) -> &Remote {
        self.manager.as_ref().expect("there is always a manager")
    }

    /// Ends the pool, then the manager.
    pub(crate) async fn end(mut self) {
        self.watched.leaves().await;
        let manager = self.manager.take().expect("there is always a manager");
        self.record.close(&manager.end().await);
    }

    /// The processes of all workers once they are ready.
    async fn all_ready(&self) -> Vec<u32> {
        let ready = |answer: &Answer| {
            let ready = answer.workers.iter().filter(|it| it.ready);
            let pids = ready.filter_map(|it| it.pid).filter(|pid| !is_gone(*pid));
            let pids: Vec<u32> = pids.collect();
            (!pids.is_empty() && pids.len() == answer.workers.len()).then_some(pids)
        };
        self.watched.line.until("a pool that is ready", ready).await
    }

    /// The manager is killed; the next one has the same processes and no others.
    async fn adopt(&mut self) -> Result<Happened, String> {
        let before = self.all_ready().await;
        self.watched.leaves().await;
        let manager = self.manager.take().expect("there is always a manager");
        let pid = manager.pid();
        let last = manager.line().order(&Order::Account).await;
        self.record.close(&last);
        manager.kill().await;
        let successor = Remote::start(&self.chaos, &self.role).await;
        let new = successor.pid();
        self.manager = Some(successor);
        self.watched.is_back(true).await;
        let after = self.all_ready().await;
        if before != after {
            return Err(format!("{before:?} before, {after:?} after"));
        }
        Ok(Happened {
            evidence: format!("{new} for {pid}, processes {after:?} adopted"),
            pids: after,
        })
    }

    async fn end_by(&self, pid: u32, by: Signal) -> String {
        signal(pid, by);
        gone(pid).await;
        let emitted = self.program.pages.returned(pid);
        format!("process {pid} ended after {emitted} events")
    }

    async fn stopped(&mut self, pid: u32) -> Result<String, String> {
        let pages = self.program.pages.clone();
        let (least, most) = STOPPED;
        let millis = match self.quick {
            true => least,
            false => least + self.seed.below(most - least),
        };
        self.watched.leaves().await;
        self.manager().halt().await;
        let before = pages.returned(pid);
        // This is how long the fault lasts, not a wait for something to happen.
        tokio::time::sleep(Duration::from_millis(millis as u64)).await;
        signal(pid, Signal::KILL);
        gone(pid).await;
        self.manager().resume();
        self.watched.is_back(false).await;
        match pages.returned(pid) - before {
            0 => Err("nothing was emitted meanwhile".to_owned()),
            events => Ok(format!(
                "stopped {millis} ms, {events} events, {pid} killed"
            )),
        }
    }
}

/// Waits until a process has emitted so many.
async fn grown(pages: &Pages, pid: u32, count: u64) {
    eventually("a burst", || (pages.returned(pid) >= count).then_some(())).await;
}
