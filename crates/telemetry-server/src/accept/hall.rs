//! The way of one connection from where it was accepted to its session.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    Mistake, is_planted,
    wire::{Introduction, IntroductionAnswer},
};
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::answer::{Complaints, refused, send_off, why};
use super::frame::{INTRODUCTION_TIMEOUT, Unread, read};
use super::hearing::Hearing;
use crate::manager::{Admission, Caller, Manager, Refusal};
use crate::peer_user;
use crate::region::Region;
use crate::session::{Accepted, Ancestry, Arrival, Carrier, Life, Peer};

/// Between two looks at the same caller, however much happens meanwhile.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// How long it may take to become clear whether somebody is gone whose id is asked for.
const UNDECIDED_TIMEOUT: Duration = Duration::from_millis(500);
/// How long those are told to wait for whom there is no room now.
const WAIT: IntroductionAnswer = IntroductionAnswer::Wait { seconds: 1 };

/// The descriptor that came with an introduction, if one did, or what is wrong with those that came.
pub(super) type Handed = Result<Option<OwnedFd>, &'static str>;
/// Why somebody is not taken, and what it is told.
pub(super) type TurnedAway = (Refusal, IntroductionAnswer);

/// What the connections share.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) manager: Manager,
    pub(super) complaints: Complaints,
    /// Users whose processes may be workers: those whom the manager accepts everywhere, and those that may come here.
    accepted_uids: Vec<u32>,
}

impl Hall {
    /// That of a manager, for these users as well.
    pub(super) fn of(manager: Manager, users: Vec<u32>) -> Self {
        let complaints = Complaints::default();
        let mut accepted_uids = users;
        accepted_uids.extend(manager.accepted_uids());
        Self {
            manager,
            complaints,
            accepted_uids,
        }
    }

    /// The user behind a connection at a unix socket, if its processes may be workers. Nothing is read.
    pub(super) fn user(&self, stream: &UnixStream) -> Result<u32, TurnedAway> {
        let found = stream.peer_cred().map(|it| it.uid());
        let checked = peer_user::check(found, &self.accepted_uids);
        checked.map_err(|problem| (Refusal::User, refused(problem.to_string())))
    }

    /// Sends off one of a user who may not come.
    pub(super) async fn show_out(self: Arc<Self>, stream: UnixStream, no: TurnedAway) {
        let pid = pid(&stream);
        let stream = Carrier::Unix(stream);
        self.turn_away(stream, &Peer::Process { pid }, &no).await;
    }

    /// One connection at a unix socket, of a user who may come, until its session has it or it is sent off.
    pub(super) async fn visit(
        self: Arc<Self>,
        stream: UnixStream,
        accepted: Accepted,
        ended: oneshot::Receiver<Refusal>,
    ) {
        let pid = pid(&stream);
        let mut hearing = Hearing::new(&stream);
        let outcome = self.introduction(&mut hearing, ended).await;
        let handed = hearing.handed();
        let stream = Carrier::Unix(stream);
        let introduction = match outcome {
            Ok(introduction) => introduction,
            Err(None) => return,
            Err(Some(no)) => return self.turn_away(stream, &Peer::Process { pid }, &no).await,
        };
        let ancestry = match pid {
            // It fails only together with the runtime.
            Some(pid) => spawn_blocking(move || Ancestry::of(pid)).await.ok(),
            None => None,
        };
        let caller = Caller {
            introduction,
            peer: Peer::Process { pid },
            pid,
            life: pid.map(Life::of).unwrap_or_default(),
            ancestry: ancestry.unwrap_or_default(),
        };
        let _served = self.let_in(stream, caller, handed, accepted).await;
    }

    /// Claims the id of a caller, welcomes it and gives its connection to its session; or sends it off.
    /// Says whether its session has it.
    pub(super) async fn let_in(
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
            Err(no) => {
                self.turn_away(stream, &caller.peer, &no).await;
                return false;
            }
        };
        if !is_planted(Mistake::AnswersFirst) {
            stream.welcome().await;
        }
        permit.send(Arrival {
            stream,
            region: self.region(handed, caller.pid),
            incarnation: caller.introduction.incarnation,
            peer: caller.peer,
            pid: caller.pid,
            life: caller.life,
            accepted,
        });
        true
    }

    /// Waits for the introduction. An error without a word is of somebody who left without one.
    pub(super) async fn introduction(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        ended: oneshot::Receiver<Refusal>,
    ) -> Result<Introduction, Option<TurnedAway>> {
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
    pub(super) async fn admit(
        &self,
        caller: &Caller,
    ) -> Result<tokio::sync::mpsc::OwnedPermit<Arrival>, TurnedAway> {
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

    /// Counts somebody who is not taken, says so in the log, and tells them.
    pub(super) async fn turn_away(&self, stream: Carrier, peer: &Peer, no: &TurnedAway) {
        let (why, answer) = no;
        self.note(*why, peer, answer);
        match stream {
            Carrier::Unix(stream) => send_off(stream, answer).await,
            #[cfg(feature = "tls")]
            Carrier::Tls(stream) => send_off(stream, answer).await,
            #[cfg(feature = "simulation")]
            Carrier::Simulated(stream) => send_off(stream, answer).await,
        }
    }

    /// Counts somebody who is not taken, and says so in the log.
    pub(super) fn note(&self, why: Refusal, peer: &Peer, answer: &IntroductionAnswer) {
        self.manager.count_refusal(why);
        self.complaints.note(why, peer, answer);
    }
}

/// The process behind a connection. 0 stands for one of a namespace that is not ours to see.
fn pid(stream: &UnixStream) -> Option<u32> {
    let pid = stream.peer_cred().ok()?.pid()?;
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}
