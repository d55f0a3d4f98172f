//! What a whole recorder leaves.

use std::sync::Arc;

use super::*;
use crate::codec::{DecodeLimits, decode_event};
use crate::control::PolicySpec;
use crate::recorder::{Fields, Keep, Recorder, RecorderConfig};
use crate::time::ManualClock;

#[test]
fn counters_names_spans_and_events_of_a_recorder_are_recovered() {
    let config = RecorderConfig {
        queue: QueueLimits {
            events: 100,
            bytes: 1 << 14,
        },
        max_callsites: 2,
        policy: PolicySpec {
            deny: vec!["no.*".to_owned()],
            ..PolicySpec::default()
        },
        ..RecorderConfig::default()
    };
    let layout = config.layout();
    let words = lent(layout);
    let region = Region::of(words, layout).unwrap().signed(IDENTITY);
    let recorder = Recorder::in_region(config, Arc::new(ManualClock::new(0)), region).unwrap();
    let emit = |name: &str| {
        if let Ok(site) = recorder.callsite(name) {
            recorder.record(&site, &Fields::default());
        }
    };
    for name in ["a.b", "no.way", "a.b", "beyond.bound", "Not a name", "a.b"] {
        emit(name);
    }
    let one = Budget { events: 1, ..ALL };
    recorder.frame_out(&mut Vec::new(), one, Keep::UntilAcknowledged);
    let slot = recorder.open_spans().open("operation", 7, 8, 9);

    let recovered = recover_words(&image(words)).unwrap();
    assert_eq!(recovered.counters, recorder.snapshot());
    assert_eq!(recovered.counters.check(), Ok(()));
    assert_eq!(recovered.counters.dropped.get(Reason::Filtered), 1);
    assert_eq!(recovered.counters.dropped.get(Reason::InvalidName), 1);
    assert_eq!(
        (recovered.counters.retained, recovered.counters.queued),
        (1, 3)
    );
    let report = recorder.report();
    let mut expected: Vec<_> = report
        .names
        .into_iter()
        .map(|it| (it.name, it.emitted, it.accepted))
        .collect();
    expected.sort();
    let found = recovered.names.iter().cloned();
    let found: Vec<_> = found.map(|it| (it.name, it.emitted, it.accepted)).collect();
    assert_eq!(found, expected);
    assert_eq!(
        found,
        [("a.b".to_owned(), 3, 3), ("no.way".to_owned(), 1, 0)]
    );
    assert_eq!(recovered.spans, recorder.open_spans().list());
    assert_eq!(recovered.spans.len(), 1);
    let names = |after| -> Vec<_> {
        let name = |bytes| {
            decode_event(bytes, &DecodeLimits::default())
                .unwrap()
                .parts
                .dotted()
        };
        let events = recovered.events(after);
        events
            .map(|it| (it.sequence, name(it.bytes).unwrap()))
            .collect()
    };
    let name = |sequence, name: &str| (sequence, name.to_owned());
    let waiting = [name(2, "a.b"), name(3, "beyond.bound"), name(4, "a.b")];
    assert_eq!(names(1), waiting);
    assert_eq!(names(0)[0], name(1, "a.b"));

    recorder.acknowledge(1);
    recorder.open_spans().close(slot);
    let recovered = recover_words(&image(words)).unwrap();
    assert_eq!(recovered.counters, recorder.snapshot());
    assert_eq!(recovered.events(0).count(), 3);
    assert_eq!(recovered.spans, []);
}

#[test]
fn a_region_is_taken_with_as_many_words_as_its_layout_has() {
    let layout = RecorderConfig::default().layout();
    let words = lent(layout);
    assert!(Region::of(words, layout).is_ok());
    let less = Region::of(&words[1..], layout);
    assert!(matches!(less, Err(RegionError::WrongSize { .. })));
    let large = Layout::new(64 << 20, 0);
    let refused = Region::of(words, large);
    assert!(matches!(refused, Err(RegionError::TooLarge { .. })));
    assert_eq!(Region::heap(large).layout(), large);
}
