//! Who may begin, or hand over, while what a process left is read.

use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::*;
use crate::identity::{Labels, WorkerContext};

fn held(incarnation: &str) -> Held {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(c"test", flags).expect("a memory file");
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).expect("sealed");
    Held {
        region: Arc::new(Region::of(file).expect("fit")),
        incarnation: incarnation.to_owned(),
        pid: None,
        process: None,
        became_another: false,
        kept: None,
    }
}

/// A process of which nothing was heard since then.
fn silent(since_ns: i64) -> Silent {
    Silent {
        incarnation: String::new(),
        since_ns,
        pid: None,
    }
}

fn record() -> Record {
    let clock: Arc<dyn telemetry_core::Clock> = Arc::new(telemetry_core::ManualClock::new(1));
    let context = WorkerContext::new("w");
    Record::new(context, None, Arc::default(), &Arc::default(), &clock)
}

#[test]
fn no_stream_begins_while_somebody_reads_and_a_reader_that_panics_keeps_nobody_waiting() {
    let record = record();
    record.hold(held("a"));
    assert!(record.take_remains().is_none(), "its end is not known");
    record
        .lock()
        .account
        .process_ended(End::Unasked, Some(silent(7)));
    let (_held, writer) = record.take_remains().expect("its end is known");
    assert!(record.try_begin().is_none());
    // As a panic leaves them.
    drop(writer);
    drop(Reading(&record));
    let info = record.info(0, Labels::new());
    assert_eq!(info.unknown_since_ns, Some(7), "nobody knows what it left");
    assert!(record.try_begin().is_some());
}

#[test]
fn what_is_handed_over_behind_an_end_is_of_another_process() {
    let record = record();
    record
        .lock()
        .account
        .process_ended(End::Unasked, Some(silent(7)));
    assert!(record.take_remains().is_none(), "nothing was handed over");
    record.hold(held("b"));
    assert!(record.take_remains().is_none(), "it was booked");
}
