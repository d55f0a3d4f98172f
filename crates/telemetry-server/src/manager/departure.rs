//! Workers that leave: read empty, folded into their pool, told of.
//!
//! What a worker counted moves from one list of the registry to the next and is in exactly one of
//! them at any time, also when whoever asked for the departure stops waiting for it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::registry::Retired;
use super::{Inner, Manager};
use crate::deadline::deadline;
use crate::identity::WorkerId;
use crate::session::Record;

/// How long a worker that is unregistered may take to be read empty.
pub const UNREGISTER_DRAIN: Duration = Duration::from_secs(1);
/// What sessions get beyond the deadline of a shutdown, so that their own deadline comes first.
const SHUTDOWN_SLACK: Duration = Duration::from_millis(100);

/// Those who want to know of workers that left.
#[derive(Default)]
pub(super) struct Departures {
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Arc<dyn Fn(&WorkerId) + Send + Sync>;

impl Manager {
    /// Has `listener` called whenever all that a worker counted is in the sums of its pool: after it
    /// was unregistered, was registered again in another pool, or the manager was shut down. This is
    /// where an exporter is told to fold what it keeps of the worker.
    ///
    /// Runs on a task of the manager's runtime, so it must not block. It is let go at the end of
    /// [`shutdown`](Self::shutdown), so it may hold whoever holds the manager.
    pub fn on_departure(&self, listener: impl Fn(&WorkerId) + Send + Sync + 'static) {
        let mut listeners = self.inner.departures.lock();
        listeners.push(Arc::new(listener));
    }

    /// Takes a worker away: reads what it has sent until it is quiet, at most for
    /// [`UNREGISTER_DRAIN`], closes its stream, forgets it, and folds its counters into its pool.
    /// False if there is no such worker. Goes on when the caller stops waiting.
    pub async fn unregister_worker(&self, id: &WorkerId) -> bool {
        let departure = {
            let mut registry = self.inner.lock();
            let Some(retired) = registry.retire(id, deadline(UNREGISTER_DRAIN)) else {
                return false;
            };
            self.inner.desired.leave(id);
            self.inner.see_off(retired, None)
        };
        // It can only have been cancelled together with the runtime.
        let _ = departure.await;
        true
    }

    /// Ends all sessions: each reads what its worker has sent until it is quiet, all together at
    /// most for `timeout`. No worker can be registered afterwards; totals stay readable. Whether all
    /// sessions have ended, be it quiet or at the deadline; one whose handler blocks has not. Goes on
    /// when the caller stops waiting, so that every departure is told.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        let deadline = deadline(timeout);
        let departures: Vec<_> = {
            let mut registry = self.inner.lock();
            registry.closed = true;
            let ids: Vec<_> = registry.workers.keys().cloned().collect();
            ids.iter()
                .filter_map(|id| registry.retire(id, deadline))
                .map(|retired| self.inner.see_off(retired, Some(deadline + SHUTDOWN_SLACK)))
                .collect()
        };
        let inner = Arc::clone(&self.inner);
        let closing = self.inner.runtime.spawn(async move {
            let mut in_time = true;
            for departure in departures {
                in_time &= departure.await.unwrap_or(false);
            }
            inner.departures.lock().clear();
            inner.changes.notify();
            in_time
        });
        closing.await.unwrap_or(false)
    }
}

impl Inner {
    /// Waits for the session of a worker that was taken away and folds its record, whoever waits for
    /// that. A session that has not ended at the deadline is cancelled, and its worker departs when the
    /// handler that held it lets go. Whether it ended in time.
    pub(super) fn see_off(
        self: &Arc<Self>,
        retired: Retired,
        deadline: Option<Instant>,
    ) -> JoinHandle<bool> {
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            let Retired { record, mut task } = retired;
            if let Some(deadline) = deadline
                && timeout_at(deadline, &mut task).await.is_err()
            {
                task.abort();
                // It may still count what it holds: until then its record is among those that are read.
                let listeners = inner.departures.lock().clone();
                inner.runtime.clone().spawn(async move {
                    let _ = task.await;
                    inner.depart(&record, listeners);
                });
                return false;
            }
            if deadline.is_none() {
                // A task that was cancelled has ended too.
                let _ = task.await;
            }
            let listeners = inner.departures.lock().clone();
            inner.depart(&record, listeners);
            true
        })
    }

    /// Folds the record of a worker whose session has ended, and tells of it. Nothing is locked
    /// while listeners run.
    fn depart(&self, record: &Arc<Record>, listeners: Vec<Listener>) {
        self.lock().fold_retired(record);
        self.changes.notify();
        let id = record.context().worker_id;
        for listener in listeners {
            listener(&id);
        }
    }
}

impl Departures {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Departures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::{ManagerConfig, WorkerContext};

    /// A manager, and those who left it.
    fn manager() -> (Manager, UnboundedReceiver<WorkerId>) {
        let manager = Manager::start(ManagerConfig::new("n1")).expect("valid");
        let (sender, left) = unbounded_channel();
        manager.on_departure(move |id| sender.send(id.clone()).expect("the test listens"));
        (manager, left)
    }

    fn register(manager: &Manager, pool: &str) -> WorkerId {
        let endpoint = "unix:/nonexistent/w.sock".parse().expect("an endpoint");
        let context = WorkerContext::new("w").in_pool(pool);
        manager.register_worker(endpoint, context).expect("usable")
    }

    async fn next(left: &mut UnboundedReceiver<WorkerId>) -> Option<WorkerId> {
        let next = tokio::time::timeout(Duration::from_secs(20), left.recv());
        next.await.expect("nobody left")
    }

    #[tokio::test]
    async fn a_worker_departs_also_when_nobody_waits_for_it() {
        let (manager, mut left) = manager();
        let id = register(&manager, "p");
        {
            let mut unregistering = pin!(manager.unregister_worker(&id));
            poll_fn(|context| {
                assert!(unregistering.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(next(&mut left).await, Some(id));
        assert!(manager.list_streams().is_empty());
    }

    #[tokio::test]
    async fn a_worker_that_changes_its_pool_departs_from_the_old_one() {
        let (manager, mut left) = manager();
        let id = register(&manager, "p");
        assert_eq!(register(&manager, "q"), id);
        assert_eq!(next(&mut left).await, Some(id.clone()));
        assert!(manager.unregister_worker(&id).await);
        assert_eq!(next(&mut left).await, Some(id));
    }

    #[tokio::test]
    async fn shutdown_tells_of_all_and_lets_the_listeners_go() {
        let (manager, mut left) = manager();
        let id = register(&manager, "p");
        assert!(manager.shutdown(Duration::from_secs(20)).await);
        assert_eq!(next(&mut left).await, Some(id));
        assert_eq!(next(&mut left).await, None, "the listener is gone");
    }
}
