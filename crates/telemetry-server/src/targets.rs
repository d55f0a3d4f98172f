//! Workers that a list names: registered as they come into it, and unregistered when they have left it.
//!
//! Where the list comes from does not matter here. A worker that leaves it and is back within a grace keeps its
//! registration. An id that somebody else registered is left alone. What cannot be registered is said once and tried
//! again. Uses the manager's public handle only, and keeps its rules: it refuses what is beyond this machine, unless TLS is spoken there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use telemetry_core::Address;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

#[cfg(feature = "tls")]
use crate::identity::WorkerTls;
use crate::identity::{WorkerContext, WorkerId};
use crate::manager::Manager;

/// Time after which what could not be registered is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Faults of a list that are in the log; of all others their number is.
const SHOWN_FAULTS: usize = 3;

/// A worker of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where it is dialled.
    pub(crate) address: Address,
    /// Its id.
    pub(crate) worker: WorkerId,
    /// Its pool.
    pub(crate) pool: Option<String>,
    /// What must be in its certificate, if the list says so.
    #[cfg(feature = "tls")]
    pub(crate) server_name: Option<String>,
}

impl Target {
    /// A worker without a name in its certificate.
    pub(crate) fn new(address: Address, worker: impl Into<WorkerId>, pool: Option<String>) -> Self {
        Self {
            address,
            worker: worker.into(),
            pool,
            #[cfg(feature = "tls")]
            server_name: None,
        }
    }
}

/// How the workers of a list are dialled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// With what TLS, at ports.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<WorkerTls>,
    /// Whether without, beyond this machine.
    pub(crate) insecure: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Targets {
    manager: Manager,
    /// What the log calls the list.
    list: String,
    /// How its workers are dialled.
    terms: Terms,
    /// How long a worker has to be off the list before it is taken for gone.
    grace: Duration,
    /// Most workers.
    limit: usize,
    /// Those that are registered.
    registered: BTreeMap<WorkerId, Registered>,
    /// Those that are on the list and could not be registered, and when they are tried again.
    waiting: (Vec<Target>, Instant),
    /// What was said of the list as it is, so that it is said once.
    said: BTreeSet<String>,
    /// Workers that are being read empty.
    departures: JoinSet<bool>,
}

/// One that is registered.
#[derive(Debug)]
struct Registered {
    target: Target,
    /// When it is given up; of one that is off the list.
    gone_at: Option<Instant>,
}

impl Terms {
    /// What is said of those that are insecure.
    #[cfg(feature = "config")]
    pub(crate) const INSECURE: &str = "workers beyond this machine are dialled without TLS: everybody on the way can read \
                                       and change what is said, tokens included";
}

impl Targets {
    /// A list without workers.
    pub(crate) fn new(manager: &Manager, list: String, grace: Duration, limit: usize) -> Self {
        Self::dialled(manager, list, Terms::default(), grace, limit)
    }

    /// One whose workers are dialled in such a way.
    pub(crate) fn dialled(
        manager: &Manager,
        list: String,
        terms: Terms,
        grace: Duration,
        limit: usize,
    ) -> Self {
        Self {
            manager: manager.clone(),
            list,
            terms,
            grace,
            limit,
            registered: BTreeMap::new(),
            waiting: (Vec::new(), Instant::now()),
            said: BTreeSet::new(),
            departures: JoinSet::new(),
        }
    }

    /// How many are registered.
    #[cfg(any(feature = "config", test))]
    pub(crate) fn len(&self) -> usize {
        self.registered.len()
    }

    /// From now on the list has these, and these faults, which are said once.
    pub(crate) fn follow(&mut self, wanted: Vec<Target>, mut faults: Vec<String>) {
        let now = Instant::now();
        let mut left: BTreeSet<WorkerId> = self.registered.keys().cloned().collect();
        let mut seen = BTreeSet::new();
        self.waiting = (Vec::new(), now + AGAIN_AFTER);
        for target in wanted {
            left.remove(&target.worker);
            if !seen.insert(target.worker.clone()) {
                faults.push(format!(
                    "{} is not dialled: another one on the list is {:?} too; name each worker once",
                    target.address,
                    target.worker.as_str()
                ));
            } else if let Err(fault) = self.take(&target) {
                faults.push(fault);
                self.waiting.0.push(target);
            }
        }
        for worker in left {
            if let Some(registered) = self.registered.get_mut(&worker) {
                registered.gone_at.get_or_insert(now + self.grace);
            }
        }
        self.say(faults);
        self.attend();
    }

    /// Registers one, unless it is already.
    fn take(&mut self, target: &Target) -> Result<(), String> {
        if let Some(registered) = self.registered.get_mut(&target.worker) {
            registered.gone_at = None;
            if registered.target == *target {
                return Ok(());
            }
        } else if self.registered.len() >= self.limit {
            return Err(format!(
                "more than {} workers; the others are not dialled",
                self.limit
            ));
        } else if self.manager.stream_state(&target.worker).is_some() {
            return Err(format!(
                "{} is not dialled: a worker {:?} is registered already; give it another id",
                target.address,
                target.worker.as_str()
            ));
        }
        let mut context = WorkerContext::new(target.worker.clone());
        context.pool_name.clone_from(&target.pool);
        context.insecure = self.terms.insecure;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.terms.tls {
            let name = target.server_name.as_deref();
            context.tls = Some(name.map_or_else(|| tls.clone(), |name| tls.named(name)));
        }
        self.manager
            .register_worker(target.address.clone(), context)
            .map_err(|error| error.to_string())?;
        tracing::info!(list = %self.list, worker = %target.worker, address = %target.address, "worker listed");
        let registered = Registered {
            target: target.clone(),
            gone_at: None,
        };
        self.registered.insert(target.worker.clone(), registered);
        Ok(())
    }

    /// Resolves when there is something to attend to. May be dropped and called again.
    pub(crate) async fn due(&mut self) {
        let gone = self.registered.values().filter_map(|it| it.gone_at).min();
        let again = (!self.waiting.0.is_empty()).then_some(self.waiting.1);
        let due = gone.into_iter().chain(again).min();
        tokio::select! {
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            Some(_departed) = self.departures.join_next() => {}
            else => std::future::pending().await,
        }
    }

    /// Gives up those whose time has come, and tries those again that wait for it.
    pub(crate) fn attend(&mut self) {
        let now = Instant::now();
        let is_gone = |it: &Registered| it.gone_at.is_some_and(|at| at <= now);
        let gone: Vec<WorkerId> = self
            .registered
            .iter()
            .filter(|(_, it)| is_gone(it))
            .map(|(worker, _)| worker.clone())
            .collect();
        for worker in gone {
            tracing::info!(list = %self.list, %worker, "worker not listed any more");
            self.drop_worker(&worker);
        }
        if self.waiting.1 > now {
            return;
        }
        let (waiting, _) = std::mem::replace(&mut self.waiting, (Vec::new(), now + AGAIN_AFTER));
        for target in waiting {
            // Why it could not be was said.
            if self.take(&target).is_err() {
                self.waiting.0.push(target);
            }
        }
    }

    /// Unregisters all of them.
    pub(crate) async fn stop(mut self) {
        let workers: Vec<WorkerId> = self.registered.keys().cloned().collect();
        for worker in workers {
            self.drop_worker(&worker);
        }
        while self.departures.join_next().await.is_some() {}
    }

    /// Forgets a worker; it is read empty while others are looked after.
    fn drop_worker(&mut self, worker: &WorkerId) {
        self.registered.remove(worker);
        if let Some(departure) = self.manager.begin_departure(worker) {
            self.departures
                .spawn(async move { departure.await.is_ok() });
        }
    }

    /// Says what was not said of the list before.
    pub(crate) fn say(&mut self, faults: Vec<String>) {
        let faults: BTreeSet<String> = faults.into_iter().collect();
        let news: Vec<&String> = faults.difference(&self.said).collect();
        if !news.is_empty() {
            tracing::warn!(list = %self.list, faults = news.len(), fault = %few(&news), "list of workers");
        }
        self.said = faults;
    }
}

/// The first of them, and how many more there are.
fn few(faults: &[&String]) -> String {
    let shown: Vec<&str> = faults
        .iter()
        .take(SHOWN_FAULTS)
        .map(|it| it.as_str())
        .collect();
    let shown = shown.join("; ");
    match faults.len().saturating_sub(SHOWN_FAULTS) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::ManagerConfig;

    const GRACE: Duration = Duration::from_millis(250);

    fn target(worker: &str, address: &str) -> Target {
        let address = address.parse().expect("an address");
        Target::new(address, worker, Some("p".into()))
    }

    /// Ids and addresses of all workers of a manager.
    fn workers(manager: &Manager) -> Vec<(String, String)> {
        let streams = manager.list_streams().into_iter();
        let address = |endpoint: Option<Address>| endpoint.map(|it| it.to_string());
        streams
            .map(|it| {
                let address = address(it.endpoint).unwrap_or_default();
                (it.worker_id.as_str().to_owned(), address)
            })
            .collect()
    }

    fn pair(worker: &str, address: &str) -> (String, String) {
        (worker.to_owned(), address.to_owned())
    }

    #[tokio::test]
    async fn workers_come_move_and_go_with_the_list() {
        let manager = Manager::start(ManagerConfig::new("n1")).expect("it starts");
        let mut targets = Targets::new(&manager, "a list".into(), GRACE, 10);
        let (a, b) = (target("a", "127.0.0.1:1"), target("b", "127.0.0.1:2"));
        targets.follow(vec![a.clone(), b], Vec::new());
        let both = [pair("a", "127.0.0.1:1"), pair("b", "127.0.0.1:2")];
        assert_eq!(workers(&manager), both);
        let moved = target("b", "127.0.0.1:3");
        targets.follow(vec![a.clone(), moved.clone()], Vec::new());
        let both = [pair("a", "127.0.0.1:1"), pair("b", "127.0.0.1:3")];
        // The session before is ended first.
        let mut changes = manager.subscribe();
        let change = async {
            while workers(&manager) != both {
                changes.changed().await.expect("it runs");
            }
        };
        let moved_there = tokio::time::timeout(Duration::from_secs(20), change).await;
        assert!(moved_there.is_ok(), "{:?}", workers(&manager));
        // Off for a moment.
        targets.follow(vec![a.clone()], Vec::new());
        assert_eq!(targets.len(), 2);
        targets.follow(vec![a.clone(), moved], Vec::new());
        assert!(targets.registered.values().all(|it| it.gone_at.is_none()));
        targets.follow(vec![a], Vec::new());
        while targets.len() == 2 {
            targets.due().await;
            targets.attend();
        }
        assert_eq!(workers(&manager), [pair("a", "127.0.0.1:1")]);
        targets.stop().await;
        assert!(workers(&manager).is_empty());
    }

    #[test]
    fn thousands_of_faults_are_said_in_one_line() {
        let faults: Vec<String> = (0..5_000).map(|n| format!("fault {n}")).collect();
        let all: Vec<&String> = faults.iter().collect();
        assert_eq!(few(&all), "fault 0; fault 1; fault 2; and 4997 more");
        assert_eq!(few(&all[..3]), "fault 0; fault 1; fault 2");
        assert_eq!(few(&all[..1]), "fault 0");
    }

    #[tokio::test]
    async fn what_is_beyond_this_machine_too_much_or_somebody_elses_is_said_and_not_dialled() {
        let manager = Manager::start(ManagerConfig::new("n1")).expect("it starts");
        let elsewhere: Address = "127.0.0.1:9".parse().expect("an address");
        manager
            .register_worker(elsewhere, WorkerContext::new("taken"))
            .expect("a free id");
        let mut targets = Targets::new(&manager, "a list".into(), GRACE, 2);
        let list = [
            ("a", "127.0.0.1:1"),
            ("a", "127.0.0.1:2"),
            ("far", "192.0.2.1:1"),
            ("named", "web.example:1"),
            ("taken", "127.0.0.1:3"),
            ("b", "127.0.0.1:4"),
            ("one-too-many", "127.0.0.1:5"),
        ];
        let list = list.map(|(worker, address)| target(worker, address));
        targets.follow(list.into(), Vec::new());
        let there = [
            ("a", "127.0.0.1:1"),
            ("b", "127.0.0.1:4"),
            ("taken", "127.0.0.1:9"),
        ];
        assert_eq!(workers(&manager), there.map(|(id, at)| pair(id, at)));
        let said: Vec<&String> = targets.said.iter().collect();
        assert_eq!(said.len(), 5, "{said:?}");
        for part in [
            "192.0.2.1:1 is not on this machine",
            "web.example:1 is not on this machine",
            "another one on the list is \"a\" too",
            "\"taken\" is registered already",
            "more than 2 workers",
        ] {
            assert!(said.iter().any(|it| it.contains(part)), "{part}: {said:?}");
        }
        // A place that becomes free is taken.
        assert!(manager.unregister_worker(&"taken".into()).await);
        targets.limit = 3;
        while targets.len() < 3 {
            targets.due().await;
            targets.attend();
        }
        assert!(manager.stream(&"taken".into()).is_some());
        targets.stop().await;
    }
}
