//! How a thread of ours begins.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use telemetry_core::emit::mark_sending_thread;

/// Longest time to wait until a thread that was started runs.
const THREAD_START: Duration = Duration::from_millis(100);

/// Starts a thread that sends, and waits until it runs: by then it has the memory that each thread needs of
/// its own, and for want of which the system would end the process at any later time.
///
/// # Errors
///
/// What the system says of a thread.
pub(super) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (runs, started) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            mark_sending_thread();
            let _nobody_waits_any_more = runs.send(());
            body();
        })?;
    // A machine that is that busy has other worries.
    let _in_time = started.recv_timeout(THREAD_START);
    Ok(thread)
}
