//! The loop that accepts, and the way of one connection from there to its session.
//!
//! Of those that have not introduced themselves there are few at a time; one more sends the oldest away.
//! Accepting never stops: when the system has nothing to give, it is asked again a little later. A socket whose file
//! somebody removed is made anew.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    Mistake,
    catalog::escape,
    is_planted,
    wire::{Introduction, IntroductionAnswer},
};
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::net::unix::SocketAddr;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::answer::{Complaints, refused, send_off, why};
use super::frame::{INTRODUCTION_TIMEOUT, Unread, read};
use super::hearing::Hearing;
use crate::bound::Bound;
use crate::dir_events::Seen;
use crate::manager::{Admission, Caller, Manager, Refusal};
use crate::peer_user;
use crate::region::Region;
use crate::session::{Accepted, Ancestry, Arrival, Carrier, Life};

/// Most connections that have not introduced themselves; one more, and the oldest goes.
pub const MAX_UNINTRODUCED: usize = 64;
/// First and longest pause when the system cannot accept.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Between two looks at a path where our file was not seen yet, or that somebody else has taken.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two looks at the same caller, however much happens meanwhile.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// How long it may take to become clear whether somebody is gone whose id is asked for.
const UNDECIDED_TIMEOUT: Duration = Duration::from_millis(500);
/// How long those are told to wait for whom there is no room now.
const WAIT: IntroductionAnswer = IntroductionAnswer::Wait { seconds: 1 };

/// The descriptor that came with an introduction, if one did, or what is wrong with those that came.
type Handed = Result<Option<OwnedFd>, &'static str>;

/// What the connections share.
#[derive(Debug)]
struct Hall {
    manager: Manager,
    complaints: Complaints,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Door {
    hall: Arc<Hall>,
    /// Ends of those that have not introduced themselves, oldest first.
    waiting: VecDeque<oneshot::Sender<Refusal>>,
}

impl Door {
    pub(super) fn new(manager: Manager) -> Self {
        let complaints = Complaints::default();
        Self {
            hall: Arc::new(Hall {
                manager,
                complaints,
            }),
            waiting: VecDeque::new(),
        }
    }

    /// Accepts until it is stopped.
    pub(super) async fn keep(mut self, mut bound: Bound, mut stopped: watch::Receiver<bool>) {
        let mut visits = JoinSet::new();
        let mut pause = PAUSES.0;
        // Nothing is accepted before; whatever else happens is heard.
        let mut paused_until = Instant::now();
        let mut file = self.hall.manager.dir_events().follow(bound.path());
        let mut seen = Seen::Unknown;
        let mut lost = Lost::default();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&bound, paused_until) => accepted,
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
                    pause = PAUSES.0;
                    let (end, ended) = oneshot::channel();
                    self.make_room();
                    self.waiting.push_back(end);
                    let accepted = Accepted::now();
                    visits.spawn(Arc::clone(&self.hall).visit(stream, accepted, ended));
                }
                Err(error) => {
                    tracing::warn!(%error, ?pause, "cannot accept a worker; trying again");
                    paused_until = Instant::now() + pause;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        drop(bound);
        for end in self.waiting {
            // Who has introduced itself meanwhile needs no end.
            let _introduced = end.send(Refusal::Closing);
        }
        while visits.join_next().await.is_some() {}
    }

    /// Lets the oldest go that has not introduced itself, if there are too many.
    fn make_room(&mut self) {
        self.waiting.retain(|end| !end.is_closed());
        while self.waiting.len() >= MAX_UNINTRODUCED {
            if let Some(end) = self.waiting.pop_front() {
                let _introduced = end.send(Refusal::Crowded);
            }
        }
    }
}

/// Accepts, but not before that time.
async fn accept(bound: &Bound, from: Instant) -> io::Result<(UnixStream, SocketAddr)> {
    sleep_until(from).await;
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

impl Hall {
    /// One connection, until its session has it or it is sent off.
    async fn visit(
        self: Arc<Self>,
        stream: UnixStream,
        accepted: Accepted,
        ended: oneshot::Receiver<Refusal>,
    ) {
        let credentials = stream.peer_cred();
        let pid = credentials.as_ref().ok().and_then(|it| it.pid());
        // 0 stands for a process of a namespace that is not ours to see.
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.filter(|pid| *pid != 0);
        let mut hearing = Hearing::new(&stream);
        let outcome = match self.check_user(credentials.map(|it| it.uid())) {
            Ok(()) => self.introduction(&mut hearing, ended).await,
            Err(refusal) => Err(Some(refusal)),
        };
        let handed = hearing.handed();
        let stream = Carrier::Unix(stream);
        let introduction = match outcome {
            Ok(introduction) => introduction,
            Err(None) => return,
            Err(Some((why, answer))) => return self.turn_away(stream, why, pid, &answer).await,
        };
        let ancestry = match pid {
            // It fails only together with the runtime.
            Some(pid) => spawn_blocking(move || Ancestry::of(pid)).await.ok(),
            None => None,
        };
        let caller = Caller {
            introduction,
            pid,
            life: pid.map(Life::of).unwrap_or_default(),
            ancestry: ancestry.unwrap_or_default(),
        };
        let _served = self.let_in(stream, caller, handed, accepted).await;
    }

    /// Claims the id of a caller, welcomes it and gives its connection to its session; or sends it off.
    /// Says whether its session has it.
    async fn let_in(
        &self,
        mut stream: Carrier,
        caller: Caller,
        handed: Handed,
        accepted: Accepted,
    ) -> bool {
        if is_planted(Mistake::AnswersFirst) {
            stream.welcome().await;
        }
        let permit = match self.admit(&caller).await {
            Ok(permit) => permit,
            Err((why, answer)) => {
                self.turn_away(stream, why, caller.pid, &answer).await;
                return false;
            }
        };
        if !is_planted(Mistake::AnswersFirst) {
            stream.welcome().await;
        }
        permit.send(Arrival {
            stream,
            incarnation: caller.introduction.incarnation,
            pid: caller.pid,
            life: caller.life,
            region: self.region(handed, caller.pid),
            accepted,
        });
        true
    }

    /// Whether a user's processes may be workers.
    fn check_user(&self, found: io::Result<u32>) -> Result<(), (Refusal, IntroductionAnswer)> {
        let checked = peer_user::check(found, self.manager.accepted_uids());
        checked.map_err(|problem| (Refusal::User, refused(problem.to_string())))
    }

    /// Waits for the introduction. An error without a word is of somebody who left without one.
    async fn introduction(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        ended: oneshot::Receiver<Refusal>,
    ) -> Result<Introduction, Option<(Refusal, IntroductionAnswer)>> {
        let read = timeout(INTRODUCTION_TIMEOUT, read(stream));
        let read = tokio::select! {
            biased;
            read = read => read,
            Ok(why) = ended => return Err(Some((why, WAIT))),
        };
        match read {
            Ok(Ok(introduction)) => Ok(introduction),
            Ok(Err(Unread::Gone)) => Err(None),
            Ok(Err(Unread::Broken(error))) => {
                tracing::debug!(%error, "a connection broke in its introduction");
                Err(None)
            }
            Ok(Err(Unread::Wrong(error))) => Err(Some((why(&error), refused(error.to_string())))),
            Err(_elapsed) => Err(Some((
                Refusal::Slow,
                refused(format!(
                    "no introduction within {} s",
                    INTRODUCTION_TIMEOUT.as_secs()
                )),
            ))),
        }
    }

    /// The memory that a worker handed over. One that cannot be used is said to be none: then less is known
    /// when it dies, and it is served all the same.
    fn region(&self, handed: Handed, pid: Option<u32>) -> Option<Region> {
        let taken = handed.map_err(str::to_owned);
        let region = taken.and_then(|handed| {
            let region = handed.map(Region::of).transpose();
            region.map_err(|error| error.to_string())
        });
        region.unwrap_or_else(|error| {
            self.complaints.note_region(pid, &error);
            None
        })
    }

    /// Has the manager claim an id, asking again while it is not clear whether its last holder is gone.
    async fn admit(
        &self,
        caller: &Caller,
    ) -> Result<tokio::sync::mpsc::OwnedPermit<Arrival>, (Refusal, IntroductionAnswer)> {
        let until = Instant::now() + UNDECIDED_TIMEOUT;
        let mut changes = self.manager.subscribe();
        let mut is_last = false;
        loop {
            changes.mark_unchanged();
            match self.manager.admit(caller, is_last) {
                Admission::Welcome(permit) => return Ok(permit),
                Admission::Refused(why, answer) => return Err((why, answer)),
                // It was the last time to ask.
                Admission::Undecided if is_last => return Err((Refusal::Full, WAIT)),
                Admission::Undecided => {
                    let changed = timeout_at(until, changes.changed()).await;
                    is_last = !matches!(changed, Ok(Ok(())));
                    sleep(BETWEEN_LOOKS).await;
                }
            }
        }
    }

    async fn turn_away(
        &self,
        stream: Carrier,
        why: Refusal,
        pid: Option<u32>,
        answer: &IntroductionAnswer,
    ) {
        self.manager.count_refusal(why);
        self.complaints.note(why, pid, answer);
        match stream {
            Carrier::Unix(stream) => send_off(stream, answer).await,
            #[cfg(feature = "simulation")]
            Carrier::Simulated(stream) => send_off(stream, answer).await,
        }
    }
}

#[cfg(feature = "simulation")]
mod simulated;
#[cfg(feature = "simulation")]
pub use simulated::SimulatedDoor;

#[cfg(test)]
mod tests;
