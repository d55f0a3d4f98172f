//! Workers that leave: read empty, folded into their pool, told of.
//!
//! What a worker counted moves from one list of the registry to the next and is in exactly one of
//! them at any time, also when whoever asked for the departure stops waiting for it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::aside::aside;
use super::registry::{Entry, Retired};
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
    ///
    /// A worker that dialled in and lives on is kept away until [`readmit`](Self::readmit), or until it is
    /// registered; what it should emit is not forgotten meanwhile.
    pub async fn unregister_worker(&self, id: &WorkerId) -> bool {
        let Some(departure) = self.begin_departure(id) else {
            return false;
        };
        // It can only have been cancelled together with the runtime.
        let _ = departure.await;
        true
    }

    /// As [`unregister_worker`](Self::unregister_worker), for who does not wait: when it returns, the id
    /// is free. The task ends when the worker has departed.
    pub(crate) fn begin_departure(&self, id: &WorkerId) -> Option<JoinHandle<()>> {
        let mut registry = self.inner.lock();
        let survivor = registry.workers.get(id).and_then(Entry::survivor);
        let retired = registry.retire(id, deadline(UNREGISTER_DRAIN))?;
        match survivor {
            Some(claim) => {
                registry.banned.add(id.clone(), claim);
                self.inner.shared.desired.rest(id);
            }
            None => self.inner.shared.desired.leave(id),
        }
        Some(self.inner.see_off(retired, None))
    }

    /// Ends all sessions: each reads what its worker has sent until it is quiet, all together at
    /// most for `timeout`. No worker can be registered afterwards; totals stay readable. Whether all
    /// sessions have ended, those of workers that were taken away before included, be it quiet or at the
    /// deadline; one whose handler blocks has not. Goes on when the caller stops waiting, so that every
    /// departure is told; a second call waits for the same end.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        let deadline = deadline(timeout);
        {
            let mut registry = self.inner.lock();
            registry.closed = true;
            self.inner.shared.shelf.leave();
            let ids: Vec<_> = registry.workers.keys().cloned().collect();
            for id in ids {
                if let Some(retired) = registry.retire(&id, deadline) {
                    let _goes_on = self.inner.see_off(retired, Some(deadline + SHUTDOWN_SLACK));
                }
            }
        }
        let inner = Arc::clone(&self.inner);
        let closing = self.inner.runtime.spawn(async move {
            let mut departing = inner.departing.subscribe();
            let none_left = departing.wait_for(|count| *count == 0);
            let in_time = timeout_at(deadline + SHUTDOWN_SLACK * 2, none_left).await;
            let in_time = matches!(in_time, Ok(Ok(_)));
            if in_time {
                inner.departures.lock().clear();
            } else {
                // Whoever is still held by its handler is told of when that lets go.
                let inner = Arc::clone(&inner);
                inner.runtime.clone().spawn(async move {
                    let mut departing = inner.departing.subscribe();
                    let _none_left = departing.wait_for(|count| *count == 0).await.is_ok();
                    inner.departures.lock().clear();
                });
            }
            inner.changes.notify();
            in_time
        });
        closing.await.unwrap_or(false)
    }
}

/// Counts one departure under way.
struct Departing(Arc<Inner>);

impl Departing {
    fn begin(inner: &Arc<Inner>) -> Self {
        inner.departing.send_modify(|count| *count += 1);
        Self(Arc::clone(inner))
    }
}

impl Drop for Departing {
    fn drop(&mut self) {
        self.0
            .departing
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Inner {
    /// Waits for the session of a worker that was taken away and folds its record, whoever waits for
    /// that. A session that has not ended at the deadline is cancelled, and its worker departs when the
    /// handler that held it lets go.
    pub(super) fn see_off(
        self: &Arc<Self>,
        retired: Retired,
        deadline: Option<Instant>,
    ) -> JoinHandle<()> {
        let departing = Departing::begin(self);
        self.runtime.spawn(async move {
            let Retired { record, mut task } = retired;
            if let Some(deadline) = deadline
                && timeout_at(deadline, &mut task).await.is_err()
            {
                task.abort();
                // It may still count what it holds: until then its record is among those that are read.
                let _ = task.await;
            } else if deadline.is_none() {
                // A task that was cancelled has ended too.
                let _ = task.await;
            }
            if record.is_to_be_read() {
                let (inner, record) = (Arc::clone(&departing.0), Arc::clone(&record));
                let read = aside(move || record.read_if_over(&inner.shared));
                // It fails only together with the runtime.
                let _read = read.await;
            }
            // By somebody else: what is read counts here.
            record.read_out().await;
            departing.0.depart(&record);
        })
    }

    /// Folds the record of a worker whose session has ended, and tells of it. Nothing is locked
    /// while listeners run.
    fn depart(&self, record: &Arc<Record>) {
        self.lock().fold_retired(record);
        self.changes.notify();
        let listeners = self.departures.lock().clone();
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

    #[tokio::test]
    async fn shutdown_waits_for_those_who_left_before_and_tells_of_them() {
        let (manager, mut left) = manager();
        let id = register(&manager, "p");
        let retired = manager.inner.lock().retire(&id, deadline(UNREGISTER_DRAIN));
        let mut retired = retired.expect("it is there");
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        retired.task = tokio::spawn(async move {
            let _released = held.await.is_ok();
        });
        drop(manager.inner.see_off(retired, None));
        let ending = manager.clone();
        let ending = tokio::spawn(async move { ending.shutdown(Duration::from_secs(20)).await });
        tokio::task::yield_now().await;
        assert!(!ending.is_finished());
        release.send(()).expect("it waits");
        assert!(ending.await.expect("no panic"));
        assert_eq!(next(&mut left).await, Some(id));
    }

    #[tokio::test]
    async fn a_second_shutdown_waits_for_the_first_that_nobody_waits_for() {
        let (manager, mut left) = manager();
        let id = register(&manager, "p");
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        let slow = tokio::spawn(async move {
            let _released = held.await.is_ok();
        });
        manager
            .inner
            .lock()
            .workers
            .get_mut(&id)
            .expect("there")
            .task = slow;
        {
            let mut first = pin!(manager.shutdown(Duration::from_secs(20)));
            poll_fn(|context| {
                assert!(first.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        let again = manager.clone();
        let again = tokio::spawn(async move { again.shutdown(Duration::from_secs(20)).await });
        release.send(()).expect("it waits");
        assert!(again.await.expect("no panic"));
        assert_eq!(next(&mut left).await, Some(id));
    }
}
