//! Whatever happens to a simulated fleet, every incarnation's account equals the truth at the end.

mod world;

use telemetry_core::ledger::Note;

use super::*;
use crate::accounts::{IncarnationInfo, Place};
use world::{Process, World, nowhere};

fn check_truth(info: &IncarnationInfo, truth: &Process, living: bool) {
    let what = format!("{info:#?}\n{truth:#?}");
    assert_eq!(info.difference(), 0, "{what}");
    assert_eq!(info.received, truth.arrived, "{what}");
    let known = info.emitted + info.emitted_before;
    if info.complete || living {
        assert_eq!(known, truth.emitted, "{what}");
        let lost = info.gaps + info.lost_at_crash + info.away;
        assert_eq!(lost, truth.cut, "{what}");
    } else {
        assert!(known <= truth.emitted, "{what}");
        assert!(info.unknown_since_ns.is_some(), "{what}");
    }
}

#[test]
fn whatever_happens_to_registrations_and_streams_nothing_counts_twice_or_never() {
    for seed in 1..=60 {
        let mut world = World::new(seed * 0x9E37_79B9 + (seed & 1), 4);
        for _ in 0..1_000 {
            world.step();
            world.check();
        }
        // Everybody says where it stands.
        for slot in 0..world.slots.len() {
            world.connect(slot);
            while world.slots[slot].process.queued > 0 {
                world.deliver(slot);
            }
            world.emit(slot);
            world.deliver(slot);
            world.say(slot);
            world.check();
        }
        let infos = world.book.list();
        for slot in &world.slots {
            let info = infos.iter().find(|it| it.incarnation == slot.process.id);
            let info = info.expect("it said hello");
            // Drops while another manager had it are that one's.
            let mut truth = slot.process.clone();
            truth.emitted = info.emitted + info.emitted_before;
            check_truth(info, &truth, true);
            assert_eq!(info.emitted_before + info.emitted, slot.process.emitted);
        }
        let ended = infos.iter().filter(|it| it.ended);
        let mut seen = 0;
        for info in ended {
            let truth = &world.truth[&info.incarnation];
            if truth.stolen == 0 {
                check_truth(info, truth, false);
                seen += 1;
            }
        }
        assert!(seen > 0, "seed {seed}: nobody ended");
    }
}

#[test]
fn a_hundred_thousand_lives_leave_the_book_bounded_and_every_other_number_exact() {
    let book: Arc<Book> = Arc::default();
    let mut honest = Account::new(Arc::clone(&book), "honest".into(), Some("p".to_owned()));
    let mut writer = LedgerWriter::default();
    honest.open(&writer);
    honest.hello("honest", nowhere(), &mut writer, Origin::Birth, 1);
    let mut process = Process {
        emitted: 10,
        queued: 10,
        ..Process::default()
    };
    let said = |process: &Process| Said {
        snapshot: process.report(),
        position: Some(process.position),
        ..Said::default()
    };
    honest
        .report(said(&process), &mut writer, Origin::Birth, 1)
        .expect("honest");
    let mut churning = Account::new(Arc::clone(&book), "churning".into(), Some("p".to_owned()));
    for life in 0..100_000 {
        let mut writer = LedgerWriter::default();
        churning.open(&writer);
        churning.hello(&format!("{life}"), nowhere(), &mut writer, Origin::Birth, 1);
        let claim = Process {
            emitted: 1 << 53,
            dropped: 1 << 53,
            ..Process::default()
        };
        let taken = churning.report(said(&claim), &mut writer, Origin::Birth, 1);
        taken.expect_err("nobody drops so fast");
        churning.close(writer, Parting::Cut, Origin::Birth, 1);
    }
    process.send(10);
    for sequence in process.under_way.drain(..) {
        let arrival = writer.arrival(sequence);
        writer.count(arrival, None);
    }
    honest
        .report(said(&process), &mut writer, Origin::Birth, 1)
        .expect("honest");
    assert!(book.list().len() <= 4_096 + 1_024 + 2);
    let of_liar = churning.sums();
    assert_eq!((of_liar.reported.emitted, of_liar.lost_at_crash), (0, 0));
    assert_eq!(of_liar.ledger.notes.get(Note::ImplausibleReport), 100_000);
    let of_honest = honest.sums();
    assert_eq!(
        (of_honest.reported.emitted, of_honest.ledger.received),
        (10, 10)
    );
}

#[test]
fn nobody_takes_over_the_account_of_another_process_by_its_id() {
    let book: Arc<Book> = Arc::default();
    let open = |worker: &str, pid| {
        let mut account = Account::new(Arc::clone(&book), worker.into(), None);
        let mut writer = LedgerWriter::default();
        account.open(&writer);
        account.hello("same", Place::Process(pid), &mut writer, Origin::Birth, 1);
        (account, writer)
    };
    let (honest, mut stream) = open("a", 1);
    let arrival = stream.arrival(1);
    stream.count(arrival, None);
    let (_liar, mut other) = open("b", 2);
    let arrival = other.arrival(1_000);
    other.count(arrival, None);
    let arrival = stream.arrival(2);
    stream.count(arrival, None);
    let sums = honest.sums();
    assert_eq!((sums.ledger.received, sums.ledger.gaps), (2, 0));
    assert_eq!(book.list().len(), 2);
}

#[test]
fn two_registrations_of_one_process_share_its_account() {
    let book: Arc<Book> = Arc::default();
    let account = |worker: &str| Account::new(Arc::clone(&book), worker.into(), None);
    let (mut old, mut new) = (account("old"), account("new"));
    let (mut first, mut second) = (LedgerWriter::default(), LedgerWriter::default());
    old.open(&first);
    old.hello("one", nowhere(), &mut first, Origin::FirstSight, 1);
    // The worker has turned to the newer stream; the older one is still being read.
    new.open(&second);
    new.hello("one", nowhere(), &mut second, Origin::FirstSight, 1);
    for (writer, sequences) in [(&mut second, 4..=6), (&mut first, 1..=3)] {
        for sequence in sequences {
            let arrival = writer.arrival(sequence);
            writer.count(arrival, None);
        }
    }
    old.close(first, Parting::Replaced, Origin::Birth, 1);
    let process = Process {
        emitted: 6,
        sent: 6,
        position: 6,
        ..Process::default()
    };
    let said = Said {
        snapshot: process.report(),
        position: Some(6),
        ..Said::default()
    };
    new.report(said, &mut second, Origin::FirstSight, 1)
        .expect("honest");
    new.close(second, Parting::Cut, Origin::Birth, 1);
    let infos = book.list();
    assert_eq!(infos.len(), 1);
    assert_eq!((infos[0].received, infos[0].gaps), (6, 0));
    assert_eq!((infos[0].emitted, infos[0].difference()), (6, 0));
    let sum = old.sums().reported.emitted + new.sums().reported.emitted;
    assert_eq!(sum, 6);
}
