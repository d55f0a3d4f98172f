//! Between a manager and the log: batches and replies under way, their loss, and what a manager does then.

use super::manager::Reply;
use super::{Config, LogKind, State, Step, Twist};
use crate::model::Moves;
use crate::seat::Seat;

/// Batches on the wire at once, where an owner sends the same again.
const REPEATS: usize = 2;

/// What may happen to what `seat` published.
pub(super) fn moves(config: &Config, state: &State, seat: Seat, next: &mut Moves<Config>) {
    let manager = &state.managers[seat];
    if !manager.is_dead && !manager.replies.is_empty() {
        let mut after = state.clone();
        let reply = after.managers[seat].replies.remove(0);
        if reply.is_taken {
            after.managers[seat].settle(config, reply.last);
        } else {
            reconcile(config, &mut after, seat);
        }
        let (is_taken, last) = (reply.is_taken, reply.last);
        next.push((
            Step::HeardOfBatch {
                by: seat,
                is_taken,
                last,
            },
            Ok(after),
        ));
    }
    lose_patience(config, state, seat, next);
    if let Some(batch) = manager.wire.first() {
        let mut after = state.clone();
        after.managers[seat].wire.remove(0);
        let result = after.log.append(batch, config.log).map(|is_taken| {
            let manager = &mut after.managers[seat];
            let is_awaited = manager
                .under_way
                .iter()
                .any(|it| it.last == batch.last && it.position == batch.position);
            if !manager.is_dead && manager.life == batch.life && is_awaited {
                let last = batch.last;
                manager.replies.push(Reply { is_taken, last });
            }
            after
        });
        let (first, last) = (batch.first, batch.last);
        next.push((
            Step::Arrived {
                of: seat,
                first,
                last,
            },
            result,
        ));
    }
    if state.spent.drops < config.faults.drops {
        if !manager.wire.is_empty() {
            let mut after = state.clone();
            after.spent.drops += 1;
            after.managers[seat].wire.remove(0);
            next.push((Step::BatchLost { of: seat }, Ok(after)));
        }
        if !manager.replies.is_empty() {
            let mut after = state.clone();
            after.spent.drops += 1;
            after.managers[seat].replies.remove(0);
            next.push((Step::ReplyLost { to: seat }, Ok(after)));
        }
    }
}

/// An owner that hears nothing of a batch, because there is nothing to hear or because it did not wait.
fn lose_patience(config: &Config, state: &State, seat: Seat, next: &mut Moves<Config>) {
    let manager = &state.managers[seat];
    let is_in_vain = manager.wire.is_empty() && manager.replies.is_empty();
    let may = is_in_vain || state.spent.haste < config.faults.haste;
    if manager.is_dead || !manager.is_owner || manager.under_way.is_empty() || !may {
        return;
    }
    let repeats = config.twist == Some(Twist::BlindRetry) || config.log != LogKind::Fenced;
    if repeats && !(manager.wire.len() < REPEATS && manager.replies.is_empty()) {
        return;
    }
    let mut after = state.clone();
    after.spent.haste += u8::from(!is_in_vain);
    let step = if repeats {
        let batch = manager.under_way[0];
        after.managers[seat].wire.push(batch);
        Step::Repeated { by: seat }
    } else {
        reconcile(config, &mut after, seat);
        Step::Reconciled { by: seat }
    };
    next.push((step, Ok(after)));
}

/// The owner looks at lease and log, and goes on from there or is none any more.
fn reconcile(config: &Config, state: &mut State, seat: Seat) {
    let is_owner = state.lease == Some(seat) && state.lease_epoch == state.managers[seat].epoch;
    if is_owner && config.twist != Some(Twist::GiveUp) {
        state.managers[seat].follow(&state.log);
    } else {
        state.managers[seat].step_down();
        state.lose_stream(seat);
    }
}
