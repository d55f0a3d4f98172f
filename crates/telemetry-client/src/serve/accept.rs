//! The accept loop, on the telemetry thread: connections that a manager opens, a limited number at once.

use std::io;
use std::time::Duration;

use telemetry_core::Address;
use tokio::task::{AbortHandle, JoinSet, yield_now};
#[cfg(feature = "tls")]
use tokio::time::timeout;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::bind::Bound;
use super::connection::{AtStop, Ended, connection};
#[cfg(feature = "tls")]
use super::door::Opened;
use super::door::{Door, NO_TLS_HERE};
use super::listener::Listener;
use super::poller::PollerHandle;
use super::seat::{Seat, Use};
use super::server::ServeLimits;
use super::service::TelemetryService;
use super::stream::Stream;
use super::threads::{Stop, stopped};
use crate::deadline::last_words;

/// First pause after a failed accept, as when there is no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause.
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Time that a program gets to open what it closed our listener for, before we open anything: the
/// numbers it is about to use shall not be ours again.
const OUT_OF_THE_WAY: Duration = Duration::from_millis(100);

/// How long a connection is left alone: whoever opened it has this time for its stream.
const FRESH: Duration = Duration::from_millis(250);
/// Connections younger than that for which there is room beyond the limit.
const FRESH_PLACES: usize = 64;

/// Accepts until told to stop, then lets open streams end in order until the deadline.
pub(super) async fn serve(
    bound: Bound,
    door: Door,
    poller: PollerHandle,
    service: TelemetryService,
    limits: ServeLimits,
    mut stop: Stop,
) -> io::Result<()> {
    let address = bound.address();
    let mut listener = Listener::new(bound, &poller, limits.allowed_uid)?;
    let mut connections = JoinSet::new();
    let mut places = Places::new(limits.max_connections);
    let mut pause = ACCEPT_PAUSE;
    loop {
        let crowded_until = places.crowded_until();
        let accepted = tokio::select! {
            biased;
            _ = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = over(crowded_until), if crowded_until.is_some() => {
                places.end_crowd();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(Some(stream)) => {
                pause = ACCEPT_PAUSE;
                if places.make_room() {
                    let seat = Seat::default();
                    let life = connections.spawn(visit(
                        stream,
                        door.clone(),
                        service.clone(),
                        limits.clone(),
                        stop.clone(),
                        seat.clone(),
                    ));
                    places.take(life, seat);
                    // What it has said already is heard before another one can take its place.
                    yield_now().await;
                }
            }
            Ok(None) => {}
            Err(_) if listener.is_lost() => {
                // Takes its file away, too, or the address would seem to be in use.
                drop(listener);
                let again = tokio::select! {
                    biased;
                    _ = stopped(&mut stop) => None,
                    again = listen_again(&address, &door, &poller, limits.allowed_uid) => Some(again),
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

/// Resolves at a time; never, if there is none.
async fn over(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// One connection: what is asked at the door, then its service.
async fn visit(
    stream: Stream,
    door: Door,
    service: TelemetryService,
    limits: ServeLimits,
    stop: Stop,
    seat: Seat,
) -> Ended {
    #[cfg(feature = "tls")]
    let stream = {
        let mut leaving = stop.clone();
        let opened = tokio::select! {
            biased;
            _ = stopped(&mut leaving) => return Ended::unused("the worker stops".to_owned()),
            opened = timeout(limits.handshake_timeout, door.open(stream)) => opened,
        };
        match opened {
            Ok(Ok(Opened::Plain(stream))) => stream,
            Ok(Ok(Opened::Tls(stream))) => {
                return connection(*stream, service, limits, stop, AtStop::Leave, seat).await;
            }
            Ok(Err(None)) => {
                return Ended::unused("a manager left before it said anything".to_owned());
            }
            Ok(Err(Some(why))) => {
                door.note(&why);
                return Ended::unused(why);
            }
            Err(_elapsed) => {
                let why = format!(
                    "a manager did not begin TLS within {:?}",
                    limits.handshake_timeout
                );
                door.note(&why);
                return Ended::unused(why);
            }
        }
    };
    let ended = connection(stream, service, limits, stop, AtStop::Leave, seat).await;
    if ended.began_tls {
        door.note(NO_TLS_HERE);
    }
    ended
}

/// The places for connections, in the order in which they were taken.
#[derive(Debug)]
struct Places {
    /// Those that are taken.
    taken: Vec<Place>,
    /// How many there are, but for fresh ones.
    limit: usize,
    /// Whether it was said that there are too few.
    is_said: bool,
}

/// A place that is taken.
#[derive(Debug)]
struct Place {
    /// Whose it is.
    life: AbortHandle,
    /// For what.
    seat: Seat,
    /// Since when.
    since: Instant,
}

impl Places {
    /// So many, all of them free.
    fn new(limit: usize) -> Self {
        Self {
            taken: Vec::new(),
            limit,
            is_said: false,
        }
    }

    /// Whether there is a place for one more. If need be the oldest of those that are of the least use give way, but
    /// never the one that has the stream of the worker, nor, while there are few, one that has just come.
    fn make_room(&mut self) -> bool {
        self.taken.retain(|place| !place.life.is_finished());
        while self.taken.len() >= self.limit {
            if !self.is_said {
                self.is_said = true;
                tracing::warn!(
                    limit = self.limit,
                    "there are too many connections; the oldest without a stream is closed for each further one"
                );
            }
            let Some(oldest) = self.oldest_useless() else {
                return false;
            };
            let is_fresh = self.taken[oldest].since.elapsed() < FRESH;
            if is_fresh && self.taken.len() < self.limit + FRESH_PLACES {
                return true;
            }
            self.taken.remove(oldest).life.abort();
        }
        true
    }

    /// The oldest of those that are of the least use, if it may give way.
    fn oldest_useless(&self) -> Option<usize> {
        let uses = self.taken.iter().map(|place| place.seat.is_for());
        // Of equal ones the first.
        match uses.enumerate().min_by_key(|(_, is_for)| *is_for) {
            Some((oldest, Use::Nothing | Use::Waiting)) => Some(oldest),
            _ => None,
        }
    }

    /// Until when there are more than the limit allows, if nothing changes.
    fn crowded_until(&mut self) -> Option<Instant> {
        if self.taken.len() > self.limit {
            self.taken.retain(|place| !place.life.is_finished());
        }
        let is_crowded = self.taken.len() > self.limit;
        let oldest = is_crowded.then(|| self.oldest_useless()).flatten()?;
        Some(self.taken[oldest].since + FRESH)
    }

    /// Those beyond the limit that are not fresh any more give way.
    fn end_crowd(&mut self) {
        let now = Instant::now();
        while self.crowded_until().is_some_and(|until| until <= now) {
            if let Some(oldest) = self.oldest_useless() {
                self.taken.remove(oldest).life.abort();
            }
        }
    }

    /// Takes the place that was made.
    fn take(&mut self, life: AbortHandle, seat: Seat) {
        let since = Instant::now();
        self.taken.push(Place { life, seat, since });
    }
}

/// Listens where it did before the program closed the listener, as soon as that can be.
async fn listen_again(address: &Address, door: &Door, poller: &PollerHandle, uid: u32) -> Listener {
    let mut pause = OUT_OF_THE_WAY;
    loop {
        sleep(pause).await;
        let bound = Bound::bind(address, door.is_encrypted()).map_err(io::Error::other);
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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Somebody comes and says nothing.
    fn comes(places: &mut Places) -> Option<AbortHandle> {
        places.make_room().then(|| {
            let life = tokio::spawn(std::future::pending::<()>()).abort_handle();
            places.take(life.clone(), Seat::default());
            life
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_is_left_alone_and_who_says_nothing_for_long_is_not() {
        let mut places = Places::new(16);
        let crowd: Vec<_> = (0..16 + FRESH_PLACES)
            .map(|_| comes(&mut places).expect("a place"))
            .collect();
        let oldest = |places: &Places| places.taken[0].life.id();
        assert_eq!(oldest(&places), crowd[0].id());
        comes(&mut places).expect("a place");
        assert_eq!(oldest(&places), crowd[1].id(), "one is too many");
        advance(FRESH).await;
        comes(&mut places).expect("a place");
        assert_eq!(places.taken.len(), 16);
        assert_eq!(oldest(&places), crowd[16 + FRESH_PLACES - 14].id());
        yield_now().await;
        assert!(crowd[0].is_finished());
    }
}
