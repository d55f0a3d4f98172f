//! The loop that accepts at a unix socket. It never stops: when the system has nothing to give, it is asked again
//! a little later, and a socket whose file somebody removed is made anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::catalog::escape;
use tokio::net::UnixStream;
use tokio::net::unix::SocketAddr;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::hall::Hall;
use super::lobby::{Lobby, Pause};
use crate::bound::Bound;
use crate::dir_events::Seen;
use crate::manager::Manager;
use crate::session::Accepted;

/// Between two looks at a path where our file was not seen yet, or that somebody else has taken.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// See the module.
#[derive(Debug)]
pub(super) struct Door {
    hall: Arc<Hall>,
    /// By user.
    lobby: Lobby<u32>,
}

impl Door {
    /// For those whom the manager accepts everywhere.
    #[cfg(any(feature = "simulation", test))]
    pub(super) fn new(manager: Manager) -> Self {
        Self::of(manager, Vec::new())
    }

    /// For these users as well.
    pub(super) fn of(manager: Manager, users: Vec<u32>) -> Self {
        Self {
            hall: Arc::new(Hall::of(manager, users)),
            lobby: Lobby::default(),
        }
    }

    /// Accepts until it is stopped.
    pub(super) async fn keep(mut self, mut bound: Bound, mut stopped: watch::Receiver<bool>) {
        let mut visits = JoinSet::new();
        let mut pause = Pause::default();
        let mut file = self.hall.manager.dir_events().follow(bound.path());
        let mut seen = Seen::Unknown;
        let mut lost = Lost::default();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&bound, &pause) => accepted,
                // A visit that panicked has been told of.
                Some(_over) = visits.join_next() => continue,
                // A handle that was dropped stops it as well.
                _stop = stopped.changed() => break,
                now = file.wait_for(|now| now != seen) => {
                    seen = now;
                    bound = lost.find(bound, seen).await;
                    continue;
                }
                () = lost.due() => {
                    bound = lost.find(bound, seen).await;
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    pause.forget();
                    let hall = Arc::clone(&self.hall);
                    let accepted = Accepted::now();
                    // Who may not come takes no place of those who may.
                    match hall.user(&stream) {
                        Ok(user) => {
                            let ended = self.lobby.enter(user);
                            visits.spawn(hall.visit(stream, accepted, ended));
                        }
                        Err(no) => {
                            visits.spawn(hall.show_out(stream, no));
                        }
                    }
                }
                Err(error) => pause.begin(&error),
            }
        }
        drop(bound);
        self.lobby.close();
        while visits.join_next().await.is_some() {}
    }
}

/// Accepts, but not before the pause is over; whatever else happens is heard meanwhile.
async fn accept(bound: &Bound, pause: &Pause) -> io::Result<(UnixStream, SocketAddr)> {
    pause.over().await;
    bound.listener.accept().await
}

/// What is done about a socket whose file somebody removed or replaced.
#[derive(Debug, Default)]
struct Lost {
    /// When to look again; set until it is seen that what is there is ours.
    look_at: Option<Instant>,
    /// Whether the last try to listen failed.
    failed: bool,
}

impl Lost {
    /// Resolves when it is time to look again.
    async fn due(&self) {
        match self.look_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Listens anew if the file is not ours any more. Said once.
    ///
    /// `seen` is what was told last of that path. As long as that is not our file nothing need be told when it is
    /// removed: it was gone before, and is gone again.
    async fn find(&mut self, bound: Bound, seen: Seen) -> Bound {
        if bound.is_found() {
            self.failed = false;
            self.look_at = (!bound.is_seen(seen)).then(|| Instant::now() + LOOK_AGAIN);
            return bound;
        }
        self.look_at = Some(Instant::now() + LOOK_AGAIN);
        let path = escape(&bound.path().to_string_lossy()).into_owned();
        match bound.again().await {
            Ok(again) => {
                tracing::warn!(
                    path,
                    "somebody removed the socket where workers dial in; it is there again"
                );
                self.failed = false;
                again
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(
                        path, %error,
                        "somebody removed the socket where workers dial in; no worker can until it is back"
                    );
                }
                bound
            }
        }
    }
}

#[cfg(feature = "simulation")]
mod simulated;
#[cfg(feature = "simulation")]
pub use simulated::SimulatedDoor;

#[cfg(test)]
mod tests;
