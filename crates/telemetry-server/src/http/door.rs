//! Accepts at one door, seats who comes, and serves.
//!
//! There are [`MAX_HTTP_CONNECTIONS`] places. When all are taken, the connection goes that has waited longest
//! for something that its client has to do; where there is none, one that was answered and asks on. While all
//! others are being answered for the first time, the next one waits.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

use super::arrival::{Arrival, Door};
use super::patience::{Seat, UnderWay};
use super::refused::{Refusal, Refusals};
use super::reserve::Reserve;
use super::{HTTP_HEAD_TIMEOUT, MAX_HTTP_CONNECTIONS, MAX_HTTP_HEAD_BYTES};

/// How long to wait after the system refused a connection, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client must have kept us waiting before its place goes to another one.
const SEAT_GRACE: Duration = Duration::from_millis(250);

/// Between two looks at whether the door is still to be found.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// A connection that has a place.
struct Seated {
    seat: Seat,
    arrival: Arrival,
    connection: AbortHandle,
}

/// Whoever keeps a door.
pub(super) struct Keeper {
    pub(super) router: Router,
    pub(super) refusals: Refusals,
    pub(super) reserve: Reserve,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Keeper {
    /// Accepts until told to stop, then waits for the connections. Aborting it aborts them.
    pub(super) async fn keep(mut self, mut door: impl Door) {
        let room = Arc::new(Semaphore::new(MAX_HTTP_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut seated: Vec<Seated> = Vec::new();
        // Accepted, and without a place.
        let mut next = None;
        let mut look_at = Instant::now();
        let mut made_room = false;
        let mut stopped = self.stopped.clone();
        let mut look_after = Instant::now() + LOOK_AFTER;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop(&mut stopped) => break,
                place = Arc::clone(&room).acquire_owned(), if next.is_some() => {
                    if let (Some((stream, arrival)), Ok(place)) = (next.take(), place) {
                        let seat = Seat::new();
                        let opening = door.open(stream, arrival, seat.clone());
                        let serving = self.serve(opening, arrival, seat.clone(), place);
                        let connection = connections.spawn(serving);
                        seated.push(Seated { seat, arrival, connection });
                    }
                    continue;
                }
                () = sleep_until(look_at), if next.is_some() => {
                    look_at = self.make_place(&mut seated);
                    continue;
                }
                accepted = door.accept(), if next.is_none() => accepted,
                () = sleep_until(look_after) => {
                    door.look_after().await;
                    look_after = Instant::now() + LOOK_AFTER;
                    continue;
                }
                // Reaps those that have ended, and takes their descriptors before others do.
                Some(_) = connections.join_next(), if !connections.is_empty() => {
                    self.reserve.fill();
                    seated.retain(|it| !it.connection.is_finished());
                    continue;
                }
                // The system misses a descriptor before it looks whether anybody is there to accept.
                () = std::future::ready(()), if made_room => {
                    made_room = false;
                    self.reserve.fill();
                    continue;
                }
            };
            made_room = false;
            match accepted {
                Ok(stream) => match door.look_at(&stream) {
                    Ok(arrival) => {
                        next = Some((stream, arrival));
                        look_at = Instant::now();
                    }
                    Err(why) => self.refusals.note(Refusal::User, &why),
                },
                Err(error) if self.reserve.makes_room(&error) => made_room = true,
                Err(error) => self.pause(&error).await,
            }
        }
        drop(next);
        drop(door);
        while connections.join_next().await.is_some() {}
    }

    async fn pause(&mut self, error: &io::Error) {
        tracing::warn!(%error, "no HTTP connection could be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
        self.reserve.fill();
    }

    /// Sends the one away that should leave first, if it has had its place long enough. Says when to look again.
    fn make_place(&self, seated: &mut Vec<Seated>) -> Instant {
        let now = Instant::now();
        seated.retain(|it| !it.connection.is_finished());
        let candidates = || {
            let seated = seated.iter().enumerate();
            seated.filter_map(|(at, it)| it.seat.gives_way().map(|(why, since)| (why, since, at)))
        };
        let is_due = |since: Instant| since + SEAT_GRACE <= now;
        let first = candidates().filter(|(_, since, _)| is_due(*since)).min();
        if let Some((.., at)) = first {
            let gone = seated.swap_remove(at);
            gone.connection.abort();
            self.refusals.note(Refusal::Crowded, &gone.arrival);
            return now + SEAT_GRACE;
        }
        let next = candidates().map(|(_, since, _)| since).min();
        next.unwrap_or(now) + SEAT_GRACE
    }

    /// Serves one connection, once it is open, until it ends or the server stops.
    fn serve<S, O>(
        &self,
        opening: O,
        arrival: Arrival,
        seat: Seat,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<S, O>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        O: Future<Output = Option<S>> + Send + 'static,
    {
        let (router, refusals) = (self.router.clone(), self.refusals.clone());
        let mut stopped = self.stopped.clone();
        let asked = seat.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let under_way = asked.begin();
            let mut router = router.clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(arrival);
                let answer = router.call(request).await?;
                // What has no size is a live view.
                if answer.body().size_hint().exact().is_none() {
                    under_way.is_live();
                }
                Ok::<_, Infallible>(answer.map(|body| Answer {
                    body,
                    _under_way: under_way,
                }))
            }
        });
        async move {
            let opened = tokio::select! {
                biased;
                opened = opening => opened,
                () = stop(&mut stopped) => None,
            };
            let Some(stream) = opened else {
                return;
            };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HTTP_HEAD_TIMEOUT)
                .max_buf_size(MAX_HTTP_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = stop(&mut stopped) => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if seat.is_slow() {
                refusals.note(Refusal::Slow, &arrival);
            }
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
            drop(place);
        }
    }
}

/// Returns once the server is told to stop, or is gone.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // An error is a server that is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The body of an answer. Its request is under way until it is handed over whole.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
