//! A program that embeds the manager: a closure, a queued handler and the Prometheus exporter get
//! the events of two workers that the program itself runs.
//!
//! ```text
//! cargo run -p telemetry-server --example embed --features pool,prometheus -- python3 worker.py
//! ```
//!
//! Without a command the workers are shell scripts that report over stderr.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use telemetry_server::{
    EventRef, Manager, ManagerConfig,
    dispatch::QueuedConfig,
    export::{PrometheusConfig, PrometheusExporter},
    pool::{Pool, PoolConfig, Transport},
};

/// A worker in one line of shell: one event every tenth of a second.
const SHELL_WORKER: &str = r#"while sleep 0.1; do
    echo 'TELEMETRY:{"event":"tool.execution.stop","measurements":{"duration":1000000},"metadata":{"tool":"demo"}}' >&2
done"#;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // As the error words it; returned from `main` it would be shown in its debug form.
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let manager = Manager::start(ManagerConfig::new("example"))?;
    let dispatcher = manager.dispatcher();

    // A closure runs inline, on the task that reads the worker: quick things only.
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    dispatcher.attach("count", "snakepit.python.*", move |_: &EventRef<'_>| {
        counter.fetch_add(1, Ordering::Relaxed);
    })?;

    // A queued handler has a thread and a bounded queue of its own, and may block.
    let print = |event: &EventRef<'_>| {
        let worker = event.source().worker_id.as_deref().unwrap_or("-");
        tracing::info!(worker, event = event.name(), "arrived");
    };
    dispatcher.attach_queued("print", &["*"], print, QueuedConfig::default())?;

    let catalog = Arc::clone(manager.catalog());
    let prometheus = PrometheusExporter::new(catalog, PrometheusConfig::default());
    dispatcher.attach("prometheus", "*", prometheus.clone())?;
    let exporter = prometheus.clone();
    manager.on_departure(move |worker| {
        exporter.fold_worker(worker.as_str());
    });

    let run_dir = std::env::temp_dir().join(format!("telemetry-embed-{}", std::process::id()));
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut config = if command.is_empty() {
        let mut config = PoolConfig::new("demo", ["sh", "-c", SHELL_WORKER], &run_dir);
        config.telemetry.transport = Transport::Stderr;
        config
    } else {
        PoolConfig::new("demo", command, &run_dir)
    };
    config.size = 2;
    let pool = Pool::start(&manager, config).await?;
    pool.ready().await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    pool.shutdown(pool.grace()).await;
    manager.shutdown(Duration::from_secs(2)).await;
    tracing::info!(
        events = seen.load(Ordering::Relaxed),
        "done; the metrics are:"
    );
    for line in prometheus
        .render()
        .lines()
        .filter(|line| line.contains("tool_execution_stop"))
    {
        tracing::info!("{line}");
    }
    std::fs::remove_dir_all(run_dir)?;
    Ok(())
}
