//! What must hold: the laws at every moment, and every single event at the end.

use telemetry_server::IncarnationInfo;

use crate::seat::Reign;
use crate::truth::Truth;
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
    for reign in world.reigns.iter_mut().flatten() {
        manager(reign, &world.truth)?;
    }
    Ok(())
}

/// Looks at the laws of one manager.
///
/// # Errors
///
/// What does not hold.
pub(crate) fn manager(reign: &mut Reign, truth: &Truth) -> Result<(), String> {
    let number = reign.number;
    let totals = reign.manager.totals();
    let checked = totals.check();
    checked.map_err(|broken| format!("manager {number}: {broken}"))?;
    let (ledger, before) = (&totals.ledger, &reign.before);
    let never_fall = [
        ("received", ledger.received, before.ledger.received),
        ("dispatched", ledger.dispatched, before.ledger.dispatched),
        ("gaps", ledger.gaps, before.ledger.gaps),
        ("emitted", totals.reported.emitted, before.reported.emitted),
        ("lost", totals.lost_at_crash, before.lost_at_crash),
    ];
    for (what, now, before) in never_fall {
        if now < before {
            return Err(format!(
                "manager {number}: {what} fell from {before} to {now}"
            ));
        }
    }
    if totals.ledger_difference != 0 {
        let difference = totals.ledger_difference;
        return Err(format!("manager {number}: a difference of {difference}"));
    }
    let calls = truth.calls(number);
    if ledger.dispatched != calls {
        let dispatched = ledger.dispatched;
        return Err(format!(
            "manager {number}: says that {dispatched} events were dispatched, but {calls} were handled"
        ));
    }
    for info in reign.manager.incarnations() {
        if info.difference() != 0 {
            return Err(format!("manager {number}: an account is off: {info:?}"));
        }
    }
    reign.before = totals;
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
/// One that said its last word to the only manager there ever was is accounted for to the last event. Of one that
/// did not, what it told counts and no more. What a manager knew that is gone, nobody knows: then at least nothing is
/// missing that the worker itself did not let go of.
fn account(world: &World, ended: &Ended, infos: &[IncarnationInfo]) -> Result<(), String> {
    let missing = world.truth.missing(ended.number).len() as u64;
    let emitted = world.truth.of(ended.number);
    let sum = |part: fn(&IncarnationInfo) -> u64| infos.iter().map(part).sum::<u64>();
    let lost = sum(|it| it.gaps + it.lost_at_crash + it.away + it.queued);
    let is_complete = infos.iter().any(|info| info.complete);
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
        return Ok(());
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
