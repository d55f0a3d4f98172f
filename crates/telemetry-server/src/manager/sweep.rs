//! Notices the ends of processes that nobody tells of, so that whoever reads only reads.
//!
//! One task for all workers. It asks the system only about processes whose streams are over, on a thread
//! that may wait, and ends with the manager.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::Inner;
use super::aside::aside;
use crate::session::Record;

/// Time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Looks until the manager is gone.
pub(super) async fn run(inner: Weak<Inner>) {
    loop {
        sleep(BETWEEN_LOOKS).await;
        let Some(inner) = inner.upgrade() else { return };
        let silent: Vec<Arc<Record>> = {
            let registry = inner.lock();
            let records = registry.records().filter(|it| it.may_have_ended());
            records.cloned().collect()
        };
        if silent.is_empty() && !inner.book.has_departed() {
            continue;
        }
        let looked = aside(move || {
            for record in silent {
                record.notice_end(&inner.shared);
            }
            inner.book.notice_ends();
        });
        if !looked.await {
            return;
        }
    }
}
