//! The one thread that starts workers.
//!
//! A parent-death signal is sent when the *thread* that started a process ends, so workers are started
//! by a thread that lives as long as this program does. It also keeps what a start waits for (the fork,
//! the disk) away from the threads of the runtime.

use std::io;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The way to the thread, once there is one.
static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

/// Runs `job` on the thread and returns what it returns. Whoever stops waiting does not stop the job;
/// what it returned is dropped then.
pub(super) async fn on_spawner<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    send(Box::new(move || {
        // Whoever asked may have stopped waiting.
        let _asker_left = done.send(job());
    }))?;
    let lost = |_| io::Error::other("the thread that starts workers has ended");
    result.await.map_err(lost)
}

fn send(job: Job) -> io::Result<()> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    let job = match &*spawner {
        Some(jobs) => match jobs.send(job) {
            Ok(()) => return Ok(()),
            Err(mpsc::SendError(job)) => job,
        },
        None => job,
    };
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("telemetry-spawn".to_owned())
        .spawn(move || {
            for job in jobs {
                job();
            }
        })?;
    let ended = |_| io::Error::other("the thread that starts workers has ended");
    sender.send(job).map_err(ended)?;
    *spawner = Some(sender);
    Ok(())
}
