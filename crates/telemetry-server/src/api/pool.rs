//! Workers by pool.

use serde::Serialize;

use super::{Ledger, Row};
use crate::manager::PoolInfo;
#[cfg(feature = "pool")]
use crate::pool::PoolStatus;

/// The workers of a pool, past and present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Pool {
    /// Its name; left out: of workers that are in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Workers that are there.
    pub workers: u64,
    /// Those of them that are streaming.
    pub streaming: u64,
    /// Processes that are ready, of a pool whose processes the manager starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// Streams opened after the first one of a worker.
    pub reconnects: u64,
    /// What became of its events.
    pub ledger: Ledger,
}

impl From<PoolInfo> for Pool {
    fn from(info: PoolInfo) -> Self {
        Self {
            name: info.pool_name,
            workers: info.totals.workers,
            streaming: info.totals.streaming,
            available: None,
            reconnects: info.totals.reconnects,
            ledger: Ledger::of_totals(&info.totals),
        }
    }
}

#[cfg(feature = "pool")]
impl Pool {
    /// Adds what is known of the processes of these pools; one that had no event yet is added too.
    pub(super) fn add_processes(pools: &mut Vec<Self>, processes: Vec<PoolStatus>) {
        for status in processes {
            let is_it = |pool: &&mut Self| pool.name.as_deref() == Some(&status.name);
            if let Some(pool) = pools.iter_mut().find(is_it) {
                pool.available = Some(status.available_workers);
                pool.workers = pool.workers.max(status.workers.len() as u64);
                continue;
            }
            pools.push(Self {
                name: Some(status.name),
                workers: status.workers.len() as u64,
                streaming: 0,
                available: Some(status.available_workers),
                reconnects: 0,
                ledger: Ledger::default(),
            });
        }
    }
}

impl Row for Pool {
    const SORTS: &'static [&'static str] = &["name", "workers", "received", "lost"];

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn number(&self, sort: &str) -> u64 {
        match sort {
            "workers" => self.workers,
            "received" => self.ledger.received,
            _ => self.ledger.lost,
        }
    }
}
