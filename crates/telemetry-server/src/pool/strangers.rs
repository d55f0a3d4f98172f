//! Processes of an earlier manager that the present configuration has no worker for.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::process::Process;
use super::stop;
use crate::deadline::bounded;
use crate::run_dir::{RunDir, WorkerRecord};

/// Ends the processes that an earlier manager started and that no pool has asked for, each in order:
/// SIGTERM, the time it was given then, SIGKILL. Call it when all pools were started. Returns when none
/// is left.
pub async fn end_strangers(run_dir: &RunDir) {
    let mut ending = JoinSet::new();
    for record in run_dir.take_rest() {
        ending.spawn(end(run_dir.clone(), record));
    }
    while ending.join_next().await.is_some() {}
}

async fn end(run_dir: RunDir, record: WorkerRecord) {
    let grace = bounded(Duration::from_millis(record.grace_ms));
    if let Some(mut process) = Process::adopt(record.pid, record.began, record.age()) {
        tracing::info!(
            worker = record.worker,
            pool = record.pool,
            pid = record.pid,
            "ending the process of an earlier manager: no pool has this worker any more"
        );
        let (_exit, killed) = stop::stop(&mut process, sleep(grace)).await;
        if killed {
            tracing::warn!(
                worker = record.worker,
                pid = record.pid,
                "it had to be killed"
            );
        }
    }
    let worker = record.worker;
    let removed = tokio::task::spawn_blocking(move || {
        run_dir.forget(&worker);
        let _never_written = std::fs::remove_file(run_dir.stderr_path(&worker)).is_err();
        let _never_bound = std::fs::remove_file(run_dir.path().join(format!("{worker}.sock")));
    });
    // It can only fail together with the runtime.
    let _removed = removed.await.is_ok();
}
