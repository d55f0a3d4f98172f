//! What a manager is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    Clock, Source, SystemClock,
    catalog::Catalog,
    emit::{PolicySpec, random_u64},
    rules::Rule,
    wire::ControlError,
};
use thiserror::Error;

use crate::dispatch::Dispatcher;
use crate::identity::WorkerId;
use crate::pipeline::CatalogMode;
use crate::policy::PolicyRefused;
use crate::session::{MAX_DIALS_PER_SECOND, RegionStore};
use telemetry_core::{Address, AddressError};

/// How long a worker that dialled in keeps its place without a connection, unless it is set.
pub const DEFAULT_AWAY_GRACE: Duration = Duration::from_secs(30);

/// What a manager is started with. [`new`](Self::new) fills in the defaults.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ManagerConfig {
    /// The node: identity of the machine or manager in the metadata of every event.
    pub node: String,
    /// What the manager calls itself towards workers, which tell by it what they sent to others. It must
    /// be another one for each manager and each life of it, as the default is.
    pub manager_id: String,
    /// Where events go; it also says which catalog and clock are used.
    pub dispatcher: Dispatcher,
    /// Policy of every worker before any control. Default: everything is kept.
    pub policy: PolicySpec,
    /// Rules of the configuration. Default: none.
    pub rules: Vec<Rule>,
    /// The file in which rules that are set while the manager runs outlive it; its directory must be there.
    /// Default: they do not.
    pub policy_state: Option<PathBuf>,
    /// Users, besides the manager's own and root, whose processes may be workers behind a unix
    /// socket. Default: none.
    pub accepted_uids: Vec<u32>,
    /// Whether `snakepit.grpc.stream.message` is emitted for every message. Default: no.
    pub message_events: bool,
    /// Most dials per second over all workers that were dialled before; first dials have
    /// [`FIRST_DIALS`](crate::stream::FIRST_DIALS) times as many of their own. Default: 50.
    pub dials_per_second: u32,
    /// How long a worker that dialled in and lost its connection keeps its place while its process may
    /// still be there. Default: 30 s.
    pub away_grace: Duration,
    /// What becomes of events that the catalog does not have. Default: they pass and are learned.
    pub catalog_mode: CatalogMode,
    /// The same for pools of which something else holds, by name. Default: none.
    pub pool_catalog_modes: BTreeMap<String, CatalogMode>,
    /// Who keeps the memory of workers while no manager runs. Default: nobody.
    pub region_store: Option<Arc<dyn RegionStore>>,
}

impl ManagerConfig {
    /// The defaults, with a dispatcher for the built-in catalog and the system's clock.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        let node = node.into();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let source = Source::of_node(node.as_str());
        let dispatcher = Dispatcher::new(Arc::clone(Catalog::builtin()), source, clock);
        Self::with_dispatcher(node, dispatcher)
    }

    /// The defaults, with a dispatcher of the caller's.
    #[must_use]
    pub fn with_dispatcher(node: impl Into<String>, dispatcher: Dispatcher) -> Self {
        let node = node.into();
        Self {
            manager_id: format!("{node}/{}/{:016x}", std::process::id(), random_u64()),
            node,
            dispatcher,
            policy: PolicySpec::default(),
            rules: Vec::new(),
            policy_state: None,
            accepted_uids: Vec::new(),
            message_events: false,
            dials_per_second: MAX_DIALS_PER_SECOND,
            away_grace: DEFAULT_AWAY_GRACE,
            catalog_mode: CatalogMode::default(),
            pool_catalog_modes: BTreeMap::new(),
            region_store: None,
        }
    }
}

/// Why a manager was not started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The initial policy is not valid.
    #[error(transparent)]
    Policy(#[from] ControlError),
    /// A rule is not.
    #[error(transparent)]
    Rules(#[from] PolicyRefused),
}

/// Why a worker was not registered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The worker id cannot be used.
    #[error("worker id {:?} {fault}", id.as_str())]
    WorkerId {
        /// The id.
        id: WorkerId,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The pool name cannot be used.
    #[error("pool name {name:?} {fault}")]
    PoolName {
        /// The name.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The endpoint cannot be dialled.
    #[error(transparent)]
    Endpoint(#[from] AddressError),
    /// The endpoint is beyond loopback, where a stream without TLS is open to everybody.
    #[error(
        "{endpoint} is not on this machine, and a stream without TLS is open to everybody on the \
         way; use TLS, a unix socket or a loopback address, such as that of a tunnel, or say that it is \
         `insecure`"
    )]
    Remote {
        /// The endpoint.
        endpoint: Address,
    },
    /// The manager was shut down.
    #[error("the manager was shut down")]
    ShutDown,
}
