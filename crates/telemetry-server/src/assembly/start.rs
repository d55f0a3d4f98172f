//! The start of everything, part by part.

use std::sync::Arc;

use telemetry_core::{
    Source, SystemClock,
    emit::{PolicySpec, SamplingRule},
};

use super::roster::Roster;
use super::{Assembly, AssemblyError, AssemblyParts};
use crate::accept::Doorway;
use crate::config::{AcceptSection, Config};
use crate::descriptors::OpenDescriptors;
use crate::discover::Discovery;
use crate::dispatch::{Dispatcher, QueuedConfig};
use crate::export::{
    HandlerMetrics, LogHandler, ProcessMetrics, PrometheusConfig, PrometheusExporter,
};
use crate::http::{HttpServer, HttpState};
use crate::manager::{Manager, ManagerConfig};
use crate::pool::{Pool, PoolConfig, RunDir, WorkerTelemetry, end_strangers};
use crate::watch_dir::WatchDir;

/// Starts everything.
pub(super) async fn start(config: Config, parts: AssemblyParts) -> Result<Assembly, AssemblyError> {
    let node = config.node.clone().unwrap_or_else(host_name);
    let clock = Arc::new(SystemClock::new());
    let dispatcher = Dispatcher::new(
        Arc::clone(&config.catalog),
        Source::of_node(node.as_str()),
        clock,
    );
    let prometheus = exporters(&config, &dispatcher)?;
    let mut settings = ManagerConfig::with_dispatcher(node, dispatcher.clone());
    settings.policy = policy(&config.telemetry);
    settings.rules = config.policy.rules;
    settings.policy_state = config.policy.state_file;
    if let Some(accept) = &config.accept {
        settings.away_grace = accept.grace;
    }
    settings.dials_per_second = config.dials_per_second;
    settings.region_store = parts.region_store;
    settings.catalog_mode = config.catalog_mode;
    // All of them are named, so that nobody takes their room.
    let modes = config.pools.iter().map(|pool| {
        let mode = config.pool_catalog_modes.get(&pool.name);
        (pool.name.clone(), *mode.unwrap_or(&config.catalog_mode))
    });
    settings.pool_catalog_modes = modes.collect();
    let manager = Manager::start(settings)?;
    let exporter = prometheus.clone();
    manager.on_departure(move |worker| {
        exporter.fold_worker(worker.as_str());
    });
    prometheus.add_source(manager.clone());
    prometheus.add_source(HandlerMetrics(dispatcher.clone()));
    if let Some(log) = parts.log {
        prometheus.add_source(ProcessMetrics::new(log, OpenDescriptors::open().ok()));
    }
    let mut assembly = Assembly {
        manager,
        dispatcher,
        acceptors: Vec::new(),
        http: None,
        watch: None,
        discoveries: Vec::new(),
        pools: Vec::new(),
        strangers: None,
    };
    let roster = Roster::new(assembly.manager.clone());
    if let Some(http) = &config.http {
        let state = HttpState::new(assembly.dispatcher.clone(), prometheus, roster.clone());
        let server = HttpServer::start(state, http.clone().into()).await;
        assembly.http = Some(server?);
    }
    // All handlers are attached, and nobody has an id yet.
    for (name, region) in parts.regions {
        assembly.manager.adopt_region(&name, region);
    }
    for endpoint in &config.endpoints {
        let context = endpoint.context();
        let context = context.map_err(AssemblyError::of("[[endpoint]]"))?;
        let address = endpoint.address.clone();
        assembly.manager.register_worker(address, context)?;
    }
    if let Some(watch) = config.watch {
        let watching = WatchDir::start(&assembly.manager, watch.directory, watch.pool);
        assembly.watch = Some(watching.map_err(AssemblyError::of("[watch]"))?);
    }
    for list in config.discover {
        let discovery = Discovery::start(&assembly.manager, list);
        roster.add_list(&discovery);
        assembly.discoveries.push(discovery);
    }
    // Before the pools: what cannot be used here must not end what they would have adopted.
    let doors = doors(config.accept.as_ref())?;
    let mut pools = config.pools;
    for pool in &mut pools {
        if let Some(stderr_of) = &parts.stderr_of {
            pool.stderr = stderr_of(&pool.name);
        }
        pool.on_manager_exit = config.on_manager_exit;
        pool.exec_shim.clone_from(&parts.exec_shim);
        // A mistake in the last one must not end what the first one would have adopted.
        Pool::check(pool)?;
    }
    for pool in start_pools(&assembly.manager, pools, parts.run_dir.as_ref()).await? {
        let pool = Arc::new(pool);
        roster.add(&pool);
        assembly.pools.push(pool);
    }
    // Workers that were adopted are known by now, whoever of them calls first.
    let opened = doors.into_iter().map(|door| door.open(&assembly.manager));
    assembly.acceptors.extend(opened);
    if let Some(run_dir) = parts.run_dir {
        let ending = tokio::spawn(async move { end_strangers(&run_dir).await });
        assembly.strangers = Some(ending);
    }
    Ok(assembly)
}

/// The exporters of the configuration, attached. Prometheus is one of them whatever it says.
fn exporters(
    config: &Config,
    dispatcher: &Dispatcher,
) -> Result<PrometheusExporter, AssemblyError> {
    let counting = PrometheusConfig {
        series_limit: config.series_limit,
    };
    let prometheus = PrometheusExporter::new(Arc::clone(&config.catalog), counting);
    dispatcher.attach("prometheus", "*", prometheus.clone())?;
    if let Some(log) = &config.log {
        let patterns: Vec<&str> = log.patterns.iter().map(String::as_str).collect();
        let queue = QueuedConfig::default();
        dispatcher.attach_queued("log", &patterns, LogHandler, queue)?;
    }
    Ok(prometheus)
}

/// Listens where workers will dial in.
fn doors(accept: Option<&AcceptSection>) -> Result<Vec<Doorway>, AssemblyError> {
    let Some(accept) = accept else {
        return Ok(Vec::new());
    };
    let doors = accept.doors().map_err(AssemblyError::of("[accept]"))?;
    let bound = doors.into_iter().map(Doorway::bind);
    bound
        .map(|door| door.map_err(AssemblyError::of("[accept]")))
        .collect()
}

/// Starts all pools side by side; they come in the order of the file.
async fn start_pools(
    manager: &Manager,
    pools: Vec<PoolConfig>,
    run_dir: Option<&RunDir>,
) -> Result<Vec<Pool>, AssemblyError> {
    let starting: Vec<_> = pools
        .into_iter()
        .map(|pool| {
            let (manager, run_dir) = (manager.clone(), run_dir.cloned());
            tokio::spawn(async move {
                match run_dir {
                    Some(run_dir) => Pool::start_in(&manager, pool, &run_dir).await,
                    None => Pool::start(&manager, pool).await,
                }
            })
        })
        .collect();
    let mut started = Vec::new();
    for pool in starting {
        started.push(pool.await??);
    }
    Ok(started)
}

/// What `[telemetry]` says is where the policy of every worker starts, spawned or not.
fn policy(telemetry: &WorkerTelemetry) -> PolicySpec {
    let mut policy = PolicySpec::default();
    policy.enabled = telemetry.enabled;
    policy.deny.clone_from(&telemetry.excluded_events);
    if telemetry.sampling_rate < 1.0 {
        let rate = telemetry.sampling_rate;
        policy.sampling.push(SamplingRule::of_all(rate));
    }
    policy
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
