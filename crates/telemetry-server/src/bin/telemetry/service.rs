//! What the service manager does for us, where it is systemd: it is told that we are ready, and it keeps
//! the memory of workers between two lives of this process (`FileDescriptorStoreMax=` of the unit).

use std::env;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use sd_notify::{NotifyState, listen_fds_with_names, notify, notify_with_fds};
use telemetry_server::stream::RegionStore;

/// What it was given to keep; what is not ours is not touched. To be called once, before anything is
/// opened.
pub(crate) fn kept() -> Vec<(String, OwnedFd)> {
    let given = listen_fds_with_names().map(|given| given.collect());
    let given: Vec<_> = given.unwrap_or_else(|error: io::Error| {
        tracing::warn!(%error, "what the service manager kept is not used");
        Vec::new()
    });
    let given = given.into_iter();
    let ours = given.filter(|(_, name)| name.starts_with("telemetry."));
    ours.map(|(number, name)| {
        // SAFETY: it was opened for this process before that began, under this name for us, and nobody
        // else here knows of it.
        (name, unsafe { OwnedFd::from_raw_fd(number) })
    })
    .collect()
}

/// Where the memory of workers is kept, if there is a service manager.
pub(crate) fn store() -> Option<Arc<dyn RegionStore>> {
    env::var_os("NOTIFY_SOCKET").map(|_socket| Arc::new(Store) as _)
}

/// Says that everything is started.
pub(crate) fn ready() {
    told(notify(&[NotifyState::Ready]));
}

/// Says that we are about to end.
pub(crate) fn stopping() {
    told(notify(&[NotifyState::Stopping]));
}

#[derive(Debug)]
struct Store;

impl RegionStore for Store {
    fn keep(&self, name: &str, region: BorrowedFd<'_>) {
        let state = [NotifyState::FdStore, NotifyState::FdName(name)];
        told(notify_with_fds(&state, &[region]));
    }

    fn forget(&self, name: &str) {
        told(notify(&[
            NotifyState::FdStoreRemove,
            NotifyState::FdName(name),
        ]));
    }
}

/// Nothing here depends on being heard.
fn told(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
