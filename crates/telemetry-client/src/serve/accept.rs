//! The accept loop, on the telemetry thread: connections that a manager opens, a limited number at once.

use std::io;
use std::time::Duration;

use telemetry_core::Address;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::bind::Bound;
use super::connection::{AtStop, Ended, connection};
use super::listener::Listener;
use super::poller::PollerHandle;
use super::server::ServeLimits;
use super::service::TelemetryService;
use super::threads::{Stop, stopped};
use crate::deadline::last_words;

/// First pause after a failed accept, as when there is no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause.
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Time that a program gets to open what it closed our listener for, before we open anything: the
/// numbers it is about to use shall not be ours again.
const OUT_OF_THE_WAY: Duration = Duration::from_millis(100);

/// Accepts until told to stop, then lets open streams end in order until the deadline.
pub(super) async fn serve(
    bound: Bound,
    poller: PollerHandle,
    service: TelemetryService,
    limits: ServeLimits,
    mut stop: Stop,
) -> io::Result<()> {
    let address = bound.address();
    let mut listener = Listener::new(bound, &poller, limits.allowed_uid)?;
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(Some(stream)) if connections.len() < limits.max_connections => {
                pause = ACCEPT_PAUSE;
                connections.spawn(connection(
                    stream,
                    service.clone(),
                    limits.clone(),
                    stop.clone(),
                    AtStop::Leave,
                ));
            }
            Ok(Some(_)) => tracing::warn!(
                limit = limits.max_connections,
                "a connection was closed at once: there are too many"
            ),
            Ok(None) => {}
            Err(_) if listener.is_lost() => {
                // Takes its file away, too, or the address would seem to be in use.
                drop(listener);
                let again = tokio::select! {
                    biased;
                    _ = stopped(&mut stop) => None,
                    again = listen_again(&address, &poller, limits.allowed_uid) => Some(again),
                };
                let Some(again) = again else {
                    return end_connections(connections, &service, &stop).await;
                };
                listener = again;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(pause).await;
                pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
            }
        }
    }
    drop(listener);
    end_connections(connections, &service, &stop).await
}

/// Listens where it did before the program closed the listener, as soon as that can be.
async fn listen_again(address: &Address, poller: &PollerHandle, uid: u32) -> Listener {
    let mut pause = OUT_OF_THE_WAY;
    loop {
        sleep(pause).await;
        let bound = Bound::bind(address).map_err(io::Error::other);
        match bound.and_then(|bound| Listener::new(bound, poller, uid)) {
            Ok(listener) => return listener,
            Err(error) if pause == OUT_OF_THE_WAY => {
                tracing::warn!(%error, "the telemetry server cannot listen again for now");
            }
            Err(error) => tracing::debug!(%error, "the telemetry server still cannot listen"),
        }
        pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
    }
}

/// Lets streams end in order, then in haste, then not at all.
async fn end_connections(
    mut connections: JoinSet<Ended>,
    service: &TelemetryService,
    stop: &Stop,
) -> io::Result<()> {
    let deadline = stop.borrow().unwrap_or_else(Instant::now);
    service.end_streams();
    let [hurry, last] = last_words(deadline);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout_at(hurry, all).await.is_ok() {
        return Ok(());
    }
    service.sessions().give_up_queued();
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout_at(last, all).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}
