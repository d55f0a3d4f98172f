//! What a worker reports of itself.

use prost::Message;
use std::sync::atomic::{AtomicBool, Ordering};
use telemetry_core::emit::Overflow;

use crate::{emit, small_queue};

#[test]
fn a_report_is_settled_only_if_it_balances() {
    let recorder = small_queue(64, Overflow::DropOldest);
    let difference = |report: &telemetry_proto::WorkerReport| {
        telemetry_core::ledger::snapshot_from_report(report)
            .0
            .difference()
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let (recorder, done) = (&recorder, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    emit(recorder, name);
                }
            });
        }
        let broken = (0..2_000)
            .map(|_| recorder.report())
            .filter(|report| report.settled && difference(report) > 0)
            .count();
        done.store(true, Ordering::Release);
        assert_eq!(broken, 0);
    });
    let report = recorder.report();
    assert!(report.settled);
    assert_eq!(difference(&report), 0);
}

#[test]
fn a_report_without_room_for_all_names_has_the_busiest() {
    let recorder = small_queue(2_000, Overflow::DropNewest);
    let name = |n: u32| [format!("n{n:03}"), vec!["x".repeat(64); 7].join(".")].join(".");
    for n in 0..1_000 {
        emit(&recorder, &name(n));
    }
    emit(&recorder, &name(999));
    let report = recorder.report();
    assert!(report.names.len() < 1_000 && report.encoded_len() < 300_000);
    assert_eq!(
        (&report.names[0].name, report.names[0].emitted),
        (&name(999), 2)
    );
}

#[test]
fn a_report_leaves_out_what_another_backend_took() {
    let recorder = small_queue(64, Overflow::DropNewest);
    let mut frames = Vec::new();
    for name in ["a", "b"] {
        emit(&recorder, name);
        recorder.gate().count_delivered();
        recorder.drain_frames(
            &mut frames,
            telemetry_core::emit::Budget {
                events: 1,
                bytes: 1,
            },
        );
    }
    emit(&recorder, "c");
    let ledger = recorder.snapshot();
    ledger.check().expect("balance");
    assert_eq!((ledger.emitted, ledger.sent, ledger.delivered), (5, 2, 2));
    let report = recorder.report();
    assert_eq!((report.emitted, report.accepted), (3, 3));
    assert_eq!((report.sent, report.queued), (2, 1));
    let by_name: u64 = report.names.iter().map(|count| count.emitted).sum();
    assert_eq!(by_name, 3);
}
