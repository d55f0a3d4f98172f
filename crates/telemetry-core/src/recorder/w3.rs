//! The law between what is counted and what is kept, read while others push and drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::drain::Keep;
use super::{Recorder, RecorderConfig};
use crate::queue::Budget;
use crate::time::SystemClock;

/// The law that `check` states holds in every settled reading.
#[test]
fn a_reading_between_the_count_and_the_release_breaks_no_law() {
    let recorder = Recorder::new(RecorderConfig::default(), Arc::new(SystemClock::new())).unwrap();
    let site = recorder.callsite("a.b").unwrap();
    let done = AtomicBool::new(false);
    let mut broken = 0_u64;
    let mut settled_and_broken = 0_u64;
    let mut looked = 0_u64;
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = recorder.gate.snapshot(&recorder.queue);
                }
            });
        }
        scope.spawn(|| {
            let mut out = Vec::new();
            for _ in 0..3_000 {
                for _ in 0..100 {
                    recorder.record(&site, &super::Fields::default());
                }
                out.clear();
                let all = Budget {
                    events: 1_000,
                    bytes: usize::MAX,
                };
                let framed = recorder.frame_out(&mut out, all, Keep::UntilAcknowledged);
                recorder.acknowledge(framed.last_sequence);
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let (snapshot, settled) = recorder.gate.snapshot(&recorder.queue);
            looked += 1;
            if let Err(law) = snapshot.check() {
                broken += 1;
                if settled && law.law == "W3" {
                    settled_and_broken += 1;
                }
            }
        }
    });
    assert_eq!((broken, settled_and_broken), (0, 0), "of {looked}");
}
