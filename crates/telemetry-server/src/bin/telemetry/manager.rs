//! `telemetry manager`: everything a configuration file describes, until SIGINT or SIGTERM.
//!
//! Starts in an order in which failures are cheap (configuration, port, then processes) and stops
//! in the reverse one: workers finish first, so that their last events still arrive.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{PolicySpec, SamplingRule, Source, SystemClock, escape};
use telemetry_server::{
    AcceptConfig, Acceptor, Config, Dispatcher, HandlerMetrics, HttpConfig, HttpServer, HttpState,
    LogHandler, LogSection, Manager, ManagerConfig, Pool, PoolInfo, PrometheusConfig,
    PrometheusExporter, QueuedConfig, WatchDir, WorkerContext, WorkerTelemetry,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Failure::of)?;
    let outcome = runtime.block_on(serve(config));
    // A reader of our output that stands still must not keep us from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
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

/// Everything that runs.
struct Running {
    manager: Manager,
    dispatcher: Dispatcher,
    acceptor: Option<Acceptor>,
    http: Option<HttpServer>,
    watch: Option<WatchDir>,
    pools: Vec<Arc<Pool>>,
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
    let running = start(config).await?;
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

async fn start(config: Config) -> Result<Running, Failure> {
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
    if let Some(accept) = &config.accept {
        settings.away_grace = accept.grace;
    }
    settings.dials_per_second = config.dials_per_second;
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
        acceptor: None,
        http: None,
        watch: None,
        pools: Vec::new(),
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
    if let Some(accept) = config.accept {
        let acceptor = Acceptor::start(&running.manager, AcceptConfig::at(accept.listen));
        running.acceptor =
            Some(acceptor.map_err(|error| Failure::Failed(format!("[accept]: {error}")))?);
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
    for pool in config.pools {
        let pool = Pool::start(&running.manager, pool)
            .await
            .map_err(Failure::of)?;
        let pool = Arc::new(pool);
        roster.add(&pool);
        running.pools.push(pool);
    }
    Ok(running)
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
    if let Some(acceptor) = &running.acceptor {
        writeln!(out, "workers dial in at {}", acceptor.address())?;
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
        acceptor,
        http,
        watch,
        pools,
    } = running;
    let mut ending = tokio::task::JoinSet::new();
    for pool in pools {
        ending.spawn(async move { pool.shutdown(pool.grace()).await });
    }
    while ending.join_next().await.is_some() {}
    if let Some(acceptor) = acceptor {
        acceptor.stop().await;
    }
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
