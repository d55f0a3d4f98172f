//! The manager's handle: register, control, list, wait, shut down.
//!
//! It starts one session per worker and holds what they share. It must not be called per event; the
//! events go from the sessions straight to the dispatcher.

mod admission;
mod adopt;
mod aside;
mod config;
mod control;
mod departure;
#[cfg(feature = "prometheus")]
mod metrics;
mod names;
mod policy;
mod refusals;
mod registry;
mod sums;
mod sweep;
mod totals;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_core::{catalog::Catalog, emit::PolicySpec};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout_at;

use crate::accounts::{Book, IncarnationInfo, LedgerWriter};
use crate::desired::Desired;
use crate::dir_events::DirEvents;
use crate::dispatch::Dispatcher;
use crate::identity::{WorkerContext, WorkerId, identity_fault};
use crate::pipeline::{Learned, Pipeline, Quarantine, source_of};
use crate::policy::{Keeper, PolicyRefused};
use crate::session::{
    Changes, DialLimiter, Link, Over, Record, Run, Session, Shared, Shelf, StreamInfo, StreamState,
};
use departure::Departures;
use refusals::Refusals;
use registry::{Entry, Registry};
use telemetry_core::Address;

pub use admission::MAX_WORKERS;
pub(crate) use admission::{Admission, Caller};
pub use config::{DEFAULT_AWAY_GRACE, ManagerConfig, RegisterError, StartError};
pub use departure::UNREGISTER_DRAIN;
#[cfg(feature = "tls")]
pub(crate) use names::origin;
pub(crate) use refusals::Refusal;
pub use totals::{PoolInfo, Totals};

/// Connections of one worker that may wait for its session; it takes the newest of them.
const WAITING_ARRIVALS: usize = 4;

/// Collects from and controls a fleet of workers. Clones are handles to the same manager.
///
/// Sessions run on the tokio runtime it was started in. When the last handle is dropped, they end
/// without draining; call [`shutdown`](Self::shutdown) to lose nothing.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// Of all workers.
    changes: Arc<Changes>,
    runtime: Handle,
    registry: Mutex<Registry>,
    /// All incarnations, whoever shows them.
    book: Arc<Book>,
    departures: Departures,
    /// Departures under way.
    departing: watch::Sender<usize>,
    /// Connections that were not taken, by why.
    refusals: Refusals,
    /// Holds the live rules.
    keeper: Keeper,
    /// Has it looked when the next rule ends.
    ended_rules: Arc<Notify>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Who waits for rules to end has nothing to wait for.
        self.ended_rules.notify_one();
    }
}

impl Manager {
    /// Starts a manager without workers.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the initial policy or one of the rules is not valid.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(config: ManagerConfig) -> Result<Self, StartError> {
        config.policy.validate()?;
        let catalog = Arc::clone(config.dispatcher.catalog());
        let modes = config.pool_catalog_modes;
        let learned = Learned::new(catalog, config.catalog_mode, modes);
        let now = config.dispatcher.clock().unix_nanos();
        let now = u64::try_from(now).unwrap_or(0);
        let opened = Keeper::open(config.policy_state, config.rules, now);
        let (keeper, rules, revision) = opened.map_err(PolicyRefused::Problems)?;
        let shared = Shared {
            learned: Arc::new(learned),
            node: config.node.into(),
            manager_id: config.manager_id,
            dispatcher: config.dispatcher,
            quarantine: Arc::default(),
            limiter: DialLimiter::new(config.dials_per_second),
            dirs: DirEvents::new(Handle::current()),
            accepted_uids: config.accepted_uids,
            message_events: config.message_events,
            away_grace: config.away_grace,
            desired: Desired::new(config.policy, rules, revision),
            shelf: Shelf::new(config.region_store),
        };
        let inner = Inner {
            shared: Arc::new(shared),
            changes: Arc::default(),
            runtime: Handle::current(),
            registry: Mutex::default(),
            book: Arc::default(),
            departures: Departures::default(),
            departing: watch::Sender::new(0),
            refusals: Refusals::default(),
            keeper,
            ended_rules: Arc::default(),
        };
        let inner = Arc::new(inner);
        inner.runtime.spawn(sweep::run(Arc::downgrade(&inner)));
        inner.runtime.spawn(policy::run(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Has a worker dialled, and its events collected from now on. Returns at once.
    ///
    /// A worker of this id that is there already is replaced: its old session is read empty and
    /// ended, then the new one starts. Its desired policy and its counters stay.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] if the id, the pool's name or the endpoint cannot be used, or after
    /// `shutdown`.
    pub fn register_worker(
        &self,
        endpoint: Address,
        context: WorkerContext,
    ) -> Result<WorkerId, RegisterError> {
        self.check(&endpoint, &context)?;
        let inner = &self.inner;
        let id = context.worker_id.clone();
        let mut registry = inner.lock();
        if registry.closed {
            return Err(RegisterError::ShutDown);
        }
        registry.banned.lift(&id);
        inner.call_back(&mut registry, &context);
        registry.named_pools.extend(context.pool_name.clone());
        inner.enter(&mut registry, context, Some(endpoint));
        drop(registry);
        inner.changes.notify();
        Ok(id)
    }

    /// All registered workers, sorted by id.
    #[must_use]
    pub fn list_streams(&self) -> Vec<StreamInfo> {
        let registered: Vec<_> = self.inner.lock().registered().collect();
        let infos = registered.iter();
        infos
            .map(|(id, record)| self.inner.info(id, record))
            .collect()
    }

    /// The ids of all registered workers and their pools, sorted by id: far quicker than to list their streams.
    #[cfg(feature = "http")]
    pub(crate) fn names(&self) -> Vec<(WorkerId, Option<String>)> {
        let registry = self.inner.lock();
        let workers = registry.workers.iter();
        let named = workers.map(|(id, entry)| (id.clone(), entry.record.context().pool_name));
        named.collect()
    }

    /// One registered worker.
    #[must_use]
    pub fn stream(&self, id: &WorkerId) -> Option<StreamInfo> {
        let record = self.inner.registered(id)?;
        Some(self.inner.info(id, &record))
    }

    /// Where the session of a worker stands.
    #[must_use]
    pub fn stream_state(&self, id: &WorkerId) -> Option<StreamState> {
        self.inner
            .lock()
            .workers
            .get(id)
            .map(|entry| entry.record.state())
    }

    /// Whether the socket of a worker is there and nobody listens behind it, for longer than a worker
    /// needs to start.
    #[cfg(feature = "pool")]
    pub(crate) fn is_refused_by(&self, id: &WorkerId) -> bool {
        let registry = self.inner.lock();
        let entry = registry.workers.get(id);
        entry.is_some_and(|entry| entry.record.is_refused())
    }

    /// What happens in directories.
    pub(crate) fn dir_events(&self) -> &DirEvents {
        &self.inner.shared.dirs
    }

    /// The policy that the controls of old add up to for a worker; the rules stand beside it.
    #[must_use]
    pub fn worker_policy(&self, id: &WorkerId) -> Option<Arc<PolicySpec>> {
        self.inner.shared.desired.policy(id)
    }

    /// Sums over all workers there ever were.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut sums = self.inner.sums(|_| ());
        sums.remove(&()).unwrap_or_default()
    }

    /// Sums by pool, also of pools that have no worker any more; sorted by name.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolInfo> {
        let sums = self.inner.sums(Clone::clone).into_iter();
        sums.map(|(pool_name, totals)| PoolInfo { pool_name, totals })
            .collect()
    }

    /// The account of every incarnation that this manager knows, oldest first: all that are there, and
    /// the newest 4,096 of those that are not.
    #[must_use]
    pub fn incarnations(&self) -> Vec<IncarnationInfo> {
        self.inner.book.list()
    }

    /// Counts changes of state and reports: wait for a change, then look at
    /// [`stream_state`](Self::stream_state) or [`list_streams`](Self::list_streams).
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.changes.listen()
    }

    /// Waits until `wanted` holds for a worker; looks again after every change, the arrival of
    /// events included. Returns what it then was, or after `timeout` what it is (`None` for a
    /// worker that is not registered).
    ///
    /// # Errors
    ///
    /// The last reading, if `wanted` did not hold in time.
    pub async fn wait_for(
        &self,
        id: &WorkerId,
        mut wanted: impl FnMut(&StreamInfo) -> bool,
        timeout: Duration,
    ) -> Result<StreamInfo, Option<Box<StreamInfo>>> {
        let deadline = crate::deadline::deadline(timeout);
        loop {
            // Listened to before it is looked at, so that no change is missed.
            let mut all = self.inner.changes.listen();
            let record = self.inner.registered(id);
            let mut own = record.as_ref().map(|record| record.listen());
            let info = record.map(|record| self.inner.info(id, &record));
            let info = match info {
                Some(info) if wanted(&info) => return Ok(info),
                info => info,
            };
            let changed = async {
                match &mut own {
                    Some(own) => own.changed().await.is_ok(),
                    None => all.changed().await.is_ok(),
                }
            };
            if timeout_at(deadline, changed).await != Ok(true) {
                return Err(info.map(Box::new));
            }
        }
    }

    /// A pipeline for events of a worker that arrive another way than its stream, such as lines of
    /// its stderr. They pass the same checks and count into the totals of its pool.
    #[must_use]
    pub fn capture_pipeline(&self, context: &WorkerContext) -> Pipeline {
        let shared = &self.inner.shared;
        let ledger = LedgerWriter::default();
        self.inner
            .lock()
            .add_capture(context.pool_name.clone(), ledger.reader());
        let source = source_of(&shared.node, context, None);
        let quarantine = Arc::clone(&shared.quarantine);
        Pipeline::with_ledger(shared.dispatcher.clone(), source, quarantine, ledger)
            .learning(&shared.learned)
    }

    /// Where events go.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.inner.shared.dispatcher
    }

    /// The catalog that events are checked against.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.inner.shared.dispatcher.catalog()
    }

    /// The names that workers sent and the catalog does not know.
    #[must_use]
    pub fn quarantine(&self) -> &Arc<Quarantine> {
        &self.inner.shared.quarantine
    }

    /// The names and keys that workers sent, that the catalog does not have, and that passed.
    #[must_use]
    pub fn learned(&self) -> &Arc<Learned> {
        &self.inner.shared.learned
    }

    /// The node in the metadata of every event.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.inner.shared.node
    }

    fn check(&self, endpoint: &Address, context: &WorkerContext) -> Result<(), RegisterError> {
        if let Some(fault) = identity_fault(context.worker_id.as_str()) {
            return Err(RegisterError::WorkerId {
                id: context.worker_id.clone(),
                fault,
            });
        }
        if let Some(name) = &context.pool_name
            && let Some(fault) = identity_fault(name)
        {
            return Err(RegisterError::PoolName {
                name: name.clone(),
                fault,
            });
        }
        endpoint.check()?;
        if !context.may_be_at(endpoint) {
            return Err(RegisterError::Remote {
                endpoint: endpoint.clone(),
            });
        }
        Ok(())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the session of a worker and enters it; an older one under its id is read empty and ended.
    /// Without an endpoint it is served when it dials in, and leaves by itself.
    fn enter(
        self: &Arc<Self>,
        registry: &mut Registry,
        context: WorkerContext,
        endpoint: Option<Address>,
    ) {
        let id = context.worker_id.clone();
        let policy = self.shared.desired.enter(&id, context.pool_name.as_deref());
        let (kept, retired) = registry.replace(&context);
        let record = kept.unwrap_or_else(|| Arc::new(self.record(&context, endpoint.as_ref())));
        let before = registry.predecessors(&id, endpoint.as_ref());
        let (run, watch) = watch::channel(Run::On);
        let (drain, drained) = watch::channel(false);
        let (reading, ended) = watch::channel(());
        let (is_registered, registered_pid) = (endpoint.is_some(), context.python_pid);
        let (arrivals, arriving) = mpsc::channel(WAITING_ARRIVALS);
        let shared = Arc::clone(&self.shared);
        let ours = Arc::clone(&record);
        let inner = Arc::downgrade(self);
        let task = self.runtime.spawn(async move {
            // One stream per worker, always.
            for mut predecessor in before {
                // An error means that its task is over, however it ended.
                let _over = predecessor.changed().await;
            }
            ours.relocate(context.clone(), endpoint.clone());
            let link = Link {
                endpoint,
                arrivals: arriving,
            };
            let record = Arc::clone(&ours);
            let mut session = Session::new(shared, record, context, link, policy, watch, drained);
            while session.run().await == Over::Left {
                let Some(inner) = inner.upgrade() else { break };
                if inner.let_go(&ours, &session) {
                    break;
                }
                drop(inner);
                session.await_announced().await;
            }
            drop(reading);
        });
        let entry = Entry {
            record,
            is_registered,
            registered_pid,
            run,
            drain,
            arrivals,
            holder: None,
            doubles: 0,
            ended,
            task,
        };
        registry.workers.insert(id, entry);
        if let Some(retired) = retired {
            self.see_off(retired, None);
        }
    }

    /// A record of a worker that was not there before.
    fn record(&self, context: &WorkerContext, endpoint: Option<&Address>) -> Record {
        let clock = self.shared.dispatcher.clock();
        let changes = Arc::clone(&self.changes);
        Record::new(
            context.clone(),
            endpoint.cloned(),
            changes,
            &self.book,
            clock,
        )
    }

    /// What is remembered of a worker that is there.
    fn registered(&self, id: &WorkerId) -> Option<Arc<Record>> {
        let registry = self.lock();
        let entry = registry.workers.get(id)?;
        Some(Arc::clone(&entry.record))
    }

    fn info(&self, id: &WorkerId, record: &Record) -> StreamInfo {
        let wanted = self.shared.desired.wanted(id);
        let labels = self.shared.desired.labels(id);
        record.info(wanted.map_or(0, |wanted| wanted.revision()), labels)
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("node", &self.inner.shared.node)
            .field(
                "workers",
                &self.inner.lock().workers.keys().collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}
