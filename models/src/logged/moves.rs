//! Every step of worker, managers and lease that is possible in a state, with where it leads.

use super::manager::{Manager, Upward};
use super::{Config, State, Step, Twist};
use crate::model::Moves;
use crate::seat::Seat;

type Next = Moves<Config>;

/// What the program and its worker may do.
pub(super) fn of_worker(config: &Config, state: &State, next: &mut Next) {
    if state.worker.emitted < config.limits.events {
        let mut after = state.clone();
        let is_kept = after.worker.emit(&config.limits);
        next.push((Step::Emitted { is_kept }, Ok(after)));
    }
    let Some(to) = state.serving else {
        return;
    };
    let has_room = state.managers[to].up.len() < config.pipe;
    if let (true, Some(event)) = (has_room, state.worker.next(&config.limits)) {
        let mut after = state.clone();
        let is_again = event <= state.worker.sent;
        after.worker.send(&config.limits);
        if config.twist == Some(Twist::NoReplay) {
            while after.worker.retained() > 0 {
                after.worker.forget();
            }
        }
        after.managers[to].up.push(Upward::Event(event));
        let step = Step::Sent {
            event,
            to,
            is_again,
        };
        next.push((step, Ok(after)));
    }
    if let Some(up_to) = state.managers[to].down.first() {
        let mut after = state.clone();
        after.managers[to].down.remove(0);
        after.worker.release(*up_to);
        let up_to = *up_to;
        next.push((Step::HeardAck { of: to, up_to }, Ok(after)));
    }
}

/// What a manager that lives may do.
pub(super) fn of_manager(config: &Config, state: &State, by: Seat, next: &mut Next) {
    let manager = &state.managers[by];
    if manager.is_dead {
        return;
    }
    let is_new_enough = manager.epoch >= state.epoch || config.twist == Some(Twist::AnyEpoch);
    if manager.is_owner && state.serving != Some(by) && is_new_enough {
        open(config, state, by, next);
    }
    if !manager.up.is_empty() {
        let mut after = state.clone();
        after.managers[by].read(config);
        let handled = after.managers[by].handled;
        next.push((Step::Read { by, handled }, Ok(after)));
    }
    let may_publish =
        manager.handled > manager.published && manager.under_way.len() < config.publishes;
    if manager.is_owner && may_publish {
        let mut after = state.clone();
        let batch = after.managers[by].publish();
        let (first, last) = (batch.first, batch.last);
        next.push((Step::Published { by, first, last }, Ok(after)));
    }
    let is_heard = manager.is_owner && manager.has_stream && state.serving == Some(by);
    let is_due = manager.down.is_empty() && state.worker.base < manager.durable;
    if is_heard && is_due && config.twist != Some(Twist::AckOnReceive) {
        let mut after = state.clone();
        let up_to = manager.durable;
        after.managers[by].down.push(up_to);
        next.push((Step::Acked { by, up_to }, Ok(after)));
    }
}

/// Hello and hello in one step: the owner's says what it handled and what is durable.
fn open(config: &Config, state: &State, by: Seat, next: &mut Next) {
    let mut after = state.clone();
    let manager = &mut after.managers[by];
    manager.lose_stream();
    manager.has_stream = true;
    let (handled, durable, epoch) = (manager.handled, manager.durable, manager.epoch);
    let done = if config.twist == Some(Twist::ReleaseOnHandled) {
        handled
    } else {
        durable
    };
    after.serving = Some(by);
    after.epoch = after.epoch.max(epoch);
    let sent = after.worker.sent;
    after.worker.release(done.min(sent));
    after.worker.resume(handled.min(sent));
    let from = after.worker.cursor;
    let position = match config.twist {
        Some(Twist::AnnounceSent) => sent,
        _ => from - 1,
    };
    after.managers[by].up.push(Upward::Report(position));
    next.push((Step::Opened { by, epoch, from }, Ok(after)));
}

/// What may happen to a manager and its stream.
pub(super) fn faults(config: &Config, state: &State, seat: Seat, next: &mut Next) {
    let manager = &state.managers[seat];
    if manager.has_stream && state.spent.cuts < config.faults.cuts {
        let mut after = state.clone();
        after.spent.cuts += 1;
        after.lose_stream(seat);
        next.push((Step::Cut { of: seat }, Ok(after)));
    }
    if !manager.is_dead && state.spent.kills < config.faults.kills {
        let mut after = state.clone();
        after.spent.kills += 1;
        after.lose_stream(seat);
        // What it published is in the hands of the network.
        after.managers[seat] = Manager {
            is_dead: true,
            life: manager.life + 1,
            wire: manager.wire.clone(),
            ..Manager::default()
        };
        next.push((Step::Killed { seat }, Ok(after)));
    }
    if manager.is_dead {
        let mut after = state.clone();
        after.managers[seat].is_dead = false;
        next.push((Step::Restarted { seat }, Ok(after)));
    }
}

/// Who takes the lease, and who learns that it is gone.
pub(super) fn of_lease(config: &Config, state: &State, seat: Seat, next: &mut Next) {
    let manager = &state.managers[seat];
    if manager.is_dead {
        return;
    }
    if !(manager.is_owner && state.lease == Some(seat)) {
        let is_free = state.lease.is_none_or(|holder| {
            let owner = &state.managers[holder];
            holder == seat || owner.is_dead || !owner.is_owner
        });
        if is_free || state.spent.takeovers < config.faults.takeovers {
            let mut after = state.clone();
            after.spent.takeovers += u8::from(!is_free);
            after.lease = Some(seat);
            after.lease_epoch += 1;
            after.lose_stream(seat);
            let (epoch, log) = (after.lease_epoch, after.log.clone());
            after.managers[seat].take_over(config, epoch, &log);
            next.push((Step::TookLease { by: seat, epoch }, Ok(after)));
        }
    }
    if manager.is_owner && state.lease != Some(seat) {
        let mut after = state.clone();
        after.managers[seat].step_down();
        after.lose_stream(seat);
        next.push((Step::SawLeaseGone { by: seat }, Ok(after)));
    }
}
