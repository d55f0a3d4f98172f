//! One stream of a session, from its connection to its end, whoever opened that.
//!
//! One loop waits for everything at once: bytes of the worker, a new policy, the order to stop, and
//! the deadlines of hello and headers. It never waits for a handler other than inline ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use telemetry_core::{Mistake, is_planted, wire::capability};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::arrival::{Arrival, Carrier};
use super::backoff::Turn;
use super::dial::{self, Answer, DialError, Dialled, Manners};
use super::events::SessionEvents;
use super::peer::{LinkKind, Peer};
use super::progress::{Cause, Ending, LastWord, Progress, STOPPED, ended, lost};
use super::pulse::Beat;
use super::reader::{Learned, Reader};
use super::response::{Arrived, Farewell, Response, chain, refusal};
use super::state::{Course, DRAIN_SILENCE, Phase, Speech};
use super::{Run, Session};
use crate::accounts::Parting;
use crate::pipeline::{Pipeline, source_of};
use telemetry_core::Address;

/// Time for the worker's hello; a worker that is silent until then is a stock one.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read before other tasks get their turn: about a thousand events.
const TURN_BYTES: usize = 128 << 10;
/// What a chunk takes of a turn beside its bytes, so that small and empty ones end it as well.
const CHUNK_COST: usize = 64;
/// Longest time that a stream waits for another one of the same incarnation, whose handlers may be slow.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Time between two looks at that.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Why a stream ended whose process did.
pub(super) const PROCESS_ENDED: &str = "its process has ended";
impl Session {
    /// Dials and streams until it ends.
    pub(super) async fn dialled(
        &mut self,
        endpoint: &Address,
        dialled_at: Instant,
        turn: Turn<'_>,
    ) -> Ending {
        self.record.read_out().await;
        self.record.connecting();
        let legacy = self.record.is_legacy();
        let opening = self.opening(legacy, None);
        let manners = match legacy || self.was_silent {
            true => Manners::Careful,
            false if self.record.is_ours() => Manners::Brisk,
            false => Manners::Polite,
        };
        let started = self.record.started_pid();
        let credentials = self.credentials();
        let connected = tokio::select! {
            connected = dial::dial(endpoint, &credentials, started, opening, manners, turn) => match connected {
                Ok(connected) => connected,
                Err(error) => {
                    if !error.is_nobody() {
                        self.record.dialled();
                    }
                    return Ending::NotOpened { error, asked: false };
                }
            },
            Some(arrival) = self.arrivals.recv() => {
                self.next = Some(arrival);
                return Ending::Superseded;
            }
            () = super::stopped(&mut self.run) => return STOPPED,
        };
        self.record.dialled();
        self.tell(connected.0.stranger);
        let speech = if legacy {
            Speech::Legacy
        } else {
            Speech::Expected {
                due: dialled_at + HELLO_TIMEOUT,
            }
        };
        self.record.asked(connected.0.peer_pid, LinkKind::Out);
        let peer = Peer::Endpoint(endpoint.clone());
        let reader = self.reader(None).await;
        let progress = Progress::new(reader, peer, dialled_at, speech, manners);
        self.converse(connected, progress).await
    }

    /// Streams on a connection that the worker opened, until it ends.
    pub(super) async fn arrived(&mut self, arrival: Arrival) -> Ending {
        self.record.connecting();
        // Stock workers do not dial in.
        self.record.set_legacy(false, Vec::new());
        let introduced = Some((arrival.incarnation.as_str(), arrival.pid));
        let opening = self.opening(false, introduced);
        let peer = arrival.peer;
        let manners = Manners::Brisk;
        let connected = match arrival.stream {
            Carrier::Unix(stream) => {
                dial::open(&peer, stream, arrival.pid, opening, manners, None).await
            }
            #[cfg(feature = "tls")]
            Carrier::Tls(stream) => dial::open(&peer, stream, None, opening, manners, None).await,
            #[cfg(feature = "simulation")]
            Carrier::Simulated(stream) => {
                dial::open(&peer, stream, arrival.pid, opening, manners, None).await
            }
        };
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => {
                return Ending::NotOpened {
                    error,
                    asked: false,
                };
            }
        };
        self.record.asked(arrival.pid, LinkKind::In);
        let reader = self.reader(Some(arrival.incarnation)).await;
        let accepted = arrival.accepted.at;
        let progress = Progress::new(reader, peer, accepted, Speech::Extended, manners);
        self.converse(connected, progress).await
    }

    /// Streams on an open connection, until it ends.
    async fn converse(&mut self, connected: (Dialled, Answer), mut progress: Progress) -> Ending {
        let (mut dialled, answer) = connected;
        let ending = self.read(&mut dialled, answer, &mut progress).await;
        let ending = match progress.cause {
            Cause::Told => ending,
            Cause::Superseded => Ending::Superseded,
            Cause::ProcessEnded => Ending::Gone,
        };
        if let Some(opened_at) = progress.phase.since() {
            let reason = match &ending {
                Ending::Lost { reason, .. } | Ending::Replaced { reason } => reason.clone(),
                // It was alive and yet had no stream for us.
                Ending::NotOpened { error, .. } => error.to_string(),
                Ending::Superseded => "the worker opened another connection".to_owned(),
                Ending::Gone => PROCESS_ENDED.to_owned(),
                Ending::Stopped { .. } => "stopped".to_owned(),
            };
            self.lost_at = Some(Instant::now());
            let messages = progress.reader.messages();
            let (stream_id, lived) = (&progress.stream_id, opened_at.elapsed());
            self.events(&progress)
                .closed(stream_id, lived, messages, &reason);
        }
        let how = match ending {
            Ending::Replaced { .. } => Parting::Replaced,
            Ending::Stopped { in_order: true } => Parting::Left,
            _ => Parting::Cut,
        };
        self.record.end(progress.reader.into_ledger(), how);
        self.record.settle(&self.shared);
        ending
    }

    /// The loop.
    async fn read(
        &mut self,
        dialled: &mut Dialled,
        answer: Answer,
        progress: &mut Progress,
    ) -> Ending {
        let mut response = Response::Awaited(answer);
        loop {
            let (headers_due, hello_due) = (progress.phase.due(), progress.speech.due());
            let (quiet_at, ack_due) = (progress.course.until(), progress.acks.due());
            tokio::select! {
                arrived = response.next(), if progress.waits.is_none() => {
                    if let Err(ending) = self.take_in(progress, &mut response, arrived).await {
                        return ending;
                    }
                }
                changed = self.run.changed(), if !progress.course.is_leaving() => {
                    if changed.is_err() {
                        return STOPPED;
                    }
                    let Run::DrainUntil(last) = *self.run.borrow_and_update() else { continue };
                    if progress.phase.since().is_none() {
                        return STOPPED;
                    }
                    let hears = self.record.is_capable_of(capability::GOODBYE);
                    let waits = self.record.is_capable_of(capability::ACK);
                    let word = if waits { LastWord::Goodbye } else { LastWord::End };
                    progress.farewell = hears.then_some(word);
                    progress.leaves();
                    let silence = (!hears).then(|| Instant::now() + DRAIN_SILENCE);
                    progress.course = Course::Leaving { silence, last };
                }
                Some(arrival) = self.arrivals.recv(), if !progress.course.is_leaving() => {
                    if self.caller.is_before(&arrival) {
                        self.pass(arrival);
                    } else {
                        self.next = Some(arrival);
                        progress.leave(Cause::Superseded);
                    }
                }
                () = self.caller.life.ended(), if self.caller.life.is_told() && !progress.course.is_leaving() => {
                    if is_planted(Mistake::ReadsMemoryFirst) {
                        self.book_end();
                    }
                    progress.leave(Cause::ProcessEnded);
                }
                wanted = is_wanted(&mut self.drain), if progress.may_drain() => {
                    progress.told_drain = true;
                    if wanted && self.record.is_capable_of(capability::DRAIN) {
                        progress.farewell.get_or_insert(LastWord::Drain);
                    }
                }
                changed = self.policy.changed(), if !progress.policy_due && progress.is_desired => {
                    // A worker that is being taken away has no desired policy any more.
                    progress.is_desired = changed.is_ok();
                    progress.policy_due = changed.is_ok();
                    let wanted = Arc::clone(&self.policy.borrow());
                    progress.reader.desire(wanted, progress.speech.is_legacy());
                }
                permit = dialled.controls.reserve(), if progress.has_word() => {
                    if let Ok(permit) = permit {
                        permit.send(self.next_words(progress));
                    } else {
                        progress.says_no_more();
                    }
                }
                () = sleep(BETWEEN_LOOKS), if progress.waits.is_some() => progress.look(),
                () = at(ack_due), if ack_due.is_some() => progress.acks.time_is_over(),
                () = at(hello_due), if hello_due.is_some() => {
                    progress.policy_due |= progress.no_hello();
                }
                () = at(headers_due), if headers_due.is_some() => {
                    let error = DialError::NoHeaders { peer: progress.peer.clone() };
                    return Ending::NotOpened { error, asked: true };
                }
                beat = progress.pulse.next(progress.speech), if !progress.course.is_leaving() => match beat {
                    Beat::Ask => progress.pulse.asked(dialled.ping()),
                    Beat::Alive => self.opened(progress),
                    Beat::Failed => {}
                    Beat::Silent(patience) => {
                        return lost(progress, &format!("no answer to Ping within {patience:?}"));
                    }
                },
                () = at(quiet_at), if quiet_at.is_some() => return STOPPED,
            }
            if progress.farewell == Some(LastWord::End) {
                dialled.say_goodbye();
                progress.says_no_more();
            }
        }
    }

    /// Takes in what arrived and everything that is there behind it, for one turn.
    async fn take_in(
        &self,
        progress: &mut Progress,
        response: &mut Response,
        mut arrived: Arrived,
    ) -> Result<(), Ending> {
        let mut turn = TURN_BYTES;
        progress.pulse.heard();
        loop {
            match arrived {
                Arrived::Trailers(_) if progress.course.is_leaving() => {
                    return Err(Ending::Stopped { in_order: true });
                }
                Arrived::End | Arrived::Failed(_) if progress.course.is_leaving() => {
                    return Err(STOPPED);
                }
                Arrived::Chunk(chunk) => {
                    self.chunk(progress, &chunk)?;
                    if progress.waits.is_some() {
                        return Ok(());
                    }
                    turn = turn.saturating_sub(chunk.len() + CHUNK_COST);
                    if turn == 0 {
                        tokio::task::yield_now().await;
                        return Ok(());
                    }
                }
                Arrived::Headers(head) => *response = Response::Open(self.accept(progress, head)?),
                Arrived::Trailers(trailers) => return Err(ended(progress, &trailers)),
                Arrived::End => return Err(lost(progress, "the stream ended without trailers")),
                Arrived::Failed(error) if progress.phase.since().is_some() => {
                    return Err(lost(progress, &chain(&error)));
                }
                Arrived::Failed(error) => {
                    let peer = progress.peer.clone();
                    let error = error.into();
                    let error = DialError::Http2 { peer, error };
                    return Err(Ending::NotOpened { error, asked: true });
                }
            }
            match response.next_ready().await {
                Some(next) => arrived = next,
                None => return Ok(()),
            }
        }
    }

    /// Takes bytes of the stream.
    fn chunk(&self, progress: &mut Progress, chunk: &Bytes) -> Result<(), Ending> {
        progress.course.heard();
        let (dispatcher, wanted) = (&self.shared.dispatcher, self.shared.message_events);
        let source = wanted.then(|| progress.reader.source().clone());
        let stream_id = &progress.stream_id;
        let fed = progress.reader.feed(chunk.chunk(), |size, number| {
            if let Some(source) = &source {
                SessionEvents { dispatcher, source }.message(stream_id, size, number);
            }
        });
        match fed {
            Ok(Learned { stranger: true, .. }) => Err(lost(
                progress,
                "its hello names another incarnation than its introduction",
            )),
            Ok(Learned {
                hello,
                event_first,
                reported,
                ..
            }) => {
                if let Some(hello) = &hello {
                    let id = &self.context.worker_id;
                    self.shared.desired.label(id, self.record.labels());
                    let released = hello.retained_from.saturating_sub(1);
                    let handled = progress.reader.position();
                    progress.acks.begin(hello.replay_bytes, released, handled);
                }
                if reported {
                    let (applied, id) = (self.record.applied(), &self.context.worker_id);
                    if applied > self.policy.borrow().revision() {
                        self.shared.desired.overtaken(id, applied);
                    }
                }
                let position = progress.reader.position();
                progress.acks.handled(position, chunk.len(), reported);
                let refused = progress.reader.take_refused();
                if !refused.is_empty() && self.record.is_capable_of(capability::REJECTED) {
                    progress.rejected.extend_from_slice(refused);
                }
                if hello.is_some() && progress.reader.must_wait() {
                    progress.waits = Some(Instant::now() + MAX_WAIT);
                }
                if hello.is_some() {
                    // If it was taken for another kind and told so, it gets the policy in its own words now.
                    progress.policy_due |=
                        progress.speech.hello().0 || !self.record.was_told_well();
                } else if event_first {
                    progress.policy_due |= progress.no_hello();
                }
                Ok(())
            }
            Err(error) => Err(lost(progress, &error.to_string())),
        }
    }

    /// Takes the response headers.
    fn accept(
        &self,
        progress: &mut Progress,
        response: http::Response<Incoming>,
    ) -> Result<Incoming, Ending> {
        let (head, body) = response.into_parts();
        if let Some(Farewell { replaced, reason }) = refusal(&head) {
            if replaced {
                return Err(Ending::Replaced { reason });
            }
            let error = DialError::Refused {
                peer: progress.peer.clone(),
                reason,
            };
            return Err(Ending::NotOpened { error, asked: true });
        }
        self.opened(progress);
        Ok(body)
    }

    /// The worker serves the stream.
    fn opened(&self, progress: &mut Progress) {
        if progress.phase.since().is_some() {
            return;
        }
        let now = Instant::now();
        progress.phase = Phase::Open { since: now };
        let retries = self.backoff.failures();
        let before = self
            .record
            .streaming(self.shared.dispatcher.clock().unix_nanos());
        let downtime = self.lost_at.map(|lost| now - lost).filter(|_| before > 0);
        let events = self.events(progress);
        events.connected(&progress.peer, now - progress.dialled_at, downtime, retries);
        events.opened(&progress.stream_id);
    }

    /// Reads a stream; `introduced`: the incarnation that a worker which dialled in says it is.
    async fn reader(&self, introduced: Option<String>) -> Reader {
        let shared = &self.shared;
        let source = source_of(&shared.node, &self.context, self.record.observed_pid());
        let pipeline = Pipeline::with_ledger(
            shared.dispatcher.clone(),
            source,
            Arc::clone(&shared.quarantine),
            self.record.begin().await,
        )
        .learning(&shared.learned);
        let wanted = Arc::clone(&self.policy.borrow());
        Reader::new(pipeline, Arc::clone(&self.record), introduced, wanted)
    }

    fn events<'a>(&'a self, progress: &'a Progress) -> SessionEvents<'a> {
        SessionEvents {
            dispatcher: &self.shared.dispatcher,
            source: progress.reader.source(),
        }
    }
}

/// Resolves when the worker is to be drained; false if nobody is left to want it.
async fn is_wanted(drain: &mut watch::Receiver<bool>) -> bool {
    drain.wait_for(|wanted| *wanted).await.is_ok()
}

/// Resolves at a time; never, if there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
