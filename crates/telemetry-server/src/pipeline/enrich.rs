//! What the manager says about where an event is from.
//!
//! The result is laid over the event's metadata by [`EventRef`](telemetry_core::EventRef) itself, so
//! that enriching costs no copy.

use std::sync::Arc;

use telemetry_core::{EventOrigin, Source};

use crate::identity::WorkerContext;

/// The source of a worker's events. `seen_pid` is the process behind the connection, or the one the
/// worker claims; the registering program's knowledge wins over it.
pub(crate) fn source_of(node: &Arc<str>, context: &WorkerContext, seen_pid: Option<u32>) -> Source {
    Source {
        node: Arc::clone(node),
        pool_name: context.pool_name.as_deref().map(Arc::from),
        worker_id: Some(context.worker_id.to_arc()),
        python_pid: context.python_pid.or(seen_pid),
        origin: EventOrigin::Live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_pid_wins_over_a_claimed_one() {
        let node: Arc<str> = "n1".into();
        let mut context = WorkerContext::new("w1").in_pool("p");
        assert_eq!(source_of(&node, &context, Some(7)).python_pid, Some(7));
        context.python_pid = Some(5);
        assert_eq!(source_of(&node, &context, Some(7)).python_pid, Some(5));
    }
}
