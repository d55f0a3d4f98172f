//! What a seed has happen: a world, and one step after the other.

use std::fmt;
use std::time::Duration;

use crate::chance::Chance;

/// Places in which workers live, at most.
pub(crate) const MAX_SLOTS: u64 = 3;

/// How a world is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Places in which workers live, one after the other.
    pub(crate) slots: usize,
    /// Seats of managers, whose addresses every worker knows.
    pub(crate) seats: usize,
    /// Bytes in the ring of a worker.
    pub(crate) ring: usize,
    /// Events that may wait in it.
    pub(crate) events: usize,
    /// Whether the oldest events make room for new ones.
    pub(crate) evicts: bool,
    /// Who opens the connections.
    pub(crate) way: Way,
    /// Whether managers that dial see which process they have reached, as behind a socket of their machine.
    pub(crate) shows_process: bool,
    /// Longest time that a piece of bytes takes at first.
    pub(crate) slowness: Duration,
    /// Whether managers may die.
    pub(crate) managers_die: bool,
    /// Whether workers may die.
    pub(crate) workers_die: bool,
}

/// Who opens the connections between workers and managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Workers.
    In,
    /// Managers.
    Out,
    /// Both do.
    Both,
}

/// What is wanted of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// One in two.
    Half,
    /// Every other event that workers emit here.
    Denied,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A worker emits so many events, with so many bytes of text each.
    Emit {
        slot: usize,
        count: u64,
        bytes: usize,
        /// Between two of them.
        every: Duration,
    },
    /// Time goes by.
    Wait(Duration),
    /// The newest connection is cut once so many more bytes have gone in one direction.
    Cut {
        slot: usize,
        from_worker: bool,
        after: u64,
    },
    /// Nothing arrives for a while.
    Freeze { slot: usize, time: Duration },
    /// Pieces of bytes take so long, at most.
    Slow(Duration),
    /// A worker's process is killed.
    Kill { slot: usize },
    /// A worker ends in order, and has so long for it.
    Stop { slot: usize, time: Duration },
    /// A process begins in a place where there is none.
    Begin { slot: usize },
    /// A process begins that calls itself as the worker in another place, perhaps because that has forked.
    Double {
        slot: usize,
        like: usize,
        is_forked: bool,
    },
    /// A manager is killed.
    Depose { seat: usize },
    /// A manager begins in a seat that is empty.
    Seat { seat: usize },
    /// A manager ends in order, and has so long for it.
    Retire { seat: usize, time: Duration },
    /// For a while, something else answers at the door of a seat.
    Door {
        seat: usize,
        says: Says,
        time: Duration,
    },
    /// A manager wants something else.
    Control { seat: usize, wish: Wish },
}

/// What something else says at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// The manager is in this seat.
    Moved(usize),
    /// Come again in so many seconds.
    Wait(u32),
    /// You are not served.
    Refused,
    /// Nothing.
    Silence,
}

/// Everything that a seed decides beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub(crate) seed: u64,
    /// How the world is made.
    pub(crate) shape: Shape,
    /// What happens in it.
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 0);
        let shape = Shape::draw(&mut chance);
        let count = chance.between(5, 100);
        let mut steps = Vec::new();
        for _ in 0..count {
            match chance.once_in(10) {
                true => steps.extend(Step::muted_while_away(&shape, &mut chance)),
                false => steps.push(Step::draw(&shape, &mut chance)),
            }
        }
        Self { seed, shape, steps }
    }

    /// How many steps it has.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The same without some of its steps.
    #[must_use]
    pub fn without(&self, left_out: &[usize]) -> Self {
        let steps = self.steps.iter().enumerate();
        let kept = steps.filter(|(index, _)| !left_out.contains(index));
        Self {
            steps: kept.map(|(_, step)| step.clone()).collect(),
            ..self.clone()
        }
    }
}

impl Shape {
    fn draw(chance: &mut Chance) -> Self {
        let managers_die = chance.once_in(3);
        let is_small = chance.once_in(2);
        let way = match chance.between(0, 8) {
            0 | 1 => Way::Out,
            2 => Way::Both,
            _ => Way::In,
        };
        Self {
            slots: usize::try_from(chance.between(1, MAX_SLOTS + 1)).unwrap_or(1),
            seats: 1 + usize::from(managers_die && chance.once_in(2)),
            ring: if is_small { 2 * 1024 } else { 64 * 1024 },
            events: if chance.once_in(4) { 20 } else { 1_000 },
            evicts: chance.once_in(3),
            way,
            shows_process: chance.once_in(2),
            slowness: Duration::from_micros(chance.any_size(100_000)),
            managers_die,
            workers_die: chance.once_in(2),
        }
    }
}

impl Step {
    /// What is sent and not acknowledged, what waits behind it and is not wanted any more when the worker is back,
    /// and another cut.
    fn muted_while_away(shape: &Shape, chance: &mut Chance) -> [Self; 7] {
        let slot = usize::try_from(chance.between(0, shape.slots as u64)).unwrap_or(0);
        let seat = usize::try_from(chance.between(0, shape.seats as u64)).unwrap_or(0);
        let emit = |count| Self::Emit {
            slot,
            count,
            bytes: 0,
            every: Duration::ZERO,
        };
        let cut = |after| Self::Cut {
            slot,
            from_worker: after > 0,
            after,
        };
        [
            emit(chance.between(1, 10)),
            Self::Wait(Duration::from_millis(chance.between(0, 300))),
            cut(0),
            emit(chance.between(1, 10)),
            Self::Control {
                seat,
                wish: Wish::Denied,
            },
            Self::Wait(Duration::from_millis(chance.between(0, 1_500))),
            cut(chance.between(0, 2)),
        ]
    }

    fn draw(shape: &Shape, chance: &mut Chance) -> Self {
        let slot = usize::try_from(chance.between(0, shape.slots as u64)).unwrap_or(0);
        let seat = usize::try_from(chance.between(0, shape.seats as u64)).unwrap_or(0);
        let time = Duration::from_millis(chance.any_size(20_000));
        match chance.between(0, 40) {
            0..=11 => Self::Emit {
                slot,
                count: chance.any_size(400).max(1),
                bytes: usize::try_from(chance.any_size(200)).unwrap_or(0),
                every: match chance.once_in(2) {
                    true => Duration::from_micros(chance.any_size(40_000)),
                    false => Duration::ZERO,
                },
            },
            12..=19 => Self::Wait(Duration::from_millis(chance.any_size(4_000))),
            20..=24 => Self::Cut {
                slot,
                from_worker: chance.once_in(2),
                after: chance.any_size(20_000),
            },
            25 => Self::Freeze { slot, time },
            26 => Self::Slow(Duration::from_millis(chance.any_size(400))),
            27 | 28 if shape.workers_die => Self::Kill { slot },
            27..=29 => Self::Stop {
                slot,
                time: Duration::from_millis(chance.any_size(5_000)),
            },
            30 | 31 => Self::Begin { slot },
            32 => Self::Double {
                slot,
                like: match usize::try_from(chance.between(0, shape.slots as u64)) {
                    // Who is one worker behind a port and another one where its process shows is two to a manager.
                    Ok(like) if shape.way != Way::Both || shape.shows_process => like,
                    _ => slot,
                },
                is_forked: chance.once_in(2),
            },
            33 if shape.managers_die => Self::Depose { seat },
            34 if shape.managers_die => Self::Retire { seat, time },
            33..=35 => Self::Seat { seat },
            36 => Self::Door {
                seat,
                says: match chance.between(0, 4) {
                    0 => Says::Moved(seat),
                    1 => Says::Wait(1),
                    2 => Says::Refused,
                    _ => Says::Silence,
                },
                time: Duration::from_millis(chance.any_size(3_000)),
            },
            _ => Self::Control {
                seat,
                wish: match chance.between(0, 5) {
                    0 => Wish::Nothing,
                    1 => Wish::Half,
                    2 => Wish::Denied,
                    _ => Wish::All,
                },
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.shape)?;
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "{index:>4}  {step:?}")?;
        }
        Ok(())
    }
}
