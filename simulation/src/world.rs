//! Everything there is, and how it changes: processes, managers, connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_core::Clock;
use telemetry_server::accept::SimulatedDoor;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::laws::laws_of;
use crate::network::Network;
use crate::plan::{Plan, Shape, Step, Way};
use crate::seat::{Hall, Reign, lock};
use crate::system::{self, EPOCH_SECONDS};
use crate::trace::Trace;
use crate::truth::Truth;
use crate::worker::{Birth, Ended, How, Worker};

/// The lowest number that a process has; the lowest that is free is the next one's.
const FIRST_PID: u32 = 100;
/// Events that are emitted before others get their turn.
const EMITS_PER_TURN: u64 = 8;
/// The first strand of chance that decides whose memory is on the heap.
const HEAPS: u64 = 100;

/// The scheduler's clock, as the code under test is given it.
#[derive(Debug)]
struct VirtualClock;

impl Clock for VirtualClock {
    fn unix_nanos(&self) -> i64 {
        system::look();
        let now = Duration::from_secs(EPOCH_SECONDS) + system::now();
        i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
    }

    fn monotonic_nanos(&self) -> u64 {
        system::look();
        u64::try_from(system::now().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) truth: Truth,
    pub(crate) trace: Trace,
    clock: Arc<dyn Clock>,
    pub(crate) network: Arc<Mutex<Network>>,
    pub(crate) hall: Hall,
    /// By slot.
    pub(crate) workers: Vec<Option<Worker>>,
    pub(crate) ended: Vec<Ended>,
    /// By seat.
    pub(crate) reigns: Vec<Option<Reign>>,
    /// Managers so far, and those of them that were killed or left.
    pub(crate) managers: usize,
    pub(crate) managers_gone: usize,
    incarnations: usize,
    seed: u64,
}

impl World {
    pub(crate) fn new(plan: &Plan, trace: Trace) -> Self {
        let shape = plan.shape;
        let chance = Chance::new(plan.seed, 4);
        let network = Network::new(chance, trace.clone(), shape.slowness);
        let truth = Truth::default();
        Self {
            shape,
            hall: Hall::new(shape.seats, truth.clone()),
            truth,
            trace,
            clock: Arc::new(VirtualClock),
            network: Arc::new(Mutex::new(network)),
            workers: (0..shape.slots).map(|_| None).collect(),
            ended: Vec::new(),
            reigns: (0..shape.seats).map(|_| None).collect(),
            managers: 0,
            managers_gone: 0,
            incarnations: 0,
            seed: plan.seed,
        }
    }

    /// Carries out one step. One that cannot be is left out.
    pub(crate) async fn take(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Emit {
                slot,
                count,
                bytes,
                every,
            } => {
                for number in 0..count {
                    if let Some(worker) = &self.workers[slot] {
                        worker.emit(&self.truth, bytes);
                    }
                    if !every.is_zero() {
                        sleep(every).await;
                    } else if number % EMITS_PER_TURN == EMITS_PER_TURN - 1 {
                        yield_now().await;
                    }
                }
            }
            Step::Wait(time) => sleep(time).await,
            Step::Cut {
                slot,
                from_worker,
                after,
            } => {
                if let Some(worker) = &self.workers[slot] {
                    lock(&self.network).cut_after(worker.pid, from_worker, after);
                }
            }
            Step::Freeze { slot, time } => {
                if let Some(worker) = &self.workers[slot] {
                    lock(&self.network).freeze(worker.pid, time);
                }
            }
            Step::Slow(time) => lock(&self.network).set_slowness(time),
            Step::Kill { slot } => {
                if let Some(worker) = self.workers[slot].take() {
                    let ended = worker.kill(self.shape.seats, &self.truth).await;
                    self.ended.push(ended);
                }
            }
            Step::Stop { slot, time } => self.stop(slot, time, How::Hurried).await,
            Step::Begin { slot } => self.begin(slot, slot, None)?,
            Step::Double {
                slot,
                like,
                is_forked,
            } => {
                let parent = self.workers[like].as_ref().map(|worker| worker.pid);
                self.begin(slot, like, parent.filter(|_| is_forked))?;
            }
            Step::Depose { seat } => self.depose(seat),
            Step::Seat { seat } => self.seat(seat)?,
            Step::Retire { seat, time } => self.retire(seat, time).await?,
            Step::Door { seat, says, time } => {
                self.hall
                    .set_other(seat, Some((says, Instant::now() + time)));
            }
            Step::Control { seat, wish } => {
                if let Some(reign) = &self.reigns[seat] {
                    reign.wish(wish).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// A process begins in a slot, if there is none, and calls itself as one of another slot.
    pub(crate) fn begin(
        &mut self,
        slot: usize,
        like: usize,
        parent: Option<u32>,
    ) -> Result<(), String> {
        if self.workers[slot].is_some() {
            return Ok(());
        }
        let number = self.incarnations;
        self.incarnations += 1;
        let taken = |pid: &u32| self.workers.iter().flatten().any(|it| it.pid == *pid);
        let pid = (FIRST_PID..).find(|pid| !taken(pid)).unwrap_or(FIRST_PID);
        let birth = Birth {
            number,
            pid,
            parent,
            leaves_memory: self.leaves_memory(number),
        };
        let (clock, name) = (Arc::clone(&self.clock), format!("w{like}"));
        self.trace
            .tell(format_args!("slot {slot}: incarnation {number} of {name}"));
        let worker = Worker::begin(
            name,
            birth,
            slot,
            &self.shape,
            clock,
            &self.hall,
            &self.network,
        )?;
        self.workers[slot] = Some(worker);
        Ok(())
    }

    /// Whether the memory of an incarnation outlives it. Only who dials in hands it over.
    fn leaves_memory(&self, number: usize) -> bool {
        let mut chance = Chance::new(self.seed, HEAPS + number as u64);
        self.shape.way != Way::Out && !chance.once_in(6)
    }

    pub(crate) async fn stop(&mut self, slot: usize, time: Duration, how: How) {
        if let Some(worker) = self.workers[slot].take() {
            let ended = worker.stop(time, how, self.shape.seats, &self.truth).await;
            self.ended.push(ended);
        }
    }

    /// A manager begins in a seat, if there is none.
    pub(crate) fn seat(&mut self, seat: usize) -> Result<(), String> {
        if self.reigns[seat].is_some() {
            return Ok(());
        }
        let (number, clock) = (self.managers, Arc::clone(&self.clock));
        self.managers += 1;
        self.trace
            .tell(format_args!("seat {seat}: manager {number}"));
        let reign = Reign::begin(number, seat, &self.shape, clock, &self.truth)?;
        let door = SimulatedDoor::new(reign.manager.clone());
        self.hall.set_door(seat, Some((number, door)));
        self.reigns[seat] = Some(reign);
        Ok(())
    }

    /// The manager in a seat is killed, if there is one.
    fn depose(&mut self, seat: usize) {
        let Some(reign) = self.reigns[seat].take() else {
            return;
        };
        self.managers_gone += 1;
        self.hall.set_door(seat, None);
        lock(&self.network).cut_seat(seat);
        reign.die();
    }

    /// The manager in a seat ends in order, if there is one.
    async fn retire(&mut self, seat: usize, time: Duration) -> Result<(), String> {
        let Some(mut reign) = self.reigns[seat].take() else {
            return Ok(());
        };
        self.managers_gone += 1;
        self.hall.set_door(seat, None);
        reign.manager.shutdown(time).await;
        laws_of(&mut reign, &self.truth, self.ended.len())?;
        lock(&self.network).cut_seat(seat);
        reign.die();
        Ok(())
    }
}
