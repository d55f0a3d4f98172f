//! Connections in memory: each piece of bytes arrives when chance says, and any connection can be cut after any
//! byte, or stand still.
//!
//! What was written before an end is closed can be read, as with a socket of one machine; what a cut destroys
//! cannot.

mod end;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::chance::Chance;
use crate::trace::Trace;
pub(crate) use end::End;
use end::Link;

/// All connections there are.
#[derive(Debug)]
pub(crate) struct Network {
    chance: Chance,
    trace: Trace,
    links: Vec<Known>,
    /// Longest time that a piece of bytes is under way.
    slowness: Duration,
    /// Whether nothing is slow or cut any more.
    is_calm: bool,
}

/// A connection, and between whom.
#[derive(Debug)]
struct Known {
    link: Weak<Mutex<Link>>,
    worker: u32,
    seat: usize,
}

impl Network {
    /// None.
    #[must_use]
    pub(crate) fn new(chance: Chance, trace: Trace, slowness: Duration) -> Self {
        Self {
            chance,
            trace,
            links: Vec::new(),
            slowness,
            is_calm: false,
        }
    }

    /// Connects the process of a worker with the manager in a seat: its end, and the manager's.
    pub(crate) fn connect(&mut self, worker: u32, seat: usize) -> (End, End) {
        let number = self.links.len();
        self.trace
            .tell(format_args!("link {number}: worker {worker}, seat {seat}"));
        let chance = Chance::new(self.chance.next(), 3);
        let link = Link::new(number, chance, self.trace.clone(), self.slowness);
        let link = Arc::new(Mutex::new(link));
        self.links.push(Known {
            link: Arc::downgrade(&link),
            worker,
            seat,
        });
        (End::new(Arc::clone(&link), 0), End::new(link, 1))
    }

    /// From now on pieces of bytes are under way so long, at most.
    pub(crate) fn set_slowness(&mut self, slowness: Duration) {
        if self.is_calm {
            return;
        }
        self.slowness = slowness;
        self.each(|_, link| link.slowness = slowness);
    }

    /// Cuts the newest connection of a worker, once so many more bytes went in one direction.
    pub(crate) fn cut_after(&self, worker: u32, from_worker: bool, bytes: u64) {
        let mut newest = None;
        self.each(|known, link| {
            if known.worker == worker && !link.is_cut() {
                newest = Some(known.link.clone());
            }
        });
        if let Some(link) = newest.and_then(|link| link.upgrade()) {
            lock(&link).cut_after(usize::from(!from_worker), bytes);
        }
    }

    /// Nothing arrives on the connections of a worker for so long.
    pub(crate) fn freeze(&self, worker: u32, time: Duration) {
        let until = Instant::now() + time;
        self.each(|known, link| {
            if known.worker == worker {
                link.freeze(until);
            }
        });
    }

    /// Cuts all connections of the manager in a seat: it is no more.
    pub(crate) fn cut_seat(&self, seat: usize) {
        self.each(|known, link| {
            if known.seat == seat {
                link.cut();
            }
        });
    }

    /// From now on everything arrives, and soon.
    pub(crate) fn calm(&mut self) {
        self.set_slowness(Duration::from_micros(10));
        self.is_calm = true;
        self.each(|_, link| link.calm());
    }

    fn each(&self, mut act: impl FnMut(&Known, &mut Link)) {
        for known in &self.links {
            if let Some(link) = known.link.upgrade() {
                act(known, &mut lock(&link));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
