//! What is wanted of a worker, as rules, in words of old, and as what is left for the manager to refuse.

use telemetry_core::rules::{RuleTable, WireRule};

use crate::desired::Wanted;
use crate::dispatch::Dispatcher;
use crate::policy::{Approximation, Enforcer, Told, approximate};

/// What the worker of a stream was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nothing that it has understood, as far as we know.
    Nobody,
    /// Toggle, rate and filter.
    Stock,
    /// A policy.
    Older,
    /// All of it.
    Ours,
}

/// All that is wanted, as rules of now.
pub(super) fn wire_rules(wanted: &Wanted, dispatcher: &Dispatcher) -> Vec<WireRule> {
    let now = u64::try_from(dispatcher.clock().unix_nanos()).unwrap_or(0);
    let mut rules = wanted.spec.to_rules(1);
    let live = wanted.rules.iter();
    rules.extend(live.filter_map(|it| it.rule.to_wire(it.number, 1, now)));
    rules
}

/// The same as a table. What cannot be compiled was never taken.
fn table(wanted: &Wanted, dispatcher: &Dispatcher) -> RuleTable {
    RuleTable::compile(&wire_rules(wanted, dispatcher)).0
}

/// The next best for who knows no rules.
pub(super) fn approximation(wanted: &Wanted, dispatcher: &Dispatcher) -> Approximation {
    let events = dispatcher.catalog().events().iter();
    let names = events.filter_map(|event| event.wire_name.as_deref());
    let mut told = approximate(&table(wanted, dispatcher), names);
    if wanted.rules.is_empty() {
        // It says the same, also of names that are not known.
        told.policy = (*wanted.spec).clone();
    }
    told.policy.revision = wanted.revision();
    told
}

/// What is left for the manager to refuse, if anything.
pub(super) fn enforcer(
    wanted: &Wanted,
    listener: Listener,
    dispatcher: &Dispatcher,
) -> Option<Enforcer> {
    let says_all = wanted.rules.is_empty();
    let told = match listener {
        Listener::Ours => return None,
        Listener::Older if says_all => return None,
        Listener::Older => Enforcer::told(&approximation(wanted, dispatcher).policy),
        Listener::Stock => Told::Rate(approximation(wanted, dispatcher).highest),
        Listener::Nobody => Told::Rate(1.0),
    };
    let spec = &wanted.spec;
    let is_plain = spec.enabled && spec.allow.is_empty() && spec.deny.is_empty();
    // Of one rate for all there is nothing left.
    if says_all && is_plain && spec.sampling.iter().all(|rule| rule.patterns.is_empty()) {
        return None;
    }
    Some(Enforcer::new(table(wanted, dispatcher), told))
}
