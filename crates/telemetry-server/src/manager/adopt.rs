//! Memory of workers that an earlier manager held and somebody kept.

use std::os::fd::OwnedFd;

use super::{Inner, Manager};
use crate::identity::WorkerContext;
use crate::region::Region;
use crate::session::{Held, read_name};

impl Manager {
    /// Takes back the memory of a worker that a [`RegionStore`](crate::stream::RegionStore) kept under this name,
    /// from an earlier life of this manager. If the worker's process is gone, what it left is dispatched and
    /// counted for its pool: what an earlier manager dispatched without having acknowledged it comes a second
    /// time. Else it is awaited for as long as one that is away, and read if it does not come back.
    ///
    /// To be called when all handlers are attached, and before workers are registered or dial in. False if
    /// the name is no such name, or the descriptor is no memory of a worker; then it is closed.
    pub fn adopt_region(&self, name: &str, region: OwnedFd) -> bool {
        let Some((context, process)) = read_name(name) else {
            return false;
        };
        let kept = self.inner.shared.shelf.kept(name.to_owned());
        let held = Region::of(region)
            .map_err(|error| error.to_string())
            .and_then(|region| Held::adopted(region, process, kept));
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(name, %error, "the memory of a worker that was kept cannot be used");
                return false;
            }
        };
        self.inner.adopt(context, held, process.is_over());
        true
    }
}

impl Inner {
    fn adopt(self: &std::sync::Arc<Self>, context: WorkerContext, held: Held, is_over: bool) {
        let id = context.worker_id.clone();
        let mut registry = self.lock();
        if registry.closed || registry.workers.contains_key(&id) {
            tracing::warn!(worker = %id, "the memory of a worker that was kept comes too late");
            return;
        }
        registry.named_pools.extend(context.pool_name.clone());
        self.enter(&mut registry, context, None);
        if let Some(entry) = registry.workers.get(&id) {
            entry.record.hold(held);
        }
        drop(registry);
        if is_over {
            let manager = Manager {
                inner: std::sync::Arc::clone(self),
            };
            let _goes_on = manager.begin_departure(&id);
        }
        self.changes.notify();
    }
}
