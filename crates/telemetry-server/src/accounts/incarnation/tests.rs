//! The arithmetic of one life, number by number.

use telemetry_core::ledger::Reason;

use super::super::ledger::LedgerWriter;
use super::*;

fn incarnation() -> Incarnation {
    Incarnation::new("a".into(), "w".into(), None, Instant::now(), 1)
}

/// What a worker reports that has sent and queued so many and dropped so many.
fn report(sent: u64, queued: u64, dropped: u64) -> WorkerSnapshot {
    let mut report = WorkerSnapshot::default();
    report.emitted = sent + queued + dropped;
    report.accepted = sent + queued;
    report.sent = sent;
    report.queued = queued;
    report.dropped.add(Reason::QueueFull, dropped);
    report
}

/// A stream on which these sequences arrived behind `origin`.
fn stream(origin: u64, sequences: impl IntoIterator<Item = u64>) -> LedgerWriter {
    let mut writer = LedgerWriter::default();
    writer.begin_after(origin);
    for sequence in sequences {
        let arrival = writer.arrival(sequence);
        writer.count(arrival, None);
    }
    writer
}

fn take(it: &mut Incarnation, report: WorkerSnapshot, stream: &LedgerWriter) -> News {
    let counted = stream.snapshot();
    it.report(report, &counted, stream.reader().origin(), (it.seen, 2))
}

#[test]
fn a_life_from_its_beginning_counts_whole_and_once() {
    let mut it = incarnation();
    let none = stream(0, []);
    let news = take(&mut it, report(0, 5, 2), &none);
    assert_eq!((news.reported.emitted, it.info().queued), (2, 5));
    let again = take(&mut it, report(0, 5, 2), &none);
    assert_eq!(again, News::default());
    let some = stream(0, 1..=3);
    let news = take(&mut it, report(3, 4, 2), &some);
    assert_eq!((news.reported.emitted, news.reported.sent), (3, 3));
    it.close(&some, Parting::Cut);
    let info = it.info();
    assert_eq!((info.queued, info.away, info.difference()), (4, 0, 0));
}

#[test]
fn a_life_met_half_way_counts_from_there_with_what_still_waits() {
    let mut it = incarnation();
    let mut writer = LedgerWriter::default();
    writer.begin_after(1_000);
    let news = take(&mut it, report(1_000, 5, 70), &writer);
    assert_eq!((news.reported.emitted, it.info().queued), (0, 5));
    let rest = stream(1_000, 1_001..=1_005);
    it.close(&rest, Parting::Cut);
    let news = take(&mut it, report(1_005, 0, 71), &stream(1_005, []));
    assert_eq!(
        (news.reported.emitted, news.reported.dropped.total()),
        (1, 1)
    );
    let info = it.info();
    assert_eq!((info.emitted, info.received, info.queued), (6, 5, 0));
    assert_eq!((info.emitted_before, info.difference()), (1_070, 0));
}

#[test]
fn arrivals_ahead_of_the_reports_are_emitted_at_once() {
    let mut it = incarnation();
    let ahead = stream(0, 1..=50);
    assert_eq!(it.news(&ahead.snapshot()).emitted, 50);
    let news = it.close(&ahead, Parting::Cut);
    assert_eq!((news.reported.emitted, news.reported.sent), (50, 50));
    assert_eq!(
        it.news(&StreamSnapshot::default()),
        WorkerSnapshot::default()
    );
}

#[test]
fn what_was_reported_and_did_not_arrive_is_away_until_the_end_and_then_lost() {
    let mut it = incarnation();
    let cut = stream(0, 1..=6);
    take(&mut it, report(6, 0, 0), &cut);
    it.close(&cut, Parting::Cut);
    take(&mut it, report(10, 3, 0), &stream(6, []));
    let info = it.info();
    assert_eq!((info.away, info.queued, info.lost_at_crash), (4, 3, 0));
    let news = it.end(End::Unasked);
    assert_eq!((news.lost, news.unknown_since_ns), (7, Some(2)));
    assert_eq!(it.end(End::Unasked), News::default(), "said once");
    let info = it.info();
    assert_eq!((info.away, info.queued, info.lost_at_crash), (0, 0, 7));
    assert_eq!(info.difference(), 0);
}

#[test]
fn an_end_is_complete_with_a_last_word_or_after_a_drain() {
    for (is_final, through, how, complete) in [
        (false, false, End::Unasked, false),
        (false, false, End::Drained, false),
        (false, true, End::Unasked, false),
        (false, true, End::Drained, true),
        (true, false, End::Unasked, true),
    ] {
        let mut it = incarnation();
        (it.is_final, it.written_through) = (is_final, through);
        let news = it.end(how);
        assert_eq!(it.info().complete, complete);
        assert_eq!(news.unknown_since_ns.is_none(), complete);
    }
}

#[test]
fn what_another_manager_got_is_neither_a_gap_nor_ours() {
    let mut it = incarnation();
    let first = stream(0, 1..=10);
    take(&mut it, report(10, 4, 1), &first);
    it.close(&first, Parting::Replaced);
    assert_eq!(it.resume_at(), None, "the next stream has to say");
    // The other manager got 11 to 40, and the worker dropped 3 meanwhile.
    let mut back = LedgerWriter::default();
    back.begin_after(40);
    let news = take(&mut it, report(40, 2, 4), &back);
    assert_eq!(news.reported.dropped.total(), 0);
    assert_eq!(it.info().queued, 2);
    let back = stream(40, 41..=42);
    it.close(&back, Parting::Cut);
    let info = it.info();
    assert_eq!((info.received, info.gaps, info.elsewhere), (12, 0, 30));
    assert_eq!((info.emitted, info.queued, info.away), (13, 0, 0));
    assert_eq!(info.difference(), 0);
}

#[test]
fn a_life_that_ends_at_another_manager_loses_nothing_here() {
    let mut it = incarnation();
    let first = stream(0, 1..=10);
    take(&mut it, report(10, 4, 0), &first);
    it.close(&first, Parting::Replaced);
    let news = it.end(End::Unasked);
    assert_eq!(news.lost, 0);
    assert_eq!(news.unknown_since_ns, None);
    assert_eq!(it.info().difference(), 0);
}

#[test]
fn counts_beyond_belief_at_first_sight_count_from_there() {
    let mut it = incarnation();
    let none = stream(0, []);
    let counted = none.snapshot();
    let claim = report(0, 0, 1 << 53);
    assert!(it.is_doubtful(&claim, 0, it.seen), "too much for a second");
    let news = it.report(claim, &counted, 0, (it.seen, 2));
    assert_eq!(news.reported, WorkerSnapshot::default());
    assert_eq!(it.info().emitted, 0);
    let news = take(&mut it, report(0, 0, (1 << 53) + 7), &none);
    assert_eq!(news.reported.emitted, 7);
}
