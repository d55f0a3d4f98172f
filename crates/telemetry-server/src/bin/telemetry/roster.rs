//! The workers as operators see them: those the manager streams with, and those of the pools that
//! only report over stderr or not at all.
//!
//! The manager knows streams and the pools know processes; here both become one list.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};
use telemetry_server::{ApiResource, ApiSource, Manager, Pool};

/// Answers for the manager and its pools.
#[derive(Debug, Clone)]
pub(crate) struct Roster {
    manager: Manager,
    /// Held weakly: a pool must be free to end.
    pools: Arc<Mutex<Vec<Weak<Pool>>>>,
}

impl Roster {
    pub(crate) fn new(manager: Manager) -> Self {
        Self {
            manager,
            pools: Arc::default(),
        }
    }

    /// From now on the workers of this pool are listed too.
    pub(crate) fn add(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.push(Arc::downgrade(pool));
    }

    /// One row for each pool worker that is not among `streaming`, in the shape of the others as
    /// far as there is something to say.
    fn without_stream(&self, streaming: &HashSet<String>) -> Vec<Value> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let statuses = pools
            .iter()
            .filter_map(Weak::upgrade)
            .map(|pool| pool.status());
        let row = |pool: &str, worker: telemetry_server::WorkerStatus| {
            json!({
                "worker_id": worker.worker_id,
                "pool_name": pool,
                "state": worker.state,
                "pid": worker.pid,
                "ledger": worker.stderr,
                "last_error": worker.last_exit,
            })
        };
        statuses
            .flat_map(|status| {
                let silent = status
                    .workers
                    .into_iter()
                    .filter(|worker| !streaming.contains(&worker.worker_id));
                silent
                    .map(|worker| row(&status.name, worker))
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

impl ApiSource for Roster {
    fn fetch(&self, resource: ApiResource) -> Value {
        let mut answer = self.manager.fetch(resource);
        if resource == ApiResource::Workers
            && let Value::Array(rows) = &mut answer
        {
            let ids = rows.iter().filter_map(|row| row["worker_id"].as_str());
            let streaming = ids.map(str::to_owned).collect();
            rows.extend(self.without_stream(&streaming));
        }
        answer
    }
}
