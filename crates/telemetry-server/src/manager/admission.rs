//! Workers that dial in: which id they are served under, and whether they are served at all.
//!
//! An id is claimed here, under the registry's lock, before its worker hears that it is welcome, and until
//! its process is known to be gone. The rules are in [`names`](super::names); reading what a worker says
//! of itself, and answering, is the acceptor's business.

mod place;

use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    catalog::escape,
    wire::{Introduction, IntroductionAnswer},
};
use tokio::sync::mpsc::OwnedPermit;
use tokio::time::Instant;

use super::departure::UNREGISTER_DRAIN;
use super::names::{Claim, Holder, origin};
use super::registry::{Entry, Registry};
use super::{Inner, Manager, Refusal};
use crate::accounts::Process;
use crate::deadline::deadline;
use crate::identity::{WorkerContext, WorkerId, identity_fault};
use crate::session::{Ancestry, Arrival, Life, Peer, Record, Session, StreamState};
use place::Place;

/// Most workers at the same time, once some of them dialled in; further ones are told to wait.
pub const MAX_WORKERS: usize = 10_000;
/// Most pools that workers may name which dial in; each is remembered in the totals. Those that name
/// further ones are in no pool.
const MAX_NAMED_POOLS: usize = 1_024;
/// Between two looks for pools that may be forgotten.
const POOL_SWEEP: Duration = Duration::from_secs(1);
/// Digits of an incarnation.
const INCARNATION_DIGITS: usize = 32;
/// How long those are told to wait for whom there is no room now.
const WAIT_SECONDS: u32 = 1;

/// Who wants to be served.
#[derive(Debug)]
pub(crate) struct Caller {
    /// What it says of itself.
    pub(crate) introduction: Introduction,
    /// From where it comes, and who its certificate says it is.
    pub(crate) peer: Peer,
    /// The process behind the connection, if the system can tell it.
    pub(crate) pid: Option<u32>,
    /// That process.
    pub(crate) life: Life,
    /// From whom that process descends.
    pub(crate) ancestry: Ancestry,
}

/// What becomes of a caller.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It has its id; its connection is awaited.
    Welcome(OwnedPermit<Arrival>),
    /// Whoever has its id may be gone in a moment, or its session is busy with connections before this one:
    /// ask again when something has changed.
    Undecided,
    /// It is not served, or not now.
    Refused(Refusal, IntroductionAnswer),
}

impl Manager {
    /// Finds the id of a caller and claims it. `is_last`: it cannot be asked again.
    pub(crate) fn admit(&self, caller: &Caller, is_last: bool) -> Admission {
        let inner = &self.inner;
        let introduction = &caller.introduction;
        let claim = Claim {
            incarnation: introduction.incarnation.to_ascii_lowercase(),
            pid: caller.pid,
            certificate: caller.peer.certificate().map(str::to_owned),
            address: match caller.peer {
                Peer::Remote {
                    address,
                    certificate: None,
                } => Some(origin(address)),
                _ => None,
            },
        };
        if let Some(fault) = fault(introduction) {
            return refuse(Refusal::Identity, fault);
        }
        let mut registry = inner.lock();
        if registry.closed {
            return wait(Refusal::Closing);
        }
        let id = match registry.place(caller, &claim, is_last) {
            Place::There(id) => id,
            Place::New(mut context) => {
                let id = context.worker_id.clone();
                if let Some(full) = registry.full(&context) {
                    return full;
                }
                registry.keep_room_for_pools(&mut context);
                inner.enter(&mut registry, context, None);
                id
            }
            Place::Undecided => return Admission::Undecided,
            Place::Refused(why, answer) => return Admission::Refused(why, answer),
        };
        let Some(permit) = registry.claim(&id, claim, caller) else {
            // Its session is about to take those that wait.
            return match is_last {
                true => wait(Refusal::Full),
                false => Admission::Undecided,
            };
        };
        drop(registry);
        inner.changes.notify();
        Admission::Welcome(permit)
    }

    /// Counts a connection that was not taken.
    pub(crate) fn count_refusal(&self, why: Refusal) {
        self.inner.refusals.add(why);
    }

    /// Connections of workers that wanted to dial in and were not taken, by why; reasons that did not
    /// occur are left out. The words are those of `telemetry_connections_refused_total`.
    #[must_use]
    pub fn refused_connections(&self) -> Vec<(&'static str, u64)> {
        let counts = self.inner.refusals.counts();
        counts.map(|(why, count)| (why.as_str(), count)).collect()
    }

    /// Users whose processes may be workers, besides our own and root.
    pub(crate) fn accepted_uids(&self) -> &[u32] {
        &self.inner.shared.accepted_uids
    }

    /// Whether a worker has an open stream, or one of those that its process has started.
    #[cfg(feature = "pool")]
    pub(crate) fn is_heard(&self, id: &WorkerId) -> bool {
        let registry = self.inner.lock();
        let family = registry.workers.range(id.clone()..);
        family
            .take_while(|(other, _)| other.as_str().starts_with(id.as_str()))
            .filter(|(other, entry)| {
                *other == id
                    || (entry.record.context().parent.as_ref() == Some(id) && entry.is_seen())
            })
            .any(|(_, entry)| entry.record.state() == StreamState::Streaming)
    }

    /// Lets a worker come back that was unregistered while it lived. It is served when it dials in the
    /// next time; workers ask again by themselves. False if it was not kept away.
    pub fn readmit(&self, id: &WorkerId) -> bool {
        self.inner.lock().banned.lift(id)
    }
}

impl Registry {
    /// Whether there is no room for another worker.
    fn full(&self, context: &WorkerContext) -> Option<Admission> {
        if self.workers.len() >= MAX_WORKERS {
            return Some(wait(Refusal::Full));
        }
        if let Some(fault) = identity_fault(context.worker_id.as_str()) {
            let reason = format!("worker id {:?} {fault}", context.worker_id.as_str());
            return Some(refuse(Refusal::Identity, reason));
        }
        None
    }

    /// Puts a worker into no pool if it names one beyond all that may be named. The pool of its parent is
    /// known already.
    fn keep_room_for_pools(&mut self, context: &mut WorkerContext) {
        let Some(pool) = &context.pool_name else {
            return;
        };
        if context.parent.is_some() || self.named_pools.contains(pool) {
            return;
        }
        let now = Instant::now();
        let is_due = self.pools_swept.is_none_or(|at| now >= at + POOL_SWEEP);
        if self.named_pools.len() >= MAX_NAMED_POOLS && is_due {
            self.pools_swept = Some(now);
            self.forget_idle_pools();
            if self.named_pools.len() >= MAX_NAMED_POOLS {
                tracing::warn!(
                    worker = %escape(context.worker_id.as_str()), pool = %escape(pool),
                    "workers have named {MAX_NAMED_POOLS} pools already; further ones are in no pool"
                );
            }
        }
        if self.named_pools.len() < MAX_NAMED_POOLS {
            self.named_pools.insert(pool.clone());
        } else {
            context.pool_name = None;
        }
    }

    /// Gives an id to a caller and keeps room for its connection; `None` if too many of its connections
    /// wait already.
    fn claim(
        &mut self,
        id: &WorkerId,
        claim: Claim,
        caller: &Caller,
    ) -> Option<OwnedPermit<Arrival>> {
        let entry = self.workers.get_mut(id)?;
        let permit = entry.arrivals.clone().try_reserve_owned().ok()?;
        let holder = Holder {
            claim: claim.clone(),
            process: caller.life.process(),
        };
        if let Some(before) = entry.holder.replace(holder) {
            self.claims.remove(&before.claim);
        }
        self.claims.insert(claim, id.clone());
        Some(permit)
    }
}

impl Entry {
    /// Whether it has a connection, as far as it is known.
    fn is_connected(&self) -> bool {
        let state = self.record.state();
        matches!(state, StreamState::Streaming | StreamState::Connecting)
    }

    /// Whether a caller was started by the process that has this id now, as a forked child that inherited
    /// the id with everything else.
    fn has_child(&self, caller: &Ancestry) -> bool {
        let process = self.holder.as_ref().and_then(|holder| holder.process);
        process.is_some_and(|it| caller.descends_from(it.pid()) && !it.is_over())
    }

    /// Whether the process that has claimed it was seen, or cannot be: of one that was gone before it
    /// could be looked at nobody knows whose child it was.
    #[cfg(feature = "pool")]
    fn is_seen(&self) -> bool {
        let holder = self.holder.as_ref();
        holder.is_some_and(|holder| holder.process.is_some() || holder.claim.pid.is_none())
    }

    /// Whether a caller is this registered worker itself, and no other process that has its id.
    fn is_own(&self, caller: Option<u32>) -> bool {
        match (self.registered_pid, caller) {
            (Some(registered), Some(caller)) => registered == caller,
            // What cannot be told apart is the same, unless that is there already.
            _ => {
                // Whoever held it and has ended is not there any more.
                let lives = |it: &Holder| !it.process.is_some_and(Process::is_over);
                let is_held = self.holder.as_ref().is_some_and(lives);
                let is_there = is_held || self.record.state() == StreamState::Streaming;
                !is_there || (caller.is_some() && self.record.observed_pid() == caller)
            }
        }
    }

    /// Who would come back if it was unregistered now.
    pub(super) fn survivor(&self) -> Option<Claim> {
        let holder = self.holder.as_ref()?;
        let is_over = holder.process.is_some_and(Process::is_over);
        (!is_over && !self.record.is_supervised()).then(|| holder.claim.clone())
    }
}

impl Inner {
    /// Lets a worker go that has left by itself; false if it has come back meanwhile.
    pub(super) fn let_go(self: &Arc<Self>, record: &Arc<Record>, session: &Session) -> bool {
        let mut registry = self.lock();
        let id = record.context().worker_id;
        let Some(entry) = registry.workers.get(&id) else {
            return true;
        };
        if !Arc::ptr_eq(&entry.record, record) {
            return true;
        }
        let is_announced = entry.arrivals.capacity() < entry.arrivals.max_capacity();
        if is_announced || session.is_awaited() {
            return false;
        }
        if let Some(retired) = registry.retire(&id, deadline(UNREGISTER_DRAIN)) {
            self.shared.desired.rest(&id);
            let _goes_on = self.see_off(retired, None);
        }
        drop(registry);
        self.changes.notify();
        true
    }

    /// A process that dialled in before it was registered was taken for a child of the one before it,
    /// or for a double: it is asked to come again, under its own name.
    pub(super) fn call_back(self: &Arc<Self>, registry: &mut Registry, context: &WorkerContext) {
        let Some(pid) = context.python_pid else {
            return;
        };
        let is_ours = |(id, entry): &(&WorkerId, &Entry)| {
            let holder = entry.holder.as_ref();
            !entry.is_registered
                && **id != context.worker_id
                && holder.is_some_and(|holder| holder.claim.pid == Some(pid))
        };
        let family = registry.workers.range(context.worker_id.clone()..);
        let id = family
            .take_while(|(id, _)| id.as_str().starts_with(context.worker_id.as_str()))
            .find(is_ours)
            .map(|(id, _)| id.clone());
        if let Some(id) = id
            && let Some(retired) = registry.retire(&id, deadline(UNREGISTER_DRAIN))
        {
            self.shared.desired.leave(&id);
            let _goes_on = self.see_off(retired, None);
        }
    }
}

/// What is wrong with what a caller says of itself.
fn fault(introduction: &Introduction) -> Option<String> {
    let Introduction {
        worker,
        pool,
        incarnation,
        ..
    } = introduction;
    if let Some(fault) = identity_fault(worker) {
        return Some(format!("worker id {worker:?} {fault}"));
    }
    if !pool.is_empty()
        && let Some(fault) = identity_fault(pool)
    {
        return Some(format!("pool name {pool:?} {fault}"));
    }
    let is_hexadecimal = incarnation.bytes().all(|digit| digit.is_ascii_hexdigit());
    if incarnation.len() != INCARNATION_DIGITS || !is_hexadecimal {
        return Some(format!(
            "incarnation {incarnation:?} is not {INCARNATION_DIGITS} hexadecimal digits"
        ));
    }
    None
}

fn refuse(why: Refusal, reason: String) -> Admission {
    Admission::Refused(why, IntroductionAnswer::Refused { reason })
}

fn wait(why: Refusal) -> Admission {
    Admission::Refused(why, wait_a_moment())
}

fn wait_a_moment() -> IntroductionAnswer {
    IntroductionAnswer::Wait {
        seconds: WAIT_SECONDS,
    }
}

#[cfg(test)]
mod tests;
