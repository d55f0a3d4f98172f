//! Where the answers come from: a manager, and whoever has its pools.

use serde::Serialize;
use serde_json::Value;

use super::described;
use crate::manager::Manager;
#[cfg(feature = "pool")]
use crate::pool::PoolStatus;
use crate::session::StreamInfo;

/// What the manager is asked for, in the older API.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ApiResource {
    /// The streams of all workers, with their ledgers: an array.
    Workers,
    /// Totals by pool: an array.
    Pools,
    /// Names of events that no catalog has: an array.
    Quarantine,
    /// What is known of events and keys, and what workers sent beyond that: an object.
    Catalog,
    /// Lists of workers that are followed, and how old they are: an array.
    Discovery,
}

/// Whoever knows the workers.
///
/// Called on the server's task for each request, so it must not block for long. The answer is sent
/// as it is, its strings escaped.
pub trait ApiSource: Send + Sync {
    /// The present state of one resource of the older API.
    fn fetch(&self, resource: ApiResource) -> Value;

    /// The manager that version 1 of the API is about; without one that is not served.
    fn manager(&self) -> Option<&Manager> {
        None
    }

    /// The pools of processes, which are workers whether or not the manager streams with them.
    #[cfg(feature = "pool")]
    fn processes(&self) -> Vec<PoolStatus> {
        Vec::new()
    }
}

/// Knows nobody.
impl ApiSource for () {
    fn fetch(&self, _resource: ApiResource) -> Value {
        Value::Array(Vec::new())
    }
}

impl<F> ApiSource for F
where
    F: Fn(ApiResource) -> Value + Send + Sync,
{
    fn fetch(&self, resource: ApiResource) -> Value {
        self(resource)
    }
}

impl ApiSource for Manager {
    fn fetch(&self, resource: ApiResource) -> Value {
        match resource {
            ApiResource::Workers => workers(&self.list_streams()),
            ApiResource::Pools => table(&self.pools()),
            // Whoever follows lists knows them.
            ApiResource::Discovery => Value::Array(Vec::new()),
            ApiResource::Quarantine => table(&self.quarantine().list()),
            ApiResource::Catalog => {
                let mut known = described(self.catalog());
                known["learned"] = table(&self.learned().list());
                known["refused"] = table(&self.quarantine().list());
                known
            }
        }
    }

    fn manager(&self) -> Option<&Manager> {
        Some(self)
    }
}

/// The workers, each with the verdict on its ledger beside the numbers it is made of; null for a stock
/// worker, of which it cannot be known.
fn workers(streams: &[StreamInfo]) -> Value {
    let mut rows = table(streams);
    for (row, stream) in rows.as_array_mut().into_iter().flatten().zip(streams) {
        row["ledger_difference"] = match stream.legacy {
            true => Value::Null,
            false => stream.ledger_difference().into(),
        };
    }
    rows
}

/// Rows as JSON. They are plain data; what could not be written would be left out.
fn table(rows: &[impl Serialize]) -> Value {
    rows.iter()
        .filter_map(|row| serde_json::to_value(row).ok())
        .collect()
}
