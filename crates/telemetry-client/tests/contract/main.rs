//! One list of facts, held against every backend: policy, limits and the ledger do not depend on
//! where events go.

mod dropped;
mod lines;
mod rig;

use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_core::{
    Outcome, ValueRef,
    catalog::Limits,
    emit::{PolicySpec, SamplingRule},
    ledger::{Note, Reason},
    wire::Control,
};

use rig::{Make, NOTHING, PATIENCE, balanced, composite, memory, recorder, stderr, stream};

/// What a backend does where backends may differ.
#[derive(Clone, Copy)]
struct Traits {
    /// What becomes of NaN.
    nan: Outcome,
    /// How many ledgers count one event.
    copies: u64,
}

/// The list.
fn check(make: Make, traits: Traits) {
    let fresh = |policy: PolicySpec| Telemetry::builder().backend(make(policy)).build();
    let on = PolicySpec::default;
    let emit = |telemetry: &Telemetry, name: &str| telemetry.emit(name, NOTHING, &[], "");
    let dropped = |telemetry: &Telemetry, reason| telemetry.ledger().dropped.get(reason);

    // Every event is counted once, and the laws hold at any time.
    let telemetry = fresh(on());
    for _ in 0..10 {
        assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Accepted);
    }
    assert_eq!(telemetry.ledger().emitted, 10 * traits.copies);
    balanced(&telemetry);

    // Off costs nothing and counts nothing, and comes back.
    telemetry
        .backend()
        .apply(&Control::Toggle { enabled: false })
        .expect("a toggle");
    assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Off);
    assert_eq!(
        emit(&telemetry, "not a name"),
        Outcome::Dropped(Reason::InvalidName)
    );
    assert_eq!(telemetry.ledger().emitted, 10 * traits.copies);
    telemetry
        .backend()
        .apply(&Control::Toggle { enabled: true })
        .expect("a toggle");
    assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Accepted);

    // A refused control changes nothing.
    let nan = SamplingRule::of_all(f64::NAN);
    assert!(telemetry.backend().apply(&Control::Sampling(nan)).is_err());
    assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Accepted);

    // Sampled out and filtered are counted; deny wins.
    let none = SamplingRule::new(0.0, ["sampled.*"]);
    let mut policy = on();
    policy.sampling = vec![none];
    policy.allow = vec!["*".into()];
    policy.deny = vec!["denied.*".into()];
    let telemetry = fresh(policy);
    assert_eq!(
        emit(&telemetry, "sampled.event"),
        Outcome::Dropped(Reason::SampledOut)
    );
    assert_eq!(
        emit(&telemetry, "denied.event"),
        Outcome::Dropped(Reason::Filtered)
    );
    assert_eq!(emit(&telemetry, "other.event"), Outcome::Accepted);
    assert_eq!(dropped(&telemetry, Reason::SampledOut), traits.copies);
    assert_eq!(dropped(&telemetry, Reason::Filtered), traits.copies);
    assert_eq!(balanced(&telemetry).emitted, 3 * traits.copies);

    // With a correlation id, the decision is the same for every event and every backend.
    let half = SamplingRule::of_all(0.5);
    let mut policy = on();
    policy.sampling = vec![half];
    let telemetry = fresh(policy);
    let mut kept = 0;
    for id in 0..200 {
        let id = format!("request-{id}");
        let first = telemetry.emit("tool.execution.start", NOTHING, &[], &id);
        assert_eq!(
            telemetry.emit("tool.execution.stop", NOTHING, &[], &id),
            first
        );
        kept += u32::from(first == Outcome::Accepted);
    }
    assert!((50..150).contains(&kept), "{kept} of 200 at rate 0.5");

    // Broken events are counted under their reason.
    let telemetry = fresh(on());
    let handle = telemetry.event("two..dots");
    assert!(handle.error().is_some());
    assert_eq!(
        handle.emit(NOTHING, &[], ""),
        Outcome::Dropped(Reason::InvalidName)
    );
    assert_eq!(dropped(&telemetry, Reason::InvalidName), 2 * traits.copies);
    let many: Vec<_> = (0..33).map(|_| ("count", ValueRef::Int(1))).collect();
    let many = telemetry.emit("tool.result_size", &many, &[], "");
    assert_eq!(many, Outcome::Dropped(Reason::TooManyFields));
    let nan = [("percent", ValueRef::Float(f64::NAN))];
    assert_eq!(
        telemetry.emit("tool.result_size", &nan, &[], ""),
        traits.nan
    );

    // Long texts are cut and secrets replaced; the event lives.
    let long = "x".repeat(Limits::default().value_bytes + 1);
    let metadata = [("tool", long.as_str()), ("api_key", "hunter2")];
    assert_eq!(
        telemetry.emit("tool.result_size", NOTHING, &metadata, ""),
        Outcome::Accepted
    );
    assert_eq!(telemetry.ledger().notes.get(Note::Truncated), traits.copies);
    assert_eq!(telemetry.ledger().notes.get(Note::Redacted), traits.copies);

    // Shutdown is idempotent, the ledger balances, and nothing is taken afterwards.
    let last = telemetry.shutdown(PATIENCE);
    last.check().expect("balance");
    assert_eq!(last.queued + last.sent + last.delivered, last.accepted);
    assert_eq!(telemetry.shutdown(Duration::ZERO), last);
    assert_eq!(
        emit(&telemetry, "tool.result_size"),
        Outcome::Dropped(Reason::NotRunning)
    );
    let after = telemetry.ledger();
    after.check().expect("balance");
    assert_eq!(after.dropped.get(Reason::NotRunning), traits.copies);
}

#[test]
fn recorder_keeps_the_contract() {
    check_shutdown_without_reader(recorder);
}

/// A recorder alone has nobody who drains it: only its shutdown differs.
fn check_shutdown_without_reader(make: Make) {
    let telemetry = Telemetry::builder()
        .backend(make(PolicySpec::default()))
        .build();
    telemetry.emit("tool.result_size", NOTHING, &[], "");
    let last = telemetry.shutdown(Duration::from_millis(1));
    assert_eq!(last.dropped.get(Reason::ShutdownDeadline), 1);
    last.check().expect("balance");
}

#[test]
fn stream_keeps_the_contract() {
    check(
        stream,
        Traits {
            nan: Outcome::Dropped(Reason::InvalidValue),
            copies: 1,
        },
    );
}

#[test]
fn memory_keeps_the_contract() {
    check(
        memory,
        Traits {
            nan: Outcome::Dropped(Reason::InvalidValue),
            copies: 1,
        },
    );
}

#[test]
fn stderr_keeps_the_contract() {
    check(
        stderr,
        Traits {
            nan: Outcome::Accepted,
            copies: 1,
        },
    );
}

#[test]
fn composite_keeps_the_contract() {
    check(
        composite,
        Traits {
            nan: Outcome::Dropped(Reason::InvalidValue),
            copies: 2,
        },
    );
}

#[test]
fn noop_emits_and_counts_nothing() {
    let telemetry = Telemetry::off();
    assert_eq!(
        telemetry.emit("tool.result_size", NOTHING, &[], ""),
        Outcome::Off
    );
    assert_eq!(telemetry.emit("not a name", NOTHING, &[], ""), Outcome::Off);
    telemetry.span("tool.execution").start().finish();
    assert!(telemetry.flush(Duration::ZERO));
    assert_eq!(telemetry.shutdown(Duration::ZERO).emitted, 0);
}

#[test]
fn a_wait_without_end_is_a_wait() {
    for make in [recorder, stream, memory, stderr, composite] as [Make; 5] {
        let telemetry = Telemetry::builder()
            .backend(make(PolicySpec::default()))
            .build();
        assert!(telemetry.flush(Duration::MAX));
        telemetry.shutdown(Duration::MAX);
    }
}
