//! The lane of the manager whose workers are not its children: streams, registrations, forks, foreign
//! hands, and the end of the manager itself.

use std::path::PathBuf;
use std::sync::Arc;

use telemetry_tests::truth::{
    Arrivals, Loose, Order, Program, Remote, Role, gone, is_gone, order, order_only, pools,
};
use telemetry_tests::{Proxy, Seed, TestManager, eventually};

use crate::faults::{Fault, Happened};
use crate::record::{Record, Watched};

/// Pools that a worker changes between.
const POOLS: [&str; 2] = ["loose", "looser"];
/// Events of a child, of a theft, of the time after foreign hands.
const SOME: u64 = 60;

/// A worker, its cable and its registration.
pub(crate) struct Slot {
    name: String,
    program: Program,
    worker: Loose,
    cable: Proxy,
    pool: usize,
    is_python: bool,
}

/// The manager, its workers and what is done to them.
pub(crate) struct LooseLane {
    pub(crate) manager: Option<Remote>,
    pub(crate) chaos: PathBuf,
    pub(crate) role: Role,
    pub(crate) watched: Arc<Watched>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) thief: TestManager,
    pub(crate) stolen: Arrivals,
    pub(crate) record: Record,
    pub(crate) seed: Seed,
}

impl Slot {
    /// Starts a worker with a cable between it and whoever dials.
    pub(crate) fn start(dir: &std::path::Path, number: usize, program: Program) -> Self {
        let socket = dir.join(format!("w{number}.sock"));
        let cable = Proxy::start(dir.join(format!("c{number}.sock")), &socket);
        let is_python = matches!(program.kind, telemetry_tests::truth::Kind::Python(_));
        Self {
            name: format!("loose-{number}"),
            worker: program.start(&socket),
            program,
            cable: cable.expect("a free path for a cable"),
            pool: 0,
            is_python,
        }
    }

    /// Its id; with the process in it, since a manager sees the other end of the cable.
    fn id(&self) -> String {
        format!("{}.{}", self.name, self.worker.pid)
    }

    fn register(&self) -> Order {
        Order::Register {
            id: self.id(),
            pool: POOLS[self.pool].to_owned(),
            address: format!("unix:{}", self.cable.path().display()),
            pid: self.worker.pid,
        }
    }
}

impl LooseLane {
    /// Registers all workers and waits for their streams.
    pub(crate) async fn register_all(&self) {
        let line = &self.watched.line;
        for slot in &self.slots {
            line.order(&slot.register()).await;
        }
        for slot in &self.slots {
            line.streaming(&slot.id(), slot.worker.pid).await;
        }
    }

    /// Does one fault; what came of it, or why it did not happen.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<Happened, String> {
        let python_only = matches!(fault, Fault::Fork | Fault::CloseRange);
        let chosen: Vec<_> = (0..self.slots.len())
            .filter(|index| !python_only || self.slots[*index].is_python)
            .collect();
        let index = chosen[self.seed.below(chosen.len())];
        let line = self.watched.line.clone();
        let slot = &mut self.slots[index];
        let pid = slot.worker.pid;
        line.streaming(&slot.id(), pid).await;
        let happened = |evidence| Happened {
            pids: vec![pid],
            evidence,
        };
        match fault {
            Fault::Cut => match slot.cable.cut() {
                0 => Err("there was no stream".to_owned()),
                cut => Ok(happened(format!("{cut} connection of {}", slot.name))),
            },
            Fault::Steal => self.steal(index).await.map(happened),
            Fault::Reregister => {
                line.order(&Order::Unregister { id: slot.id() }).await;
                line.order(&slot.register()).await;
                line.streaming(&slot.id(), pid).await;
                Ok(happened(format!("{} streams again", slot.name)))
            }
            Fault::ChangePool => {
                slot.pool = 1 - slot.pool;
                line.order(&slot.register()).await;
                line.streaming(&slot.id(), pid).await;
                Ok(happened(format!("{} in {}", slot.name, POOLS[slot.pool])))
            }
            Fault::Fork => self.fork(index).await,
            Fault::CloseRange => self.close_range(index).await.map(happened),
            Fault::KillManager => Ok(self.restart(true).await),
            _ => Ok(self.restart(false).await),
        }
    }

    async fn steal(&self, index: usize) -> Result<String, String> {
        let slot = &self.slots[index];
        let pid = slot.worker.pid;
        let before = self.stolen.of(pid).distinct();
        let address = format!("unix:{}", slot.worker.socket.display());
        let id = self.thief.register(&address, &slot.id());
        self.thief.streaming(&id).await;
        eventually("stolen events", || {
            (self.stolen.of(pid).distinct() >= before + SOME).then_some(())
        })
        .await;
        if !self.thief.unregister_worker(&id).await {
            return Err("the thief had nothing".to_owned());
        }
        let events = self.stolen.of(pid).distinct() - before;
        // The owner waits long before it takes a stream back that another manager took.
        self.watched.line.order(&slot.register()).await;
        self.watched.line.streaming(&slot.id(), pid).await;
        Ok(format!("{events} events of {} went elsewhere", slot.name))
    }

    /// A child that serves on its own, is registered like any worker, and ends one way or the other.
    async fn fork(&mut self, index: usize) -> Result<Happened, String> {
        let (slot, line) = (&self.slots[index], &self.watched.line);
        let pages = &slot.program.pages;
        let answer = slot.worker.order("fork").await;
        let child = answer["child"].as_u64().ok_or("no child")?;
        let child = u32::try_from(child).map_err(|error| error.to_string())?;
        let id = format!("fork.{child}");
        let socket = slot.worker.socket.with_extension(format!("{child}.sock"));
        let address = format!("unix:{}", socket.display());
        line.order(&Order::Register {
            id: id.clone(),
            pool: POOLS[0].to_owned(),
            address,
            pid: child,
        })
        .await;
        line.streaming(&id, child).await;
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
        line.order(&Order::Unregister { id }).await;
        let how = ["by _exit", "in order"][usize::from(in_order)];
        let events = pages.returned(child);
        Ok(Happened {
            pids: vec![child],
            evidence: format!("child {child} ended {how} after {events} events"),
        })
    }

    /// The program's own files must hold its own bytes. The worker may be deaf afterwards; then it is
    /// replaced.
    async fn close_range(&mut self, index: usize) -> Result<String, String> {
        let line = self.watched.line.clone();
        let slot = &mut self.slots[index];
        let pid = slot.worker.pid;
        let pages = slot.program.pages.clone();
        let opened = slot.worker.order("closerange").await;
        if let Some(hurt) = opened["hurt"].as_str() {
            self.record.broke(format!(
                "closed descriptors: one of the program's was closed, {hurt}"
            ));
        }
        slot.worker.emitted(pages.returned(pid) + 2 * SOME).await;
        let checked = slot.worker.order("check").await;
        let foreign = checked["foreign"].as_array().map_or(usize::MAX, Vec::len);
        if foreign > 0 {
            self.record.broke(format!(
                "closed descriptors: bytes of ours in the program's files, {checked}"
            ));
        }
        let ended = slot.worker.finish().await;
        self.record.note(&line.ended(pid).await);
        line.order(&Order::Unregister { id: slot.id() }).await;
        let socket = slot.worker.socket.clone();
        slot.worker = slot.program.start(&socket);
        line.order(&slot.register()).await;
        line.streaming(&slot.id(), slot.worker.pid).await;
        let files = &checked["files"];
        Ok(format!("{foreign} of {files} files spoilt, {pid}: {ended}"))
    }

    /// Another process takes the manager's place; its workers live on.
    async fn restart(&mut self, kill: bool) -> Happened {
        for slot in &self.slots {
            let (id, pid) = (&slot.id(), slot.worker.pid);
            self.watched.line.streaming(id, pid).await;
        }
        self.watched.leaves().await;
        let manager = self.manager.take().expect("there is always a manager");
        let pid = manager.pid();
        if kill {
            // The last that it says; what comes later is known to its successor.
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
        self.register_all().await;
        Happened {
            pids: self.slots.iter().map(|slot| slot.worker.pid).collect(),
            evidence: format!("{new} for {pid}, {} workers back", self.slots.len()),
        }
    }

    /// Ends all workers in order, then the manager.
    pub(crate) async fn end(mut self) {
        let line = self.watched.line.clone();
        for slot in &mut self.slots {
            line.streaming(&slot.id(), slot.worker.pid).await;
            let ended = slot.worker.finish().await;
            assert!(is_gone(slot.worker.pid), "{ended}");
            self.record.note(&line.ended(slot.worker.pid).await);
            line.order(&Order::Unregister { id: slot.id() }).await;
        }
        self.watched.leaves().await;
        let manager = self.manager.take().expect("there is always a manager");
        self.record.close(&manager.end().await);
        self.record.count(&pools(&self.thief));
        self.thief.stop().await;
    }
}
