//! `telemetry manager`: everything a configuration file describes, until SIGINT or SIGTERM.
//!
//! Starts in an order in which failures are cheap (configuration, port, then processes) and stops
//! in the reverse one: workers finish first, so that their last events still arrive.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{PolicySpec, SamplingRule, Source, SystemClock, escape};
use telemetry_server::{
    Config, Dispatcher, HandlerMetrics, HttpConfig, HttpServer, HttpState, LogHandler, LogSection,
    Manager, ManagerConfig, OnManagerExit, Pool, PoolConfig, PoolInfo, PrometheusConfig,
    PrometheusExporter, QueuedConfig, RunDir, WatchDir, WorkerContext, WorkerTelemetry,
    end_strangers,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::roster::Roster;

/// How long streams and viewers may take to end once the workers have.
const STREAMS_END: Duration = Duration::from_secs(5);
/// How long the log may take to write what is queued for it.
const HANDLERS_END: Duration = Duration::from_secs(2);
/// Environment variable that sets what the manager itself logs.
const LOG_VARIABLE: &str = "TELEMETRY_LOG";

/// Runs the manager of a configuration file.
pub(crate) fn run(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    log_to_stderr(config.log.as_ref())?;
    let run_dir = hold(&config, path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Failure::of)?;
    let outcome = runtime.block_on(serve(config, run_dir.clone()));
    // A reader of our output that stands still must not keep us from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Until here nobody else may have it.
    drop(run_dir);
    outcome
}

/// Our own log and the exported events both go to stderr, the events from their own level on.
fn log_to_stderr(events: Option<&LogSection>) -> Result<(), Failure> {
    let ours = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let events = events.map_or("off".to_owned(), |log| log.level.to_string().to_lowercase());
    let filter = EnvFilter::try_new(format!("{ours},telemetry::event={events}"))
        .map_err(|error| Failure::Usage(format!("{LOG_VARIABLE}={ours:?}: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Holds the manager's directory, so that no second one does.
fn hold(config: &Config, path: &Path) -> Result<Option<RunDir>, Failure> {
    let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let hold = |run_dir: &PathBuf| RunDir::lock(run_dir, &name.to_string_lossy());
    config
        .run_dir
        .as_ref()
        .map(hold)
        .transpose()
        .map_err(Failure::of)
}

/// Everything that runs.
struct Running {
    manager: Manager,
    dispatcher: Dispatcher,
    http: Option<HttpServer>,
    watch: Option<WatchDir>,
    pools: Vec<Arc<Pool>>,
    /// Ends what an earlier manager left and the configuration does not know.
    strangers: Option<JoinHandle<()>>,
}

async fn serve(config: Config, run_dir: Option<RunDir>) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
    let running = start(config, run_dir).await?;
    announce(&running)?;
    stop_signal(&mut interrupt, &mut terminate).await;
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        () = stop(running) => Ok(()),
        () = stop_signal(&mut interrupt, &mut terminate) => {
            Err(Failure::Failed("ended at once; workers were killed".to_owned()))
        }
    }
}

async fn stop_signal(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn start(config: Config, run_dir: Option<RunDir>) -> Result<Running, Failure> {
    let node = config.node.clone().unwrap_or_else(host_name);
    let clock = Arc::new(SystemClock::new());
    let dispatcher = Dispatcher::new(
        Arc::clone(&config.catalog),
        Source::of_node(node.as_str()),
        clock,
    );
    let prometheus = PrometheusExporter::new(
        Arc::clone(&config.catalog),
        PrometheusConfig {
            series_limit: config.series_limit,
        },
    );
    dispatcher
        .attach("prometheus", "*", prometheus.clone())
        .map_err(Failure::of)?;
    if let Some(log) = &config.log {
        let patterns: Vec<&str> = log.patterns.iter().map(String::as_str).collect();
        let queue = QueuedConfig::default();
        dispatcher
            .attach_queued("log", &patterns, LogHandler, queue)
            .map_err(Failure::of)?;
    }
    let mut settings = ManagerConfig::with_dispatcher(node, dispatcher.clone());
    settings.policy = policy(&config.telemetry);
    let manager = Manager::start(settings).map_err(Failure::of)?;
    let exporter = prometheus.clone();
    manager.on_departure(move |worker| {
        exporter.fold_worker(worker.as_str());
    });
    prometheus.add_source(manager.clone());
    prometheus.add_source(HandlerMetrics(dispatcher.clone()));
    let mut running = Running {
        manager,
        dispatcher,
        http: None,
        watch: None,
        pools: Vec::new(),
        strangers: None,
    };
    let roster = Roster::new(running.manager.clone());
    if let Some(http) = &config.http {
        let state = HttpState::new(running.dispatcher.clone(), prometheus, roster.clone());
        let allowed = HttpConfig {
            allowed_hosts: http.allowed_hosts.clone(),
            allow_remote: http.allow_remote,
        };
        let server = HttpServer::bind_with(http.listen, state, allowed).await;
        running.http = Some(server.map_err(Failure::of)?);
    }
    for endpoint in &config.endpoints {
        let mut context = WorkerContext::new(endpoint.worker_id.as_str());
        context.pool_name.clone_from(&endpoint.pool);
        let address = endpoint.address.clone();
        running
            .manager
            .register_worker(address, context)
            .map_err(Failure::of)?;
    }
    if let Some(watch) = config.watch {
        let watching = WatchDir::start(&running.manager, watch.directory, watch.pool);
        running.watch =
            Some(watching.map_err(|error| Failure::Failed(format!("[watch]: {error}")))?);
    }
    let pools = start_pools(
        &running.manager,
        config.pools,
        config.on_manager_exit,
        run_dir.as_ref(),
    );
    for pool in pools.await? {
        let pool = Arc::new(pool);
        roster.add(&pool);
        running.pools.push(pool);
    }
    if let Some(run_dir) = run_dir {
        let ending = tokio::spawn(async move { end_strangers(&run_dir).await });
        running.strangers = Some(ending);
    }
    Ok(running)
}

/// Starts all pools side by side; they come in the order of the file.
async fn start_pools(
    manager: &Manager,
    mut pools: Vec<PoolConfig>,
    on_exit: OnManagerExit,
    run_dir: Option<&RunDir>,
) -> Result<Vec<Pool>, Failure> {
    let shim = std::env::current_exe().ok();
    for pool in &mut pools {
        pool.on_manager_exit = on_exit;
        pool.exec_shim.clone_from(&shim);
        // A mistake in the last one must not end what the first one would have adopted.
        Pool::check(pool).map_err(Failure::of)?;
    }
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
        started.push(pool.await.map_err(Failure::of)?.map_err(Failure::of)?);
    }
    Ok(started)
}

/// Says what became of every event, pool by pool, when nothing can be added any more.
fn tell_ledger(manager: &Manager) {
    for PoolInfo {
        pool_name, totals, ..
    } in manager.pools()
    {
        let (ledger, reported) = (&totals.ledger, &totals.reported);
        tracing::info!(
            pool = pool_name.as_deref().map(escape).as_deref(),
            emitted = reported.emitted,
            received = ledger.received,
            dispatched = ledger.dispatched,
            rejected = ledger.rejected.total(),
            dropped = reported.dropped.total(),
            gaps = ledger.gaps,
            lost_at_crash = totals.lost_at_crash,
            away = totals.away,
            unaccounted_incarnations = totals.unaccounted_incarnations,
            "final ledger"
        );
    }
}

/// What `[telemetry]` says is where the policy of every worker starts, spawned or not.
fn policy(telemetry: &WorkerTelemetry) -> PolicySpec {
    let mut policy = PolicySpec {
        enabled: telemetry.enabled,
        ..PolicySpec::default()
    };
    policy.deny.clone_from(&telemetry.excluded_events);
    if telemetry.sampling_rate < 1.0 {
        let rate = telemetry.sampling_rate;
        policy.sampling.push(SamplingRule {
            rate,
            patterns: Vec::new(),
        });
    }
    policy
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Says on stdout what listens and what runs.
fn announce(running: &Running) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match &running.http {
        Some(http) => writeln!(out, "listening on http://{}", http.local_addr())?,
        None => writeln!(out, "no HTTP server: the configuration has no [http]")?,
    }
    for pool in &running.pools {
        let workers = pool.status().workers.len();
        writeln!(out, "pool {}: {workers} workers started", pool.name())?;
    }
    out.flush()?;
    Ok(())
}

async fn stop(running: Running) {
    let Running {
        manager,
        dispatcher,
        http,
        watch,
        pools,
        strangers,
    } = running;
    let mut ending = tokio::task::JoinSet::new();
    if let Some(strangers) = strangers {
        ending.spawn(async move {
            // It can only fail by a defect that the log shows.
            let _ended = strangers.await.is_ok();
        });
    }
    for pool in pools {
        ending.spawn(async move { pool.shutdown(pool.grace()).await });
    }
    while ending.join_next().await.is_some() {}
    if let Some(watch) = watch {
        watch.stop().await;
    }
    manager.shutdown(STREAMS_END).await;
    tell_ledger(&manager);
    if let Some(http) = http {
        http.shutdown(STREAMS_END).await;
    }
    let handlers = tokio::task::spawn_blocking(move || dispatcher.shutdown(HANDLERS_END));
    if handlers.await.is_err() {
        tracing::error!("the handlers did not end");
    }
}
