//! One stream of a session, from the dial to its end.
//!
//! One loop waits for everything at once: bytes of the worker, a new policy, the order to stop, and
//! the deadlines of hello and headers. It never waits for a handler other than inline ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use telemetry_core::{Control, PROTOCOL_REVISION, PolicySpec, capability, random_u64};
use tokio::time::{Instant, sleep_until};

use super::control::control_frames;
use super::dial::{self, Answer, DialError, Dialled, HANDSHAKE_TIMEOUT};
use super::events::SessionEvents;
use super::legacy::legacy_controls;
use super::reader::{Learned, Reader};
use super::response::{Arrived, Farewell, Response, chain, farewell, refusal};
use super::{Run, Session};
use crate::pipeline::{Pipeline, source_of};

/// Time for the worker's hello; a worker that is silent until then is a stock one.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// A stream that is quiet for this long while draining is empty.
const DRAIN_SILENCE: Duration = Duration::from_millis(50);
/// Bytes that are read before other tasks get their turn: about a thousand events.
const TURN_BYTES: usize = 128 << 10;
/// What a chunk takes of a turn beside its bytes, so that small and empty ones end it as well.
const CHUNK_COST: usize = 64;
/// How a stream ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It never began. `asked`: the request went out, and the worker may have sent events.
    NotOpened { error: DialError, asked: bool },
    /// It broke, or the worker ended it.
    Lost { reason: String, lived: Duration },
    /// The worker serves another manager now.
    Replaced { reason: String },
    /// The session was told to stop.
    Stopped,
}

/// The state of one stream.
struct Progress {
    reader: Reader,
    stream_id: String,
    dialled_at: Instant,
    /// When the worker accepted the stream.
    opened_at: Option<Instant>,
    /// Whether the worker is spoken to as a stock one.
    legacy: bool,
    /// Until when a hello is expected.
    hello_due: Option<Instant>,
    /// Until when headers are expected.
    headers_due: Option<Instant>,
    /// A call that asks a silent worker for a sign of life.
    ping: Option<Answer>,
    /// Whether it was made.
    pinged: bool,
    /// Whether the newest policy is still to be sent.
    policy_due: bool,
    /// Whether there may be newer policies.
    is_desired: bool,
    /// Whether the worker is still to be told that we stop.
    goodbye_due: bool,
    /// While stopping.
    draining: Option<Draining>,
}

/// How a stream is read to its end.
#[derive(Debug)]
struct Draining {
    /// When silence means that all is read; of a worker that cannot say so itself.
    silence: Option<Instant>,
    /// The last moment.
    last: Instant,
}

impl Draining {
    fn until(&self) -> Instant {
        self.silence
            .map_or(self.last, |silence| silence.min(self.last))
    }
}

impl Session {
    /// Dials and streams until it ends.
    pub(super) async fn stream(&mut self, dialled_at: Instant) -> Ending {
        self.record.connecting();
        let legacy = self.record.is_legacy();
        let opening = self.opening(legacy);
        let accepted = &self.shared.accepted_uids;
        let (mut dialled, answer) = tokio::select! {
            dialled = dial::dial(&self.endpoint, accepted, opening) => match dialled {
                Ok(dialled) => dialled,
                Err(error) => return Ending::NotOpened { error, asked: false },
            },
            () = super::stopped(&mut self.run) => return Ending::Stopped,
        };
        self.record.asked(dialled.peer_pid);
        let mut progress = Progress {
            reader: self.reader(),
            stream_id: format!("{:016x}", random_u64()),
            dialled_at,
            opened_at: None,
            legacy,
            hello_due: (!legacy).then(|| dialled_at + HELLO_TIMEOUT),
            headers_due: Some(dialled_at + HANDSHAKE_TIMEOUT),
            ping: None,
            pinged: false,
            policy_due: false,
            is_desired: true,
            goodbye_due: false,
            draining: None,
        };
        let ending = self.read(&mut dialled, answer, &mut progress).await;
        if let Some(opened_at) = progress.opened_at {
            let reason = match &ending {
                Ending::Lost { reason, .. } | Ending::Replaced { reason } => reason.clone(),
                // It was alive and yet had no stream for us.
                Ending::NotOpened { error, .. } => error.to_string(),
                Ending::Stopped => "stopped".to_owned(),
            };
            self.lost_at = Some(Instant::now());
            let messages = progress.reader.messages();
            let (stream_id, lived) = (&progress.stream_id, opened_at.elapsed());
            self.events(&progress)
                .closed(stream_id, lived, messages, &reason);
        }
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
            let quiet_at = progress.draining.as_ref().map(Draining::until);
            tokio::select! {
                arrived = response.next() => {
                    if let Err(ending) = self.take_in(progress, &mut response, arrived).await {
                        return ending;
                    }
                }
                changed = self.run.changed(), if progress.draining.is_none() => {
                    if changed.is_err() {
                        return Ending::Stopped;
                    }
                    let Run::DrainUntil(last) = *self.run.borrow_and_update() else { continue };
                    if progress.opened_at.is_none() {
                        return Ending::Stopped;
                    }
                    progress.goodbye_due = self.record.is_capable_of(capability::GOODBYE);
                    let silence =
                        (!progress.goodbye_due).then(|| Instant::now() + DRAIN_SILENCE);
                    progress.draining = Some(Draining { silence, last });
                }
                changed = self.policy.changed(), if !progress.policy_due && progress.is_desired => {
                    // A worker that is being taken away has no desired policy any more.
                    progress.is_desired = changed.is_ok();
                    progress.policy_due = changed.is_ok();
                }
                permit = dialled.controls.reserve(), if progress.policy_due => {
                    progress.policy_due = false;
                    if let Ok(permit) = permit {
                        permit.send(self.policy_frames(progress.legacy));
                    }
                }
                () = at(progress.hello_due), if progress.hello_due.is_some() => {
                    self.turn_legacy(progress);
                }
                () = at(progress.headers_due), if progress.headers_due.is_some() => {
                    let error = DialError::NoHeaders { endpoint: self.endpoint.clone() };
                    return Ending::NotOpened { error, asked: true };
                }
                alive = pong(&mut progress.ping), if progress.ping.is_some() => {
                    progress.ping = None;
                    if alive {
                        progress.headers_due = None;
                        self.opened(progress);
                    }
                }
                () = at(quiet_at), if quiet_at.is_some() => return Ending::Stopped,
            }
            if std::mem::take(&mut progress.goodbye_due) {
                dialled.say_goodbye();
                progress.policy_due = false;
                progress.is_desired = false;
            }
            // A stock worker sends its headers with its first event. If it answers another call, it
            // is alive and merely has nothing to say.
            if progress.legacy && progress.opened_at.is_none() && !progress.pinged {
                progress.pinged = true;
                progress.ping = Some(dialled.ping());
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
        loop {
            match arrived {
                Arrived::Trailers(_) | Arrived::End | Arrived::Failed(_)
                    if progress.draining.is_some() =>
                {
                    return Err(Ending::Stopped);
                }
                Arrived::Chunk(chunk) => {
                    self.chunk(progress, &chunk)?;
                    turn = turn.saturating_sub(chunk.len() + CHUNK_COST);
                    if turn == 0 {
                        tokio::task::yield_now().await;
                        return Ok(());
                    }
                }
                Arrived::Headers(head) => *response = Response::Open(self.accept(progress, head)?),
                Arrived::Trailers(trailers) => return Err(ended(progress, &trailers)),
                Arrived::End => return Err(lost(progress, "the stream ended without trailers")),
                Arrived::Failed(error) if progress.opened_at.is_some() => {
                    return Err(lost(progress, &chain(&error)));
                }
                Arrived::Failed(error) => {
                    let endpoint = self.endpoint.clone();
                    let error = DialError::Http2 { endpoint, error };
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
        if let Some(Draining {
            silence: Some(silence),
            ..
        }) = &mut progress.draining
        {
            *silence = Instant::now() + DRAIN_SILENCE;
        }
        let (dispatcher, wanted) = (&self.shared.dispatcher, self.shared.message_events);
        let source = wanted.then(|| progress.reader.source().clone());
        let stream_id = &progress.stream_id;
        let fed = progress.reader.feed(chunk.chunk(), |size, number| {
            if let Some(source) = &source {
                SessionEvents { dispatcher, source }.message(stream_id, size, number);
            }
        });
        match fed {
            Ok(Learned { hello, event_first }) => {
                if hello {
                    progress.hello_due = None;
                    // It was taken for a stock one and told so; now it gets the policy itself.
                    progress.policy_due |= progress.legacy;
                    progress.legacy = false;
                } else if event_first && !progress.legacy {
                    self.turn_legacy(progress);
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
        progress.headers_due = None;
        progress.ping = None;
        let (head, body) = response.into_parts();
        if let Some(Farewell { replaced, reason }) = refusal(&head) {
            if replaced {
                return Err(Ending::Replaced { reason });
            }
            let error = DialError::Refused {
                endpoint: self.endpoint.clone(),
                reason,
            };
            return Err(Ending::NotOpened { error, asked: true });
        }
        self.opened(progress);
        Ok(body)
    }

    /// The worker serves the stream.
    fn opened(&self, progress: &mut Progress) {
        if progress.opened_at.is_some() {
            return;
        }
        let now = Instant::now();
        progress.opened_at = Some(now);
        let retries = self.backoff.failures();
        let before = self
            .record
            .streaming(self.shared.dispatcher.clock().unix_nanos());
        let downtime = self.lost_at.map(|lost| now - lost).filter(|_| before > 0);
        let events = self.events(progress);
        events.connected(&self.endpoint, now - progress.dialled_at, downtime, retries);
        events.opened(&progress.stream_id);
    }

    /// From now on the worker is spoken to as a stock one.
    fn turn_legacy(&self, progress: &mut Progress) {
        progress.hello_due = None;
        progress.legacy = true;
        progress.policy_due = true;
    }

    /// The first controls of a stream.
    fn opening(&mut self, legacy: bool) -> Bytes {
        let hello = Control::Hello {
            manager_id: self.shared.manager_id.clone(),
            protocol_revision: PROTOCOL_REVISION,
        };
        let policy = self.newest_policy();
        if legacy {
            let told = legacy_controls(&policy);
            self.record.set_legacy(true, told.unsupported);
            control_frames([&hello].into_iter().chain(&told.controls))
        } else {
            control_frames([&hello, &Control::Policy((*policy).clone())])
        }
    }

    /// The newest policy in the words the worker knows.
    fn policy_frames(&mut self, legacy: bool) -> Bytes {
        let policy = self.newest_policy();
        if legacy {
            let told = legacy_controls(&policy);
            self.record.set_legacy(true, told.unsupported);
            control_frames(&told.controls)
        } else {
            control_frames([&Control::Policy((*policy).clone())])
        }
    }

    fn newest_policy(&mut self) -> Arc<PolicySpec> {
        Arc::clone(&self.policy.borrow_and_update())
    }

    fn reader(&self) -> Reader {
        let shared = &self.shared;
        let source = source_of(&shared.node, &self.context, self.record.observed_pid());
        let pipeline = Pipeline::with_ledger(
            shared.dispatcher.clone(),
            source,
            Arc::clone(&shared.quarantine),
            self.record.begin(),
        );
        Reader::new(pipeline, Arc::clone(&self.record))
    }

    fn events<'a>(&'a self, progress: &'a Progress) -> SessionEvents<'a> {
        SessionEvents {
            dispatcher: &self.shared.dispatcher,
            source: progress.reader.source(),
        }
    }
}

/// The stream ended with trailers.
fn ended(progress: &Progress, trailers: &http::HeaderMap) -> Ending {
    let Farewell { replaced, reason } = farewell(trailers);
    if replaced {
        return Ending::Replaced { reason };
    }
    lost(progress, &reason)
}

fn lost(progress: &Progress, reason: &str) -> Ending {
    let reason = if progress.reader.is_at_boundary() {
        reason.to_owned()
    } else {
        format!("{reason}, inside a message")
    };
    let lived = progress
        .opened_at
        .map_or(Duration::ZERO, |opened| opened.elapsed());
    Ending::Lost { reason, lived }
}

/// Resolves at a time; never, if there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether the worker answered the call at all.
async fn pong(ping: &mut Option<Answer>) -> bool {
    match ping {
        Some(answer) => answer.await.is_ok(),
        None => std::future::pending().await,
    }
}
