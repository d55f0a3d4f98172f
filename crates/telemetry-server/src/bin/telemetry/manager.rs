//! `telemetry manager`: everything a configuration file describes, until SIGINT or SIGTERM.
//!
//! What runs is put together by the library's `assembly`; here is what belongs to the process: signals, the
//! log, the service manager. Writes to stderr through the log only, and to stdout where nothing waits for it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use telemetry_server::{
    assembly::{Assembly, AssemblyParts},
    config::Config,
    http::HttpServer,
    pool::RunDir,
    process::{OrphanReaper, raise_descriptor_limit},
};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::log::Log;
use crate::running::DEFAULT_CONFIG;
use crate::service;
use crate::signals::{Request, Signals};

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
    let parts = parts(run_dir, kept, log);
    let running = Assembly::start(config, parts).await.map_err(Failure::of)?;
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
    let mut stopping = std::pin::pin!(running.stop(hastened));
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

/// What only this process has for its manager.
fn parts(run_dir: Option<RunDir>, kept: Vec<(String, OwnedFd)>, log: &Log) -> AssemblyParts {
    let mut parts = AssemblyParts::default();
    parts.run_dir = run_dir;
    parts.regions = kept;
    parts.region_store = service::store();
    parts.log = Some(log.writer().clone());
    let log = log.clone();
    parts.stderr_of = Some(Box::new(move |pool| log.stderr_of(pool)));
    parts.exec_shim = std::env::current_exe().ok();
    parts
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
fn announce(running: &Assembly) {
    let mut text = match running.http() {
        Some(http) => listening(http),
        None => "no HTTP server: the configuration has no [http]\n".to_owned(),
    };
    for acceptor in running.acceptors() {
        text.push_str(&format!("workers dial in at {}\n", acceptor.address()));
    }
    for pool in running.pools() {
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
