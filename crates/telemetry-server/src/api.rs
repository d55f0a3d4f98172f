//! What leaves the manager as JSON, version 1: typed rows and answers, made from what it knows.
//!
//! Whatever `/api/v1` says is one of these, and the OpenAPI document is made of them. No HTTP in here: how a
//! question looks and who may ask it stands in [`http`](crate::http).
//!
//! Times end in `_ns` and are nanoseconds since the Unix epoch; spans of time end in `_ns` as well, and are
//! nanoseconds. What is not known is left out. Fields may be added within a version; none is renamed or taken away.
//! Text is as workers sent it; whoever writes it out escapes it.

mod accounts;
mod catalog;
mod described;
mod fleet;
mod handler;
mod page;
mod policy;
mod pool;
mod roster;
mod source;
mod worker;

use serde::Serialize;

pub use accounts::{Accounts, Law, Ledger};
pub use catalog::{CatalogEntry, CatalogKey, Event, Quarantined};
pub use described::described;
pub use fleet::Fleet;
pub use handler::Handler;
pub use page::{Asked, DEFAULT_LIMIT, MAX_LIMIT, PageError, natural};
pub use policy::{
    Policy, PolicyChange, PolicyChecked, PolicyCounts, PolicyRule, PolicyStatus, PolicyTaken,
    PolicyWorker, Problem, RuleCounts,
};
pub use pool::Pool;
pub use source::{ApiResource, ApiSource};
pub use worker::{AppliedPolicy, Incarnation, Process, Worker, WorkerDetail};

pub(crate) use page::{Row, did_you_mean, page, spoken};
pub(crate) use roster::{pools, worker, workers};

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct List<T> {
    /// The rows of this page.
    pub items: Vec<T>,
    /// How many rows there are on all pages.
    pub total: usize,
    /// What `after` has to be for the next page; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Refused {
    /// What was wrong, where, and what is allowed.
    pub error: String,
    /// Of rules that were not taken: everything that is wrong with them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl Refused {
    /// Refused for this.
    #[must_use]
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            problems: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
