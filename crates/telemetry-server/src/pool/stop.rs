//! The end of a process: SIGTERM, time to finish, SIGKILL to whoever of its group is left, and only then
//! is it reaped.
//!
//! The stream stays open meanwhile: a worker that handles SIGTERM sends what it has queued before
//! it exits. Who holds its stderr delays nothing.

use super::exit::Exit;
use super::group;
use super::process::Process;

/// Asks the process and all of its group to end, and kills what is left once `patience` is over.
/// Returns when the process is gone, with its exit and whether it had to be killed.
pub(super) async fn stop(
    process: &mut Process,
    patience: impl Future<Output = ()>,
) -> (Exit, bool) {
    process.terminate();
    let finished = async {
        process.exited().await;
        group::emptied(process.pid).await;
    };
    let in_time = tokio::select! {
        () = finished => true,
        () = patience => false,
    };
    let exit = clear(process).await;
    (exit, !in_time)
}

/// Kills whoever of the group is left, and reaps the process.
pub(super) async fn clear(process: &mut Process) -> Exit {
    process.kill();
    process.exited().await;
    process.reap()
}
