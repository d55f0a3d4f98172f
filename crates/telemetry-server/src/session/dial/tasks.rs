//! The tasks that HTTP/2 runs for one connection, and their end.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::task::AbortHandle;

/// Time that a connection no longer needed gets to say goodbye.
const GOODBYE: Duration = Duration::from_millis(250);

/// The tasks of one connection. Dropped, they get a moment for their goodbye and end then, whatever
/// the peer does.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    handles: Arc<Mutex<Vec<AbortHandle>>>,
}

/// Spawns for [`Tasks`].
#[derive(Debug, Clone)]
pub(super) struct TaskExecutor {
    handles: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Tasks {
    pub(super) fn executor(&self) -> TaskExecutor {
        TaskExecutor {
            handles: Arc::clone(&self.handles),
        }
    }
}

impl Tasks {
    /// Ends them now.
    pub(super) fn end(&self) {
        end_all(&self.handles);
    }
}

/// Ends every task of a connection.
fn end_all(handles: &Mutex<Vec<AbortHandle>>) {
    let mut handles = handles.lock().unwrap_or_else(PoisonError::into_inner);
    for handle in handles.drain(..) {
        handle.abort();
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let handles = Arc::clone(&self.handles);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            tokio::time::sleep(GOODBYE).await;
            end_all(&handles);
        });
    }
}

impl<F> Executor<F> for TaskExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let handle = tokio::spawn(future).abort_handle();
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|handle| !handle.is_finished());
        handles.push(handle);
    }
}
