//! The workers as operators see them: those the manager streams with, and those of the pools that
//! only report over stderr or not at all.
//!
//! The manager knows streams and the pools know processes; here both become one list.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::discover::{Discovery, DiscoveryInfo};
use crate::http::{ApiResource, ApiSource};
use crate::manager::Manager;
use crate::pool::{Pool, PoolStatus, WorkerState, WorkerStatus};

/// Answers for the manager and its pools.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    manager: Manager,
    /// Held weakly: a pool must be free to end.
    pools: Arc<Mutex<Vec<Weak<Pool>>>>,
    /// What is known of the lists that are followed.
    lists: Arc<Mutex<Vec<watch::Receiver<DiscoveryInfo>>>>,
}

impl Roster {
    pub(super) fn new(manager: Manager) -> Self {
        Self {
            manager,
            pools: Arc::default(),
            lists: Arc::default(),
        }
    }

    /// From now on this list is shown.
    pub(super) fn add_list(&self, list: &Discovery) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.push(list.subscribe());
    }

    /// The lists, with how old they are.
    fn lists(&self) -> Value {
        let now_ns = self.manager.dispatcher().clock().unix_nanos();
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |list: &watch::Receiver<DiscoveryInfo>| {
            let info = list.borrow();
            let age_ms = info.age(now_ns).map(|age| age.as_millis());
            json!({
                "list": info.list,
                "workers": info.workers,
                "answered_ns": info.answered_ns,
                "age_ms": age_ms.and_then(|it| u64::try_from(it).ok()),
                "fault": info.fault,
            })
        };
        lists.iter().map(row).collect()
    }

    /// From now on the workers of this pool are listed too.
    pub(super) fn add(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.push(Arc::downgrade(pool));
    }
}

impl ApiSource for Roster {
    fn fetch(&self, resource: ApiResource) -> Value {
        if resource == ApiResource::Discovery {
            return self.lists();
        }
        let mut answer = self.manager.fetch(resource);
        if resource == ApiResource::Workers
            && let Value::Array(rows) = &mut answer
        {
            let id = |row: &Value| row["worker_id"].as_str().map(str::to_owned);
            let places = rows.iter().enumerate();
            let places: HashMap<String, usize> = places
                .filter_map(|(place, row)| Some((id(row)?, place)))
                .collect();
            for pool in self.processes() {
                for worker in &pool.workers {
                    match places.get(&worker.worker_id) {
                        Some(place) => add_process(&mut rows[*place], worker),
                        None => rows.push(without_stream(&pool.name, worker)),
                    }
                }
            }
        }
        answer
    }

    fn manager(&self) -> Option<&Manager> {
        Some(&self.manager)
    }

    fn processes(&self) -> Vec<PoolStatus> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = pools.iter().filter_map(Weak::upgrade);
        pools.map(|pool| pool.status()).collect()
    }
}

/// A row of a worker that the manager does not stream with, in the shape of the others as far as there is
/// something to say.
fn without_stream(pool: &str, worker: &WorkerStatus) -> Value {
    let mut row = json!({
        "worker_id": worker.worker_id,
        "pool_name": pool,
        "state": worker.state,
        "ledger": worker.stderr,
        "last_error": null,
    });
    add_process(&mut row, worker);
    row
}

/// Adds to a row what the pool knows of the worker's processes.
fn add_process(row: &mut Value, worker: &WorkerStatus) {
    // Of a process that ended a pid would be taken for that of one that runs.
    row["pid"] = json!(worker.pid);
    row["pool_state"] = json!(worker.state);
    row["adopted"] = json!(worker.adopted);
    row["restarts"] = json!(worker.restarts);
    row["restart_failures"] = json!(worker.failures);
    row["last_exit"] = json!(worker.last_exit);
    row["last_exit_planned"] = json!(worker.last_exit_planned);
    row["last_exit_code"] = json!(worker.last_exit_code);
    row["last_signal"] = json!(worker.last_signal);
    row["last_pid"] = json!(worker.last_pid);
    row["last_stderr"] = json!(worker.last_stderr);
    if worker.state == WorkerState::Backoff {
        row["state"] = json!(worker.state);
    }
    // The end of a process is why its stream ended, and why it has no socket.
    row["stream_error"] = row["last_error"].take();
    row["last_error"] = match &worker.last_exit {
        Some(_) if worker.last_exit_planned => match row["state"].as_str() {
            Some("streaming" | "ready" | "stopped") => Value::Null,
            _ => row["stream_error"].clone(),
        },
        Some(exit) => json!(crash(exit, worker.last_stderr.as_deref())),
        None => row["stream_error"].clone(),
    };
}

/// A crash in one line.
fn crash(exit: &str, stderr: Option<&str>) -> String {
    match stderr {
        Some(line) => format!("{exit}: {line}"),
        None => exit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(state: WorkerState) -> WorkerStatus {
        let mut status = WorkerStatus::new("p-1");
        status.state = state;
        status.restarts = 3;
        status.failures = 3;
        status.last_exit = Some("exit code 1".into());
        status.last_exit_code = Some(1);
        status.last_pid = Some(7);
        status.last_stderr = Some("ValueError: x".into());
        status
    }

    #[test]
    fn a_crash_loop_shows_the_exit_and_no_pid_of_a_running_process() {
        let mut row = json!({ "worker_id": "p-1", "state": "connecting", "pid": 7,
                              "last_error": "there is no socket" });
        add_process(&mut row, &worker(WorkerState::Backoff));
        assert_eq!(row["state"], "backoff");
        assert_eq!((&row["pid"], &row["last_pid"]), (&Value::Null, &json!(7)));
        assert_eq!(row["last_error"], "exit code 1: ValueError: x");
        assert_eq!(row["stream_error"], "there is no socket");
    }

    #[tokio::test]
    async fn a_list_is_shown_with_its_age_and_what_is_wrong_with_it() {
        use crate::discover::{DiscoveryConfig, ListSource};
        use crate::manager::ManagerConfig;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.json");
        std::fs::write(&path, r#"[{"targets": ["127.0.0.1:1"]}]"#).unwrap();
        let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
        let roster = Roster::new(manager.clone());
        let source = ListSource::File { path: path.clone() };
        let list = Discovery::start(&manager, DiscoveryConfig::new(source));
        roster.add_list(&list);
        let mut known = list.subscribe();
        let mut until = async |wanted: fn(&DiscoveryInfo) -> bool| {
            let waited = known.wait_for(wanted);
            let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waited);
            drop(waited.await.expect("in time").expect("it is followed"));
        };
        until(|info| info.workers == 1).await;
        let row = &roster.fetch(ApiResource::Discovery)[0];
        assert_eq!((&row["workers"], &row["fault"]), (&json!(1), &Value::Null));
        assert!(
            row["age_ms"].as_u64().is_some_and(|age| age < 60_000),
            "{row}"
        );
        assert_eq!(row["list"], json!(path));
        std::fs::write(&path, "[]").unwrap();
        until(|info| info.fault.is_some()).await;
        let row = &roster.fetch(ApiResource::Discovery)[0];
        assert_eq!(row["fault"], "it lists no worker");
        assert!(row["age_ms"].is_u64() && row["workers"] == 1, "{row}");
    }

    #[test]
    fn a_planned_end_leaves_no_error_behind() {
        let mut planned = worker(WorkerState::Ready);
        planned.pid = Some(8);
        planned.last_exit_planned = true;
        let mut row = json!({ "state": "streaming", "last_error": "the stream ended" });
        add_process(&mut row, &planned);
        assert_eq!((&row["pid"], &row["last_error"]), (&json!(8), &Value::Null));
    }
}
