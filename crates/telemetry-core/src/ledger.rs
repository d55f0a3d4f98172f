//! The ledger: closed lists of reasons, counters, and the laws that they must obey.
//!
//! Every event ends in exactly one place. What is not delivered is counted under one [`Reason`];
//! what happened to an event that lives on is a [`Note`]. This room only counts: it never decides
//! what is dropped, and it knows nothing of queues or streams.

mod reading;
mod reason;
mod report;
mod stream;
mod worker;

pub(crate) use reading::Reading;
pub use reason::{Counts, Note, Notes, Reason, Stage};
pub use report::{fold_for_closed_reasons, snapshot_from_report, snapshot_to_report};
pub use stream::StreamSnapshot;
pub(crate) use worker::counts_of;
pub use worker::{Imbalance, NameCount, WorkerLedger, WorkerSnapshot};
