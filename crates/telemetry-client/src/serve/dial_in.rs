//! Keeps a worker connected to its manager: connect, introduce, serve, rest, and again, for ever.
//!
//! Nothing in the program waits for any of it. While there is no manager, events wait in the queue.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use telemetry_core::{
    Address,
    wire::{Backoff, Introduction, IntroductionAnswer},
};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::connection::{AtStop, Ended, connection};
use super::introduce::{Answered, Opened, Road, introduce};
use super::seat::Seat;
use super::server::ServeLimits;
use super::service::TelemetryService;
use super::threads::{Stop, stopped};
use crate::deadline::last_words;

/// Upper bound of the first rest after a failure.
const REST_BASE: Duration = Duration::from_millis(100);
/// Upper bound of a rest: a look at a socket of this machine costs next to nothing.
const REST_CAP: Duration = Duration::from_secs(1);
/// The same after a manager said no.
const REFUSED_REST: Duration = Duration::from_secs(10);
/// Longest rest that a manager can ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// A connection that served so long was a good one: the next attempt is made at once.
const GOOD_LIFE: Duration = Duration::from_secs(1);
/// How often one manager may send us to another before we rest.
const MAX_MOVES: u32 = 4;
/// Rest while the worker ends and its manager was there before.
const LAST_REST: Duration = Duration::from_millis(20);

/// What others may know of it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Whether a manager ever said welcome.
    welcomed: AtomicBool,
    /// Why the last attempt failed or the last connection ended; none while connected.
    last_error: Mutex<Option<String>>,
}

impl Standing {
    /// Why there is no connection, if something is known.
    pub(super) fn last_error(&self) -> Option<String> {
        let error = self.last_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<String>) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// What a connection is made with.
#[derive(Debug)]
pub(super) struct Dialler<'a, R> {
    /// Managers, any of which will do.
    pub(super) managers: &'a [Address],
    /// Who we are.
    pub(super) introduction: Introduction,
    /// How managers are reached.
    pub(super) road: R,
    /// What serves.
    pub(super) service: TelemetryService,
    /// What the manager may take.
    pub(super) limits: ServeLimits,
    /// Told when it is time to end.
    pub(super) stop: Stop,
    /// Where it stands.
    pub(super) standing: &'a Standing,
}

/// What comes after an attempt.
enum Next {
    /// Another one at once, here if it is said where.
    AtOnce(Option<Address>),
    /// A rest.
    Rest(Duration),
    /// Nothing: it is over.
    Nothing,
}

impl<R: Road> Dialler<'_, R> {
    /// Connects and serves until told to stop, then lets the stream end until the deadline.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(REST_BASE, REST_CAP);
        let mut turn = 0;
        let mut moved: Option<Address> = None;
        let mut moves = 0;
        loop {
            let address = match moved.take() {
                Some(address) => address,
                None => self.managers[turn].clone(),
            };
            self.introduction.attempts = backoff.failures();
            let next = self.attempt(&address, &mut backoff).await;
            let rest = match next {
                Next::Nothing => return,
                Next::AtOnce(Some(address)) if moves < MAX_MOVES => {
                    moves += 1;
                    moved = Some(address);
                    continue;
                }
                Next::AtOnce(None) => {
                    moves = 0;
                    continue;
                }
                Next::AtOnce(Some(_)) => backoff.next_wait(),
                Next::Rest(rest) => rest,
            };
            moves = 0;
            turn = (turn + 1) % self.managers.len();
            // Before all were asked, none is waited for.
            let rest = if turn == 0 { rest } else { rest.min(REST_BASE) };
            if !self.rest(rest).await {
                return;
            }
        }
    }

    /// Rests; false if it is over.
    async fn rest(&mut self, rest: Duration) -> bool {
        let ending = *self.stop.borrow();
        let Some(deadline) = ending else {
            return tokio::select! {
                () = sleep(rest) => true,
                // Somebody may have come meanwhile: one more look, at once.
                _ = stopped(&mut self.stop) => self.has_something_to_say(),
            };
        };
        // A manager that was there may be about to return; where none ever was, nobody waits.
        if !self.standing.welcomed.load(Ordering::Relaxed) || Instant::now() >= deadline {
            return false;
        }
        sleep_until(deadline.min(Instant::now() + LAST_REST)).await;
        self.has_something_to_say()
    }

    /// Whether there is anything that a manager would want to hear before the end.
    fn has_something_to_say(&self) -> bool {
        let recorder = self.service.sessions().recorder();
        recorder.queued() > 0 || recorder.gate().sent() > 0
    }

    /// Whether there are events that were not sent, or that nobody has acknowledged who would.
    fn has_unsent(&self) -> bool {
        let recorder = self.service.sessions().recorder();
        recorder.queued() > 0 || recorder.retained() > 0
    }

    /// One attempt, and the connection that comes of it.
    async fn attempt(&mut self, address: &Address, backoff: &mut Backoff) -> Next {
        let failed = |this: &Self, error: String, rest| {
            tracing::debug!(%address, %error, "the manager was not reached");
            this.standing.set_error(Some(error));
            Next::Rest(rest)
        };
        let reached = {
            let mut reaching = pin!(self.road.reach(address, self.limits.allowed_uid));
            tokio::select! {
                biased;
                reached = reaching.as_mut() => reached,
                deadline = stopped(&mut self.stop) => match timeout_at(deadline, reaching).await {
                    Ok(reached) => reached,
                    Err(_late) => return Next::Nothing,
                },
            }
        };
        let opened = match reached {
            Ok(opened) => opened,
            Err(error) => return failed(self, error.to_string(), backoff.next_wait()),
        };
        let answered = self.hear(opened).await;
        let Some(answered) = answered else {
            return Next::Nothing;
        };
        match answered {
            Err(error) => failed(self, error, backoff.next_wait()),
            Ok(Answered { stream, answer }) => match answer {
                IntroductionAnswer::Welcome => self.serve(address, stream, backoff).await,
                IntroductionAnswer::Moved { ref address } => match answer.moved_to() {
                    Some(address) => Next::AtOnce(Some(address)),
                    None => {
                        let error =
                            format!("the manager moved to {address:?}, which is no address");
                        failed(self, error, backoff.next_wait())
                    }
                },
                IntroductionAnswer::Wait { seconds } => {
                    let rest = Duration::from_secs(seconds.into()).min(MAX_WAIT);
                    let error = format!("the manager asked to wait for {seconds} s");
                    failed(self, error, rest.max(backoff.next_wait()))
                }
                IntroductionAnswer::Refused { reason } => {
                    let error = format!("the manager refused this worker: {reason}");
                    if self.standing.last_error().as_deref() != Some(error.as_str()) {
                        tracing::warn!(%address, %reason, "the manager refused this worker");
                    }
                    failed(self, error, REFUSED_REST / 2 + backoff.next_wait())
                }
                other => {
                    let error =
                        format!("the manager answered what this version does not know: {other:?}");
                    failed(self, error, REFUSED_REST / 2 + backoff.next_wait())
                }
            },
        }
    }

    /// The manager's answer; `None` if the worker has to be gone before it came.
    ///
    /// Once the first word is said, the answer is waited for at the end as well: a manager that knows of a
    /// worker counts one that leaves without its last word as one of which not all is known.
    async fn hear(
        &mut self,
        opened: Opened<R::Stream>,
    ) -> Option<Result<Answered<R::Stream>, String>> {
        let is_ending = self.stop.borrow().is_some();
        if is_ending && !opened.is_said && !self.has_something_to_say() {
            return None;
        }
        let mut exchange = pin!(introduce(&self.road, opened, &self.introduction));
        let heard = tokio::select! {
            heard = exchange.as_mut() => heard,
            deadline = stopped(&mut self.stop) => timeout_at(deadline, exchange).await.ok()?,
        };
        Some(heard.map_err(|error| error.to_string()))
    }

    /// Serves on a connection until it ends.
    async fn serve(&mut self, address: &Address, stream: R::Stream, backoff: &mut Backoff) -> Next {
        tracing::debug!(%address, "connected to the manager");
        self.standing.welcomed.store(true, Ordering::Relaxed);
        self.standing.set_error(None);
        let began = Instant::now();
        let mut life = pin!(connection(
            stream,
            self.service.clone(),
            self.limits.clone(),
            self.stop.clone(),
            AtStop::AwaitStream,
            Seat::default(),
        ));
        let ended = tokio::select! {
            ended = life.as_mut() => ended,
            deadline = stopped(&mut self.stop) => {
                self.service.end_streams();
                let [hurry, last] = last_words(deadline);
                match timeout_at(hurry, life.as_mut()).await {
                    // The goodbye may have crossed with an end of another kind.
                    Ok(Ended { had_stream: false, .. }) if Instant::now() < deadline => {
                        return Next::Rest(Duration::ZERO);
                    }
                    Ok(_) => {}
                    Err(_) => {
                        self.service.sessions().give_up_queued();
                        let _cut = timeout_at(last, life).await;
                    }
                }
                return if self.has_unsent() {
                    Next::Rest(Duration::ZERO)
                } else {
                    Next::Nothing
                };
            }
        };
        let in_order = ended.had_stream && ended.error.is_none();
        let is_closed = self.service.sessions().recorder().is_closed();
        if in_order && is_closed && !self.has_unsent() {
            // The stream ended because there is no more to come; that we are told to stop is on its way.
            return Next::Nothing;
        }
        let reason = ended.error.unwrap_or_else(|| "the manager left".to_owned());
        self.standing.set_error(Some(reason));
        if ended.had_stream && began.elapsed() >= GOOD_LIFE {
            backoff.reset();
            return Next::AtOnce(None);
        }
        Next::Rest(backoff.next_wait())
    }
}
