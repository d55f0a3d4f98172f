//! Workers that lie, break the rules or die at the worst moment: no sum falls, nothing is counted twice,
//! and nobody else's account is touched.

use telemetry_core::ledger::{Note, Reason};

use super::super::incarnation::{End, Silent};
use super::super::ledger::Arrival;
use super::sums::Sums;
use super::*;
use crate::accounts::{Implausible, Place};

/// One account and its open stream.
struct Rough {
    account: Account,
    writer: LedgerWriter,
}

/// This very process, which certainly runs.
fn here() -> Place {
    Place::Process(std::process::id())
}

/// A process of which nothing was heard since then.
fn silent(since_ns: i64) -> Silent {
    Silent {
        incarnation: String::new(),
        since_ns,
        pid: Some(7),
    }
}

/// Behind a port, where the system shows no process.
fn port() -> Place {
    Place::Address("tcp:127.0.0.1:7".to_owned())
}

/// A worker with a stream that said nothing yet.
fn rough(book: &Arc<Book>, worker: &str) -> Rough {
    let mut account = Account::new(Arc::clone(book), worker.into(), None);
    let writer = LedgerWriter::default();
    account.open(&writer);
    Rough { account, writer }
}

/// The same, of which the hello names `id`.
fn named(book: &Arc<Book>, worker: &str, id: &str) -> Rough {
    let mut rough = rough(book, worker);
    rough.hello(id, here(), 0, 0);
    rough
}

impl Rough {
    fn hello(&mut self, id: &str, place: Place, sent: u64, given: u64) {
        let told = Origin::Told { sent, given };
        self.account.hello(id, place, &mut self.writer, told, 1);
    }

    fn events(&mut self, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            match self.writer.arrival(sequence) {
                Arrival::Duplicate => {}
                arrival => self.writer.count(arrival, None),
            }
        }
    }

    /// A report: so many sent, queued and dropped.
    fn report(&mut self, sent: u64, queued: u64, dropped: u64) -> Result<(), Implausible> {
        let mut snapshot = WorkerSnapshot::default();
        snapshot.emitted = sent + queued + dropped;
        snapshot.accepted = sent + queued;
        snapshot.sent = sent;
        snapshot.queued = queued;
        snapshot.dropped.add(Reason::QueueFull, dropped);
        let said = Said {
            snapshot,
            position: Some(sent),
            ..Said::default()
        };
        self.account
            .report(said, &mut self.writer, Origin::Birth, 1)
    }

    fn close(&mut self, how: Parting) {
        let writer = std::mem::take(&mut self.writer);
        self.account.close(writer, how, Origin::Birth, 1);
    }

    fn reopen(&mut self) {
        self.writer = LedgerWriter::default();
        self.account.open(&self.writer);
    }

    fn sums(&self) -> Sums {
        let sums = self.account.sums();
        let (ledger, reported) = (&sums.ledger, &sums.reported);
        assert_eq!(ledger.check(), Ok(()));
        let settled = ledger.received + ledger.gaps + reported.dropped.total() + sums.lost_at_crash;
        assert_eq!(reported.emitted, settled);
        sums
    }
}

#[test]
fn events_before_a_hello_that_does_not_fit_make_nothing_fall() {
    let mut it = named(&Arc::default(), "w", "x");
    it.events(1..=100);
    it.close(Parting::Cut);
    it.reopen();
    it.events([1, 1_000_000]);
    let before = it.sums();
    it.hello("x", here(), 1_000_000, 100);
    let after = it.sums();
    assert!(after.reported.emitted >= before.reported.emitted);
    assert!(after.ledger.gaps >= before.ledger.gaps);
}

#[test]
fn sequences_that_jump_on_and_on_are_not_believed() {
    let mut it = named(&Arc::default(), "w", "x");
    it.events((1..=100_000).map(|n| n << 32));
    let sums = it.sums();
    assert_eq!(sums.ledger.received, 100_000);
    assert!(sums.ledger.gaps < 100_000_000_000, "{}", sums.ledger.gaps);
}

#[test]
fn many_reports_in_a_second_claim_no_more_than_one() {
    let mut it = named(&Arc::default(), "w", "x");
    it.report(0, 0, 0).expect("honest so far");
    let mut refused = 0;
    for n in 1..=10_000 {
        refused += u64::from(it.report(0, 0, n * 999_000_000).is_err());
    }
    let sums = it.sums();
    assert!(refused > 0);
    assert_eq!(sums.ledger.notes.get(Note::ImplausibleReport), refused);
    assert!(sums.reported.emitted < 1_000_000_000_000, "{sums:?}");
}

#[test]
fn a_report_that_is_refused_announces_nothing() {
    let mut it = named(&Arc::default(), "w", "x");
    it.events(1..=5);
    it.report(1 << 32, 0, 0).expect_err("beyond belief");
    let sums = it.sums();
    assert_eq!((sums.ledger.gaps, sums.reported.emitted), (0, 5));
}

#[test]
fn a_process_that_dies_before_its_hello_counts_also_while_its_stream_is_open() {
    let mut it = rough(&Arc::default(), "w");
    it.account.process_ended(End::Unasked, Some(silent(5)));
    it.account.end_if_gone();
    assert_eq!(
        it.sums().unaccounted,
        0,
        "its stream is not read to the end"
    );
    it.close(Parting::Cut);
    it.account.end_if_gone();
    assert_eq!(it.sums().unaccounted, 1);
    let rows = it.account.book.list();
    let said = rows
        .iter()
        .map(|row| (row.pid, row.ended, row.complete, row.unknown_since_ns));
    let all: Vec<_> = said.collect();
    assert_eq!(all, [(Some(7), true, false, Some(5))]);
    // And one after another that said hello.
    let mut it = named(&Arc::default(), "w", "x");
    it.events([1]);
    it.close(Parting::Cut);
    it.account.process_ended(End::Unasked, Some(silent(5)));
    it.account.end_if_gone();
    it.reopen();
    it.account.process_ended(End::Unasked, Some(silent(5)));
    it.close(Parting::Cut);
    it.account.end_if_gone();
    assert_eq!(it.sums().unaccounted, 2);
}

#[test]
fn a_stream_without_a_name_takes_no_incarnation_that_is_streamed_elsewhere() {
    let book = Arc::default();
    let mut old = named(&book, "a", "x");
    old.events(1..=10);
    old.close(Parting::Cut);
    let mut new = rough(&book, "b");
    new.hello("x", here(), 10, 10);
    new.events(11..=20);
    old.reopen();
    old.events([30]);
    old.account
        .hello("", here(), &mut old.writer, Origin::Birth, 1);
    let (old, new) = (old.sums(), new.sums());
    assert_eq!((new.reported.emitted, new.ledger.received), (10, 10));
    assert_eq!(old.ledger.received, 11);
}

#[test]
fn a_process_that_lives_is_not_ended_by_another_one_in_its_place() {
    let book: Arc<Book> = Arc::default();
    let mut first = named(&book, "a", "x");
    first.events(1..=10);
    first.report(10, 50, 0).expect("honest");
    first.close(Parting::Cut);
    first.account.depart();
    let mut second = rough(&book, "a");
    second.hello("y", Place::Process(1), 0, 0);
    let mut back = rough(&book, "b");
    back.hello("x", here(), 10, 10);
    back.events(11..=60);
    back.report(60, 0, 0).expect("honest");
    let all = [&first, &second, &back].map(|it| it.sums().reported.emitted);
    let strays: u64 = book.strays().values().map(|strays| strays.lost).sum();
    assert_eq!(all.iter().sum::<u64>() + strays, 60);
}

#[test]
fn a_session_that_was_torn_away_takes_nothing_with_it() {
    let mut it = named(&Arc::default(), "w", "x");
    it.events(1..=10);
    it.reopen();
    it.hello("x", here(), 10, 10);
    it.events(11..=12);
    let sums = it.sums();
    assert_eq!((sums.ledger.received, sums.ledger.gaps), (12, 0));
}

#[test]
fn a_stream_that_is_cut_while_it_waits_for_an_older_one_counts_once() {
    let book = Arc::default();
    let mut old = named(&book, "a", "x");
    old.events(1..=10);
    let mut new = rough(&book, "b");
    new.hello("x", here(), 10, 10);
    new.events(11..=20);
    new.close(Parting::Cut);
    old.close(Parting::Replaced);
    old.reopen();
    old.hello("x", here(), 20, 20);
    let both = old.sums().reported.emitted + new.sums().reported.emitted;
    assert_eq!(both, 20);
}

#[test]
fn who_is_met_behind_a_port_and_in_a_process_is_one_and_no_other_process_is_it() {
    let book: Arc<Book> = Arc::default();
    let mut it = rough(&book, "w");
    let told = |it: &Rough, pid| it.account.position(Some(("x", pid))).map(|told| told.1);
    it.hello("x", port(), 0, 0);
    it.events(1..=10);
    it.close(Parting::Cut);
    let pid = std::process::id();
    assert_eq!(told(&it, pid), Some(10), "it is told where it goes on");
    let other = rough(&book, "v");
    assert_eq!(told(&other, pid), None, "an id is not enough");
    it.reopen();
    it.hello("x", here(), 10, 10);
    it.events(6..=12);
    it.close(Parting::Cut);
    it.reopen();
    it.hello("x", port(), 12, 12);
    it.events(11..=15);
    it.close(Parting::Cut);
    let sums = it.sums();
    assert_eq!((sums.ledger.received, sums.ledger.gaps), (15, 0));
    assert_eq!(book.list().len(), 1);
    assert_eq!(told(&it, pid), Some(15));
    assert_eq!(told(&it, 1), None, "it is another process that says so");
    it.reopen();
    it.hello("x", Place::Process(1), 0, 0);
    it.events(1..=3);
    assert_eq!(it.sums().ledger.received, 18);
    assert_eq!(book.list().len(), 2);
}

#[test]
fn a_crash_loop_of_silent_processes_ends_nobody_who_lives() {
    let book = Arc::default();
    let mut it = named(&book, "alive", "x");
    it.events(1..=5);
    it.report(5, 5, 0).expect("honest");
    it.close(Parting::Cut);
    it.account.depart();
    let mut looped = rough(&book, "w");
    looped.close(Parting::Cut);
    for _ in 0..6_000 {
        looped.account.process_ended(End::Unasked, Some(silent(5)));
        looped.account.end_if_gone();
    }
    assert_eq!(looped.sums().unaccounted, 6_000);
    let rows = book.list();
    assert!(rows.len() < 1_000, "{} rows", rows.len());
    let living = rows.iter().find(|row| row.incarnation == "x");
    assert!(living.is_some_and(|row| !row.ended));
    assert!(book.strays().values().all(|it| it.lost == 0));
}

#[test]
fn the_end_of_another_caller_does_not_end_the_one_that_lives() {
    let book: Arc<Book> = Arc::default();
    let mut it = named(&book, "w", "b");
    it.events(1..=5);
    it.report(5, 5, 0).expect("honest");
    it.close(Parting::Cut);
    let caller = Silent {
        incarnation: "a".to_owned(),
        ..silent(5)
    };
    for _ in 0..2 {
        it.account.caller_ended(caller.clone());
        it.account.end_if_gone();
    }
    let rows = book.list();
    let said: Vec<_> = rows
        .iter()
        .map(|row| (row.incarnation.as_str(), row.ended))
        .collect();
    assert_eq!(said, [("b", false), ("a", true)]);
    // However many connections it had, it is one process.
    assert_eq!(it.sums().unaccounted, 1);
}
