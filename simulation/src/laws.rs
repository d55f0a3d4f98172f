//! What must hold for a manager at every moment: its own laws, and that it counts what its handlers saw.

use crate::seat::Reign;
use crate::truth::Truth;

/// Looks at the laws of one manager, after so many processes have ended.
///
/// # Errors
///
/// What does not hold.
pub(crate) fn laws_of(reign: &mut Reign, truth: &Truth, ended: usize) -> Result<(), String> {
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
    let unknown = totals.unaccounted_incarnations;
    if unknown > ended as u64 {
        return Err(format!(
            "manager {number}: says that it does not know the end of {unknown} processes, but {ended} have ended"
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
