//! Carries out a plan, looks at the laws after each step, and at the end at everything.

use std::time::Duration;

use telemetry_server::simulated;
use tokio::time::{Instant, sleep};

use crate::judge;
use crate::plan::Plan;
use crate::seat::lock;
use crate::system;
use crate::trace::Trace;
use crate::worker::How;
use crate::world::World;

/// How long it may take, once all is calm, until nothing is under way any more.
const REST: Duration = Duration::from_secs(300);
/// How long a worker has for its end when all is calm.
const LAST_STOP: Duration = Duration::from_secs(10);
/// How long managers remember workers that are gone, and a little more.
const GRACE: Duration = Duration::from_secs(45);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Events that were kept.
    pub kept: u64,
    /// Those of them that a manager handled.
    pub handled: u64,
    /// What is wrong, if something is.
    pub fault: Option<String>,
}

/// Carries out a plan. Needs a process of its own, and a runtime of one thread whose time stands.
pub async fn run(plan: &Plan, trace: Trace) -> Outcome {
    system::look();
    simulated::begin_world();
    let mut world = World::new(plan, trace);
    let fault = live(&mut world, plan).await.err();
    if let Some(fault) = &fault {
        world.trace.tell(format_args!("fault: {fault}"));
    }
    let (kept, handled) = world.truth.totals();
    Outcome {
        kept,
        handled,
        fault,
    }
}

async fn live(world: &mut World, plan: &Plan) -> Result<(), String> {
    for seat in 0..world.shape.seats {
        world.seat(seat)?;
    }
    for slot in 0..world.shape.slots {
        world.begin(slot, slot, None)?;
    }
    for (index, step) in plan.steps.iter().enumerate() {
        system::look();
        world.trace.tell(format_args!("step {index}: {step:?}"));
        world.take(step).await?;
        system::look();
        let fault = |fault| format!("after step {index}, {step:?}: {fault}");
        judge::laws(world).map_err(fault)?;
    }
    end(world).await
}

/// All becomes calm, everything arrives, everybody ends in order, and all is as it should be.
async fn end(world: &mut World) -> Result<(), String> {
    world.trace.tell(format_args!("calm"));
    lock(&world.network).calm();
    for seat in 0..world.shape.seats {
        world.hall.set_other(seat, None);
        world.seat(seat)?;
    }
    // What was cut a moment ago is noticed now.
    sleep(Duration::from_secs(1)).await;
    let until = Instant::now() + REST;
    while let Err(busy) = judge::rest(world) {
        if Instant::now() >= until {
            return Err(format!("{busy}, {} s after all was calm", REST.as_secs()));
        }
        sleep(Duration::from_secs(1)).await;
        system::look();
        judge::laws(world)?;
    }
    world.trace.tell(format_args!("rest"));
    for slot in 0..world.shape.slots {
        world.stop(slot, LAST_STOP, How::Calm).await;
    }
    sleep(GRACE).await;
    system::look();
    judge::laws(world)?;
    for reign in world.reigns.iter().flatten() {
        if !reign.manager.shutdown(LAST_STOP).await {
            return Err(format!("manager {} did not end in time", reign.number));
        }
    }
    judge::laws(world)?;
    judge::accounts(world)
}
