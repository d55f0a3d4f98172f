//! What must hold: the laws at every moment, and every single event at the end.

use telemetry_server::stream::{IncarnationInfo, StreamState};

use crate::laws::laws_of;
use crate::worker::{Ended, How, incarnation};
use crate::world::World;

/// Looks at the laws of everybody who lives, and at what cannot be.
///
/// # Errors
///
/// What does not hold.
pub(crate) fn laws(world: &mut World) -> Result<(), String> {
    if let Some(fault) = world.truth.fault() {
        return Err(fault);
    }
    for worker in world.workers.iter().flatten() {
        let checked = worker.recorder.snapshot().check();
        checked.map_err(|broken| format!("incarnation {}: {broken}", worker.number))?;
    }
    let ended = world.ended.len();
    for reign in world.reigns.iter_mut().flatten() {
        laws_of(reign, &world.truth, ended)?;
    }
    Ok(())
}

/// Whether nothing is under way any more.
///
/// # Errors
///
/// What is.
pub(crate) fn rest(world: &World) -> Result<(), String> {
    for worker in world.workers.iter().flatten() {
        let (queued, retained) = (worker.recorder.queued(), worker.recorder.retained());
        let number = worker.number;
        if !worker.is_heard() {
            return Err(format!("nobody listens to incarnation {number}"));
        }
        if queued > 0 || retained > 0 {
            return Err(format!(
                "incarnation {number} still has {queued} events queued and {retained} retained"
            ));
        }
    }
    // Two managers that want different things are never content.
    if let [Some(reign)] = &world.reigns[..] {
        let streams = reign.manager.list_streams();
        let mut heard = streams
            .iter()
            .filter(|it| it.state == StreamState::Streaming);
        if let Some(late) = heard.find(|it| !it.is_policy_applied()) {
            return Err(format!("{} does not have its policy", late.worker_id));
        }
    }
    Ok(())
}

/// Looks at every event, once everybody has ended.
///
/// # Errors
///
/// What is missing and not counted, or counted and not missing.
pub(crate) fn accounts(world: &World) -> Result<(), String> {
    for ended in &world.ended {
        let infos: Vec<IncarnationInfo> = world
            .reigns
            .iter()
            .flatten()
            .flat_map(|reign| reign.manager.incarnations())
            .filter(|info| info.incarnation == incarnation(ended.number))
            .collect();
        account(world, ended, &infos).map_err(|fault| {
            format!(
                "incarnation {}: {fault}; {ended:?}; {infos:?}",
                ended.number
            )
        })?;
    }
    Ok(())
}

/// Looks at the events of one incarnation.
///
/// One that said its last word to the only manager there ever was, or left its memory there, is accounted for to the
/// last event. Of another one, what it told counts and no more, and it is said that not all is known. What a manager
/// knew that is gone, nobody knows: then at least nothing is missing that the worker itself did not let go of.
fn account(world: &World, ended: &Ended, infos: &[IncarnationInfo]) -> Result<(), String> {
    let missing = world.truth.missing(ended.number).len() as u64;
    let emitted = world.truth.of(ended.number);
    let sum = |part: fn(&IncarnationInfo) -> u64| infos.iter().map(part).sum::<u64>();
    let lost = sum(|it| it.gaps + it.lost_at_crash + it.away + it.queued);
    let is_complete = infos.iter().any(|info| info.complete);
    if ended.how != How::Calm && is_held(world, ended) && !is_complete {
        return Err("a manager has its memory, and not all is known of it".to_owned());
    }
    let mut read = infos.iter().filter(|info| info.recovered.is_some());
    if read.any(|info| info.lost_at_crash > 0 || info.unknown_since_ns.is_some()) {
        return Err("its memory was read, and yet something of it is lost".to_owned());
    }
    if world.managers_gone > 0 || world.shape.seats > 1 {
        let excused = lost + ended.dropped_late + ended.forgotten;
        if missing > excused && (is_complete || ended.how == How::Calm) {
            return Err(format!(
                "{missing} events are missing, {excused} of them counted"
            ));
        }
        return Ok(());
    }
    if !is_complete && ended.how != How::Calm {
        if lost > missing {
            return Err(format!(
                "{missing} events are missing, but {lost} are counted"
            ));
        }
        let mut over = infos.iter().filter(|info| info.ended);
        if over.any(|info| info.unknown_since_ns.is_none()) {
            return Err("not all is known of it, and nobody says so".to_owned());
        }
        return Ok(());
    }
    let gaps = sum(|it| it.gaps);
    if gaps > ended.forgotten {
        return Err(format!(
            "{gaps} events are gaps, but only {} were forgotten",
            ended.forgotten
        ));
    }
    let counted = lost + ended.dropped_late;
    if missing != counted {
        return Err(format!(
            "{missing} events are missing, but {counted} are counted"
        ));
    }
    let (told, truth) = (sum(|it| it.emitted), emitted.kept + emitted.dropped);
    if told != truth {
        return Err(format!("{truth} events were emitted, but {told} are known"));
    }
    Ok(())
}

/// Whether the manager is still there that was handed the memory of an incarnation last.
fn is_held(world: &World, ended: &Ended) -> bool {
    let manager = world.hall.handed_to(ended.number);
    let mut there = world.reigns.iter().flatten();
    manager.is_some_and(|manager| there.any(|reign| reign.number == manager))
}
