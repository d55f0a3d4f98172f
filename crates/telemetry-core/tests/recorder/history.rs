//! The ledger after any history.

use proptest::prelude::*;
use telemetry_core::{
    Outcome, ValueRef,
    emit::{Budget, Fields, Overflow, SamplingRule},
    ledger::Reason,
    wire::Control,
};

use crate::small_queue;

#[derive(Debug, Clone, Copy)]
enum Step {
    Emit(bool),
    Drain(usize),
    Deny(bool),
    Sample(bool),
    Toggle(bool),
    Close,
    Discard,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<bool>().prop_map(Step::Emit),
        2 => (0_usize..6).prop_map(Step::Drain),
        1 => any::<bool>().prop_map(Step::Deny),
        1 => any::<bool>().prop_map(Step::Sample),
        1 => any::<bool>().prop_map(Step::Toggle),
        1 => Just(Step::Close),
        1 => Just(Step::Discard),
    ]
}

proptest! {
    #[test]
    fn the_ledger_balances_after_any_history(
        steps in proptest::collection::vec(step(), 0..200),
        drop_oldest in any::<bool>(),
    ) {
        let overflow = if drop_oldest { Overflow::DropOldest } else { Overflow::DropNewest };
        let recorder = small_queue(5, overflow);
        let (mut emits, mut drained) = (0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Emit(valid) => {
                    let value: ValueRef<'_> = if valid { 1.0 } else { f64::NAN }.into();
                    let site = recorder.callsite("x.y").expect("valid");
                    let fields = Fields { measurements: &[("count", value)], ..Fields::default() };
                    emits += u64::from(recorder.record(&site, &fields) != Outcome::Off);
                }
                Step::Drain(events) => {
                    let budget = Budget { events, bytes: usize::MAX };
                    drained += recorder.drain_frames(&mut Vec::new(), budget) as u64;
                }
                Step::Deny(on) => {
                    let deny = if on { vec!["x.*".to_owned()] } else { Vec::new() };
                    let filter = Control::Filter { allow: Vec::new(), deny };
                    recorder.gate().apply(&filter).expect("valid");
                }
                Step::Sample(on) => {
                    let rule = SamplingRule::of_all(if on { 0.5 } else { 1.0 });
                    recorder.gate().apply(&Control::Sampling(rule)).expect("valid");
                }
                Step::Toggle(enabled) => {
                    recorder.gate().apply(&Control::Toggle { enabled }).expect("valid");
                }
                Step::Close => recorder.close(),
                Step::Discard => {
                    recorder.discard_queued(Reason::ShutdownDeadline);
                }
            }
        }
        let snapshot = recorder.snapshot();
        prop_assert_eq!(snapshot.check(), Ok(()));
        prop_assert_eq!(snapshot.emitted, emits);
        prop_assert_eq!(snapshot.sent, drained);
    }
}
