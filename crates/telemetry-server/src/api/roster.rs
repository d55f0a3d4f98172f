//! All workers as one list: those that the manager streams with, and those of its pools that it does not.

use std::collections::BTreeMap;

use telemetry_core::catalog::Pattern;

use super::{ApiSource, Asked, List, PageError, Pool, Row, Worker, page};
use crate::identity::WorkerId;
use crate::manager::Manager;
#[cfg(feature = "pool")]
use crate::pool::WorkerStatus;

/// A worker that was found, before anything else is known of it.
#[derive(Default)]
struct Found {
    pool: Option<String>,
    #[cfg(feature = "pool")]
    process: Option<WorkerStatus>,
}

/// Every worker, by id.
fn find(source: &dyn ApiSource, manager: &Manager) -> BTreeMap<String, Found> {
    let streams = manager.names().into_iter();
    let found = streams.map(|(id, pool)| {
        let found = Found {
            pool,
            ..Found::default()
        };
        (id.as_str().to_owned(), found)
    });
    #[cfg_attr(not(feature = "pool"), expect(unused_mut, reason = "pools add to it"))]
    let mut found: BTreeMap<_, _> = found.collect();
    #[cfg(feature = "pool")]
    for pool in source.processes() {
        for process in pool.workers {
            let found = found.entry(process.worker_id.clone()).or_default();
            found.pool.get_or_insert_with(|| pool.name.clone());
            found.process = Some(process);
        }
    }
    #[cfg(not(feature = "pool"))]
    let _ = source;
    found
}

/// What is known of a worker that was found; none if it went since.
fn look_at(manager: &Manager, id: &str, found: Found) -> Option<Worker> {
    let stream = manager.stream(&WorkerId::from(id)).map(Worker::from);
    #[cfg(feature = "pool")]
    if let Some(process) = found.process {
        return Some(match stream {
            Some(mut worker) => {
                worker.add_process(process);
                worker
            }
            None => Worker::of_process(found.pool, process),
        });
    }
    #[cfg(not(feature = "pool"))]
    let _ = found;
    stream
}

/// One worker with all that is known of it.
pub(crate) fn worker(source: &dyn ApiSource, manager: &Manager, id: &str) -> Option<Worker> {
    let found = find(source, manager).remove(id)?;
    let mut worker = look_at(manager, id, found)?;
    if let Some(detail) = &mut worker.detail {
        let all = manager.incarnations().into_iter();
        let own = all.filter(|it| it.worker_id.as_str() == id);
        detail.incarnations = own.map(Into::into).collect();
    }
    Some(worker)
}

/// The page of all workers that is asked for, of these pools. In the order of names only those on it are looked at.
pub(crate) fn workers(
    source: &dyn ApiSource,
    manager: &Manager,
    pools: Option<&Pattern>,
    asked: &Asked,
) -> Result<List<Worker>, PageError> {
    let (sort, is_reversed) = asked.sort(Worker::SORTS)?;
    let mut found = find(source, manager);
    found.retain(|id, found| {
        let pool = found.pool.as_deref().unwrap_or_default();
        asked.wants(id, None) && pools.is_none_or(|pools| pools.matches(pool))
    });
    let row = |(id, found): (String, Found)| {
        let mut worker = look_at(manager, &id, found)?;
        worker.detail = None;
        Some(worker)
    };
    if sort != Worker::SORTS[0] {
        return page(found.into_iter().filter_map(row).collect(), asked);
    }
    let keys: Vec<(&str, u64)> = found.keys().map(|id| (id.as_str(), 0)).collect();
    let (places, has_more) = asked.places(&keys, true, is_reversed)?;
    let ids: Vec<String> = places
        .iter()
        .map(|&place| keys[place].0.to_owned())
        .collect();
    let (total, next) = (found.len(), ids.last().filter(|_| has_more).cloned());
    let items = ids.into_iter().filter_map(|id| {
        let found = found.remove(&id)?;
        row((id, found))
    });
    Ok(List {
        items: items.collect(),
        total,
        next,
    })
}

/// All pools.
pub(crate) fn pools(source: &dyn ApiSource, manager: &Manager) -> Vec<Pool> {
    #[cfg_attr(not(feature = "pool"), expect(unused_mut, reason = "pools add to it"))]
    let mut pools: Vec<Pool> = manager.pools().into_iter().map(Into::into).collect();
    #[cfg(feature = "pool")]
    Pool::add_processes(&mut pools, source.processes());
    #[cfg(not(feature = "pool"))]
    let _ = source;
    pools
}
