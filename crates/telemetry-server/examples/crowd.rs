//! What 1,024 workers that are not there cost a manager: its tables, its metrics, and the waiting.
//!
//! `cargo run --release -p telemetry-server --features pool,prometheus --example crowd`

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_server::{
    Address, Manager, ManagerConfig, WorkerContext,
    export::{PrometheusConfig, PrometheusExporter},
};

const WORKERS: usize = 1_024;
const POOLS: usize = 128;
const WATCHED_FOR: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = Manager::start(ManagerConfig::new("example"))?;
    let exporter =
        PrometheusExporter::new(Arc::clone(manager.catalog()), PrometheusConfig::default());
    exporter.add_source(manager.clone());
    let dir = std::env::temp_dir().join(format!("telemetry-crowd-{}", std::process::id()));
    let began = Instant::now();
    for number in 0..WORKERS {
        let endpoint = Address::Unix(dir.join(format!("{number}.sock")));
        let context = WorkerContext::new(format!("worker-{number:04}"));
        manager.register_worker(
            endpoint,
            context.in_pool(format!("pool-{}", number % POOLS)),
        )?;
    }
    println!("{WORKERS} workers in {POOLS} pools");
    println!("registered in     {:>9.1?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!(
        "list_streams      {:>9.1?}",
        best(|| drop(manager.list_streams()))
    );
    println!("pools             {:>9.1?}", best(|| drop(manager.pools())));
    println!(
        "totals            {:>9.1?}",
        best(|| drop(manager.totals()))
    );
    println!(
        "/metrics          {:>9.1?}",
        best(|| drop(exporter.render()))
    );
    let (before, began) = (cpu()?, Instant::now());
    tokio::time::sleep(WATCHED_FOR).await;
    let share = (cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("waiting for them  {:>8.2} % of a core", share * 100.0);
    manager.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// The quickest of ten.
fn best(mut work: impl FnMut()) -> Duration {
    let times = (0..10).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    times.min().unwrap_or_default()
}

/// Processor time of all threads of this process so far.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text
            .split_whitespace()
            .next()
            .unwrap_or("0")
            .parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
