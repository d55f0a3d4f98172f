//! Every step that is possible in a state, with where it leads.

use super::manager::{Downward, Manager, Upward};
use super::{Config, State, Step, Stream, Twist};
use crate::events::Events;
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
    if state.worker.retained() > 0 && state.spent.evictions < config.faults.evictions {
        let mut after = state.clone();
        after.spent.evictions += 1;
        after.worker.forget();
        let event = after.worker.base;
        next.push((Step::Forgot { event }, Ok(after)));
    }
    let Some(stream) = &state.stream else {
        return;
    };
    let manager = &state.managers[stream.to];
    if !stream.is_waiting && manager.up.len() < config.pipe {
        send(config, state, stream, next);
    }
    match manager.down.first() {
        Some(Downward::Hello(handled)) => resume(config, state, stream.to, *handled, next),
        Some(Downward::Ack(up_to)) => hear_ack(config, state, stream.to, *up_to, next),
        None => {}
    }
}

fn send(config: &Config, state: &State, stream: &Stream, next: &mut Next) {
    let to = stream.to;
    if let Some(event) = state.worker.next(&config.limits) {
        let mut after = state.clone();
        let is_again = event <= state.worker.sent;
        after.worker.send(&config.limits);
        after.say(to, Upward::Event(event), event);
        after.truth.owe(to, Events::between(event, event));
        let step = if is_again {
            Step::SentAgain { event, to }
        } else {
            let forgotten = after.worker.base;
            let forgets = (forgotten > state.worker.base).then_some(forgotten);
            Step::Sent { event, to, forgets }
        };
        next.push((step, Ok(after)));
    }
    let position = state.worker.position();
    if position > stream.told {
        let mut after = state.clone();
        after.say(to, Upward::Report(position), position);
        next.push((Step::Reported { position, to }, Ok(after)));
    }
}

fn resume(config: &Config, state: &State, to: Seat, handled: Option<u8>, next: &mut Next) {
    let mut after = state.clone();
    after.managers[to].down.remove(0);
    let worker = &mut after.worker;
    let is_rewound = matches!(
        config.twist,
        Some(Twist::RewindToBase | Twist::RewindAndTakeRepeats)
    );
    let handled = if is_rewound { None } else { handled };
    let handled = handled.unwrap_or_default().min(worker.sent);
    // With nothing durable behind it, what a manager handled it has acknowledged.
    worker.release(handled);
    after.acknowledged = after.acknowledged.max(handled);
    worker.resume(handled);
    if config.twist == Some(Twist::NoReplay) {
        worker.resume(worker.sent);
    }
    let position = match config.twist {
        Some(Twist::AnnounceSent) => worker.sent,
        _ => worker.position(),
    };
    let from = worker.cursor;
    let hello = Upward::Hello {
        retained_from: worker.base + 1,
        acknowledged: after.acknowledged,
        position,
    };
    let again = Events::between(from, worker.sent);
    after.truth.owe(to, again);
    after.say(to, hello, position);
    if let Some(stream) = &mut after.stream {
        stream.is_waiting = false;
    }
    next.push((Step::Resumed { to, from, position }, Ok(after)));
}

fn hear_ack(config: &Config, state: &State, of: Seat, up_to: u8, next: &mut Next) {
    let mut after = state.clone();
    after.managers[of].down.remove(0);
    let is_believed = up_to <= state.worker.sent || config.twist == Some(Twist::BelieveAcks);
    let step = if is_believed {
        after.worker.release(up_to);
        after.acknowledged = after.acknowledged.max(up_to);
        Step::HeardAck { of, up_to }
    } else {
        Step::RefusedAck { of, up_to }
    };
    next.push((step, Ok(after)));
}

/// What a manager that lives may do.
pub(super) fn of_manager(config: &Config, state: &State, by: Seat, next: &mut Next) {
    let manager = &state.managers[by];
    if manager.is_dead {
        return;
    }
    let is_free = state.holder.is_none_or(|holder| holder == by);
    if !state.is_served_by(by) && (is_free || state.spent.changes < config.faults.changes) {
        let mut after = state.clone();
        after.spent.changes += u8::from(!is_free);
        after.unserve(by.other());
        let handled = after.managers[by].greet(config);
        after.holder = Some(by);
        after.stream = Some(Stream {
            to: by,
            is_waiting: true,
            told: 0,
        });
        next.push((Step::Opened { by, handled }, Ok(after)));
    }
    read(config, state, by, next);
    if let Some(event) = manager.in_hand {
        let mut after = state.clone();
        let before = after.managers[by].gaps;
        let result = after.managers[by].dispatch(config, after.truth.dispatched[by]);
        let step = match result {
            Ok(None) => Step::LeftOut { by, event },
            _ => Step::Dispatched { by, event },
        };
        let result = result.map(|dispatched| {
            if let Some(event) = dispatched {
                after.truth.note_dispatched(by, event);
            }
            after.note_gaps(by, before);
            after
        });
        next.push((step, result));
    }
    let acks = state.is_served_by(by) && manager.down.is_empty();
    if acks && manager.handled > manager.told && config.twist != Some(Twist::AckOnReceive) {
        let up_to = manager.handled;
        let mut after = state.clone();
        after.managers[by].told = up_to;
        after.managers[by].down.push(Downward::Ack(up_to));
        next.push((Step::Acked { by, up_to }, Ok(after)));
    }
    if acks && state.spent.absurd_acks < config.faults.absurd_acks {
        let up_to = config.limits.events + 1;
        let mut after = state.clone();
        after.spent.absurd_acks += 1;
        after.managers[by].down.push(Downward::Ack(up_to));
        next.push((Step::AckedAbsurdly { by, up_to }, Ok(after)));
    }
}

/// The next message, if it can be read: what is in hand comes before it, but for a new stream's hello.
fn read(config: &Config, state: &State, by: Seat, next: &mut Next) {
    let manager = &state.managers[by];
    let Some(message) = manager.up.first() else {
        return;
    };
    let is_hello = matches!(message, Upward::Hello { .. });
    if manager.in_hand.is_some() && !is_hello {
        return;
    }
    let mut after = state.clone();
    let is_served = state.is_served_by(by);
    let before = manager.gaps;
    let reader = &mut after.managers[by];
    reader.up.remove(0);
    let step = match *message {
        Upward::Hello {
            retained_from,
            acknowledged,
            position,
        } => {
            reader.meet(config, retained_from, acknowledged);
            reader.book(position);
            Step::Met {
                by,
                retained_from,
                position,
            }
        }
        Upward::Report(position) => {
            reader.book(position);
            Step::ReadReport { by, position }
        }
        Upward::Event(event) => {
            reader.in_hand = Some(event);
            let is_early = config.twist == Some(Twist::AckOnReceive);
            if is_early && is_served && reader.down.is_empty() && event > reader.told {
                reader.told = event;
                reader.down.push(Downward::Ack(event));
            }
            Step::Read { by, event }
        }
    };
    after.note_gaps(by, before);
    next.push((step, Ok(after)));
}

/// What may happen to a manager.
pub(super) fn faults(config: &Config, state: &State, seat: Seat, next: &mut Next) {
    let manager = &state.managers[seat];
    let has_stream = state.is_served_by(seat) || !manager.up.is_empty();
    if has_stream && state.spent.cuts < config.faults.cuts {
        let mut after = state.clone();
        after.spent.cuts += 1;
        if config.twist == Some(Twist::EndReleases) {
            after.worker.release(state.worker.position());
        }
        after.managers[seat].lose_stream();
        after.unserve(seat);
        next.push((Step::Cut { of: seat }, Ok(after)));
    }
    let matters = state.holder == Some(seat) || manager.is_acquainted;
    if !manager.is_dead && matters && state.spent.kills < config.faults.kills {
        let mut after = state.clone();
        after.spent.kills += 1;
        after.unserve(seat);
        after.truth.note_killed(seat, state.worker.base);
        after.managers[seat] = Manager {
            is_dead: true,
            ..Manager::default()
        };
        if after.holder == Some(seat) {
            after.holder = None;
        }
        next.push((Step::Killed { seat }, Ok(after)));
    }
    if manager.is_dead {
        let mut after = state.clone();
        after.managers[seat].is_dead = false;
        next.push((Step::Restarted { seat }, Ok(after)));
    }
}

impl State {
    /// Puts a message on the newest stream, from which its manager learns a position.
    fn say(&mut self, to: Seat, message: Upward, position: u8) {
        self.managers[to].up.push(message);
        if let Some(stream) = &mut self.stream {
            stream.told = position;
        }
    }

    /// If the worker served `seat`, it does so no more. What is under way to there still arrives.
    fn unserve(&mut self, seat: Seat) {
        if self.is_served_by(seat) {
            self.stream = None;
            self.managers[seat].down.clear();
        }
    }

    /// Remembers what `seat` booked since its gaps were `before`.
    fn note_gaps(&mut self, seat: Seat, before: Events) {
        let new = self.managers[seat].gaps.without(before);
        self.truth.booked = self.truth.booked.and(new);
    }
}
