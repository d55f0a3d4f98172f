//! Which id those get who dial in: their own, one beside it, or that of a child.

use telemetry_core::{catalog::escape, wire::IntroductionAnswer};

use super::super::Refusal;
use super::super::names::{Claim, Standing, child, numbered};
use super::super::registry::{Entry, Registry};
use super::{Caller, MAX_WORKERS, wait_a_moment};
use crate::accounts::Process;
use crate::identity::{WorkerContext, WorkerId};

/// Workers of one id of which it is looked whether their processes are gone.
pub(super) const MAX_LOOKS: usize = 16;
/// Ids that one process may hold, the holder of one certificate, or all who come from one address without one.
pub(super) const MAX_HELD: usize = 1_024;

/// Which id a caller gets.
pub(super) enum Place {
    /// This one, which is registered already.
    There(WorkerId),
    /// This one, which is new.
    New(WorkerContext),
    Undecided,
    Refused(Refusal, IntroductionAnswer),
}

impl Registry {
    /// Which id a caller gets.
    pub(super) fn place(&mut self, caller: &Caller, claim: &Claim, is_last: bool) -> Place {
        let introduction = &caller.introduction;
        if let Some(id) = self.claims.get(claim) {
            return Place::There(id.clone());
        }
        if let Some(id) = self.banned.find(claim) {
            return unregistered(id);
        }
        if self.claims.held_by(claim) >= MAX_HELD {
            return Place::Refused(Refusal::Full, wait_a_moment());
        }
        let called = WorkerId::from(introduction.worker.as_str());
        let pool = Some(introduction.pool.clone()).filter(|pool| !pool.is_empty());
        let mut context = WorkerContext::new(called.clone());
        context.pool_name = pool;
        let mut is_own = false;
        // Nothing ties somebody from elsewhere to a process of this machine, nor to who was registered under that id.
        let local = |_: &&Entry| !caller.peer.is_remote();
        let entry = self.workers.get(&called).filter(local);
        if let Some(entry) = entry.filter(|it| it.is_registered) {
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
        } else if let Some(entry) = entry
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
