//! `telemetry manager`: everything a configuration file describes, until SIGINT or SIGTERM.
//!
//! Starts in an order in which failures are cheap (configuration, port, then processes) and stops
//! in the reverse one: workers finish first, so that their last events still arrive. Writes to stderr
//! through the log only, and to stdout where nothing waits for it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use telemetry_core::{
    Source, SystemClock,
    catalog::escape,
    emit::{PolicySpec, SamplingRule},
};
use telemetry_server::{
    Manager, ManagerConfig, PoolInfo,
    accept::{Acceptor, Doorway},
    config::{AcceptSection, Config},
    discover::Discovery,
    dispatch::{Dispatcher, QueuedConfig},
    export::{HandlerMetrics, LogHandler, ProcessMetrics, PrometheusConfig, PrometheusExporter},
    http::{HttpServer, HttpState},
    pool::{OnManagerExit, Pool, PoolConfig, RunDir, WorkerTelemetry, end_strangers},
    process::{OpenDescriptors, OrphanReaper, raise_descriptor_limit},
    watch_dir::WatchDir,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::log::Log;
use crate::roster::Roster;
use crate::running::DEFAULT_CONFIG;
use crate::service;
use crate::signals::{Request, Signals};

/// How long streams and viewers may take to end once the workers have.
const STREAMS_END: Duration = Duration::from_secs(5);
/// How long they may take when the end is hastened.
const HASTENED_END: Duration = Duration::from_millis(500);
/// How long the log may take to write what is queued for it.
const HANDLERS_END: Duration = Duration::from_secs(2);

/// Runs the manager of a configuration file; of that which is found here, if none was named.
pub(crate) fn run(named: Option<&Path>) -> Result<ExitCode, Failure> {
    // Before anything is opened.
    let kept = service::kept();
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG));
    let config = match named {
        Some(path) => Config::load(path)?,
        None => Config::load_found(path)?,
    };
    let log = Log::set_up(&config)?;
    let run_dir = match hold(&config, path) {
        Ok(run_dir) => run_dir,
        Err(failure) => return Ok(end(&log, Err(failure))),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Ok(end(&log, Err(Failure::of(error)))),
    };
    let outcome = runtime.block_on(serve(config, run_dir.clone(), kept, &log));
    // Whatever still stands in a call of the system must not keep us from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Until here nobody else may have it.
    drop(run_dir);
    Ok(end(&log, outcome))
}

/// Says on stderr how it ended, if somebody reads that.
fn end(log: &Log, outcome: Result<(), Failure>) -> ExitCode {
    let said = outcome.map_err(Failure::told);
    log.finish(said.as_ref().err().and_then(|(text, _)| text.as_deref()));
    said.map_or_else(|(_, code)| code, |()| ExitCode::SUCCESS)
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
    acceptors: Vec<Acceptor>,
    http: Option<HttpServer>,
    watch: Option<WatchDir>,
    discoveries: Vec<Discovery>,
    pools: Vec<Arc<Pool>>,
    /// Ends what an earlier manager left and the configuration does not know.
    strangers: Option<JoinHandle<()>>,
}

async fn serve(
    config: Config,
    run_dir: Option<RunDir>,
    kept: Vec<(String, OwnedFd)>,
    log: &Log,
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::of)?;
    // Lives until the last process has ended.
    let _reaper = OrphanReaper::start().map_err(Failure::of)?;
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of file descriptors stays as it is");
    }
    let running = start(config, run_dir, kept, log).await?;
    announce(&running);
    service::ready();
    let first = tokio::select! {
        request = signals.next() => request,
        () = log.keep_telling() => Request::Stop,
    };
    service::stopping();
    let (hasten, hastened) = watch::channel(first == Request::Hasten);
    match first {
        Request::Stop => tracing::info!("stopping in order; a signal after 2 s ends at once"),
        Request::Hasten => tracing::warn!("ending at once"),
    }
    let mut stopping = std::pin::pin!(stop(running, hastened));
    loop {
        tokio::select! {
            () = &mut stopping => break,
            request = signals.next() => {
                if request == Request::Hasten && !hasten.send_replace(true) {
                    tracing::warn!("ending at once");
                }
            }
        }
    }
    if *hasten.borrow() {
        return Err(Failure::Failed(
            "ended at once; workers were killed".to_owned(),
        ));
    }
    Ok(())
}

async fn start(
    config: Config,
    run_dir: Option<RunDir>,
    kept: Vec<(String, OwnedFd)>,
    log: &Log,
) -> Result<Running, Failure> {
    let node = config.node.clone().unwrap_or_else(host_name);
    let clock = Arc::new(SystemClock::new());
    let dispatcher = Dispatcher::new(
        Arc::clone(&config.catalog),
        Source::of_node(node.as_str()),
        clock,
    );
    let mut counting = PrometheusConfig::default();
    counting.series_limit = config.series_limit;
    let prometheus = PrometheusExporter::new(Arc::clone(&config.catalog), counting);
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
    settings.region_store = service::store();
    let manager = Manager::start(settings).map_err(Failure::of)?;
    let exporter = prometheus.clone();
    manager.on_departure(move |worker| {
        exporter.fold_worker(worker.as_str());
    });
    prometheus.add_source(manager.clone());
    prometheus.add_source(HandlerMetrics(dispatcher.clone()));
    prometheus.add_source(ProcessMetrics::new(
        log.writer().clone(),
        OpenDescriptors::open().ok(),
    ));
    let mut running = Running {
        manager,
        dispatcher,
        acceptors: Vec::new(),
        http: None,
        watch: None,
        discoveries: Vec::new(),
        pools: Vec::new(),
        strangers: None,
    };
    let roster = Roster::new(running.manager.clone());
    if let Some(http) = &config.http {
        let state = HttpState::new(running.dispatcher.clone(), prometheus, roster.clone());
        let server = HttpServer::start(state, http.clone().into()).await;
        running.http = Some(server.map_err(Failure::of)?);
    }
    // All handlers are attached, and nobody has an id yet.
    for (name, region) in kept {
        running.manager.adopt_region(&name, region);
    }
    for endpoint in &config.endpoints {
        let context = endpoint.context();
        let context = context.map_err(|error| Failure::Failed(format!("[[endpoint]]: {error}")))?;
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
    for list in config.discover {
        let discovery = Discovery::start(&running.manager, list);
        roster.add_list(&discovery);
        running.discoveries.push(discovery);
    }
    // Before the pools: what cannot be used here must not end what they would have adopted.
    let doors = doors(config.accept.as_ref())?;
    let mut pools = config.pools;
    for pool in &mut pools {
        pool.stderr = log.stderr_of(&pool.name);
    }
    let on_exit = config.on_manager_exit;
    let pools = start_pools(&running.manager, pools, on_exit, run_dir.as_ref());
    for pool in pools.await? {
        let pool = Arc::new(pool);
        roster.add(&pool);
        running.pools.push(pool);
    }
    // Workers that were adopted are known by now, whoever of them calls first.
    let opened = doors.into_iter().map(|door| door.open(&running.manager));
    running.acceptors.extend(opened);
    if let Some(run_dir) = run_dir {
        let ending = tokio::spawn(async move { end_strangers(&run_dir).await });
        running.strangers = Some(ending);
    }
    Ok(running)
}

/// Listens where workers will dial in.
fn doors(accept: Option<&AcceptSection>) -> Result<Vec<Doorway>, Failure> {
    let Some(accept) = accept else {
        return Ok(Vec::new());
    };
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("[accept]: {error}"));
    let doors = accept.doors().map_err(|error| failed(&error))?;
    let bound = doors.into_iter().map(Doorway::bind);
    bound
        .map(|door| door.map_err(|error| failed(&error)))
        .collect()
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
            target: "telemetry::ledger",
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

/// Where HTTP is.
fn listening(http: &HttpServer) -> String {
    let port = http.local_addr();
    let scheme = if http.is_encrypted() { "https" } else { "http" };
    let port = port.map(|address| format!("listening on {scheme}://{address}\n"));
    let socket = http.socket();
    let socket = socket.map(|path| format!("operators ask at unix:{}\n", path.display()));
    port.into_iter().chain(socket).collect()
}

/// Says on stdout what listens and what runs. Whoever started us may have closed stdout, or not read
/// it; we run all the same.
fn announce(running: &Running) {
    let mut text = match &running.http {
        Some(http) => listening(http),
        None => "no HTTP server: the configuration has no [http]\n".to_owned(),
    };
    for acceptor in &running.acceptors {
        text.push_str(&format!("workers dial in at {}\n", acceptor.address()));
    }
    for pool in &running.pools {
        let workers = pool.status().workers.len();
        // Writing to a string does not fail.
        let _written = writeln!(text, "pool {}: {workers} workers started", pool.name());
    }
    let print = move || {
        let mut out = io::stdout().lock();
        let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if let Err(error) = printed {
            let text = text.trim_end().replace('\n', "; ");
            tracing::warn!(%error, "what runs could not be printed to stdout: {text}");
        }
    };
    let printing = thread::Builder::new().name("telemetry-stdout".to_owned());
    if let Err(error) = printing.spawn(print) {
        tracing::warn!(%error, "what runs could not be printed to stdout");
    }
}

/// Ends everything in order. Once `hastened` is set, or when it is from the start, workers are killed
/// and nothing waits longer than it must.
async fn stop(running: Running, mut hastened: watch::Receiver<bool>) {
    let Running {
        manager,
        dispatcher,
        acceptors,
        http,
        watch,
        discoveries,
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
    let in_order = async {
        while ending.join_next().await.is_some() {}
        for acceptor in acceptors {
            acceptor.stop().await;
        }
        if let Some(watch) = watch {
            watch.stop().await;
        }
        for discovery in discoveries {
            discovery.stop().await;
        }
        manager.shutdown(STREAMS_END).await;
    };
    tokio::select! {
        biased;
        () = asked(&mut hastened) => {
            // A pool that is dropped kills its workers.
            ending.shutdown().await;
            manager.shutdown(HASTENED_END).await;
        }
        () = in_order => {}
    }
    tell_ledger(&manager);
    if let Some(http) = http {
        let patience = if *hastened.borrow() {
            HASTENED_END
        } else {
            STREAMS_END
        };
        http.shutdown(patience).await;
    }
    let handlers = tokio::task::spawn_blocking(move || dispatcher.shutdown(HANDLERS_END));
    if handlers.await.is_err() {
        tracing::error!("the handlers did not end");
    }
}

/// Returns once it is set.
async fn asked(hastened: &mut watch::Receiver<bool>) {
    // An error is a sender that is gone, and with it whoever could have asked.
    if hastened.wait_for(|hastened| *hastened).await.is_err() {
        std::future::pending::<()>().await;
    }
}
