//! Events that come before the hello of their stream: they are dispatched at once, and counted for
//! the incarnation that the hello then names, or, if none comes, for the one their order allows.

use std::ops::RangeInclusive;

use telemetry_core::ledger::Note;
use telemetry_server::{WorkerId, stream::StreamInfo};
use telemetry_tests::{RawStream, RawWorker, TestManager};

const NAME: &str = "tool.execution.start";

/// A manager and the scripted worker it dials.
struct Story {
    _dir: tempfile::TempDir,
    worker: RawWorker,
    manager: TestManager,
    id: WorkerId,
    /// Events sent so far, over all streams.
    sent: u64,
}

impl Story {
    fn begin() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the socket");
        let worker = RawWorker::start(dir.path());
        let manager = TestManager::start();
        let id = manager.register(&worker.address(), "raw");
        Self {
            _dir: dir,
            worker,
            manager,
            id,
            sent: 0,
        }
    }

    /// Sends the events of these sequences and waits until the manager has judged all of them.
    async fn events(&mut self, stream: &RawStream, sequences: RangeInclusive<u64>) {
        for sequence in sequences {
            stream.event(NAME, sequence);
            self.sent += 1;
        }
        let judged =
            |info: &StreamInfo| info.ledger.received + info.ledger.notes.get(Note::Duplicate);
        self.manager
            .until("the events", &self.id, |info| judged(info) >= self.sent)
            .await;
    }

    /// Says hello and waits until the manager has heard it.
    async fn hello(&self, stream: &RawStream, incarnation: &str) {
        stream.hello_of(incarnation);
        self.manager
            .until("the hello", &self.id, |info| {
                info.incarnation == incarnation
            })
            .await;
    }

    /// Reports so many sent events and waits until the manager has heard it.
    async fn report(&self, stream: &RawStream, sent: u64) {
        stream.report(sent);
        self.manager
            .until("the report", &self.id, |info| {
                info.report.as_ref().is_some_and(|it| it.sent == sent)
            })
            .await;
    }

    /// Ends the stream and waits until the manager has seen that.
    async fn end(&self, stream: RawStream) {
        let streams = self.manager.info(&self.id).streams;
        stream.end(0);
        self.manager
            .until("the end", &self.id, |info| {
                info.streams > streams || info.connected_since_ns.is_none()
            })
            .await;
    }

    /// All that was sent was dispatched, once, and the laws hold.
    fn told(&self) -> StreamInfo {
        let info = self.manager.info(&self.id);
        assert_eq!(info.ledger.check(), Ok(()), "{info:#?}");
        assert_eq!(info.ledger_difference(), 0, "{info:#?}");
        assert_eq!(info.ledger.notes.get(Note::Duplicate), 0, "{info:#?}");
        assert_eq!(info.ledger.dispatched, self.sent, "{info:#?}");
        assert_eq!(self.manager.witness().count(), self.sent);
        info
    }
}

#[tokio::test]
async fn a_restarted_worker_whose_hello_is_late_repeats_nothing_and_misses_nothing() {
    let mut story = Story::begin();
    let first = story.worker.stream().await;
    story.hello(&first, "first").await;
    story.events(&first, 1..=10).await;
    story.end(first).await;

    let second = story.worker.stream().await;
    story.events(&second, 1..=3).await;
    let info = story.told();
    assert_eq!(info.incarnation, "first", "nobody said anything else yet");
    assert_eq!(info.incarnation_ledger.received, 10);
    story.hello(&second, "second").await;
    story.report(&second, 3).await;
    story.events(&second, 4..=5).await;

    let info = story.told();
    assert_eq!(info.ledger.gaps, 0, "{info:#?}");
    let present = &info.incarnation_ledger;
    assert_eq!((present.received, present.highest_sequence), (5, 5));
    assert_eq!(info.lost_at_crash, 0);
}

#[tokio::test]
async fn what_a_new_incarnation_lost_before_its_late_hello_is_its_own_gap() {
    let mut story = Story::begin();
    let first = story.worker.stream().await;
    story.hello(&first, "first").await;
    story.events(&first, 1..=3).await;
    story.end(first).await;

    let second = story.worker.stream().await;
    story.events(&second, 6..=7).await;
    story.hello(&second, "second").await;
    story.report(&second, 7).await;
    story.events(&second, 8..=8).await;

    let info = story.told();
    let present = &info.incarnation_ledger;
    assert_eq!(
        (present.received, present.gaps, present.highest_sequence),
        (3, 5, 8)
    );
    assert_eq!(info.ledger.gaps, 5, "the first one lost none");
}

#[tokio::test]
async fn a_late_hello_of_the_same_incarnation_has_the_cut_between_counted() {
    let mut story = Story::begin();
    let first = story.worker.stream().await;
    story.hello(&first, "only").await;
    story.events(&first, 1..=10).await;
    story.end(first).await;

    let second = story.worker.stream().await;
    story.events(&second, 13..=14).await;
    story.hello(&second, "only").await;
    story.report(&second, 14).await;
    assert_eq!(story.told().ledger.gaps, 2);
    story.events(&second, 16..=16).await;

    let info = story.told();
    assert_eq!((info.ledger.gaps, info.ledger.highest_sequence), (3, 16));
    assert_eq!(info.incarnation_ledger, info.ledger);
}

#[tokio::test]
async fn events_of_a_stream_that_ends_before_its_hello_are_no_gap_of_the_next() {
    let mut story = Story::begin();
    let first = story.worker.stream().await;
    story.hello(&first, "only").await;
    story.events(&first, 1..=3).await;
    story.end(first).await;
    let second = story.worker.stream().await;
    story.events(&second, 4..=5).await;
    story.end(second).await;

    let third = story.worker.stream().await;
    story.hello(&third, "only").await;
    story.report(&third, 5).await;
    story.events(&third, 6..=6).await;

    let info = story.told();
    assert_eq!((info.ledger.gaps, info.ledger.highest_sequence), (0, 6));
    assert_eq!(info.incarnation_ledger.received, 6);
}

#[tokio::test]
async fn a_worker_that_never_says_hello_is_new_when_its_sequence_falls_back() {
    let mut story = Story::begin();
    for _ in 0..2 {
        let stream = story.worker.stream().await;
        story.events(&stream, 1..=5).await;
        story.end(stream).await;
    }
    let third = story.worker.stream().await;
    story.events(&third, 7..=7).await;
    story.end(third).await;

    let info = story.told();
    assert_eq!(info.ledger.gaps, 1, "lost with the second stream");
    let present = &info.incarnation_ledger;
    assert_eq!((present.received, present.highest_sequence), (6, 7));
}

#[tokio::test]
async fn a_hello_after_a_nameless_stream_names_it_only_if_the_count_goes_on() {
    for (sent_before, next, incarnation_received) in [(5, 6, 6), (0, 1, 1)] {
        let mut story = Story::begin();
        let first = story.worker.stream().await;
        story.events(&first, 1..=5).await;
        story.end(first).await;

        let second = story.worker.stream().await;
        story.hello(&second, "named").await;
        story.report(&second, sent_before).await;
        story.events(&second, next..=next).await;

        let info = story.told();
        assert_eq!(info.ledger.gaps, 0, "{info:#?}");
        assert_eq!(info.incarnation_ledger.received, incarnation_received);
    }
}

#[tokio::test]
async fn a_hello_that_names_nobody_for_sure_leaves_no_false_duplicate_on_the_next_stream() {
    let mut story = Story::begin();
    let first = story.worker.stream().await;
    story.events(&first, 1..=5).await;
    story.end(first).await;
    // Neither an event nor a report says whether it is the process of before.
    let second = story.worker.stream().await;
    story.hello(&second, "named").await;
    second.hello_of("named");
    story.end(second).await;

    let third = story.worker.stream().await;
    story.hello(&third, "named").await;
    story.events(&third, 1..=3).await;
    story.report(&third, 3).await;

    let info = story.told();
    assert_eq!((info.ledger.gaps, info.incarnation_ledger.received), (0, 3));
}

#[tokio::test]
async fn a_first_dial_that_nobody_answered_claims_nothing_of_what_the_manager_before_got() {
    let dir = tempfile::tempdir().expect("a directory for the socket");
    let worker = RawWorker::start(dir.path());
    worker.withhold_headers(true);
    let manager = TestManager::start();
    let id = manager.register(&worker.address(), "raw");
    let unanswered = worker.stream().await;
    unanswered.abandoned().await;
    worker.withhold_headers(false);
    let stream = worker.stream().await;
    let mut story = Story {
        _dir: dir,
        worker,
        manager,
        id,
        sent: 0,
    };
    // Of an older version, which does not say how much others were given.
    story.hello(&stream, "first").await;
    story.events(&stream, 1_001..=1_003).await;
    story.report(&stream, 1_003).await;
    let info = story.told();
    assert_eq!(info.ledger.gaps, 0, "{info:#?}");
    assert_eq!(info.streams, 1);
}
