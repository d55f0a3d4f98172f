//! The end of a process: SIGTERM, time to finish, SIGKILL.
//!
//! The stream stays open meanwhile: a worker that handles SIGTERM sends what it has queued before
//! it exits.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::spawn::Process;

/// After SIGKILL, how long to wait for the end of stderr; only a process that left the group can
/// hold it longer.
const STDERR_AFTER_KILL: Duration = Duration::from_secs(1);

/// Asks the process and all it started to end, and kills what is left once `patience` is over.
/// Returns when nothing is left, with the exit of the process itself.
///
/// `stderr` is the task that reads the process's stderr; its end tells that nobody is left to
/// write.
pub(super) async fn stop(
    process: &mut Process,
    mut stderr: JoinHandle<()>,
    patience: impl Future<Output = ()>,
) -> io::Result<ExitStatus> {
    process.terminate();
    let finished = async {
        let exit = process.wait().await;
        // It ends by itself or is aborted at exit of the runtime; either way nothing is left to be
        // read.
        let _read_to_the_end = (&mut stderr).await;
        exit
    };
    tokio::select! {
        exit = finished => return exit,
        () = patience => {}
    }
    process.kill();
    let exit = process.wait().await;
    end_of_stderr(stderr).await;
    exit
}

/// After the process ended by itself: kills what it started and reads what is left of stderr.
pub(super) async fn clear(process: &Process, stderr: JoinHandle<()>) {
    process.kill();
    end_of_stderr(stderr).await;
}

async fn end_of_stderr(mut stderr: JoinHandle<()>) {
    if timeout(STDERR_AFTER_KILL, &mut stderr).await.is_err() {
        stderr.abort();
    }
}
