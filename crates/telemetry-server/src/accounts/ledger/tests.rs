//! What a writer counts, and that a reader never sees half of it.

use super::*;

fn receive(ledger: &mut LedgerWriter, sequence: u64) -> Arrival {
    let arrival = ledger.arrival(sequence);
    if arrival != Arrival::Duplicate {
        ledger.count(arrival, None);
    }
    arrival
}

#[test]
fn every_number_has_a_cell() {
    assert!(
        Reason::ALL
            .iter()
            .all(|reason| (reason.number() as usize) < REASON_CELLS)
    );
    assert!(
        Note::ALL
            .iter()
            .all(|note| (note.number() as usize) < NOTE_CELLS)
    );
}

#[test]
fn a_jump_is_a_gap_and_a_repeat_a_duplicate() {
    let mut ledger = LedgerWriter::default();
    for sequence in [1, 2, 5] {
        receive(&mut ledger, sequence);
    }
    assert_eq!(receive(&mut ledger, 5), Arrival::Duplicate);
    let snapshot = ledger.snapshot();
    assert_eq!(
        (snapshot.received, snapshot.gaps, snapshot.highest_sequence),
        (3, 2, 5)
    );
    assert_eq!(snapshot.check(), Ok(()));
}

#[test]
fn an_announced_tail_that_never_came_is_a_gap() {
    let mut ledger = LedgerWriter::default();
    receive(&mut ledger, 1);
    assert!(ledger.announce(4));
    assert!(ledger.announce(4));
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.gaps, snapshot.highest_sequence), (3, 4));
    assert_eq!(snapshot.check(), Ok(()));
}

#[test]
fn an_unreadable_event_is_not_counted_as_a_gap_as_well() {
    let mut ledger = LedgerWriter::default();
    receive(&mut ledger, 1);
    ledger.reject_undecoded();
    receive(&mut ledger, 3);
    let snapshot = ledger.snapshot();
    assert_eq!(
        (snapshot.received, snapshot.gaps, snapshot.sequenced),
        (3, 0, 3)
    );
    assert_eq!(snapshot.check(), Ok(()));
}

#[test]
fn events_before_the_manager_joined_are_no_gap() {
    let mut ledger = LedgerWriter::default();
    receive(&mut ledger, 1_000);
    receive(&mut ledger, 1_001);
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.gaps, snapshot.highest_sequence), (0, 2));
    assert_eq!(ledger.reader().origin(), 999);
}

#[test]
fn absurd_sequences_are_not_believed() {
    let mut ledger = LedgerWriter::default();
    assert_eq!(ledger.arrival(u64::MAX), Arrival::Unsequenced);
    receive(&mut ledger, 1);
    assert_eq!(receive(&mut ledger, u64::MAX), Arrival::Unsequenced);
    assert!(!ledger.announce(u64::MAX));
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.received, snapshot.highest_sequence), (2, 1));
    assert_eq!(snapshot.check(), Ok(()));
}

#[test]
fn readers_never_see_half_a_change() {
    let mut ledger = LedgerWriter::default();
    let read = ledger.reader();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut last = 0;
            while last < 100_000 {
                let snapshot = read.snapshot();
                assert_eq!(snapshot.check(), Ok(()));
                last = snapshot.highest_sequence;
            }
        });
        for sequence in 1..=100_000 {
            receive(&mut ledger, sequence);
        }
        reader.join().expect("every reading balances");
    });
}

/// A ledger of these sequences, in which 0 stands for a message that cannot be read.
fn ledger(sequences: &[u64]) -> LedgerWriter {
    let mut ledger = LedgerWriter::default();
    receive_all(&mut ledger, sequences);
    ledger
}

fn receive_all(ledger: &mut LedgerWriter, sequences: &[u64]) {
    for sequence in sequences {
        match sequence {
            0 => ledger.reject_undecoded(),
            _ => {
                receive(ledger, *sequence);
            }
        }
    }
}

/// Two streams, of which the second learns late or early whom it follows, add up to one in a row.
fn check(earlier: &[u64], later: &[u64], after: &[u64]) {
    let mut straight = ledger(earlier);
    receive_all(&mut straight, later);
    receive_all(&mut straight, after);
    let first = ledger(earlier);
    for late in [false, true] {
        let mut second = LedgerWriter::default();
        if !late {
            second.follow(first.position(), first.undecoded());
        }
        receive_all(&mut second, later);
        if late {
            second.follow(first.position(), first.undecoded());
        }
        receive_all(&mut second, after);
        let mut sum = first.snapshot();
        sum.merge(&second.snapshot());
        assert_eq!(sum, straight.snapshot(), "{later:?}, late: {late}");
        assert_eq!(second.position(), straight.position(), "{later:?}");
        assert_eq!(second.snapshot().check(), Ok(()));
    }
}

#[test]
fn streams_that_follow_each_other_read_as_if_they_were_one() {
    check(&[1, 2], &[3, 4], &[5]);
    check(&[1, 2], &[5, 7], &[8]);
    check(&[51, 52], &[55, 57], &[60]);
    check(&[1, 2], &[], &[4]);
}

#[test]
fn unreadable_messages_fill_the_jumps_on_either_side() {
    check(&[1, 0], &[3], &[4]);
    check(&[1], &[0, 4], &[5]);
    check(&[1, 2], &[3, 0], &[6]);
    check(&[1, 2], &[0, 0], &[6]);
}

#[test]
fn repeats_move_nothing_and_break_no_law() {
    for (later, highest, gaps) in [(&[2, 3][..], 2, 0), (&[4, 6], 3, 1)] {
        let mut second = ledger(later);
        second.follow(4, 0);
        let snapshot = second.snapshot();
        assert_eq!((snapshot.highest_sequence, snapshot.gaps), (highest, gaps));
        assert_eq!(snapshot.received, 2);
        assert_eq!(snapshot.check(), Ok(()));
        assert_eq!(second.position(), 4.max(later[1]));
    }
}

#[test]
fn an_absurd_distance_is_not_believed() {
    let mut second = ledger(&[1 << 40]);
    second.follow(2, 0);
    let snapshot = second.snapshot();
    assert_eq!((snapshot.received, snapshot.gaps), (1, 0));
    assert_eq!(snapshot.check(), Ok(()));
}
