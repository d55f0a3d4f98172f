//! Work that may wait for the system, or for handlers.

use tokio::task::spawn_blocking;

/// Does it on a thread that may wait; false if the runtime ended before. A simulation has no other thread.
pub(super) async fn aside(work: impl FnOnce() + Send + 'static) -> bool {
    #[cfg(feature = "simulation")]
    if crate::simulated::is_on() {
        work();
        return true;
    }
    spawn_blocking(work).await.is_ok()
}
