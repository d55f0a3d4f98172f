//! All workers as one list: those that the manager streams with, and those of its pools that it does not.

use telemetry_core::catalog::Pattern;

use super::{ApiSource, Asked, List, PageError, Pool, Row, Worker, page};
use crate::identity::WorkerId;
use crate::manager::Manager;
#[cfg(feature = "pool")]
use crate::pool::WorkerStatus;

/// A worker that was found, before anything else is known of it.
struct Found {
    id: WorkerId,
    pool: Option<String>,
    #[cfg(feature = "pool")]
    process: Option<WorkerStatus>,
}

/// Every worker.
#[cfg_attr(
    not(feature = "pool"),
    expect(unused_variables, unused_mut, reason = "pools add to it")
)]
fn find(source: &dyn ApiSource, manager: &Manager) -> Vec<Found> {
    let streams = manager.names().into_iter();
    let found = streams.map(|(id, pool)| Found {
        id,
        pool,
        #[cfg(feature = "pool")]
        process: None,
    });
    let mut found: Vec<Found> = found.collect();
    #[cfg(feature = "pool")]
    {
        // Those are sorted.
        let streams = found.len();
        for pool in source.processes() {
            for process in pool.workers {
                let id = process.worker_id.as_str();
                let place = found[..streams].binary_search_by(|it| it.id.as_str().cmp(id));
                match place {
                    Ok(place) => found[place].process = Some(process),
                    Err(_) => found.push(Found {
                        id: id.into(),
                        pool: Some(pool.name.clone()),
                        process: Some(process),
                    }),
                }
            }
        }
    }
    found
}

/// What is known of a worker that was found; none if it went since.
fn look_at(manager: &Manager, found: Found) -> Option<Worker> {
    let stream = manager.stream(&found.id).map(Worker::from);
    #[cfg(feature = "pool")]
    if let Some(process) = found.process {
        return Some(match stream {
            Some(mut worker) => {
                worker.add_lines(&process.stderr);
                worker.add_process(process);
                worker
            }
            None => Worker::of_process(found.pool, process),
        });
    }
    stream
}

/// One worker with all that is known of it.
pub(crate) fn worker(source: &dyn ApiSource, manager: &Manager, id: &str) -> Option<Worker> {
    let mut found = find(source, manager).into_iter();
    let mut worker = look_at(manager, found.find(|it| it.id.as_str() == id)?)?;
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
    found.retain(|found| {
        let pool = found.pool.as_deref().unwrap_or_default();
        asked.wants(found.id.as_str(), None) && pools.is_none_or(|pools| pools.matches(pool))
    });
    let row = |found: Found| {
        let mut worker = look_at(manager, found)?;
        worker.detail = None;
        Some(worker)
    };
    if sort != Worker::SORTS[0] {
        return page(found.into_iter().filter_map(row).collect(), asked);
    }
    let keys: Vec<(&str, u64)> = found.iter().map(|it| (it.id.as_str(), 0)).collect();
    let (places, has_more) = asked.places(&keys, true, is_reversed)?;
    let total = found.len();
    let last = places.last().filter(|_| has_more);
    let next = last.map(|&place| found[place].id.as_str().to_owned());
    let mut found: Vec<Option<Found>> = found.into_iter().map(Some).collect();
    let items = places.iter().filter_map(|&place| row(found[place].take()?));
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
