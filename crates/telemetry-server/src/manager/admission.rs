//! Workers that dial in: which id they are served under, and whether they are served at all.
//!
//! An id is claimed here, under the registry's lock, before its worker hears that it is welcome, and until
//! its process is known to be gone. The rules are in [`names`](super::names); reading what a worker says
//! of itself, and answering, is the acceptor's business.

use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{Introduction, IntroductionAnswer, escape};
use tokio::sync::mpsc::OwnedPermit;
use tokio::time::Instant;

use super::departure::UNREGISTER_DRAIN;
use super::names::{Claim, Holder, Standing, child, numbered};
use super::registry::{Entry, Registry};
use super::{Inner, Manager, Refusal};
use crate::accounts::Process;
use crate::deadline::deadline;
use crate::identity::{WorkerContext, WorkerId, identity_fault};
use crate::session::{Ancestry, Arrival, Life, Record, Session, StreamState};

/// Most workers at the same time, once some of them dialled in; further ones are told to wait.
pub const MAX_WORKERS: usize = 10_000;
/// Most pools that workers may name which dial in; each is remembered in the totals. Those that name
/// further ones are in no pool.
const MAX_NAMED_POOLS: usize = 1_024;
/// Between two looks for pools that may be forgotten.
const POOL_SWEEP: Duration = Duration::from_secs(1);
/// Workers of one id of which it is looked whether their processes are gone.
const MAX_LOOKS: usize = 16;
/// Ids that one process may hold.
const MAX_HELD: usize = 1_024;
/// Digits of an incarnation.
const INCARNATION_DIGITS: usize = 32;
/// How long those are told to wait for whom there is no room now.
const WAIT_SECONDS: u32 = 1;

/// Who wants to be served.
#[derive(Debug)]
pub(crate) struct Caller {
    /// What it says of itself.
    pub(crate) introduction: Introduction,
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

/// Which id a caller gets.
enum Place {
    /// This one, which is registered already.
    There(WorkerId),
    /// This one, which is new.
    New(WorkerContext),
    Undecided,
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
    /// Which id a caller gets.
    fn place(&mut self, caller: &Caller, claim: &Claim, is_last: bool) -> Place {
        let introduction = &caller.introduction;
        if let Some(id) = self.claims.get(claim) {
            return Place::There(id.clone());
        }
        if let Some(id) = self.banned.find(claim) {
            return unregistered(id);
        }
        if self.claims.held_by(claim.pid) >= MAX_HELD {
            return Place::Refused(Refusal::Full, wait_a_moment());
        }
        let called = WorkerId::from(introduction.worker.as_str());
        let pool = Some(introduction.pool.clone()).filter(|pool| !pool.is_empty());
        let mut context = WorkerContext::new(called.clone());
        context.pool_name = pool;
        let mut is_own = false;
        if let Some(entry) = self.workers.get(&called).filter(|it| it.is_registered) {
            is_own = entry.is_own(claim.pid);
            let started = entry.registered_pid.filter(|_| !is_own);
            let is_kin = started.is_none_or(|started| caller.ancestry.may_be_of(started));
            if is_kin {
                context.pool_name = entry.record.context().pool_name;
            } else if !is_last && started.and_then(Process::of).is_none() {
                // Perhaps its successor, which was quicker than its registration.
                return Place::Undecided;
            }
            if is_kin && started.is_some() {
                context.worker_id = child(&called, claim);
                context.parent = Some(called);
            }
        } else if let Some(entry) = self.workers.get(&called)
            && entry.has_child(&caller.ancestry)
        {
            context.pool_name = entry.record.context().pool_name;
            context.worker_id = child(&called, claim);
            context.parent = Some(called);
        }
        self.first_free(context, claim, is_own, is_last)
    }

    /// The first of the ids that those of this name get which is free.
    fn first_free(
        &mut self,
        mut context: WorkerContext,
        claim: &Claim,
        is_own: bool,
        is_last: bool,
    ) -> Place {
        let called = context.worker_id.clone();
        let mut looks = 0;
        let mut other = None;
        let mut number = 0;
        while number <= MAX_WORKERS {
            number += 1;
            if looks == MAX_LOOKS {
                // Enough was looked at: behind the last one it is free.
                looks += 1;
                let doubles = self.workers.get(&called).map_or(0, |entry| entry.doubles);
                number = number.max(doubles + 1);
            }
            let id = numbered(&called, number);
            let Some(entry) = self.workers.get(&id) else {
                if !self.banned.has(&id) {
                    if number > 1 {
                        warn_of_double(&called, &id, other, claim.pid);
                        if let Some(first) = self.workers.get_mut(&called) {
                            first.doubles = first.doubles.max(number);
                        }
                    }
                    context.worker_id = id;
                    return Place::New(context);
                }
                if number == 1 {
                    return unregistered(&id);
                }
                continue;
            };
            if entry.is_registered && !(is_own && number == 1) {
                continue;
            }
            let standing = match &entry.holder {
                None => Standing::Vacant,
                Some(_) if looks >= MAX_LOOKS => Standing::Taken,
                Some(holder) => {
                    looks += 1;
                    other = other.or(holder.claim.pid);
                    holder.towards(claim, entry.is_connected())
                }
            };
            match standing {
                Standing::Vacant if entry.record.context().pool_name == context.pool_name => {
                    return Place::There(id);
                }
                // In another pool it is another row.
                Standing::Vacant => {
                    context.worker_id = id;
                    return Place::New(context);
                }
                Standing::Uncertain if !is_last => return Place::Undecided,
                Standing::Uncertain | Standing::Taken => {}
            }
        }
        // As many workers as there are numbers.
        Place::Refused(Refusal::Full, wait_a_moment())
    }

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
            self.desired.rest(&id);
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
            self.desired.leave(&id);
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

fn warn_of_double(called: &WorkerId, id: &WorkerId, other: Option<u32>, pid: Option<u32>) {
    let (worker, served_as) = (escape(called.as_str()), escape(id.as_str()));
    if pid.is_some() && other == pid {
        tracing::warn!(
            %worker, pid, %served_as,
            "one process dials in by one id as two workers; give each its own"
        );
    } else {
        tracing::warn!(
            %worker, other, pid, %served_as,
            "two processes call themselves by one id; give each worker its own"
        );
    }
}

fn unregistered(id: &WorkerId) -> Place {
    let reason = format!(
        "worker {:?} was unregistered; it is served again once it is registered again",
        id.as_str()
    );
    Place::Refused(
        Refusal::Unregistered,
        IntroductionAnswer::Refused { reason },
    )
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
