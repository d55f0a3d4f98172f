//! The three things that the demo does to running workers, each shown by its effect.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use telemetry_server::{
    Target, WorkerId,
    stream::{StreamInfo, StreamState},
};

use crate::stage::{Fault, POOL, Stage};

/// The share of events that one worker keeps after the first act.
const RATE: f64 = 0.1;
/// How long a worker may take to apply a control, or to come back after a crash.
const PATIENCE: Duration = Duration::from_secs(15);

/// Events of `tool.execution.*` per second from one worker, measured over `time`.
async fn execution_rate(
    stage: &mut Stage,
    worker: &WorkerId,
    time: Duration,
) -> Result<f64, Fault> {
    let (start, before) = (
        Instant::now(),
        stage.figures.worker(worker.as_str()).executions,
    );
    stage.watch(time).await?;
    let after = stage.figures.worker(worker.as_str()).executions;
    Ok((after - before) as f64 / start.elapsed().as_secs_f64())
}

/// (a) One worker keeps a tenth of its tool events.
pub(crate) async fn sample_one_worker(stage: &mut Stage, time: Duration) -> Result<(), Fault> {
    let worker = WorkerId::from(format!("{POOL}-1"));
    let before = execution_rate(stage, &worker, time / 2).await?;
    let patterns = ["tool.execution.*".to_owned()];
    let target = Target::Worker(worker.clone());
    stage.manager.update_sampling(target, RATE, &patterns)?;
    stage
        .watch_until(&worker, PATIENCE, |info| info.is_policy_applied())
        .await?;
    let after = execution_rate(stage, &worker, time / 2).await?;
    let seconds = stage.seconds();
    stage.say(&format!(
        "{seconds:5.1}s  (a) sampled tool.execution.* of {worker} to 10 %: {before:.0}/s before, \
         {after:.0}/s after"
    ));
    Ok(())
}

/// (b) No worker of the pool sends memory samples any more.
pub(crate) async fn deny_memory_samples(stage: &mut Stage, time: Duration) -> Result<(), Fault> {
    let before = stage.figures.memory_samples();
    let deny = ["python.memory.*".to_owned()];
    let receipt = stage
        .manager
        .update_filter(Target::Pool(POOL.to_owned()), &[], &deny)?;
    for worker in &receipt.workers {
        stage
            .watch_until(worker, PATIENCE, |info| info.is_policy_applied())
            .await?;
    }
    let applied = stage.figures.memory_samples();
    stage.watch(time).await?;
    let after = stage.figures.memory_samples();
    let seconds = stage.seconds();
    stage.say(&format!(
        "{seconds:5.1}s  (b) denied python.memory.* on the pool: {before} samples until then, {} \
         since all {} workers applied it",
        after - applied,
        receipt.workers.len()
    ));
    Ok(())
}

/// (c) One worker is killed; its successor gets the same controls before it sends anything.
pub(crate) async fn kill_one_worker(stage: &mut Stage, time: Duration) -> Result<(), Fault> {
    let worker = WorkerId::from(format!("{POOL}-1"));
    let before = stage
        .manager
        .stream(&worker)
        .ok_or("the worker is not registered")?;
    let pid = before
        .pid
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.ok_or("the worker has no process id")?;
    let memory_samples = stage.figures.worker(worker.as_str()).memory_samples;
    let killed = Instant::now();
    kill_process(pid, Signal::KILL)?;
    let back = stage
        .watch_until(&worker, PATIENCE, |info| {
            info.state == StreamState::Streaming
                && !info.incarnation.is_empty()
                && info.incarnation != before.incarnation
                && info.is_policy_applied()
        })
        .await?;
    let downtime = killed.elapsed();
    // Python needs longer to come up than the stream does.
    let works = |info: &StreamInfo| info.incarnation_ledger.dispatched >= 20;
    stage.watch_until(&worker, PATIENCE, works).await?;
    let rate = execution_rate(stage, &worker, time / 2).await?;
    let leaked = stage.figures.worker(worker.as_str()).memory_samples - memory_samples;
    let (read, lost) = stage
        .manager
        .stream(&worker)
        .map_or((0, 0), |info| (info.recovered, info.lost_at_crash));
    let seconds = stage.seconds();
    stage.say(&format!(
        "{seconds:5.1}s  (c) killed {worker} (pid {}): streaming again as pid {} after {} ms with \
         policy revision {} re-applied ({rate:.0} tool events/s, {leaked} memory samples); \
         {read} event{} read from the memory it left, {lost} lost",
        pid.as_raw_nonzero(),
        back.pid.unwrap_or_default(),
        downtime.as_millis(),
        back.applied_revision,
        if read == 1 { "" } else { "s" },
    ));
    Ok(())
}
