//! What the handle and the supervisors of one pool share: its workers as they are now.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::config::{PoolConfig, Transport};
use super::events::PoolEvents;
use super::link::Link;
use super::output::Captured;
use super::spawn::Program;
use super::status::{PoolLoad, PoolStatus, Slot, WorkerState, WorkerStatus};
use crate::run_dir::RunDir;

/// What the handle and the supervisors of one pool share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: PoolConfig,
    pub(super) program: Program,
    pub(super) link: Link,
    /// Where processes are written down for the next manager; absent: nowhere.
    pub(super) run_dir: Option<RunDir>,
    pub(super) events: PoolEvents,
    pub(super) load: PoolLoad,
    pub(super) slots: Vec<Mutex<Slot>>,
    /// What came of the stderr of each worker, over all its processes.
    pub(super) captured: Vec<Arc<Mutex<Captured>>>,
    /// Workers that were neither ready nor gone yet.
    pub(super) unsettled: AtomicUsize,
    pub(super) began: Instant,
    /// Changes whenever a slot does.
    pub(super) changes: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn worker_id(&self, index: usize) -> String {
        worker_id(&self.config.name, index)
    }

    pub(super) fn index_of(&self, worker: &str) -> Option<usize> {
        (0..self.config.size).find(|&index| self.worker_id(index) == worker)
    }

    pub(super) fn slot(&self, index: usize) -> MutexGuard<'_, Slot> {
        self.slots[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a slot and tells those who watch.
    pub(super) fn update<T>(&self, index: usize, change: impl FnOnce(&mut Slot) -> T) -> T {
        let result = change(&mut self.slot(index));
        self.changes
            .send_modify(|version| *version = version.wrapping_add(1));
        result
    }

    /// How workers reach the manager, as the events say it.
    pub(super) fn mode(&self) -> &'static str {
        match self.config.telemetry.transport {
            _ if !self.config.telemetry.enabled => "disabled",
            Transport::Stream => "stream",
            Transport::Stderr => "stderr",
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let workers: Vec<WorkerStatus> = (0..self.config.size)
            .map(|index| {
                let stderr = self.captured(index).counts.clone();
                self.slot(index).view(&self.worker_id(index), stderr)
            })
            .collect();
        let ready = workers
            .iter()
            .filter(|worker| worker.state == WorkerState::Ready)
            .count();
        PoolStatus {
            name: self.config.name.clone(),
            workers,
            available_workers: u64::try_from(ready).unwrap_or(u64::MAX),
            busy_workers: self.load.busy_workers(),
            queue_depth: self.load.queue_depth(),
        }
    }

    /// One worker was ready or ended for the first time; the last of them completes the start of
    /// the pool.
    pub(super) fn settle_one(&self) {
        if self.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            let total = u64::try_from(self.config.size).unwrap_or(u64::MAX);
            self.events
                .init_complete(self.began.elapsed(), total, self.mode());
        }
    }

    /// The last line that the present process of a worker wrote to stderr.
    pub(super) fn last_line(&self, index: usize) -> Option<String> {
        self.captured(index).last_line.line()
    }

    pub(super) fn captured(&self, index: usize) -> MutexGuard<'_, Captured> {
        self.captured[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the manager forget all workers, without waiting for it.
    pub(super) fn forget_all(self: &Arc<Self>) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            for index in 0..self.config.size {
                let shared = Arc::clone(self);
                runtime.spawn(async move {
                    shared.link.unregister(&shared.worker_id(index)).await;
                });
            }
        }
    }
}

pub(super) fn worker_id(pool: &str, index: usize) -> String {
    format!("{pool}-{}", index + 1)
}
