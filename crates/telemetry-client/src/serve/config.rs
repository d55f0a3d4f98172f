//! Who a worker is and how its streams behave: what a program sets, with documented defaults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    CorrelationId,
    wire::{PROTOCOL_REVISION, capability},
};
use telemetry_proto::WorkerHello;

use super::rejected::RejectedNames;
use crate::region::{RegionKind, SharedRegion};
use crate::stall::Heartbeat;

/// How long a new stream waits for the manager's first control before it releases events.
pub const DEFAULT_FIRST_CONTROL_WAIT: Duration = Duration::from_millis(100);
/// How long a new stream waits for a hello that its manager has announced, and the first control.
pub const DEFAULT_HELLO_WAIT: Duration = Duration::from_secs(5);
/// How long an event may wait for others to travel with. With the millisecond that timers are exact
/// to, an event of a busy stream leaves within 20 ms; that of an idle one leaves at once.
pub const DEFAULT_BATCH_DELAY: Duration = Duration::from_millis(19);
/// How often a manager that said hello gets a report, while something changed.
pub const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Who a worker says it is, to a manager that said hello.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Identity {
    /// The id the worker was given; empty if none was. The manager's own record wins.
    pub worker_id: String,
    /// The pool it believes it is in; empty if none.
    pub pool_name: String,
    /// 32 hexadecimal digits, new for every process and every fork.
    pub incarnation_id: String,
    /// Version of the library that emits, such as this crate's or a binding's.
    pub package_version: String,
    /// What those who run it call it; rules can be about workers with some label.
    pub labels: BTreeMap<String, String>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            worker_id: String::new(),
            pool_name: String::new(),
            incarnation_id: CorrelationId::random().to_string(),
            package_version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: BTreeMap::new(),
        }
    }
}

impl Identity {
    /// The process that this is.
    fn pid(&self) -> u32 {
        #[cfg(feature = "simulation")]
        if let Some(pid) = super::simulated::pid_of(&self.incarnation_id) {
            return pid;
        }
        std::process::id()
    }

    /// The first frame of a stream, to a manager that has the region or has not.
    pub(super) fn to_hello(&self, region: RegionKind) -> WorkerHello {
        WorkerHello {
            protocol_revision: PROTOCOL_REVISION,
            worker_id: self.worker_id.clone(),
            incarnation_id: self.incarnation_id.clone(),
            pid: self.pid(),
            package_version: self.package_version.clone(),
            capabilities: capabilities(region),
            pool_name: self.pool_name.clone(),
            region: region.number(),
            labels: self.labels.clone().into_iter().collect(),
            ..WorkerHello::default()
        }
    }
}

/// What a worker can do whose manager has its region or has not, in the words of [`capability`].
pub(super) fn capabilities(region: RegionKind) -> Vec<String> {
    let shared = (region == RegionKind::Shared).then_some(capability::REGION);
    let all = capability::ALL.into_iter().chain(shared);
    all.map(str::to_owned).collect()
}

/// How the streams of a worker behave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamConfig {
    /// Who the worker is.
    pub identity: Identity,
    /// How long a new stream waits for the first control.
    pub first_control_wait: Duration,
    /// How long it waits instead for a hello and the first control, if the request said that there
    /// will be a hello.
    pub hello_wait: Duration,
    /// Longest time that an event waits for others to travel with. The first one after a pause
    /// leaves at once; then events gather for this long, or until they make a batch. Nothing waits
    /// for it at a flush or at the end; zero sends every event as soon as possible.
    pub batch_delay: Duration,
    /// Time between reports.
    pub report_interval: Duration,
    /// What the telemetry thread of a server or a connection watches, if anything; a service that is
    /// mounted elsewhere has no such thread.
    pub heartbeat: Option<Arc<Heartbeat>>,
    /// Where names are kept that managers do not take.
    pub rejected: Arc<RejectedNames>,
    /// The region that the recorder's events lie in, if it can outlive the process: a connection introduces
    /// itself as the incarnation that it belongs to, and hands it to each manager if it had
    /// [moved](SharedRegion::move_in) before the start.
    pub region: Option<Arc<SharedRegion>>,
}

impl StreamConfig {
    /// The same for another process of the same worker: with an incarnation id and a region of its own.
    #[must_use]
    pub fn of_new_incarnation(&self) -> Self {
        let mut config = self.clone();
        config.identity.incarnation_id = Identity::default().incarnation_id;
        config.region = None;
        config
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            first_control_wait: DEFAULT_FIRST_CONTROL_WAIT,
            hello_wait: DEFAULT_HELLO_WAIT,
            batch_delay: DEFAULT_BATCH_DELAY,
            report_interval: DEFAULT_REPORT_INTERVAL,
            heartbeat: None,
            rejected: Arc::default(),
            region: None,
        }
    }
}
